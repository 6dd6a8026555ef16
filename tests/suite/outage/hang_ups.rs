//! Clients that hang up while Redis is away: at every point where that can happen.

use sessile::SessionLayer;
use tower::ServiceExt;

use super::fixture::{Browser, Instance, Network, is_live, keys};
use crate::cancellation::{HangUp, at_every_place};

/// Runs a request as far as that place; whether it was answered.
async fn sent(place: HangUp, instance: &Instance, browser: &Browser, path: &str) -> bool {
    let request = browser.request("POST", path);
    let answered = place.of(instance.app.clone().oneshot(request)).await;
    answered.is_some_and(|answer| {
        assert!(answer.unwrap().status().is_success(), "{path} {place:?}");
        true
    })
}

fn sessions(network: &Network) -> usize {
    let keys = keys(&network.server).into_iter();
    keys.filter(|key| key.starts_with("session:"))
        .filter(|key| {
            let bytes: Vec<u8> = redis::cmd("GET")
                .arg(key)
                .query(&mut network.server.connection())
                .unwrap();
            matches!(
                sessile::record::Entry::from_bytes(&bytes),
                Ok(sessile::record::Entry::Live(_))
            )
        })
        .count()
}

/// Signing out is done or not done, here and there.
#[tokio::test(flavor = "multi_thread")]
async fn inv10_a_sign_out_dropped_after_any_poll_is_done_wholly_or_not_at_all() {
    let network = Network::start();
    let instance = Instance::at(&network.url()).await;
    at_every_place(async |place| {
        let mut tab = instance.signed_in("alice").await;
        network.cut_off(&instance).await;
        let answered = sent(place, &instance, &tab, "/logout").await;
        let is_over = tab.get("/me").await.status == 401;
        assert!(is_over || !answered, "{place:?}");
        network.reconnect(&instance).await;
        assert_eq!(is_live(&network.server, tab.id()), !is_over, "{place:?}");
        assert_eq!(tab.get("/me").await.status == 401, is_over, "{place:?}");
        answered
    })
    .await;
}

/// A login whose cookie nobody was given leaves no session, here or there; and whoever was before is who they were.
#[tokio::test(flavor = "multi_thread")]
async fn inv10_a_login_dropped_after_any_poll_leaves_no_session_that_nobody_holds() {
    at_every_place(async |place| {
        let network = Network::start();
        let instance = Instance::at(&network.url()).await;
        let mut stranger = instance.browser();
        stranger.given("/put/cart/pear").await.ok();
        network.cut_off(&instance).await;
        let answered = sent(place, &instance, &stranger, "/login/alice").await;
        network.reconnect(&instance).await;
        let mut tab = stranger.clone();
        let cart = tab.any("GET", "/get/cart").await.status;
        assert_eq!(tab.get("/who").await.ok(), "nobody", "{place:?}");
        // Either the one from before, or, where the answer was on its way, hers alone.
        let own = usize::from(cart == 200);
        assert_eq!(sessions(&network), own + usize::from(answered), "{place:?}");
        assert!(!answered || own == 0, "{place:?}");
        answered
    })
    .await;
}

/// What is staged on a lease is kept wholly or not at all, and is not made twice.
#[tokio::test(flavor = "multi_thread")]
async fn inv10_a_write_on_a_lease_dropped_after_any_poll_is_made_once_or_not_at_all() {
    let network = Network::start();
    let instance = Instance::at(&network.url()).await;
    let mut alice = instance.signed_in("alice").await;
    alice.post("/add/n/1").await.ok();
    at_every_place(async |place| {
        alice.is("alice").await;
        let before: i64 = alice.get("/get/n").await.ok().parse().unwrap();
        network.cut_off(&instance).await;
        let answered = sent(place, &instance, &alice, "/add/n/1").await;
        network.reconnect(&instance).await;
        let after: i64 = alice.get("/get/n").await.ok().parse().unwrap();
        assert!(
            after == before + 1 || (after == before && !answered),
            "{place:?}"
        );
        answered
    })
    .await;
    drop::<SessionLayer>(instance.layer);
}
