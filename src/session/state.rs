//! What a request knows and wants of its session. Pure: no store, no clock, no async.
//!
//! ```text
//!           load             login, first write
//! (unread) ──────► Stranger ────────────────────► Live ◄─┐
//!                  Dead ────────────────────────► │ │    │ login, regenerate
//!                                                 │ └────┘
//!                  Stranger ◄──────── logout ─────┘
//!                  Unknown ─── login ──► Live
//!
//!       handler answered         response made
//! Open ──────────────────► Committing ──────► Closed
//!   └──── future dropped ──────┴────────────► Abandoned
//! ```
//!
//! Staged changes belong to whatever identity there is when the response commits. A login takes out of them what it
//! keeps and drops the rest.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use tokio::runtime;

use super::info::Freshness;
use crate::error::Error;
use crate::id::{RecordKey, SessionId, UserId};
use crate::key::DataName;
use crate::record::{Changes, End, EndReason, Guard, Op, Record, Seen};
use crate::store::StoreError;

/// For so long after an id was superseded, a request that still carries it creates nothing: the response with the new
/// one is on its way.
pub(crate) const SUPERSEDED_GRACE: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) identity: Identity,
    pub(crate) staged: Changes,
    pub(crate) cookie: Outgoing,
    pub(crate) phase: Phase,
    /// The last time that this request ended all of a user's sessions, or all others.
    pub(crate) ended_all: Option<EndedAll>,
    /// The session that was made or renewed here and whose cookie nobody has seen yet.
    pub(crate) unsent: Option<Unsent>,
}

/// An end of all of a user's sessions, or all others, by the request itself.
#[derive(Debug)]
pub(crate) struct EndedAll {
    pub(crate) user: UserId,
    /// From when on sign-ins are let in after it.
    pub(crate) since: SystemTime,
    /// Whether the request's own session was live, and ended with them: no other end stands between the beginning of the
    /// request and this one.
    pub(crate) own: bool,
}

/// What the step of a store that signs in goes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// From the request's own session, if that is live.
    OfOwn,
    /// From no session.
    OfNone,
}

/// Whose request this is.
#[derive(Debug, Default)]
pub(crate) enum Identity {
    /// Nobody's that is known.
    #[default]
    Stranger,
    /// A session's.
    Live(Live),
    /// Of one that is over.
    Dead(Dead),
    /// Of one that could not be looked up.
    Unknown(Unknown),
}

#[derive(Debug, Clone)]
pub(crate) struct Live {
    /// `None`: it was opened by an id that it had in another system.
    pub(crate) id: Option<SessionId>,
    pub(crate) key: RecordKey,
    pub(crate) record: Record,
    /// On what it is known.
    pub(crate) freshness: Freshness,
    /// It is of a near cache.
    pub(crate) is_copy: bool,
    /// A touch is due, with this.
    pub(crate) due: Option<Seen>,
}

impl Live {
    /// It was made while the store was away and is in the store now, or it came from another system: it gets an id as any
    /// other.
    pub(crate) fn is_promoted(&self) -> bool {
        self.id.is_none_or(|id| id.birth().is_some()) && self.freshness == Freshness::Live
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Dead {
    pub(crate) end: End,
    /// Superseded so recently that the winner's cookie may be on its way.
    pub(crate) moved: bool,
    /// It ended while this request had something staged for it, which is not for another session.
    pub(crate) lost: bool,
}

/// A session of which nothing is known, not even whether there is one.
#[derive(Debug, Clone)]
pub(crate) struct Unknown {
    /// Why.
    why: StoreError,
    /// A handler has it in hand, instead of an error.
    handed_out: bool,
    /// And was told that there is nothing in it.
    looked_at: bool,
}

impl Unknown {
    pub(crate) const fn new(why: StoreError) -> Self {
        Self {
            why,
            handed_out: false,
            looked_at: false,
        }
    }

    /// What everything gets that would have to know.
    pub(crate) fn error(&self) -> Error {
        self.why.clone().into()
    }
}

/// What the response says about the cookie.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) enum Outgoing {
    #[default]
    Nothing,
    /// The id of the live session.
    Set,
    Remove,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The handler runs.
    #[default]
    Open,
    /// The handler has answered: nothing is staged any more, and what was is being stored.
    Committing,
    /// The response is made: no cookie goes out any more.
    Closed,
    /// The request died before its response was made.
    Abandoned,
}

#[derive(Debug, Clone)]
pub(crate) struct Unsent {
    pub(crate) key: RecordKey,
    /// Where to end it, should the request die outside of any runtime.
    pub(crate) runtime: Option<runtime::Handle>,
}

/// What is to be done with what was staged.
#[derive(Debug)]
pub(crate) enum Plan {
    Nothing,
    /// Change the live session.
    Apply {
        key: RecordKey,
        changes: Changes,
        seen: Option<Seen>,
        read: Record,
        freshness: Freshness,
    },
    /// Make a stranger's session with these values.
    Create(Vec<(DataName, Vec<u8>)>),
    /// The id was superseded a moment ago: nothing may be made under it.
    Moved,
    /// The session that this was staged for is over.
    Ended(End),
    /// What this was staged for is not known.
    Unknown(Error),
}

/// A value as this request sees it.
pub(crate) enum View {
    Staged(Vec<u8>),
    Stored(Record),
    Absent,
    /// Nobody can tell.
    Unknown(Error),
}

impl State {
    pub(crate) fn live(&self) -> Option<&Live> {
        match &self.identity {
            Identity::Live(live) => Some(live),
            Identity::Stranger | Identity::Dead(_) | Identity::Unknown(_) => None,
        }
    }

    pub(crate) fn unknown(&self) -> Option<&Unknown> {
        match &self.identity {
            Identity::Unknown(unknown) => Some(unknown),
            Identity::Stranger | Identity::Live(_) | Identity::Dead(_) => None,
        }
    }

    /// Of what only a copy is known.
    pub(crate) fn copied(&self) -> Option<RecordKey> {
        self.live().filter(|live| live.is_copy).map(|live| live.key)
    }

    /// What the store itself has of what was a copy.
    pub(crate) fn reread(
        &mut self,
        key: &RecordKey,
        record: Record,
        freshness: Freshness,
        due: Option<Seen>,
    ) {
        if let Identity::Live(live) = &mut self.identity
            && live.is_copy
            && live.key == *key
        {
            live.record = record;
            live.freshness = freshness;
            live.is_copy = false;
            live.due = due;
        }
    }

    /// What was known of a copy is not so any more.
    pub(crate) fn was_copy(&mut self, key: &RecordKey, mut identity: Identity) {
        if self.copied() != Some(*key) {
            return;
        }
        if let Identity::Dead(dead) = &mut identity {
            dead.lost = !self.staged.is_empty();
        }
        self.identity = identity;
    }

    /// A handler gets the session, whatever is known of it.
    pub(crate) fn hand_out(&mut self) {
        if let Identity::Unknown(unknown) = &mut self.identity {
            unknown.handed_out = true;
        }
    }

    /// A handler is about to be told what there is, or that there is nothing.
    pub(crate) fn look(&mut self) -> &Self {
        if let Identity::Unknown(unknown) = &mut self.identity {
            unknown.looked_at = true;
        }
        self
    }

    /// Why a handler's response must not go out: it may rest on there being no session where nobody could tell. What
    /// failed by itself says nothing of it; nor does a refusal, where the session was not looked at.
    pub(crate) fn withheld(&self, status: StatusCode) -> Option<Error> {
        let unknown = self.unknown()?;
        let may_go = match status.as_u16() {
            500.. => true,
            400..=499 => !unknown.looked_at && self.staged.is_empty(),
            _ => !unknown.handed_out,
        };
        (!may_go).then(|| unknown.error())
    }

    /// What was staged, else what is stored.
    pub(crate) fn view(&self, name: &str) -> View {
        if let Some(change) = self.staged.get(name) {
            return match &change.op {
                Op::Set(json) => View::Staged(json.clone()),
                Op::Remove | Op::Add(_) => View::Absent,
            };
        }
        match &self.identity {
            _ if self.staged.clears(name) => View::Absent,
            Identity::Live(live) => View::Stored(live.record.clone()),
            Identity::Unknown(unknown) => View::Unknown(unknown.error()),
            Identity::Stranger | Identity::Dead(_) => View::Absent,
        }
    }

    /// Whether storing what is staged means to make a session.
    pub(crate) fn would_create(&self) -> bool {
        match &self.identity {
            Identity::Live(_) | Identity::Unknown(_) => false,
            Identity::Dead(dead) if dead.moved || dead.lost => false,
            Identity::Dead(_) | Identity::Stranger => self.staged.writes(),
        }
    }

    /// Takes out what was staged, as what to do. `touch`: whether to write activity down, too.
    pub(crate) fn plan(&mut self, touch: bool) -> Plan {
        match &mut self.identity {
            Identity::Live(live) => {
                let seen = if touch { live.due.take() } else { None };
                if self.staged.is_empty() && seen.is_none() {
                    return Plan::Nothing;
                }
                Plan::Apply {
                    key: live.key,
                    changes: std::mem::take(&mut self.staged),
                    seen,
                    read: live.record.clone(),
                    freshness: live.freshness,
                }
            }
            Identity::Dead(dead) if dead.moved => {
                if std::mem::take(&mut self.staged).is_empty() {
                    Plan::Nothing
                } else {
                    Plan::Moved
                }
            }
            Identity::Dead(dead) if dead.lost && !self.staged.is_empty() => {
                dead.lost = false;
                self.staged = Changes::default();
                Plan::Ended(dead.end.clone())
            }
            // It stays staged: a login may take it along.
            Identity::Unknown(unknown) if !self.staged.is_empty() => Plan::Unknown(unknown.error()),
            Identity::Unknown(_) => Plan::Nothing,
            Identity::Dead(_) | Identity::Stranger => {
                let staged = std::mem::take(&mut self.staged);
                // Removing from nothing is nothing.
                if !staged.writes() {
                    return Plan::Nothing;
                }
                let values = staged
                    .each
                    .into_iter()
                    .filter_map(|change| match change.op {
                        Op::Set(json) => Some((change.name, json)),
                        Op::Remove | Op::Add(_) => None,
                    });
                Plan::Create(values.collect())
            }
        }
    }

    /// The changes are stored: what this request reads from now on has them.
    pub(crate) fn saved(&mut self, key: &RecordKey, mut changes: Changes) {
        // Their conditions held.
        for change in &mut changes.each {
            change.guard = Guard::Any;
        }
        if let Identity::Live(live) = &mut self.identity
            && live.key == *key
            && let Ok(record) = live.record.changed(&changes, None)
        {
            live.record = record;
        }
    }

    /// The activity is stored: what is told of the session's ends from now on has it.
    pub(crate) fn touched(&mut self, key: &RecordKey, seen: &Seen) {
        if let Identity::Live(live) = &mut self.identity
            && live.key == *key
            && let Ok(record) = live.record.changed(&Changes::default(), Some(seen))
        {
            live.record = record;
        }
    }

    /// The store failed: what was staged is staged again, but for what was staged anew meanwhile.
    pub(crate) fn restage(&mut self, mut changes: Changes) {
        match self.phase {
            Phase::Open | Phase::Committing => {}
            Phase::Closed | Phase::Abandoned => return,
        }
        if self.staged.clear.is_some() {
            return;
        }
        for newer in self.staged.each.drain(..) {
            changes.forget(&newer.name);
            changes.each.push(newer);
        }
        self.staged = changes;
    }

    /// The session is over or superseded, as the store said: its cookie, if it was to go out, does not.
    pub(crate) fn died(&mut self, end: End) {
        self.unsent = None;
        self.cookie = Outgoing::Nothing;
        let moved = end.reason == EndReason::Regenerated;
        let lost = !self.staged.is_empty();
        self.identity = Identity::Dead(Dead { end, moved, lost });
    }

    /// A new session, or an old one under a new id. `Err` where no cookie can be sent for it any more.
    pub(crate) fn adopt(
        &mut self,
        id: SessionId,
        key: RecordKey,
        record: Record,
        freshness: Freshness,
    ) -> Result<(), ()> {
        match self.phase {
            Phase::Open | Phase::Committing => {}
            Phase::Closed | Phase::Abandoned => return Err(()),
        }
        self.unsent = Some(Unsent {
            key,
            runtime: runtime::Handle::try_current().ok(),
        });
        self.cookie = Outgoing::Set;
        self.identity = Identity::Live(Live {
            id: Some(id),
            key,
            record,
            freshness,
            is_copy: false,
            due: None,
        });
        Ok(())
    }
}
