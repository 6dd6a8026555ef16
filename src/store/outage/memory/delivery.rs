//! What has to reach the store after it was away.

use super::{Memory, Moment, name_of};
use crate::id::{Bucket, RecordKey};
use crate::record::{End, EndReason, Seen};
use crate::store::outage::breaker::Continuity;
use crate::store::outage::rule::{Rule, holds};
use crate::store::outage::staged::since;
use crate::store::{Append, Appended, Applied, Apply, Create, Created, EndSessions};

/// Something that has to reach the store.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(crate) enum Delivery {
    /// A session that was made here.
    Promote(Box<Create>),
    /// What was written on a lease.
    Write(Box<Apply>),
    /// What was added to a conversation on a lease.
    Append(Box<Append>),
}

impl Memory {
    /// The same ends once more: for a store that may have lost them, all; else those of what may come yet.
    pub(crate) fn assertions(
        &self,
        in_part: impl Fn(Bucket) -> bool,
        all: bool,
    ) -> Vec<EndSessions> {
        let mut ends = self.pursued.ends(&in_part);
        if all {
            ends.extend(self.ended.assertions(in_part));
        }
        ends
    }

    /// The store is about to be read again: what was known of it without asking no longer counts. One that came back
    /// empty gets nothing of before: what would keep the ended ones out is gone with the rest.
    pub(crate) fn recover(
        &mut self,
        in_part: impl Fn(Bucket) -> bool,
        continuity: Continuity,
        now: Moment,
    ) -> usize {
        let mut lost = 0;
        if continuity == Continuity::Empty {
            for key in self.locals.keys(&in_part) {
                self.locals.refused(&key, EndReason::StoreLost, now.store);
                lost += 1;
            }
            for key in self.staged.keys(&in_part) {
                self.staged.forget(&key);
            }
        }
        if holds(Rule::Barrier) {
            self.leases.drop_if(|key| in_part(key.bucket));
        }
        lost
    }

    /// The sessions in these buckets that have something to bring to the store.
    pub(crate) fn due(&self, in_part: impl Fn(Bucket) -> bool) -> Vec<RecordKey> {
        let mut keys = self.locals.keys(&in_part);
        keys.extend(self.staged.keys(&in_part));
        keys
    }

    /// Begins to bring a session's to the store. `None`: there is nothing, or somebody is at it.
    pub(crate) fn begin(&mut self, key: &RecordKey, now: Moment) -> Option<Delivery> {
        if self.busy.contains(key) {
            return None;
        }
        let delivery = self.next(key, now)?;
        self.busy.insert(*key);
        Some(delivery)
    }

    /// What comes next of a session that was begun.
    pub(crate) fn next(&mut self, key: &RecordKey, now: Moment) -> Option<Delivery> {
        if self.locals.has(key) {
            if let Some(create) = self.locals.promotion(key, now.store, now.here)
                && self.ended.covers(key, &create.record).is_none()
            {
                self.locals.sent(&create, now.store);
                return Some(Delivery::Promote(Box::new(create)));
            }
            // It is over, by its clocks or by an end.
            self.locals.promoted(key);
        }
        if let Some((changes, seen)) = self.staged.next(key) {
            return Some(Delivery::Write(Box::new(Apply {
                key: *key,
                changes,
                seen,
                read: None,
            })));
        }
        let append = self.staged.message(key)?;
        Some(Delivery::Append(Box::new(append)))
    }

    /// Whether something of this session has to reach the store.
    pub(crate) fn is_due(&self, key: &RecordKey) -> bool {
        self.busy.contains(key) || self.locals.has(key) || self.staged.has(key)
    }

    /// Whether the session was made here, and the store cannot have it.
    pub(super) fn is_only_here(&self, key: &RecordKey) -> bool {
        self.locals.has(key) && self.locals.sent_at(key).is_none()
    }

    /// Nobody is at this session any more.
    pub(crate) fn finish(&mut self, key: &RecordKey) {
        self.busy.remove(key);
    }

    /// What the store said to a promotion. What was written here after it was first sent comes next, as if it had been
    /// written on a lease; whether there is room for that.
    pub(crate) fn promoted(&mut self, create: &Create, created: &Created, now: Moment) -> bool {
        let reason = match created {
            Created::Created(ended) => {
                self.limited(create.key.bucket, ended, now);
                let Some((first, here)) = self.locals.promoted(&create.key) else {
                    return true;
                };
                let (changes, seen) = since(&first, &here);
                if changes.is_empty() && seen.is_none() {
                    return true;
                }
                return self.staged.add(create.key, changes, seen.as_ref()).is_ok();
            }
            Created::AtLimit => EndReason::Limit,
            Created::Refused(reason) => *reason,
            Created::Exists | Created::TooLarge => EndReason::StoreLost,
        };
        if let (Created::AtLimit, Some(sent)) = (created, self.locals.sent_at(&create.key)) {
            // Sent before, and given up: that one may yet find room.
            let over = End::new(reason, now.store);
            self.pursued.add(
                create.key,
                name_of(&create.key, &create.record),
                &over,
                sent,
            );
        }
        self.locals.refused(&create.key, reason, now.store);
        true
    }

    /// What the store said to a message that was added on a lease: whether it is there.
    pub(crate) fn message_sent(&mut self, append: &Append, appended: &Appended) -> bool {
        self.staged.appended(append);
        let is_there = matches!(appended, Appended::Added { .. });
        if !is_there || !self.staged.has(&append.key) {
            // As with what was written: others may have added as well.
            self.leases.remove(&append.key);
        }
        if let Appended::Moved | Appended::Ended(_) = appended {
            self.staged.forget(&append.key);
        }
        is_there
    }

    /// What the store said to a staged write: whether it was made.
    pub(crate) fn written(&mut self, apply: &Apply, applied: &Applied) -> bool {
        self.staged
            .written(&apply.key, apply.seen.as_ref().map(|seen: &Seen| seen.at));
        let is_saved = matches!(applied, Applied::Saved(_));
        if !is_saved || !self.staged.has(&apply.key) {
            // It shows what was not written, or what was, beside what others have changed meanwhile.
            self.leases.remove(&apply.key);
        }
        if let Applied::Moved | Applied::Ended(_) = applied {
            self.staged.forget(&apply.key);
        }
        is_saved
    }
}
