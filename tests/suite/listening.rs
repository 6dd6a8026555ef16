//! The events of a layer, for whoever listens in its process.

use futures_util::{FutureExt, StreamExt};
use http::Request;
use sessile::event::{Event, EventKind, Events, Lost};
use sessile::risk::{Evidence, Risk, RiskAction, RiskLevel, Signal};
use sessile::store::wrappers::Failing;
use sessile::{AtLimit, EndReason, SessionLayer, UserSession};

use crate::events::Collector;
use crate::harness::{Client, HOUR, MINUTE, memory, routes};
use crate::stores::{TestStore, on_every_store};

/// What has happened and was not taken yet.
fn taken(events: &mut Events) -> Vec<Result<Event, Lost>> {
    let mut taken = Vec::new();
    // Not by tokio's budget, of which there is one for each task: it would say that nothing more is there.
    while let Some(Some(event)) = tokio::task::unconstrained(events.recv()).now_or_never() {
        taken.push(event);
    }
    taken
}

/// As the lines of `tracing` say it.
fn lines(events: &mut Events) -> Vec<String> {
    let line = |event: Event| {
        let reason = match event.kind {
            EventKind::Ended(reason) => reason.as_str(),
            _ => "-",
        };
        let user = event.user.map_or("-".to_owned(), |user| user.to_string());
        format!("{} {reason} {user}", event.kind.as_str())
    };
    taken(events)
        .into_iter()
        .map(|event| line(event.unwrap()))
        .collect()
}

async fn r53_whoever_listens_hears_what_the_lines_say_once_each(store: impl TestStore) {
    let (told, _guard) = Collector::install();
    let layer = SessionLayer::builder(store.clone())
        .max_sessions_per_user(1, AtLimit::EndOldest)
        .build()
        .unwrap();
    let sessions = layer.sessions();
    let app = routes().layer(layer);
    let mut events = sessions.events();
    let mut client = Client::new(&app);
    client.address = Some("192.0.2.1".parse().unwrap());
    for path in [
        "/put/cart/1",
        "/login/alice",
        "/login/alice",
        "/regenerate",
        "/reauthenticate",
    ] {
        client.post(path).await.ok();
    }
    store.later().await;
    let mut other = Client::signed_in(&app, "alice").await;
    sessions.revoke_all("alice", "note").await.unwrap();
    assert!(!other.get("/me").await.status.is_success());
    sessions.create_for("bob").await.unwrap();
    Client::signed_in(&app, "carol")
        .await
        .post("/logout")
        .await
        .ok();
    let heard = lines(&mut events);
    assert_eq!(heard.len(), 13, "{heard:?}");
    assert_eq!(heard, told.take());
    assert!(
        heard.contains(&"ended limit alice".to_owned())
            && heard.contains(&"ended revoked alice".to_owned())
    );
}

#[tokio::test]
async fn an_event_knows_when_which_and_from_where() {
    let (store, clock) = memory();
    let layer = SessionLayer::new(store);
    let mut events = layer.sessions().events();
    let app = routes().layer(layer);
    let mut client = Client::new(&app);
    client.address = Some("192.0.2.1".parse().unwrap());
    clock.advance(HOUR);
    let handle = client.post("/login/alice").await.ok();
    let event = taken(&mut events).remove(0).unwrap();
    assert_eq!(event.at, sessile::Clock::now(&clock));
    assert_eq!(event.handle.unwrap().to_string(), handle);
    assert_eq!(event.address.as_deref(), Some("192.0.2.1"));
}

#[tokio::test]
async fn inv11_r54_whoever_listens_slowly_loses_the_oldest_and_is_told_how_many() {
    let (store, _clock) = memory();
    let layer = SessionLayer::new(store);
    let sessions = layer.sessions();
    let mut slow = sessions.events();
    for n in 0..1_030 {
        sessions.create_for(format!("user-{n}")).await.unwrap();
    }
    let heard = taken(&mut slow);
    assert_eq!(heard[0], Err(Lost(6)));
    assert_eq!(heard.len(), 1_025);
    assert_eq!(
        heard[1].as_ref().unwrap().user.as_ref().unwrap().as_str(),
        "user-6"
    );
    // Once everybody who could make one is gone, the stream ends.
    let stream = sessions.events().into_stream();
    drop((sessions, layer, slow));
    assert_eq!(stream.collect::<Vec<_>>().await, []);
}

#[tokio::test]
async fn r27_an_id_that_was_superseded_long_ago_is_told_of_and_a_late_request_is_not() {
    let (store, clock) = memory();
    let layer = SessionLayer::new(store);
    let sessions = layer.sessions();
    let app = routes().layer(layer);
    let mut client = Client::signed_in(&app, "alice").await;
    let mut copy = client.clone();
    client.post("/regenerate").await.ok();
    let mut events = sessions.events();
    copy.get("/look").await.ok();
    assert_eq!(taken(&mut events), []);
    clock.advance(MINUTE);
    for _ in 0..1_000 {
        copy.get("/look").await.ok();
    }
    clock.advance(MINUTE);
    copy.get("/look").await.ok();
    let heard: Vec<_> = taken(&mut events).into_iter().map(Result::unwrap).collect();
    let counts: Vec<_> = heard.iter().map(|event| event.kind.clone()).collect();
    assert_eq!(
        counts,
        [
            EventKind::Reused { count: 1 },
            EventKind::Reused { count: 1_000 }
        ]
    );
    assert_eq!(
        heard[0].handle,
        client.get("/handle").await.ok().parse().ok()
    );
}

#[tokio::test]
async fn r54_a_flood_is_a_number() {
    let (store, _clock) = memory();
    let failing = Failing::new(store);
    let layer = SessionLayer::new(failing.clone());
    let mut events = layer.sessions().events();
    let app = routes().layer(layer);
    let mut client = Client::signed_in(&app, "alice").await;
    taken(&mut events);
    failing.fail_all();
    for _ in 0..100 {
        client.get("/look").await;
    }
    let heard = taken(&mut events);
    assert_eq!(heard.len(), 1);
    assert!(matches!(
        heard[0].as_ref().unwrap().kind,
        EventKind::StoreFailed { count: 1, .. }
    ));
}

/// An application whose every risk is high, and who does this about it.
fn risky(store: impl TestStore, action: RiskAction) -> (axum::Router, Events) {
    let high = |_: &Evidence| Risk {
        level: RiskLevel::High,
        reasons: vec![Signal::UserAgentChanged],
        unknown: Vec::new(),
    };
    let layer = SessionLayer::builder(store)
        .risk_policy(high)
        .on_risk(move |risk| {
            assert_eq!(risk.level, RiskLevel::High);
            action
        })
        .build()
        .unwrap();
    let events = layer.sessions().events();
    let check =
        async |user: UserSession| user.check_risk().await.map(|risk| risk.level.to_string());
    let app = routes()
        .route("/risky", axum::routing::get(check))
        .layer(layer);
    (app, events)
}

async fn r55_what_is_done_about_a_risk_is_the_applications_choice(store: impl TestStore) {
    for action in [
        RiskAction::Allow,
        RiskAction::Log,
        RiskAction::StepUp,
        RiskAction::End,
    ] {
        let (app, mut events) = risky(store.another().await, action);
        let mut client = Client::signed_in(&app, "alice").await;
        taken(&mut events);
        let reply = client.get("/risky").await;
        let heard = lines(&mut events);
        match action {
            RiskAction::Allow => {
                assert_eq!((reply.ok().as_str(), heard.len()), ("high", 0));
            }
            // Signed in a moment ago: that is what a step up asks for.
            RiskAction::Log | RiskAction::StepUp => {
                assert_eq!(reply.ok(), "high");
                assert_eq!(heard, ["risk - alice"]);
            }
            RiskAction::End => {
                assert_eq!(reply.problem(), ("session_ended", Some("revoked")));
                assert_eq!(heard, ["risk - alice", "ended revoked alice"]);
                let reply = client.get("/me").await;
                let problem = reply.problem.unwrap();
                assert_eq!(problem.reason, Some(EndReason::Revoked));
                assert_eq!(
                    problem.note.as_deref(),
                    Some("risk high: user_agent_changed")
                );
            }
        }
    }
}

#[tokio::test]
async fn r52_a_step_up_asks_for_a_sign_in_within_five_minutes() {
    let clock = sessile::ManualClock::new();
    let store = sessile::MemoryStore::builder().clock(clock.clone()).build();
    let layer = SessionLayer::builder(store)
        .on_risk(|_| RiskAction::StepUp)
        .build()
        .unwrap();
    let check = async |user: UserSession| user.check_risk().await.map(|_| "fine");
    let app = routes()
        .route("/risky", axum::routing::get(check))
        .layer(layer);
    let mut client = Client::signed_in(&app, "alice").await;
    clock.advance(5 * MINUTE + MINUTE / 60);
    assert_eq!(
        client.get("/risky").await.problem(),
        ("sign_in_again", None)
    );
    client.post("/reauthenticate").await.ok();
    assert_eq!(client.get("/risky").await.ok(), "fine");
}

#[tokio::test]
async fn unknown_addresses_are_allowed_and_said_once() {
    let (told, _guard) = Collector::install();
    let (store, _) = memory();
    let app = crate::harness::app(store);
    for _ in 0..3 {
        Client::signed_in(&app, "alice").await.get("/me").await.ok();
    }
    let request = Request::get("/ping")
        .body(axum::body::Body::empty())
        .unwrap();
    Client::new(&app).send(request).await.ok();
    assert_eq!(told.saying("addresses that are not known"), 1);
}

on_every_store! {
    r53_whoever_listens_hears_what_the_lines_say_once_each,
    r55_what_is_done_about_a_risk_is_the_applications_choice,
}
