//! When a command is too late.
//!
//! A command that was given up may still be on its way, for minutes. So each that writes carries the last instant, by
//! the server's clock, at which it may be carried out, and changes nothing after it.

use std::time::Duration;

#[cfg(test)]
use super::outage::{Rule, holds};

/// For so long a command may still run after it was sent.
pub(crate) const RUNS_FOR: Duration = Duration::from_secs(5);

/// The last instant of a command that is sent now, by the server's clock, all in microseconds.
#[cfg(any(feature = "redis", test))]
pub(crate) const fn not_after(now: u64) -> u64 {
    now.saturating_add(RUNS_FOR.as_micros() as u64)
}

/// Whether a command comes too late, by the server's clock. The scripts say it in their own words.
#[cfg(test)]
pub(crate) fn is_late(now: u64, not_after: u64) -> bool {
    holds(Rule::NotAfter) && now > not_after
}
