//! The same figures for the `metrics` facade.

use std::time::Duration;

use metrics::{counter, gauge, histogram};

use super::Stats;
use crate::event::EventKind;
use crate::id::Kind;
use crate::store::Mode;

/// Something happened, so often.
pub(crate) fn event(kind: &EventKind, count: u64) {
    let reason = match kind {
        EventKind::Ended(reason) | EventKind::DemoEnded(reason) => reason.as_str(),
        EventKind::NotPromoted { reason } | EventKind::WriteLost { reason } => reason,
        EventKind::Mode { mode, .. } => mode.as_str(),
        EventKind::Risk { risk, .. } => risk.level.as_str(),
        _ => "",
    };
    counter!("sessile_events_total", "event" => kind.as_str(), "reason" => reason).increment(count);
}

/// A call of a remote store was answered, or not.
pub(crate) fn call(took: Duration, is_ok: bool) {
    let outcome = if is_ok { "ok" } else { "failed" };
    histogram!("sessile_store_call_seconds", "outcome" => outcome).record(took.as_secs_f64());
}

#[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub(super) fn gauges(stats: &Stats) {
    let set = |name: &'static str, value: u64| gauge!(name).set(value as f64);
    if let Some(live) = stats.live {
        for kind in [Kind::User, Kind::Demo] {
            let name = if kind == Kind::User { "user" } else { "demo" };
            gauge!("sessile_live_sessions", "kind" => name).set(live.of(kind) as f64);
        }
        let age = stats.at.duration_since(live.at).unwrap_or_default();
        gauge!("sessile_live_sessions_age_seconds").set(age.as_secs_f64());
    }
    for mode in [Mode::Healthy, Mode::Recovering, Mode::Degraded] {
        let is = f64::from(u8::from(stats.health.mode == mode));
        gauge!("sessile_mode", "mode" => mode.as_str()).set(is);
    }
    set("sessile_leases", stats.health.leases as u64);
    set("sessile_local_sessions", stats.health.local as u64);
    set("sessile_outage_memory_bytes", stats.health.memory as u64);
    set("sessile_pending", stats.health.pending as u64);
    set("sessile_watched_sessions", stats.watched as u64);
    if let Some(near) = stats.near {
        set("sessile_near_hits", near.hits);
        set("sessile_near_misses", near.misses);
        set("sessile_near_invalidations", near.invalidations);
        set("sessile_near_entries", near.entries as u64);
        set("sessile_near_bytes", near.bytes as u64);
    }
    if let Some(connections) = stats.connections {
        set("sessile_store_connections", connections.open.into());
        set("sessile_store_connections_idle", connections.idle.into());
    }
}
