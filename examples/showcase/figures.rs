//! Figures: for programs as JSON, for Prometheus as text.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use serde::Serialize;
use sessile::store::AtLimit;
use sessile::{LimitPolicy, Policy, Stats};

use crate::Server;
use crate::backend::Backend;
use crate::time::Instant;

#[derive(Serialize)]
pub(crate) struct Figures {
    at: Instant,
    backend: &'static str,
    mode: &'static str,
    since: Instant,
    /// Live sessions by kind; null until they were counted.
    live: Option<Live>,
    /// How many of them are in Redis; null where there is none.
    redis: Option<u64>,
    leased: usize,
    local: usize,
    pending: usize,
    watched: usize,
    pool: Option<Pool>,
    /// Null where there is no near cache.
    near: Option<Near>,
    latency: Option<Latency>,
    events: BTreeMap<&'static str, u64>,
    ended: BTreeMap<&'static str, u64>,
    demos: Demos,
    policy: InForce,
}

#[derive(Serialize)]
struct Live {
    user: u64,
    demo: u64,
    counted_at: Instant,
}

#[derive(Serialize)]
struct Demos {
    started: u64,
    completed: u64,
    adopted: u64,
    ended: u64,
}

#[derive(Serialize)]
struct Pool {
    open: u32,
    idle: u32,
    most: u32,
}

#[derive(Serialize)]
struct Near {
    hits: u64,
    misses: u64,
    invalidations: u64,
    entries: usize,
}

#[derive(Serialize)]
struct Latency {
    calls: u64,
    median_us: u128,
    p99_us: u128,
}

#[derive(Serialize)]
struct InForce {
    idle_seconds: f64,
    absolute_seconds: f64,
    limit: Option<u32>,
    at_limit: Option<&'static str>,
    in_words: String,
}

impl Figures {
    pub(crate) async fn take(backend: &Backend) -> Self {
        Self::new(backend, backend.stats().await)
    }

    fn new(backend: &Backend, stats: Stats) -> Self {
        let total = stats.live.map(|live| live.user + live.demo);
        Self {
            at: Instant(stats.at),
            backend: backend.name(),
            mode: stats.health.mode.as_str(),
            since: Instant(stats.health.since),
            live: stats.live.map(|live| Live {
                user: live.user,
                demo: live.demo,
                counted_at: Instant(live.at),
            }),
            redis: total.filter(|_| backend.name() == "redis"),
            leased: stats.health.leases,
            local: stats.health.local,
            pending: stats.health.pending,
            watched: stats.watched,
            pool: stats.connections.map(|pool| Pool {
                open: pool.open,
                idle: pool.idle,
                most: pool.most,
            }),
            near: stats.near.map(|near| Near {
                hits: near.hits,
                misses: near.misses,
                invalidations: near.invalidations,
                entries: near.entries,
            }),
            latency: stats.latency.map(|latency| Latency {
                calls: latency.calls,
                median_us: latency.median.as_micros(),
                p99_us: latency.p99.as_micros(),
            }),
            events: stats.events.into_iter().collect(),
            ended: stats
                .ended
                .into_iter()
                .map(|(reason, n)| (reason.as_str(), n))
                .collect(),
            demos: Demos {
                started: stats.demos.started,
                completed: stats.demos.completed,
                adopted: stats.demos.adopted,
                ended: stats.demos.ended,
            },
            policy: in_force(&stats.policy),
        }
    }
}

fn in_force(policy: &Policy) -> InForce {
    let (limit, at_limit) = match policy.limit {
        LimitPolicy::Fixed(limit, AtLimit::EndOldest) => (Some(limit), Some("end-oldest")),
        LimitPolicy::Fixed(limit, AtLimit::Refuse) => (Some(limit), Some("refuse")),
        _ => (None, None),
    };
    InForce {
        idle_seconds: policy.idle_timeout.as_secs_f64(),
        absolute_seconds: policy.absolute_timeout.as_secs_f64(),
        limit,
        at_limit,
        in_words: policy.describe(),
    }
}

pub(crate) async fn stats(State(server): State<Arc<Server>>) -> Json<Figures> {
    Json(Figures::take(&server.backend).await)
}

/// Where sessile's figures are collected for Prometheus.
pub(crate) fn collect() -> Result<PrometheusHandle, BuildError> {
    PrometheusBuilder::new().install_recorder()
}

/// Asking for the figures sets the gauges.
pub(crate) async fn prometheus(State(server): State<Arc<Server>>) -> impl IntoResponse {
    server.backend.stats().await;
    server.metrics.run_upkeep();
    let text = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, text)], server.metrics.render())
}
