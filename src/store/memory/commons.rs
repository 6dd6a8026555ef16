//! What very many sessions have in common, kept once: their times, and above all their user agents.
//!
//! Counted by those who have it, and dropped with the last of them: there is never more of it than sessions, though a
//! client may well send another user agent each time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::{BuildHasher, RandomState};

use super::table::Table;
use crate::record::Common;

/// What one takes besides its text, at most.
const OVERHEAD: usize = 96;

/// It is not worth giving back less than this.
const FEW: usize = 64;
/// So many of those that were found last.
const RECENT: usize = 8;

/// The number of one.
pub(super) type Number = u32;

#[derive(Debug, Default)]
pub(super) struct Commons {
    all: Vec<Kept>,
    /// Places among them that are free, and some that are no more. The first is taken first, so that the last ones can be
    /// given back.
    free: BinaryHeap<Reverse<Number>>,
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
        let number = self.place_for(kept);
        self.found.insert(hash, number);
        number
    }

    fn place_for(&mut self, kept: Kept) -> Number {
        while let Some(Reverse(number)) = self.free.pop() {
            // It may have been given back since, or taken.
            if let Some(free) = self.all.get_mut(number as usize)
                && free.count == 0
            {
                *free = kept;
                return number;
            }
        }
        self.all.push(kept);
        Number::try_from(self.all.len() - 1).expect("a shard has fewer than 2^32 sessions")
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
        self.free.push(Reverse(number));
        if self.found.len() == 0 {
            let hasher = std::mem::take(&mut self.hasher);
            *self = Self {
                hasher,
                ..Self::default()
            };
        }
    }

    /// Gives memory back once most of it is unused.
    pub(super) fn shrink(&mut self) {
        self.found.shrink();
        while self.all.last().is_some_and(|kept| kept.count == 0) {
            self.all.pop();
        }
        let len = self.all.len();
        if self.free.len() > len + FEW {
            self.free.retain(|Reverse(number)| (*number as usize) < len);
            self.free.shrink_to_fit();
        }
        if self.all.capacity() > FEW && len < self.all.capacity() / 8 {
            self.all.shrink_to(2 * len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn common(agent: &str) -> Common<'_> {
        Common {
            version: 1,
            flags: 0,
            idle: 7,
            touch: 1,
            agent,
        }
    }

    #[test]
    fn inv11_of_many_user_agents_that_are_gone_nothing_is_kept() {
        let mut commons = Commons::default();
        let kept = commons.take(&common("kept"));
        let flood: Vec<Number> = (0..10_000)
            .map(|n| commons.take(&common(&format!("agent {n}"))))
            .collect();
        // The last of them stays for a while, and what comes meanwhile takes the first places.
        let (last, others) = flood.split_last().unwrap();
        for number in others {
            commons.give_back(*number);
        }
        commons.shrink();
        let next = commons.take(&common("next"));
        assert!(next < 10);
        commons.give_back(*last);
        commons.shrink();
        assert_eq!(commons.all.len(), 2);
        assert!(commons.all.capacity() <= FEW && commons.free.len() <= 2 + FEW);
        for n in 0..1000 {
            let number = commons.take(&common(&format!("agent {n}")));
            assert_eq!(commons.get(number).agent, format!("agent {n}"));
        }
        assert_eq!(commons.get(kept), common("kept"));
        assert_eq!(commons.get(next), common("next"));
        assert_eq!(commons.all.len(), 1002, "each has a place of its own");
    }
}
