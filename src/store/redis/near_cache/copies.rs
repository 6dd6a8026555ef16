//! Copies of what stands under some keys, as long as nothing changed there.
//!
//! Pure: no clock, no connection, no lock. A key is in one of these states here:
//!
//! ```text
//!            begin            end: nothing changed
//! (absent) ────────► read ─────────────────────────► kept
//!     ▲               │ changed                        │
//!     │               ▼                                │ changed, evicted
//!     └─ end ──── read, marked                         │
//!     ▲                                                │
//!     └────────────────────────────────────────────────┘
//! ```
//!
//! Invariant: a reply is kept only if nothing was told to have changed since before its read was sent, and only while the
//! connection lasts over which both came.

use hashbrown::HashMap;

use crate::id::{Bucket, Digest, RecordKey};
use crate::record::Record;

/// What a copy takes besides its record: its places in the table and in the index, and the allocator's share.
const OVERHEAD: usize = 192;
/// So many are looked at for one that was not used lately, and is to make room.
const TRIES: usize = 64;

/// The copies of some buckets, bounded in number and in bytes.
#[derive(Debug)]
pub(super) struct Copies {
    /// The connection that tells of their changes; 0: there is none, and nothing is kept.
    line: u64,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    /// Where the slots of a bucket are: what ends a user's sessions names the bucket alone.
    buckets: HashMap<Bucket, Vec<usize>>,
    /// The next slot that is looked at for one to make room.
    hand: usize,
    kept: usize,
    /// How many reads are under way.
    reads: usize,
    bytes: usize,
    most: usize,
    /// Changes are numbered.
    changes: u64,
    /// The number of the last one that was of everything.
    all_changed: u64,
}

#[derive(Debug)]
struct Slot {
    bucket: Bucket,
    digest: Digest,
    copy: Option<Record>,
    /// It was served since the hand passed.
    is_used: bool,
    /// How many reads of it are under way.
    reads: usize,
    /// The number of the last change that was told while one was.
    changed: u64,
}

/// A read that is registered, and so hears of what changes before its reply comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Read {
    line: u64,
    /// The number of the last change before it.
    begun: u64,
}

impl Copies {
    /// None yet, and none until there is a [`line`](Self::start).
    pub(super) fn new(most: usize) -> Self {
        Self {
            line: 0,
            slots: Vec::new(),
            free: Vec::new(),
            buckets: HashMap::new(),
            hand: 0,
            kept: 0,
            reads: 0,
            bytes: 0,
            most,
            changes: 0,
            all_changed: 0,
        }
    }

    /// Drops everything; from now on this connection tells of changes. 0: none does.
    pub(super) fn start(&mut self, line: u64) -> usize {
        self.line = line;
        self.drop_all()
    }

    /// Everything may have changed. How many copies that cost.
    pub(super) fn drop_all(&mut self) -> usize {
        self.changes += 1;
        self.all_changed = self.changes;
        let kept = self.kept;
        for place in 0..self.slots.len() {
            self.take(place);
        }
        kept
    }

    /// Registers a read, before it is sent. `None`: this connection tells of nothing any more, or too many are under
    /// way: its reply is not kept.
    pub(super) fn begin(&mut self, key: &RecordKey, line: u64) -> Option<Read> {
        if line == 0 || line != self.line || self.reads >= self.most {
            return None;
        }
        let place = self.find(key).unwrap_or_else(|| self.add(key));
        self.reads += 1;
        if let Some(slot) = &mut self.slots[place] {
            slot.reads += 1;
        }
        Some(Read {
            line,
            begun: self.changes,
        })
    }

    /// A read that was registered is over: with this record, or without one that could be kept. Copies take at most so
    /// many bytes. Whether it is kept.
    pub(super) fn end(
        &mut self,
        key: &RecordKey,
        read: Read,
        record: Option<Record>,
        most_bytes: usize,
    ) -> bool {
        let Some(place) = self.find(key) else {
            return false;
        };
        let Some(slot) = &mut self.slots[place] else {
            return false;
        };
        self.reads -= 1;
        slot.reads -= 1;
        let is_unchanged =
            read.line == self.line && read.begun >= slot.changed.max(self.all_changed);
        let fits = |record: &Record| record.size() + OVERHEAD <= most_bytes;
        match record.filter(|record| is_unchanged && fits(record)) {
            Some(record) => {
                self.keep(place, record, most_bytes);
                true
            }
            None => {
                self.free_if_empty(place);
                false
            }
        }
    }

    /// What is known to stand under a key, if the connection is as good as it was.
    pub(super) fn get(&mut self, key: &RecordKey) -> Option<&Record> {
        let place = self.find(key)?;
        let slot = self.slots[place].as_mut()?;
        slot.is_used = true;
        slot.copy.as_ref()
    }

    /// The same, by nobody who will ask again.
    pub(super) fn peek(&self, key: &RecordKey) -> Option<&Record> {
        self.slots[self.find(key)?].as_ref()?.copy.as_ref()
    }

    /// What stands under a key is, or may be, another. Whether that concerned anything here.
    pub(super) fn changed(&mut self, key: &RecordKey) -> bool {
        let Some(place) = self.find(key) else {
            return false;
        };
        self.changes += 1;
        self.mark(place);
        true
    }

    /// The same of all keys of a bucket. How many of them were known here.
    pub(super) fn bucket_changed(&mut self, bucket: Bucket) -> usize {
        let places = self.buckets.get(&bucket).cloned().unwrap_or_default();
        if places.is_empty() {
            return 0;
        }
        self.changes += 1;
        for place in &places {
            self.mark(*place);
        }
        places.len()
    }

    /// How many copies there are.
    pub(super) const fn len(&self) -> usize {
        self.kept
    }

    /// What they take.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Of the last change.
    fn mark(&mut self, place: usize) {
        if let Some(slot) = &mut self.slots[place] {
            slot.changed = self.changes;
        }
        self.take(place);
    }

    fn find(&self, key: &RecordKey) -> Option<usize> {
        let places = self.buckets.get(&key.bucket)?;
        places.iter().copied().find(|place| {
            self.slots[*place]
                .as_ref()
                .is_some_and(|slot| slot.digest == key.digest)
        })
    }

    fn add(&mut self, key: &RecordKey) -> usize {
        let slot = Some(Slot {
            bucket: key.bucket,
            digest: key.digest,
            copy: None,
            is_used: false,
            reads: 0,
            changed: 0,
        });
        let place = match self.free.pop() {
            Some(place) => {
                self.slots[place] = slot;
                place
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        self.buckets.entry(key.bucket).or_default().push(place);
        place
    }

    fn keep(&mut self, place: usize, record: Record, most_bytes: usize) {
        self.take_copy(place);
        self.kept += 1;
        self.bytes += record.size() + OVERHEAD;
        if let Some(slot) = &mut self.slots[place] {
            slot.copy = Some(record);
            // Whoever is asked for but once is no reason to drop others.
            slot.is_used = false;
        }
        while self.kept > self.most || self.bytes > most_bytes {
            self.make_room(place);
        }
    }

    /// Drops one copy: the next that was not used since the hand passed, or, of many that were, the one it stops at.
    fn make_room(&mut self, newest: usize) {
        let mut tries = 0;
        loop {
            let place = self.hand % self.slots.len();
            self.hand = place + 1;
            let Some(slot) = &mut self.slots[place] else {
                continue;
            };
            // The newest goes last: there is another, or it would be too large.
            if slot.copy.is_none() || (place == newest && self.kept > 1) {
                continue;
            }
            tries += 1;
            if !std::mem::take(&mut slot.is_used) || tries > TRIES {
                self.take(place);
                return;
            }
        }
    }

    /// Drops the copy, and the slot with it if nobody reads.
    fn take(&mut self, place: usize) {
        self.take_copy(place);
        self.free_if_empty(place);
    }

    fn take_copy(&mut self, place: usize) {
        if let Some(record) = self.slots[place].as_mut().and_then(|slot| slot.copy.take()) {
            self.kept -= 1;
            self.bytes -= record.size() + OVERHEAD;
        }
    }

    fn free_if_empty(&mut self, place: usize) {
        let is_empty = |slot: &mut Slot| slot.reads == 0 && slot.copy.is_none();
        let Some(slot) = self.slots[place].take_if(is_empty) else {
            return;
        };
        self.free.push(place);
        if let Some(places) = self.buckets.get_mut(&slot.bucket) {
            places.retain(|known| *known != place);
            if places.is_empty() {
                self.buckets.remove(&slot.bucket);
            }
        }
    }
}

#[cfg(test)]
mod tests;
