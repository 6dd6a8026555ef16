//! Ends of sessions that may come into being yet.
//!
//! A session that was made here, and was on its way to the store when that went away again, may be made there until the
//! last instant of the command. What ends it meanwhile may find nothing, and says so. It is told until that was after
//! that instant.

use std::time::SystemTime;

use crate::id::{Bucket, RecordKey};
use crate::record::EndReason;
use crate::store::late::RUNS_FOR;
use crate::store::{EndScope, EndSessions};

/// The ends of some buckets: not more than there were sessions.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Pursued(Vec<Pursuit>);

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
struct Pursuit {
    key: RecordKey,
    end: EndSessions,
    /// By the store's clock.
    until: SystemTime,
}

impl Pursued {
    /// What was sent to be made under this key at `sent` is over, or goes on elsewhere.
    pub(crate) fn add(&mut self, key: RecordKey, end: &EndSessions, sent: SystemTime) {
        let successor = match (&end.scope, end.reason) {
            (EndScope::One(_, successor), _) => *successor,
            (EndScope::Handle(..) | EndScope::Others(..) | EndScope::All(_), _) => None,
        };
        self.replaced(key, end.reason, successor, sent);
        if let Some(added) = self.0.last_mut() {
            added.end.note = end.note.clone();
        }
    }

    pub(crate) fn replaced(
        &mut self,
        key: RecordKey,
        reason: EndReason,
        successor: Option<crate::id::Digest>,
        sent: SystemTime,
    ) {
        self.0.push(Pursuit {
            key,
            end: EndSessions {
                scope: EndScope::One(key, successor),
                reason,
                note: None,
                before: None,
            },
            until: sent + RUNS_FOR,
        });
    }

    /// Those in these buckets.
    pub(crate) fn ends(&self, in_part: impl Fn(Bucket) -> bool) -> Vec<EndSessions> {
        let there = self.0.iter().filter(|pursuit| in_part(pursuit.key.bucket));
        there.map(|pursuit| pursuit.end.clone()).collect()
    }

    /// The store was told all of them, from that instant on.
    pub(crate) fn told(&mut self, in_part: impl Fn(Bucket) -> bool, began: SystemTime) {
        self.0
            .retain(|pursuit| pursuit.until >= began || !in_part(pursuit.key.bucket));
    }
}
