//! What an omniscient observer knows, and what must be true of it: the invariants of the design.

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
    user: Option<UserId>,
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
    pub(super) fn begun(&mut self, handle: Handle, user: Option<UserId>, at: u64) {
        let begun = Begun {
            user,
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
                EndScope::One(key, _) => {
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
        if self.requested.len() > 512 {
            self.requested.drain(..256);
        }
    }

    /// The store has carried a command out.
    pub(super) fn executed(
        &mut self,
        server: &Server,
        now: u64,
        command: &Command,
        reply: &Reply,
        sent: u64,
        limit: Option<Limit>,
    ) {
        let contents = &server.contents;
        let is_late = now > sent + 5_000_000;
        match (command, reply) {
            (Command::Create(create), Reply::Created(Created::Created(ended))) => {
                self.count("created");
                if let Some(record) = contents.live(&create.key, instant(now)) {
                    let record = record.clone();
                    self.came_to_be(&create.key, &record, create.held);
                    self.version(&create.key, &record, now);
                }
                if is_late {
                    self.fail(Property::LateChangesNothing, || {
                        format!(
                            "{} was made by a command given up before",
                            create.key.tell()
                        )
                    });
                }
                self.ended_by_limit(ended);
                self.user_is_sound(contents, create.record.user(), now, limit);
            }
            (Command::Replace(replace), Reply::Replaced(Replaced::Replaced { record, ended })) => {
                self.count("replaced");
                let successor = replace.key.sibling(replace.successor);
                if contents.live(&successor, instant(now)).is_some() {
                    self.came_to_be(&successor, record, false);
                    self.version(&successor, record, now);
                }
                self.requested.push(Scope::Key(replace.key));
                self.ended_by_limit(ended);
                self.user_is_sound(contents, record.user(), now, limit);
                if contents.live(&replace.key, instant(now)).is_some() {
                    self.fail(Property::Fixation, || {
                        format!("{} still opens what was replaced", replace.key.tell())
                    });
                }
            }
            (Command::Apply(apply), Reply::Applied(applied)) => {
                let live = contents.live(&apply.key, instant(now)).cloned();
                if let Applied::Saved(_) = applied {
                    self.count("saved");
                    match &live {
                        Some(record) => self.version(&apply.key, record, now),
                        None => self.fail(Property::OnlyCreateCreates, || {
                            format!("{} was saved to and is not there", apply.key.tell())
                        }),
                    }
                    for by in added(&apply.changes) {
                        self.pending.remove(&by);
                        if !self.added.insert(by) {
                            self.fail(Property::AddedOnce, || format!("{by} was added twice"));
                        }
                    }
                }
            }
            (Command::End(_, end), Reply::Ended(ended)) => {
                self.count("ended");
                for session in &ended.sessions {
                    let asked_before = end.before.map_or(sent, clock::micros);
                    let begun = self.begun.get(&session.handle);
                    // Whoever was told of the login after the end was asked for is not ended by it, but for what a
                    // command may take.
                    let is_after = begun
                        .and_then(|begun| begun.committed.map(|_| begun.at))
                        .is_some_and(|at| at > asked_before + 5_000_000);
                    let by_user = matches!(end.scope, EndScope::All(_) | EndScope::Others(..));
                    if is_after && by_user {
                        self.fail(Property::LateChangesNothing, || {
                            format!(
                                "{} was ended by an end that was given up before it began",
                                session.handle
                            )
                        });
                    }
                }
                if let Some(user) = user_of(&end.scope) {
                    self.user_is_sound(contents, Some(user.as_str()), now, limit);
                }
                self.made_good(contents, now);
            }
            (Command::List(bucket, user), Reply::Listed(listed)) => {
                let handles: BTreeSet<_> = listed.iter().map(Record::handle).collect();
                let live = contents.all_live(instant(now));
                let theirs: BTreeSet<_> = live
                    .filter(|(key, record)| {
                        key.bucket == *bucket && record.user() == Some(user.as_str())
                    })
                    .map(|(_, record)| record.handle())
                    .collect();
                if handles != theirs {
                    self.fail(Property::ListIsTruth, || {
                        format!("listed {handles:?}, live {theirs:?}")
                    });
                }
            }
            _ => {}
        }
    }

    /// A record is live in the store that was not.
    fn came_to_be(&mut self, key: &RecordKey, record: &Record, held: bool) {
        self.keys.insert(*key, record.clone());
        let begun = self.begun.get(&record.handle()).map(|begun| begun.at);
        let covering = self.facts.iter().find(|fact| {
            fact.committed
                && !fact.lost
                && (fact.scope.covers(key, record)
                    || matches!((&fact.scope, begun), (Scope::User(user, before, kept), Some(at))
                        if !fact.was_pending
                            && record.user() == Some(user.as_str())
                            && *kept != Some(record.handle())
                            && instant(at) < *before))
        });
        if let Some(fact) = covering {
            let property = match &fact.scope {
                Scope::Key(_) if fact.reason == EndReason::Regenerated => Property::Fixation,
                Scope::User(..) if !held => Property::SinceHolds,
                Scope::Key(_) | Scope::Handle(_) | Scope::User(..) => Property::NotPastRevocation,
            };
            let what = format!("{} came to be after {:?}", key.tell(), fact.scope);
            self.fail(property, || what);
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

    fn user_is_sound(
        &mut self,
        contents: &Contents,
        user: Option<&str>,
        now: u64,
        limit: Option<Limit>,
    ) {
        let Some(user) = user.map(UserId::from) else {
            return;
        };
        let members: BTreeSet<_> = contents.members(&user).into_iter().collect();
        let live = contents
            .all_live(instant(now))
            .filter(|(_, record)| record.user() == Some(user.as_str()));
        let mut count = 0;
        let mut stray = None;
        for (key, _) in live {
            count += 1;
            if !members.contains(&key.digest) {
                stray = Some(*key);
            }
        }
        if let Some(key) = stray {
            self.fail(Property::ListIsTruth, || {
                format!("{} lives and is in no list", key.tell())
            });
        }
        if limit.is_some_and(|limit| count > limit.sessions.get()) {
            self.fail(Property::LimitHolds, || {
                format!("{user} has {count} sessions")
            });
        }
    }

    /// An instance has answered one of its requests.
    pub(super) fn answered(
        &mut self,
        at: usize,
        instance: &Instance,
        now: u64,
        call: &Call,
        answer: &Answer,
    ) {
        match (&call.ask, answer) {
            (Ask::Load(key, _), Answer::Loaded(Some(Entry::Live(record)), freshness)) => {
                match freshness {
                    Freshness::Live => {
                        self.verified.insert((at, *key), call.sent);
                    }
                    Freshness::Stale => self.leased(at, instance, key, record, now),
                    Freshness::Local => self.served_local(key, now),
                }
                self.served(at, instance, key, record, *freshness, call.sent, now);
            }
            (Ask::Load(key, _), Answer::Loaded(entry, _)) => {
                self.signed_out(instance, key, entry.as_ref(), call, now);
            }
            (Ask::Create(create), Answer::Created(Created::Created(ended), freshness)) => {
                let handle = create.record.handle();
                self.ended_by_limit(ended);
                if *freshness == Freshness::Live {
                    self.verified.insert((at, create.key), call.sent);
                    self.over_limit(at, instance, ended, now);
                    if let Some(begun) = self.begun.get_mut(&handle) {
                        begun.committed = Some(now);
                    }
                    if !self.keys.contains_key(&create.key) {
                        self.fail(Property::StoredBeforeTold, || {
                            format!("{} was told to be made", create.key.tell())
                        });
                    }
                } else {
                    self.count("local");
                    self.was_local.insert(create.key);
                    self.local
                        .insert(create.key, (at, now, create.record.clone()));
                    if !is_here(instance, &create.key) {
                        self.fail(Property::StoredBeforeTold, || {
                            format!("{} is not even here", create.key.tell())
                        });
                    }
                }
            }
            (Ask::Replace(replace), Answer::Replaced(Replaced::Replaced { record, ended }, f)) => {
                let successor = replace.key.sibling(replace.successor);
                self.ended_by_limit(ended);
                if *f == Freshness::Live {
                    self.verified.insert((at, successor), call.sent);
                    self.over_limit(at, instance, ended, now);
                    let by = Some((at, instance.number));
                    self.fact(
                        Scope::Key(replace.key),
                        EndReason::Regenerated,
                        by,
                        true,
                        now,
                    );
                    if !self.keys.contains_key(&successor) {
                        self.fail(Property::StoredBeforeTold, || {
                            format!("{} was told to be made", successor.tell())
                        });
                    }
                    if matches!(replace.renewal, Renewal::SignIn(_))
                        && let Some(begun) = self.begun.get_mut(&record.handle())
                    {
                        begun.committed = Some(now);
                    }
                } else {
                    self.count("replaced here");
                    self.requested.push(Scope::Key(replace.key));
                    let made = self.local.get(&replace.key).map_or(now, |made| made.1);
                    self.was_local.insert(successor);
                    self.local.insert(successor, (at, made, record.clone()));
                    if !is_here(instance, &successor) {
                        self.fail(Property::StoredBeforeTold, || {
                            format!("{} is not even here", successor.tell())
                        });
                    }
                }
            }
            (Ask::Apply(apply, _), Answer::Applied(Applied::Saved(_), freshness)) => {
                match freshness {
                    Freshness::Live => {
                        for by in added(&apply.changes) {
                            if !self.added.contains(&by) {
                                self.fail(Property::StoredBeforeTold, || {
                                    format!("{by} was told to be added")
                                });
                            }
                        }
                    }
                    Freshness::Stale => {
                        self.count("staged");
                        for by in added(&apply.changes) {
                            self.pending.insert(by, (at, apply.key));
                        }
                        if !instance.memory.staged.has(&apply.key) && !self.is_asked_for(&apply.key)
                        {
                            self.fail(Property::StoredBeforeTold, || {
                                format!("what was written to {} is gone", apply.key.tell())
                            });
                        }
                    }
                    Freshness::Local => {
                        if !is_here(instance, &apply.key) {
                            self.fail(Property::StoredBeforeTold, || {
                                format!("{} is not even here", apply.key.tell())
                            });
                        }
                    }
                }
            }
            (Ask::End(end, known), Answer::Ended(ended, freshness)) => {
                let committed = *freshness == Freshness::Live;
                if !committed {
                    self.count("ended here");
                }
                let by = Some((at, instance.number));
                let mut fact = |scope| self.fact(scope, end.reason, by, committed, now);
                match &end.scope {
                    EndScope::One(key, _) => {
                        fact(Scope::Key(*key));
                        let known = known.as_ref().filter(|_| !committed);
                        if let Some(record) = ended.last.as_ref().or(known)
                            && record.user().is_some()
                        {
                            fact(Scope::Handle(record.handle()));
                        }
                    }
                    EndScope::Handle(_, handle) => fact(Scope::Handle(*handle)),
                    EndScope::Others(user, kept) => {
                        let since = ended.since.unwrap_or(instance.clocks.floor);
                        fact(Scope::User(user.clone(), since, Some(*kept)));
                    }
                    EndScope::All(user) => {
                        let since = ended.since.unwrap_or(instance.clocks.floor);
                        fact(Scope::User(user.clone(), since, None));
                    }
                }
            }
            (Ask::List(..), Answer::Listed(records)) => {
                let by = Some((at, instance.number));
                let own = self.facts.iter().filter(|fact| {
                    fact.by == by && fact.acknowledged <= call.sent && !fact.committed
                });
                let nowhere = RecordKey {
                    kind: crate::id::Kind::User,
                    bucket: 0.into(),
                    digest: crate::id::Digest::from_bytes([0; 32]),
                };
                let listed = own
                    .filter(|fact| !matches!(fact.scope, Scope::Key(_)))
                    .find_map(|fact| {
                        let covers = |record: &&Record| fact.scope.covers(&nowhere, record);
                        records.iter().find(covers)
                    });
                if let Some(record) = listed.map(Record::handle) {
                    self.fail(Property::ListIsTruth, || {
                        format!("{record} is listed by who has ended it")
                    });
                }
            }
            _ => {}
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

    /// What a lease shows.
    fn leased(
        &mut self,
        at: usize,
        instance: &Instance,
        key: &RecordKey,
        record: &Record,
        now: u64,
    ) {
        self.count("stale");
        let Some(verified) = self.verified.get(&(at, *key)).copied() else {
            return self.fail(Property::LeaseEnds, || {
                format!("{} was never read here", key.tell())
            });
        };
        if now - verified > micros(LEASE) {
            self.fail(Property::LeaseEnds, || {
                format!("{} was read {} µs ago", key.tell(), now - verified)
            });
        }
        if instance.memory.staged.has(key) {
            return;
        }
        let Some(versions) = self.versions.get(key) else {
            return;
        };
        let ends = versions.iter().skip(1).map(|version| version.from);
        let ends = ends.chain([u64::MAX]);
        let within: Vec<_> = versions
            .iter()
            .zip(ends)
            .filter(|(_, until)| *until >= verified)
            .map(|(version, _)| version)
            .collect();
        let (v, n) = (record.value("v"), record.value("n"));
        let is_true = within.iter().any(|version| version.v.as_deref() == v)
            && within.iter().any(|version| version.n.as_deref() == n);
        if !is_true {
            self.fail(Property::LeaseIsTrue, || {
                format!("{} never had {v:?}, {n:?} since it was read", key.tell())
            });
        }
    }

    fn served_local(&mut self, key: &RecordKey, now: u64) {
        self.count("read here");
        if let Some((_, made, _)) = self.local.get(key)
            && now - made > micros(LOCAL_TTL) + 1
        {
            self.fail(Property::NotPastRevocation, || {
                format!("{} is served for too long", key.tell())
            });
        }
    }

    /// An instance serves a session to a request whose read began at `sent`.
    #[expect(clippy::too_many_arguments, reason = "all that is known of an answer")]
    fn served(
        &mut self,
        at: usize,
        instance: &Instance,
        key: &RecordKey,
        record: &Record,
        freshness: Freshness,
        sent: u64,
        now: u64,
    ) {
        self.count("served");
        let me = Some((at, instance.number));
        let found = self.facts.iter().find_map(|fact| {
            if fact.acknowledged > sent || !fact.scope.covers(key, record) {
                return None;
            }
            let is_forgotten = now - fact.acknowledged > micros(REMEMBERED);
            let is_mine = fact.by == me && !(is_forgotten && fact.lost);
            let is_gone =
                freshness == Freshness::Live && fact.committed && fact.since <= sent && !fact.lost;
            let is_key = matches!(fact.scope, Scope::Key(_));
            match (is_mine, is_gone) {
                (true, _) => Some((Property::NotAcceptedAgain, fact)),
                (false, true) if is_key && fact.reason == EndReason::Regenerated => {
                    Some((Property::Fixation, fact))
                }
                (false, true) => Some((Property::EndedIsEnded, fact)),
                (false, false) => None,
            }
        });
        if let Some((property, fact)) = found {
            let what = format!("{} is served after {:?}", key.tell(), fact.scope);
            self.fail(property, || what);
        }
    }

    /// A request was told that its session is over, or none.
    fn signed_out(
        &mut self,
        instance: &Instance,
        key: &RecordKey,
        entry: Option<&Entry>,
        call: &Call,
        now: u64,
    ) {
        match &call.read {
            // The store said so itself.
            Some(None | Some(Entry::Ended(_))) => return,
            Some(Some(Entry::Live(_))) | None => {}
        }
        let reason = match entry {
            Some(Entry::Ended(tombstone)) => Some(tombstone.end.reason),
            Some(Entry::Live(_)) | None => None,
        };
        let is_by_clock = self
            .keys
            .get(key)
            .is_none_or(|record| record.end_at(instant(now)).is_some());
        let is_asked_for = match self.keys.get(key) {
            Some(record) => self.requested.iter().any(|scope| scope.covers(key, record)),
            None => true,
        };
        let is_true = match reason {
            Some(EndReason::Idle | EndReason::Absolute) => is_by_clock,
            Some(EndReason::Limit | EndReason::LoggedOut | EndReason::Revoked) => is_asked_for,
            Some(EndReason::Regenerated) => is_asked_for,
            // Refused when it was to be promoted.
            Some(EndReason::StoreLost) => self.was_local.contains(key),
            None => false,
        };
        if !is_true {
            let up = instance.epoch().up;
            self.fail(Property::AwayIsNotAbsent, || {
                format!("{} is told to be over ({reason:?}); up: {up}", key.tell())
            });
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
                if self.lost_at >= *sent {
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
                    let holds = fact.holds(&server.contents, instant(now));
                    if !holds {
                        missing = Some(fact.scope.clone());
                    }
                }
                if let Some(scope) = missing {
                    self.fail(Property::ToldBeforeRead, || {
                        format!("the store is read and does not know of {scope:?}")
                    });
                }
            }
            News::Written(amounts, _) => {
                for by in amounts {
                    self.pending.remove(by);
                }
            }
            News::NotTaken(key) => {
                self.local.remove(key);
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
            if fact.lost {
                fact.lost = !fact.stands(contents, instant(now));
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

    /// All has been well for a while.
    pub(super) fn at_rest(&mut self, instances: &[Instance], server: &Server, now: u64) {
        for (at, instance) in instances.iter().enumerate() {
            let due = instance.memory.due(|_| true).len();
            let ends = instance.journal.len();
            let is_up = instance.epoch().up;
            if due > 0 || ends > 0 || !is_up || !instance.is_idle() {
                self.fail(Property::Terminates, || {
                    format!(
                        "i{at}: {due} due, {ends} ends, up: {is_up}, {} calls, {} carries, {} sweeps",
                        instance.calls.len(),
                        instance.carries.len(),
                        instance.sweeps.len()
                    )
                });
            }
            let me = Some((at, instance.number));
            let open = self.facts.iter().find(|fact| {
                fact.by == me
                    && now - fact.acknowledged < micros(REMEMBERED)
                    && !fact.holds(&server.contents, instant(now))
            });
            if let Some(scope) = open.map(|fact| fact.scope.clone()) {
                self.fail(Property::Terminates, || {
                    format!("i{at} acknowledged {scope:?}, and the store does not know")
                });
            }
        }
        let contents = &server.contents;
        let arrived = |key: &RecordKey| contents.entries.contains_key(key);
        let lost = self.local.iter().find(|(key, (_, made, record))| {
            !arrived(key)
                && now - made < micros(LOCAL_TTL) / 2
                && !self.requested.iter().any(|scope| scope.covers(key, record))
        });
        if let Some((key, _)) = lost {
            let key = *key;
            let is_gone = self.requested.len();
            self.fail(Property::PendingArrives, || {
                format!("{} never got to the store ({is_gone})", key.tell())
            });
        }
        let lost = self
            .pending
            .iter()
            .find(|(_, (_, key))| contents.live(key, instant(now)).is_some());
        if let Some((by, (_, key))) = lost {
            let (by, key) = (*by, *key);
            self.fail(Property::PendingArrives, || {
                format!("{by} was never added to {}, and nobody says so", key.tell())
            });
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
        EndScope::One(..) => None,
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
