//! Where "now" comes from.
//!
//! Nothing in this crate asks the operating system for the time on its own: a store has a [`Clock`], and the pure
//! parts take the instant as an argument. So a test moves the time by hand and waits for nothing.

use std::fmt::Debug;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A source of the current time.
///
/// Stores that live in this process ask it; a remote store has the clock of its server.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The current instant.
    fn now(&self) -> SystemTime;
}

/// The operating system's clock: the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// Microseconds since 1970, the unit of every instant inside records.
///
/// Micro, not milli: "end all" and a login that begins right after it must differ. 2^53 of them, the most that a
/// Lua number holds exactly, last until the year 2255.
pub(crate) fn micros(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, span_micros)
}

/// The instant of a count of microseconds since 1970.
pub(crate) fn instant(micros: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(micros)
}

/// A duration in microseconds, cut at what fits (584,000 years).
pub(crate) fn span_micros(span: Duration) -> u64 {
    // Not by way of 128 bits, which is slow.
    span.as_secs()
        .saturating_mul(1_000_000)
        .saturating_add(u64::from(span.subsec_micros()))
}

#[cfg(feature = "test-util")]
pub use manual::ManualClock;

#[cfg(feature = "test-util")]
mod manual {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// A clock that stands still until it is moved (feature `test-util`).
    ///
    /// Clones share the same hands. It starts at the real time, so that cookies and headers look as they should.
    ///
    /// ```
    /// use sessile::{Clock, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let before = clock.now();
    /// clock.advance(Duration::from_secs(3600));
    /// assert_eq!(clock.now(), before + Duration::from_secs(3600));
    /// ```
    #[derive(Debug, Clone)]
    pub struct ManualClock(Arc<AtomicU64>);

    impl ManualClock {
        /// A clock that shows the real time of this moment, to the microsecond.
        #[must_use]
        pub fn new() -> Self {
            Self(Arc::new(AtomicU64::new(micros(SystemTime::now()))))
        }

        /// Moves the hands forward.
        pub fn advance(&self, by: Duration) {
            self.0.fetch_add(span_micros(by), Ordering::SeqCst);
        }

        /// Sets the hands, backwards too: a server's clock that was put right.
        pub fn set(&self, to: SystemTime) {
            self.0.store(micros(to), Ordering::SeqCst);
        }
    }

    impl Default for ManualClock {
        fn default() -> Self {
            Self::new()
        }
    }

    impl Clock for ManualClock {
        fn now(&self) -> SystemTime {
            instant(self.0.load(Ordering::SeqCst))
        }
    }
}
