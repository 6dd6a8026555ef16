//! What is served and what is not, by policy.

use std::time::{Duration, Instant};

use sessile::Outage;
use sessile::record::Entry;
use sessile::store::Mode;

use super::fixture::{Instance, LEASE, LOCAL_ID, MINUTE, Network, SECOND, is_live, keys, stands};
use crate::support::Server;
use crate::support::wait::wait_until;

/// Far above what a refusal takes, and far below what waiting for Redis would.
const AT_ONCE: Duration = Duration::from_secs(2);

fn every_policy() -> [Outage; 3] {
    [
        Outage::Refuse,
        Outage::Lease(LEASE),
        Outage::Local { lease: LEASE },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn f01_who_has_no_cookie_is_served_and_waits_for_nothing() {
    for outage in every_policy() {
        let network = Network::start();
        let instance = Instance::with(&network.url(), outage).await;
        network.cut_off(&instance).await;
        let began = Instant::now();
        for path in ["/ping", "/look", "/who", "/get/cart"] {
            let status = instance.browser().get(path).await.status.as_u16();
            assert!([200, 404].contains(&status), "{outage:?} {path}: {status}");
        }
        assert!(began.elapsed() < AT_ONCE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f02_refuse_is_503_at_once_with_retry_after_and_the_cookie_left_alone() {
    let network = Network::start();
    let instance = Instance::with(&network.url(), Outage::Refuse).await;
    let mut alice = instance.signed_in("alice").await;
    alice.is("alice").await;
    network.cut_off(&instance).await;
    let began = Instant::now();
    for path in ["/me", "/who", "/look", "/sessions"] {
        alice.get(path).await.not_now();
    }
    for path in [
        "/put/cart/pear",
        "/logout",
        "/end-all",
        "/regenerate",
        "/login/alice",
    ] {
        alice.post(path).await.not_now();
    }
    let mut stranger = instance.browser();
    for path in ["/put/cart/pear", "/login/bob", "/admin/alice"] {
        stranger.post(path).await.not_now();
    }
    assert!(began.elapsed() < AT_ONCE);
    let health = instance.health();
    assert_eq!((health.leases, health.local, health.pending), (0, 0, 0));
    network.reconnect(&instance).await;
    alice.is("alice").await;
}

/// Also where nobody had noticed yet that it is away.
#[tokio::test(flavor = "multi_thread")]
async fn f02_the_first_who_finds_out_gets_the_same() {
    let network = Network::start();
    let instance = Instance::with(&network.url(), Outage::Refuse).await;
    let mut alice = instance.signed_in("alice").await;
    network.cut();
    alice.get("/me").await.not_now();
    network.reconnect(&instance).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f03_the_same_cookie_works_after_the_recovery() {
    for outage in every_policy() {
        let network = Network::start();
        let instance = Instance::with(&network.url(), outage).await;
        let mut alice = instance.signed_in("alice").await;
        let mut stranger = instance.browser();
        stranger.given("/put/cart/pear").await.ok();
        network.cut_off(&instance).await;
        alice.get("/me").await;
        stranger.get("/get/cart").await;
        network.reconnect(&instance).await;
        alice.is("alice").await;
        assert_eq!(alice.freshness().await, "live");
        assert_eq!(stranger.get("/get/cart").await.ok(), "pear");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f04_a_lease_is_served_and_marked_stale() {
    for outage in [Outage::Lease(LEASE), Outage::Local { lease: LEASE }] {
        let network = Network::start();
        let instance = Instance::with(&network.url(), outage).await;
        let mut alice = instance.signed_in("alice").await;
        let mut stranger = instance.browser();
        stranger.given("/put/cart/pear").await.ok();
        assert_eq!(alice.freshness().await, "live");
        network.cut_off(&instance).await;
        alice.is("alice").await;
        assert_eq!(alice.freshness().await, "stale");
        assert_eq!(stranger.get("/get/cart").await.ok(), "pear");
        // What needs the store itself is not answered from memory.
        alice.get("/live").await.not_now();
        alice.get("/sessions").await.not_now();
        network.reconnect(&instance).await;
        assert_eq!(alice.get("/live").await.ok(), "alice");
        assert_eq!(alice.freshness().await, "live");
    }
}

/// Who was read in the moment in which it went away is served, too.
#[tokio::test(flavor = "multi_thread")]
async fn f04_a_read_that_fails_is_answered_from_the_lease() {
    let network = Network::start();
    let instance = Instance::at(&network.url()).await;
    let mut alice = instance.signed_in("alice").await;
    network.cut();
    alice.is("alice").await;
    assert_eq!(alice.freshness().await, "stale");
}

#[tokio::test(flavor = "multi_thread")]
async fn f05_what_this_instance_never_read_is_not_served_nor_signed_out() {
    let network = Network::start();
    let (instance, elsewhere) = (
        Instance::at(&network.url()).await,
        Instance::at(&network.server.url()).await,
    );
    let alice = elsewhere.signed_in("alice").await;
    network.cut_off(&instance).await;
    let mut alice = instance.also(&alice);
    for path in ["/me", "/who", "/look"] {
        alice.get(path).await.not_now();
    }
    alice.post("/put/cart/pear").await.not_now();
    network.reconnect(&instance).await;
    alice.is("alice").await;
}

/// By the clock on the wall: a machine that slept does not lend time.
#[tokio::test(flavor = "multi_thread")]
async fn f05_a_lease_is_over_by_the_wall_clock() {
    for outage in [Outage::Lease(MINUTE), Outage::Local { lease: MINUTE }] {
        let network = Network::start();
        let instance = Instance::with(&network.url(), outage).await;
        let mut alice = instance.signed_in("alice").await;
        network.cut_off(&instance).await;
        alice.is("alice").await;
        instance.clock.advance(MINUTE + SECOND);
        alice.get("/me").await.not_now();
        alice.post("/put/cart/pear").await.not_now();
        network.reconnect(&instance).await;
        alice.is("alice").await;
    }
}

/// By the steady one: a clock that stands still, or is put back, does not either.
#[tokio::test(flavor = "multi_thread")]
async fn f05_a_lease_is_over_by_the_steady_clock() {
    let network = Network::start();
    let outage = Outage::Lease(Duration::from_millis(300));
    let instance = Instance::with(&network.url(), outage).await;
    let mut alice = instance.signed_in("alice").await;
    network.cut_off(&instance).await;
    instance.clock.set(std::time::UNIX_EPOCH + MINUTE);
    let what = "the lease is over";
    wait_until(what, async || alice.get("/me").await.status == 503).await;
    alice.get("/me").await.not_now();
}

/// What was known before the outage counts from when it was asked, and nothing is renewed by being served.
#[tokio::test(flavor = "multi_thread")]
async fn f05_serving_a_lease_does_not_make_it_longer() {
    let network = Network::start();
    let instance = Instance::with(&network.url(), Outage::Local { lease: MINUTE }).await;
    let mut alice = instance.signed_in("alice").await;
    network.cut_off(&instance).await;
    for _ in 0..2 {
        instance.clock.advance(MINUTE / 3);
        alice.is("alice").await;
        assert_eq!(alice.post("/commit/cart/pear").await.ok(), "pending");
    }
    instance.clock.advance(MINUTE / 2);
    alice.get("/me").await.not_now();
}

#[tokio::test(flavor = "multi_thread")]
async fn under_lease_nothing_is_written_nobody_signs_in_and_ends_are_pending() {
    let network = Network::start();
    let instance = Instance::with(&network.url(), Outage::Lease(LEASE)).await;
    let mut alice = instance.signed_in("alice").await;
    network.cut_off(&instance).await;
    for path in [
        "/put/cart/pear",
        "/commit/cart/pear",
        "/remove/cart",
        "/count/n",
        "/add/n/1",
        "/regenerate",
        "/reauthenticate",
        "/login/alice",
    ] {
        alice.post(path).await.not_now();
        alice.is("alice").await;
    }
    for path in ["/put/cart/pear", "/login/bob"] {
        instance.browser().post(path).await.not_now();
    }
    let id = alice.id().to_owned();
    assert_eq!(alice.signs_out().await.ok(), "pending");
    network.reconnect(&instance).await;
    assert!(!is_live(&network.server, &id));
}

#[tokio::test(flavor = "multi_thread")]
async fn live_lets_pass_only_what_the_store_itself_said() {
    let network = Network::start();
    let instance = Instance::at(&network.url()).await;
    let mut alice = instance.signed_in("alice").await;
    assert_eq!(alice.get("/live").await.ok(), "alice");
    network.cut_off(&instance).await;
    alice.get("/live").await.not_now();
    let mut bob = instance.signed_in("bob").await;
    assert_eq!(bob.freshness().await, "local");
    assert_eq!(bob.id().len(), LOCAL_ID);
    bob.get("/live").await.not_now();
    // Whoever has no session is told that, and not to come again.
    assert_eq!(instance.browser().get("/live").await.status, 401);
    network.reconnect(&instance).await;
    assert_eq!(alice.get("/live").await.ok(), "alice");
    bob.settles("bob").await;
    assert_eq!(bob.get("/live").await.ok(), "bob");
}

/// A store that is there is asked, however much is known of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_no_cache() {
    let network = Network::start();
    let instance = Instance::at(&network.url()).await;
    let elsewhere = Instance::at(&network.server.url()).await;
    let mut alice = instance.signed_in("alice").await;
    alice.is("alice").await;
    let mut other = elsewhere.also(&alice);
    other.post("/put/cart/pear").await.ok();
    assert_eq!(alice.get("/get/cart").await.ok(), "pear");
    assert_eq!(elsewhere.revoke("alice").await, "committed");
    alice.is_refused("revoked").await;
}

/// A restart, not only a network that is cut: the store came back with what it had.
#[tokio::test(flavor = "multi_thread")]
async fn f03_a_server_that_is_killed_and_started_again_with_its_data() {
    let mut server = Server::with(&["appendonly yes", "appendfsync always"]);
    let instance = Instance::at(&server.url()).await;
    let mut alice = instance.signed_in("alice").await;
    server.kill();
    instance.knows_that_it_is_away().await;
    alice.is("alice").await;
    let mut bob = instance.signed_in("bob").await;
    server.restart();
    instance.is_back().await;
    alice.is("alice").await;
    bob.settles("bob").await;
    assert_eq!(instance.health().mode, Mode::Healthy);
    let sessions = keys(&server)
        .into_iter()
        .filter(|key| key.starts_with("session:"));
    assert_eq!(sessions.count(), 3, "two, and the tombstone of an id");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_may_start_before_its_redis() {
    let mut server = Server::with(&["appendonly yes", "appendfsync always"]);
    let before = Instance::at(&server.url()).await.signed_in("alice").await;
    server.kill();
    let instance = Instance::at(&server.url()).await;
    let mut alice = instance.also(&before);
    alice.get("/me").await.not_now();
    let mut bob = instance.signed_in("bob").await;
    assert_eq!(bob.freshness().await, "local");
    server.restart();
    instance.is_back().await;
    alice.is("alice").await;
    bob.settles("bob").await;
}

/// When Redis is back, it is told who was there meanwhile, and does not take them for idle.
#[tokio::test(flavor = "multi_thread")]
async fn inv06_activity_on_a_lease_keeps_a_session_from_going_idle() {
    for outage in [Outage::Lease(LEASE), Outage::Local { lease: LEASE }] {
        let network = Network::start();
        let instance = Instance::set_up(&network.url(), |builder| {
            let threshold = Duration::from_millis(1);
            builder.outage(outage).touch_threshold(threshold)
        })
        .await;
        let mut alice = instance.signed_in("alice").await;
        let seen = || match stands(&network.server, alice.id()) {
            Some(Entry::Live(record)) => record.seen_at(),
            other => panic!("alice is signed in, and there is {other:?}"),
        };
        let before = seen();
        network.cut_off(&instance).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
        alice.clone().is("alice").await;
        network.reconnect(&instance).await;
        assert!(seen() > before, "{outage:?}");
        alice.is("alice").await;
    }
}
