//! What is to be looked at when, the first first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::SystemTime;

/// It is not worth giving back less than this.
const FEW: usize = 64;

/// When something of a user is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Due {
    pub(super) at: SystemTime,
    /// By the hash of their id.
    pub(super) user: u64,
}

#[derive(Debug, Default)]
pub(super) struct Queue(BinaryHeap<Reverse<Due>>);

impl Queue {
    pub(super) fn push(&mut self, due: Due) {
        self.0.push(Reverse(due));
    }

    /// Takes out the first.
    pub(super) fn pop(&mut self) -> Option<Due> {
        self.0.pop().map(|Reverse(due)| due)
    }

    /// The same, once its time has come.
    pub(super) fn next_due(&mut self, now: SystemTime) -> Option<Due> {
        let Reverse(first) = self.0.peek()?;
        if first.at > now {
            return None;
        }
        self.pop()
    }

    /// Takes out all that is of a user, in as many steps as there are places.
    pub(super) fn forget(&mut self, user: u64) {
        self.0.retain(|Reverse(due)| due.user != user);
    }

    /// Gives memory back once most of it is unused.
    pub(super) fn shrink(&mut self) {
        if self.0.capacity() > FEW && self.0.len() < self.0.capacity() / 8 {
            self.0.shrink_to(2 * self.0.len());
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::instant;

    #[test]
    fn inv11_the_first_comes_when_it_is_due_and_its_room_is_given_back() {
        let mut queue = Queue::default();
        for n in (0..1000).rev() {
            queue.push(Due {
                at: instant(n),
                user: n % 7,
            });
        }
        queue.forget(3);
        for n in (0..1000).filter(|n| n % 7 != 3) {
            assert_eq!(
                queue.next_due(instant(n) - std::time::Duration::from_micros(1)),
                None
            );
            assert_eq!(
                queue.next_due(instant(n)).map(|due| due.at),
                Some(instant(n))
            );
        }
        queue.shrink();
        assert_eq!(queue.len(), 0);
        assert!(queue.0.capacity() <= FEW);
    }
}
