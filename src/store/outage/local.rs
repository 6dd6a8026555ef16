//! Sessions that were made here while the store was away.

use std::time::{Duration, SystemTime};

use hashbrown::{HashMap, HashSet};

use super::length::length;
use super::stamp::Stamp;
use crate::id::{Born, Bucket, Digest, Handle, RecordKey, UserId};
use crate::record::{End, EndReason, Entry, Record, Seen};
use crate::store::rules::{self, Shelf};
use crate::store::{
    Append, Appended, Applied, Apply, Create, Created, EndSessions, EndedSessions, Limit, Renewal,
    Replace, Replaced,
};

/// What a session takes besides its record.
const OVERHEAD: usize = 256;

/// The sessions that were made here, of some buckets. They keep the contract of any store, by the same
/// [`rules`](crate::store::rules).
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Locals {
    shelf: LocalShelf,
    /// Of each live one, what its promotion needs.
    made: HashMap<RecordKey, Made>,
    max_bytes: usize,
    ttl: Duration,
}

/// How a session was made.
#[derive(Debug, Clone)]
struct Made {
    /// When the request that made it began.
    began_at: SystemTime,
    limit: Option<Limit>,
    /// When it was made, here.
    at: Stamp,
    /// When it was last sent to the store, which may have it, by the store's clock.
    sent: Option<SystemTime>,
    /// As it was first sent: every attempt sends these values, so that it is known which the store has if it has them.
    first: Option<Record>,
}

/// There is no room for another session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// The clocks of two instances are not further apart than this: an id that was born later than that from now was made up.
const CLOCK_SKEW: Duration = Duration::from_secs(15 * 60);

/// Whether a session that is nowhere may still be brought to the store, by the instance that made it. `seconds`: now,
/// since 1970.
pub(super) fn may_come(born: Born, instance: u32, seconds: u32, ttl: Duration) -> bool {
    let age = Duration::from_secs(seconds.saturating_sub(born.at).into());
    let ahead = Duration::from_secs(born.at.saturating_sub(seconds).into());
    age < ttl && ahead <= CLOCK_SKEW && born.instance != instance
}

impl Locals {
    /// Sessions of at most so many bytes together. None of them, nor what any of them becomes, is served for longer than
    /// `ttl`.
    pub(crate) fn new(max_bytes: usize, record_limit: usize, ttl: Duration) -> Self {
        Self {
            shelf: LocalShelf {
                record_limit,
                ..LocalShelf::default()
            },
            made: HashMap::new(),
            max_bytes,
            ttl,
        }
    }

    pub(crate) fn create(
        &mut self,
        create: &Create,
        now: SystemTime,
        at: Stamp,
    ) -> Result<Created, Full> {
        self.has_room(create.record.size(), now, at)?;
        let created = rules::create(&mut self.shelf, now, create);
        if let Created::Created(_) = created {
            self.made.insert(
                create.key,
                Made {
                    began_at: create.began_at,
                    limit: create.limit,
                    at,
                    sent: None,
                    first: None,
                },
            );
        }
        self.settle();
        Ok(created)
    }

    /// What is here under this key. `None`: nothing that was made here.
    pub(crate) fn load(&self, key: &RecordKey, now: SystemTime, at: Stamp) -> Option<Entry> {
        match self.shelf.entries.get(key)?.clone().at(now) {
            Entry::Live(_) if self.is_too_old(key, at) => None,
            entry => Some(entry),
        }
    }

    /// Whether a live session of that key is here.
    pub(crate) fn has(&self, key: &RecordKey) -> bool {
        matches!(self.shelf.entries.get(key), Some(Entry::Live(_)))
    }

    pub(crate) fn apply(
        &mut self,
        apply: &Apply,
        now: SystemTime,
        at: Stamp,
    ) -> Result<Applied, Full> {
        self.has_room(512, now, at)?;
        let applied = rules::apply(&mut self.shelf, now, apply);
        self.settle();
        Ok(applied)
    }

    pub(crate) fn append(
        &mut self,
        append: &Append,
        now: SystemTime,
        at: Stamp,
    ) -> Result<Appended, Full> {
        self.has_room(append.message.body.len() + 512, now, at)?;
        Ok(rules::append(&mut self.shelf, now, append))
    }

    pub(crate) fn replace(
        &mut self,
        replace: &Replace,
        now: SystemTime,
        at: Stamp,
    ) -> Result<Replaced, Full> {
        self.has_room(512, now, at)?;
        let made = self.made.get(&replace.key).cloned();
        let replaced = rules::replace(&mut self.shelf, now, replace);
        if let (Replaced::Replaced { .. }, Some(made)) = (&replaced, made) {
            let (began_at, limit) = match &replace.renewal {
                Renewal::SameSession | Renewal::Adopted(_) => (made.began_at, made.limit),
                Renewal::Reauthenticated { began_at, .. } => (*began_at, made.limit),
                Renewal::SignIn(sign_in) => (sign_in.began_at, sign_in.limit),
            };
            self.made.insert(
                replace.key.sibling(replace.successor),
                Made {
                    began_at,
                    limit,
                    at: made.at,
                    sent: None,
                    first: None,
                },
            );
        }
        self.settle();
        Ok(replaced)
    }

    pub(crate) fn end(
        &mut self,
        bucket: Bucket,
        end: &EndSessions,
        now: SystemTime,
    ) -> EndedSessions {
        let ended = rules::end(&mut self.shelf, now, bucket, end);
        self.settle();
        ended
    }

    /// The sessions in these buckets that are to be promoted, those first that signed in first.
    pub(crate) fn keys(&self, in_part: impl Fn(Bucket) -> bool) -> Vec<RecordKey> {
        let mut keys: Vec<_> = self
            .made
            .iter()
            .filter(|(key, _)| in_part(key.bucket))
            .map(|(key, made)| (made.began_at, *key))
            .collect();
        keys.sort_unstable();
        keys.into_iter().map(|(_, key)| key).collect()
    }

    /// What makes this session in the store. `None`: it is over, or not here.
    pub(crate) fn promotion(&self, key: &RecordKey, now: SystemTime, at: Stamp) -> Option<Create> {
        let made = self.made.get(key)?;
        let record = match (self.load(key, now, at)?, &made.first) {
            // But as of now: its idle time has not stood still. And with all that was said, for messages are told apart:
            // those that are there are not added.
            (Entry::Live(record), Some(first)) => first.with_seen(&record.seen()).joined(&record),
            (Entry::Live(record), None) => record,
            (Entry::Ended(_), _) => return None,
        };
        Some(Create {
            key: *key,
            record: self.fitting(record),
            began_at: made.began_at,
            limit: made.limit,
            held: true,
        })
    }

    /// A touch is never refused, and may have made it longer than the store takes: it goes without what the next touch
    /// brings again.
    fn fitting(&self, record: Record) -> Record {
        if self.shelf.limited_size(&record) <= self.shelf.record_limit {
            return record;
        }
        record.with_seen(&Seen {
            at: record.seen_at(),
            address: Some("".into()),
            agent: Some("".into()),
        })
    }

    /// The session is on its way to the store, as it is in `create`.
    pub(crate) fn sent(&mut self, create: &Create, now: SystemTime) {
        if let Some(made) = self.made.get_mut(&create.key) {
            made.sent = Some(now);
            made.first.get_or_insert_with(|| create.record.clone());
        }
    }

    /// The session as it is now, if it is live.
    pub(crate) fn record(&self, key: &RecordKey) -> Option<&Record> {
        match self.shelf.entries.get(key)? {
            Entry::Live(record) => Some(record),
            Entry::Ended(_) => None,
        }
    }

    /// When it was, the last time.
    pub(crate) fn sent_at(&self, key: &RecordKey) -> Option<SystemTime> {
        self.made.get(key)?.sent
    }

    /// The key of the session of that name.
    pub(crate) fn named(&self, handle: Handle) -> Option<RecordKey> {
        let mut keys = self.made.keys();
        keys.find(|key| matches!(self.shelf.entries.get(*key), Some(Entry::Live(record)) if record.handle() == handle))
            .copied()
    }

    /// The session is the store's now: nothing of it is left here. What it was when it was first sent, and now.
    pub(crate) fn promoted(&mut self, key: &RecordKey) -> Option<(Record, Record)> {
        let first = self.made.get(key).and_then(|made| made.first.clone());
        let here = self.take(key)?;
        Some((first.unwrap_or_else(|| here.clone()), here))
    }

    /// The store does not take the session: it is over, for this reason.
    pub(crate) fn refused(&mut self, key: &RecordKey, reason: EndReason, now: SystemTime) {
        if let Some(record) = self.take(key) {
            let tombstone = crate::record::Tombstone {
                handle: record.handle(),
                end: End::new(reason, now),
                successor: None,
            };
            self.shelf.put(key, Entry::Ended(tombstone));
        }
    }

    fn take(&mut self, key: &RecordKey) -> Option<Record> {
        self.made.remove(key);
        let Some(Entry::Live(record)) = self.shelf.entries.get(key).cloned() else {
            return None;
        };
        self.shelf.drop_entry(key);
        if let Some(user) = record.user() {
            self.shelf.remove_member(&user.into(), &key.digest);
        }
        Some(record)
    }

    /// How many live sessions there are.
    pub(crate) fn len(&self) -> usize {
        self.made.len()
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.shelf.bytes
    }

    fn is_too_old(&self, key: &RecordKey, at: Stamp) -> bool {
        self.made
            .get(key)
            .is_some_and(|made| made.at.age(at) > self.ttl)
    }

    /// What is no longer live needs no promotion.
    fn settle(&mut self) {
        let entries = &self.shelf.entries;
        if self.shelf.ended {
            self.made
                .retain(|key, _| matches!(entries.get(key), Some(Entry::Live(_))));
            self.shelf.ended = false;
        }
    }

    /// Makes room: drops what is over, then strangers' sessions, roughly the oldest first; users' never.
    fn has_room(&mut self, size: usize, now: SystemTime, at: Stamp) -> Result<(), Full> {
        let needed = size + OVERHEAD;
        if self.shelf.bytes + needed <= self.max_bytes {
            return Ok(());
        }
        let over: Vec<_> = self
            .shelf
            .entries
            .iter()
            .filter(|(key, entry)| {
                entry.kept_until() <= now
                    || matches!(entry, Entry::Ended(_))
                    || self.is_too_old(key, at)
            })
            .map(|(key, _)| *key)
            .collect();
        for key in over {
            if self.take(&key).is_none() {
                self.shelf.drop_entry(&key);
            }
        }
        if self.shelf.bytes + needed <= self.max_bytes {
            return Ok(());
        }
        let mut strangers: Vec<_> = self
            .shelf
            .entries
            .iter()
            .filter_map(|(key, entry)| match entry {
                Entry::Live(record) if record.user().is_none() => Some((record.seen_at(), *key)),
                Entry::Live(_) | Entry::Ended(_) => None,
            })
            .collect();
        strangers.sort_unstable();
        // More than this one needs: it is not to be done again for the next.
        let enough = self.max_bytes - self.max_bytes / 8;
        for (_, key) in strangers {
            if self.shelf.bytes + needed <= enough {
                break;
            }
            self.take(&key);
        }
        if self.shelf.bytes + needed <= self.max_bytes {
            Ok(())
        } else {
            Err(Full)
        }
    }
}

/// Entries and indexes, as plain as can be.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
struct LocalShelf {
    entries: HashMap<RecordKey, Entry>,
    users: HashMap<UserId, HashSet<Digest>>,
    bytes: usize,
    record_limit: usize,
    /// One became a tombstone since this was last looked at.
    ended: bool,
}

impl LocalShelf {
    fn drop_entry(&mut self, key: &RecordKey) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= size_of(&entry);
        }
    }
}

fn size_of(entry: &Entry) -> usize {
    match entry {
        Entry::Live(record) => record.size() + OVERHEAD,
        Entry::Ended(_) => OVERHEAD,
    }
}

impl Shelf for LocalShelf {
    fn get(&self, key: &RecordKey) -> Option<Entry> {
        self.entries.get(key).cloned()
    }

    fn put(&mut self, key: &RecordKey, entry: Entry) {
        self.ended |= matches!(entry, Entry::Ended(_));
        self.bytes += size_of(&entry);
        if let Some(before) = self.entries.insert(*key, entry) {
            self.bytes -= size_of(&before);
        }
    }

    fn members(&self, user: &UserId) -> Vec<Digest> {
        let members = self.users.get(user);
        members.map_or_else(Vec::new, |members| members.iter().copied().collect())
    }

    fn add_member(&mut self, user: &UserId, digest: Digest) {
        self.users.entry_ref(user).or_default().insert(digest);
    }

    fn remove_member(&mut self, user: &UserId, digest: &Digest) {
        if let Some(members) = self.users.get_mut(user) {
            members.remove(digest);
            if members.is_empty() {
                self.users.remove(user);
            }
        }
    }

    /// What keeps a login out is remembered with the other ends: see [`Ended`](super::ended::Ended).
    fn since(&self, _: &UserId) -> Option<SystemTime> {
        None
    }

    fn set_since(&mut self, _: &UserId, _: SystemTime) {}

    fn record_limit(&self) -> usize {
        self.record_limit
    }

    /// As long as it is for the store that it is to be promoted to.
    fn limited_size(&self, record: &Record) -> usize {
        length(record, self.record_limit)
    }
}
