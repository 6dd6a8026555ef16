//! Room for what is new, at the bounds of the memory.
//!
//! A new session needs room for an entry, and is refused where there is none. A session that is there needs bytes at
//! most, and is not dropped for what is written to it. How many exactly is looked at only where the memory is full.

use std::sync::atomic::Ordering;
use std::time::SystemTime;

use super::packed::{Class, hash_key};
use super::{CHANGE_OVERHEAD, Inner, SHARDS, WASTE_OF_WRITES};
use crate::id::RecordKey;
use crate::record::{Added, Entry, Op, Record};
use crate::store::command::{Append, Apply, Create, Renewal, Replace};
use crate::store::{Failure, StoreError, rules};

/// What an operation needs room for.
#[derive(Debug, Clone, Copy)]
struct Need<'a> {
    /// For one more of them.
    entry: bool,
    bytes: usize,
    /// What stands there is not dropped for it: the hashes of the keys that it is about.
    spared: &'a [u64],
}

impl Inner {
    /// A session that is there is no new one: it was asked for before.
    pub(super) fn room_to_create(&self, create: &Create) -> Result<(), StoreError> {
        let need = Need {
            entry: true,
            bytes: create.record.size() + CHANGE_OVERHEAD,
            spared: &[hash_key(&create.key)],
        };
        if self.has_room(need) {
            return Ok(());
        }
        let grows = match self.load(&create.key) {
            None => return self.make_room(need),
            Some(Entry::Live(there)) => growth(&there, &there.joined(&create.record)),
            Some(Entry::Ended(_)) => 0,
        };
        self.make_room_to_grow(grows, need)
    }

    pub(super) fn room_to_apply(&self, apply: &Apply) -> Result<(), StoreError> {
        let values = apply.changes.each.iter().map(|change| match &change.op {
            Op::Set(json) => change.name.len() + json.len(),
            Op::Add(_) => change.name.len() + 20,
            Op::Remove => 0,
        });
        let agent = apply.seen.as_ref().and_then(|seen| seen.agent.as_deref());
        // Twice: it moves to a wider place perhaps, of which there is room for a few at a time.
        let seen = agent.map_or(0, str::len) + 2 * CHANGE_OVERHEAD;
        let need = Need {
            entry: false,
            bytes: values.sum::<usize>() + seen,
            spared: &[hash_key(&apply.key)],
        };
        if self.has_room(need) {
            return Ok(());
        }
        let grows = self.live(&apply.key).map_or(0, |record| {
            let changed = record.changed(&apply.changes, None);
            changed.map_or(0, |changed| growth(&record, &changed))
        });
        if grows == 0 && apply.seen.is_some() {
            // It brings another user agent perhaps. It is never refused, and no user's session is looked through for it.
            self.make_some_room(Need {
                bytes: seen,
                ..need
            });
        }
        self.make_room_to_grow(grows, need)
    }

    pub(super) fn room_to_append(&self, append: &Append) -> Result<(), StoreError> {
        let need = Need {
            entry: false,
            bytes: append.message.body.len() + CHANGE_OVERHEAD,
            spared: &[hash_key(&append.key)],
        };
        if self.has_room(need) {
            return Ok(());
        }
        let grows = self.live(&append.key).map_or(0, |record| {
            match record.added(&append.message, append.bounds, self.now()) {
                Added::New(with, _) => growth(&record, &with),
                Added::There(_) | Added::Full => 0,
            }
        });
        self.make_room_to_grow(grows, need)
    }

    /// The tombstone of the old id is one entry more, but a new id for a session that is there is no new session: where
    /// nothing can go, it goes above the bound. It stays at one: the next that looks for room finds that tombstone.
    pub(super) fn room_to_replace(&self, replace: &Replace) -> Result<(), StoreError> {
        let successor = replace.key.sibling(replace.successor);
        let brings = match &replace.renewal {
            Renewal::SignIn(sign_in) => sign_in.record.size(),
            Renewal::SameSession | Renewal::Reauthenticated { .. } | Renewal::Adopted(_) => 0,
        };
        let need = Need {
            entry: true,
            bytes: brings + CHANGE_OVERHEAD,
            spared: &[hash_key(&replace.key), hash_key(&successor)],
        };
        if self.has_room(need) {
            return Ok(());
        }
        let Some(record) = self.live(&replace.key) else {
            return Ok(());
        };
        let grows = match &replace.renewal {
            Renewal::SignIn(sign_in) => growth(&record, &rules::signed_in(&record, sign_in)),
            Renewal::SameSession | Renewal::Reauthenticated { .. } | Renewal::Adopted(_) => 0,
        };
        self.make_some_room(Need {
            bytes: grows + CHANGE_OVERHEAD,
            ..need
        });
        self.make_room_to_grow(grows, need)
    }

    /// For a tombstone of a session that may not be there yet: it is as good as a new one.
    pub(super) fn room_to_keep_out(&self, key: &RecordKey) -> Result<(), StoreError> {
        let need = Need {
            entry: true,
            bytes: CHANGE_OVERHEAD,
            spared: &[hash_key(key)],
        };
        if self.has_room(need) || self.load(key).is_some() {
            return Ok(());
        }
        self.make_room(need)
    }

    /// For a line of what a user did, which is no entry.
    pub(super) fn room_to_note(&self) -> Result<(), StoreError> {
        self.make_room(Need {
            entry: false,
            bytes: CHANGE_OVERHEAD,
            spared: &[],
        })
    }

    fn live(&self, key: &RecordKey) -> Option<Record> {
        match self.load(key)? {
            Entry::Live(record) => Some(record),
            Entry::Ended(_) => None,
        }
    }

    fn has_room(&self, need: Need<'_>) -> bool {
        let has_entry = !need.entry || self.entries.load(Ordering::Relaxed) < self.max_entries;
        has_entry && self.has_bytes(need.bytes)
    }

    fn has_bytes(&self, bytes: usize) -> bool {
        self.bytes.load(Ordering::Relaxed).saturating_add(bytes) <= self.max_bytes
    }

    /// A session that is there becomes so much longer. One that does not is written in any case.
    fn make_room_to_grow(&self, grows: usize, need: Need<'_>) -> Result<(), StoreError> {
        if grows == 0 {
            return Ok(());
        }
        self.make_room(Need {
            entry: false,
            bytes: grows,
            ..need
        })
    }

    /// Evicts until there is room. Instances of one process that do this at once may overshoot by one each.
    fn make_room(&self, need: Need<'_>) -> Result<(), StoreError> {
        if self.has_room(need) {
            return Ok(());
        }
        let now = self.now();
        if self.evict_least(need, now) || self.evict(Class::User, need, now) {
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

    /// The same for what is not refused: nothing is looked through for it that may have to stay.
    fn make_some_room(&self, need: Need<'_>) {
        if !self.has_room(need) {
            self.evict_least(need, self.now());
        }
    }

    /// Drops what is worth less than users' sessions, whether over or not; whether there is room then.
    fn evict_least(&self, need: Need<'_>, now: SystemTime) -> bool {
        self.evict(Class::Stranger, need, now)
            || self.evict(Class::Tombstone, need, now)
            || self.evict_logs(need)
    }

    /// Drops entries of a class until there is room; whether there is.
    fn evict(&self, class: Class, need: Need<'_>, now: SystemTime) -> bool {
        for _ in 0..SHARDS {
            let at = self.cursor.fetch_add(1, Ordering::Relaxed) % SHARDS;
            loop {
                let mut shard = self.lock(at);
                let evicted = shard.evict(class, need.spared, now);
                drop(self.settle(shard, WASTE_OF_WRITES));
                if self.has_room(need) {
                    return true;
                }
                // One from each shard in turn while entries are the matter: they all have about as many.
                if !evicted || self.has_bytes(need.bytes) {
                    break;
                }
            }
        }
        false
    }

    /// The same of users' histories and activities, which are no entries: where those are too many, nothing of what
    /// happened is forgotten for it.
    fn evict_logs(&self, need: Need<'_>) -> bool {
        for at in 0..SHARDS {
            while !self.has_bytes(need.bytes) {
                let mut shard = self.lock(at);
                let evicted = shard.evict_log();
                drop(self.settle(shard, WASTE_OF_WRITES));
                if !evicted {
                    break;
                }
            }
        }
        self.has_room(need)
    }
}

/// How much longer a record becomes.
fn growth(from: &Record, to: &Record) -> usize {
    to.size().saturating_sub(from.size())
}
