//! When something happened here, by two clocks.

use std::time::{Duration, Instant, SystemTime};

use crate::clock::{micros, span_micros};

/// An instant of this machine, in microseconds by two clocks: a steady one, that nobody puts right but that may stand
/// still while the machine sleeps, and the one on the wall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    steady: u64,
    wall: u64,
}

impl Stamp {
    /// The instant at which the clocks show this.
    pub(crate) const fn new(steady: u64, wall: u64) -> Self {
        Self { steady, wall }
    }

    /// Now. `zero` is where the steady clock is read from.
    pub(crate) fn now(zero: Instant, wall: SystemTime) -> Self {
        Self::new(span_micros(zero.elapsed()), micros(wall))
    }

    /// What the steady clock shows, and the one on the wall.
    #[cfg(feature = "redis")]
    pub(crate) const fn clocks(self) -> (u64, u64) {
        (self.steady, self.wall)
    }

    /// What the clocks showed so long before.
    pub(crate) fn before(self, age: Duration) -> Self {
        let age = span_micros(age);
        Self::new(
            self.steady.saturating_sub(age),
            self.wall.saturating_sub(age),
        )
    }

    /// How old it is: by whichever clock makes it older, so that neither a machine that slept nor a clock that was put
    /// back lends it time.
    pub(crate) fn age(self, now: Self) -> Duration {
        let steady = now.steady.saturating_sub(self.steady);
        let wall = now.wall.saturating_sub(self.wall);
        Duration::from_micros(steady.max(wall))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_a_machine_that_slept_nor_a_clock_put_back_lends_time() {
        let sent = Stamp::new(1_000, 9_000);
        assert_eq!(
            sent.age(Stamp::new(1_500, 9_100)),
            Duration::from_micros(500)
        );
        // It slept: the steady clock stood still.
        assert_eq!(
            sent.age(Stamp::new(1_000, 99_000)),
            Duration::from_micros(90_000)
        );
        // The one on the wall was put back.
        assert_eq!(
            sent.age(Stamp::new(1_700, 2_000)),
            Duration::from_micros(700)
        );
        assert_eq!(sent.age(sent), Duration::ZERO);
        let age = Duration::from_micros(400);
        assert_eq!(sent.before(age).age(sent), age);
    }
}
