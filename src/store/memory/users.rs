//! What a shard has of each user: which sessions are theirs, from when on they may sign in, what happened.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU64;
use std::time::SystemTime;

use super::log::Log;
use super::pages::Pages;
use super::table::Table;
use crate::clock::{instant, micros};
use crate::id::{Digest, UserId};

/// Up to this many sessions are a plain list.
const FEW: usize = 16;

/// The users of a shard. Whoever has nothing here is to be dropped: see [`drop_if_empty`](Self::drop_if_empty).
#[derive(Debug, Default)]
pub(super) struct Users {
    table: Table<Number>,
    all: Pages<User>,
    /// An application may let its users choose their ids: where one is found must not be known to them.
    hasher: RandomState,
}

/// Of a user, until another one is dropped.
type Number = u32;

#[derive(Debug)]
pub(super) struct User {
    id: UserId,
    pub(super) members: Members,
    /// In microseconds since 1970, as it is told.
    since: Option<NonZeroU64>,
    pub(super) log: Log,
}

/// The digests of a user's sessions. Nearly everybody has one, or a few.
#[expect(
    clippy::box_collection,
    reason = "a set is larger than all the rest, and hardly anybody has one"
)]
#[derive(Debug)]
pub(super) enum Members {
    None,
    One(Digest),
    Few(Vec<Digest>),
    Many(Box<HashSet<Digest>>),
}

impl Users {
    /// What names a user in a queue.
    pub(super) fn hash(&self, id: &UserId) -> u64 {
        self.hasher.hash_one(id)
    }

    fn find(&self, hash: u64, id: &UserId) -> Option<usize> {
        let is_it = |number: &Number| self.all.get(*number as usize).id == *id;
        self.table.find(hash, is_it).map(|number| *number as usize)
    }

    pub(super) fn get(&self, id: &UserId) -> Option<&User> {
        let number = self.find(self.hash(id), id)?;
        Some(self.all.get(number))
    }

    pub(super) fn get_mut(&mut self, id: &UserId) -> Option<&mut User> {
        let number = self.find(self.hash(id), id)?;
        Some(self.all.get_mut(number))
    }

    /// The user whom a queue names so.
    pub(super) fn named(&self, hash: u64) -> Option<&User> {
        let is_it = |number: &Number| self.hash(&self.all.get(*number as usize).id) == hash;
        let number = self.table.find(hash, is_it)?;
        Some(self.all.get(*number as usize))
    }

    /// The user, who is made if they are not there.
    pub(super) fn of(&mut self, id: &UserId) -> &mut User {
        let hash = self.hash(id);
        let number = self.find(hash, id).unwrap_or_else(|| {
            let number = self.all.push(User::new(id.clone()));
            let short = Number::try_from(number).expect("a shard has fewer than 2^32 users");
            self.table.insert(hash, short);
            number
        });
        self.all.get_mut(number)
    }

    pub(super) fn drop_if_empty(&mut self, id: &UserId) {
        let hash = self.hash(id);
        let Some(number) = self.find(hash, id) else {
            return;
        };
        if !self.all.get(number).is_empty() {
            return;
        }
        self.table.remove(hash, |known| *known as usize == number);
        self.all.swap_remove(number);
        // The last one has that number now.
        let last = self.all.len();
        if number < last {
            let hash = self.hash(&self.all.get(number).id);
            let known = self.table.find_mut(hash, |known| *known as usize == last);
            *known.expect("every user is in the table") = number as Number;
        }
    }

    /// Gives memory back once most of it is unused.
    pub(super) fn shrink(&mut self) {
        self.table.shrink();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}

impl User {
    fn new(id: UserId) -> Self {
        Self {
            id,
            members: Members::None,
            since: None,
            log: Log::default(),
        }
    }

    pub(super) fn since(&self) -> Option<SystemTime> {
        self.since.map(|since| instant(since.get()))
    }

    /// Sets it, or forgets it; what it was.
    pub(super) fn set_since(&mut self, since: Option<SystemTime>) -> Option<SystemTime> {
        let before = self.since();
        self.since = since.and_then(|since| NonZeroU64::new(micros(since)));
        before
    }

    /// Their id, which is kept once.
    pub(super) const fn id(&self) -> &UserId {
        &self.id
    }

    fn is_empty(&self) -> bool {
        self.since.is_none() && self.members.is_empty() && self.log.is_empty()
    }
}

impl Members {
    pub(super) fn to_vec(&self) -> Vec<Digest> {
        match self {
            Self::None => Vec::new(),
            Self::One(one) => vec![*one],
            Self::Few(few) => few.clone(),
            Self::Many(many) => many.iter().copied().collect(),
        }
    }

    const fn is_empty(&self) -> bool {
        // Whatever takes the last one out leaves nothing.
        matches!(self, Self::None)
    }

    pub(super) fn contains(&self, digest: &Digest) -> bool {
        match self {
            Self::None => false,
            Self::One(one) => one == digest,
            Self::Few(few) => few.contains(digest),
            Self::Many(many) => many.contains(digest),
        }
    }

    pub(super) fn insert(&mut self, digest: Digest) {
        if self.contains(&digest) {
            return;
        }
        match self {
            Self::None => *self = Self::One(digest),
            Self::One(one) => *self = Self::Few(vec![*one, digest]),
            Self::Few(few) if few.len() < FEW => few.push(digest),
            Self::Few(few) => {
                let mut many: HashSet<Digest> = few.drain(..).collect();
                many.insert(digest);
                *self = Self::Many(Box::new(many));
            }
            Self::Many(many) => {
                many.insert(digest);
            }
        }
    }

    pub(super) fn remove(&mut self, digest: &Digest) {
        match self {
            Self::None => {}
            Self::One(one) => {
                if one == digest {
                    *self = Self::None;
                }
            }
            Self::Few(few) => {
                few.retain(|member| member != digest);
                if let [one] = few[..] {
                    *self = Self::One(one);
                }
            }
            Self::Many(many) => {
                many.remove(digest);
                if many.len() <= FEW / 2 {
                    *self = Self::Few(many.iter().copied().collect());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn user(n: u8) -> UserId {
        format!("user-{n}").into()
    }

    proptest! {
        #[test]
        fn inv12_a_users_sessions_are_those_that_were_added_and_not_removed(
            steps in prop::collection::vec((0u8..4, 0u8..24, any::<bool>()), 0..400),
        ) {
            let mut users = Users::default();
            let mut there: Vec<HashSet<Digest>> = vec![HashSet::new(); 4];
            for (who, which, add) in steps {
                let (id, digest) = (user(who), Digest::from_bytes([which; 32]));
                let own = &mut there[usize::from(who)];
                if add {
                    users.of(&id).members.insert(digest);
                    own.insert(digest);
                } else if let Some(user) = users.get_mut(&id) {
                    user.members.remove(&digest);
                    own.remove(&digest);
                    users.drop_if_empty(&id);
                }
                for (who, own) in (0..).zip(&there) {
                    let id = user(who);
                    let found = users.get(&id);
                    prop_assert_eq!(found.is_some(), !own.is_empty());
                    prop_assert_eq!(users.named(users.hash(&id)).is_some(), found.is_some());
                    let members = found.map(|user| user.members.to_vec()).unwrap_or_default();
                    prop_assert_eq!(members.len(), own.len());
                    prop_assert!(members.iter().all(|digest| own.contains(digest)));
                    prop_assert!(own.iter().all(|digest| found.is_some_and(|user| user.members.contains(digest))));
                }
                prop_assert_eq!(users.len(), there.iter().filter(|own| !own.is_empty()).count());
                prop_assert_eq!(users.table.len(), users.len());
            }
        }
    }
}
