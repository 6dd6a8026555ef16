//! What is written on a lease: kept, and made when Redis is back, where nobody else was faster.

use sessile::Outage;

use super::fixture::{Browser, Instance, LEASE, Network, is_live};
use crate::events::Collector;

/// A session that two instances know, of which only the first goes by the network.
struct Shared {
    network: Network,
    here: Instance,
    elsewhere: Instance,
    alice: Browser,
}

impl Shared {
    async fn start() -> Self {
        let network = Network::start();
        let here = Instance::at(&network.url()).await;
        let elsewhere = Instance::at(&network.server.url()).await;
        let mut alice = here.signed_in("alice").await;
        alice.post("/put/kept/before").await.ok();
        alice.post("/add/n/10").await.ok();
        alice.is("alice").await;
        network.cut_off(&here).await;
        Self {
            network,
            here,
            elsewhere,
            alice,
        }
    }

    async fn reconnect(&self) {
        self.network.reconnect(&self.here).await;
    }

    fn there(&self) -> Browser {
        self.elsewhere.also(&self.alice)
    }
}

/// Nothing comes back from there for this name, or this.
async fn has(browser: &mut Browser, name: &str, value: Option<&str>) {
    let reply = browser.get(&format!("/get/{name}")).await;
    match value {
        Some(value) => assert_eq!(reply.ok(), value, "{name}"),
        None => assert_eq!(reply.status, 404, "{name}: {reply:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inv10_what_is_written_on_a_lease_is_pending_and_made_when_redis_is_back() {
    let mut shared = Shared::start().await;
    let (here, there) = (&mut shared.alice.clone(), &mut shared.there());
    assert_eq!(here.post("/commit/a/1").await.ok(), "pending");
    here.post("/put/b/2").await.ok();
    here.post("/put/a/3").await.ok();
    here.post("/remove/kept").await.ok();
    for (name, value) in [("a", Some("3")), ("b", Some("2")), ("kept", None)] {
        has(here, name, value).await;
    }
    // Who fails, or is refused, has written nothing.
    assert_eq!(here.post("/fail/500/c").await.status, 500);
    has(there, "a", None).await;
    assert_eq!(shared.here.health().pending, 1);
    shared.reconnect().await;
    for browser in [here, there] {
        for (name, value) in [
            ("a", Some("3")),
            ("b", Some("2")),
            ("kept", None),
            ("c", None),
        ] {
            has(browser, name, value).await;
        }
    }
    shared.alice.is("alice").await;
}

/// The next request, also one that comes while it is on its way, sees what was written.
#[tokio::test(flavor = "multi_thread")]
async fn inv10_who_wrote_on_a_lease_reads_it_at_every_moment_of_the_recovery() {
    let shared = Shared::start().await;
    let mut here = shared.alice.clone();
    assert_eq!(here.post("/commit/a/1").await.ok(), "pending");
    shared.network.heal();
    while shared.here.health().pending > 0 {
        let reply = here.get("/get/a").await;
        match reply.status.as_u16() {
            200 => assert_eq!(reply.body, "1"),
            _ => reply.not_now(),
        }
    }
    has(&mut here, "a", Some("1")).await;
}

/// Redis wins, and somebody says so.
#[tokio::test]
async fn inv07_what_somebody_else_wrote_meanwhile_stays() {
    let (told, _guard) = Collector::install();
    let shared = Shared::start().await;
    let (mut here, mut there) = (shared.alice.clone(), shared.there());
    here.post("/put/kept/here").await.ok();
    here.post("/put/mine/here").await.ok();
    there.post("/put/kept/there").await.ok();
    there.post("/put/theirs/there").await.ok();
    told.take();
    shared.reconnect().await;
    for mut browser in [here, there] {
        for (name, value) in [("kept", "there"), ("mine", "here"), ("theirs", "there")] {
            has(&mut browser, name, Some(value)).await;
        }
    }
    let lost: Vec<_> = told
        .take()
        .into_iter()
        .filter(|event| event.starts_with("write_lost"))
        .collect();
    assert_eq!(lost, ["write_lost conflict -"]);
}

/// Of one commit, all or nothing: half of it may contradict the other half.
#[tokio::test(flavor = "multi_thread")]
async fn inv07_a_commit_on_a_lease_is_made_wholly_or_not_at_all() {
    let shared = Shared::start().await;
    let (mut here, mut there) = (shared.alice.clone(), shared.there());
    here.post("/clear").await.ok();
    has(&mut here, "kept", None).await;
    there.post("/put/kept/there").await.ok();
    there.post("/put/new/there").await.ok();
    shared.reconnect().await;
    has(&mut here, "kept", Some("there")).await;
    has(&mut here, "n", Some("10")).await;
    has(&mut here, "new", Some("there")).await;
}

/// A clear removes what was there when it was staged, and not what nobody here has seen.
#[tokio::test(flavor = "multi_thread")]
async fn inv07_a_clear_on_a_lease_spares_what_was_added_elsewhere() {
    let shared = Shared::start().await;
    let (mut here, mut there) = (shared.alice.clone(), shared.there());
    here.post("/clear").await.ok();
    there.post("/put/new/there").await.ok();
    shared.reconnect().await;
    has(&mut here, "kept", None).await;
    has(&mut here, "n", None).await;
    has(&mut here, "new", Some("there")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inv07_increments_on_a_lease_add_to_what_is_there() {
    let shared = Shared::start().await;
    let (mut here, mut there) = (shared.alice.clone(), shared.there());
    // What is expected.
    assert_eq!(here.post("/add/n/5").await.ok(), "15");
    assert_eq!(here.post("/add/n/1").await.ok(), "16");
    assert_eq!(there.post("/add/n/100").await.ok(), "110");
    shared.reconnect().await;
    has(&mut here, "n", Some("116")).await;
    has(&mut there, "n", Some("116")).await;
    assert_eq!(here.post("/add/n/1").await.ok(), "117");
}

/// Its reply is lost on the way: it is not added twice.
#[tokio::test(flavor = "multi_thread")]
async fn inv07_an_increment_without_an_answer_is_not_sent_again() {
    let shared = Shared::start().await;
    let mut here = shared.alice.clone();
    assert_eq!(here.post("/add/n/5").await.ok(), "15");
    let digest = super::fixture::key_of(here.id()).digest.to_text();
    shared.network.proxy.drop_reply_of(move |command| {
        let is_script = command
            .windows(7)
            .any(|part| part == b"EVALSHA" || part == b"EVAL\r\n$");
        is_script
            && command
                .windows(digest.len())
                .any(|part| part == digest.as_bytes())
    });
    shared.reconnect().await;
    assert_eq!(shared.network.proxy.dropped(), 1);
    has(&mut here, "n", Some("15")).await;
}

/// It needs the value as it is, and says what it became: nobody here knows.
#[tokio::test(flavor = "multi_thread")]
async fn inv07_an_update_on_a_lease_is_503() {
    let shared = Shared::start().await;
    let mut here = shared.alice.clone();
    here.post("/count/n").await.not_now();
    has(&mut here, "n", Some("10")).await;
    shared.reconnect().await;
    assert_eq!(here.post("/count/n").await.ok(), "11");
}

#[tokio::test(flavor = "multi_thread")]
async fn inv01_what_was_written_on_a_lease_that_was_ended_or_renewed_elsewhere_is_lost() {
    for how in ["/logout", "/regenerate"] {
        let shared = Shared::start().await;
        let (mut here, mut there) = (shared.alice.clone(), shared.there());
        assert_eq!(here.post("/commit/a/1").await.ok(), "pending");
        match how {
            "/logout" => assert_eq!(there.signs_out().await.ok(), "committed"),
            _ => {
                there.given(how).await.ok();
            }
        }
        shared.reconnect().await;
        assert!(!is_live(&shared.network.server, here.id()));
        assert_eq!(here.get("/me").await.status, 401, "{how}");
        if how == "/regenerate" {
            has(&mut there, "a", None).await;
            has(&mut there, "kept", Some("before")).await;
        }
    }
}

/// Ended here after it was written: the end comes first, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn inv02_what_was_written_before_an_end_here_is_not_made() {
    let shared = Shared::start().await;
    let mut here = shared.alice.clone();
    assert_eq!(here.post("/commit/a/1").await.ok(), "pending");
    let mut tab = here.clone();
    assert_eq!(here.signs_out().await.ok(), "pending");
    tab.is_refused("logged_out").await;
    shared.reconnect().await;
    tab.is_refused("logged_out").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r66_a_write_on_a_lease_over_the_record_limit_is_413() {
    let network = Network::start();
    let store = super::fixture::patient(&network.url()).record_limit(1024);
    let here = Instance::over(store.connect().await.unwrap(), |builder| {
        builder.outage(Outage::Local { lease: LEASE })
    });
    let mut alice = here.signed_in("alice").await;
    network.cut_off(&here).await;
    let long = "x".repeat(2000);
    assert_eq!(alice.post(&format!("/put/a/{long}")).await.status, 413);
    has(&mut alice, "a", None).await;
    let mut bob = here.signed_in("bob").await;
    assert_eq!(bob.post(&format!("/put/a/{long}")).await.status, 413);
    assert_eq!(alice.post("/commit/a/1").await.ok(), "pending");
    network.reconnect(&here).await;
    has(&mut alice, "a", Some("1")).await;
}
