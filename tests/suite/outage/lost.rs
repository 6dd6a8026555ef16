//! A Redis that comes back with less than it had: empty, as it was some time ago, or as a replica knew it.

use sessile::RedisStore;
use sessile::record::Entry;
use sessile::store::Mode;

use super::fixture::{Instance, LEASE, admin, is_live, keys, stands};
use crate::events::Collector;
use crate::support::wait::wait_until;
use crate::support::{Sentinels, Server};

/// Waits until the only instance there is has had an answer to a heartbeat: from then on it knows the server.
async fn knows_each_other(server: &Server) {
    let what = "a heartbeat was answered, and another one sent";
    wait_until(what, async || {
        let beats = server.dump().into_iter();
        beats
            .filter(|entry| entry.key.starts_with(b"beat:"))
            .any(|entry| {
                let text = String::from_utf8_lossy(&entry.values[0]).into_owned();
                let number = text
                    .split(':')
                    .nth(1)
                    .and_then(|number| number.parse().ok());
                number.is_some_and(|number: u64| number >= 2)
            })
    })
    .await;
}

/// The tombstones went with the rest: whatever is uploaded might be what was ended.
#[tokio::test]
async fn f12_a_redis_that_came_back_empty_gets_nothing_from_here() {
    let (told, _guard) = Collector::install();
    let mut server = Server::start();
    let instance = Instance::at(&server.url()).await;
    let mut alice = instance.signed_in("alice").await;
    let mut ended = instance.signed_in("alice").await;
    let mut tab = ended.clone();
    knows_each_other(&server).await;
    assert_eq!(ended.signs_out().await.ok(), "committed");
    server.kill();
    instance.knows_that_it_is_away().await;
    alice.is("alice").await;
    assert_eq!(alice.post("/commit/a/1").await.ok(), "pending");
    let mut local = instance.signed_in("bob").await;
    local.is("bob").await;
    server.restart();
    instance.is_back().await;
    assert_eq!(keys(&server), [""; 0]);
    assert_eq!(alice.get("/me").await.status, 401);
    local.is_refused("store_lost").await;
    assert_eq!(tab.get("/me").await.status, 401);
    let emptied = told.fields("event", "store_emptied");
    assert_eq!(emptied.len(), 1, "{emptied:?}");
    assert_eq!(emptied[0]["count"], "1");
    for (browser, user) in [(&mut alice, "alice"), (&mut local, "bob")] {
        browser.given(&format!("/login/{user}")).await.ok();
        browser.is(user).await;
        assert_eq!(browser.freshness().await, "live");
    }
}

/// Emptied while it runs: nobody notices by a connection that breaks.
#[tokio::test(flavor = "multi_thread")]
async fn f12_a_redis_that_is_flushed_is_noticed_by_its_heartbeat() {
    let server = Server::start();
    let instance = Instance::at(&server.url()).await;
    let mut alice = instance.signed_in("alice").await;
    knows_each_other(&server).await;
    admin(&server, &["FLUSHALL"]);
    let what = "the leases are dropped";
    wait_until(what, async || instance.health().leases == 0).await;
    // Cut off afterwards, it does not serve what is lost.
    assert_eq!(alice.get("/me").await.status, 401);
    assert_eq!(keys(&server), [""; 0]);
}

/// A snapshot from before an end.
#[tokio::test]
async fn f13_an_old_snapshot_is_told_again_what_ended_since() {
    let (told, _guard) = Collector::install();
    let mut server = Server::start();
    let instance = Instance::at(&server.url()).await;
    let mut kept = instance.signed_in("alice").await;
    let mut browsers = Vec::new();
    for user in ["out", "one", "all", "others"] {
        browsers.push(instance.signed_in(user).await);
    }
    let mut keeper = instance.signed_in("others").await;
    let handle = browsers[1].get("/handle").await.ok();
    knows_each_other(&server).await;
    admin(&server, &["SAVE"]);
    let tab = browsers[0].clone();
    assert_eq!(browsers[0].signs_out().await.ok(), "committed");
    browsers[0] = tab;
    let mut ender = instance.signed_in("one").await;
    let one = format!("/end-one/{handle}");
    assert_eq!(ender.post(&one).await.ok(), "committed");
    assert_eq!(instance.revoke("all").await, "committed");
    assert_eq!(keeper.post("/end-the-others").await.ok(), "committed");
    server.kill();
    server.restart();
    for browser in &browsers {
        assert!(is_live(&server, browser.id()) || told.fields("event", "ends_asserted").len() == 1);
    }
    let what = "the ends were asserted again";
    wait_until(what, async || {
        browsers
            .iter()
            .all(|browser| !is_live(&server, browser.id()))
    })
    .await;
    instance.is(Mode::Healthy).await;
    for (browser, why) in browsers
        .iter_mut()
        .zip(["logged_out", "revoked", "revoked", "revoked"])
    {
        browser.is_refused(why).await;
        let elsewhere = Instance::at(&server.url()).await;
        elsewhere.also(browser).is_refused(why).await;
    }
    kept.is("alice").await;
    keeper.is("others").await;
    assert!(!told.fields("event", "ends_asserted").is_empty());
}

/// And also what an instance does not know to be lost it does not serve: it has refused it before.
#[tokio::test(flavor = "multi_thread")]
async fn inv02_what_was_refused_as_ended_is_not_accepted_again() {
    let server = Server::start();
    let instance = Instance::at(&server.url()).await;
    let elsewhere = Instance::at(&server.url()).await;
    let mut alice = instance.signed_in("alice").await;
    let key = super::fixture::key_of(alice.id());
    let name = format!("session:{{{}}}:{}", key.bucket, key.digest.to_text());
    let before: Vec<u8> = redis::cmd("GET")
        .arg(&name)
        .query(&mut server.connection())
        .unwrap();
    assert_eq!(elsewhere.revoke("alice").await, "committed");
    alice.is_refused("revoked").await;
    // Somebody puts it back, past everybody.
    let _: () = redis::cmd("SET")
        .arg(&name)
        .arg(before)
        .arg("EX")
        .arg(600)
        .query(&mut server.connection())
        .unwrap();
    assert!(matches!(stands(&server, alice.id()), Some(Entry::Live(_))));
    for here in [&instance, &elsewhere] {
        here.also(&alice).is_refused("revoked").await;
    }
}

/// The replica did not have the end when it took over.
#[tokio::test(flavor = "multi_thread")]
async fn f13_a_failover_that_loses_an_end_is_told_of_it_again() {
    let mut sentinels = Sentinels::start();
    let store = RedisStore::sentinel(sentinels.sentinel_urls(), sentinels.master_name())
        .connect()
        .await
        .unwrap();
    let instance = Instance::over(store, |builder| {
        builder.outage(sessile::Outage::Local { lease: LEASE })
    });
    let mut alice = instance.signed_in("alice").await;
    let mut bob = instance.signed_in("bob").await;
    knows_each_other(sentinels.master()).await;
    let what = "the replica has the sessions";
    wait_until(what, async || {
        is_live(sentinels.replica(), alice.id()) && is_live(sentinels.replica(), bob.id())
    })
    .await;
    // From here on it hears nothing of its master, as whom it is not let in any more.
    admin(
        sentinels.replica(),
        &["CONFIG", "SET", "masteruser", "nobody"],
    );
    admin(sentinels.master(), &["CLIENT", "KILL", "TYPE", "replica"]);
    assert_eq!(instance.revoke("alice").await, "committed");
    assert!(!is_live(sentinels.master(), alice.id()));
    assert!(
        is_live(sentinels.replica(), alice.id()),
        "it did not hear of it"
    );
    sentinels.kill_master();
    sentinels.wait_for_promotion().await;
    let what = "the end was asserted again";
    wait_until(what, async || {
        alice.is_refused("revoked").await;
        !is_live(sentinels.master(), alice.id())
    })
    .await;
    instance.is_back().await;
    alice.is_refused("revoked").await;
    bob.is("bob").await;
}
