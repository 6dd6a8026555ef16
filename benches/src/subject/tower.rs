//! `tower-sessions` with its store in memory, set up as the first example of its crate documentation ("Usage") and of
//! its README ("Usage", "`axum` Example"), with our idle timeout.

use tower_sessions::cookie::time::Duration;
use tower_sessions::{Expiry, MemoryStore, SessionManagerLayer};

use super::tower_routes::tower_routes;

tower_routes!(tower_sessions);

pub(super) fn router() -> Router {
    let sessions = SessionManagerLayer::new(MemoryStore::default())
        .with_expiry(Expiry::OnInactivity(Duration::minutes(30)));
    routes().layer(sessions).with_state(())
}
