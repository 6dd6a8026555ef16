//! Ids that cannot be looked up: one signs in under them, and nothing else.

use http::{Request, StatusCode, header};
use sessile::record::Entry;
use sessile::store::wrappers::{Call, Failing, Spy};
use sessile::{EndReason, MemoryStore, Outage, SessionStore};
use tower::ServiceExt;

use super::fixture::{
    Browser, ID, Instance, LEASE, LOCAL_ID, Network, cut, is_live, patient, stands,
};
use crate::harness::{self, COOKIE, Client, refusing};
use crate::support::Proxy;

/// An id of alice's that `here` never read, and `here` cut off.
struct Unread {
    here: Instance,
    elsewhere: Instance,
    network: Network,
    alice: Browser,
}

impl Unread {
    async fn start(outage: Outage) -> Self {
        let network = Network::start();
        let here = Instance::with(&network.url(), outage).await;
        let elsewhere = Instance::at(&network.server.url()).await;
        let alice = here.also(&elsewhere.signed_in("alice").await);
        network.cut_off(&here).await;
        Self {
            here,
            elsewhere,
            network,
            alice,
        }
    }

    /// The id opens nothing, wherever it comes.
    async fn is_over(&self, id: &Browser) {
        assert!(!is_live(&self.network.server, id.id()));
        for instance in [&self.here, &self.elsewhere] {
            assert_eq!(instance.also(id).get("/me").await.status, 401);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inv03_a_login_under_an_unknown_id_ends_it_and_is_known_to_all_when_redis_is_back() {
    for user in ["alice", "bob"] {
        let unread = Unread::start(Outage::Local { lease: LEASE }).await;
        let (old, mut browser) = (unread.alice.clone(), unread.alice.clone());
        browser.get("/me").await.not_now();
        browser.given(&format!("/login/{user}")).await.ok();
        assert_eq!(browser.id().len(), LOCAL_ID);
        browser.is(user).await;
        assert_eq!(browser.freshness().await, "local");
        // Here it is over at once, and in Redis when that is back.
        old.clone().is_refused("regenerated").await;
        assert!(is_live(&unread.network.server, old.id()));
        assert_eq!(unread.here.health().pending, 1);
        unread.network.reconnect(&unread.here).await;
        unread.is_over(&old).await;
        browser.settles(user).await;
        unread.elsewhere.also(&browser).is(user).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inv08_under_an_unknown_id_nothing_but_a_login_says_anything() {
    for outage in [
        Outage::Refuse,
        Outage::Lease(LEASE),
        Outage::Local { lease: LEASE },
    ] {
        let unread = Unread::start(outage).await;
        let mut alice = unread.alice.clone();
        for path in [
            "/look",
            "/me",
            "/who",
            "/get/cart",
            "/handle",
            "/freshness",
            "/live",
            "/fresh",
            "/sessions",
        ] {
            alice.get(path).await.not_now();
        }
        for path in [
            "/put/cart/pear",
            "/commit/cart/pear",
            "/remove/cart",
            "/clear",
            "/count/n",
            "/add/n/1",
            "/fail/200/cart",
            "/fail/303/cart",
            "/fail/404/cart",
            "/regenerate",
            "/reauthenticate",
            "/logout",
            "/end-all",
        ] {
            alice.post(path).await.not_now();
        }
        // What failed by itself did, and a refusal that has nothing to do with the session is one.
        assert_eq!(alice.post("/fail/500/cart").await.status, 500);
        assert_eq!(alice.post("/wrong-password").await.status, 401);
        let nobody = format!("/login/{}", "a".repeat(257));
        assert_eq!(alice.post(&nobody).await.status, 422);
        let health = unread.here.health();
        assert_eq!(
            (health.local, health.pending),
            (0, 0),
            "made-up ids fill nothing"
        );
        if !matches!(outage, Outage::Local { .. }) {
            alice.post("/login/alice").await.not_now();
        }
        unread.network.reconnect(&unread.here).await;
        alice.is("alice").await;
    }
}

/// Made by an instance that is cut off still; this one reaches Redis, by any policy.
#[tokio::test(flavor = "multi_thread")]
async fn inv03_a_login_under_a_foreign_local_id_keeps_that_out_of_redis() {
    for outage in [
        Outage::Refuse,
        Outage::Lease(LEASE),
        Outage::Local { lease: LEASE },
    ] {
        let network = Network::start();
        let maker = Instance::at(&network.url()).await;
        let here = Instance::with(&network.server.url(), outage).await;
        network.cut_off(&maker).await;
        let old = maker.signed_in("alice").await;
        assert_eq!(old.id().len(), LOCAL_ID);
        let mut browser = here.also(&old);
        browser.get("/me").await.not_now();
        browser.given("/login/alice").await.ok();
        assert_eq!(browser.id().len(), ID);
        browser.is("alice").await;
        match stands(&network.server, old.id()) {
            Some(Entry::Ended(tombstone)) => {
                // Which is kept for longer than a local session lives.
                assert_eq!(tombstone.end.reason, EndReason::LoggedOut);
            }
            other => panic!("what may come is kept out, and there is {other:?}"),
        }
        network.reconnect(&maker).await;
        for instance in [&maker, &here] {
            instance.also(&old).is_refused("logged_out").await;
            instance.also(&browser).is("alice").await;
        }
    }
}

/// Both are cut off, and either comes back first.
#[tokio::test(flavor = "multi_thread")]
async fn inv03_a_login_under_a_foreign_local_id_while_both_are_cut_off() {
    for maker_first in [false, true] {
        let network = Network::start();
        let proxy = Proxy::start(network.server.address());
        let maker = Instance::at(&network.url()).await;
        let here = Instance::over(patient(&proxy.url()).connect().await.unwrap(), |b| b);
        network.cut_off(&maker).await;
        let old = maker.signed_in("alice").await;
        cut(&proxy);
        here.knows_that_it_is_away().await;
        let mut browser = here.also(&old);
        browser.given("/login/alice").await.ok();
        browser.is("alice").await;
        if maker_first {
            network.reconnect(&maker).await;
        }
        proxy.allow();
        here.is_back().await;
        network.reconnect(&maker).await;
        assert!(!is_live(&network.server, old.id()));
        browser.settles("alice").await;
        for instance in [&maker, &here] {
            assert_eq!(instance.also(&old).get("/me").await.status, 401);
            instance.also(&browser).is("alice").await;
        }
    }
}

/// Twins, of which none can be looked up: both are over.
#[tokio::test(flavor = "multi_thread")]
async fn inv03_a_login_under_two_unknown_ids_ends_both() {
    let unread = Unread::start(Outage::Local { lease: LEASE }).await;
    let bob = unread.elsewhere.signed_in("bob").await;
    let request = Request::post("/login/alice").header(
        header::COOKIE,
        format!("{COOKIE}={}; {COOKIE}={}", unread.alice.id(), bob.id()),
    );
    let request = request.body(axum::body::Body::empty()).unwrap();
    let response = unread.here.app.clone().oneshot(request).await.unwrap();
    harness::reply(response).await.ok();
    unread.network.reconnect(&unread.here).await;
    for old in [&unread.alice, &bob] {
        unread.is_over(old).await;
    }
}

/// Over any store: one whose read failed, and that is there again for the login.
#[tokio::test]
async fn inv03_after_a_read_that_failed_a_login_ends_what_could_not_be_read() {
    let failing = Failing::new(Spy::new(MemoryStore::new()));
    let app = refusing(failing.clone());
    let mut alice = Client::signed_in(&app, "alice").await;
    let old = alice.id().unwrap().to_owned();
    // The end of it fails, too: nothing has happened.
    failing.fail_next(Call::Load);
    failing.fail_next(Call::End);
    let reply = alice.post("/login/bob").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(reply.set_cookies(), [""; 0]);
    assert_eq!(failing.list("bob".into()).await.unwrap(), []);
    assert_eq!(alice.get("/me").await.ok(), "alice");
    failing.fail_next(Call::Load);
    alice.post("/login/bob").await.ok();
    assert_eq!(alice.get("/me").await.ok(), "bob");
    let mut old = Client::holding(&app, &old);
    assert_eq!(
        old.get("/me").await.problem(),
        ("session_ended", Some("regenerated"))
    );
}
