//! Figures: how many sessions there are, how the store does, and what has happened here.

mod latency;
#[cfg(feature = "metrics")]
pub(crate) mod meter;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

pub(crate) use latency::Latencies;
pub use latency::Latency;

use crate::demo::DemoCounts;
use crate::policy::Policy;
use crate::record::EndReason;
use crate::session::{Area, Finish};
use crate::sessions::Sessions;
use crate::store::{Connections, Counts, Health, Mode, NearCounts};

/// A count that is younger is not made again.
pub(crate) const COUNTED_EVERY: Duration = Duration::from_secs(5);
/// So long the figures wait for a count that is under way.
const PATIENCE: Duration = Duration::from_millis(250);

/// The figures of a layer: from [`Sessions::stats`].
///
/// With the feature `metrics` they go to the [`metrics`](https://docs.rs/metrics) facade as well, of all layers of the
/// process together. Gauges are set when [`Sessions::stats`] is called, so call it where figures are collected.
///
/// | name | kind | labels | |
/// |---|---|---|---|
/// | `sessile_events_total` | counter | `event`, `reason` | the events of [`event`](crate::event); the reason of an end, the mode, the level of a risk |
/// | `sessile_store_call_seconds` | histogram | `outcome`: `ok`, `failed` | how long calls of a remote store take |
/// | `sessile_live_sessions` | gauge | `kind`: `user`, `demo` | live sessions of all instances |
/// | `sessile_live_sessions_age_seconds` | gauge | | how old that figure is |
/// | `sessile_mode` | gauge | `mode`: `healthy`, `recovering`, `degraded` | 1 for the mode of the store, 0 for the others |
/// | `sessile_leases` | gauge | | sessions that could be served without the store |
/// | `sessile_local_sessions` | gauge | | sessions that were made here and are not in the store yet |
/// | `sessile_outage_memory_bytes` | gauge | | what these take |
/// | `sessile_pending` | gauge | | ends, and sessions with writes, that have to reach the store yet |
/// | `sessile_watched_sessions` | gauge | | sessions whose end somebody waits for |
/// | `sessile_store_connections`, `sessile_store_connections_idle` | gauge | | connections to the store |
/// | `sessile_near_hits`, `sessile_near_misses`, `sessile_near_invalidations` | gauge | | what became of reads that may be answered by a near cache, and of its copies, since the store was made |
/// | `sessile_near_entries`, `sessile_near_bytes` | gauge | | copies in it, and what they take |
///
/// No label holds an id, a digest, a handle or a user.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Stats {
    /// When they were taken, by the store's clock.
    pub at: SystemTime,
    /// The live sessions of all instances, and when they were counted; `None`: not yet, or the store is away and never
    /// was counted here.
    pub live: Option<Counts>,
    /// How often each event happened at this instance since the layer was built, by its [name](crate::event): exact, floods too.
    pub events: Vec<(&'static str, u64)>,
    /// How many sessions this instance ended, for each reason; demos aside.
    pub ended: Vec<(EndReason, u64)>,
    /// What became of the demos of this instance: the same as [`Sessions::demo_counts`].
    pub demos: DemoCounts,
    /// How the store does, and what is in memory for it.
    pub health: Health,
    /// How long calls of the store take; `None`: it is in this process, or nobody asked it within 20 seconds.
    pub latency: Option<Latency>,
    /// Connections to the store; `None`: it has none.
    pub connections: Option<Connections>,
    /// How the near cache does; `None`: there is none.
    pub near: Option<NearCounts>,
    /// For how many sessions somebody [waits for the end](crate::Session::ended).
    pub watched: usize,
    /// Timeouts and limit in force.
    pub policy: Policy,
}

impl Stats {
    /// How often an event happened at this instance: see the names in [`event`](crate::event).
    #[must_use]
    pub fn count(&self, event: &str) -> u64 {
        let found = self.events.iter().find(|(name, _)| *name == event);
        found.map_or(0, |(_, count)| *count)
    }

    /// How many sessions this instance ended for a reason.
    #[must_use]
    pub fn ended_for(&self, reason: EndReason) -> u64 {
        let found = self.ended.iter().find(|(known, _)| *known == reason);
        found.map_or(0, |(_, count)| *count)
    }
}

impl Sessions {
    /// The figures. With the feature `metrics`, those that are gauges are set by this.
    ///
    /// Nothing of it waits for longer than a quarter of a second, and nothing waits for a store that is away. What is
    /// in this process is counted exactly. Live sessions in a remote store are counted by one instance at a time, in small
    /// steps and in the background, when figures are asked for and the last count is older than five seconds, and than
    /// twenty times what it took: [`Counts::at`] says when. One store call, or none.
    pub async fn stats(&self) -> Stats {
        let area = self.area();
        let live = area.live_sessions().await;
        let stats = Stats {
            at: area.store.now(),
            live,
            events: area.events.counts().collect(),
            ended: area.events.ends().collect(),
            demos: self.demo_counts(),
            health: area.health(),
            latency: area.store.latency(),
            connections: area.store.connections(),
            near: area.store.near_counts(),
            watched: area.ends.count(),
            policy: area.policy(),
        };
        #[cfg(feature = "metrics")]
        meter::gauges(&stats);
        stats
    }
}

/// The last count, and whether one is under way.
#[derive(Debug, Default)]
pub(crate) struct Census {
    last: Mutex<Option<Counts>>,
    counting: AtomicBool,
}

impl Census {
    fn last(&self) -> Option<Counts> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A count that is under way, until this is dropped.
struct Counting(Arc<Area>);

impl Drop for Counting {
    fn drop(&mut self) {
        self.0.census.counting.store(false, Ordering::Release);
    }
}

impl Area {
    async fn live_sessions(self: &Arc<Self>) -> Option<Counts> {
        if self.store.outage(self.kind).is_none() {
            return self.store.counts().await.ok().flatten();
        }
        let last = self.census.last();
        let is_fresh = last.is_some_and(|last| last.is_fresh(self.store.now(), COUNTED_EVERY));
        if is_fresh
            || self.health().mode == Mode::Degraded
            || self.census.counting.swap(true, Ordering::AcqRel)
        {
            return last;
        }
        let counting = Counting(Arc::clone(self));
        let count = Finish::new(async move {
            let area = &counting.0;
            if let Ok(Some(counts)) = area.store.counts().await {
                let mut last = area
                    .census
                    .last
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                *last = Some(counts);
            }
        });
        // It goes on if it takes longer.
        let _ = tokio::time::timeout(PATIENCE, count).await;
        self.census.last()
    }
}
