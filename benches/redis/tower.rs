//! `tower-sessions` with `tower-sessions-redis-store`, set up as its documentation does, with our idle timeout.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tower_sessions_014::cookie::time::Duration;
use tower_sessions_014::{Expiry, Session, SessionManagerLayer};
use tower_sessions_redis_store::RedisStore;
use tower_sessions_redis_store::fred::prelude::*;

use super::data;

static NUMBER: AtomicU64 = AtomicU64::new(0);

fn next() -> u64 {
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

pub(super) async fn app(url: &str) -> Router {
    let config = Config::from_url(url).expect("an address");
    let pool = Pool::new(config, None, None, None, 6).expect("a pool");
    pool.connect();
    pool.wait_for_connect().await.expect("Redis answers");
    let sessions = SessionManagerLayer::new(RedisStore::new(pool))
        .with_secure(false)
        .with_expiry(Expiry::OnInactivity(Duration::minutes(30)));
    Router::new()
        .route("/plain", get(async || "ok"))
        .route("/create", get(create))
        .route("/read", get(read))
        .route("/write", get(write))
        .layer(sessions)
}

async fn create(session: Session) -> Result<&'static str, StatusCode> {
    session.insert("data", data()).await.map_err(|_| FAILED)?;
    Ok("ok")
}

async fn read(session: Session) -> Result<&'static str, StatusCode> {
    match session.get::<String>("data").await {
        Ok(Some(data)) if data.len() == super::DATA_BYTES => Ok("ok"),
        _ => Err(StatusCode::NOT_FOUND),
    }
}

async fn write(session: Session) -> Result<&'static str, StatusCode> {
    session.insert("last", next()).await.map_err(|_| FAILED)?;
    Ok("ok")
}

const FAILED: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
