//! Sessions in this process.
//!
//! An array of shards, each under its own lock, a session's shard chosen by its bucket. So everything of one user is
//! under one lock, every operation takes exactly one, and no operation sees half of another. No lock is held while
//! anything waits. A shard's table is small, so that growing one is a short pause and not a long one.

mod commons;
mod log;
mod packed;
mod pages;
mod pool;
mod queue;
mod room;
mod shelf;
mod table;
mod users;
mod waste;
mod wheel;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use self::shelf::Shard;
use self::waste::Waste;
use super::allowance::Allowances;
use super::command::{
    Append, Appended, Applied, Apply, Create, Created, EndScope, EndSessions, EndedSessions,
    Replace, Replaced, Spend, Spent,
};
use super::ends::Ends;
use super::{Counts, SessionStore, StoreError, rules};
use crate::clock::{Clock, SystemClock, instant, micros};
use crate::id::{Bucket, Kind, RecordKey, UserId};
use crate::record::{Activity, Entry, Record, UserLog};

const SHARDS: usize = 256;
/// So many entries that are over are dropped with each write: more than a write can add.
const PURGED_BY_WRITE: usize = 4;
/// So many at a time by the sweeper, which then lets others have the lock.
const PURGED_AT_ONCE: usize = 64;
/// Up to so many bytes that are no longer used are left to the sweeper by the writes of a shard: 16 MiB in all.
const WASTE_OF_WRITES: usize = 64 << 10;
/// Between pieces of memory that are given back.
const BREATH: Duration = Duration::from_micros(50);
/// How often the sweeper looks at every shard.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Up to so many entries are counted in one go: below a millisecond or two.
const COUNTED_AT_ONCE: usize = 10_000;
/// A count of more is good for so many times as long as it took.
const COUNTED_FOR: u32 = 20;
/// What a change may add besides its values: heads, and the tombstone that a replaced id leaves.
const CHANGE_OVERHEAD: usize = 512;

/// Keeps sessions in the memory of this process: for one instance, for tests, and for a first afternoon.
///
/// Clones share the same sessions. They are gone when the process is.
///
/// - **Bounded** in entries and in bytes. At the bound room is made in this order: strangers' sessions, roughly those that
///   would be over first; then the tombstones that only tell why something ended; then, where bytes are the matter,
///   users' histories and activities, those that would be forgotten first; then users' sessions that are over. Nobody
///   is signed out to make room: when nothing of these is left, a new session is refused with a [`StoreError`], and
///   requests get 503.
/// - **A session that is there** can be written to all the same, and does not go to make room for what is written to it,
///   whoever's it is. Only a write that makes it longer is refused, and only where bytes are the matter. It gets a new id
///   also where nothing can go: what then tells of the old one is the one entry above the bound, and is the first to go.
/// - **Freed.** What is over is dropped a few entries with each write, and by a task that starts with the first
///   session and ends with the last clone (it needs a tokio runtime with time enabled). Reasons are told until
///   [`Entry::kept_until`].
/// - The cost of an operation does not grow with the number of sessions.
///
/// ```
/// use sessile::{MemoryStore, SessionLayer};
/// let sessions = SessionLayer::new(MemoryStore::new());
/// ```
#[derive(Debug, Clone)]
pub struct MemoryStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shards: Box<[Mutex<Shard>]>,
    clock: Arc<dyn Clock>,
    /// The latest `since` that was handed out: [`SessionStore::now`] is never earlier, so that who begins after an
    /// "end all" is told from who began before, also within one tick of the clock.
    floor: AtomicU64,
    entries: AtomicUsize,
    bytes: AtomicUsize,
    /// The last count of many, and when it was done.
    counted: Mutex<Option<(Counts, Instant)>>,
    max_entries: usize,
    max_bytes: usize,
    /// Where the next eviction starts, so that not one shard pays for all.
    cursor: AtomicUsize,
    swept: AtomicBool,
    ends: Ends,
    allowances: Allowances,
}

/// Sets up a [`MemoryStore`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until build() is called"]
pub struct MemoryStoreBuilder {
    max_entries: usize,
    max_bytes: usize,
    record_limit: usize,
    clock: Arc<dyn Clock>,
}

impl MemoryStore {
    /// A store with the default bounds.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// A store with other bounds, or another clock.
    pub fn builder() -> MemoryStoreBuilder {
        MemoryStoreBuilder {
            max_entries: 4_000_000,
            max_bytes: 2 << 30,
            record_limit: 64 << 10,
            clock: Arc::new(SystemClock),
        }
    }

    /// How many entries it has: sessions, and what tells why others ended.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.inner.entries.load(Ordering::Relaxed)
    }

    /// How many bytes they take with all that belongs to them, with the room that is kept for more, by estimate: the process
    /// takes about as much.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.inner.bytes.load(Ordering::Relaxed)
    }

    /// Drops everything that is over, at once. It happens by itself: this is for tests that move the clock.
    pub fn purge(&self) {
        let mut waste = Waste::default();
        // All of them each time, not only those up to the first with more.
        while (0..SHARDS)
            .filter(|at| self.inner.purge(*at, &mut waste))
            .count()
            > 0
        {}
        for () in waste.pieces() {
            // Whoever waits for memory meanwhile comes first: yielding is not enough, for the system takes its lock again
            // before they have got it.
            std::thread::sleep(BREATH);
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStoreBuilder {
    /// At most so many entries: sessions, and for a day those that ended. Default: 4,000,000.
    pub const fn max_entries(mut self, entries: usize) -> Self {
        self.max_entries = entries;
        self
    }

    /// At most so many bytes in all. Default: 2 GiB. That is more than as many strangers' sessions as there may be
    /// [entries](Self::max_entries) take with 200 bytes of data, of about 335 bytes each, and about three million users'
    /// sessions with their histories, of 660. A user agent that many have is kept once.
    pub const fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// At most so many bytes a session, all of its values together. Default: 64 KiB: what belongs to a session is
    /// small, and what is not belongs elsewhere.
    pub const fn record_limit(mut self, bytes: usize) -> Self {
        self.record_limit = bytes;
        self
    }

    /// Where the time comes from. Default: the operating system.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The store.
    #[must_use]
    pub fn build(self) -> MemoryStore {
        let ends = Ends::new();
        let shard = || Mutex::new(Shard::new(self.record_limit, ends.clone()));
        MemoryStore {
            inner: Arc::new(Inner {
                shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
                clock: self.clock,
                floor: AtomicU64::new(0),
                entries: AtomicUsize::new(0),
                bytes: AtomicUsize::new(0),
                counted: Mutex::new(None),
                max_entries: self.max_entries,
                max_bytes: self.max_bytes,
                cursor: AtomicUsize::new(0),
                swept: AtomicBool::new(false),
                ends: ends.clone(),
                allowances: Allowances::default(),
            }),
        }
    }
}

impl Inner {
    fn now(&self) -> SystemTime {
        let (now, floor) = (self.clock.now(), self.floor.load(Ordering::Acquire));
        // Nearly always there is none.
        if floor == 0 {
            return now;
        }
        now.max(instant(floor))
    }

    fn lock(&self, at: usize) -> MutexGuard<'_, Shard> {
        // Poison would mean a panic in the rules; what they had done by then is a whole entry in its place.
        self.shards[at]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn shard(&self, bucket: Bucket) -> MutexGuard<'_, Shard> {
        self.lock(usize::from(bucket.get()) % SHARDS)
    }

    fn load(&self, key: &RecordKey) -> Option<Entry> {
        let shard = self.shard(key.bucket);
        shard.load(key, self.now())
    }

    /// Runs one operation on a bucket.
    fn write<T>(&self, bucket: Bucket, operation: impl FnOnce(&mut Shard, SystemTime) -> T) -> T {
        let mut shard = self.shard(bucket);
        // Under the lock: two operations on one bucket see the time in the order in which they happen.
        let now = self.now();
        let out = operation(&mut shard, now);
        shard.purge(now, PURGED_BY_WRITE);
        drop(self.settle(shard, WASTE_OF_WRITES));
        out
    }

    /// Brings the totals up to date, and then lets go of the lock: whoever drops an entry must not be counted before
    /// whoever added it, or the totals would be less than nothing for a moment, and the store full.
    ///
    /// Gives the memory that is no longer used, if it is more than `waste` bytes, to be dropped now that the lock is
    /// gone. What is less is left to the sweeper, so that hardly any request drops it.
    fn settle(&self, mut shard: MutexGuard<'_, Shard>, waste: usize) -> Waste {
        let delta = shard.take_delta();
        add(&self.entries, delta.entries);
        add(&self.bytes, delta.bytes);
        let waste = shard.take_waste(waste);
        drop(shard);
        waste
    }

    /// Drops some of what is over in one shard; whether more may be waiting there.
    ///
    /// Whoever calls it goes to the next shard, and not to the same one again: a lock that is taken again as soon as it
    /// was given back is hardly ever got by those who wait for it, and they would wait until the whole shard is done.
    fn purge(&self, at: usize, waste: &mut Waste) -> bool {
        let mut shard = self.lock(at);
        let more = shard.purge(self.now(), PURGED_AT_ONCE);
        waste.take_along(self.settle(shard, 0));
        more
    }

    /// Looks at each session, and lets others have their turn.
    async fn count(&self) -> Counts {
        let (began, at) = (Instant::now(), self.now());
        let mut live = [0; 2];
        for shard in 0..SHARDS {
            self.lock(shard).count(at, &mut live);
            if self.entries.load(Ordering::Relaxed) > COUNTED_AT_ONCE {
                tokio::task::yield_now().await;
            }
        }
        Counts {
            user: live[Kind::User as usize],
            demo: live[Kind::Demo as usize],
            at,
            took: began.elapsed(),
        }
    }

    fn counted(&self) -> MutexGuard<'_, Option<(Counts, Instant)>> {
        // Nothing panics under it.
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the sweeper, once.
    fn keep_swept(self: &Arc<Self>) {
        if !self.swept.load(Ordering::Relaxed)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
            && !self.swept.swap(true, Ordering::Relaxed)
        {
            runtime.spawn(sweep(Arc::downgrade(self)));
        }
    }
}

/// Drops what is over, a little at a time, for as long as the store is there.
async fn sweep(store: Weak<Inner>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let (mut more, mut waste) = (true, Waste::default());
        while std::mem::take(&mut more) {
            for at in 0..SHARDS {
                let Some(inner) = store.upgrade() else { return };
                if inner.purge(at, &mut waste) {
                    more = true;
                    drop(inner);
                    tokio::task::yield_now().await;
                }
            }
        }
        for () in waste.pieces() {
            // As in `purge`.
            tokio::time::sleep(BREATH).await;
        }
    }
}

fn add(total: &AtomicUsize, delta: isize) {
    match delta {
        0 => {}
        1.. => {
            total.fetch_add(delta.unsigned_abs(), Ordering::Relaxed);
        }
        _ => {
            total.fetch_sub(delta.unsigned_abs(), Ordering::Relaxed);
        }
    }
}

impl SessionStore for MemoryStore {
    fn now(&self) -> SystemTime {
        self.inner.now()
    }

    fn ends(&self) -> Option<Ends> {
        Some(self.inner.ends.clone())
    }

    async fn create(&self, create: Create) -> Result<Created, StoreError> {
        self.inner.keep_swept();
        self.inner.room_to_create(&create)?;
        Ok(self.inner.write(create.key.bucket, |shard, now| {
            rules::create(shard, now, &create)
        }))
    }

    async fn load(&self, key: RecordKey) -> Result<Option<Entry>, StoreError> {
        Ok(self.inner.load(&key))
    }

    fn load_now(&self, key: &RecordKey) -> Option<Option<Entry>> {
        Some(self.inner.load(key))
    }

    async fn apply(&self, apply: Apply) -> Result<Applied, StoreError> {
        self.inner.room_to_apply(&apply)?;
        Ok(self.inner.write(apply.key.bucket, |shard, now| {
            rules::apply(shard, now, &apply)
        }))
    }

    async fn append(&self, append: Append) -> Result<Appended, StoreError> {
        self.inner.room_to_append(&append)?;
        Ok(self.inner.write(append.key.bucket, |shard, now| {
            rules::append(shard, now, &append)
        }))
    }

    async fn spend(&self, spend: Spend) -> Result<Spent, StoreError> {
        Ok(self.inner.allowances.spend(&spend, self.inner.now()))
    }

    async fn replace(&self, replace: Replace) -> Result<Replaced, StoreError> {
        self.inner.room_to_replace(&replace)?;
        Ok(self.inner.write(replace.key.bucket, |shard, now| {
            rules::replace(shard, now, &replace)
        }))
    }

    async fn end(&self, end: EndSessions) -> Result<EndedSessions, StoreError> {
        let bucket = match &end.scope {
            EndScope::One(key, _) => key.bucket,
            EndScope::Unborn(key) => {
                self.inner.room_to_keep_out(key)?;
                key.bucket
            }
            EndScope::Handle(user, _) | EndScope::Others(user, _) | EndScope::All(user) => {
                self.bucket(user)
            }
        };
        Ok(self.inner.write(bucket, |shard, now| {
            let ended = rules::end(shard, now, bucket, &end);
            if let Some(since) = ended.since {
                // Before the lock is gone, and so before anybody is told.
                self.inner.floor.fetch_max(micros(since), Ordering::AcqRel);
            }
            ended
        }))
    }

    async fn list(&self, user: UserId) -> Result<Vec<Record>, StoreError> {
        let bucket = self.bucket(&user);
        let shard = self.inner.shard(bucket);
        Ok(rules::list(&*shard, self.inner.now(), bucket, &user))
    }

    async fn record(&self, user: UserId, activity: Activity) -> Result<(), StoreError> {
        self.inner.room_to_note()?;
        self.inner.write(self.bucket(&user), |shard, now| {
            rules::record(shard, now, &user, activity);
        });
        Ok(())
    }

    async fn log(&self, user: UserId) -> Result<UserLog, StoreError> {
        let shard = self.inner.shard(self.bucket(&user));
        Ok(rules::log(&*shard, self.inner.now(), &user))
    }

    async fn erase(&self, user: UserId) -> Result<(), StoreError> {
        self.inner.write(self.bucket(&user), |shard, _| {
            rules::Shelf::erase(shard, &user);
        });
        Ok(())
    }

    /// Looks at each session. A count of many is given again for twenty times as long as it took.
    async fn counts(&self, _oldest: Duration) -> Result<Option<Counts>, StoreError> {
        if let Some((counts, done)) = *self.inner.counted()
            && done.elapsed() < COUNTED_FOR * counts.took
        {
            return Ok(Some(counts));
        }
        let counts = self.inner.count().await;
        let is_long = self.inner.entries.load(Ordering::Relaxed) > COUNTED_AT_ONCE;
        *self.inner.counted() = is_long.then(|| (counts, Instant::now()));
        Ok(Some(counts))
    }

    async fn count(&self, kind: Kind) -> Result<u64, StoreError> {
        Ok(self.inner.count().await.of(kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Fresh;
    use crate::record::{Changes, NewRecord, Seen};

    const HOUR: Duration = Duration::from_secs(3600);

    fn seen(store: &MemoryStore, agent: Option<Arc<str>>) -> Seen {
        Seen {
            at: store.now(),
            address: None,
            agent,
        }
    }

    /// It is over when it begins.
    fn new_record(at: SystemTime) -> NewRecord {
        NewRecord {
            handle: Fresh::draw().unwrap().handle(),
            user: None,
            created_at: at,
            signed_in_at: None,
            absolute_end: at,
            idle_timeout: Duration::ZERO,
            touch_threshold: Duration::ZERO,
            persistent: false,
            seen: Seen {
                at,
                address: None,
                agent: None,
            },
            values: Vec::new(),
        }
    }

    fn create(bucket: u16, at: SystemTime) -> Create {
        Create {
            key: Fresh::draw().unwrap().id(bucket.into()).key(Kind::User),
            record: Record::new(&new_record(at)),
            began_at: at,
            limit: None,
            held: false,
        }
    }

    #[tokio::test]
    async fn inv11_what_touches_bring_makes_room_too() {
        const MOST: usize = 200_000;
        let store = MemoryStore::builder().max_bytes(MOST).build();
        let mut keys = Vec::new();
        while store.bytes() < MOST - 2 * CHANGE_OVERHEAD {
            let mut made = create(keys.len() as u16, store.now());
            made.record = Record::new(&NewRecord {
                absolute_end: store.now() + HOUR,
                idle_timeout: HOUR,
                ..new_record(store.now())
            });
            keys.push(made.key);
            store.create(made).await.unwrap();
        }
        let mut saved = 0;
        for (n, key) in keys.iter().enumerate() {
            let agent = format!("{n:0>200}");
            let touch = Apply {
                read: None,
                key: *key,
                changes: Changes::default(),
                seen: Some(seen(&store, Some(agent.into()))),
            };
            let applied = store.apply(touch).await.unwrap();
            saved += usize::from(matches!(applied, Applied::Saved(_)));
            assert!(store.bytes() <= MOST, "{}", store.bytes());
        }
        assert!(saved > keys.len() / 3, "{saved} of {}", keys.len());
    }

    #[test]
    fn inv11_what_is_over_is_dropped_a_bounded_number_at_a_time() {
        let store = MemoryStore::new();
        let now = store.now();
        for n in 0..300 {
            let made = create(7 + n % 2, now);
            let mut shard = store.inner.lock(usize::from(7 + n % 2));
            rules::create(&mut *shard, now, &made);
            drop(store.inner.settle(shard, 0));
        }
        assert_eq!(store.entries(), 300);
        let later = now + Duration::from_secs(3600);
        let mut steps = 0;
        loop {
            let before = store.entries();
            let mut shard = store.inner.lock(7);
            let more = shard.purge(later, PURGED_AT_ONCE);
            drop(store.inner.settle(shard, 0));
            assert!(before - store.entries() <= PURGED_AT_ONCE);
            steps += 1;
            if !more {
                break;
            }
        }
        assert!(steps >= 150 / PURGED_AT_ONCE);
        assert_eq!(store.entries(), 150, "the other shard's are its own");
    }
}
