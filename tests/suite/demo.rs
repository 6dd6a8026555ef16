//! Demo sessions: a second kind beside the user's.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::FutureExt;
use http::{StatusCode, header};
use sessile::event::EventKind;
use sessile::store::wrappers::{Call, Holding, Slow, Spy};
use sessile::{
    Demo, DemoSession, EndReason, Error, Kind, Session, SessionLayer, SessionLayerBuilder,
    SessionStore, Sessions, UserSession,
};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::cancellation::at_every_place;
use crate::events::Collector;
use crate::harness::{Client, Reply, routes};
use crate::stores::{Asked, TestStore, on_every_store};

pub(crate) const DEMO: &str = "__Host-demo";

/// The handlers of every test, and those of a demo.
pub(crate) fn pages() -> Router {
    routes()
        .route(
            "/demo/start/{industry}",
            post(async |demo: Demo, Path(industry): Path<String>| {
                demo.start(industry).await.map(|demo| handle(&demo))
            }),
        )
        .route("/demo/look", get(async |_: Demo| "looked"))
        .route(
            "/demo/there",
            get(async |demo: Option<DemoSession>| demo.map_or("none".into(), |demo| handle(&demo))),
        )
        .route("/demo", get(status))
        .route("/demo/said", get(said))
        .route(
            "/demo/say/{text}",
            post(async |demo: DemoSession, Path(text): Path<String>| {
                demo.add_message("user", text).with("n", 7).await.map(drop)
            }),
        )
        .route(
            "/demo/end",
            post(async |demo: DemoSession| demo.end().await.map(|outcome| outcome.to_string())),
        )
        .route(
            "/demo/whose",
            get(async |demo: DemoSession| {
                demo.user_id().map_or("nobody".into(), |u| u.to_string())
            }),
        )
        .route(
            "/demo/freshness",
            get(async |demo: DemoSession| demo.freshness().map_or("none", |it| it.as_str())),
        )
        .route("/adopt/{user}", post(adopt))
        .route(
            "/brought",
            get(async |user: UserSession| user.demo().map_or("none".into(), |h| h.to_string())),
        )
        .route("/demo/counts", get(counts))
}

fn handle(demo: &DemoSession) -> String {
    demo.handle().unwrap().to_string()
}

async fn status(demo: DemoSession) -> Result<String, Error> {
    let status = demo.status()?;
    Ok(format!(
        "{} {} {} {}",
        status.industry,
        status.message_count,
        status.progress_percentage,
        status.status.as_str()
    ))
}

async fn said(demo: DemoSession) -> Result<String, Error> {
    let messages = demo.messages()?;
    assert!(messages.is_sorted_by_key(|message| message.timestamp));
    assert!(messages.iter().all(|message| message.metadata["n"] == 7));
    let texts: Vec<_> = messages
        .into_iter()
        .map(|message| message.content)
        .collect();
    Ok(texts.join(" "))
}

async fn adopt(session: Session, Path(user): Path<String>) -> Result<String, Error> {
    let user = session.login(user).adopt_demo().await?;
    Ok(user
        .demo()
        .map_or("none".into(), |handle| handle.to_string()))
}

async fn counts(sessions: Sessions) -> Response {
    let counts = sessions.demo_counts();
    format!(
        "{} {} {} {}",
        counts.started, counts.completed, counts.adopted, counts.ended
    )
    .into_response()
}

pub(crate) fn app(store: impl SessionStore) -> Router {
    with(SessionLayer::builder(store))
}

pub(crate) fn with(builder: SessionLayerBuilder) -> Router {
    pages().layer(builder.build().unwrap())
}

pub(crate) async fn started(app: &Router) -> Client {
    let mut client = Client::new(app);
    client.post("/demo/start/media").await.ok();
    client
}

/// Another client with the same demo's cookie, and nothing else.
pub(crate) fn also(app: &Router, client: &Client) -> Client {
    let mut other = Client::new(app);
    let id = client.cookies[DEMO].clone();
    other.cookies.insert(DEMO.into(), id);
    other
}

#[track_caller]
pub(crate) fn is_gone(reply: &Reply, reason: Option<&str>) {
    assert_eq!(reply.status, StatusCode::NOT_FOUND, "{reply:?}");
    assert_eq!(reply.problem(), ("no_demo_session", reason));
}

async fn a_demo_is_started_once_and_its_conversation_goes_on(store: impl TestStore) {
    let app = app(store);
    let mut client = Client::new(&app);
    is_gone(&client.get("/demo").await, None);
    assert_eq!(client.get("/demo/there").await.ok(), "none");
    let handle = client.post("/demo/start/Healthcare").await.ok();
    assert_eq!(client.get("/demo").await.ok(), "healthcare 0 0 active");
    // An existing one is returned as it is, whatever is asked for.
    assert_eq!(client.post("/demo/start/media").await.ok(), handle);
    for text in ["one", "two", "three"] {
        client.post(&format!("/demo/say/{text}")).await.ok();
    }
    assert_eq!(client.get("/demo").await.ok(), "healthcare 3 50 active");
    assert_eq!(client.get("/demo/said").await.ok(), "one two three");
    for text in ["four", "five", "six", "seven"] {
        client.post(&format!("/demo/say/{text}")).await.ok();
    }
    assert_eq!(client.get("/demo").await.ok(), "healthcare 7 100 completed");
    assert_eq!(client.get("/demo/there").await.ok(), handle);
    assert_eq!(client.get("/demo/counts").await.ok(), "1 1 0 0");
    assert_eq!(client.post("/demo/end").await.ok(), "committed");
    assert_eq!(client.cookies.get(DEMO), None);
    assert_eq!(client.get("/demo/counts").await.ok(), "1 1 0 1");
}

/// Whoever counts users' sessions by their events must not count demos.
async fn r53_what_happens_to_a_demo_has_names_of_its_own(store: impl TestStore) {
    let (told, _guard) = Collector::install();
    let layer = SessionLayer::builder(store)
        .demo_steps(1)
        .demo_budget(2)
        .build()
        .unwrap();
    let sessions = layer.sessions();
    let mut events = sessions.events();
    let app = pages().layer(layer);
    let mut client = Client::new(&app);
    client.address = Some("192.0.2.1".parse().unwrap());
    let end = async |client: &mut Client| {
        for path in ["/demo/start/media", "/demo/say/one", "/demo/say/two"] {
            client.post(path).await.ok();
        }
        let handle = client.get("/demo/there").await.ok();
        client.post("/demo/end").await.ok();
        handle
    };
    end(&mut client).await;
    client.post("/demo/start/media").await.ok();
    client.post("/adopt/alice").await.ok();
    let handle = end(&mut client).await;
    client.post("/demo/start/media").await;
    client.post("/logout").await.ok();
    let expected = [
        "demo_started - -",
        "demo_completed - -",
        "demo_ended logged_out -",
        "demo_started - -",
        "demo_adopted - alice",
        "signed_in - alice",
        "demo_completed - alice",
        "demo_ended logged_out alice",
        "demo_refused - -",
        "ended logged_out alice",
    ];
    assert_eq!(told.take(), expected);
    let mut heard = Vec::new();
    while let Some(Some(event)) = tokio::task::unconstrained(events.recv()).now_or_never() {
        heard.push(event.unwrap());
    }
    let names: Vec<_> = heard.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(
        names,
        expected.map(|line| line.split(' ').next().unwrap_or_default())
    );
    let EventKind::DemoEnded(EndReason::LoggedOut) = heard[7].kind else {
        panic!("{:?}", heard[7]);
    };
    assert_eq!(heard[7].handle.unwrap().to_string(), handle);
    // And so have the figures.
    let stats = sessions.stats().await;
    assert_eq!((stats.count("ended"), stats.count("demo_ended")), (1, 2));
    assert_eq!(stats.ended_for(EndReason::LoggedOut), 1);
    assert_eq!(stats.demos, sessions.demo_counts());
    let demos = stats.demos;
    assert_eq!(
        (demos.started, demos.completed, demos.adopted, demos.ended),
        (2, 2, 1, 2)
    );
}

async fn a_demo_and_a_users_session_are_beside_each_other(store: impl TestStore) {
    let app = app(store);
    let mut client = started(&app).await;
    client.post("/put/cart/pear").await.ok();
    client.post("/demo/say/hello").await.ok();
    client.post("/login/alice").await.ok();
    assert_eq!(client.get("/me").await.ok(), "alice");
    assert_eq!(client.get("/demo/said").await.ok(), "hello");
    assert_eq!(client.get("/demo/whose").await.ok(), "nobody");
    assert_eq!(client.get("/brought").await.ok(), "none");
    client.post("/logout").await.ok();
    assert_eq!(client.get("/demo/said").await.ok(), "hello");
    client.post("/login/alice").await.ok();
    client.post("/demo/end").await.ok();
    assert_eq!(client.get("/me").await.ok(), "alice");
    // Neither is the other: an id is of one kind.
    let mut client = started(&app).await;
    client.post("/login/bob").await.ok();
    let (demo, user) = (
        client.cookies[DEMO].clone(),
        client.id().unwrap().to_owned(),
    );
    let mut swapped = Client::holding(&app, &demo);
    swapped.cookies.insert(DEMO.into(), user);
    assert_eq!(swapped.get("/who").await.ok(), "nobody");
    assert_eq!(swapped.get("/demo/there").await.ok(), "none");
}

async fn inv09_whoever_starts_no_demo_costs_nothing(store: impl TestStore) {
    let spy = Spy::new(store);
    let app = app(spy.clone());
    let mut client = Client::new(&app);
    for path in ["/ping", "/demo/look", "/demo/there", "/demo"] {
        let reply = client.get(path).await;
        assert_eq!(reply.set_cookies(), [""; 0], "{path}");
    }
    assert_eq!(spy.asked(), []);
    client.post("/demo/start/media").await.ok();
    assert_eq!(spy.asked(), [Call::Create]);
    client.get("/ping").await.ok();
    assert_eq!(spy.asked(), []);
    client.post("/demo/say/x").await.ok();
    assert_eq!(spy.asked(), [Call::Load, Call::Append]);
    client.get("/demo").await.ok();
    assert_eq!(spy.asked(), [Call::Load]);
    // The user's session is not read for it, nor the other way round.
    client.get("/who").await.ok();
    assert_eq!(spy.asked(), []);
    client.post("/demo/end").await.ok();
    assert_eq!(spy.asked(), [Call::Load, Call::End]);
}

async fn inv04_a_made_up_id_never_becomes_a_demo(store: impl TestStore) {
    let app = app(store);
    let real = started(&app).await;
    let made_up = format!("AQAB{}", &real.cookies[DEMO][4..]);
    for id in [made_up.as_str(), "demo-1795455942886", "", "x"] {
        let mut client = Client::new(&app);
        client.cookies.insert(DEMO.into(), id.into());
        is_gone(&client.get("/demo").await, None);
        client.post("/demo/start/media").await.ok();
        assert_ne!(client.cookies[DEMO], id);
        assert_eq!(client.get("/demo").await.ok(), "media 0 0 active");
    }
}

async fn inv10_a_demos_cookie_is_sent_once_as_any_sessions_is(store: impl TestStore) {
    let app = app(store);
    let mut client = Client::new(&app);
    let reply = client.post("/demo/start/media").await;
    let [cookie] = *reply.set_cookies() else {
        panic!("one cookie: {reply:?}");
    };
    for attribute in ["HttpOnly", "SameSite=Lax", "Secure", "Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains("Max-Age") && !cookie.contains("Domain"));
    assert_eq!(reply.header(header::CACHE_CONTROL), Some("no-store"));
    let reply = client.get("/demo").await;
    assert_eq!(reply.set_cookies(), [""; 0]);
    assert_eq!(reply.header(header::VARY), Some("cookie"));
    let reply = client.post("/demo/end").await;
    let [cookie] = *reply.set_cookies() else {
        panic!("one cookie: {reply:?}");
    };
    assert!(cookie.starts_with("__Host-demo=;") && cookie.contains("Max-Age=0"));
}

async fn inv02_a_demo_that_was_ended_takes_nothing_and_says_why(store: impl TestStore) {
    let app = app(store);
    let mut client = started(&app).await;
    let mut other = also(&app, &client);
    client.post("/demo/say/hello").await.ok();
    assert_eq!(client.post("/demo/end").await.ok(), "committed");
    is_gone(&other.get("/demo").await, Some("logged_out"));
    is_gone(&other.post("/demo/say/late").await, Some("logged_out"));
    assert_eq!(other.get("/demo/there").await.ok(), "none");
    other.post("/demo/start/media").await.ok();
    assert_eq!(other.get("/demo/said").await.ok(), "");
}

async fn inv01_a_message_on_its_way_does_not_revive_a_demo(store: impl TestStore) {
    let holding = Holding::new(store);
    let app = app(holding.clone());
    let mut client = started(&app).await;
    let mut late = also(&app, &client);
    let held = holding.hold(Call::Append);
    let saying = tokio::spawn(async move { late.post("/demo/say/late").await });
    held.arrived().await;
    let mut other = also(&app, &client);
    assert_eq!(client.post("/demo/end").await.ok(), "committed");
    held.release();
    is_gone(&saying.await.unwrap(), Some("logged_out"));
    is_gone(&other.get("/demo").await, Some("logged_out"));
}

async fn inv07_a_hundred_writers_on_two_instances_lose_no_message(store: impl TestStore) {
    let instances = [app(store.clone()), app(store)];
    let client = started(&instances[0]).await;
    let barrier = Arc::new(Barrier::new(100));
    let mut writers = JoinSet::new();
    for n in 0..100 {
        let mut client = also(&instances[n % 2], &client);
        let barrier = Arc::clone(&barrier);
        writers.spawn(async move {
            barrier.wait().await;
            client.post(&format!("/demo/say/{n}")).await.ok();
        });
    }
    writers.join_all().await;
    for instance in &instances {
        // Also asserts that each is later than the one before it.
        let said = also(instance, &client).get("/demo/said").await.ok();
        let said: Vec<usize> = said.split(' ').map(|n| n.parse().unwrap()).collect();
        assert_eq!(said.len(), 100);
        assert_eq!(
            said.into_iter().collect::<BTreeSet<_>>(),
            (0..100).collect()
        );
    }
    let mut client = also(&instances[1], &client);
    assert_eq!(client.get("/demo").await.ok(), "media 100 100 completed");
}

async fn inv11_a_conversation_has_bounds_and_what_is_over_them_is_413(store: impl TestStore) {
    let app = with(SessionLayer::builder(store).demo_messages(3, 100, 200));
    let mut client = started(&app).await;
    let too_large = |reply: Reply| {
        assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE, "{reply:?}");
        assert_eq!(reply.problem(), ("too_large", None));
    };
    let long = "x".repeat(100);
    too_large(client.post(&format!("/demo/say/{long}")).await);
    client.post("/demo/say/a").await.ok();
    too_large(client.post(&format!("/demo/say/{}", &long[..56])).await);
    for text in ["b", "c"] {
        client.post(&format!("/demo/say/{text}")).await.ok();
    }
    too_large(client.post("/demo/say/d").await);
    assert_eq!(client.get("/demo/said").await.ok(), "a b c");
}

async fn inv03_a_login_brings_a_demo_along_under_another_id(store: impl TestStore) {
    let app = app(store.clone());
    let mut client = started(&app).await;
    client.post("/demo/say/hello").await.ok();
    client.post("/put/secret/1").await.ok();
    let (mut before, handle) = (also(&app, &client), client.get("/demo/there").await.ok());
    assert_eq!(client.post("/adopt/alice").await.ok(), handle);
    assert_ne!(client.cookies[DEMO], before.cookies[DEMO]);
    assert_eq!(client.get("/demo/said").await.ok(), "hello");
    assert_eq!(client.get("/demo/whose").await.ok(), "alice");
    assert_eq!(client.get("/brought").await.ok(), handle);
    assert_eq!(client.get("/demo/counts").await.ok(), "1 0 1 0");
    // Nothing else crosses, and the demo is in no list.
    assert_eq!(
        client.get("/get/secret").await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(store.list("alice".into()).await.unwrap().len(), 1);
    // Whoever knew the old id has nothing, and the cookie of the new one is not theirs to touch.
    for (method, path) in [("GET", "/demo"), ("GET", "/demo/said")] {
        let reply = before.send(before.request(method, path)).await;
        is_gone(&reply, Some("regenerated"));
        assert_eq!(reply.set_cookies(), [""; 0]);
    }
    // Both kinds go on: a new id of the user's session keeps the name of the demo.
    client.post("/regenerate").await.ok();
    assert_eq!(client.get("/brought").await.ok(), handle);
    client.post("/demo/say/world").await.ok();
    assert_eq!(client.get("/demo/said").await.ok(), "hello world");
    // Once more, by the same user.
    assert_eq!(client.post("/adopt/alice").await.ok(), handle);
    assert_eq!(client.get("/demo/said").await.ok(), "hello world");
    // It is alice's: nobody else takes it, whoever holds the cookie.
    assert_eq!(client.post("/adopt/bob").await.ok(), "none");
    assert_eq!(client.get("/me").await.ok(), "bob");
    assert_eq!(client.get("/demo/whose").await.ok(), "alice");
    // Without a demo it is a login as any other.
    let mut client = Client::new(&app);
    assert_eq!(client.post("/adopt/carol").await.ok(), "none");
    assert_eq!(client.get("/me").await.ok(), "carol");
}

async fn inv03_ending_all_of_a_user_ends_no_demo_of_theirs(store: impl TestStore) {
    let app = app(store);
    let mut client = started(&app).await;
    client.post("/adopt/alice").await.ok();
    client.post("/end-all").await.ok();
    assert_eq!(client.get("/who").await.ok(), "nobody");
    assert_eq!(client.get("/demo/whose").await.ok(), "alice");
}

async fn inv15_under_an_id_that_was_just_superseded_nothing_is_started_or_said(
    store: impl TestStore,
) {
    let holding = Holding::new(store);
    let app = app(holding.clone());
    let mut client = started(&app).await;
    let mut loser = also(&app, &client);
    // It reads the demo while it is live, and speaks when it is not.
    let held = holding.hold(Call::Append);
    let mut late = loser.clone();
    let saying = tokio::spawn(async move { late.post("/demo/say/late").await });
    held.arrived().await;
    client.post("/adopt/alice").await.ok();
    held.release();
    let reply = saying.await.unwrap();
    assert_eq!(reply.status, StatusCode::CONFLICT, "{reply:?}");
    assert_eq!(reply.problem(), ("session_moved", None));
    assert_eq!(reply.set_cookies(), [""; 0]);
    let reply = loser.post("/demo/start/media").await;
    assert_eq!(reply.problem(), ("session_moved", None));
    assert_eq!(reply.set_cookies(), [""; 0]);
    assert_eq!(client.get("/demo/said").await.ok(), "");
}

async fn no_message_is_lost_while_a_demo_is_brought_along(store: impl TestStore) {
    for _ in 0..10 {
        let app = app(store.another().await);
        let mut client = started(&app).await;
        let barrier = Arc::new(Barrier::new(9));
        let mut writers = JoinSet::new();
        for n in 0..8 {
            let (mut writer, barrier) = (also(&app, &client), Arc::clone(&barrier));
            writers.spawn(async move {
                barrier.wait().await;
                let reply = writer.post(&format!("/demo/say/{n}")).await;
                // Heard, or told.
                match reply.status.as_u16() {
                    200 => Some(n.to_string()),
                    404 | 409 => None,
                    _ => panic!("{reply:?}"),
                }
            });
        }
        barrier.wait().await;
        client.post("/adopt/alice").await.ok();
        let heard: BTreeSet<_> = writers.join_all().await.into_iter().flatten().collect();
        let said = client.get("/demo/said").await.ok();
        let said: BTreeSet<_> = said.split_whitespace().map(str::to_owned).collect();
        assert_eq!(said, heard);
    }
}

async fn inv10_a_demo_that_is_dropped_after_any_poll_is_held_or_over(store: impl TestStore) {
    at_every_place(async |place| {
        let store = store.another().await;
        let slow = Slow::new(store.clone(), Duration::from_millis(1));
        let app = app(slow);
        let mut client = Client::new(&app);
        let reply = place.of(client.post("/demo/start/media")).await;
        drop((app, client));
        store.left_alone().await;
        let live = store.count(Kind::Demo).await.unwrap();
        assert_eq!(live, u64::from(reply.is_some()), "{place:?}");
        reply.is_some()
    })
    .await;
}

async fn inv10_a_message_that_is_dropped_after_any_poll_is_said_or_not(store: impl TestStore) {
    at_every_place(async |place| {
        let store = store.another().await;
        let app = app(Slow::new(store.clone(), Duration::from_millis(1)));
        let client = started(&app).await;
        let mut speaker = also(&app, &client);
        let reply = place.of(speaker.post("/demo/say/hello")).await;
        drop((speaker, app));
        let mut client = also(&self::app(store.clone()), &client);
        let said = client.get("/demo/said").await.ok();
        match &reply {
            Some(_) => assert_eq!(said, "hello"),
            None => assert!(said.is_empty() || said == "hello", "{place:?}"),
        }
        reply.is_some()
    })
    .await;
}

async fn inv03_a_hand_over_that_is_dropped_after_any_poll_leaves_no_second_holder(
    store: impl TestStore,
) {
    at_every_place(async |place| {
        let store = store.another().await;
        let app = app(Slow::new(store.clone(), Duration::from_millis(1)));
        let mut client = started(&app).await;
        client.post("/demo/say/hello").await.ok();
        let before = client.cookies[DEMO].clone();
        let reply = place.of(client.post("/adopt/alice")).await;
        let after = reply.is_some().then(|| client.cookies[DEMO].clone());
        drop((client, app));
        store.left_alone().await;
        let app = self::app(store.clone());
        let holding = |id: String| {
            let mut client = Client::new(&app);
            client.cookies.insert(DEMO.into(), id);
            client
        };
        let old = holding(before).get("/demo").await;
        let alices = store.list("alice".into()).await.unwrap().len();
        let live = store.count(Kind::Demo).await.unwrap();
        match after {
            Some(id) => {
                is_gone(&old, Some("regenerated"));
                assert_eq!(holding(id).get("/demo/said").await.ok(), "hello");
                assert_eq!((alices, live), (1, 1));
                true
            }
            // It is as it was, or it is over: nobody has it who was not given its cookie.
            None => {
                assert_eq!(alices, 0, "{place:?}");
                assert_eq!(live, u64::from(old.status == StatusCode::OK), "{place:?}");
                false
            }
        }
    })
    .await;
}

on_every_store!(
    r53_what_happens_to_a_demo_has_names_of_its_own,
    a_demo_and_a_users_session_are_beside_each_other,
    a_demo_is_started_once_and_its_conversation_goes_on,
    inv01_a_message_on_its_way_does_not_revive_a_demo,
    inv02_a_demo_that_was_ended_takes_nothing_and_says_why,
    inv03_a_hand_over_that_is_dropped_after_any_poll_leaves_no_second_holder(paused),
    inv03_a_login_brings_a_demo_along_under_another_id,
    inv03_ending_all_of_a_user_ends_no_demo_of_theirs,
    inv04_a_made_up_id_never_becomes_a_demo,
    inv07_a_hundred_writers_on_two_instances_lose_no_message(threads),
    inv09_whoever_starts_no_demo_costs_nothing,
    inv10_a_demo_that_is_dropped_after_any_poll_is_held_or_over(paused),
    inv10_a_demos_cookie_is_sent_once_as_any_sessions_is,
    inv10_a_message_that_is_dropped_after_any_poll_is_said_or_not(paused),
    inv11_a_conversation_has_bounds_and_what_is_over_them_is_413,
    inv15_under_an_id_that_was_just_superseded_nothing_is_started_or_said,
    no_message_is_lost_while_a_demo_is_brought_along(threads),
);
