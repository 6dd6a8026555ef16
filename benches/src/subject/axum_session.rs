//! `axum_session`, set up as its README ("Example Default Setup") and its examples do: in memory
//! `examples/session_null_pool.rs`, over Redis `examples/redis.rs` with `axum_session_redispool`.
//!
//! It makes a session for every request that has none, sets its cookie with every response, and over Redis serves what
//! it has read once from its own memory for an hour, without looking whether another instance has changed it.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use axum_session::{
    DatabasePool, Session, SessionConfig, SessionLayer, SessionNullPool, SessionStore,
};
use axum_session_redispool::SessionRedisPool;
use redis_pool::RedisPool;

use super::{Answer, DATA_BYTES, data, plain, user};
use crate::request::Number;

pub(super) async fn in_memory() -> Router {
    with_config(SessionConfig::default()).await
}

/// In memory, with settings of the caller's.
pub async fn with_config(config: SessionConfig) -> Router {
    let store = SessionStore::<SessionNullPool>::new(None, config)
        .await
        .expect("it needs nothing");
    routes::<SessionNullPool>()
        .layer(SessionLayer::new(store))
        .with_state(())
}

pub(super) async fn over_redis(url: &str) -> Router {
    let client = redis::Client::open(url).expect("an address");
    let pool = RedisPool::from(client);
    let store = SessionStore::<SessionRedisPool>::new(Some(pool.into()), SessionConfig::default())
        .await
        .expect("Redis answers");
    routes::<SessionRedisPool>()
        .layer(SessionLayer::new(store))
        .with_state(())
}

fn routes<P>() -> Router
where
    P: DatabasePool + Clone + std::fmt::Debug + Sync + Send + 'static,
{
    Router::new()
        .route("/plain", get(plain))
        .route("/read", get(read::<P>))
        .route("/write", get(write::<P>))
        .route("/create", get(create::<P>))
        .route("/login", get(login::<P>))
        .route("/enter", get(enter::<P>))
        .route("/last", get(last::<P>))
        .route("/me", get(me::<P>))
}

trait Pool: DatabasePool + Clone + std::fmt::Debug + Sync + Send + 'static {}

impl<P: DatabasePool + Clone + std::fmt::Debug + Sync + Send + 'static> Pool for P {}

async fn read<P: Pool>(session: Session<P>) -> Answer {
    match session.get::<String>("data") {
        Some(data) if data.len() == DATA_BYTES => Ok("ok"),
        _ => Err(StatusCode::NOT_FOUND),
    }
}

async fn write<P: Pool>(session: Session<P>, number: Number) -> Answer {
    session.set("last", number.0);
    Ok("ok")
}

async fn create<P: Pool>(session: Session<P>) -> Answer {
    session.set("data", data());
    Ok("ok")
}

async fn login<P: Pool>(session: Session<P>, number: Number) -> Answer {
    session.renew();
    session.set("user", user(number.0));
    Ok("ok")
}

async fn enter<P: Pool>(session: Session<P>, number: Number) -> Answer {
    session.renew();
    session.set("data", data());
    session.set("user", user(number.0));
    Ok("ok")
}

async fn last<P: Pool>(session: Session<P>) -> String {
    match session.get::<u64>("last") {
        Some(number) => number.to_string(),
        None => "none".into(),
    }
}

async fn me<P: Pool>(session: Session<P>) -> String {
    session.get("user").unwrap_or_else(|| "nobody".into())
}
