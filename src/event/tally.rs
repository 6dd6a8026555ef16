//! Counting what may come in floods.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::clock::{micros, span_micros};

/// One line of a kind a minute is enough: a flood of bad ids or failures must not become a flood of lines.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Counts what may come in floods, and says when it is time to tell how many there were.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    untold: AtomicU64,
    told_at: AtomicU64,
}

impl Tally {
    /// One more; with how many there were since it was last told, if it is time to tell.
    pub(crate) fn add(&self, now: SystemTime) -> Option<u64> {
        self.untold.fetch_add(1, Ordering::Relaxed);
        let (now, told) = (micros(now), self.told_at.load(Ordering::Relaxed));
        let is_time = now.saturating_sub(told) >= span_micros(TOLD_EVERY)
            && self
                .told_at
                .compare_exchange(told, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        is_time.then(|| self.untold.swap(0, Ordering::Relaxed))
    }

    /// How many are counted and not told.
    pub(crate) fn untold(&self) -> u64 {
        self.untold.load(Ordering::Relaxed)
    }
}
