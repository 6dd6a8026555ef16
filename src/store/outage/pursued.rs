//! Ends of sessions that may come into being yet.
//!
//! A session that was made here, and was on its way to the store when that went away again, may be made there until the
//! last instant of the command. What ends it meanwhile may find nothing, and says so. It is told until that was after
//! that instant.

use std::time::SystemTime;

use crate::id::{Bucket, Handle, RecordKey, UserId};
use crate::record::End;
use crate::store::late::RUNS_FOR;
use crate::store::{EndScope, EndSessions};

/// The ends of some buckets: not more than there were sessions.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Pursued(Vec<Pursuit>);

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
struct Pursuit {
    bucket: Bucket,
    end: EndSessions,
    /// By the store's clock.
    until: SystemTime,
}

impl Pursued {
    /// What was sent to be made under this key at `sent` is over. By its name, if it has a user: its key may have
    /// changed meanwhile.
    pub(crate) fn add(
        &mut self,
        key: RecordKey,
        name: Option<(UserId, Handle)>,
        over: &End,
        sent: SystemTime,
    ) {
        let scope = match name {
            Some((user, handle)) => EndScope::Handle(user, handle),
            None => EndScope::One(key, None),
        };
        self.end(key.bucket, scope, over, sent);
    }

    /// What this ends may have been sent at `sent` at the latest.
    pub(crate) fn end(&mut self, bucket: Bucket, scope: EndScope, over: &End, sent: SystemTime) {
        self.0.push(Pursuit {
            bucket,
            end: EndSessions {
                scope,
                reason: over.reason,
                note: over.note.clone(),
                before: None,
            },
            until: sent + RUNS_FOR,
        });
    }

    #[cfg(test)]
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those in these buckets.
    pub(crate) fn ends(&self, in_part: impl Fn(Bucket) -> bool) -> Vec<EndSessions> {
        let there = self.0.iter().filter(|pursuit| in_part(pursuit.bucket));
        there.map(|pursuit| pursuit.end.clone()).collect()
    }

    /// The store was told all of them, from that instant on.
    pub(crate) fn told(&mut self, in_part: impl Fn(Bucket) -> bool, began: SystemTime) {
        self.0
            .retain(|pursuit| pursuit.until >= began || !in_part(pursuit.bucket));
    }
}
