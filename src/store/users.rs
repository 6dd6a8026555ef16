//! What a shard has of each user: which sessions are theirs, from when on they may sign in, what happened.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU64;
use std::time::SystemTime;

use hashbrown::HashTable;

use super::log::Log;
use crate::clock::{instant, micros};
use crate::id::{Digest, UserId};

/// Up to this many sessions are a plain list.
const FEW: usize = 16;

/// The users of a shard. Whoever has nothing here is to be dropped: see [`drop_if_empty`](Self::drop_if_empty).
#[derive(Debug, Default)]
pub(super) struct Users {
    table: HashTable<Box<User>>,
    /// An application may let its users choose their ids: where one is found must not be known to them.
    hasher: RandomState,
}

#[derive(Debug)]
pub(super) struct User {
    id: UserId,
    pub(super) members: Members,
    /// In microseconds since 1970, as it is told.
    since: Option<NonZeroU64>,
    pub(super) log: Log,
}

/// The digests of a user's sessions. Nearly everybody has a few.
#[expect(
    clippy::box_collection,
    reason = "a set is twice as large as a list, and hardly anybody has one"
)]
#[derive(Debug)]
pub(super) enum Members {
    Few(Vec<Digest>),
    Many(Box<HashSet<Digest>>),
}

impl Users {
    pub(super) fn get(&self, id: &UserId) -> Option<&User> {
        let hash = self.hasher.hash_one(id);
        let user = self.table.find(hash, |user| user.id == *id)?;
        Some(user)
    }

    pub(super) fn get_mut(&mut self, id: &UserId) -> Option<&mut User> {
        let hash = self.hasher.hash_one(id);
        let user = self.table.find_mut(hash, |user| user.id == *id)?;
        Some(user)
    }

    /// The user, who is made if they are not there.
    pub(super) fn of(&mut self, id: &UserId) -> &mut User {
        let hash = self.hasher.hash_one(id);
        self.table
            .entry(
                hash,
                |user| user.id == *id,
                |user| self.hasher.hash_one(&user.id),
            )
            .or_insert_with(|| Box::new(User::new(id.clone())))
            .into_mut()
    }

    pub(super) fn drop_if_empty(&mut self, id: &UserId) {
        let hash = self.hasher.hash_one(id);
        if let Ok(found) = self.table.find_entry(hash, |user| user.id == *id)
            && found.get().is_empty()
        {
            found.remove();
        }
    }

    /// Gives memory back once most of it is unused.
    pub(super) fn shrink(&mut self) {
        if self.table.capacity() > 64 && self.table.len() < self.table.capacity() / 8 {
            let hasher = &self.hasher;
            self.table
                .shrink_to(self.table.len() * 2, |user| hasher.hash_one(&user.id));
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }
}

impl User {
    fn new(id: UserId) -> Self {
        Self {
            id,
            members: Members::Few(Vec::new()),
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
            Self::Few(few) => few.clone(),
            Self::Many(many) => many.iter().copied().collect(),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Few(few) => few.is_empty(),
            Self::Many(many) => many.is_empty(),
        }
    }

    pub(super) fn contains(&self, digest: &Digest) -> bool {
        match self {
            Self::Few(few) => few.contains(digest),
            Self::Many(many) => many.contains(digest),
        }
    }

    pub(super) fn insert(&mut self, digest: Digest) {
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
                *self = Self::Many(Box::new(many));
            }
            Self::Many(many) => {
                many.insert(digest);
            }
        }
    }

    pub(super) fn remove(&mut self, digest: &Digest) {
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
