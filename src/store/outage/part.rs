//! One part of the store, as every request sees it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

use super::breaker::{Breaker, Continuity, Mode};
use crate::store::{Beat, Failure, Part};

/// A part's breaker, and a copy of its state that costs requests no lock.
#[derive(Debug)]
pub(super) struct PartState {
    pub(super) part: Part,
    breaker: Mutex<Breaker>,
    /// The epoch, and in the lowest bit whether the part is read.
    state: AtomicU64,
    /// The last call went unanswered.
    is_suspected: AtomicBool,
    /// It went away: whoever waits for it need not.
    opened: Notify,
    /// Somebody brings to the part what is due.
    bringing: AtomicBool,
}

/// What a part was when something was sent to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Epoch(u64);

impl Epoch {
    /// Whether the part is read.
    pub(super) const fn is_up(self) -> bool {
        self.0 & 1 == 1
    }

    /// The same, for whoever is not to wait for the part although it answers.
    pub(super) const fn as_away(self) -> Self {
        Self(self.0 & !1)
    }

    const fn number(self) -> u64 {
        self.0 >> 1
    }
}

/// Whoever brings to a part what is due, wherever that ends: also with its runtime.
#[derive(Debug)]
pub(super) struct Bringing(Arc<PartState>);

impl Drop for Bringing {
    fn drop(&mut self) {
        self.0.bringing.store(false, Ordering::Release);
    }
}

/// A change of mode, to be told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    pub(super) mode: Mode,
    /// How long the one before lasted.
    pub(super) after: Duration,
}

impl PartState {
    pub(super) fn new(part: Part, breaker: Breaker) -> Self {
        Self {
            part,
            state: AtomicU64::new(encoded(&breaker)),
            breaker: Mutex::new(breaker),
            is_suspected: AtomicBool::new(false),
            opened: Notify::new(),
            bringing: AtomicBool::new(false),
        }
    }

    pub(super) fn epoch(&self) -> Epoch {
        Epoch(self.state.load(Ordering::Acquire))
    }

    pub(super) fn mode(&self) -> (Mode, SystemTime) {
        let breaker = self.lock();
        (breaker.mode(), breaker.since())
    }

    pub(super) fn least(&self) -> u64 {
        self.lock().least()
    }

    /// A call was answered. It costs a lock only after one that was not.
    pub(super) fn answered(&self, sent: Epoch) {
        if self.is_suspected.load(Ordering::Relaxed) {
            let mut breaker = self.lock();
            breaker.answered(sent.number());
            self.is_suspected
                .store(breaker.is_suspected(), Ordering::Relaxed);
        }
    }

    /// A call failed; the change, if that opened the breaker.
    pub(super) fn failed(&self, sent: Epoch, failure: Failure, now: SystemTime) -> Option<Change> {
        self.change(now, |breaker| breaker.failed(sent.number(), failure, now))
    }

    /// A heartbeat was answered: what is owed to the store, and the change, if it was away.
    pub(super) fn beat(&self, beat: Beat, now: SystemTime) -> (Continuity, Option<Change>) {
        let mut owed = Continuity::Unbroken;
        let change = self.change(now, |breaker| {
            let before = breaker.mode();
            owed = breaker.beat(beat, now);
            breaker.mode() != before
        });
        (owed, change)
    }

    /// What was owed is done.
    pub(super) fn settled(&self, sent: Epoch) {
        self.lock().settled(sent.number());
    }

    /// It has been told everything.
    pub(super) fn recovered(&self, sent: Epoch, now: SystemTime) -> Option<Change> {
        self.change(now, |breaker| breaker.recovered(sent.number(), now))
    }

    /// Begins to bring to the part what is due, unless somebody is at it, until what this gives is dropped.
    pub(super) fn bringing(self: &Arc<Self>) -> Option<Bringing> {
        let is_idle = !self.bringing.swap(true, Ordering::AcqRel);
        is_idle.then(|| Bringing(Arc::clone(self)))
    }

    /// Waits until the part is not read any more.
    pub(super) async fn opened(&self, sent: Epoch) {
        loop {
            let opened = self.opened.notified();
            if self.epoch().0 != sent.0 {
                return;
            }
            opened.await;
        }
    }

    fn change(&self, now: SystemTime, decide: impl FnOnce(&mut Breaker) -> bool) -> Option<Change> {
        let mut breaker = self.lock();
        let since = breaker.since();
        let changed = decide(&mut breaker);
        self.is_suspected
            .store(breaker.is_suspected(), Ordering::Relaxed);
        if !changed {
            return None;
        }
        self.publish(&breaker);
        let mode = breaker.mode();
        drop(breaker);
        if mode == Mode::Degraded {
            self.opened.notify_waiters();
        }
        Some(Change {
            mode,
            after: now.duration_since(since).unwrap_or_default(),
        })
    }

    fn publish(&self, breaker: &Breaker) {
        self.state.store(encoded(breaker), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Breaker> {
        // Nothing panics under it.
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn encoded(breaker: &Breaker) -> u64 {
    breaker.epoch() << 1 | u64::from(breaker.mode() == Mode::Healthy)
}
