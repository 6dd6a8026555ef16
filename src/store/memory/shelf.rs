//! One shard of the memory: the entries and indexes of some buckets, under one lock.

mod evict;

use std::time::SystemTime;

use super::commons::Commons;
use super::log::Log;
use super::packed::{
    Body, Class, View, class_of, common_of, hash_key, hash_of, is_at, key_of, view,
};
use super::pool::{Place, Pool};
use super::queue::{Due, Queue};
use super::table::Table;
use super::users::Users;
use super::waste::Waste;
use super::wheel::{Slot, Wheel};
use crate::clock::micros;
use crate::id::{Digest, RecordKey, UserId};
use crate::record::{Activity, Entry, HistoryEntry, UserLog};
use crate::store::Ends;
use crate::store::rules::{SINCE_KEPT, Shelf};

/// What an entry takes besides its place in a page: its share of the table and of the wheel.
const OVERHEAD: usize = 32;
/// What a user's session takes besides, in the user's index; and what a `since` takes.
const INDEX_OVERHEAD: usize = 128;
/// So much more than twice the entries may be filed in the wheels of a shard.
const STALE: usize = 64;
/// How the totals change.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Delta {
    pub(super) entries: isize,
    pub(super) bytes: isize,
}

/// What became of an entry that a wheel gave back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// It is gone, or became something else, and that was filed on its own.
    Stale,
    Dropped,
    /// It goes on until then.
    Stays(SystemTime),
}

#[derive(Debug, Default)]
pub(super) struct Shard {
    /// Where each entry is in the pool, by its digest.
    table: Table<Place>,
    pool: Pool,
    commons: Commons,
    /// How many bytes of these two are in the totals.
    counted: usize,
    users: Users,
    /// When to look at each `since`, one for each user who has one.
    sinces: Queue,
    /// When to look at each user's log, likewise.
    logs: Queue,
    wheels: [Wheel; 3],
    delta: Delta,
    waste: Waste,
    record_limit: usize,
    ends: Ends,
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
        let shared = self.commons.bytes() + self.pool.bytes();
        let before = std::mem::replace(&mut self.counted, shared);
        let mut delta = std::mem::take(&mut self.delta);
        delta.bytes += signed(shared) - signed(before);
        delta
    }

    /// The memory that is no longer used, if it is more than so many bytes: to be dropped without the lock.
    pub(super) fn take_waste(&mut self, least: usize) -> Waste {
        if self.waste.bytes <= least {
            return Waste::default();
        }
        std::mem::take(&mut self.waste)
    }

    /// Drops at most `most` entries that are over; whether more may be waiting.
    pub(super) fn purge(&mut self, now: SystemTime, most: usize) -> bool {
        let mut more = self.purge_sinces(now, most);
        more |= self.purge_logs(now, most);
        let slot = Slot::of(now);
        let mut looked_at = 0;
        for class in [Class::Stranger, Class::Tombstone, Class::User] {
            while let Some(hash) = self.wheels[class as usize].due(slot, &mut self.waste) {
                let look = self.look_at(hash, class, |entry| entry.kept_until() <= now);
                if let Look::Stays(until) = look {
                    self.wheels[class as usize].file(hash, until);
                }
                looked_at += 1;
                if looked_at == most {
                    return true;
                }
            }
        }
        if looked_at > 0 {
            self.pool.shrink();
        }
        self.shrink();
        more
    }

    /// Looks at an entry that a wheel gave back, and drops it if `over`.
    fn look_at(&mut self, hash: u64, class: Class, over: impl FnOnce(&View<'_>) -> bool) -> Look {
        let pool = &self.pool;
        let is_it = |place: &Place| hash_of(pool.get(*place)) == hash;
        let Some(&place) = self.table.find(hash, is_it) else {
            return Look::Stale;
        };
        let bytes = pool.get(place);
        if class_of(bytes) != class {
            return Look::Stale;
        }
        let Some(view) = view(bytes, &self.commons) else {
            return Look::Stale;
        };
        if !over(&view) {
            return Look::Stays(view.kept_until());
        }
        let key = key_of(bytes);
        let member = match &view {
            View::Live(_, own) => own.user().map(UserId::from),
            View::Ended(_) => None,
        };
        self.table.remove(hash, |known| *known == place);
        self.account(class, -1);
        self.drop_from_pool(place);
        if let Some(user) = member {
            self.remove_member(&user, &key.digest);
        }
        Look::Dropped
    }

    /// What stands under a key at that time: [`rules::load`](crate::store::rules::load), in fewer steps.
    pub(super) fn load(&self, key: &RecordKey, now: SystemTime) -> Option<Entry> {
        let mut bytes: &[u8] = &[];
        self.table.find(hash_key(key), |place| {
            bytes = self.pool.get(*place);
            is_at(bytes, key)
        })?;
        match view(bytes, &self.commons)? {
            View::Live(common, own) if own.ends_at(&common) > micros(now) => {
                own.with(&common).map(Entry::Live)
            }
            over => Some(over.entry()?.at(now)),
        }
    }

    fn find(&self, hash: u64, key: &RecordKey) -> Option<Place> {
        self.table
            .find(hash, |place| is_at(self.pool.get(*place), key))
            .copied()
    }

    /// Drops the bytes of an entry that is in the table no more.
    fn drop_from_pool(&mut self, place: Place) {
        if let Some(common) = common_of(self.pool.get(place)) {
            self.commons.give_back(common);
        }
        self.close_gap(place);
    }

    /// Takes a place out of the pool, and follows the entry that moves there in its stead.
    fn close_gap(&mut self, place: Place) {
        if let Some(moved) = self.pool.remove(place, &mut self.waste) {
            let hash = hash_of(self.pool.get(place));
            if let Some(known) = self.table.find_mut(hash, |known| *known == moved) {
                *known = place;
            }
        }
    }

    /// What this entry is to be written as. `before` is what stands there now.
    fn body<'a>(&mut self, entry: &'a Entry, before: Option<Place>) -> Body<'a> {
        match entry {
            Entry::Live(record) => {
                let common = record.common();
                // Nearly always the same user agent as before: that is seen sooner than found.
                let before = before.and_then(|place| common_of(self.pool.get(place)));
                let number = match before.filter(|number| self.commons.get(*number) == common) {
                    Some(number) => self.commons.take_again(number),
                    None => self.commons.take(&common),
                };
                Body::Live(number, record)
            }
            Entry::Ended(tombstone) => Body::Ended(tombstone),
        }
    }

    /// Whether more may be waiting, as with all of these.
    fn purge_sinces(&mut self, now: SystemTime, most: usize) -> bool {
        for _ in 0..most {
            let Some(due) = self.sinces.next_due(now) else {
                return false;
            };
            let Some(user) = self.users.named(due.user) else {
                continue;
            };
            match user.since().map(|since| since + SINCE_KEPT) {
                // It was set again meanwhile.
                Some(later) if later > due.at => self.sinces.push(Due { at: later, ..due }),
                Some(_) | None => {
                    let id = user.id().clone();
                    self.users.of(&id).set_since(None);
                    self.delta.bytes -= signed(id.as_str().len() + INDEX_OVERHEAD);
                    self.users.drop_if_empty(&id);
                }
            }
        }
        true
    }

    fn purge_logs(&mut self, now: SystemTime, most: usize) -> bool {
        for _ in 0..most {
            let Some(due) = self.logs.next_due(now) else {
                return false;
            };
            let Some(user) = self.users.named(due.user) else {
                continue;
            };
            let at = user.log.kept_until();
            if at > now {
                // Something was added meanwhile.
                self.logs.push(Due { at, ..due });
            } else {
                let id = user.id().clone();
                self.drop_log(&id);
            }
        }
        true
    }

    /// Whether there was one.
    fn drop_log(&mut self, id: &UserId) -> bool {
        let Some(user) = self.users.get_mut(id) else {
            return false;
        };
        if user.log.is_empty() {
            return false;
        }
        let log = std::mem::take(&mut user.log);
        self.delta.bytes -= signed(id.as_str().len() + INDEX_OVERHEAD + log.bytes());
        log.give_back(&mut self.commons);
        self.users.drop_if_empty(id);
        true
    }

    /// Changes a user's log, which is made if there is none.
    fn change_log(&mut self, id: &UserId, change: impl FnOnce(&mut Log, &mut Commons)) {
        let user = self.users.of(id);
        let (is_new, before) = (user.log.is_empty(), user.log.bytes());
        change(&mut user.log, &mut self.commons);
        self.delta.bytes += signed(user.log.bytes()) - signed(before);
        if is_new {
            // Once a user: however much is added, it is one place in the queue.
            let at = user.log.kept_until();
            let user = self.users.hash(id);
            self.logs.push(Due { at, user });
            self.delta.bytes += signed(id.as_str().len() + INDEX_OVERHEAD);
        }
    }

    /// Files everything anew once most of what is filed has become something else: an ended session would stay in the
    /// wheel of the live until that slot comes, and whoever signs in and out all day would fill it.
    fn forget_stale(&mut self) {
        let filed: usize = self.wheels.iter().map(Wheel::len).sum();
        if filed <= 2 * self.table.len() + STALE {
            return;
        }
        for wheel in std::mem::take(&mut self.wheels) {
            wheel.drop_into(&mut self.waste);
        }
        for place in self.table.iter() {
            let bytes = self.pool.get(*place);
            if let Some(view) = view(bytes, &self.commons) {
                self.wheels[class_of(bytes) as usize].file(hash_of(bytes), view.kept_until());
            }
        }
    }

    /// Gives memory back once most of it is unused. A shard is small: so is the pause.
    fn shrink(&mut self) {
        self.table.shrink();
        self.users.shrink();
        self.commons.shrink();
        self.sinces.shrink();
        self.logs.shrink();
    }

    fn account(&mut self, class: Class, sign: isize) {
        let index = match class {
            Class::User => INDEX_OVERHEAD,
            Class::Stranger | Class::Tombstone => 0,
        };
        self.delta.entries += sign;
        self.delta.bytes += sign * signed(OVERHEAD + index);
    }

    /// Adds the live sessions of each kind.
    pub(super) fn count(&self, now: SystemTime, live: &mut [u64; 2]) {
        for place in self.table.iter() {
            let bytes = self.pool.get(*place);
            if view(bytes, &self.commons).is_some_and(|view| view.is_live(now)) {
                live[key_of(bytes).kind as usize] += 1;
            }
        }
    }
}

impl Shelf for Shard {
    fn get(&self, key: &RecordKey) -> Option<Entry> {
        let place = self.find(hash_key(key), key)?;
        view(self.pool.get(place), &self.commons)?.entry()
    }

    fn put(&mut self, key: &RecordKey, entry: Entry) {
        self.ends.stands(key, &entry);
        let hash = hash_key(key);
        let before = self.find(hash, key);
        let body = self.body(&entry, before);
        let (len, class) = (body.len(), body.class());
        let was = before.map(|place| {
            let bytes = self.pool.get(place);
            (class_of(bytes), common_of(bytes))
        });
        let place = match before {
            Some(before) if Pool::fits(before, len) => before,
            Some(_) | None => self.pool.add(len),
        };
        body.write(key, self.pool.get_mut(place));
        if let (Some(before), Some((was, common))) = (before, was) {
            self.account(was, -1);
            if let Some(common) = common {
                self.commons.give_back(common);
            }
            if before != place {
                if let Some(known) = self.table.find_mut(hash, |known| *known == before) {
                    *known = place;
                }
                self.close_gap(before);
            }
        } else {
            self.table.insert(hash, place);
        }
        self.account(class, 1);
        if was.map(|(was, _)| was) != Some(class) {
            self.wheels[class as usize].file(hash, entry.kept_until());
            self.forget_stale();
        }
    }

    fn members(&self, user: &UserId) -> Vec<Digest> {
        let user = self.users.get(user);
        user.map_or_else(Vec::new, |user| user.members.to_vec())
    }

    fn is_member(&self, user: &UserId, digest: &Digest) -> bool {
        self.users
            .get(user)
            .is_some_and(|index| index.members.contains(digest))
    }

    fn add_member(&mut self, user: &UserId, digest: Digest) {
        self.users.of(user).members.insert(digest);
    }

    fn remove_member(&mut self, user: &UserId, digest: &Digest) {
        if let Some(index) = self.users.get_mut(user) {
            index.members.remove(digest);
            self.users.drop_if_empty(user);
        }
    }

    fn since(&self, user: &UserId) -> Option<SystemTime> {
        self.users.get(user)?.since()
    }

    fn set_since(&mut self, user: &UserId, since: SystemTime) {
        let user = self.users.of(user);
        // Once a user: however often one says so, it is one place in the queue.
        if user.set_since(Some(since)).is_none() {
            let (at, id) = (since + SINCE_KEPT, user.id().clone());
            let user = self.users.hash(&id);
            self.sinces.push(Due { at, user });
            self.delta.bytes += signed(id.as_str().len() + INDEX_OVERHEAD);
        }
    }

    fn note(&mut self, user: &UserId, entry: HistoryEntry) {
        self.change_log(user, |log, commons| log.note(entry, commons));
    }

    fn record(&mut self, user: &UserId, activity: Activity) {
        self.change_log(user, |log, commons| log.record(activity, commons));
    }

    fn log(&self, user: &UserId) -> UserLog {
        let user = self.users.get(user);
        user.map_or_else(UserLog::default, |user| user.log.read(&self.commons))
    }

    fn erase(&mut self, user: &UserId) {
        if self.drop_log(user) {
            // Nothing of them stays, not even in what time it was. It is seldom, and a shard's queue is short.
            let user = self.users.hash(user);
            self.logs.forget(user);
        }
    }

    fn record_limit(&self) -> usize {
        self.record_limit
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
    use crate::record::{
        Changes, End, EndReason, HistoryEvent, NewRecord, Op, Record, Seen, Tombstone,
    };
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
    fn inv11_a_user_who_is_erased_again_and_again_leaves_nothing() {
        let mut shard = Shard::new(1 << 16, Ends::default());
        let (erased, bob) = (UserId::from("erased"), UserId::from("bob"));
        let entry = || HistoryEntry::of(&alice(), instant(NOW), HistoryEvent::SignedIn);
        shard.note(&bob, entry());
        for _ in 0..1000 {
            shard.note(&erased, entry());
            shard.erase(&erased);
        }
        assert_eq!((shard.users.len(), shard.logs.len()), (1, 1));
        assert!(shard.evict_log(), "the other one is still found");
        assert_eq!((shard.users.len(), shard.logs.len()), (0, 0));
    }

    #[test]
    fn inv11_each_log_is_dropped_when_its_time_has_come() {
        let mut shard = Shard::new(1 << 16, Ends::default());
        let at = instant(NOW);
        for n in 0..200 {
            let user = format!("history-{n}").into();
            let entry = HistoryEntry::of(&alice(), at, HistoryEvent::SignedIn);
            shard.note(&user, entry);
        }
        for n in 0..200 {
            let activity = Activity {
                at,
                kind: "read".into(),
                resource: "a".into(),
                handle: None,
                address: None,
                user_agent: None,
            };
            shard.record(&format!("activity-{n}").into(), activity);
        }
        while shard.purge(at + Activity::KEPT, 64) {}
        assert_eq!((shard.users.len(), shard.logs.len()), (200, 200));
        assert!(shard.users.get(&"history-7".into()).is_some());
        while shard.purge(at + HistoryEntry::KEPT, 64) {}
        assert_eq!((shard.users.len(), shard.logs.len()), (0, 0));
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
