//! The clock of a server, as seen from here.
//!
//! Every end is judged by the server's clock. An instance reads it now and then and counts on from there by its own
//! monotonic clock, which nobody puts right.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::clock::{instant, micros, span_micros};

/// So many readings are kept; of these the one with the smallest round trip counts.
const READINGS: usize = 60;
/// A server's clock that is further from what was expected, beyond the round trip, was put right: the readings from
/// before count no more.
const STEP: Duration = Duration::from_millis(100);

/// One reading of a server's clock.
#[derive(Debug, Clone, Copy)]
struct Reading {
    round_trip: Duration,
    /// What the server's clock showed when this instance's monotonic clock stood at 0, in microseconds.
    at_zero: i64,
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
    /// It is taken for the instant of `received`, so that what is shown is never ahead of the server, and behind it by
    /// less than the round trip: who begins before the server did something is never taken for somebody who began
    /// after it.
    pub(super) fn read(&self, sent: Instant, received: Instant, server: u64) {
        let reading = Reading {
            round_trip: received.saturating_duration_since(sent),
            at_zero: at_zero(self.zero, received, server),
        };
        let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        let tolerance = signed(span_micros(STEP + reading.round_trip));
        if readings.iter().any(|known| {
            (known.at_zero - reading.at_zero).abs()
                > tolerance + signed(span_micros(known.round_trip))
        }) {
            readings.clear();
        }
        if readings.len() == READINGS {
            readings.pop_front();
        }
        readings.push_back(reading);
        if let Some(best) = readings.iter().min_by_key(|reading| reading.round_trip) {
            self.at_zero.store(best.at_zero, Ordering::Relaxed);
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
        since_zero(self.zero).saturating_add_signed(self.at_zero())
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

    /// Now.
    pub(super) fn now(&self) -> SystemTime {
        let now = since_zero(self.zero).saturating_add_signed(self.at_zero.load(Ordering::Relaxed));
        instant(now.max(self.floor.load(Ordering::Acquire)))
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
    const YEAR_2027: u64 = 1_800_000_000_000_000;

    /// A clock, and a reading of it: after how long, with what round trip, and how far the server is off.
    fn read(clock: &ServerClock, after: Duration, round_trip: Duration, off: i64) {
        let received = clock.zero + after;
        let server = (YEAR_2027 + span_micros(after)).saturating_add_signed(off);
        clock.read(received - round_trip, received, server);
    }

    #[test]
    fn the_reading_with_the_smallest_round_trip_counts() {
        let clock = ServerClock::new(Instant::now());
        for (n, (round_trip, off)) in [(9, -7_000), (1, -300), (5, -4_000)]
            .into_iter()
            .enumerate()
        {
            read(&clock, 10 * MS * (n as u32 + 1), round_trip * MS, off);
        }
        assert_eq!(clock.at_zero(), YEAR_2027 as i64 - 300);
    }

    #[test]
    fn it_is_never_ahead_of_the_server() {
        let clock = ServerClock::new(Instant::now());
        // The server answered in the middle of the round trip, and is itself further on when the answer arrives.
        read(&clock, 10 * MS, 4 * MS, -2_000);
        assert_eq!(clock.at_zero(), YEAR_2027 as i64 - 2_000);
    }

    #[test]
    fn a_clock_that_was_put_right_is_followed_at_once() {
        let clock = ServerClock::new(Instant::now());
        read(&clock, 10 * MS, MS, 0);
        read(&clock, 20 * MS, 9 * MS, 60_000_000);
        assert_eq!(clock.at_zero(), YEAR_2027 as i64 + 60_000_000);
        read(&clock, 30 * MS, 9 * MS, -60_000_000);
        assert_eq!(clock.at_zero(), YEAR_2027 as i64 - 60_000_000);
    }

    #[test]
    fn a_reading_leaves_after_sixty_others() {
        let clock = ServerClock::new(Instant::now());
        read(&clock, MS, MS / 2, 0);
        for n in 0..60 {
            read(&clock, MS * (n + 2), MS, -1_000);
        }
        assert_eq!(clock.at_zero(), YEAR_2027 as i64 - 1_000);
    }

    #[test]
    fn a_store_goes_by_the_server_that_is_behind_and_never_back_beyond_its_floor() {
        let store = StoreClock::new();
        let servers = [(); 3].map(|()| ServerClock::new(store.zero()));
        read(&servers[0], MS, MS, 5_000);
        read(&servers[1], MS, MS, -5_000);
        store.follow(servers.iter());
        assert_eq!(
            store.at_zero.load(Ordering::Relaxed),
            YEAR_2027 as i64 - 5_000
        );
        let far = YEAR_2027 * 2;
        store.not_before(far);
        assert_eq!(store.now(), instant(far));
    }
}
