//! Whether a part of the store is asked, or known to be away.

use std::time::{Duration, SystemTime};

use crate::store::{Beat, Failure};

/// How often a part that answers is checked.
pub(crate) const BEAT: Duration = Duration::from_secs(1);
/// How often one that does not.
pub(crate) const PROBE: Duration = Duration::from_millis(100);
/// So many calls in a row without an answer in time are an outage.
const SLOW: u32 = 2;

/// What a layer's store is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// It answers.
    Healthy,
    /// It answers again, and is told what it missed; until then it is not read.
    Recovering,
    /// It, or a part of it, is away.
    Degraded,
}

impl Mode {
    /// Its name in responses and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Recovering => "recovering",
            Self::Degraded => "degraded",
        }
    }
}

/// The state of one part. Time is an argument; nothing is done here but deciding.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Breaker {
    mode: Mode,
    since: SystemTime,
    /// Calls in a row without an answer.
    slow: u32,
    /// Counts the changes of mode: what was sent before one says nothing about what came after it.
    epoch: u64,
    last: Option<Beat>,
    /// What has become of the store and is not made good yet.
    owed: Continuity,
}

/// What has become of the store since it was last heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Continuity {
    /// It is as it was.
    Unbroken,
    /// It may have lost its last writes: another server answers, it was started anew, or its own count went back.
    Doubtful,
    /// It has lost everything.
    Empty,
}

impl Breaker {
    /// One that takes the store to be there.
    pub(crate) const fn closed(now: SystemTime) -> Self {
        Self {
            mode: Mode::Healthy,
            since: now,
            slow: 0,
            epoch: 0,
            last: None,
            owed: Continuity::Unbroken,
        }
    }

    /// One for a part that came later, of which nothing is known.
    pub(crate) const fn open(now: SystemTime) -> Self {
        Self {
            mode: Mode::Degraded,
            ..Self::closed(now)
        }
    }

    pub(crate) const fn mode(&self) -> Mode {
        self.mode
    }

    pub(crate) const fn since(&self) -> SystemTime {
        self.since
    }

    pub(crate) const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// A call that was sent in `epoch` was answered.
    pub(crate) const fn answered(&mut self, epoch: u64) {
        if epoch == self.epoch {
            self.slow = 0;
        }
    }

    /// A call that was sent in `epoch` failed. Whether that is the beginning of an outage.
    pub(crate) fn failed(&mut self, epoch: u64, failure: Failure, now: SystemTime) -> bool {
        if epoch != self.epoch || self.mode == Mode::Degraded {
            return false;
        }
        let opens = match failure {
            // A cut connection was replaced already, by whoever reports this, and the new one failed too.
            Failure::Unreachable | Failure::Refused => true,
            Failure::Silent => {
                self.slow += 1;
                self.slow >= SLOW
            }
            // It is there.
            Failure::Full | Failure::Other => false,
        };
        if opens {
            self.change(Mode::Degraded, now);
        }
        opens
    }

    /// A heartbeat was answered: what has become of the store since it was last made good. One that was away is
    /// recovering from here on.
    pub(crate) fn beat(&mut self, beat: Beat, now: SystemTime) -> Continuity {
        self.slow = 0;
        let found = match &self.last {
            Some(last) => continuity(last, &beat),
            // It may have been told something before it was first heard, and a part that came later may be a replica
            // that has taken over.
            None => Continuity::Doubtful,
        };
        self.owed = self.owed.max(found);
        self.last = Some(beat);
        if self.mode == Mode::Degraded {
            self.change(Mode::Recovering, now);
        }
        self.owed
    }

    /// What was owed to the store is made good, if nothing has happened since.
    pub(crate) const fn settled(&mut self, epoch: u64) {
        if epoch == self.epoch {
            self.owed = Continuity::Unbroken;
        }
    }

    /// Whether the last call went unanswered.
    pub(crate) const fn is_suspected(&self) -> bool {
        self.slow > 0
    }

    /// What the next beat's value must be above.
    pub(crate) fn least(&self) -> u64 {
        self.last.as_ref().map_or(0, |last| last.value)
    }

    /// It has been told everything: it is read again. Not if it went away meanwhile.
    pub(crate) fn recovered(&mut self, epoch: u64, now: SystemTime) -> bool {
        let is_recovered = epoch == self.epoch && self.mode == Mode::Recovering;
        if is_recovered {
            self.change(Mode::Healthy, now);
        }
        is_recovered
    }

    fn change(&mut self, mode: Mode, now: SystemTime) {
        self.mode = mode;
        self.since = now;
        self.slow = 0;
        self.epoch += 1;
    }
}

fn continuity(last: &Beat, beat: &Beat) -> Continuity {
    if beat.generation != last.generation {
        Continuity::Empty
    } else if beat.server != last.server || beat.before.is_none_or(|before| before < last.value) {
        Continuity::Doubtful
    } else {
        Continuity::Unbroken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn beat(server: u64, generation: u64, before: Option<u64>, value: u64) -> Beat {
        Beat {
            server,
            generation,
            before,
            value,
        }
    }

    #[test]
    fn it_opens_on_two_silent_calls_in_a_row_or_one_refusal() {
        let mut breaker = Breaker::closed(NOW);
        assert!(!breaker.failed(0, Failure::Silent, NOW));
        breaker.answered(0);
        assert!(!breaker.failed(0, Failure::Silent, NOW));
        assert!(breaker.failed(0, Failure::Silent, NOW));
        assert_eq!(breaker.mode(), Mode::Degraded);
        for failure in [Failure::Unreachable, Failure::Refused] {
            let mut breaker = Breaker::closed(NOW);
            assert!(breaker.failed(0, failure, NOW));
        }
    }

    #[test]
    fn f15_a_store_that_is_full_or_finds_fault_is_there() {
        let mut breaker = Breaker::closed(NOW);
        for _ in 0..10 {
            assert!(!breaker.failed(0, Failure::Full, NOW));
            assert!(!breaker.failed(0, Failure::Other, NOW));
        }
        assert_eq!(breaker.mode(), Mode::Healthy);
    }

    #[test]
    fn what_was_sent_before_says_nothing_of_now() {
        let mut breaker = Breaker::closed(NOW);
        assert!(breaker.failed(0, Failure::Refused, NOW));
        breaker.beat(beat(1, 1, None, 1), NOW);
        let epoch = breaker.epoch();
        assert!(breaker.recovered(epoch, NOW));
        // Sent in the first epoch, timed out in the third.
        assert!(!breaker.failed(0, Failure::Refused, NOW));
        assert_eq!(breaker.mode(), Mode::Healthy);
    }

    #[test]
    fn a_recovery_that_the_next_outage_interrupts_is_none() {
        let mut breaker = Breaker::open(NOW);
        breaker.beat(beat(1, 1, None, 1), NOW);
        assert_eq!(breaker.mode(), Mode::Recovering);
        let epoch = breaker.epoch();
        assert!(breaker.failed(epoch, Failure::Refused, NOW));
        assert!(!breaker.recovered(epoch, NOW));
        assert_eq!(breaker.mode(), Mode::Degraded);
    }

    #[test]
    fn f12_f13_a_store_that_lost_something_is_noticed() {
        let after = |second: Beat| {
            let mut breaker = Breaker::closed(NOW);
            breaker.beat(beat(1, 7, Some(9), 10), NOW);
            breaker.settled(0);
            breaker.beat(second, NOW)
        };
        assert_eq!(after(beat(1, 7, Some(10), 11)), Continuity::Unbroken);
        assert_eq!(after(beat(1, 7, Some(55), 56)), Continuity::Unbroken);
        assert_eq!(after(beat(1, 7, Some(9), 11)), Continuity::Doubtful);
        assert_eq!(after(beat(2, 7, Some(10), 11)), Continuity::Doubtful);
        assert_eq!(after(beat(1, 8, None, 11)), Continuity::Empty);
        // Somebody else met it first.
        assert_eq!(after(beat(2, 8, Some(1), 11)), Continuity::Empty);
    }
}
