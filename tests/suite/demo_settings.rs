//! How long a demo lives, and what else of demos may be set.

use std::time::Duration;

use http::{StatusCode, header};
use sessile::store::wrappers::{Call, Spy};
use sessile::{Outage, SessionLayer};

use crate::demo::{also, app, is_gone, started, with};
use crate::harness::{Client, HOUR, MINUTE, memory};
use crate::stores::{TestStore, on_every_store};

#[tokio::test]
async fn inv06_a_demo_lives_for_24_hours_and_nothing_moves_its_end() {
    let (store, clock) = memory();
    let spy = Spy::new(store);
    let app = app(spy.clone());
    let mut client = started(&app).await;
    spy.take();
    for _ in 0..23 {
        clock.advance(HOUR);
        client.post("/demo/say/x").await.ok();
    }
    assert!(!spy.take().contains(&Call::Apply), "no activity is written");
    clock.advance(HOUR - MINUTE);
    let mut other = also(&app, &client);
    assert_eq!(other.get("/demo").await.ok(), "media 23 100 completed");
    // Bringing it along does not move it either.
    client.post("/adopt/alice").await.ok();
    clock.advance(MINUTE);
    is_gone(&client.get("/demo").await, Some("absolute"));
    is_gone(&client.post("/demo/say/x").await, Some("absolute"));
    client.post("/demo/start/media").await.ok();
    assert_eq!(client.get("/demo").await.ok(), "media 0 0 active");
}

#[tokio::test]
async fn inv06_a_demo_may_have_an_idle_time_of_its_own() {
    let (store, clock) = memory();
    let builder = SessionLayer::builder(store).demo_idle_timeout(10 * MINUTE);
    let app = with(builder.demo_timeout(2 * HOUR));
    let mut client = started(&app).await;
    for _ in 0..11 {
        clock.advance(10 * MINUTE);
        client.get("/demo").await.ok();
    }
    clock.advance(10 * MINUTE);
    is_gone(&client.get("/demo").await, Some("absolute"));
    let mut client = started(&app).await;
    clock.advance(12 * MINUTE);
    is_gone(&client.get("/demo").await, Some("idle"));
}

#[tokio::test]
async fn steps_are_the_demos_own_from_its_start() {
    let (store, _) = memory();
    let mut client = started(&with(SessionLayer::builder(store.clone()).demo_steps(2))).await;
    client.post("/demo/say/x").await.ok();
    assert_eq!(client.get("/demo").await.ok(), "media 1 50 active");
    let mut later = also(&with(SessionLayer::builder(store).demo_steps(10)), &client);
    assert_eq!(later.get("/demo").await.ok(), "media 1 50 active");
}

#[tokio::test]
async fn r10_a_demos_cookie_has_the_strongest_prefix_that_its_attributes_allow() {
    let builder = || SessionLayer::builder(memory().0).cookie_name("session");
    for (builder, name) in [
        (builder(), "__Host-demo"),
        (builder().cookie_domain("example.org"), "__Secure-demo"),
        (builder().cookie_path("/app"), "__Secure-demo"),
        (builder().insecure_cookies(), "demo"),
        (builder().demo_cookie_name("trial"), "trial"),
    ] {
        let client = started(&with(builder)).await;
        assert_eq!(client.cookies.keys().collect::<Vec<_>>(), [name]);
    }
}

#[test]
fn what_contradicts_itself_about_demos_is_refused_with_a_sentence() {
    let builder = || SessionLayer::builder(memory().0);
    let day = 24 * HOUR;
    for (builder, word) in [
        (
            builder().demo_cookie_name("__Host-session"),
            "demo_cookie_name",
        ),
        (builder().demo_cookie_name("de mo"), "token"),
        (builder().demo_timeout(Duration::ZERO), "timeout"),
        (builder().demo_idle_timeout(2 * day), "idle"),
        (builder().demo_steps(0), "steps"),
        (builder().demo_messages(0, 1, 1), "messages"),
        (builder().demo_messages(1, 1, 0), "messages"),
        (builder().demo_messages(10_001, 1, 1), "10000"),
        (builder().demo_outage(Outage::Lease(2 * HOUR)), "lease"),
    ] {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    let builder = builder().insecure_cookies();
    assert!(builder.demo_cookie_name("session").build().is_err());
}

async fn so_many_demos_may_be_started_from_an_address_and_one_more_is_429(store: impl TestStore) {
    let instance = |store| with(SessionLayer::builder(store).demo_budget(2));
    let instances = [instance(store.clone()), instance(store)];
    let at = |n: usize, address: Option<&str>| {
        let mut client = Client::new(&instances[n]);
        client.address = address.map(|address| address.parse().unwrap());
        client
    };
    for n in 0..2 {
        let mut client = at(n, Some("192.0.2.1"));
        client.post("/demo/start/media").await.ok();
        // The one that there is costs nothing.
        client.post("/demo/start/media").await.ok();
    }
    for n in 0..2 {
        let reply = at(n, Some("192.0.2.1")).post("/demo/start/media").await;
        assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS, "{reply:?}");
        assert_eq!(reply.problem(), ("too_many_demos", None));
        assert_eq!(reply.set_cookies(), [""; 0]);
        let after: u64 = reply.header(header::RETRY_AFTER).unwrap().parse().unwrap();
        assert!((3000..=3600).contains(&after), "{after}");
    }
    at(0, Some("192.0.2.2"))
        .post("/demo/start/media")
        .await
        .ok();
    for _ in 0..4 {
        at(0, None).post("/demo/start/media").await.ok();
    }
}

on_every_store!(so_many_demos_may_be_started_from_an_address_and_one_more_is_429);
