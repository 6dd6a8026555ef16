//! What stands under a key.

use std::time::{Duration, SystemTime};

use super::end::{End, EndReason};
use super::live::Record;
use crate::id::{Digest, Handle};

/// How long a tombstone of a superseded id stays: its holder gets the new one within seconds.
const KEPT_REGENERATED: Duration = Duration::from_secs(15 * 60);
/// How long any other tombstone stays, so that the reason can be told.
const KEPT_ENDED: Duration = Duration::from_secs(24 * 3600);

/// A live record, or what took its place when it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// The session, which may be over by its clocks: see [`Record::end_at`].
    Live(Record),
    /// It was ended.
    Ended(Tombstone),
}

/// The mark in the place of a session that was ended: it says why, and keeps late writers from reviving it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// The public name of the session that was here.
    pub handle: Handle,
    /// Why and when.
    pub end: End,
    /// Under which digest it goes on, where its id was replaced in the same bucket.
    pub successor: Option<Digest>,
}

impl Entry {
    /// What the entry is at `now`: a record past its ends is as ended as one with a tombstone.
    #[must_use]
    pub fn at(self, now: SystemTime) -> Self {
        match self {
            Self::Live(record) => match record.end_at(now) {
                None => Self::Live(record),
                Some(end) => Self::Ended(Tombstone {
                    handle: record.handle(),
                    end,
                    successor: None,
                }),
            },
            ended @ Self::Ended(_) => ended,
        }
    }

    /// Until when a store keeps it; afterwards it is absent.
    #[must_use]
    pub fn kept_until(&self) -> SystemTime {
        match self {
            Self::Live(record) => record.kept_until(),
            Self::Ended(tombstone) => tombstone.kept_until(),
        }
    }
}

impl Tombstone {
    /// In the place of a session of which nothing is known but that it is over: of the nil handle.
    pub(crate) fn of_nobody(end: End) -> Self {
        Self {
            handle: Handle::from(uuid::Uuid::nil()),
            end,
            successor: None,
        }
    }

    /// Whether it is one of those.
    pub(crate) fn is_of_nobody(&self) -> bool {
        self.handle.as_uuid().is_nil()
    }

    /// Until when a store keeps it: 15 min for a superseded id, 24 h otherwise.
    #[must_use]
    pub fn kept_until(&self) -> SystemTime {
        self.end.at
            + match self.end.reason {
                EndReason::Regenerated => KEPT_REGENERATED,
                EndReason::LoggedOut
                | EndReason::Idle
                | EndReason::Absolute
                | EndReason::Limit
                | EndReason::Revoked
                | EndReason::StoreLost => KEPT_ENDED,
            }
    }
}
