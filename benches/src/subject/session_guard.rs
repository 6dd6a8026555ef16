//! `session-guard`, set up as its README ("Quick start") does, with its `MemoryStore` or its `ValkeyStore`.
//!
//! It says who is signed in, and keeps no data ("Scope": "any per-session payload" is the application's): it has no
//! function for read, write and create, and a request without a cookie is refused by its layer. What is left is a
//! session that is looked at, which it does with each request ("not used"), and the login.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use session_guard::{
    AuthSession, Guard, GuardConfig, MemoryStore, NewSession, SessionStore, Sessions, ValkeyStore,
};

use super::{plain, user};
use crate::request::Number;
use crate::row::Row;

pub(super) const LACKS: &[Row] = &[Row::NoCookie, Row::Read, Row::Write, Row::Create];

pub(super) fn in_memory() -> Router {
    routes(
        Guard::builder(MemoryStore::new(), GuardConfig::default())
            .subject::<String>()
            .build(),
    )
}

/// The routes around a guard that the caller watches.
pub fn with_guard(guard: Guard<MemoryStore, String>) -> Router {
    routes(guard)
}

pub(super) async fn over_redis(url: &str) -> Router {
    let store = ValkeyStore::connect(url).await.expect("Redis answers");
    routes(
        Guard::builder(store, GuardConfig::default())
            .subject::<String>()
            .build(),
    )
}

fn routes<S: SessionStore>(guard: Guard<S, String>) -> Router {
    Router::new()
        .route("/plain", get(plain))
        .route("/read", get(read))
        .route("/me", get(me))
        .layer(guard.layer())
        // Outside the layer, as its documentation has it.
        .route("/login", get(login::<S>))
        .route("/enter", get(login::<S>))
        .with_state(guard)
}

/// Only to see whether the session is there: it has no data.
async fn read(_: AuthSession<String>) -> &'static str {
    "ok"
}

async fn me(session: AuthSession<String>) -> String {
    session.subject
}

async fn login<S: SessionStore>(
    sessions: Sessions<S, String>,
    number: Number,
) -> Result<(NewSession, &'static str), StatusCode> {
    let session = sessions
        .login(&user(number.0))
        .await
        .map_err(|_| super::FAILED)?;
    Ok((session, "ok"))
}
