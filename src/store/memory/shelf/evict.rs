//! Making room: one entry after another goes, of those that are worth the least.

use std::time::SystemTime;

use super::{Look, Shard};
use crate::store::memory::packed::{Class, View};

/// So many entries are looked at for one eviction.
const EVICTION_TRIES: usize = 32;
/// And so many that are filed and have become something else since.
const EVICTION_STALE: usize = 1024;

impl Shard {
    /// Drops one entry of this class, roughly the one that would be over first; of the users' only those that are
    /// over, and never one that is `spared`, by the hash of its key. Whether one was found.
    pub(in crate::store::memory) fn evict(
        &mut self,
        class: Class,
        spared: &[u64],
        now: SystemTime,
    ) -> bool {
        let (mut stale, mut stay) = (0, Vec::new());
        let mut dropped = loop {
            let Some(hash) = self.wheels[class as usize].soonest(&mut self.waste) else {
                break false;
            };
            let may_go = |view: &View<'_>| match (class, view) {
                (Class::User, View::Live(..)) => !view.is_live(now),
                (Class::User, View::Ended(_)) => false,
                (Class::Stranger, View::Live(_, own)) => !own.was_used(),
                (Class::Stranger | Class::Tombstone, _) => true,
            };
            let look = self.look_at(hash, class, |view| !spared.contains(&hash) && may_go(view));
            match look {
                Look::Dropped => break true,
                Look::Stale => stale += 1,
                Look::Stays(until) => stay.push((hash, until)),
            }
            if stay.len() == EVICTION_TRIES || stale == EVICTION_STALE {
                break false;
            }
        };
        // What was used since it was made goes only where nothing else is found.
        if !dropped
            && class == Class::Stranger
            && let Some(at) = stay.iter().position(|(hash, _)| !spared.contains(hash))
        {
            let (hash, _) = stay.swap_remove(at);
            dropped = self.look_at(hash, class, |_| true) == Look::Dropped;
        }
        // Only now: they would be looked at again at once.
        for (hash, until) in stay {
            self.wheels[class as usize].file(hash, until);
        }
        dropped
    }

    /// Drops the log of one user, roughly that to which nothing was added for longest; whether there was one.
    pub(in crate::store::memory) fn evict_log(&mut self) -> bool {
        while let Some(due) = self.logs.pop() {
            let id = self.users.named(due.user).map(|user| user.id().clone());
            if id.is_some_and(|id| self.drop_log(&id)) {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::instant;
    use crate::id::{Fresh, Kind, RecordKey};
    use crate::record::{End, EndReason, Entry, NewRecord, Record, Seen, Tombstone};
    use crate::store::Ends;
    use crate::store::rules::Shelf;
    use std::time::Duration;

    const NOW: u64 = 1_800_000_000_000_000;

    fn stranger(seen_at: u64) -> (RecordKey, Record) {
        let key = Fresh::draw().unwrap().id(7.into()).key(Kind::User);
        let record = Record::new(&NewRecord {
            handle: Fresh::draw().unwrap().handle(),
            user: None,
            created_at: instant(NOW),
            signed_in_at: None,
            absolute_end: instant(NOW) + Duration::from_secs(12 * 3600),
            idle_timeout: Duration::from_secs(1800),
            touch_threshold: Duration::from_secs(60),
            persistent: false,
            seen: Seen {
                at: instant(seen_at),
                address: None,
                agent: None,
            },
            values: Vec::new(),
        });
        (key, record)
    }

    #[test]
    fn inv11_what_strangers_became_does_not_hide_those_that_are_left() {
        let mut shard = Shard::new(1 << 16, Ends::default());
        let (left, record) = stranger(NOW + 3_600_000_000);
        shard.put(&left, Entry::Live(record));
        for _ in 0..200 {
            let (key, record) = stranger(NOW);
            let handle = record.handle();
            shard.put(&key, Entry::Live(record));
            let end = End::new(EndReason::Regenerated, instant(NOW));
            let successor = None;
            shard.put(
                &key,
                Entry::Ended(Tombstone {
                    handle,
                    end,
                    successor,
                }),
            );
        }
        assert!(shard.evict(Class::Stranger, &[], instant(NOW)));
        assert_eq!(shard.get(&left), None);
    }

    #[test]
    fn who_was_used_since_goes_after_who_was_not() {
        let mut shard = Shard::new(1 << 16, Ends::default());
        let (unused, record) = stranger(NOW);
        shard.put(&unused, Entry::Live(record));
        // In the same slot of time, and filed later.
        let (used, record) = stranger(NOW + 1);
        shard.put(&used, Entry::Live(record));
        assert!(shard.evict(Class::Stranger, &[], instant(NOW)));
        assert_eq!(
            (shard.get(&unused).is_some(), shard.get(&used).is_some()),
            (false, true)
        );
    }
}
