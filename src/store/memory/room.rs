//! Room for what is new, at the bounds of the memory.

use std::sync::atomic::Ordering;
use std::time::SystemTime;

use super::packed::Class;
use super::{Inner, SHARDS, WASTE_OF_WRITES};
use crate::store::{Failure, StoreError};

impl Inner {
    fn has_room(&self, bytes: usize) -> bool {
        self.entries.load(Ordering::Relaxed) < self.max_entries && self.has_bytes(bytes)
    }

    fn has_bytes(&self, bytes: usize) -> bool {
        self.bytes.load(Ordering::Relaxed).saturating_add(bytes) <= self.max_bytes
    }

    /// Evicts until `bytes` more fit. Instances of one process that do this at once may overshoot by one each.
    pub(super) fn make_room(&self, bytes: usize) -> Result<(), StoreError> {
        if self.has_room(bytes) {
            return Ok(());
        }
        let now = self.now();
        if self.evict_least(bytes, now) || self.evict(Class::User, bytes, now) {
            return Ok(());
        }
        Err(StoreError::new(format!(
            "the memory store is full ({} of {} entries, {} of {} bytes), and everything in it is in use",
            self.entries.load(Ordering::Relaxed),
            self.max_entries,
            self.bytes.load(Ordering::Relaxed),
            self.max_bytes,
        ))
        .with_failure(Failure::Full))
    }

    /// The same for a touch, which brings no entry but perhaps another user agent: it is never refused, and no user's
    /// session is looked through for it.
    pub(super) fn make_some_room(&self, bytes: usize) {
        if !self.has_bytes(bytes) {
            self.evict_least(bytes, self.now());
        }
    }

    /// Drops what is worth less than users' sessions, whether over or not; whether `bytes` more fit then.
    fn evict_least(&self, bytes: usize, now: SystemTime) -> bool {
        self.evict(Class::Stranger, bytes, now)
            || self.evict(Class::Tombstone, bytes, now)
            || self.evict_logs(bytes)
    }

    /// Drops entries of a class until `bytes` more fit; whether they do.
    fn evict(&self, class: Class, bytes: usize, now: SystemTime) -> bool {
        for _ in 0..SHARDS {
            let at = self.cursor.fetch_add(1, Ordering::Relaxed) % SHARDS;
            loop {
                let mut shard = self.lock(at);
                let evicted = shard.evict(class, now);
                drop(self.settle(shard, WASTE_OF_WRITES));
                if self.has_room(bytes) {
                    return true;
                }
                // One from each shard in turn while entries are the matter: they all have about as many.
                if !evicted || self.has_bytes(bytes) {
                    break;
                }
            }
        }
        false
    }

    /// The same of users' histories and activities, which are no entries: where those are too many, nothing of what
    /// happened is forgotten for it.
    fn evict_logs(&self, bytes: usize) -> bool {
        for at in 0..SHARDS {
            while !self.has_bytes(bytes) {
                let mut shard = self.lock(at);
                let evicted = shard.evict_log();
                drop(self.settle(shard, WASTE_OF_WRITES));
                if !evicted {
                    break;
                }
            }
        }
        self.has_room(bytes)
    }
}
