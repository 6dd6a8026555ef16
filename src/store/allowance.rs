//! How much of something each of many has had, within a span of time.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use hashbrown::HashMap;

use super::command::{Spend, Spent};
use crate::id::Digest;

/// Of so many at most it is known at once: some 10 MiB. Of more than that, those whose span began first are forgotten.
const MOST: usize = 100_000;

/// Counts in memory.
#[derive(Debug, Default)]
pub(crate) struct Allowances(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// How many each has had, and until when that counts.
    of: HashMap<Digest, (SystemTime, u32)>,
    /// In the order in which their spans began.
    order: VecDeque<(SystemTime, Digest)>,
}

impl Allowances {
    pub(crate) fn spend(&self, spend: &Spend, now: SystemTime) -> Spent {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.tidy(now);
        match counts.of.get_mut(&spend.whose) {
            Some((until, spent)) if *until > now => {
                if *spent >= spend.most {
                    return Spent::Exhausted(*until);
                }
                *spent += 1;
            }
            Some(_) | None => {
                let until = now + spend.within;
                if spend.most == 0 {
                    return Spent::Exhausted(until);
                }
                counts.of.insert(spend.whose, (until, 1));
                counts.order.push_back((until, spend.whose));
            }
        }
        Spent::Granted
    }
}

impl Counts {
    fn tidy(&mut self, now: SystemTime) {
        while let Some((until, whose)) = self.order.front().copied()
            && (until <= now || self.order.len() >= MOST)
        {
            self.order.pop_front();
            // One that began anew stands further behind as well.
            if self.of.get(&whose).is_some_and(|known| known.0 == until) {
                self.of.remove(&whose);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::instant;
    use std::time::Duration;

    const HOUR: Duration = Duration::from_secs(3600);

    fn spend(whose: u64, most: u32) -> Spend {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&whose.to_le_bytes());
        Spend {
            whose: Digest::from_bytes(bytes),
            most,
            within: HOUR,
        }
    }

    #[test]
    fn each_has_so_many_until_their_span_is_over() {
        let (allowances, now) = (Allowances::default(), instant(1_800_000_000_000_000));
        assert_eq!(allowances.spend(&spend(1, 2), now), Spent::Granted);
        assert_eq!(
            allowances.spend(&spend(1, 2), now + HOUR / 2),
            Spent::Granted
        );
        let over = now + HOUR;
        let late = over - Duration::from_micros(1);
        assert_eq!(allowances.spend(&spend(1, 2), late), Spent::Exhausted(over));
        assert_eq!(allowances.spend(&spend(2, 2), late), Spent::Granted);
        assert_eq!(allowances.spend(&spend(1, 2), over), Spent::Granted);
        assert_eq!(
            allowances.spend(&spend(3, 0), now),
            Spent::Exhausted(now + HOUR)
        );
    }

    #[test]
    fn inv11_the_counts_are_bounded() {
        let (allowances, now) = (Allowances::default(), instant(1_800_000_000_000_000));
        for whose in 0..MOST as u64 + 1000 {
            allowances.spend(&spend(whose, 1), now);
        }
        let counts = allowances.0.lock().unwrap();
        assert!(counts.of.len() <= MOST && counts.order.len() <= MOST);
    }
}
