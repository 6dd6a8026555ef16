//! How long calls take: two windows of ten seconds, in powers of two. No lock, no allocation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(10);
/// Up to 2^23 microseconds, eight seconds.
const BUCKETS: usize = 24;

/// How long calls of the store took within the last 10 to 20 seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latency {
    /// How many there were.
    pub calls: u64,
    /// Half of them took at most so long: rounded up to a power of two of microseconds.
    pub median: Duration,
    /// 99 of 100 took at most so long, likewise.
    pub p99: Duration,
}

/// Counts how long calls take.
#[derive(Debug)]
pub(crate) struct Latencies {
    zero: Instant,
    windows: [Window; 2],
}

#[derive(Debug, Default)]
struct Window {
    number: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

impl Latencies {
    pub(crate) fn new() -> Self {
        Self {
            zero: Instant::now(),
            windows: Default::default(),
        }
    }

    pub(crate) fn add(&self, sent: Instant, answered: Instant) {
        self.add_at(
            self.number(answered),
            answered.saturating_duration_since(sent),
        );
    }

    pub(crate) fn get(&self) -> Option<Latency> {
        self.get_at(self.number(Instant::now()))
    }

    /// The number of a window; 0 is before all.
    fn number(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.zero).as_secs() / WINDOW.as_secs() + 1
    }

    fn add_at(&self, number: u64, took: Duration) {
        let window = &self.windows[usize::from(number % 2 == 1)];
        // What others add in the same moment may be lost: a figure is not worth a lock.
        if window.number.swap(number, Ordering::Relaxed) != number {
            for bucket in &window.buckets {
                bucket.store(0, Ordering::Relaxed);
            }
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let power = micros.next_power_of_two().trailing_zeros() as usize;
        window.buckets[power.min(BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
    }

    fn get_at(&self, number: u64) -> Option<Latency> {
        let mut buckets = [0; BUCKETS];
        for window in &self.windows {
            let age = number.wrapping_sub(window.number.load(Ordering::Relaxed));
            if age <= 1 {
                for (sum, bucket) in buckets.iter_mut().zip(&window.buckets) {
                    *sum += bucket.load(Ordering::Relaxed);
                }
            }
        }
        let calls: u64 = buckets.iter().sum();
        let at_most = |share: u64| {
            let mut left = calls.saturating_mul(share).div_ceil(100);
            let power = buckets.iter().position(|count| {
                left = left.saturating_sub(*count);
                left == 0
            });
            Duration::from_micros(1 << power.unwrap_or(BUCKETS - 1))
        };
        (calls > 0).then(|| Latency {
            calls,
            median: at_most(50),
            p99: at_most(99),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_and_nearly_all_are_told_apart_and_what_is_old_is_forgotten() {
        let latencies = Latencies::new();
        assert_eq!(latencies.get_at(1), None);
        for _ in 0..98 {
            latencies.add_at(1, Duration::from_micros(100));
        }
        for _ in 0..2 {
            latencies.add_at(2, Duration::from_millis(100));
        }
        let seen = latencies.get_at(2).unwrap();
        assert_eq!(seen.calls, 100);
        assert_eq!(
            (seen.median, seen.p99),
            (Duration::from_micros(128), Duration::from_micros(131_072))
        );
        assert_eq!(latencies.get_at(3).unwrap().calls, 2);
        assert_eq!(latencies.get_at(4), None);
        latencies.add_at(4, Duration::from_secs(3600));
        assert_eq!(
            latencies.get_at(4).unwrap().median,
            Duration::from_micros(1 << 23)
        );
    }
}
