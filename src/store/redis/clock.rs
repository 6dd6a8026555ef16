//! The clock of a server, as seen from here.
//!
//! Every end is judged by the server's clock. An instance reads it now and then and counts on from there by its own
//! monotonic clock, which nobody puts right.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
#[cfg(test)]
use std::time::Duration;
use std::time::{Instant, SystemTime};

use crate::clock::{instant, micros, span_micros};

/// So many readings are kept: a minute of them.
const READINGS: usize = 60;

/// One reading of a server's clock: two instants, in microseconds, between which it stood when this instance's monotonic
/// clock stood at 0. The reply was made between the sending and the receiving.
#[derive(Debug, Clone, Copy)]
struct Reading {
    least: i64,
    most: i64,
}

/// What is known of one server's clock.
#[derive(Debug)]
pub(super) struct ServerClock {
    zero: Instant,
    at_zero: AtomicI64,
    readings: Mutex<VecDeque<Reading>>,
}

impl ServerClock {
    /// Shows this machine's time until it was read. `zero` is the same for all clocks of a store.
    pub(super) fn new(zero: Instant) -> Self {
        Self {
            zero,
            at_zero: AtomicI64::new(at_zero(zero, Instant::now(), micros(SystemTime::now()))),
            readings: Mutex::new(VecDeque::with_capacity(READINGS)),
        }
    }

    /// Takes a reading: what the server said between `sent` and `received`, in microseconds since 1970.
    ///
    /// What is shown is the latest that it stood for certain, by all readings that agree with this one: never ahead of
    /// the server, and behind it by less than the smallest round trip. Who begins before the server did something is
    /// never taken for somebody who began after it. Readings that disagree are of before the clock was put right, or
    /// wandered off.
    pub(super) fn read(&self, sent: Instant, received: Instant, server: u64) {
        let reading = Reading {
            least: at_zero(self.zero, received, server),
            most: at_zero(self.zero, sent, server),
        };
        let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        readings.retain(|known| known.least <= reading.most && reading.least <= known.most);
        if readings.len() == READINGS {
            readings.pop_front();
        }
        readings.push_back(reading);
        if let Some(least) = readings.iter().map(|known| known.least).max() {
            self.at_zero.store(least, Ordering::Relaxed);
        }
    }

    /// Whether it was ever read.
    pub(super) fn is_known(&self) -> bool {
        !self
            .readings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    /// What the server's clock showed when this instance's monotonic clock stood at 0.
    pub(super) fn at_zero(&self) -> i64 {
        self.at_zero.load(Ordering::Relaxed)
    }

    /// What the server's clock shows now, in microseconds.
    pub(super) fn now(&self) -> u64 {
        self.at(Instant::now())
    }

    /// What it shows at this instant of this process, in microseconds.
    pub(super) fn at(&self, here: Instant) -> u64 {
        span_micros(here.saturating_duration_since(self.zero)).saturating_add_signed(self.at_zero())
    }
}

/// The clock of the whole store: of several servers the one that is furthest behind, and never behind an instant that
/// this instance has acknowledged.
#[derive(Debug)]
pub(super) struct StoreClock {
    zero: Instant,
    at_zero: AtomicI64,
    floor: AtomicU64,
}

impl StoreClock {
    pub(super) fn new() -> Self {
        let zero = Instant::now();
        Self {
            zero,
            at_zero: AtomicI64::new(signed(micros(SystemTime::now()))),
            floor: AtomicU64::new(0),
        }
    }

    /// Where the clocks of its servers count from.
    pub(super) const fn zero(&self) -> Instant {
        self.zero
    }

    /// Follows its servers' clocks; those that were never read say nothing.
    pub(super) fn follow<'a>(&self, servers: impl Iterator<Item = &'a ServerClock>) {
        if let Some(behind) = servers
            .filter(|clock| clock.is_known())
            .map(ServerClock::at_zero)
            .min()
        {
            self.at_zero.store(behind, Ordering::Relaxed);
        }
    }

    /// From now on it shows no earlier instant than this.
    pub(super) fn not_before(&self, floor: u64) {
        self.floor.fetch_max(floor, Ordering::AcqRel);
    }

    /// Now, by the clock alone.
    pub(super) fn reading(&self) -> SystemTime {
        instant(self.micros())
    }

    /// Now, and no earlier than what was acknowledged.
    pub(super) fn now(&self) -> SystemTime {
        instant(self.micros().max(self.floor.load(Ordering::Acquire)))
    }

    fn micros(&self) -> u64 {
        since_zero(self.zero).saturating_add_signed(self.at_zero.load(Ordering::Relaxed))
    }
}

fn since_zero(zero: Instant) -> u64 {
    span_micros(zero.elapsed())
}

fn at_zero(zero: Instant, here: Instant, server: u64) -> i64 {
    signed(server) - signed(span_micros(here.saturating_duration_since(zero)))
}

/// Microseconds since 1970 fit 63 bits for 292,000 years.
fn signed(micros: u64) -> i64 {
    i64::try_from(micros).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const YEAR_2027: i64 = 1_800_000_000_000_000;

    /// A clock, and a reading of it: when the reply came, after what round trip, of which so much was before the server
    /// answered; and how far the server is off, in microseconds.
    fn read(clock: &ServerClock, after: Duration, round_trip: Duration, out: Duration, off: i64) {
        let received = clock.zero + after;
        let sent = received - round_trip;
        let answered = sent + out;
        let server = signed(span_micros(answered - clock.zero)) + YEAR_2027 + off;
        clock.read(sent, received, server.cast_unsigned());
    }

    #[test]
    fn it_is_behind_by_less_than_the_smallest_round_trip_and_never_ahead() {
        let clock = ServerClock::new(Instant::now());
        for (n, (round_trip, out)) in [(9, 1), (3, 1), (5, 4)].into_iter().enumerate() {
            read(
                &clock,
                100 * MS * (n as u32 + 1),
                round_trip * MS,
                out * MS,
                0,
            );
            assert!(clock.at_zero() <= YEAR_2027);
        }
        // The reply of the last was on its way for a millisecond.
        assert_eq!(clock.at_zero(), YEAR_2027 - 1_000);
    }

    #[test]
    fn a_clock_that_was_put_right_is_followed_at_once_however_little_it_was() {
        for step in [60_000_000, 90_000, 3_000] {
            let clock = ServerClock::new(Instant::now());
            read(&clock, 10 * MS, MS, MS, 0);
            assert_eq!(clock.at_zero(), YEAR_2027);
            read(&clock, 1000 * MS, 2 * MS, MS, -step);
            assert_eq!(clock.at_zero(), YEAR_2027 - step - 1_000);
            read(&clock, 2000 * MS, 2 * MS, MS, step);
            assert_eq!(clock.at_zero(), YEAR_2027 + step - 1_000);
        }
    }

    #[test]
    fn a_reading_leaves_after_sixty_others() {
        let clock = ServerClock::new(Instant::now());
        read(&clock, 10 * MS, MS, MS, 0);
        for n in 0..60 {
            read(&clock, 10 * MS * (n + 2), 4 * MS, 2 * MS, 0);
        }
        assert_eq!(clock.at_zero(), YEAR_2027 - 2_000);
    }

    #[test]
    fn a_store_goes_by_the_server_that_is_behind_and_never_back_beyond_its_floor() {
        let store = StoreClock::new();
        let servers = [(); 3].map(|()| ServerClock::new(store.zero()));
        read(&servers[0], MS, MS, MS, 5_000);
        read(&servers[1], MS, MS, MS, -5_000);
        store.follow(servers.iter());
        assert_eq!(store.at_zero.load(Ordering::Relaxed), YEAR_2027 - 5_000);
        let far = YEAR_2027.cast_unsigned() * 2;
        store.not_before(far);
        assert_eq!(store.now(), instant(far));
        assert!(store.reading() < instant(far));
    }
}
