//! What very many sessions have in common, kept once: their times, and above all their user agents.
//!
//! Counted by those who have it, and dropped with the last of them: there is never more of it than sessions, though a
//! client may well send another user agent each time.

use std::hash::{BuildHasher, RandomState};

use super::table::Table;
use crate::record::Common;

/// What one takes besides its text, at most.
const OVERHEAD: usize = 96;

/// So many of those that were found last.
const RECENT: usize = 8;

/// The number of one.
pub(super) type Number = u32;

#[derive(Debug, Default)]
pub(super) struct Commons {
    all: Vec<Kept>,
    /// Places among them that are free.
    free: Vec<Number>,
    found: Table<Number>,
    /// Found last, of those whose user agent has about that length: most of them come again.
    recent: [Number; RECENT],
    /// A client chooses its user agent: where it is found must not be known to it.
    hasher: RandomState,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    agent: Box<str>,
    idle: u64,
    touch: u64,
    count: u32,
    version: u8,
    flags: u8,
}

impl Kept {
    fn get(&self) -> Common<'_> {
        Common {
            version: self.version,
            flags: self.flags,
            idle: self.idle,
            touch: self.touch,
            agent: &self.agent,
        }
    }
}

impl Commons {
    pub(super) fn get(&self, number: Number) -> Common<'_> {
        self.all[number as usize].get()
    }

    /// What all of it takes, by estimate.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.found.len()
    }

    /// One more has it.
    pub(super) fn take(&mut self, common: &Common<'_>) -> Number {
        // Comparing is much faster than hashing.
        let recent = (common.agent.len() + usize::from(common.version)) % RECENT;
        if let Some(kept) = self.all.get_mut(self.recent[recent] as usize)
            && kept.count > 0
            && kept.get() == *common
        {
            kept.count += 1;
            return self.recent[recent];
        }
        let number = self.find_or_add(common);
        self.all[number as usize].count += 1;
        self.recent[recent] = number;
        number
    }

    fn find_or_add(&mut self, common: &Common<'_>) -> Number {
        let hash = self.hasher.hash_one(common);
        let is_it = |number: &Number| self.all[*number as usize].get() == *common;
        if let Some(&number) = self.found.find(hash, is_it) {
            return number;
        }
        let kept = Kept {
            agent: common.agent.into(),
            idle: common.idle,
            touch: common.touch,
            count: 0,
            version: common.version,
            flags: common.flags,
        };
        self.bytes += common.agent.len() + OVERHEAD;
        let number = match self.free.pop() {
            Some(number) => {
                self.all[number as usize] = kept;
                number
            }
            None => {
                self.all.push(kept);
                Number::try_from(self.all.len() - 1).expect("a shard has fewer than 2^32 sessions")
            }
        };
        self.found.insert(hash, number);
        number
    }

    /// One more has one that is there.
    pub(super) fn take_again(&mut self, number: Number) -> Number {
        self.all[number as usize].count += 1;
        number
    }

    /// One that had it has it no more.
    pub(super) fn give_back(&mut self, number: Number) {
        let kept = &mut self.all[number as usize];
        kept.count -= 1;
        if kept.count > 0 {
            return;
        }
        let hash = self.hasher.hash_one(kept.get());
        self.found.remove(hash, |own| *own == number);
        let kept = &mut self.all[number as usize];
        self.bytes -= kept.agent.len() + OVERHEAD;
        kept.agent = Box::default();
        self.free.push(number);
        if self.found.len() == 0 {
            let hasher = std::mem::take(&mut self.hasher);
            *self = Self {
                hasher,
                ..Self::default()
            };
        }
    }
}
