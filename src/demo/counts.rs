//! What became of the demos of this instance.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many demos this instance started, and what became of demos at it, since the layer was built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DemoCounts {
    /// Started.
    pub started: u64,
    /// That came to 100 %.
    pub completed: u64,
    /// That a user brought along when they signed in.
    pub adopted: u64,
    /// That their holder ended; not those that ended by their clock, which nobody watches.
    pub ended: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Tallies {
    pub(super) started: Tally,
    pub(super) completed: Tally,
    pub(crate) adopted: Tally,
    pub(super) ended: Tally,
}

/// A count that only grows.
#[derive(Debug, Default)]
pub(crate) struct Tally(AtomicU64);

impl Tally {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Tallies {
    pub(crate) fn counts(&self) -> DemoCounts {
        DemoCounts {
            started: self.started.get(),
            completed: self.completed.get(),
            adopted: self.adopted.get(),
            ended: self.ended.get(),
        }
    }
}
