//! The routes under `/api`.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Serialize;

use crate::time::Instant;
use crate::{Server, data, demo, devices, figures, identity, live, security};

pub(crate) fn routes() -> Router<Arc<Server>> {
    Router::new()
        .route("/api/ping", get(ping))
        .route("/api/health", get(health))
        .route("/api/session", get(identity::session))
        .route("/api/login", post(identity::login))
        .route("/api/logout", post(identity::logout))
        .route("/api/me", get(identity::me))
        .route("/api/regenerate", post(identity::regenerate))
        .route(
            "/api/data/{key}",
            get(data::read).put(data::write).delete(data::remove),
        )
        .route("/api/count/{key}", post(data::count))
        .route("/api/slow/{key}", post(data::slow))
        .route("/api/fail/{status}", post(data::fail))
        .route("/api/sessions", get(devices::list).delete(devices::end_all))
        .route("/api/sessions/{handle}", delete(devices::end))
        .route("/api/admin/revoke", post(devices::revoke))
        .route("/api/activity", post(security::record))
        .route("/api/security", get(security::look))
        .route("/api/history", get(security::history))
        .route("/api/events", get(live::events))
        .route("/api/figures", get(live::figures))
        .route("/api/stats", get(figures::stats))
        .route("/metrics", get(figures::prometheus))
        .merge(demo::routes())
        // `serve::whole_body` has a limit, which is above the session's own: so that this one is what refuses.
        .layer(DefaultBodyLimit::disable())
}

#[derive(Serialize)]
struct Pong {
    ok: bool,
}

/// Extracts nothing, and so costs no store call.
async fn ping() -> Json<Pong> {
    Json(Pong { ok: true })
}

#[derive(Serialize)]
struct Health {
    backend: &'static str,
    mode: &'static str,
    since: Instant,
}

/// How the store does, as it is known here: at once, also while it is away.
async fn health(State(server): State<Arc<Server>>) -> Json<Health> {
    let health = server.backend.health();
    Json(Health {
        backend: server.backend.name(),
        mode: health.mode.as_str(),
        since: Instant(health.since),
    })
}
