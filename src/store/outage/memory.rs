//! What an instance knows of some buckets while it cannot ask: and what that lets it answer.
//!
//! Pure: no store, no clock, no lock. The shell ([`shield`](super::shield)) and the simulation call the same functions.

mod delivery;
mod ends;

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use hashbrown::HashSet;

use super::ended::Ended;
use super::lease::Leases;
use super::length::length;
use super::local::{self, Locals};
use super::pursued::Pursued;
use super::staged::{Staged, compared};
use super::stamp::Stamp;
use crate::clock::instant;
use crate::id::{Handle, Kind, RecordKey, UserId};
use crate::record::{Added, ChangeError, End, EndReason, Entry, Guard, Op, Record, Tombstone};
use crate::store::growth;
use crate::store::rules::{self, listed_for, signed_in_at};
use crate::store::{
    Append, Appended, Applied, Apply, Create, Created, EndedSession, Outage, Renewal, Replace,
    Replaced,
};
pub(crate) use delivery::Delivery;

/// Now, for this machine and for the store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) here: Stamp,
    pub(crate) store: SystemTime,
}

/// Bounds and lengths.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// For how long what was read may be served, and whether sessions may be made here and leases written to: for
    /// users' sessions, and for demo sessions.
    pub(crate) outages: [Outage; 2],
    pub(crate) lease_bytes: usize,
    pub(crate) local_ttl: Duration,
    pub(crate) local_bytes: usize,
    pub(crate) staged_bytes: usize,
    pub(crate) ends: usize,
    pub(crate) record_bytes: usize,
}

impl Limits {
    const fn is_local(&self, kind: Kind) -> bool {
        self.outages[kind as usize].is_local()
    }
}

/// Leases, ends, local sessions and staged writes of some buckets.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Memory {
    pub(super) leases: Leases,
    pub(super) ended: Ended,
    pub(super) locals: Locals,
    pub(super) staged: Staged,
    pub(super) pursued: Pursued,
    /// Sessions that are being promoted or written: whoever wants one of them waits.
    busy: HashSet<RecordKey>,
    limits: Limits,
}

/// How an operation is carried out.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(crate) enum Course<T> {
    /// By the store.
    Ask,
    /// It was done here: with a session that was made here, or with what is known of one.
    Here(T, Here),
    /// Something must reach the store before: a promotion or a staged write of this session.
    First,
    /// Not at all: the store is away, and what is known here is not enough.
    Away,
}

/// On what an answer rests that the store did not give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Here {
    /// A session that was made here.
    Local,
    /// What was verified before.
    Lease,
}

impl Memory {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            leases: Leases::new(limits.outages.map(Outage::lease), limits.lease_bytes),
            ended: Ended::new(limits.ends),
            locals: Locals::new(limits.local_bytes, limits.record_bytes, limits.local_ttl),
            staged: Staged::new(limits.staged_bytes),
            pursued: Pursued::default(),
            busy: HashSet::new(),
            limits,
        }
    }

    /// Reading a session. `up`: whether the store is read.
    pub(crate) fn read(&self, key: &RecordKey, up: bool, now: Moment) -> Course<Entry> {
        match self.local(key, up, now) {
            Course::Here(entry, here) => return Course::Here(entry, here),
            // What is on its way, to a store that does not answer, may be read.
            Course::First if up => return Course::First,
            Course::First => {
                if let Some(entry) = self.local_entry(key, now) {
                    return Course::Here(entry, Here::Local);
                }
            }
            Course::Ask | Course::Away => {}
        }
        if up {
            return if self.staged.has(key) {
                Course::First
            } else {
                Course::Ask
            };
        }
        match self.known(key, now) {
            Some(entry) => Course::Here(entry, Here::Lease),
            None => Course::Away,
        }
    }

    /// What the store answered to a read that was sent at `sent`: what becomes of it.
    pub(crate) fn loaded(
        &mut self,
        key: &RecordKey,
        entry: Option<Entry>,
        sent: Stamp,
        now: Moment,
    ) -> Option<Entry> {
        match entry {
            Some(Entry::Live(record)) => {
                if let Some(tombstone) = self.ended.covers(key, &record) {
                    self.leases.remove(key);
                    return Some(Entry::Ended(tombstone));
                }
                self.leases.keep(*key, record.clone(), sent, now.here);
                Some(Entry::Live(record))
            }
            Some(Entry::Ended(tombstone)) => {
                self.leases.remove(key);
                self.ended.key(*key, tombstone.clone(), now.here);
                Some(Entry::Ended(tombstone))
            }
            None => {
                self.leases.remove(key);
                // Not forgotten here because a store has lost it.
                self.ended.covers_key(key).cloned().map(Entry::Ended)
            }
        }
    }

    /// Changing a session.
    pub(crate) fn apply(&mut self, apply: &Apply, up: bool, now: Moment) -> Course<Applied> {
        match self.local(&apply.key, up, now) {
            Course::Here(Entry::Live(_), _) => {
                return match self.locals.apply(apply, now.store, now.here) {
                    Ok(applied) => Course::Here(applied, Here::Local),
                    Err(local::Full) => Course::Away,
                };
            }
            Course::Here(Entry::Ended(tombstone), _) => {
                return Course::Here(not_applied(tombstone), Here::Local);
            }
            Course::First => return Course::First,
            Course::Ask | Course::Away => {}
        }
        if up {
            return if self.staged.has(&apply.key) {
                Course::First
            } else {
                Course::Ask
            };
        }
        match self.known(&apply.key, now) {
            Some(Entry::Live(record)) => self.apply_to_lease(apply, &record),
            Some(Entry::Ended(tombstone)) => Course::Here(not_applied(tombstone), Here::Lease),
            None => Course::Away,
        }
    }

    fn apply_to_lease(&mut self, apply: &Apply, record: &Record) -> Course<Applied> {
        let is_update = apply
            .changes
            .each
            .iter()
            .any(|change| change.guard != Guard::Any);
        // An update needs the value as it is, and says what it became: nobody knows.
        let writes = !apply.changes.is_empty();
        if writes && (!self.limits.is_local(apply.key.kind) || is_update) {
            return Course::Away;
        }
        let changed = match record.changed(&apply.changes, apply.seen.as_ref()) {
            Ok(changed) => changed,
            Err(ChangeError::NotAnInteger) => {
                return Course::Here(Applied::NotAnInteger, Here::Lease);
            }
            Err(ChangeError::Conflict) => return Course::Here(Applied::Conflict, Here::Lease),
        };
        let limit = self.limits.record_bytes;
        if writes && growth::outgrows(record, &changed, limit, |record| length(record, limit)) {
            return Course::Here(Applied::TooLarge, Here::Lease);
        }
        let changes = compared(&apply.changes, record);
        let added = self.staged.add(apply.key, changes, apply.seen.as_ref());
        if added.is_err() && writes {
            return Course::Away;
        }
        let sum = changed.sum(&apply.changes);
        self.leases.put(&apply.key, changed);
        Course::Here(Applied::Saved(sum), Here::Lease)
    }

    /// What [`applied`](Self::applied) is told by whoever asks the store.
    pub(crate) const fn mark(&self) -> u64 {
        self.leases.mark()
    }

    /// The store made this change, and told what an addition came to; it was asked at that mark.
    pub(crate) fn applied(&mut self, apply: &Apply, sum: Option<i64>, mark: u64, now: Moment) {
        // It must not fall behind what the store acknowledged.
        let Some(record) = self.leases.get(&apply.key, now.here) else {
            return;
        };
        // Nor have it twice: whether what was read or changed meanwhile came before it is not known. When it was seen
        // last only moves forward.
        if !apply.changes.is_empty() && !self.leases.is_unchanged(&apply.key, mark) {
            self.leases.remove(&apply.key);
            return;
        }
        // Others may have added as well.
        let mut changes = Cow::Borrowed(&apply.changes);
        if let Some(sum) = sum {
            let mut adds = changes.to_mut().each.iter_mut();
            if let Some(change) = adds.find(|change| matches!(change.op, Op::Add(_))) {
                change.op = Op::Set(sum.to_string().into_bytes());
            }
        }
        if let Ok(changed) = record.changed(&changes, apply.seen.as_ref()) {
            self.leases.put(&apply.key, changed);
        }
    }

    /// Adding to a conversation.
    pub(crate) fn append(&mut self, append: &Append, up: bool, now: Moment) -> Course<Appended> {
        match self.local(&append.key, up, now) {
            Course::Here(Entry::Live(_), _) => {
                return match self.locals.append(append, now.store, now.here) {
                    Ok(appended) => Course::Here(appended, Here::Local),
                    Err(local::Full) => Course::Away,
                };
            }
            Course::Here(Entry::Ended(tombstone), _) => {
                return Course::Here(not_appended(tombstone), Here::Local);
            }
            Course::First => return Course::First,
            Course::Ask | Course::Away => {}
        }
        if up {
            return if self.staged.has(&append.key) {
                Course::First
            } else {
                Course::Ask
            };
        }
        match self.known(&append.key, now) {
            Some(Entry::Live(record)) => self.append_to_lease(append, &record, now),
            Some(Entry::Ended(tombstone)) => Course::Here(not_appended(tombstone), Here::Lease),
            None => Course::Away,
        }
    }

    /// It is said now, and sent later.
    fn append_to_lease(
        &mut self,
        append: &Append,
        record: &Record,
        now: Moment,
    ) -> Course<Appended> {
        if !self.limits.is_local(append.key.kind) {
            return Course::Away;
        }
        let (with, at) = match record.added(&append.message, append.bounds, now.store) {
            Added::New(with, at) => (with, instant(at)),
            Added::There(at) => {
                let (at, count) = (instant(at), record.message_count());
                return Course::Here(Appended::Added { at, count }, Here::Lease);
            }
            Added::Full => return Course::Here(Appended::Full, Here::Lease),
        };
        let later = Append {
            at: Some(at),
            again: true,
            ..append.clone()
        };
        if self.staged.append(later).is_err() {
            return Course::Away;
        }
        let count = with.message_count();
        self.leases.put(&append.key, with);
        Course::Here(Appended::Added { at, count }, Here::Lease)
    }

    /// The store added this message, the `count`-th.
    pub(crate) fn appended(&mut self, append: &Append, at: SystemTime, count: usize, now: Moment) {
        let Some(record) = self.leases.get(&append.key, now.here) else {
            return;
        };
        match record.added(&append.message, append.bounds, at) {
            Added::New(with, _) if with.message_count() == count => {
                self.leases.put(&append.key, with);
            }
            // Others have added as well, which is not known here.
            Added::New(..) | Added::There(_) | Added::Full => self.leases.remove(&append.key),
        }
    }

    /// Making a session.
    pub(crate) fn create(&mut self, create: &Create, up: bool, now: Moment) -> Course<Created> {
        if up {
            return Course::Ask;
        }
        if !self.limits.is_local(create.key.kind) {
            return Course::Away;
        }
        let began_at = signed_in_at(&create.record).min(create.began_at);
        if let Some(user) = listed_for(&create.key, &create.record)
            && self.ended.refuses_sign_in(user.as_str(), began_at)
        {
            return Course::Here(Created::Refused(EndReason::Revoked), Here::Local);
        }
        match self.locals.create(create, now.store, now.here) {
            Ok(created) => Course::Here(created, Here::Local),
            Err(local::Full) => Course::Away,
        }
    }

    /// The store made this session when it was asked at `sent`.
    pub(crate) fn created(
        &mut self,
        create: &Create,
        ended: &[EndedSession],
        sent: Stamp,
        now: Moment,
    ) {
        self.limited(create.key.bucket, ended, now);
        self.leases
            .keep(create.key, create.record.clone(), sent, now.here);
    }

    /// Giving a session a new id.
    pub(crate) fn replace(&mut self, replace: &Replace, up: bool, now: Moment) -> Course<Replaced> {
        match self.local(&replace.key, up, now) {
            Course::Here(Entry::Live(record), _) => {
                return self.replace_local(replace, &record, now);
            }
            Course::Here(Entry::Ended(tombstone), _) => {
                return Course::Here(not_replaced(tombstone), Here::Local);
            }
            Course::First => return Course::First,
            Course::Ask | Course::Away => {}
        }
        if up {
            return if self.staged.has(&replace.key) {
                Course::First
            } else {
                Course::Ask
            };
        }
        match (self.known(&replace.key, now), &replace.renewal) {
            (Some(Entry::Ended(tombstone)), _) => {
                Course::Here(not_replaced(tombstone), Here::Lease)
            }
            // The old one is ended by whoever asks: that has to reach the store.
            (Some(Entry::Live(record)), Renewal::SignIn(sign_in)) => {
                let create = Create {
                    key: replace.key.sibling(replace.successor),
                    record: rules::signed_in(&record, sign_in),
                    began_at: sign_in.began_at,
                    limit: sign_in.limit,
                    held: false,
                };
                match self.create(&create, up, now) {
                    Course::Here(Created::Created(ended), here) => Course::Here(
                        Replaced::Replaced {
                            record: create.record,
                            ended,
                        },
                        here,
                    ),
                    Course::Here(Created::Refused(reason), here) => {
                        Course::Here(Replaced::Refused(reason), here)
                    }
                    Course::Here(Created::TooLarge, here) => Course::Here(Replaced::TooLarge, here),
                    Course::Here(Created::AtLimit | Created::Exists, _)
                    | Course::Ask
                    | Course::First
                    | Course::Away => Course::Away,
                }
            }
            (
                Some(Entry::Live(_)),
                Renewal::SameSession | Renewal::Reauthenticated { .. } | Renewal::Adopted(_),
            )
            | (None, _) => Course::Away,
        }
    }

    fn replace_local(
        &mut self,
        replace: &Replace,
        record: &Record,
        now: Moment,
    ) -> Course<Replaced> {
        let began_at = match &replace.renewal {
            Renewal::SameSession | Renewal::Adopted(_) => None,
            Renewal::Reauthenticated {
                signed_in_at,
                began_at,
                ..
            } => Some(*began_at.min(signed_in_at)),
            Renewal::SignIn(sign_in) => Some(signed_in_at(&sign_in.record).min(sign_in.began_at)),
        };
        if let (Some(user), Some(began_at)) = (listed_for(&replace.key, record), began_at)
            && self.ended.refuses_sign_in(user.as_str(), began_at)
        {
            return Course::Here(Replaced::Refused(EndReason::Revoked), Here::Local);
        }
        let sent = self.locals.sent_at(&replace.key);
        if sent.is_some() && !matches!(replace.renewal, Renewal::SignIn(_)) {
            // The store may have it: there would be two of the same name.
            return Course::Away;
        }
        match self.locals.replace(replace, now.store, now.here) {
            Ok(replaced) => {
                if let (Replaced::Replaced { .. }, Some(sent)) = (&replaced, sent) {
                    let over = End::new(EndReason::Regenerated, now.store);
                    self.pursued
                        .add(replace.key, name_of(&replace.key, record), &over, sent);
                }
                Course::Here(replaced, Here::Local)
            }
            Err(local::Full) => Course::Away,
        }
    }

    /// The store gave a session this new id when it was asked at `sent`.
    pub(crate) fn replaced(
        &mut self,
        replace: &Replace,
        record: &Record,
        ended: &[EndedSession],
        sent: Stamp,
        now: Moment,
    ) {
        self.limited(replace.key.bucket, ended, now);
        let tombstone = Tombstone {
            handle: record.handle(),
            end: End::new(EndReason::Regenerated, now.store),
            successor: Some(replace.successor),
        };
        self.leases.remove(&replace.key);
        self.ended.key(replace.key, tombstone, now.here);
        let successor = replace.key.sibling(replace.successor);
        self.leases.keep(successor, record.clone(), sent, now.here);
    }

    /// A session that was made here.
    fn local(&self, key: &RecordKey, up: bool, now: Moment) -> Course<Entry> {
        if self.busy.contains(key) || (up && self.locals.has(key)) {
            return Course::First;
        }
        match self.local_entry(key, now) {
            Some(entry) => Course::Here(entry, Here::Local),
            None => Course::Ask,
        }
    }

    fn local_entry(&self, key: &RecordKey, now: Moment) -> Option<Entry> {
        match self.locals.load(key, now.store, now.here)? {
            Entry::Live(record) => Some(match self.ended.covers(key, &record) {
                Some(tombstone) => Entry::Ended(tombstone),
                None => Entry::Live(record),
            }),
            ended @ Entry::Ended(_) => Some(ended),
        }
    }

    /// What is known of a session that the store holds.
    fn known(&self, key: &RecordKey, now: Moment) -> Option<Entry> {
        if let Some(tombstone) = self.ended.covers_key(key) {
            return Some(Entry::Ended(tombstone.clone()));
        }
        let record = self.leases.get(key, now.here)?;
        Some(match self.ended.covers(key, record) {
            Some(tombstone) => Entry::Ended(tombstone),
            None => Entry::Live(record.clone()).at(now.store),
        })
    }

    fn live_lease(&self, key: &RecordKey, now: Moment) -> Option<Record> {
        match self.known(key, now)? {
            Entry::Live(record) => Some(record),
            Entry::Ended(_) => None,
        }
    }

    /// The name by which the store can end what stands under a key, if it is known here.
    fn name(&self, key: &RecordKey, now: Moment) -> Option<(UserId, Handle)> {
        let record = match self.locals.load(key, now.store, now.here) {
            Some(Entry::Live(record)) => record,
            Some(Entry::Ended(_)) | None => self.leases.get(key, now.here)?.clone(),
        };
        name_of(key, &record)
    }
}

#[cfg(test)]
impl Memory {
    /// All that it knows, in an order of its own: two that know the same say the same.
    pub(super) fn summary(&self) -> String {
        let mut parts = self.leases.told();
        parts.extend(
            self.ended
                .assertions(|_| true)
                .iter()
                .map(|end| format!("{end:?}")),
        );
        parts.extend(self.due(|_| true).iter().map(|key| {
            let (sent, bytes) = (self.locals.sent_at(key), key.digest.as_bytes());
            format!("due {bytes:?} {sent:?} {}", self.busy.contains(key))
        }));
        parts.sort();
        format!("{parts:?} {:?}", self.pursued)
    }
}

/// Demo sessions are in nobody's list: they have no other name than their key.
fn name_of(key: &RecordKey, record: &Record) -> Option<(UserId, Handle)> {
    Some((listed_for(key, record)?, record.handle()))
}

fn session(record: &Record) -> EndedSession {
    EndedSession {
        handle: record.handle(),
        user: record.user().map(UserId::from),
    }
}

fn not_applied(tombstone: Tombstone) -> Applied {
    if tombstone.end.reason == EndReason::Regenerated {
        Applied::Moved
    } else {
        Applied::Ended(tombstone.end)
    }
}

fn not_appended(tombstone: Tombstone) -> Appended {
    if tombstone.end.reason == EndReason::Regenerated {
        Appended::Moved
    } else {
        Appended::Ended(tombstone.end)
    }
}

fn not_replaced(tombstone: Tombstone) -> Replaced {
    if tombstone.end.reason == EndReason::Regenerated {
        Replaced::Moved
    } else {
        Replaced::Ended(tombstone.end)
    }
}
