//! The two clocks, to the microsecond.
//!
//! On memory alone, since the clock of Redis cannot be moved: `ages` has the same on both, of sessions made old.

use std::time::Duration;

use http::StatusCode;
use sessile::store::wrappers::{Call, Spy};
use sessile::{Passive, SessionLayer, SessionStore};

use crate::harness::{Client, HOUR, IDLE, MINUTE, TOUCH, app, memory, with};
use crate::stores::Asked;

const TICK: Duration = Duration::from_micros(1);

#[tokio::test]
async fn inv06_r33_a_session_ends_when_idle_and_not_a_moment_early() {
    let (store, clock) = memory();
    let app = app(store);
    let mut client = Client::signed_in(&app, "alice").await;
    clock.advance(IDLE + TOUCH - TICK);
    assert_eq!(
        client.get("/me").await.ok(),
        "alice",
        "and that was activity"
    );
    clock.advance(IDLE + TOUCH);
    assert_eq!(
        client.get("/me").await.problem(),
        ("session_ended", Some("idle"))
    );
}

#[tokio::test]
async fn inv06_r34_a_session_ends_absolutely_however_busy_it_is() {
    let (store, clock) = memory();
    let app = app(store);
    let mut client = Client::signed_in(&app, "alice").await;
    for _ in 0..(12 * 60 / 20 - 1) {
        clock.advance(20 * MINUTE);
        client.get("/me").await.ok();
        client.post("/regenerate").await.ok();
    }
    clock.advance(20 * MINUTE - TICK);
    client.get("/me").await.ok();
    clock.advance(TICK);
    assert_eq!(
        client.get("/me").await.problem(),
        ("session_ended", Some("absolute"))
    );
}

#[tokio::test]
async fn inv06_where_both_ends_are_past_the_earlier_is_the_reason() {
    let (store, clock) = memory();
    let app = with(
        SessionLayer::builder(store)
            .idle_timeout(HOUR)
            .absolute_timeout(2 * HOUR),
    );
    let mut idle = Client::signed_in(&app, "idle").await;
    let mut busy = Client::signed_in(&app, "busy").await;
    clock.advance(59 * MINUTE);
    busy.get("/me").await.ok();
    clock.advance(59 * MINUTE);
    busy.get("/me").await.ok();
    clock.advance(3 * MINUTE);
    assert_eq!(
        idle.get("/me").await.problem(),
        ("session_ended", Some("idle"))
    );
    assert_eq!(
        busy.get("/me").await.problem(),
        ("session_ended", Some("absolute"))
    );
    clock.advance(HOUR);
    assert_eq!(
        idle.get("/me").await.problem(),
        ("session_ended", Some("idle"))
    );
    assert_eq!(
        busy.get("/me").await.problem(),
        ("session_ended", Some("absolute"))
    );
}

#[tokio::test]
async fn inv06_r37_a_busy_session_is_touched_once_a_threshold_and_never_dies_early() {
    let (store, clock) = memory();
    let spy = Spy::new(store);
    let app = app(spy.clone());
    let mut client = Client::signed_in(&app, "alice").await;
    spy.asked();
    // Within the threshold: reads alone.
    for _ in 0..59 {
        clock.advance(Duration::from_secs(1));
        client.get("/me").await.ok();
    }
    assert_eq!(spy.asked(), vec![Call::Load; 59]);
    clock.advance(Duration::from_secs(1));
    client.get("/me").await.ok();
    assert_eq!(spy.asked(), [Call::Load, Call::Apply]);
    // A last request just inside the threshold writes nothing, and still counts in full.
    clock.advance(TOUCH - TICK);
    client.get("/me").await.ok();
    assert_eq!(spy.asked(), [Call::Load]);
    clock.advance(IDLE);
    assert_eq!(client.get("/me").await.ok(), "alice", "never early");
}

#[tokio::test]
async fn inv06_late_by_at_most_the_touch_threshold() {
    let (store, clock) = memory();
    let app = with(
        SessionLayer::builder(store)
            .idle_timeout(HOUR)
            .touch_threshold(MINUTE),
    );
    let mut client = Client::signed_in(&app, "alice").await;
    clock.advance(TOUCH - TICK);
    client.get("/me").await.ok();
    clock.advance(HOUR + MINUTE);
    assert_eq!(
        client.get("/me").await.problem(),
        ("session_ended", Some("idle"))
    );
}

#[tokio::test]
async fn r36_a_passive_request_reads_and_does_not_extend() {
    let (store, clock) = memory();
    let spy = Spy::new(store);
    let header = http::HeaderName::from_static("x-poll");
    let app = with(SessionLayer::builder(spy.clone()).passive_header(header.clone()));
    let mut client = Client::signed_in(&app, "alice").await;
    for n in 0..15 {
        clock.advance(2 * MINUTE);
        spy.asked();
        let mut request = client.request("GET", "/me");
        match n % 3 {
            0 => drop(request.extensions_mut().insert(Passive)),
            1 => drop(
                request
                    .headers_mut()
                    .insert("sec-purpose", "prefetch;prerender".parse().unwrap()),
            ),
            _ => drop(request.headers_mut().insert(&header, "1".parse().unwrap())),
        }
        assert_eq!(client.send(request).await.ok(), "alice");
        assert_eq!(spy.asked(), [Call::Load]);
    }
    clock.advance(MINUTE);
    assert_eq!(
        client.get("/me").await.problem(),
        ("session_ended", Some("idle"))
    );
}

#[tokio::test]
async fn r40_a_clock_that_is_put_back_or_forward_a_few_seconds_harms_nobody() {
    let (store, clock) = memory();
    let app = app(store.clone());
    let mut client = Client::signed_in(&app, "alice").await;
    let start = store.now();
    for skew in [-5i64, 5, -3, 4] {
        clock.set(if skew < 0 {
            start - Duration::from_secs(skew.unsigned_abs())
        } else {
            start + Duration::from_secs(skew as u64)
        });
        client.get("/me").await.ok();
        client.post("/put/a/1").await.ok();
        client.post("/regenerate").await.ok();
        client = Client::signed_in(&app, "alice").await;
    }
}

#[tokio::test]
async fn a_change_of_agent_or_network_is_written_down_at_once_but_not_all_the_time() {
    let (store, clock) = memory();
    let spy = Spy::new(store.clone());
    let app = app(spy.clone());
    let mut client = Client::new(&app);
    client.agent = Some("app/1".into());
    client.address = Some("192.0.2.1".parse().unwrap());
    client.post("/login/alice").await.ok();
    clock.advance(Duration::from_secs(10));
    client.address = Some("192.0.2.77".parse().unwrap());
    spy.asked();
    client.get("/me").await.ok();
    assert_eq!(spy.asked(), [Call::Load], "the same network");
    client.agent = Some("curl/9".into());
    client.get("/me").await.ok();
    assert_eq!(spy.asked(), [Call::Load, Call::Apply]);
    let record = store.list("alice".into()).await.unwrap().remove(0);
    assert_eq!(
        (record.user_agent(), record.address()),
        (Some("curl/9"), Some("192.0.2.77"))
    );
    client.address = Some("198.51.100.7".parse().unwrap());
    client.get("/me").await.ok();
    assert_eq!(spy.asked(), [Call::Load], "at most every ten seconds");
    clock.advance(Duration::from_secs(10));
    client.get("/me").await.ok();
    assert_eq!(spy.asked(), [Call::Load, Call::Apply]);
    client.address = None;
    clock.advance(Duration::from_secs(20));
    client.get("/me").await.ok();
    assert_eq!(spy.asked(), [Call::Load], "an unknown address is no other");
}

#[tokio::test]
async fn a_touch_that_fails_costs_nobody_their_response() {
    let (store, clock) = memory();
    let failing = sessile::store::wrappers::Failing::new(store);
    let app = app(failing.clone());
    let mut client = Client::signed_in(&app, "alice").await;
    clock.advance(2 * MINUTE);
    failing.fail(Call::Apply);
    assert_eq!(client.get("/me").await.ok(), "alice");
}

#[tokio::test]
async fn r20_the_server_ends_a_session_whatever_the_cookie_says() {
    let (store, clock) = memory();
    let app = app(store);
    let mut client = Client::new(&app);
    let reply = client.post("/login/alice?remember=1").await;
    assert!(
        reply.set_cookies()[0].contains("Max-Age=2592000"),
        "{:?}",
        reply.set_cookies()
    );
    for _ in 0..(30 - 13) {
        clock.advance(24 * HOUR);
        client.get("/me").await.ok();
    }
    clock.advance(13 * 24 * HOUR);
    assert_eq!(
        client.get("/me").await.problem(),
        ("session_ended", Some("absolute"))
    );
    let mut idle = Client::new(&app);
    idle.post("/login/alice?remember=1").await.ok();
    clock.advance(14 * 24 * HOUR + MINUTE);
    assert_eq!(
        idle.get("/me").await.problem(),
        ("session_ended", Some("idle"))
    );
}

#[tokio::test]
async fn inv11_r35_what_is_over_is_dropped_in_time() {
    let (store, clock) = memory();
    let app = app(store.clone());
    Client::new(&app).post("/put/a/1").await.ok();
    let alice = Client::signed_in(&app, "alice").await;
    let mut bob = Client::signed_in(&app, "bob").await;
    bob.post("/end-all").await.ok();
    clock.advance(IDLE + 5 * MINUTE);
    store.purge();
    assert_eq!(
        store.entries(),
        2,
        "the stranger's is gone, the others can still be told why"
    );
    assert_eq!(
        alice.clone().get("/me").await.problem(),
        ("session_ended", Some("idle"))
    );
    clock.advance(2 * HOUR);
    store.purge();
    assert_eq!(store.entries(), 1);
    assert_eq!(
        alice.clone().get("/me").await.status,
        StatusCode::UNAUTHORIZED
    );
    clock.advance(24 * HOUR);
    store.purge();
    assert_eq!(store.entries(), 0);
    assert!(store.bytes() > 0, "histories are kept for longest");
    clock.advance(sessile::HistoryEntry::KEPT);
    store.purge();
    assert_eq!(store.bytes(), 0);
}
