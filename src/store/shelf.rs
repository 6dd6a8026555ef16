//! One shard of the memory: the entries and indexes of some buckets, under one lock.

use std::collections::{HashSet, VecDeque};
use std::hash::RandomState;
use std::time::SystemTime;

use hashbrown::{HashMap, HashTable};

use super::ends::Ends;
use super::log::Log;
use super::packed::{
    Class, Packed, class_of, hash_key, hash_of, is_at, key_of, pack, tail, unpack,
};
use super::rules::{SINCE_KEPT, Shelf};
use super::wheel::{Slot, Wheel};
use crate::id::{Digest, RecordKey, UserId};
use crate::record::{Activity, Entry, HistoryEntry, UserLog};

/// What an entry takes besides its bytes: counts, place in the table, place in the wheel, the allocator's share.
const OVERHEAD: usize = 64;
/// What a user's session takes besides, in the user's index; and what a `since` takes.
const INDEX_OVERHEAD: usize = 192;
/// Up to this many sessions a user's index is a plain list.
const FEW: usize = 16;
/// So much more than twice the entries may be filed in the wheels of a shard.
const STALE: usize = 64;
/// So many lookups at most for one eviction.
const EVICTION_TRIES: usize = 32;

/// How the totals change.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Delta {
    pub(super) entries: isize,
    pub(super) bytes: isize,
}

#[derive(Debug, Default)]
pub(super) struct Shard {
    table: HashTable<Packed>,
    users: HashMap<UserId, UserIndex, RandomState>,
    /// When to look at each `since`, one for each user who has one.
    sinces: VecDeque<(SystemTime, UserId)>,
    /// When to look at each user's log, likewise.
    logs: VecDeque<(SystemTime, UserId)>,
    wheels: [Wheel; 3],
    delta: Delta,
    record_limit: usize,
    ends: Ends,
}

#[derive(Debug, Default)]
struct UserIndex {
    members: Members,
    since: Option<SystemTime>,
    log: Option<Box<Log>>,
}

/// The digests of a user's sessions. Nearly everybody has a few.
#[derive(Debug)]
enum Members {
    Few(Vec<Digest>),
    Many(HashSet<Digest>),
}

impl Shard {
    pub(super) fn new(record_limit: usize, ends: Ends) -> Self {
        Self {
            record_limit,
            ends,
            ..Self::default()
        }
    }

    /// What changed in the totals since the last call.
    pub(super) fn take_delta(&mut self) -> Delta {
        std::mem::take(&mut self.delta)
    }

    /// Drops at most `most` entries that are over; whether more may be waiting.
    pub(super) fn purge(&mut self, now: SystemTime, most: usize) -> bool {
        self.purge_sinces(now, most);
        self.purge_logs(now, most);
        let slot = Slot::of(now);
        let mut looked_at = 0;
        for class in [Class::Stranger, Class::Tombstone, Class::User] {
            while let Some(hash) = self.wheels[class as usize].due(slot) {
                self.look_at(hash, class, |entry| entry.kept_until() <= now);
                looked_at += 1;
                if looked_at == most {
                    return true;
                }
            }
        }
        self.shrink();
        false
    }

    /// Drops one entry of this class, roughly the one that would be over first; of the users' only those that are
    /// over. Whether one was found.
    pub(super) fn evict(&mut self, class: Class, now: SystemTime) -> bool {
        for tries in 0..EVICTION_TRIES {
            let Some(hash) = self.wheels[class as usize].soonest() else {
                return false;
            };
            let dropped = self.look_at(hash, class, |entry| match (class, entry) {
                (Class::User, Entry::Live(record)) => record.end_at(now).is_some(),
                (Class::User, Entry::Ended(_)) => false,
                // One that was used since it was filed gets another chance, but not without end.
                (Class::Stranger, Entry::Live(record)) => {
                    tries + 1 == EVICTION_TRIES || record.seen_at() == record.created_at()
                }
                (Class::Stranger | Class::Tombstone, _) => true,
            });
            if dropped {
                return true;
            }
        }
        false
    }

    /// Looks at an entry that a wheel gave back: drops it if `over`, else files it again. Whether it was dropped.
    fn look_at(&mut self, hash: u64, class: Class, over: impl FnOnce(&Entry) -> bool) -> bool {
        let Ok(found) = self
            .table
            .find_entry(hash, |packed| hash_of(packed) == hash)
        else {
            return false;
        };
        // It became something else since, and that was filed on its own.
        if class_of(found.get()) != class {
            return false;
        }
        let Some(entry) = unpack(found.get()) else {
            return false;
        };
        if !over(&entry) {
            self.wheels[class as usize].file(hash, entry.kept_until());
            return false;
        }
        let key = key_of(found.get());
        let (packed, _) = found.remove();
        self.account(&packed, -1);
        if let Entry::Live(record) = entry
            && let Some(user) = record.user()
        {
            self.remove_member(&user.into(), &key.digest);
        }
        true
    }

    fn purge_sinces(&mut self, now: SystemTime, most: usize) {
        for _ in 0..most {
            match self.sinces.front() {
                Some((over, _)) if *over <= now => {}
                Some(_) | None => return,
            }
            let Some((over, user)) = self.sinces.pop_front() else {
                return;
            };
            let Some(index) = self.users.get_mut(&user) else {
                continue;
            };
            match index.since.map(|since| since + SINCE_KEPT) {
                // It was set again meanwhile.
                Some(later) if later > over => self.sinces.push_back((later, user)),
                Some(_) | None => {
                    index.since = None;
                    self.delta.bytes -= signed(user.as_str().len() + INDEX_OVERHEAD);
                    self.drop_if_empty(&user);
                }
            }
        }
    }

    fn purge_logs(&mut self, now: SystemTime, most: usize) {
        for _ in 0..most {
            match self.logs.front() {
                Some((over, _)) if *over <= now => {}
                Some(_) | None => return,
            }
            let Some((_, user)) = self.logs.pop_front() else {
                return;
            };
            let log = self.users.get(&user).and_then(|index| index.log.as_ref());
            match log.map(|log| log.kept_until()) {
                // Something was added meanwhile.
                Some(later) if later > now => self.logs.push_back((later, user)),
                Some(_) => self.drop_log(&user),
                None => {}
            }
        }
    }

    /// Drops the log of one user, roughly that to which nothing was added for longest; whether there was one.
    pub(super) fn evict_log(&mut self) -> bool {
        while let Some((_, user)) = self.logs.pop_front() {
            if self
                .users
                .get(&user)
                .is_some_and(|index| index.log.is_some())
            {
                self.drop_log(&user);
                return true;
            }
        }
        false
    }

    fn drop_log(&mut self, user: &UserId) {
        if let Some(index) = self.users.get_mut(user)
            && let Some(log) = index.log.take()
        {
            self.delta.bytes -= signed(user.as_str().len() + INDEX_OVERHEAD + log.bytes());
            self.drop_if_empty(user);
        }
    }

    /// Changes a user's log, which is made if there is none.
    fn change_log(&mut self, user: &UserId, change: impl FnOnce(&mut Log)) {
        let index = self.users.entry(user.clone()).or_default();
        let is_new = index.log.is_none();
        let log = index.log.get_or_insert_default();
        let before = log.bytes();
        change(log);
        self.delta.bytes += signed(log.bytes()) - signed(before);
        if is_new {
            // Once a user: however much is added, it is one place in the queue.
            self.logs.push_back((log.kept_until(), user.clone()));
            self.delta.bytes += signed(user.as_str().len() + INDEX_OVERHEAD);
        }
    }

    fn drop_if_empty(&mut self, user: &UserId) {
        if self.users.get(user).is_some_and(|index| {
            index.since.is_none() && index.members.is_empty() && index.log.is_none()
        }) {
            self.users.remove(user);
        }
    }

    /// Files everything anew once most of what is filed has become something else: an ended session would stay in the
    /// wheel of the live until that slot comes, and whoever signs in and out all day would fill it.
    fn forget_stale(&mut self) {
        let filed: usize = self.wheels.iter().map(Wheel::len).sum();
        if filed <= 2 * self.table.len() + STALE {
            return;
        }
        self.wheels = Default::default();
        for packed in &self.table {
            if let Some(entry) = unpack(packed) {
                self.wheels[class_of(packed) as usize].file(hash_of(packed), entry.kept_until());
            }
        }
    }

    /// Gives memory back once most of it is unused. A shard is small: so is the pause.
    fn shrink(&mut self) {
        if self.table.capacity() > 64 && self.table.len() < self.table.capacity() / 8 {
            self.table.shrink_to(self.table.len() * 2, hash_of);
        }
        if self.users.capacity() > 64 && self.users.len() < self.users.capacity() / 8 {
            self.users.shrink_to(self.users.len() * 2);
        }
    }

    fn account(&mut self, packed: &Packed, sign: isize) {
        let index = match class_of(packed) {
            Class::User => INDEX_OVERHEAD,
            Class::Stranger | Class::Tombstone => 0,
        };
        self.delta.entries += sign;
        self.delta.bytes += sign * signed(packed.len() + OVERHEAD + index);
    }

    /// Adds the live sessions of each kind.
    pub(super) fn count(&self, now: SystemTime, live: &mut [u64; 2]) {
        for packed in &self.table {
            if let Some(Entry::Live(record)) = unpack(packed)
                && record.end_at(now).is_none()
            {
                live[key_of(packed).kind as usize] += 1;
            }
        }
    }
}

impl Shelf for Shard {
    fn get(&self, key: &RecordKey) -> Option<Entry> {
        let tail = tail(key, 0);
        self.table
            .find(hash_key(key), |packed| is_at(packed, &tail))
            .and_then(unpack)
    }

    fn put(&mut self, key: &RecordKey, entry: Entry) {
        self.ends.stands(key, &entry);
        let hash = hash_key(key);
        let packed = pack(key, &entry);
        let class = class_of(&packed);
        self.account(&packed, 1);
        let tail = tail(key, 0);
        let before = match self.table.find_mut(hash, |packed| is_at(packed, &tail)) {
            Some(place) => Some(std::mem::replace(place, packed)),
            None => {
                self.table.insert_unique(hash, packed, hash_of);
                None
            }
        };
        if before.as_ref().map(class_of) != Some(class) {
            self.wheels[class as usize].file(hash, entry.kept_until());
            self.forget_stale();
        }
        if let Some(before) = before {
            self.account(&before, -1);
        }
    }

    fn members(&self, user: &UserId) -> Vec<Digest> {
        match self.users.get(user).map(|index| &index.members) {
            None => Vec::new(),
            Some(Members::Few(few)) => few.clone(),
            Some(Members::Many(many)) => many.iter().copied().collect(),
        }
    }

    fn is_member(&self, user: &UserId, digest: &Digest) -> bool {
        self.users
            .get(user)
            .is_some_and(|index| index.members.contains(digest))
    }

    fn add_member(&mut self, user: &UserId, digest: Digest) {
        self.users
            .entry(user.clone())
            .or_default()
            .members
            .insert(digest);
    }

    fn remove_member(&mut self, user: &UserId, digest: &Digest) {
        if let Some(index) = self.users.get_mut(user) {
            index.members.remove(digest);
            self.drop_if_empty(user);
        }
    }

    fn since(&self, user: &UserId) -> Option<SystemTime> {
        self.users.get(user)?.since
    }

    fn set_since(&mut self, user: &UserId, since: SystemTime) {
        let index = self.users.entry(user.clone()).or_default();
        // Once a user: however often one says so, it is one place in the queue.
        if index.since.replace(since).is_none() {
            self.sinces.push_back((since + SINCE_KEPT, user.clone()));
            self.delta.bytes += signed(user.as_str().len() + INDEX_OVERHEAD);
        }
    }

    fn note(&mut self, user: &UserId, entry: HistoryEntry) {
        self.change_log(user, |log| log.note(&entry));
    }

    fn record(&mut self, user: &UserId, activity: Activity) {
        self.change_log(user, |log| log.record(&activity));
    }

    fn log(&self, user: &UserId) -> UserLog {
        let log = self.users.get(user).and_then(|index| index.log.as_ref());
        log.map_or_else(UserLog::default, |log| log.read())
    }

    fn erase(&mut self, user: &UserId) {
        self.drop_log(user);
    }

    fn record_limit(&self) -> usize {
        self.record_limit
    }
}

impl Default for Members {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Members {
    fn is_empty(&self) -> bool {
        match self {
            Self::Few(few) => few.is_empty(),
            Self::Many(many) => many.is_empty(),
        }
    }

    fn contains(&self, digest: &Digest) -> bool {
        match self {
            Self::Few(few) => few.contains(digest),
            Self::Many(many) => many.contains(digest),
        }
    }

    fn insert(&mut self, digest: Digest) {
        match self {
            Self::Few(few) if few.contains(&digest) => {}
            Self::Few(few) if few.len() < FEW => {
                // One at a time: most users have one session, and four places would be three too many.
                few.reserve_exact(1);
                few.push(digest);
            }
            Self::Few(few) => {
                let mut many: HashSet<Digest> = few.drain(..).collect();
                many.insert(digest);
                *self = Self::Many(many);
            }
            Self::Many(many) => {
                many.insert(digest);
            }
        }
    }

    fn remove(&mut self, digest: &Digest) {
        match self {
            Self::Few(few) => few.retain(|member| member != digest),
            Self::Many(many) => {
                many.remove(digest);
                if many.len() <= FEW / 2 {
                    *self = Self::Few(many.iter().copied().collect());
                }
            }
        }
    }
}

fn signed(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::instant;
    use crate::id::{Fresh, Kind};
    use crate::record::{Changes, End, EndReason, NewRecord, Op, Record, Seen, Tombstone};
    use crate::store::{Applied, Apply, rules};
    use std::time::Duration;

    const NOW: u64 = 1_800_000_000_000_000;

    fn alice() -> Record {
        let now = instant(NOW);
        Record::new(&NewRecord {
            handle: Fresh::draw().unwrap().handle(),
            user: Some("alice".into()),
            created_at: now,
            signed_in_at: Some(now),
            absolute_end: now + Duration::from_secs(30 * 24 * 3600),
            idle_timeout: Duration::from_secs(14 * 24 * 3600),
            touch_threshold: Duration::from_secs(60),
            persistent: true,
            seen: Seen {
                at: now,
                address: None,
                agent: None,
            },
            values: Vec::new(),
        })
    }

    fn filed(shard: &Shard) -> usize {
        shard.wheels.iter().map(Wheel::len).sum()
    }

    #[test]
    fn inv11_signing_in_and_out_all_day_fills_no_wheel() {
        let mut shard = Shard::new(1 << 16, Ends::default());
        let mut now = instant(NOW);
        for _ in 0..2_000 {
            now += Duration::from_secs(600);
            let key = Fresh::draw().unwrap().id(7.into()).key(Kind::User);
            let record = alice();
            let tombstone = Entry::Ended(Tombstone {
                handle: record.handle(),
                end: End::new(EndReason::LoggedOut, now),
                successor: None,
            });
            shard.put(&key, Entry::Live(record));
            shard.put(&key, tombstone);
            shard.purge(now, 4);
            assert!(filed(&shard) <= 2 * shard.table.len() + STALE + 1);
        }
        // What was filed anew is still found when it is over.
        while shard.purge(now + Duration::from_secs(40 * 24 * 3600), 64) {}
        assert_eq!((shard.table.len(), filed(&shard)), (0, 0));
    }

    #[test]
    fn inv11_a_user_who_ends_all_again_and_again_takes_one_place() {
        let mut shard = Shard::new(1 << 16, Ends::default());
        let user = UserId::from("alice");
        let last = instant(NOW + 100_000);
        for n in 0..=100_000 {
            shard.set_since(&user, instant(NOW + n));
        }
        assert_eq!(shard.sinces.len(), 1);
        shard.purge(last + SINCE_KEPT - Duration::from_micros(1), 64);
        assert_eq!(shard.since(&user), Some(last), "it is kept for its time");
        shard.purge(last + SINCE_KEPT, 64);
        assert_eq!(
            (shard.since(&user), shard.users.len(), shard.sinces.len()),
            (None, 0, 0)
        );
    }

    #[test]
    fn inv11_what_a_lowered_limit_no_longer_allows_may_shrink() {
        let key = Fresh::draw().unwrap().id(7.into()).key(Kind::User);
        let values = |names: &[&'static str]| {
            let mut changes = Changes::default();
            for name in names {
                changes.put((*name).into(), Op::Set(vec![b'1'; 3000]));
            }
            changes
        };
        let mut shard = Shard::new(1 << 16, Ends::default());
        let record = alice().changed(&values(&["a", "b"]), None).unwrap();
        shard.add_member(&"alice".into(), key.digest);
        shard.put(&key, Entry::Live(record));
        shard.record_limit = 2000;
        let mut apply = |changes| {
            let apply = Apply {
                read: None,
                key,
                changes,
                seen: None,
            };
            rules::apply(&mut shard, instant(NOW), &apply)
        };
        assert_eq!(
            apply(Changes::one("a".into(), Op::Remove)),
            Applied::Saved(None)
        );
        assert_eq!(apply(values(&["c"])), Applied::TooLarge);
        assert_eq!(
            apply(Changes::one("b".into(), Op::Remove)),
            Applied::Saved(None)
        );
        assert_eq!(
            apply(Changes::one("c".into(), Op::Add(1))),
            Applied::Saved(Some(1))
        );
    }
}
