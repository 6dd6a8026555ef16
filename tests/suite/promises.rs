//! What a layer promises of a session's length, and what it says of it.

use std::time::Duration;

use http::HeaderName;
use sessile::{AddressKey, AtLimit, LimitPolicy, Outage, Passive, SessionLayer, StoredAddress};

use crate::harness::{Client, HOUR, MINUTE, memory, with};
use crate::stores::{TestStore, on_every_store};

const LEFT: HeaderName = HeaderName::from_static("session-left");
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test]
async fn r38_the_presets_are_those_of_the_standard_and_no_end_is_later() {
    for (n, idle, absolute) in [
        (1, 30 * DAY, 30 * DAY),
        (2, HOUR, DAY),
        (3, 15 * MINUTE, 12 * HOUR),
    ] {
        let (store, clock) = memory();
        let builder = SessionLayer::builder(store);
        let builder = match n {
            1 => builder.aal1(),
            2 => builder.aal2(),
            _ => builder.aal3(),
        };
        let layer = builder.build().unwrap();
        let policy = layer.policy();
        assert_eq!(policy.idle_timeout + policy.touch_threshold, idle, "AAL{n}");
        assert_eq!(
            (policy.absolute_timeout, policy.remembered_absolute_timeout),
            (absolute, absolute)
        );
        let app = crate::harness::routes().layer(layer);
        for path in ["/login/alice", "/login/alice?remember=1"] {
            let mut client = Client::new(&app);
            client.post(path).await.ok();
            clock.advance(idle - SECOND);
            assert_eq!(client.clone().get("/me").await.ok(), "alice");
            // It was used, and so lives on; but for one whose absolute end comes.
            clock.advance(idle);
            assert!(
                !client.get("/me").await.status.is_success(),
                "AAL{n} {path}"
            );
        }
    }
}

#[tokio::test]
async fn r38_a_larger_threshold_makes_the_idle_timeout_of_a_preset_shorter() {
    let (store, _) = memory();
    let layer = SessionLayer::builder(store)
        .aal3()
        .touch_threshold(5 * MINUTE)
        .build()
        .unwrap();
    assert_eq!(layer.policy().idle_timeout, 10 * MINUTE);
    let (store, _) = memory();
    let own = SessionLayer::builder(store)
        .aal3()
        .idle_timeout(7 * MINUTE)
        .build()
        .unwrap();
    assert_eq!(own.policy().idle_timeout, 7 * MINUTE);
}

#[tokio::test]
async fn r51_the_policy_says_in_words_what_holds() {
    let (store, _) = memory();
    let layer = SessionLayer::builder(store)
        .idle_timeout(20 * MINUTE)
        .max_sessions_per_user(5, AtLimit::EndOldest)
        .build()
        .unwrap();
    let policy = layer.policy();
    assert_eq!(
        (policy.limit, policy.outage),
        (LimitPolicy::Fixed(5, AtLimit::EndOldest), None)
    );
    let text = policy.describe();
    for said in [
        "20 minutes after its last request",
        "12 hours after signing in",
        "14 days",
        "30 days",
        "1 minute",
        "at most 5 sessions",
        "ends the session that was signed in longest ago",
        "in this process",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(layer.sessions().policy() == policy);
}

async fn r51_with_a_store_that_can_be_away_the_policy_says_what_happens_then(
    store: impl TestStore,
) {
    let away = Outage::Lease(30 * SECOND);
    let builder = SessionLayer::builder(store.clone())
        .outage(away)
        .max_sessions_per_user(1, AtLimit::Refuse);
    let policy = builder.build().unwrap().policy();
    assert!(
        policy
            .describe()
            .contains("at most 1 session at a time. Signing in once more is refused.")
    );
    if store.parts().is_empty() {
        assert_eq!(policy.outage, None);
    } else {
        assert_eq!(policy.outage, Some(away));
        assert!(policy.describe().contains("read within 30 seconds"));
    }
}

#[tokio::test]
async fn r36_r39_what_is_left_is_told_and_a_passive_request_extends_nothing() {
    let (store, clock) = memory();
    let app = with(SessionLayer::builder(store).remaining_header(LEFT));
    let mut client = Client::new(&app);
    assert_eq!(client.get("/look").await.header(LEFT), None);
    let told = |idle: u64, absolute: u64| format!("idle={idle}, absolute={absolute}");
    let reply = client.post("/login/alice").await;
    assert_eq!(reply.header(LEFT), Some(&*told(1860, 43_200)));
    assert_eq!(
        client.get("/ping").await.header(LEFT),
        None,
        "nobody read it"
    );
    for n in 1..=3 {
        clock.advance(5 * MINUTE);
        let mut request = client.request("GET", "/look");
        request.extensions_mut().insert(Passive);
        let reply = client.send(request).await;
        assert_eq!(
            reply.header(LEFT),
            Some(&*told(1860 - n * 300, 43_200 - n * 300))
        );
    }
    let reply = client.get("/look").await;
    assert_eq!(
        reply.header(LEFT),
        Some(&*told(1860, 42_300)),
        "that was activity"
    );
    client.post("/logout").await.ok();
    assert_eq!(client.get("/look").await.header(LEFT), None);
}

async fn addresses_are_kept_as_was_asked(store: impl TestStore) {
    for (stored, shown) in [
        (StoredAddress::Full, "192.0.2.7"),
        (StoredAddress::Network, "192.0.2.0/24"),
        (StoredAddress::Nothing, "-"),
        (StoredAddress::Hashed(AddressKey::new(b"secret")), "#"),
    ] {
        let app = with(SessionLayer::builder(store.another().await).stored_addresses(stored));
        let mut client = Client::new(&app);
        client.address = Some("192.0.2.7".parse().unwrap());
        client.post("/login/alice").await.ok();
        let list = client.get("/sessions").await.ok();
        let address = list.split(' ').nth(2).unwrap();
        assert!(
            address == shown || (shown == "#" && address.starts_with('#')),
            "{list}"
        );
        assert!(shown == "192.0.2.7" || !list.contains("192.0.2.7"));
    }
}

on_every_store! {
    addresses_are_kept_as_was_asked,
    r51_with_a_store_that_can_be_away_the_policy_says_what_happens_then,
}
