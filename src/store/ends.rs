//! Who waits for the end of which session.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use hashbrown::HashMap;
use tokio::sync::watch;

use crate::id::{Born, Handle, RecordKey};
use crate::record::{EndReason, Entry};

/// Where a store in this process tells of ends as they happen, for those who wait for the end of a session: see
/// [`SessionStore::ends`](super::SessionStore::ends). Clones are the same.
///
/// While nobody waits, telling it costs a look at a number.
#[derive(Clone, Default)]
pub struct Ends(Arc<Inner>);

#[derive(Default)]
struct Inner {
    waiting: AtomicUsize,
    moved: AtomicUsize,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    watched: HashMap<Handle, Watched>,
    /// Under which keys go on those whose id was superseded, until it is known what stands there.
    moved: HashMap<RecordKey, Handle>,
}

/// A session that somebody waits for.
struct Watched {
    at: Watch,
    watchers: usize,
    ended: Arc<watch::Sender<Option<EndReason>>>,
}

/// What is known of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch {
    pub(crate) handle: Handle,
    pub(crate) key: RecordKey,
    pub(crate) born: Option<Born>,
    /// When it ends by its clocks, as far as is known.
    pub(crate) ends_at: SystemTime,
    /// When a read was sent that found it alive.
    pub(crate) verified: Instant,
}

impl Ends {
    /// One that nobody waits at.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What stands under a key from now on. To be told in the order in which it comes to stand there, before anybody
    /// else can put something there.
    pub fn stands(&self, key: &RecordKey, entry: &Entry) {
        if self.is_empty() {
            return;
        }
        match entry {
            Entry::Live(record) => {
                if self.0.moved.load(Ordering::Acquire) > 0 {
                    let mut table = self.table();
                    let moved = table.moved.remove(key);
                    self.0.moved.store(table.moved.len(), Ordering::Release);
                    if let Some(handle) = moved
                        && handle != record.handle()
                    {
                        self.end(&mut table, handle, EndReason::Regenerated);
                    }
                }
            }
            Entry::Ended(tombstone) => {
                let mut table = self.table();
                let handle = tombstone.handle;
                let Some(watched) = table.watched.get_mut(&handle) else {
                    return;
                };
                if watched.at.key != *key {
                    return;
                }
                match (tombstone.end.reason, tombstone.successor) {
                    (EndReason::Regenerated, Some(successor)) => {
                        watched.at.key = key.sibling(successor);
                        let next = watched.at.key;
                        table.moved.insert(next, handle);
                        self.0.moved.store(table.moved.len(), Ordering::Release);
                    }
                    (reason, _) => self.end(&mut table, handle, reason),
                }
            }
        }
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.waiting.load(Ordering::Acquire) == 0
    }

    /// For how many sessions somebody waits.
    pub(crate) fn count(&self) -> usize {
        self.0.waiting.load(Ordering::Acquire)
    }

    /// Waits for the end of this session.
    pub(crate) fn watch(&self, at: Watch) -> Watcher {
        let mut table = self.table();
        let watched = table.watched.entry(at.handle).or_insert_with(|| Watched {
            at,
            watchers: 0,
            ended: Arc::new(watch::Sender::new(None)),
        });
        watched.watchers += 1;
        let ended = Arc::clone(&watched.ended);
        self.0.waiting.store(table.watched.len(), Ordering::Release);
        Watcher {
            receiver: ended.subscribe(),
            ended,
            handle: at.handle,
            ends: self.clone(),
        }
    }

    /// The session is over.
    pub(crate) fn tell(&self, handle: Handle, reason: EndReason) {
        if !self.is_empty() {
            self.end(&mut self.table(), handle, reason);
        }
    }

    /// Those that somebody waits for, and of which this holds.
    pub(crate) fn watched(&self, which: impl Fn(&Watch) -> bool) -> Vec<Watch> {
        let table = self.table();
        let all = table.watched.values().map(|watched| watched.at);
        all.filter(which).collect()
    }

    /// More is known of a session now; nothing where it has been superseded since.
    pub(crate) fn learn(&self, before: &Watch, now: Watch) {
        if let Some(watched) = self.table().watched.get_mut(&before.handle)
            && watched.at.key == before.key
        {
            watched.at = now;
        }
    }

    fn end(&self, table: &mut Table, handle: Handle, reason: EndReason) {
        if let Some(watched) = table.watched.remove(&handle) {
            watched.ended.send_replace(Some(reason));
            self.forget(table, &watched);
        }
    }

    fn forget(&self, table: &mut Table, watched: &Watched) {
        table.moved.remove(&watched.at.key);
        self.0.moved.store(table.moved.len(), Ordering::Release);
        self.0.waiting.store(table.watched.len(), Ordering::Release);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing panics under it.
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who waits, until this is dropped.
pub(crate) struct Watcher {
    receiver: watch::Receiver<Option<EndReason>>,
    ended: Arc<watch::Sender<Option<EndReason>>>,
    handle: Handle,
    ends: Ends,
}

impl Watcher {
    pub(crate) async fn ended(mut self) -> EndReason {
        loop {
            if let Some(reason) = *self.receiver.borrow_and_update() {
                return reason;
            }
            if self.receiver.changed().await.is_err() {
                // This watcher has a sender of its own, so it does not come to this.
                return EndReason::StoreLost;
            }
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut table = self.ends.table();
        let Some(watched) = table.watched.get_mut(&self.handle) else {
            return;
        };
        if !Arc::ptr_eq(&watched.ended, &self.ended) {
            return;
        }
        watched.watchers -= 1;
        if watched.watchers == 0
            && let Some(watched) = table.watched.remove(&self.handle)
        {
            self.ends.forget(&mut table, &watched);
        }
    }
}

impl fmt::Debug for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ends")
            .field("waiting", &self.0.waiting)
            .finish_non_exhaustive()
    }
}
