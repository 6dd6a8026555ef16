//! Figures of a store.

use std::time::{Duration, SystemTime};

use crate::id::Kind;

/// How many live sessions there are of each kind, and when they were counted: none that ended, or is over by its clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Users' sessions, and strangers'.
    pub user: u64,
    /// Demo sessions.
    pub demo: u64,
    /// When they were counted.
    pub at: SystemTime,
    /// How long that took.
    pub took: Duration,
}

/// Connections to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// How many there are.
    pub open: u32,
    /// How many of them nobody has just now. They are shared: one that is lent out is given back at once.
    pub idle: u32,
    /// How many there may be.
    pub most: u32,
}

/// Figures of a near cache, since its store was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct NearCounts {
    /// How many reads it answered.
    pub hits: u64,
    /// How many it could not answer, though they asked it.
    pub misses: u64,
    /// How many copies, and reads under way, it dropped because the session had changed, here or elsewhere.
    pub invalidations: u64,
    /// How many copies there are now.
    pub entries: usize,
    /// What they take, in bytes.
    pub bytes: usize,
}

impl Counts {
    /// How many of this kind.
    #[must_use]
    pub const fn of(&self, kind: Kind) -> u64 {
        match kind {
            Kind::User => self.user,
            Kind::Demo => self.demo,
        }
    }

    /// Whether they need not be counted again: what takes long is done seldom.
    pub(crate) fn is_fresh(&self, now: SystemTime, oldest: Duration) -> bool {
        let age = now.duration_since(self.at).unwrap_or_default();
        age < oldest.max(20 * self.took)
    }

    #[cfg(feature = "redis")]
    pub(crate) fn to_text(self) -> String {
        let (at, took) = (
            crate::clock::micros(self.at),
            crate::clock::span_micros(self.took),
        );
        format!("{at} {} {} {took}", self.user, self.demo)
    }

    #[cfg(feature = "redis")]
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let mut numbers = text.split(' ').map(|number| number.parse::<u64>().ok());
        let at = numbers.next()??;
        let (user, demo, took) = (numbers.next()??, numbers.next()??, numbers.next()??);
        (at <= 1 << 53).then(|| Self {
            user,
            demo,
            at: crate::clock::instant(at),
            took: Duration::from_micros(took.min(1 << 40)),
        })
    }
}
