//! `tower-sessions` with `tower-sessions-redis-store`, set up as the example of the store's README ("`axum` Example"),
//! with our idle timeout.

use tower_sessions_014::cookie::time::Duration;
use tower_sessions_014::{Expiry, SessionManagerLayer};
use tower_sessions_redis_store::RedisStore;
use tower_sessions_redis_store::fred::prelude::*;

use super::tower_routes::tower_routes;

tower_routes!(tower_sessions_014);

pub(super) async fn router(url: &str) -> Router {
    let config = Config::from_url(url).expect("an address");
    let pool = Pool::new(config, None, None, None, 6).expect("a pool");
    pool.connect();
    pool.wait_for_connect().await.expect("Redis answers");
    let sessions = SessionManagerLayer::new(RedisStore::new(pool))
        .with_secure(false)
        .with_expiry(Expiry::OnInactivity(Duration::minutes(30)));
    routes().layer(sessions).with_state(())
}
