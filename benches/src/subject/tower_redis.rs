//! `tower-sessions` with `tower-sessions-redis-store`, set up as the example of the store's README ("`axum` Example"),
//! with our idle timeout.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tower_sessions_014::cookie::time::Duration;
use tower_sessions_014::{Expiry, Session, SessionManagerLayer};
use tower_sessions_redis_store::RedisStore;
use tower_sessions_redis_store::fred::prelude::*;

use super::{Answer, FAILED, data, plain, user};
use crate::request::Number;

pub(super) async fn router(url: &str) -> Router {
    let config = Config::from_url(url).expect("an address");
    let pool = Pool::new(config, None, None, None, 6).expect("a pool");
    pool.connect();
    pool.wait_for_connect().await.expect("Redis answers");
    let sessions = SessionManagerLayer::new(RedisStore::new(pool))
        .with_secure(false)
        .with_expiry(Expiry::OnInactivity(Duration::minutes(30)));
    Router::new()
        .route("/plain", get(plain))
        .route("/read", get(read))
        .route("/write", get(write))
        .route("/create", get(create))
        .route("/login", get(login))
        .route("/enter", get(enter))
        .route("/last", get(last))
        .route("/me", get(me))
        .layer(sessions)
        .with_state(())
}

async fn read(session: Session) -> Answer {
    match session.get::<String>("data").await {
        Ok(Some(data)) if data.len() == super::DATA_BYTES => Ok("ok"),
        _ => Err(StatusCode::NOT_FOUND),
    }
}

async fn write(session: Session, number: Number) -> Answer {
    session.insert("last", number.0).await.map_err(|_| FAILED)?;
    Ok("ok")
}

async fn create(session: Session) -> Answer {
    session.insert("data", data()).await.map_err(|_| FAILED)?;
    Ok("ok")
}

async fn login(session: Session, number: Number) -> Answer {
    session.cycle_id().await.map_err(|_| FAILED)?;
    session
        .insert("user", user(number.0))
        .await
        .map_err(|_| FAILED)?;
    Ok("ok")
}

async fn enter(session: Session, number: Number) -> Answer {
    session.cycle_id().await.map_err(|_| FAILED)?;
    session.insert("data", data()).await.map_err(|_| FAILED)?;
    session
        .insert("user", user(number.0))
        .await
        .map_err(|_| FAILED)?;
    Ok("ok")
}

async fn last(session: Session) -> String {
    match session.get::<u64>("last").await {
        Ok(Some(number)) => number.to_string(),
        _ => "none".into(),
    }
}

async fn me(session: Session) -> String {
    match session.get("user").await {
        Ok(Some(user)) => user,
        _ => "nobody".into(),
    }
}
