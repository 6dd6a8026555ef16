//! The routes under `/api`.

use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Serialize;

use crate::time::Instant;
use crate::{Server, data, devices, identity};

/// More than a session may hold, so that it is the session's own limit that says what is too much.
const BODY_BYTES: usize = 16 << 20;

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
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn(whole_body))
}

/// Takes in the whole body before anybody answers: a response that leaves while the client still sends costs both of
/// them the connection, and may be lost with it.
async fn whole_body(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match to_bytes(body, BODY_BYTES).await {
        Ok(bytes) => next.run(Request::from_parts(parts, bytes.into())).await,
        Err(_) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
    }
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

async fn health(State(server): State<Arc<Server>>) -> Json<Health> {
    Json(Health {
        backend: "memory",
        mode: "healthy",
        since: Instant(server.since),
    })
}
