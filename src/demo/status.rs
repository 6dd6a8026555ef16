//! How far a demo is. Pure.

use std::time::SystemTime;

use super::Industry;
use crate::id::Handle;

/// Whether a demo has come to its end, which does not end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DemoProgress {
    /// Below 100 %.
    Active,
    /// At 100 %. It still takes messages.
    Completed,
}

impl DemoProgress {
    /// Its name in responses: `active`, `completed`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Completed => "completed",
        }
    }
}

/// A demo as its holder is shown it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DemoStatus {
    /// Its public name: it opens nothing.
    pub session_id: Handle,
    /// What it is about.
    pub industry: Industry,
    /// When it was started.
    pub started_at: SystemTime,
    /// When it ends, at the latest.
    pub ends_at: SystemTime,
    /// How many messages it has.
    pub message_count: usize,
    /// How far it is: `min(100, messages / steps * 100)`, not rounded.
    pub progress_percentage: f64,
    /// Whether that is all of it.
    pub status: DemoProgress,
    /// The last message's instant; `None` before the first.
    pub last_interaction: Option<SystemTime>,
}

/// How far a demo of so many steps is after so many messages, in percent.
#[expect(
    clippy::cast_precision_loss,
    reason = "messages are bounded far below 2^52"
)]
pub(super) fn percentage(messages: usize, steps: u32) -> f64 {
    (messages as f64 / f64::from(steps.max(1)) * 100.0).min(100.0)
}

/// Whether that is all of it.
pub(super) fn progress(messages: usize, steps: u32) -> DemoProgress {
    if messages as u64 >= u64::from(steps.max(1)) {
        DemoProgress::Completed
    } else {
        DemoProgress::Active
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_messages_over_steps_and_never_above_all_of_it() {
        for (messages, steps, percent, status) in [
            (0, 6, 0.0, DemoProgress::Active),
            (3, 6, 50.0, DemoProgress::Active),
            (5, 6, 5.0 / 6.0 * 100.0, DemoProgress::Active),
            (6, 6, 100.0, DemoProgress::Completed),
            (9, 6, 100.0, DemoProgress::Completed),
            (1, 3, 1.0 / 3.0 * 100.0, DemoProgress::Active),
            (1, 1, 100.0, DemoProgress::Completed),
        ] {
            assert_eq!(percentage(messages, steps), percent);
            assert_eq!(progress(messages, steps), status);
        }
    }
}
