//! What an instance holds for the time when its store is away.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;

use super::breaker::{Breaker, Mode};
use super::budget::Budget;
use super::durable::Durable;
use super::journal::{Added, Journal, JournalLimits, Step};
use super::local;
use super::memory::{Limits, Memory, Moment};
use super::part::{Epoch, PartState};
use super::policy::{Health, Outage};
use super::recovery;
use super::stamp::Stamp;
use crate::clock::{Clock, SystemClock, instant, micros};
use crate::error::ConfigError;
use crate::event::Hub;
use crate::id::{Born, Bucket, Kind, RecordKey};
use crate::record::{End, EndReason, Entry, Record, Tombstone};
use crate::store::allowance::Allowances;
use crate::store::{EndSessions, EndedSessions, ErasedStore, StoreError, rules};

/// Leases, ends and local sessions are kept in so many pieces, each under its own lock.
const SHARDS: usize = 64;
/// A store remembers for 15 minutes longer whom it must not let in.
const LOCAL_TTL: Duration = Duration::from_secs(3600);
/// So long a request waits at most for what must reach the store before it.
const PATIENCE: Duration = Duration::from_millis(250);

/// How a layer's store is watched, and what is done without it.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) outage: Outage,
    pub(crate) demo_outage: Outage,
    pub(crate) local_ttl: Duration,
    /// Leases take at most so many bytes; so do sessions that are made here, and what is written on leases.
    pub(crate) memory: usize,
    pub(crate) clock: Arc<dyn Clock>,
    /// Where the journal is written down.
    pub(crate) journal: Option<PathBuf>,
    /// Where what happens is told.
    pub(crate) events: Arc<Hub>,
}

impl Settings {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        self.outage.check()?;
        self.demo_outage.check()?;
        if self.local_ttl < Duration::from_secs(1) || self.local_ttl > LOCAL_TTL {
            return Err(ConfigError::new(format!(
                "a local_ttl of {:?}: choose one from a second to an hour",
                self.local_ttl
            )));
        }
        if self.outage.refuses() && self.demo_outage.refuses() && self.journal.is_some() {
            return Err(ConfigError::new(
                "Outage::Refuse ends nothing while the store is away, and needs no journal: leave journal_file out, or \
                 choose Lease or Local",
            ));
        }
        if self.memory < 1 << 20 {
            return Err(ConfigError::new(format!(
                "an outage_memory of {} bytes: choose one of a mebibyte or more, or Outage::Refuse",
                self.memory
            )));
        }
        Ok(())
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            outage: Outage::default(),
            demo_outage: Outage::default(),
            local_ttl: LOCAL_TTL,
            memory: 64 << 20,
            clock: Arc::new(SystemClock),
            journal: None,
            events: Arc::new(Hub::new()),
        }
    }
}

/// See the [module](self).
pub(crate) struct Away {
    pub(super) store: Arc<dyn ErasedStore>,
    pub(super) events: Arc<Hub>,
    outages: [Outage; 2],
    local_ttl: Duration,
    shards: Box<[Mutex<Memory>]>,
    parts: RwLock<Vec<Arc<PartState>>>,
    journal: Mutex<Journal>,
    durable: Option<Durable>,
    /// How many ends are in it: for requests, which need no lock where there are none.
    journaled: AtomicUsize,
    /// Told when a session was brought to the store, or could not be.
    pub(super) brought: Notify,
    /// The latest `since` that was handed out here: no sign-in begins before it.
    floor: AtomicU64,
    zero: Instant,
    clock: Arc<dyn Clock>,
    instance: u32,
    began: SystemTime,
    watched: AtomicBool,
    /// What is counted here while the store is away.
    pub(super) allowances: Allowances,
}

impl Away {
    /// What goes around this store; `None` for a store that is never away.
    pub(crate) fn over(
        store: &Arc<dyn ErasedStore>,
        settings: &Settings,
    ) -> Result<Option<Self>, ConfigError> {
        let parts = store.parts();
        if parts.is_empty() {
            return Ok(None);
        }
        // What is read from the one is not read from the other.
        let half = settings.memory / 2;
        let leases = if store.near_memory(half) {
            half
        } else {
            settings.memory
        };
        let limits = Limits {
            outages: [settings.outage, settings.demo_outage],
            lease_bytes: leases / SHARDS,
            local_ttl: settings.local_ttl,
            local_bytes: settings.memory / SHARDS,
            staged_bytes: settings.memory / SHARDS,
            ends: ENDS / SHARDS,
            record_bytes: store.record_limit(),
        };
        let (durable, journal) = match &settings.journal {
            Some(path) => {
                let (durable, journal) = Durable::open(path)?;
                (Some(durable), journal)
            }
            None => (None, Journal::new(JournalLimits::default())),
        };
        let instance = getrandom::u32().map_err(|error| {
            ConfigError::new(format!("the operating system gives no randomness: {error}"))
        })?;
        let now = store.now();
        let state = |part| Arc::new(PartState::new(part, Breaker::closed(now)));
        let mut shards: Box<[_]> = std::iter::repeat_with(|| Memory::new(limits))
            .take(SHARDS)
            .collect();
        let (zero, wall) = (Instant::now(), settings.clock.now());
        for end in journal.all() {
            let shard = usize::from(end.scope.bucket().get()) % SHARDS;
            shards[shard].recall(end, Stamp::now(zero, wall));
        }
        Ok(Some(Self {
            events: Arc::clone(&settings.events),
            outages: [settings.outage, settings.demo_outage],
            local_ttl: settings.local_ttl,
            shards: shards.into_iter().map(Mutex::new).collect(),
            parts: RwLock::new(parts.into_iter().map(state).collect()),
            journaled: AtomicUsize::new(journal.len()),
            journal: Mutex::new(journal),
            durable,
            brought: Notify::new(),
            floor: AtomicU64::new(0),
            zero,
            clock: Arc::clone(&settings.clock),
            instance,
            began: now,
            watched: AtomicBool::new(false),
            allowances: Allowances::default(),
            store: Arc::clone(store),
        }))
    }

    pub(super) fn now(&self) -> SystemTime {
        let floor = instant(self.floor.load(Ordering::Acquire));
        self.store.now().max(floor)
    }

    pub(super) fn moment(&self) -> Moment {
        Moment {
            here: Stamp::now(self.zero, self.clock.now()),
            store: self.now(),
        }
    }

    pub(super) const fn outage(&self, kind: Kind) -> Outage {
        self.outages[kind as usize]
    }

    pub(super) const fn refuses(&self, kind: Kind) -> bool {
        self.outages[kind as usize].refuses()
    }

    pub(super) fn birth(&self) -> Born {
        Born {
            instance: self.instance,
            at: self.seconds(),
        }
    }

    fn seconds(&self) -> u32 {
        u32::try_from(micros(self.clock.now()) / 1_000_000).unwrap_or(u32::MAX)
    }

    pub(super) fn memory(&self, bucket: Bucket) -> MutexGuard<'_, Memory> {
        lock(&self.shards[usize::from(bucket.get()) % SHARDS])
    }

    pub(super) fn memories(&self) -> impl Iterator<Item = MutexGuard<'_, Memory>> {
        self.shards.iter().map(lock)
    }

    pub(super) fn journal(&self) -> MutexGuard<'_, Journal> {
        lock(&self.journal)
    }

    pub(super) const fn durable(&self) -> Option<&Durable> {
        self.durable.as_ref()
    }

    /// The journal took this step; its lock is held.
    pub(super) fn noted(&self, step: Step) {
        if let Some(durable) = &self.durable {
            durable.push(step);
        }
    }

    /// How many ends are pending has changed.
    pub(super) fn journal_changed(&self, journal: &Journal) {
        self.journaled.store(journal.len(), Ordering::Release);
    }

    pub(super) fn has_journal(&self) -> bool {
        self.journaled.load(Ordering::Acquire) > 0
    }

    /// The part that has a bucket. One that was not known before is taken to be away until it has answered.
    pub(super) fn part(self: &Arc<Self>, bucket: Bucket) -> Arc<PartState> {
        let part = self.store.part(bucket);
        let known = self
            .parts()
            .iter()
            .find(|known| known.part == part)
            .cloned();
        if let Some(known) = known {
            return known;
        }
        let mut parts = self.parts.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = parts.iter().find(|known| known.part == part) {
            return Arc::clone(known);
        }
        let state = Arc::new(PartState::new(part, Breaker::open(self.now())));
        parts.push(Arc::clone(&state));
        drop(parts);
        recovery::watch_part(self, &state);
        state
    }

    fn parts(&self) -> std::sync::RwLockReadGuard<'_, Vec<Arc<PartState>>> {
        self.parts.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn all_parts(&self) -> Vec<Arc<PartState>> {
        self.parts().clone()
    }

    /// The part has left the store.
    pub(super) fn left(&self, part: &Arc<PartState>) {
        let mut parts = self.parts.write().unwrap_or_else(PoisonError::into_inner);
        parts.retain(|known| !Arc::ptr_eq(known, part));
    }

    /// Begins to watch the store, once, where there is a runtime to do it in.
    pub(super) fn watch(self: &Arc<Self>) {
        if self.watched.load(Ordering::Relaxed)
            || tokio::runtime::Handle::try_current().is_err()
            || self.watched.swap(true, Ordering::Relaxed)
        {
            return;
        }
        let parts: Vec<_> = self.parts().clone();
        for part in &parts {
            recovery::watch_part(self, part);
        }
    }

    /// Whoever watched has gone with its runtime.
    pub(super) fn unwatched(&self) {
        self.watched.store(false, Ordering::Relaxed);
    }

    pub(super) fn health(&self) -> Health {
        let worst = self
            .parts()
            .iter()
            .map(|part| part.mode())
            .max_by_key(|(mode, since)| (*mode, std::cmp::Reverse(*since)));
        let (mode, since) = worst.unwrap_or((Mode::Healthy, self.began));
        let mut health = Health {
            mode,
            since,
            leases: 0,
            local: 0,
            memory: 0,
            pending: self.journaled.load(Ordering::Relaxed),
        };
        for memory in self.memories() {
            health.leases += memory.leases.len();
            health.local += memory.locals.len();
            health.memory += memory.leases.bytes() + memory.locals.bytes();
            health.pending += memory.staged.len();
        }
        health
    }

    /// A call failed: the breaker, and whoever watches it, are told.
    pub(super) fn failed(&self, part: &PartState, sent: Epoch, error: &StoreError) {
        if let Some(change) = part.failed(sent, error.failure(), self.now()) {
            let now = self.now();
            self.events
                .mode_changed(now, change.mode, change.after, Some(error));
        }
    }

    /// What a request gets that needs the store.
    pub(super) fn error(&self) -> StoreError {
        StoreError::new("the store is away, and what is known here does not answer this")
            .with_failure(crate::store::Failure::Unreachable)
    }

    /// A session that was made by another instance while the store was away, and that the store does not have: it may
    /// get there yet, for as long as sessions are kept for that.
    pub(super) fn foreign(&self, born: Born) -> Result<Option<Entry>, StoreError> {
        if local::may_come(born, self.instance, self.seconds(), self.local_ttl) {
            return Err(StoreError::new(
                "a session that another instance made while the store was away is not in the store yet",
            ));
        }
        Ok(Some(Entry::Ended(Tombstone {
            handle: uuid::Uuid::nil().into(),
            end: End::new(EndReason::StoreLost, self.now()),
            successor: None,
        })))
    }

    /// What is to be told of a session: not that it is live, if its end has still to reach the store.
    pub(super) fn told(&self, key: &RecordKey, entry: Option<Entry>) -> Option<Entry> {
        match entry {
            Some(Entry::Live(record)) if self.has_journal() => {
                let end = self.journal().covers(key, &record);
                Some(match end {
                    Some(end) => Entry::Ended(Tombstone {
                        handle: record.handle(),
                        end,
                        successor: None,
                    }),
                    None => Entry::Live(record),
                })
            }
            entry => entry,
        }
    }

    /// Those of a list whose end has not still to reach the store.
    pub(super) fn not_ended(&self, mut records: Vec<Record>) -> Vec<Record> {
        if self.has_journal() {
            let journal = self.journal();
            records.retain(|record| journal.covers_listed(record).is_none());
        }
        records
    }

    /// Ends sessions here, and notes that the store has to.
    pub(super) async fn end_later(
        self: &Arc<Self>,
        bucket: Bucket,
        end: EndSessions,
        known: Option<Record>,
    ) -> Result<EndedSessions, StoreError> {
        let now = self.moment();
        let since = rules::after(now.store);
        // Before anybody is told: who signs in from here on began after it.
        self.floor.fetch_max(micros(since), Ordering::AcqRel);
        let (ended, pending) =
            self.memory(bucket)
                .end_later(bucket, end, known.as_ref(), since, now);
        let Some(pending) = pending else {
            return Ok(ended);
        };
        let added = {
            let mut journal = self.journal();
            let added = journal.add(pending);
            self.journal_changed(&journal);
            match added {
                Added::Kept(step) => {
                    self.noted(step);
                    true
                }
                Added::Collapsed(step) => {
                    self.noted(step);
                    self.events.journal_collapsed(now.store);
                    true
                }
                Added::Full => false,
            }
        };
        if !added {
            return Err(StoreError::new(
                "the store is away, and too many ends wait for it already: this one holds here alone",
            ));
        }
        Durable::sync(self).await.map_err(|error| {
            StoreError::new("an end that the store has to be told of could not be written down")
                .with_source(error)
        })?;
        // It may be back by now, and its recovery over.
        recovery::send_ends(self);
        Ok(ended)
    }

    /// Brings to the store what a session owes it, as far as that can be waited for; how the part is afterwards.
    pub(super) async fn bring(
        self: &Arc<Self>,
        key: &RecordKey,
        part: &Arc<PartState>,
        budget: &Budget,
    ) -> Epoch {
        recovery::bring(self, *key, part);
        let brought = async {
            loop {
                let told = self.brought.notified();
                if !self.memory(key.bucket).is_due(key) || !part.epoch().is_up() {
                    return;
                }
                told.await;
            }
        };
        let patience = budget.left().map_or(PATIENCE, |left| left.min(PATIENCE));
        let began = Instant::now();
        let is_late = tokio::time::timeout(patience, brought).await.is_err();
        budget.spend(began.elapsed());
        if is_late {
            return part.epoch().as_away();
        }
        part.epoch()
    }

    /// The same for all sessions of a bucket.
    pub(super) async fn bring_all(
        self: &Arc<Self>,
        bucket: Bucket,
        part: &Arc<PartState>,
        budget: &Budget,
    ) -> Epoch {
        let due = self.memory(bucket).due(|other| other == bucket);
        let mut epoch = part.epoch();
        for key in due {
            if !epoch.is_up() {
                break;
            }
            epoch = self.bring(&key, part, budget).await;
        }
        epoch
    }
}

/// So many ends are remembered for ten minutes.
const ENDS: usize = 262_144;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics under them but a bug; each function leaves what it holds whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Away {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Away")
            .field("outages", &self.outages)
            .finish_non_exhaustive()
    }
}
