//! Copies of records that this instance has verified: what it may go on serving for a while.

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::HashMap;

use super::rule::{Rule, holds};
use super::stamp::Stamp;
use crate::id::{Kind, RecordKey, UserId};
use crate::record::Record;

/// What a lease takes besides its record: its places in the table and in the queue, and the allocator's share.
const OVERHEAD: usize = 192;
/// So many of the oldest are looked at for one that is to make room.
const TRIES: usize = 8;

/// The leases of some buckets, bounded in bytes.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Leases {
    table: HashMap<RecordKey, Lease>,
    /// Each lease once, roughly the oldest first: with when its read was sent when it was filed.
    queue: VecDeque<(RecordKey, Stamp)>,
    bytes: usize,
    max_bytes: usize,
    /// For users' sessions, and for demo sessions.
    lengths: [Duration; 2],
    /// Changes are numbered.
    changes: u64,
}

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
struct Lease {
    record: Record,
    /// When the read was sent whose answer this is.
    sent: Stamp,
    /// The number of the change that made the record what it is.
    changed: u64,
}

impl Leases {
    /// Leases of these lengths; of zero: none are kept.
    pub(crate) fn new(lengths: [Duration; 2], max_bytes: usize) -> Self {
        Self {
            table: HashMap::new(),
            queue: VecDeque::new(),
            bytes: 0,
            max_bytes,
            lengths,
            changes: 0,
        }
    }

    /// The store had this record when it was asked at `sent`.
    pub(crate) fn keep(&mut self, key: RecordKey, record: Record, sent: Stamp, now: Stamp) {
        let size = record.size() + OVERHEAD;
        if self.lengths[key.kind as usize].is_zero() || size > self.max_bytes {
            self.remove(&key);
            return;
        }
        let sent = if holds(Rule::LeaseFromSending) {
            sent
        } else {
            now
        };
        self.bytes += size;
        self.changes += 1;
        let lease = Lease {
            record,
            sent,
            changed: self.changes,
        };
        match self.table.insert(key, lease) {
            // It is in the queue already.
            Some(before) => self.bytes -= before.record.size() + OVERHEAD,
            None => self.queue.push_back((key, sent)),
        }
        self.tidy(now);
    }

    /// The record, if the lease still holds.
    pub(crate) fn get(&self, key: &RecordKey, now: Stamp) -> Option<&Record> {
        let lease = self.table.get(key)?;
        self.is_valid(key, lease.sent, now).then_some(&lease.record)
    }

    /// Those of a user that hold: looks at every lease.
    pub(crate) fn of(
        &self,
        user: &UserId,
        now: Stamp,
    ) -> impl Iterator<Item = (&RecordKey, &Record)> {
        self.table.iter().filter_map(move |(key, lease)| {
            let is_theirs = key.kind == Kind::User && lease.record.user() == Some(user.as_str());
            (is_theirs && self.is_valid(key, lease.sent, now)).then_some((key, &lease.record))
        })
    }

    /// What a lease holds becomes this; it does not last longer for it.
    pub(crate) fn put(&mut self, key: &RecordKey, record: Record) {
        if let Some(lease) = self.table.get_mut(key) {
            self.bytes += record.size();
            self.bytes -= lease.record.size();
            lease.record = record;
            self.changes += 1;
            lease.changed = self.changes;
        }
    }

    /// The number of the last change.
    pub(crate) const fn mark(&self) -> u64 {
        self.changes
    }

    /// Whether the lease is as it was at that mark.
    pub(crate) fn is_unchanged(&self, key: &RecordKey, mark: u64) -> bool {
        let lease = self.table.get(key);
        lease.is_some_and(|lease| lease.changed <= mark)
    }

    pub(crate) fn remove(&mut self, key: &RecordKey) {
        // Its place in the queue is found empty later.
        if let Some(lease) = self.table.remove(key) {
            self.bytes -= lease.record.size() + OVERHEAD;
        }
    }

    /// Drops these.
    pub(crate) fn drop_if(&mut self, over: impl Fn(&RecordKey) -> bool) {
        self.table.retain(|key, _| !over(key));
        self.queue.retain(|(key, _)| !over(key));
        let records = self.table.values().map(|lease| lease.record.size());
        self.bytes = records.map(|size| size + OVERHEAD).sum();
        self.table.shrink_to_fit();
        self.queue.shrink_to_fit();
    }

    #[cfg(test)]
    pub(super) fn told(&self) -> Vec<String> {
        let leases = self.table.iter();
        leases
            .map(|(key, lease)| {
                let (bytes, sent) = (key.digest.as_bytes(), lease.sent);
                format!("{bytes:?} {sent:?} {:?}", lease.record.bytes())
            })
            .collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    fn is_valid(&self, key: &RecordKey, sent: Stamp, now: Stamp) -> bool {
        !holds(Rule::LeaseLimit) || sent.age(now) <= self.lengths[key.kind as usize]
    }

    /// Drops what is over, a few at a time, and what is too much, oldest first.
    fn tidy(&mut self, now: Stamp) {
        for _ in 0..TRIES {
            let Some((key, filed)) = self.queue.front().copied() else {
                return;
            };
            let is_too_much = self.bytes > self.max_bytes;
            if self.is_valid(&key, filed, now) && !is_too_much {
                return;
            }
            self.queue.pop_front();
            let Some(lease) = self.table.get(&key) else {
                continue;
            };
            if lease.sent != filed && self.is_valid(&key, lease.sent, now) {
                // It was verified again since it was filed.
                self.queue.push_back((key, lease.sent));
            } else {
                self.remove(&key);
            }
        }
        while self.bytes > self.max_bytes {
            match self.queue.pop_front() {
                Some((key, _)) => self.remove(&key),
                None => return,
            }
        }
    }
}
