//! What happens to sessions: told by `tracing`, and in this process by [`Sessions::events`](crate::Sessions::events).
//!
//! By `tracing` all have the target `sessile`, the level info where nothing else is said, and a field `event`; the others are
//! `handle`, `user`, `reason`, `address` and `count`, where they are known. Target, names and fields are stable: alert on
//! them. None holds an id or a digest, and neither does an [`Event`].
//!
//! | event | when |
//! |---|---|
//! | `created` | a stranger's session was made, by a first write |
//! | `signed_in` | a user's session was made |
//! | `reauthenticated` | a user proved again who they are |
//! | `regenerated` | a session got a new id |
//! | `ended` | a session was ended, with the `reason`; not by its clocks, which nobody watches |
//! | `refused` | well-formed ids that name no session were presented: at once, then at most one line a minute, with the `count` since |
//! | `reused` | ids were presented that had been superseded for longer than any response takes: somebody else may have a copy; with the `handle` of the last; likewise counted, a warning |
//! | `risk` | something is done about a [risk](crate::risk): `level`, `reasons`, `action`. A warning |
//! | `store_failed` | the store failed, with the `error`; likewise counted. This one is a warning |
//! | `evicting` | a Redis was connected to that may drop sessions for want of memory, with its `policy`: a warning |
//! | `mode` | the store went away (a warning, with the `error`), answers again, or is back: `mode`, and `after_ms`, how long the one before lasted |
//! | `demo_started`, `demo_completed`, `demo_adopted` | a demo began, came to 100 %, was brought along by a user who signed in |
//! | `demo_ended` | what `ended` is of the other sessions, of a demo: `user` is then whose demo it was |
//! | `demo_refused` | a client's address had started as many demos as the layer allows |
//! | `promoted`, `not_promoted` | a session that was made while the store was away was brought to it, or not, with the `reason` |
//! | `write_lost` | what was written while the store was away met another value there, which stays: a warning, with the `reason` |
//! | `ends_asserted` | the store may have lost its last writes: the ends of the last minutes were sent again, `count` of them |
//! | `store_emptied` | the store came back empty: `count` sessions that were made meanwhile ended with it. A warning |
//! | `journal_collapsed` | more ends wait for the store than there is room for: all of a user's sessions end with one. A warning |
//! | `journal_damaged` | lines of the journal's file cannot be read: ends may be missing; `count` of them. A warning |
//! | `malformed_record` | what stands where a session should is no record: it is a stranger; likewise counted, a warning |
//!
//! `evicting`, `journal_damaged`, `malformed_record`, and the `ended` or `demo_ended` of a session that was made and whose
//! holder never learned of it, are told by `tracing` alone. `regenerated`, `reused`, `promoted` and `not_promoted` are told
//! of demos too.

mod hub;
mod lines;
mod stream;
mod tally;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub(crate) use hub::Hub;
#[cfg(feature = "redis")]
pub(crate) use lines::malformed_record;
pub(crate) use lines::{ended, journal_damaged};
pub use stream::{Events, Lost};
pub(crate) use tally::Tally;

use crate::id::{Handle, UserId};
use crate::record::EndReason;
use crate::risk::{Risk, RiskAction};
use crate::store::Mode;

/// Something that happened, once.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// When, by the store's clock.
    pub at: SystemTime,
    /// What.
    pub kind: EventKind,
    /// To which session, if to one.
    pub handle: Option<Handle>,
    /// Whose it is, or was.
    pub user: Option<UserId>,
    /// From where, as far as it is known and [kept](crate::StoredAddress).
    pub address: Option<Arc<str>>,
}

/// What can happen: see the [table](self).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum EventKind {
    /// A stranger's session was made.
    Created,
    /// A user's session was made.
    SignedIn,
    /// A user proved again who they are.
    Reauthenticated,
    /// A session got a new id.
    Regenerated,
    /// A session was ended: a user's or a stranger's.
    Ended(EndReason),
    /// So many ids that name no session were presented since this was last told.
    Refused {
        /// How many.
        count: u64,
    },
    /// So many ids that had long been superseded.
    Reused {
        /// How many.
        count: u64,
    },
    /// Something is done about a risk.
    Risk {
        /// The judgement.
        risk: Risk,
        /// What is done.
        action: RiskAction,
    },
    /// So many calls of the store failed since this was last told.
    StoreFailed {
        /// How many.
        count: u64,
        /// Why the last one did.
        error: Arc<str>,
    },
    /// The store went away, answers again, or is back.
    Mode {
        /// How it does now.
        mode: Mode,
        /// How long the mode before lasted.
        after: Duration,
        /// Why it is away.
        error: Option<Arc<str>>,
    },
    /// A session that was made while the store was away was brought to it.
    Promoted,
    /// It was not.
    NotPromoted {
        /// The reason of an end, or `refused`.
        reason: &'static str,
    },
    /// What was written while the store was away was not written there.
    WriteLost {
        /// `conflict`, `ended`, `moved`, `too_large`, `not_an_integer`, `unknown`.
        reason: &'static str,
    },
    /// Ends were sent to the store once more.
    EndsAsserted {
        /// How many.
        count: usize,
    },
    /// The store came back empty.
    StoreEmptied {
        /// How many sessions ended with it.
        count: usize,
    },
    /// Ends did not fit into the journal: all sessions of their users end with them.
    JournalCollapsed,
    /// A demo began.
    DemoStarted,
    /// A demo was ended.
    DemoEnded(EndReason),
    /// A demo came to 100 %.
    DemoCompleted,
    /// A user who signed in brought a demo along.
    DemoAdopted,
    /// A client's address had started as many demos as the layer allows.
    DemoRefused,
}

impl EventKind {
    /// How many there are.
    pub(crate) const COUNT: usize = 21;

    /// Its name in lines and figures.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        Self::NAMES[self.number()]
    }

    /// The names, in the order of the numbers.
    pub(crate) const NAMES: [&'static str; Self::COUNT] = [
        "created",
        "signed_in",
        "reauthenticated",
        "regenerated",
        "ended",
        "refused",
        "reused",
        "risk",
        "store_failed",
        "mode",
        "promoted",
        "not_promoted",
        "write_lost",
        "ends_asserted",
        "store_emptied",
        "journal_collapsed",
        "demo_started",
        "demo_completed",
        "demo_adopted",
        "demo_refused",
        "demo_ended",
    ];

    const fn number(&self) -> usize {
        match self {
            Self::Created => 0,
            Self::SignedIn => 1,
            Self::Reauthenticated => 2,
            Self::Regenerated => 3,
            Self::Ended(_) => 4,
            Self::Refused { .. } => 5,
            Self::Reused { .. } => 6,
            Self::Risk { .. } => 7,
            Self::StoreFailed { .. } => 8,
            Self::Mode { .. } => 9,
            Self::Promoted => 10,
            Self::NotPromoted { .. } => 11,
            Self::WriteLost { .. } => 12,
            Self::EndsAsserted { .. } => 13,
            Self::StoreEmptied { .. } => 14,
            Self::JournalCollapsed => 15,
            Self::DemoStarted => 16,
            Self::DemoCompleted => 17,
            Self::DemoAdopted => 18,
            Self::DemoRefused => 19,
            Self::DemoEnded(_) => 20,
        }
    }

    /// How many of it there were since it was last told, where it is told in number.
    const fn count(&self) -> u64 {
        match self {
            Self::Refused { count } | Self::Reused { count } | Self::StoreFailed { count, .. } => {
                *count
            }
            _ => 1,
        }
    }
}
