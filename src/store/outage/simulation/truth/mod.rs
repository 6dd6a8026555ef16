//! What an omniscient observer knows, and what must be true of it: the invariants of the design.

mod served;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use super::calls::{Answer, Ask, Call};
use super::instance::{Instance, LEASE, LOCAL_TTL, News, added, micros};
use super::server::{Command, Contents, Reply, Server};
use crate::clock::{self, instant};
use crate::id::{Handle, RecordKey, UserId};
use crate::record::{EndReason, Entry, Guard, Op, Record};
use crate::session::Freshness;
use crate::store::outage::ended::REMEMBERED;
use crate::store::outage::journal::{Journal, PendingScope};
use crate::store::rules::{Shelf, signed_in_at};
use crate::store::{Applied, Created, EndScope, Limit, Renewal, Replaced};

/// What must hold. The number is that of the invariant in the design.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Property {
    /// 1: only `create` creates.
    OnlyCreateCreates,
    /// 2: what was ended, and acknowledged as committed, is not served by who reaches the store.
    EndedIsEnded,
    /// 2: nor ever again by the instance that acknowledged the end.
    NotAcceptedAgain,
    /// 2: one that is cut off serves it no longer than its lease.
    LeaseEnds,
    /// 2: a session made while the store was away is not promoted past a revocation, nor served for longer than it may.
    NotPastRevocation,
    /// 3: the id from before a login opens nothing.
    Fixation,
    /// 8: away is not absent.
    AwayIsNotAbsent,
    /// 10: what was acknowledged is in the store, or waits for it here.
    StoredBeforeTold,
    /// 10: what was acknowledged as pending gets to the store, or is told to be lost.
    PendingArrives,
    /// 12: a list is what authenticates.
    ListIsTruth,
    /// 12: the limit holds.
    LimitHolds,
    /// 12: no login whose request began before an "end all" survives it.
    SinceHolds,
    /// 12: ending terminates, and everything converges.
    Terminates,
    /// 7: nothing is added twice.
    AddedOnce,
    /// 7: what is written on a lease goes over nothing that was written since.
    NothingOverwritten,
    /// A store is not read before it was told every end, and again those that it lost.
    ToldBeforeRead,
    /// What is read on a lease is what the store had, or what was written here.
    LeaseIsTrue,
    /// A command that was given up long ago changes nothing.
    LateChangesNothing,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Violation {
    pub(super) property: Property,
    pub(super) what: String,
}

/// An end that was acknowledged.
#[derive(Debug, Clone)]
struct Fact {
    scope: Scope,
    reason: EndReason,
    /// Who acknowledged it; nobody, if that one has died since.
    by: Option<(usize, u32)>,
    acknowledged: u64,
    /// And since when the store had it.
    committed: bool,
    since: u64,
    /// The store has lost it.
    lost: bool,
    /// It waited for the store at first. Such an end spares a login that began before it and was stored after it.
    was_pending: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    Key(RecordKey),
    Handle(Handle),
    /// Those that signed in, by a request that began, before that instant.
    User(UserId, SystemTime, Option<Handle>),
}

/// A session's beginning.
#[derive(Debug, Clone)]
struct Begun {
    at: u64,
    /// When it was acknowledged as committed.
    committed: Option<u64>,
}

/// The values of a session from an instant on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    from: u64,
    v: Option<Vec<u8>>,
    n: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Truth {
    pub(super) violation: Option<Violation>,
    facts: Vec<Fact>,
    /// Ends that somebody has asked for, by whatever way.
    requested: Vec<Scope>,
    begun: BTreeMap<Handle, Begun>,
    keys: BTreeMap<RecordKey, Record>,
    /// When an instance sent the read whose answer it holds as a lease.
    verified: BTreeMap<(usize, RecordKey), u64>,
    versions: BTreeMap<RecordKey, Vec<Version>>,
    added: BTreeSet<i64>,
    /// Additions that were acknowledged as pending: where, and under which key.
    pending: BTreeMap<i64, (usize, RecordKey)>,
    /// Sessions that were made while the store was away: where, and when.
    local: BTreeMap<RecordKey, (usize, u64, Record)>,
    /// Those that ever were.
    was_local: BTreeSet<RecordKey>,
    /// Those of which the store has said that they are over.
    over: BTreeSet<RecordKey>,
    /// When the store lost something the last time.
    lost_at: u64,
    pub(super) counts: BTreeMap<&'static str, u64>,
}

impl Scope {
    fn covers(&self, key: &RecordKey, record: &Record) -> bool {
        match self {
            Self::Key(ended) => ended == key,
            Self::Handle(handle) => *handle == record.handle(),
            Self::User(user, before, kept) => {
                record.user() == Some(user.as_str())
                    && *kept != Some(record.handle())
                    && signed_in_at(record) < *before
            }
        }
    }
}

impl Truth {
    fn fail(&mut self, property: Property, what: impl FnOnce() -> String) {
        if self.violation.is_none() {
            self.violation = Some(Violation {
                property,
                what: what(),
            });
        }
    }

    /// What it knows, as text.
    pub(super) fn summary(&self) -> String {
        format!("{:?}{:?}{:?}", self.violation, self.facts, self.verified)
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// A request begins to make a session.
    pub(super) fn begun(&mut self, handle: Handle, at: u64) {
        let begun = Begun {
            at,
            committed: None,
        };
        self.begun.insert(handle, begun);
    }

    /// A request asks for something.
    pub(super) fn asked(&mut self, ask: &Ask, now: u64) {
        let far = instant(now) + std::time::Duration::from_secs(60);
        let scope = match ask {
            Ask::End(end, known) => match &end.scope {
                EndScope::One(key, _) | EndScope::Unborn(key) => {
                    if let Some(known) = known {
                        self.requested.push(Scope::Handle(known.handle()));
                    }
                    Scope::Key(*key)
                }
                EndScope::Handle(_, handle) => Scope::Handle(*handle),
                EndScope::Others(user, kept) => Scope::User(user.clone(), far, Some(*kept)),
                EndScope::All(user) => Scope::User(user.clone(), far, None),
            },
            Ask::Replace(replace) => Scope::Key(replace.key),
            Ask::Load(..) | Ask::Create(_) | Ask::Apply(..) | Ask::List(..) => return,
        };
        self.requested.push(scope);
        if self.requested.len() > 4096 {
            self.requested.drain(..1024);
        }
    }

    fn version(&mut self, key: &RecordKey, record: &Record, now: u64) {
        let version = Version {
            from: now,
            v: record.value("v").map(<[u8]>::to_vec),
            n: record.value("n").map(<[u8]>::to_vec),
        };
        let versions = self.versions.entry(*key).or_default();
        if versions
            .last()
            .is_none_or(|last| last.v != version.v || last.n != version.n)
        {
            versions.push(version);
        }
    }

    fn ended_by_limit(&mut self, ended: &[crate::store::EndedSession]) {
        for session in ended {
            self.requested.push(Scope::Handle(session.handle));
        }
    }

    /// Whether anybody asked for the end of what is under a key.
    fn is_asked_for(&self, key: &RecordKey) -> bool {
        let record = self.keys.get(key);
        record.is_none_or(|record| self.requested.iter().any(|scope| scope.covers(key, record)))
    }

    fn over_limit(
        &mut self,
        at: usize,
        instance: &Instance,
        ended: &[crate::store::EndedSession],
        now: u64,
    ) {
        for session in ended {
            let by = Some((at, instance.number));
            self.fact(
                Scope::Handle(session.handle),
                EndReason::Limit,
                by,
                true,
                now,
            );
        }
    }

    fn fact(
        &mut self,
        scope: Scope,
        reason: EndReason,
        by: Option<(usize, u32)>,
        committed: bool,
        now: u64,
    ) {
        let lost = self.lost_at > 0 && committed && self.lost_at + 1_000_000 > now;
        self.requested.push(scope.clone());
        self.facts.push(Fact {
            scope,
            reason,
            by,
            acknowledged: now,
            committed,
            since: now,
            lost,
            was_pending: !committed,
        });
        if self.facts.len() > 96 {
            self.facts.remove(0);
        }
    }

    /// What an instance tells of itself.
    pub(super) fn news(
        &mut self,
        at: usize,
        instance: &Instance,
        server: &Server,
        now: u64,
        news: &News,
    ) {
        match news {
            News::Told { sent, was_away } => {
                if *was_away {
                    self.count("recovered");
                }
                let me = Some((at, instance.number));
                let journal_is_empty = instance.journal.is_empty();
                if !journal_is_empty && *was_away {
                    self.fail(Property::ToldBeforeRead, || {
                        format!("{} ends wait yet", instance.journal.len())
                    });
                }
                // What may come into being yet is told again until then.
                if self.lost_at >= *sent || !instance.memory.pursued.is_empty() {
                    return;
                }
                let mut missing = None;
                for fact in self.facts.iter_mut().filter(|fact| fact.by == me) {
                    let is_told = fact.committed || journal_is_empty;
                    let is_recent = now - fact.acknowledged < micros(REMEMBERED);
                    // What was acknowledged while it was told may have been lost after that.
                    if !is_told || !is_recent || fact.acknowledged >= *sent {
                        continue;
                    }
                    if !fact.committed {
                        (fact.committed, fact.since) = (true, now);
                    }
                    let holds = fact.holds(&server.contents, instant(now))
                        || (self.lost_at > 0
                            && fact.is_past(&server.contents, instant(now), &self.was_local));
                    if !holds {
                        missing = Some(fact.scope.clone());
                    }
                }
                if let Some(scope) = missing {
                    self.fail(Property::ToldBeforeRead, || {
                        let key = match &scope {
                            Scope::Key(key) => key.tell(),
                            Scope::Handle(_) | Scope::User(..) => String::new(),
                        };
                        format!("the store is read and does not know of {scope:?} {key}")
                    });
                }
            }
            News::Written(amounts) => {
                for by in amounts {
                    self.pending.remove(by);
                }
            }
            News::NotTaken(key) => {
                self.local.remove(key);
                self.requested.push(Scope::Key(*key));
            }
            News::Emptied => {
                self.pending.retain(|_, (made, _)| *made != at);
                self.local.retain(|_, (made, ..)| *made != at);
            }
        }
    }

    /// `journal`: what the one that comes after it knows of.
    pub(super) fn crashed(&mut self, at: usize, old: u32, new: u32, journal: &Journal) {
        let pending: Vec<_> = journal
            .next(None, |_| true, usize::MAX)
            .into_iter()
            .map(|(_, end)| Scope::from(end.scope))
            .collect();
        self.verified.retain(|(instance, _), _| *instance != at);
        self.pending.retain(|_, (instance, _)| *instance != at);
        self.local.retain(|_, (instance, ..)| *instance != at);
        for fact in &mut self.facts {
            if fact.by == Some((at, old)) {
                // What is pending in a file is known to who starts from it; what the store has, to nobody else.
                fact.by = pending.contains(&fact.scope).then_some((at, new));
            }
        }
        self.facts
            .retain(|fact| fact.committed || fact.by.is_some());
    }

    /// Another server answers, and may have lost something.
    pub(super) fn server_changed(&mut self, server: &Server, now: u64) {
        self.lost_at = now;
        for fact in &mut self.facts {
            fact.lost |= fact.committed && !fact.stands(&server.contents, instant(now));
        }
        let keys: Vec<_> = self.versions.keys().copied().collect();
        for key in keys {
            if let Some(record) = server.contents.live(&key, instant(now)) {
                let record = record.clone();
                self.version(&key, &record, now);
            }
        }
        // What was lost may be added once more, by who knows.
        self.pending.clear();
        self.local.clear();
    }

    /// What was lost may have been asserted again.
    fn made_good(&mut self, contents: &Contents, now: u64) {
        for fact in &mut self.facts {
            if fact.lost && fact.stands(contents, instant(now)) {
                // Reads that were sent before may have come before.
                (fact.lost, fact.since) = (false, now);
            }
        }
    }

    /// A write that waits for the store does not go over what was written since.
    pub(super) fn staged(&mut self, command: &Command) {
        if let Command::Apply(apply) = command {
            let over = apply.changes.each.iter().any(|change| {
                matches!(change.op, Op::Set(_) | Op::Remove) && change.guard == Guard::Any
            });
            if over {
                self.fail(Property::NothingOverwritten, || {
                    format!("{} is written without a condition", apply.key.tell())
                });
            }
        }
    }
}

impl From<PendingScope> for Scope {
    fn from(scope: PendingScope) -> Self {
        match scope {
            PendingScope::Key(key) => Self::Key(key),
            PendingScope::Handle { handle, .. } => Self::Handle(handle),
            PendingScope::User {
                user, keep, before, ..
            } => Self::User(user, before, keep),
        }
    }
}

impl Fact {
    /// Known, and not guarded against: the store has lost a session made elsewhere together with its single end, and
    /// the instance that made it, and was never told what became of it, brings it once more. Asserting the end again
    /// finds nothing, and leaves nothing.
    fn is_past(&self, contents: &Contents, now: SystemTime, local: &BTreeSet<RecordKey>) -> bool {
        let mut live = contents.all_live(now);
        !matches!(self.scope, Scope::User(..))
            && live.all(|(key, record)| !self.scope.covers(key, record) || local.contains(key))
    }

    /// Whether the store would also refuse what is brought to it later.
    fn stands(&self, contents: &Contents, now: SystemTime) -> bool {
        let is_buried = match &self.scope {
            Scope::Key(key) => matches!(contents.entries.get(key), Some(Entry::Ended(_))),
            Scope::Handle(handle) => contents.entries.values().any(
                |entry| matches!(entry, Entry::Ended(tombstone) if tombstone.handle == *handle),
            ),
            Scope::User(..) => true,
        };
        is_buried && self.holds(contents, now)
    }

    /// Whether the store knows of it.
    fn holds(&self, contents: &Contents, now: SystemTime) -> bool {
        let covered = match &self.scope {
            Scope::Key(key) => contents.live(key, now).is_some(),
            Scope::Handle(_) | Scope::User(..) => contents
                .all_live(now)
                .any(|(key, record)| self.scope.covers(key, record)),
        };
        let is_kept_out = match &self.scope {
            Scope::User(user, before, _) => contents.since(user).is_some_and(|s| s >= *before),
            Scope::Key(_) | Scope::Handle(_) => true,
        };
        !covered && is_kept_out
    }
}

/// A session that was made here, also one that was ended since.
fn is_here(instance: &Instance, key: &RecordKey) -> bool {
    let now = instance.moment();
    let locals = &instance.memory.locals;
    locals.load(key, now.store, now.here).is_some()
}

fn user_of(scope: &EndScope) -> Option<&UserId> {
    match scope {
        EndScope::One(..) | EndScope::Unborn(_) => None,
        EndScope::Handle(user, _) | EndScope::Others(user, _) | EndScope::All(user) => Some(user),
    }
}

/// How a key is told.
pub(super) trait Tell {
    fn tell(&self) -> String;
}

impl Tell for RecordKey {
    fn tell(&self) -> String {
        super::story::key(self)
    }
}
