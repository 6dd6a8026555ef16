//! A whole program: `cargo run --example quickstart`, then
//!
//! ```text
//! curl -c jar -b jar -d alice http://127.0.0.1:3000/login
//! curl -c jar -b jar http://127.0.0.1:3000/me
//! ```
//!
//! (The cookie is `Secure`: curl and most browsers keep it without https for this machine only, Safari never.)

use axum::{Router, routing::get, routing::post};
use sessile::{Error, Key, MemoryStore, Session, SessionLayer, UserSession};

const VISITS: Key<i64> = Key::new("visits");

/// Your own check of a password goes before this. Stored when it returns: a new id, and the old one is dead.
async fn login(session: Session, name: String) -> Result<String, Error> {
    let user = session.login(name).keep(VISITS).await?;
    Ok(format!("welcome, {}\n", user.user_id()))
}

/// Whoever is not signed in gets 401 from the extractor, with the reason where a session ended.
async fn me(user: UserSession) -> Result<String, Error> {
    let visits = user.increment(VISITS, 1).await?;
    Ok(format!("hello {}, visit {visits}\n", user.user_id()))
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let app = Router::new()
        .route("/login", post(login))
        .route("/me", get(me))
        .layer(SessionLayer::new(MemoryStore::new()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app).await
}
