//! How long a request waits for its store, all its calls together: by a clock that stands still while nobody waits.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::post;
use http::{Request, header};
use sessile::store::wrappers::{Call, Slow, Spy};
use sessile::{Error, LegacyIds, MemoryStore, RedisStore, Session, SessionLayer, SessionStore};
use tokio::time::{Instant, sleep};
use tower::ServiceExt as _;

use crate::harness::{Client, HITS};
use crate::support::Server;

/// What each call takes, and all of a request's may: two go, and a half.
const DELAY: Duration = Duration::from_millis(100);
const BUDGET: Duration = Duration::from_millis(250);
/// By which timers are late.
const TICK: Duration = Duration::from_millis(3);

struct Slowly {
    app: Router,
    spy: Spy<MemoryStore>,
    client: Client,
}

impl Slowly {
    /// A stranger with a session, over a store that is not slow yet.
    async fn start() -> Self {
        let spy = Spy::new(MemoryStore::new());
        let slow = Slow::new(spy.clone(), DELAY).with_deadline(BUDGET);
        let layer = |store: Slow<Spy<MemoryStore>>| SessionLayer::new(store);
        let mut client = Client::new(&pages(layer(Slow::new(spy.clone(), Duration::ZERO))));
        client.post("/first").await.ok();
        let app = pages(layer(slow));
        let client = Client::holding(&app, client.id().unwrap());
        Self { app, spy, client }
    }

    /// The status, and how long it took beside what the handler did.
    async fn takes(&mut self, path: &str) -> (u16, Duration) {
        self.spy.take();
        let began = Instant::now();
        let status = self.client.post(path).await.status.as_u16();
        (status, began.elapsed())
    }
}

fn pages(layer: SessionLayer) -> Router {
    Router::new()
        .route(
            "/first",
            post(async |session: Session| session.insert(HITS, &0)),
        )
        .route(
            "/add/once",
            post(async |session: Session| session.increment(HITS, 1).await.map(drop)),
        )
        .route(
            "/add/twice",
            post(async |session: Session| {
                session.increment(HITS, 1).await?;
                sleep(Duration::from_secs(60)).await;
                session.increment(HITS, 1).await.map(drop)
            }),
        )
        .route(
            "/update/thrice",
            post(async |session: Session| {
                for _ in 0..3 {
                    session.update(HITS, |hits| hits.unwrap_or(0) + 1).await?;
                }
                Ok::<_, Error>(())
            }),
        )
        .route(
            "/login",
            post(async |session: Session| session.login("alice").await.map(drop)),
        )
        .layer(layer)
}

#[tokio::test(start_paused = true)]
async fn f16_what_a_request_has_waited_is_not_there_for_its_next_call() {
    let mut slowly = Slowly::start().await;
    let (status, took) = slowly.takes("/add/once").await;
    assert_eq!(status, 200);
    assert!(took < 2 * DELAY + TICK, "{took:?}");
    // The third call is cut short; the minute in between is the handler's.
    let (status, took) = slowly.takes("/add/twice").await;
    assert_eq!(status, 503);
    let waited = took - Duration::from_secs(60);
    assert!(waited < BUDGET + TICK, "{waited:?}");
    assert_eq!(slowly.spy.calls(), [Call::Load, Call::Apply]);
}

/// Those that wait for each other have two seconds.
#[tokio::test(start_paused = true)]
async fn f16_updates_have_a_bound_of_their_own() {
    let mut slowly = Slowly::start().await;
    assert_eq!(slowly.takes("/update/thrice").await.0, 200);
}

/// A login that is cut short between its steps: the session that it made is ended, and nobody waits for that.
#[tokio::test(start_paused = true)]
async fn f16_a_login_that_takes_too_long_is_taken_back_in_the_background() {
    let mut slowly = Slowly::start().await;
    let id = slowly.client.id().unwrap().to_owned();
    let (status, took) = slowly.takes("/login").await;
    assert_eq!(status, 503);
    assert!(took < BUDGET + TICK, "{took:?}");
    assert_eq!(slowly.client.id(), Some(&*id), "the cookie stays");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(slowly.spy.calls(), [Call::Load, Call::Create, Call::End]);
    assert_eq!(slowly.spy.list("alice".into()).await.unwrap(), []);
    // And the one of before is there.
    assert_eq!(
        Client::holding(&slowly.app, &id)
            .post("/add/once")
            .await
            .status,
        200
    );
}

/// Each cookie of another system is one more call: they share what a request has.
#[tokio::test(start_paused = true)]
async fn f16_old_ids_are_looked_up_within_what_a_request_may_wait() {
    let spy = Spy::new(MemoryStore::new());
    let slow = Slow::new(spy.clone(), DELAY).with_deadline(BUDGET);
    let ids = LegacyIds::until(spy.now() + Duration::from_secs(3600));
    let layer = SessionLayer::builder(slow).accept_legacy(ids);
    let app = pages(layer.build().unwrap());
    let with = async |number: u32| {
        spy.take();
        let mut request = Request::post("/first");
        for n in 0..number {
            let cookie = format!("__Host-session=f4bb2a0e-8f3c-4e9b-a0a5-1f5d1a3b9c1{n}");
            request = request.header(header::COOKIE, cookie);
        }
        let began = Instant::now();
        let reply = app.clone().oneshot(request.body(Body::empty()).unwrap());
        let status = reply.await.unwrap().status().as_u16();
        (status, began.elapsed(), spy.calls())
    };
    // One, and what the handler writes.
    let (status, _, calls) = with(1).await;
    assert_eq!((status, calls), (200, vec![Call::Migrated, Call::Create]));
    let (status, took, calls) = with(3).await;
    assert_eq!((status, calls), (503, vec![Call::Migrated; 2]));
    assert!(took < BUDGET + TICK, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f16_a_request_waits_for_redis_for_as_long_as_one_operation() {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    assert_eq!(store.deadline(), Some(BUDGET));
    assert_eq!(Spy::new(store).deadline(), Some(BUDGET));
    assert_eq!(MemoryStore::new().deadline(), None);
}
