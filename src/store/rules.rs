//! The contract of [`SessionStore`](super::SessionStore) as pure code.
//!
//! Each function is one operation on one bucket, over anything that can get and put entries: a [`Shelf`]. They do no
//! I/O and take the time as an argument. Whoever holds a bucket for itself, by a lock, a transaction or a single
//! thread, and runs one of these over it, has kept rules 1 to 14, and 17. [`MemoryStore`](super::MemoryStore) is built so; the
//! scripts of a remote store are measured against the same conformance suite.

use std::time::{Duration, SystemTime};

use super::command::{
    Append, Appended, Applied, Apply, AtLimit, Create, Created, EndScope, EndSessions,
    EndedSession, EndedSessions, Limit, Renewal, Replace, Replaced, SignIn,
};
use super::growth;
use super::outage::{Rule, holds};
use crate::clock::{instant, micros};
use crate::id::{Bucket, Digest, Kind, RecordKey, UserId};
use crate::record::{
    Activity, Added, ChangeError, Changes, End, EndReason, Entry, HistoryEntry, HistoryEvent, Op,
    Record, Tombstone, UserLog,
};

/// What a `since` is set to: the next whole microsecond, so that a login that begins afterwards is told from one that
/// began before. A store's clock must not show an earlier instant once the end is acknowledged (rule 11).
#[must_use]
pub fn after(now: SystemTime) -> SystemTime {
    instant(micros(now) + 1)
}

/// A `since` that is further ahead than this is of a clock that was put right since.
const SINCE_AHEAD: Duration = Duration::from_secs(5);

/// The contents of one bucket, as a store keeps them.
pub trait Shelf {
    /// What stands under a key, also when it is over.
    fn get(&self, key: &RecordKey) -> Option<Entry>;

    /// Puts it there, in place of whatever was. The entry may be dropped after [`Entry::kept_until`].
    fn put(&mut self, key: &RecordKey, entry: Entry);

    /// The digests in a user's index, in any order.
    fn members(&self, user: &UserId) -> Vec<Digest>;

    /// Whether a digest is in a user's index.
    fn is_member(&self, user: &UserId, digest: &Digest) -> bool {
        self.members(user).contains(digest)
    }

    /// Adds to a user's index.
    fn add_member(&mut self, user: &UserId, digest: Digest);

    /// Takes out of a user's index.
    fn remove_member(&mut self, user: &UserId, digest: &Digest);

    /// The user's `since`, if there is one.
    fn since(&self, user: &UserId) -> Option<SystemTime>;

    /// Sets the user's `since`. It may be dropped after [`SINCE_KEPT`].
    fn set_since(&mut self, user: &UserId, since: SystemTime);

    /// Adds to a user's history, and drops the oldest of more than [`HistoryEntry::MOST`]. What is older than
    /// [`HistoryEntry::KEPT`] may be dropped.
    ///
    /// Default: there is no history. Rule 18 is not kept then.
    fn note(&mut self, _user: &UserId, _entry: HistoryEntry) {}

    /// The same of a user's activities.
    fn record(&mut self, _user: &UserId, _activity: Activity) {}

    /// A user's history and activities, newest first.
    fn log(&self, _user: &UserId) -> UserLog {
        UserLog::default()
    }

    /// Drops a user's history and activities.
    fn erase(&mut self, _user: &UserId) {}

    /// The most bytes that a record may have.
    fn record_limit(&self) -> usize;

    /// How many bytes of a record count for that.
    fn limited_size(&self, record: &Record) -> usize {
        record.limited_size()
    }
}

/// How long a `since` is kept: no request, and no session that was made while a store was away, is older.
pub const SINCE_KEPT: Duration = Duration::from_secs(75 * 60);

/// Rule 4, 10, 11, 14.
pub fn create(shelf: &mut impl Shelf, now: SystemTime, create: &Create) -> Created {
    let Create {
        key,
        record,
        began_at,
        limit,
        held,
    } = create;
    let there = shelf
        .get(key)
        // What was made elsewhere gets here as anything does: not over what is here, nor over what was.
        .filter(|_| !held || holds(Rule::CreateOnly));
    match there {
        Some(Entry::Live(there)) if there.handle() == record.handle() => {
            if record.message_count() > 0 {
                // Sent before, and more was said since.
                shelf.put(key, Entry::Live(there.joined(record)));
            }
            return Created::Created(Vec::new());
        }
        Some(Entry::Live(_)) => return Created::Exists,
        Some(Entry::Ended(tombstone)) => return Created::Refused(tombstone.end.reason),
        None => {}
    }
    if shelf.limited_size(record) > shelf.record_limit() {
        return Created::TooLarge;
    }
    let mut ended = Vec::new();
    if let Some(user) = listed_for(key, record) {
        if is_before_since(shelf, &user, signed_in_at(record).min(*began_at)) {
            return Created::Refused(EndReason::Revoked);
        }
        match make_room(shelf, now, key, &user, *limit, None) {
            Some(made) => ended = made,
            None => return Created::AtLimit,
        }
        shelf.add_member(&user, key.digest);
        let entry = HistoryEntry::of(record, now, HistoryEvent::SignedIn);
        shelf.note(&user, entry);
    }
    shelf.put(key, Entry::Live(record.clone()));
    Created::Created(ended)
}

/// Rule 5.
pub fn load(shelf: &impl Shelf, now: SystemTime, key: &RecordKey) -> Option<Entry> {
    shelf.get(key).map(|entry| entry.at(now))
}

/// Rules 1, 6, 7, 14.
pub fn apply(shelf: &mut impl Shelf, now: SystemTime, apply: &Apply) -> Applied {
    let record = match live(shelf, now, &apply.key) {
        Ok(record) => record,
        Err(NotLive::Moved(_)) => return Applied::Moved,
        Err(NotLive::Ended(end)) => return Applied::Ended(end),
    };
    let changed = match record.changed(&apply.changes, apply.seen.as_ref()) {
        Ok(changed) => changed,
        Err(ChangeError::Conflict) => return Applied::Conflict,
        Err(ChangeError::NotAnInteger) => return Applied::NotAnInteger,
    };
    let limit = shelf.record_limit();
    if !apply.changes.is_empty()
        && growth::outgrows(&record, &changed, limit, |record| {
            shelf.limited_size(record)
        })
    {
        return Applied::TooLarge;
    }
    let sum = changed.sum(&apply.changes);
    shelf.put(&apply.key, Entry::Live(changed));
    Applied::Saved(sum)
}

/// Rules 1, 17.
pub fn append(shelf: &mut impl Shelf, now: SystemTime, append: &Append) -> Appended {
    let record = match live(shelf, now, &append.key) {
        Ok(record) => record,
        Err(NotLive::Moved(_)) => return Appended::Moved,
        Err(NotLive::Ended(end)) => return Appended::Ended(end),
    };
    // Nothing was said later than now, whatever the clock of whoever tells of it.
    let at = append.at.map_or(now, |at| at.min(now));
    match record.added(&append.message, append.bounds, at) {
        Added::New(with, at) => {
            let count = with.message_count();
            shelf.put(&append.key, Entry::Live(with));
            let at = instant(at);
            Appended::Added { at, count }
        }
        Added::There(at) => Appended::Added {
            at: instant(at),
            count: record.message_count(),
        },
        Added::Full => Appended::Full,
    }
}

/// Rules 1, 8, 10, 11.
pub fn replace(shelf: &mut impl Shelf, now: SystemTime, replace: &Replace) -> Replaced {
    let Replace {
        key,
        successor,
        renewal,
        seen,
    } = replace;
    let successor_key = key.sibling(*successor);
    let record = match live(shelf, now, key) {
        Ok(record) => record,
        // Sent twice: it was this very step that superseded the id.
        Err(NotLive::Moved(Some(done))) if done == *successor => {
            return match live(shelf, now, &successor_key) {
                Ok(record) => Replaced::Replaced {
                    record,
                    ended: Vec::new(),
                },
                Err(NotLive::Moved(_)) => Replaced::Moved,
                Err(NotLive::Ended(end)) => Replaced::Ended(end),
            };
        }
        Err(NotLive::Moved(_)) => return Replaced::Moved,
        Err(NotLive::Ended(end)) => return Replaced::Ended(end),
    };
    let user = listed_for(key, &record);
    let began_at = match renewal {
        Renewal::SameSession | Renewal::Adopted(_) => None,
        Renewal::Reauthenticated {
            signed_in_at,
            began_at,
            ..
        } => Some(*began_at.min(signed_in_at)),
        Renewal::SignIn(sign_in) => Some(signed_in_at(&sign_in.record).min(sign_in.began_at)),
    };
    if let (Some(user), Some(began_at)) = (&user, began_at)
        && is_before_since(shelf, user, began_at)
    {
        return Replaced::Refused(EndReason::Revoked);
    }
    let (next, limit) = match renewal {
        Renewal::SameSession => match record.changed(&Changes::default(), Some(seen)) {
            Ok(next) => (next, None),
            Err(_) => (record.clone(), None),
        },
        Renewal::Reauthenticated {
            signed_in_at,
            absolute_end,
            ..
        } => (record.renewed(*signed_in_at, *absolute_end, seen), None),
        Renewal::SignIn(sign_in) => (signed_in(&record, sign_in), sign_in.limit),
        Renewal::Adopted(user) => (record.adopted(user, seen), None),
    };
    if shelf.limited_size(&next) > shelf.record_limit() && matches!(renewal, Renewal::SignIn(_)) {
        return Replaced::TooLarge;
    }
    let mut ended = Vec::new();
    if let Some(user) = &user {
        // Refusing would keep the same browser from its own place: the one that is replaced makes the room.
        let limit = limit.map(|limit| Limit {
            at_limit: AtLimit::EndOldest,
            ..limit
        });
        ended = make_room(shelf, now, key, user, limit, Some(key.digest)).unwrap_or_default();
        shelf.remove_member(user, &key.digest);
        shelf.add_member(user, *successor);
        let event = match renewal {
            Renewal::SameSession | Renewal::Adopted(_) => HistoryEvent::Regenerated,
            Renewal::Reauthenticated { .. } => HistoryEvent::Reauthenticated,
            Renewal::SignIn(_) => {
                let reason = EndReason::Regenerated;
                note_end(shelf, user, &record, &End::new(reason, now));
                HistoryEvent::SignedIn
            }
        };
        shelf.note(user, HistoryEntry::of(&next, now, event));
    }
    bury(
        shelf,
        key,
        &record,
        End::new(EndReason::Regenerated, now),
        Some(*successor),
    );
    shelf.put(&successor_key, Entry::Live(next.clone()));
    Replaced::Replaced {
        record: next,
        ended,
    }
}

/// Rules 3, 11, 12, 13.
pub fn end(
    shelf: &mut impl Shelf,
    now: SystemTime,
    bucket: Bucket,
    end: &EndSessions,
) -> EndedSessions {
    let over = End {
        reason: end.reason,
        at: now,
        note: end.note.clone(),
    };
    match &end.scope {
        EndScope::One(key, successor) => ended_one(end_one(shelf, now, key, over, *successor)),
        EndScope::Unborn(key) => {
            if shelf.get(key).is_none() {
                shelf.put(key, Entry::Ended(Tombstone::of_nobody(over)));
                return EndedSessions::default();
            }
            ended_one(end_one(shelf, now, key, over, None))
        }
        EndScope::Handle(user, handle) => {
            end_where(shelf, now, bucket, user, &over, |r| r.handle() == *handle)
        }
        EndScope::Others(user, kept) => {
            let ended = end_where(shelf, now, bucket, user, &over, |r| {
                r.handle() != *kept && is_before(r, end.before)
            });
            let since = keep_out(shelf, now, user, end.before);
            EndedSessions { since, ..ended }
        }
        EndScope::All(user) => {
            let ended = end_where(shelf, now, bucket, user, &over, |r| {
                is_before(r, end.before)
            });
            let since = keep_out(shelf, now, user, end.before);
            EndedSessions { since, ..ended }
        }
    }
}

/// Whether its sign-in is of those that an end concerns.
fn is_before(record: &Record, before: Option<SystemTime>) -> bool {
    // In whole microseconds, as records have their instants.
    before.is_none_or(|before| micros(signed_in_at(record)) < micros(before))
}

/// Sets the user's `since` for an end of all; what it is then.
fn keep_out(
    shelf: &mut impl Shelf,
    now: SystemTime,
    user: &UserId,
    before: Option<SystemTime>,
) -> Option<SystemTime> {
    let next = after(now);
    // No end happened later than now, whatever the clock of whoever tells of it said.
    let from = before.map_or(next, |before| instant(micros(before)).min(next));
    let since = match shelf.since(user) {
        None => from,
        Some(known) if known < now + SINCE_AHEAD => known.max(from),
        // The end that it is of was some time until now: that is all that is known of it.
        Some(_) => next,
    };
    shelf.set_since(user, since);
    Some(since)
}

/// Rule 9.
pub fn list(shelf: &impl Shelf, now: SystemTime, bucket: Bucket, user: &UserId) -> Vec<Record> {
    let mut records: Vec<Record> = members(shelf, now, bucket, user)
        .into_iter()
        .map(|(_, record)| record)
        .collect();
    sort_newest_first(&mut records);
    records
}

/// A list's order.
pub(super) fn sort_newest_first(records: &mut [Record]) {
    records.sort_by_key(|record| {
        std::cmp::Reverse((record.signed_in_at(), record.created_at(), record.handle()))
    });
}

/// Why a record does not take changes.
pub(super) enum NotLive {
    /// It goes on under another digest.
    Moved(Option<Digest>),
    /// It is over.
    Ended(End),
}

impl From<Tombstone> for NotLive {
    fn from(tombstone: Tombstone) -> Self {
        let Tombstone { end, successor, .. } = tombstone;
        match end.reason {
            EndReason::Regenerated => Self::Moved(successor),
            EndReason::LoggedOut
            | EndReason::Idle
            | EndReason::Absolute
            | EndReason::Limit
            | EndReason::Revoked
            | EndReason::StoreLost => Self::Ended(end),
        }
    }
}

/// In whose index a record is: that of its user. Demo sessions are in none, also where they carry a user.
pub(super) fn listed_for(key: &RecordKey, record: &Record) -> Option<UserId> {
    match key.kind {
        Kind::User => record.user().map(UserId::from),
        Kind::Demo => None,
    }
}

/// When its user proved who they are; a session that says nothing of it did so when it was made.
pub(super) fn signed_in_at(record: &Record) -> SystemTime {
    record.signed_in_at().unwrap_or_else(|| record.created_at())
}

/// The record, if it exists, is not over, and is in its user's index.
fn live(shelf: &impl Shelf, now: SystemTime, key: &RecordKey) -> Result<Record, NotLive> {
    let lost = || NotLive::Ended(End::new(EndReason::StoreLost, now));
    match load(shelf, now, key) {
        Some(Entry::Live(record)) => {
            let listed =
                listed_for(key, &record).is_none_or(|user| shelf.is_member(&user, &key.digest));
            if listed { Ok(record) } else { Err(lost()) }
        }
        Some(Entry::Ended(tombstone)) => Err(tombstone.into()),
        None => Err(lost()),
    }
}

fn is_before_since(shelf: &impl Shelf, user: &UserId, at: SystemTime) -> bool {
    holds(Rule::Since) && shelf.since(user).is_some_and(|since| at < since)
}

/// The user's live sessions with their digests.
fn members(
    shelf: &impl Shelf,
    now: SystemTime,
    bucket: Bucket,
    user: &UserId,
) -> Vec<(Digest, Record)> {
    let key = |digest| RecordKey {
        kind: Kind::User,
        bucket,
        digest,
    };
    shelf
        .members(user)
        .into_iter()
        .filter_map(|digest| match load(shelf, now, &key(digest)) {
            Some(Entry::Live(record)) => Some((digest, record)),
            Some(Entry::Ended(_)) | None => None,
        })
        .collect()
}

/// Ends the oldest until one more fits; `None` where the limit refuses. `except` is about to be replaced.
fn make_room(
    shelf: &mut impl Shelf,
    now: SystemTime,
    key: &RecordKey,
    user: &UserId,
    limit: Option<Limit>,
    except: Option<Digest>,
) -> Option<Vec<EndedSession>> {
    let Some(limit) = limit else {
        return Some(Vec::new());
    };
    let mut live = members(shelf, now, key.bucket, user);
    // Those that are over are members no more: they never count, and a dead client's place frees itself. Their end is
    // written down, lest a clock that goes back find them alive and in no list.
    for digest in shelf.members(user) {
        if live.iter().all(|(alive, _)| *alive != digest) {
            shelf.remove_member(user, &digest);
            let over = key.sibling(digest);
            if let Some(Entry::Live(record)) = shelf.get(&over)
                && let Some(end) = record.end_at(now)
            {
                bury(shelf, &over, &record, end, None);
            }
        }
    }
    live.retain(|(digest, _)| Some(*digest) != except);
    let most = usize::try_from(limit.sessions.get()).unwrap_or(usize::MAX);
    let over = (live.len() + 1).saturating_sub(most);
    match limit.at_limit {
        AtLimit::Refuse if over > 0 => return None,
        AtLimit::Refuse | AtLimit::EndOldest => {}
    }
    live.sort_by_key(|(digest, record)| (record.signed_in_at(), record.created_at(), *digest));
    let end = End::new(EndReason::Limit, now);
    Some(
        live.into_iter()
            .take(over)
            .map(|(digest, record)| {
                shelf.remove_member(user, &digest);
                note_end(shelf, user, &record, &end);
                bury(shelf, &key.sibling(digest), &record, end.clone(), None);
                ended_session(&record)
            })
            .collect(),
    )
}

fn end_where(
    shelf: &mut impl Shelf,
    now: SystemTime,
    bucket: Bucket,
    user: &UserId,
    end: &End,
    which: impl Fn(&Record) -> bool,
) -> EndedSessions {
    let mut ended = EndedSessions::default();
    for (digest, record) in members(shelf, now, bucket, user) {
        if which(&record) {
            let key = RecordKey {
                kind: Kind::User,
                bucket,
                digest,
            };
            shelf.remove_member(user, &digest);
            note_end(shelf, user, &record, end);
            bury(shelf, &key, &record, end.clone(), None);
            ended.sessions.push(ended_session(&record));
        }
    }
    ended
}

fn end_one(
    shelf: &mut impl Shelf,
    now: SystemTime,
    key: &RecordKey,
    end: End,
    successor: Option<Digest>,
) -> Option<Record> {
    let Some(Entry::Live(record)) = load(shelf, now, key) else {
        return None;
    };
    if let Some(user) = listed_for(key, &record) {
        shelf.remove_member(&user, &key.digest);
        note_end(shelf, &user, &record, &end);
    }
    bury(shelf, key, &record, end, successor);
    Some(record)
}

/// Rule 18: what the application says that a user did.
pub fn record(shelf: &mut impl Shelf, _now: SystemTime, user: &UserId, activity: Activity) {
    shelf.record(user, activity);
}

/// Rule 18: what is not too old of what happened to a user's sessions, and of what they did.
pub fn log(shelf: &impl Shelf, now: SystemTime, user: &UserId) -> UserLog {
    let mut log = shelf.log(user);
    log.forget(now);
    log
}

fn note_end(shelf: &mut impl Shelf, user: &UserId, record: &Record, end: &End) {
    let event = HistoryEvent::Ended {
        reason: end.reason,
        note: end.note.clone(),
    };
    shelf.note(user, HistoryEntry::of(record, end.at, event));
}

fn ended_one(last: Option<Record>) -> EndedSessions {
    EndedSessions {
        sessions: last.iter().map(ended_session).collect(),
        last,
        since: None,
    }
}

/// Puts the tombstone in the record's place.
fn bury(
    shelf: &mut impl Shelf,
    key: &RecordKey,
    record: &Record,
    end: End,
    successor: Option<Digest>,
) {
    shelf.put(
        key,
        Entry::Ended(Tombstone {
            handle: record.handle(),
            end,
            successor,
        }),
    );
}

fn ended_session(record: &Record) -> EndedSession {
    EndedSession {
        handle: record.handle(),
        user: record.user().map(UserId::from),
    }
}

/// The new session, with what crosses from the old one as last stored.
pub(super) fn signed_in(old: &Record, sign_in: &SignIn) -> Record {
    let mut crossing = Changes::default();
    for name in &sign_in.keep {
        if let (None, Some(json)) = (sign_in.record.value(name), old.value(name)) {
            crossing.put(name.clone(), Op::Set(json.to_vec()));
        }
    }
    if crossing.is_empty() {
        return sign_in.record.clone();
    }
    sign_in
        .record
        .changed(&crossing, None)
        .unwrap_or_else(|_| sign_in.record.clone())
}
