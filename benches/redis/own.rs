//! `sessile` with its defaults: sessions of users, with activity, limits possible, and an index.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use sessile::{Key, RedisStore, Session, SessionLayer};

use super::data;

const DATA: Key<String> = Key::new("data");
const LAST: Key<u64> = Key::new("last");

static NUMBER: AtomicU64 = AtomicU64::new(0);

fn next() -> u64 {
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

pub(super) async fn app(url: &str) -> Router {
    let store = RedisStore::connect(url).await.expect("an address");
    Router::new()
        .route("/plain", get(async || "ok"))
        .route("/create", get(create))
        .route("/read", get(read))
        .route("/write", get(write))
        .layer(SessionLayer::new(store))
}

async fn create(session: Session) -> Result<&'static str, StatusCode> {
    let user = format!("user-{}", next());
    let login = session.login(user).with(DATA, &data());
    login.await.map_err(|error| error.status())?;
    Ok("ok")
}

async fn read(session: Session) -> Result<&'static str, StatusCode> {
    match session.get(DATA) {
        Ok(Some(data)) if data.len() == super::DATA_BYTES => Ok("ok"),
        _ => Err(StatusCode::NOT_FOUND),
    }
}

async fn write(session: Session) -> Result<&'static str, StatusCode> {
    if session.user().is_none() {
        return Err(StatusCode::NOT_FOUND);
    }
    session
        .insert(LAST, &next())
        .map_err(|error| error.status())?;
    Ok("ok")
}
