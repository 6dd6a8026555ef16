//! `sessile` with its defaults, its store in memory or Redis: the first examples of its documentation.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use sessile::{Key, MemoryStore, RedisStore, Session, SessionLayer, UserSession};

use super::{Answer, FAILED, data, plain, user};
use crate::request::Number;

const DATA: Key<String> = Key::new("data");
const LAST: Key<u64> = Key::new("last");

pub(super) fn router() -> Router {
    with_store(MemoryStore::new())
}

pub(super) async fn over_redis(url: &str) -> Router {
    let store = RedisStore::connect(url).await.expect("an address");
    routes().layer(SessionLayer::new(store)).with_state(())
}

/// With a near cache, which is off by default.
pub(super) async fn near_redis(url: &str) -> Router {
    let store = RedisStore::builder(url).near_cache(10_000).connect().await;
    let layer = SessionLayer::new(store.expect("an address, and a server with tracking"));
    routes().layer(layer).with_state(())
}

/// The routes over a store that the caller watches.
pub fn with_store(store: MemoryStore) -> Router {
    routes().layer(SessionLayer::new(store)).with_state(())
}

/// Those that every store is put around.
pub(super) fn routes() -> Router {
    Router::new()
        .route("/plain", get(plain))
        .route("/read", get(read))
        .route("/write", get(write))
        .route("/create", get(create))
        .route("/login", get(login))
        .route("/enter", get(enter))
        .route("/last", get(last))
        .route("/me", get(me))
}

async fn read(session: Session) -> Answer {
    match session.get(DATA) {
        Ok(Some(data)) if data.len() == super::DATA_BYTES => Ok("ok"),
        _ => Err(StatusCode::NOT_FOUND),
    }
}

async fn write(session: Session, number: Number) -> Answer {
    session.insert(LAST, &number.0).map_err(|_| FAILED)?;
    Ok("ok")
}

async fn create(session: Session) -> Answer {
    session.insert(DATA, &data()).map_err(|_| FAILED)?;
    Ok("ok")
}

async fn login(session: Session, number: Number) -> Answer {
    session.login(user(number.0)).await.map_err(|_| FAILED)?;
    Ok("ok")
}

async fn enter(session: Session, number: Number) -> Answer {
    let login = session.login(user(number.0)).with(DATA, &data());
    login.await.map_err(|_| FAILED)?;
    Ok("ok")
}

async fn last(session: Session) -> String {
    match session.get(LAST) {
        Ok(Some(number)) => number.to_string(),
        _ => "none".into(),
    }
}

async fn me(user: UserSession) -> String {
    user.user_id().to_string()
}
