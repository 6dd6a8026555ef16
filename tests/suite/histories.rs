//! What happened to a user's sessions, what they did, and how that looks.

use axum::extract::Path;
use axum::routing::{get, post};
use sessile::risk::{ActivityCount, RiskLevel, Signal};
use sessile::store::wrappers::Failing;
use sessile::{
    AtLimit, Error, HistoryEvent, SessionLayer, SessionLayerBuilder, Sessions, UserSession,
};

use crate::demo;
use crate::harness::{Client, routes};
use crate::stores::{TestStore, on_every_store};

/// The application with what these tests need of it.
fn app(builder: SessionLayerBuilder) -> (axum::Router, Sessions) {
    let layer = builder.build().unwrap();
    let record = async |user: UserSession, Path((kind, resource)): Path<(String, String)>| {
        user.record_activity(&kind, &resource).await
    };
    let look = async |user: UserSession| -> Result<String, Error> {
        let security = user.security().await?;
        let reasons: Vec<_> = security.risk.reasons.iter().map(|r| r.as_str()).collect();
        let (level, count) = (security.risk.level, security.activities.len());
        Ok(format!("{level} {count} {}", reasons.join(" "))
            .trim_end()
            .to_owned())
    };
    let app = routes()
        .route("/did/{kind}/{resource}", post(record))
        .route("/security", get(look))
        .layer(layer.clone());
    (app, layer.sessions())
}

/// The history, oldest first, as "event reason note address".
async fn told(sessions: &Sessions, user: &str) -> Vec<String> {
    let history = sessions.history(user).await.unwrap();
    let lines = history.iter().rev().map(|entry| {
        let (reason, note) = match &entry.event {
            HistoryEvent::Ended { reason, note } => {
                (reason.as_str(), note.as_deref().unwrap_or("-"))
            }
            _ => ("-", "-"),
        };
        let address = entry.address.as_deref().unwrap_or("-");
        format!("{} {reason} {note} {address}", entry.event.as_str())
    });
    lines.collect()
}

async fn r53_r57_a_history_names_what_happened_and_outlives_the_sessions(store: impl TestStore) {
    let limit = SessionLayer::builder(store.clone()).max_sessions_per_user(1, AtLimit::EndOldest);
    let (app, sessions) = app(limit);
    let mut client = Client::new(&app);
    client.address = Some("192.0.2.1".parse().unwrap());
    client.post("/put/cart/1").await.ok();
    for path in [
        "/login/alice",
        "/regenerate",
        "/reauthenticate",
        "/login/alice",
    ] {
        client.post(path).await.ok();
    }
    store.later().await;
    Client::signed_in(&app, "alice").await;
    sessions.revoke_all("alice", "stolen laptop").await.unwrap();
    let mut client = Client::signed_in(&app, "alice").await;
    client.post("/logout").await.ok();
    client.post("/logout").await.ok();
    let expected = [
        "signed_in - - 192.0.2.1",
        "regenerated - - 192.0.2.1",
        "reauthenticated - - 192.0.2.1",
        "ended regenerated - 192.0.2.1",
        "signed_in - - 192.0.2.1",
        "signed_in - - -",
        "ended limit - 192.0.2.1",
        "ended revoked stolen laptop -",
        "signed_in - - -",
        "ended logged_out - -",
    ];
    let mut told = told(&sessions, "alice").await;
    // Which of the two is first within one step is the store's own business.
    told[5..7].sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(told, expected);
    assert_eq!(sessions.list("alice").await.unwrap().len(), 0);
    assert_eq!(sessions.history("bob").await.unwrap(), []);
}

async fn r56_what_is_kept_of_a_user_can_be_erased(store: impl TestStore) {
    let (app, sessions) = app(SessionLayer::builder(store.clone()));
    let mut client = Client::signed_in(&app, "alice").await;
    client.post("/did/view/page").await.ok();
    Client::signed_in(&app, "bob").await;
    let ended = sessions.erase_user("alice").await.unwrap();
    assert_eq!(ended.count, 1);
    assert_eq!(
        client.get("/me").await.problem(),
        ("session_ended", Some("revoked"))
    );
    assert_eq!(sessions.history("alice").await.unwrap(), []);
    assert_eq!(sessions.activities("alice").await.unwrap(), []);
    assert_eq!(sessions.history("bob").await.unwrap().len(), 1);
    assert_eq!(sessions.erase_user("alice").await.unwrap().count, 0);
}

async fn r56_whoever_is_erased_is_named_in_no_demo_that_they_brought_along(store: impl TestStore) {
    let app = demo::app(store.clone());
    let mut client = demo::started(&app).await;
    client.post("/demo/say/secret").await.ok();
    client.post("/adopt/alice").await.ok();
    let mut other = demo::started(&app).await;
    other.post("/adopt/bob").await.ok();
    let sessions = SessionLayer::new(store).sessions();
    assert_eq!(sessions.erase_user("alice").await.unwrap().count, 1);
    for path in ["/demo", "/demo/said"] {
        demo::is_gone(&client.get(path).await, Some("revoked"));
    }
    assert_eq!(other.get("/demo/whose").await.ok(), "bob");
}

async fn r55_two_activities_are_counted_and_low(store: impl TestStore) {
    let (app, sessions) = app(SessionLayer::builder(store));
    let mut client = Client::new(&app);
    client.address = Some("192.0.2.1".parse().unwrap());
    client.agent = Some("app/1".into());
    let handle = client.post("/login/alice").await.ok();
    assert_eq!(client.get("/security").await.ok(), "low 0");
    client.post("/did/view/one").await.ok();
    client.post("/did/view/two").await.ok();
    assert_eq!(client.get("/security").await.ok(), "low 2");
    let newest = sessions.activities("alice").await.unwrap().remove(0);
    assert_eq!((&*newest.kind, &*newest.resource), ("view", "two"));
    assert_eq!(newest.handle.unwrap().to_string(), handle);
    assert_eq!(newest.address.as_deref(), Some("192.0.2.1"));
    assert_eq!(newest.user_agent.as_deref(), Some("app/1"));
    assert!(
        !Client::new(&app)
            .post("/did/view/one")
            .await
            .status
            .is_success()
    );
}

async fn r55_another_network_and_an_admins_page_are_high_with_the_reasons(store: impl TestStore) {
    let (app, sessions) = app(SessionLayer::builder(store));
    let mut client = Client::new(&app);
    client.address = Some("192.0.2.1".parse().unwrap());
    client.post("/login/alice").await.ok();
    client.address = Some("198.51.100.7".parse().unwrap());
    assert_eq!(client.get("/security").await.ok(), "low 0 network_changed");
    client.post("/did/view/admin").await.ok();
    let high = "high 1 network_changed privileged_from_new_network";
    assert_eq!(client.get("/security").await.ok(), high);
    assert_eq!(
        client.get("/me").await.ok(),
        "alice",
        "nothing ends by itself"
    );
    // For whoever asks from outside, too: what was recorded tells.
    let security = sessions.security("alice").await.unwrap();
    assert_eq!(security.risk.level, RiskLevel::High);
}

async fn r55_another_user_agent_is_medium_also_after_it_went_back(store: impl TestStore) {
    let (app, _) = app(SessionLayer::builder(store));
    let mut client = Client::new(&app);
    client.agent = Some("app/1".into());
    client.post("/login/alice").await.ok();
    client.agent = Some("app/2".into());
    assert_eq!(client.get("/security").await.ok(), "low 0");
    client.agent = Some("curl/9".into());
    assert_eq!(
        client.get("/security").await.ok(),
        "medium 0 user_agent_changed"
    );
    client.post("/did/view/page").await.ok();
    client.agent = Some("app/2".into());
    assert_eq!(
        client.get("/security").await.ok(),
        "medium 1 user_agent_changed"
    );
}

async fn r55_an_ended_id_that_comes_again_is_a_reason(store: impl TestStore) {
    let (app, sessions) = app(SessionLayer::builder(store));
    let mut client = Client::signed_in(&app, "alice").await;
    let mut other = Client::signed_in(&app, "alice").await;
    other.post("/end-others").await.ok();
    let before = sessions.security("alice").await.unwrap().risk;
    assert!(!before.reasons.contains(&Signal::EndedIdPresented));
    assert!(!client.get("/me").await.status.is_success());
    let after = sessions.security("alice").await.unwrap().risk;
    assert_eq!(
        (after.level, &*after.reasons),
        (RiskLevel::Medium, &[Signal::EndedIdPresented][..])
    );
}

async fn the_rule_of_before_can_be_chosen(store: impl TestStore) {
    let (app, _) = app(SessionLayer::builder(store).risk_policy(ActivityCount));
    let mut client = Client::signed_in(&app, "alice").await;
    for n in 1..=21 {
        client.post("/did/view/page").await.ok();
        let look = client.get("/security").await.ok();
        let level = match n {
            0..=10 => "low",
            11..=20 => "medium",
            _ => "high",
        };
        assert!(look.starts_with(&format!("{level} {n}")), "{look}");
    }
}

async fn a_store_that_fails_is_503_and_nobody_is_low_for_it(store: impl TestStore) {
    let failing = Failing::new(store);
    let (app, sessions) = app(SessionLayer::builder(failing.clone()));
    let mut client = Client::signed_in(&app, "alice").await;
    failing.fail(sessile::store::wrappers::Call::Log);
    failing.fail(sessile::store::wrappers::Call::Record);
    assert_eq!(
        client.get("/security").await.problem(),
        ("store_unavailable", None)
    );
    assert_eq!(
        client.post("/did/view/page").await.problem(),
        ("store_unavailable", None)
    );
    assert!(sessions.history("alice").await.is_err());
}

on_every_store! {
    r53_r57_a_history_names_what_happened_and_outlives_the_sessions,
    r56_what_is_kept_of_a_user_can_be_erased,
    r56_whoever_is_erased_is_named_in_no_demo_that_they_brought_along,
    r55_two_activities_are_counted_and_low,
    r55_another_network_and_an_admins_page_are_high_with_the_reasons,
    r55_another_user_agent_is_medium_also_after_it_went_back,
    r55_an_ended_id_that_comes_again_is_a_reason,
    the_rule_of_before_can_be_chosen,
    a_store_that_fails_is_503_and_nobody_is_low_for_it,
}
