//! What became of the demos of this instance.

use crate::event::Hub;

/// How many demos this instance started, and what became of demos at it, since the layer was built: how often each of
/// their [events](crate::event) was told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DemoCounts {
    /// Started.
    pub started: u64,
    /// That came to 100 %.
    pub completed: u64,
    /// That a user brought along when they signed in.
    pub adopted: u64,
    /// That their holder ended, or nobody got the cookie of; not those that ended by their clock, which nobody watches.
    pub ended: u64,
}

impl DemoCounts {
    pub(crate) fn of(events: &Hub) -> Self {
        Self {
            started: events.count("demo_started"),
            completed: events.count("demo_completed"),
            adopted: events.count("demo_adopted"),
            ended: events.count("demo_ended"),
        }
    }
}
