//! Requests: what a hot session costs, and what reads from Redis all the same.

use axum::Router;
use axum::routing::{get, post};
use http::StatusCode;

use sessile::store::wrappers::{Call, Spy};
use sessile::{
    Error, Fresh, Live, ManualClock, Outage, RedisStore, Session, SessionLayer, SessionStore,
    UserSession,
};

use super::fixture::{gone_since, near, two};
use crate::ages::planted;
use crate::harness::{CART, Client, HITS, MINUTE, TOUCH, app, routes, with};
use crate::stores::key_of;
use crate::support::monitor::Calls;
use crate::support::redis::Server;
use crate::support::wait::wait_until;

const SECOND: std::time::Duration = std::time::Duration::from_secs(1);

fn gets(calls: &Calls) -> u64 {
    calls.clients.get("GET").copied().unwrap_or(0)
}

/// Asks until a copy has answered.
async fn warmed(store: &RedisStore, client: &mut Client) {
    let hits = || store.near_counts().unwrap().hits;
    let before = hits();
    wait_until("a copy answers", async || {
        assert_eq!(client.get("/me").await.status, StatusCode::OK);
        hits() > before
    })
    .await;
}

#[tokio::test]
async fn a_hot_session_costs_no_command() {
    let server = Server::start();
    let store = near(&server.url()).await;
    let mut alice = Client::signed_in(&app(store.clone()), "alice").await;
    let mut monitor = server.monitor();
    warmed(&store, &mut alice).await;
    monitor.take();
    let before = store.near_counts().unwrap();
    for _ in 0..200 {
        let reply = alice.get("/me").await;
        assert_eq!((reply.status, &*reply.body), (StatusCode::OK, "alice"));
    }
    let (calls, counts) = (monitor.take(), store.near_counts().unwrap());
    let (hits, misses) = (counts.hits - before.hits, counts.misses - before.misses);
    assert_eq!(hits + misses, 200);
    // One that no sign of life vouched for in time was read.
    assert_eq!(gets(&calls), misses);
    assert!(hits > 0);
    let calls = calls.without_heartbeat().without(&["GET"]);
    assert_eq!(calls, Calls::default());
}

#[tokio::test]
async fn the_figures_say_what_it_does() {
    let server = Server::start();
    let store = near(&server.url()).await;
    let app = Router::new()
        .route(
            "/near",
            get(async |sessions: sessile::Sessions| {
                let near = sessions.stats().await.near.unwrap();
                format!("{} {}", near.hits > 0, near.entries)
            }),
        )
        .merge(routes())
        .layer(SessionLayer::new(store.clone()));
    let mut alice = Client::signed_in(&app, "alice").await;
    warmed(&store, &mut alice).await;
    assert_eq!(alice.get("/near").await.body, "true 1");
}

/// What reads from the store, of a session that a copy is there of.
#[tokio::test]
async fn what_must_not_be_a_copy_is_read() {
    async fn twice(_: Session, Live(user): Live<UserSession>) -> String {
        user.user_id().to_string()
    }
    async fn by_hand(session: Session) -> Result<&'static str, Error> {
        session.must_be_live().await?;
        session.must_be_live().await?;
        Ok("live")
    }
    async fn count(session: Session) -> Result<String, Error> {
        let hits = session.update(HITS, |hits| hits.unwrap_or(0) + 1).await?;
        Ok(hits.to_string())
    }
    let server = Server::start();
    let store = near(&server.url()).await;
    let spy = Spy::new(store.clone());
    let app = Router::new()
        .route("/live", get(async |_: Live<UserSession>| "live"))
        .route("/twice", get(twice))
        .route("/by-hand", get(by_hand))
        .route("/fresh-300", get(async |_: Fresh<300>| "fresh"))
        .route("/count", get(count))
        .route(
            "/in",
            get(async |session: Session| session.login("alice").keep(CART).await.map(drop)),
        )
        .route(
            "/again",
            get(async |session: Session| session.regenerate_id().await),
        )
        .route("/post", post(async |_: UserSession| "posted"))
        .merge(routes())
        .layer(SessionLayer::new(spy.clone()));
    let mut alice = Client::signed_in(&app, "alice").await;
    for (method, path) in [
        ("GET", "/live"),
        ("GET", "/twice"),
        ("GET", "/by-hand"),
        ("GET", "/fresh-300"),
        ("GET", "/count"),
        ("GET", "/again"),
        ("GET", "/in"),
        ("POST", "/post"),
        ("POST", "/put/a/b"),
    ] {
        warmed(&store, &mut alice).await;
        spy.take();
        let reply = alice.send(alice.request(method, path)).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}");
        let calls = spy.take();
        let loads = calls.iter().filter(|call| **call == Call::Load).count();
        assert_eq!(loads, 1, "{path}: {calls:?}");
    }
}

#[tokio::test]
async fn inv02_what_was_ended_elsewhere_is_not_live() {
    async fn decided(session: Session, _: UserSession) -> Result<&'static str, Error> {
        session.must_be_live().await?;
        Ok("decided")
    }
    let (_server, a, b) = two().await;
    let app = Router::new()
        .route("/live", get(async |_: Live<UserSession>| "live"))
        .route(
            "/twice",
            get(async |_: Session, _: Live<UserSession>| "live"),
        )
        .route("/decided", get(decided))
        .merge(routes())
        .layer(SessionLayer::new(a.clone()));
    for path in ["/live", "/twice", "/decided", "/count/x"] {
        for _ in 0..20 {
            let mut alice = Client::signed_in(&app, "alice").await;
            warmed(&a, &mut alice).await;
            let key = key_of(alice.id().unwrap());
            let scope = sessile::store::EndScope::One(key, None);
            b.end(super::fixture::end(scope)).await.unwrap();
            // Whether Redis has told of it yet or not.
            let method = if path == "/count/x" { "POST" } else { "GET" };
            let reply = alice.send(alice.request(method, path)).await;
            let expected = match path {
                // A stranger's, who has nothing to lose.
                "/count/x" => StatusCode::OK,
                _ => StatusCode::UNAUTHORIZED,
            };
            assert_eq!(reply.status, expected, "{path}: {}", reply.body);
        }
    }
}

#[tokio::test]
async fn a_logout_here_is_seen_by_the_next_request() {
    let (_server, a, b) = two().await;
    let (here, elsewhere) = (app(a.clone()), app(b.clone()));
    for _ in 0..20 {
        let mut alice = Client::signed_in(&here, "alice").await;
        warmed(&a, &mut alice).await;
        let mut thief = Client::holding(&here, alice.id().unwrap());
        let mut other = Client::holding(&elsewhere, alice.id().unwrap());
        warmed(&b, &mut other).await;
        let key = key_of(alice.id().unwrap());
        assert_eq!(alice.post("/logout").await.body, "committed");
        assert_eq!(thief.get("/me").await.status, StatusCode::UNAUTHORIZED);
        gone_since(&b, &key, std::time::Instant::now()).await;
        assert_eq!(other.get("/me").await.status, StatusCode::UNAUTHORIZED);
    }
}

/// The lease of a session that is read from copies alone is as old as what vouched for them.
#[tokio::test]
async fn a_session_that_copies_serve_has_its_lease() {
    let mut server = Server::start();
    let store = near(&server.url()).await;
    let clock = ManualClock::new();
    let builder = SessionLayer::builder(store.clone())
        .outage(Outage::Lease(MINUTE))
        .outage_clock(clock.clone());
    let mut alice = Client::signed_in(&with(builder), "alice").await;
    for _ in 0..3 {
        warmed(&store, &mut alice).await;
        clock.advance(50 * SECOND);
    }
    server.kill();
    let key = key_of(alice.id().unwrap());
    gone_since(&store, &key, std::time::Instant::now()).await;
    let reply = alice.get("/me").await;
    assert_eq!((reply.status, &*reply.body), (StatusCode::OK, "alice"));
    clock.advance(11 * SECOND);
    let reply = alice.get("/me").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn inv06_activity_that_a_copy_answers_is_written_down() {
    let server = Server::start();
    let store = near(&server.url()).await;
    let app = app(store.clone());
    let mut alice = planted(&app, &store, "alice", |new| {
        new.created_at -= 5 * MINUTE;
        new.seen.at = new.created_at;
    })
    .await;
    let key = key_of(alice.id().unwrap());
    super::fixture::warm(&store, &key).await;
    let before = store.near_counts().unwrap();
    let asked = store.now();
    assert_eq!(alice.get("/me").await.status, StatusCode::OK);
    assert_eq!(store.near_counts().unwrap().hits, before.hits + 1);
    let Some(sessile::record::Entry::Live(record)) = store.load(key).await.unwrap() else {
        panic!("it is live")
    };
    assert!(record.seen_at() + TOUCH > asked, "the touch is stored");
}
