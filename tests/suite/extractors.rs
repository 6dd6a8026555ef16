//! Extractors and what they answer with instead.
//!
//! On memory alone: what needs a clock that is moved. `ages` has some of it on both, of sessions made old.

use axum::Router;
use axum::routing::get;
use http::{StatusCode, header};
use sessile::store::wrappers::{Call, Spy};
use sessile::{Fresh, Session, SessionLayer, Sessions, UserSession};

use crate::harness::{Client, MINUTE, app, memory, refusing, routes};
use crate::stores::{Asked, TestStore, on_every_store};

async fn extracting_loads_once_however_many_ask(store: impl TestStore) {
    let spy = Spy::new(store);
    let app = routes()
        .route(
            "/all",
            get(
                async |_: Session,
                       _: UserSession,
                       _: Option<UserSession>,
                       _: Fresh<60>,
                       _: Sessions| (),
            ),
        )
        .layer(SessionLayer::new(spy.clone()));
    let mut client = Client::signed_in(&app, "alice").await;
    spy.asked();
    client.get("/all").await.ok();
    assert_eq!(spy.asked(), [Call::Load]);
}

async fn nobody_signed_in_is_401_for_a_user_and_none_for_an_option(store: impl TestStore) {
    let app = app(store);
    let mut client = Client::new(&app);
    client.post("/put/a/1").await.ok();
    let reply = client.get("/me").await;
    assert_eq!(
        (reply.status, reply.problem()),
        (StatusCode::UNAUTHORIZED, ("not_signed_in", None))
    );
    assert_eq!(
        reply.header(header::CONTENT_TYPE),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(reply.body, "Please sign in.");
    assert_eq!(client.get("/who").await.ok(), "nobody");
    assert_eq!(
        client.get("/fresh").await.problem(),
        ("not_signed_in", None)
    );
}

#[tokio::test]
async fn a_fresh_user_is_one_who_signed_in_within_the_seconds() {
    let (store, clock) = memory();
    let app = app(store);
    let mut client = Client::signed_in(&app, "alice").await;
    clock.advance(5 * MINUTE);
    assert_eq!(client.get("/fresh").await.ok(), "alice");
    clock.advance(std::time::Duration::from_secs(1));
    let reply = client.get("/fresh").await;
    assert_eq!(
        (reply.status, reply.problem()),
        (StatusCode::UNAUTHORIZED, ("sign_in_again", None))
    );
}

#[tokio::test]
async fn an_extractor_without_its_layer_names_the_layer_and_the_version() {
    let app: Router = Router::new()
        .route("/session", get(async |_: Session| ()))
        .route("/user", get(async |_: UserSession| ()))
        .route("/option", get(async |_: Option<UserSession>| ()))
        .route("/sessions", get(async |_: Sessions| ()));
    for path in ["/session", "/user", "/option", "/sessions"] {
        let reply = Client::new(&app).get(path).await;
        assert_eq!(
            (reply.status.as_u16(), reply.problem()),
            (500, ("misconfigured", None))
        );
        assert!(reply.body.contains("SessionLayer"), "{}", reply.body);
        assert!(
            reply.body.contains(env!("CARGO_PKG_VERSION")),
            "{}",
            reply.body
        );
    }
}

async fn rejections_leak_nothing_of_the_inside(store: impl TestStore) {
    let failing = sessile::store::wrappers::Failing::new(store);
    let app = refusing(failing.clone());
    let mut client = Client::signed_in(&app, "alice").await;
    failing.fail_all();
    let reply = client.get("/me").await;
    assert_eq!(
        reply.body,
        "Sessions are not available right now. Please try again in a moment."
    );
}

#[test]
fn everything_public_is_send_and_sync_and_its_futures_are_send() {
    fn both<T: Send + Sync>() {}
    fn send<T: Send>(_: &T) {}
    both::<SessionLayer>();
    both::<Session>();
    both::<UserSession>();
    both::<Sessions>();
    both::<sessile::Error>();
    both::<sessile::MemoryStore>();
    both::<sessile::SessionService<()>>();
    both::<sessile::Key<std::rc::Rc<()>>>();
    let _ = async |session: Session, user: UserSession, sessions: Sessions| {
        send(&session.commit());
        send(&session.logout());
        send(&session.regenerate_id());
        send(&session.update(crate::harness::CART, |_| String::new()));
        send(&session.increment(crate::harness::HITS, 1));
        send(&IntoFuture::into_future(session.login("a")));
        send(&user.sessions());
        send(&user.end_all());
        send(&user.reauthenticate());
        send(&sessions.list("a"));
        send(&sessions.revoke_all("a", ""));
        send(&sessions.create_for("a"));
        send(&Session::from_extensions(&http::Extensions::new()));
    };
}

#[tokio::test]
async fn info_tells_times_and_counts_this_request_as_seen() {
    async fn info(session: Session) -> String {
        let Some(info) = session.info() else {
            return "none".into();
        };
        let span = |a: std::time::SystemTime, b: std::time::SystemTime| {
            a.duration_since(b).unwrap().as_secs()
        };
        format!(
            "{} {} {} {} {}",
            info.current,
            span(info.ends_at, info.created_at),
            span(info.idle_ends_at, info.last_seen_at),
            span(info.last_seen_at, info.created_at),
            info.freshness.as_str()
        )
    }
    let (store, clock) = memory();
    let app = routes()
        .route("/info", get(info))
        .layer(SessionLayer::new(store));
    let mut client = Client::new(&app);
    assert_eq!(client.get("/info").await.ok(), "none");
    client.post("/login/alice").await.ok();
    assert_eq!(client.get("/info").await.ok(), "true 43200 1860 0 live");
    clock.advance(2 * MINUTE);
    assert_eq!(client.get("/info").await.ok(), "true 43200 1860 120 live");
}

#[tokio::test]
async fn a_sign_in_is_within_any_span_however_long() {
    let (store, clock) = memory();
    let app = routes()
        .route("/ever", get(async |Fresh(_): Fresh<{ u64::MAX }>| "fresh"))
        .layer(SessionLayer::new(store));
    let mut client = Client::signed_in(&app, "alice").await;
    assert_eq!(client.get("/ever").await.ok(), "fresh");
    clock.set(sessile::Clock::now(&clock) - std::time::Duration::from_secs(5));
    assert_eq!(client.get("/ever").await.ok(), "fresh");
}

on_every_store! {
    extracting_loads_once_however_many_ask,
    nobody_signed_in_is_401_for_a_user_and_none_for_an_option,
    rejections_leak_nothing_of_the_inside,
}
