//! Ends while Redis is away: they hold here at once, reach it when it is back, and stay.

use std::time::Duration;

use sessile::record::Entry;
use sessile::store::Mode;
use sessile::{EndReason, Outage};

use super::fixture::{Browser, Instance, MINUTE, Network, SECOND, cut, is_live, keys, stands};
use crate::support::proxy::{Proxy, Stall};
use crate::support::wait::wait_until;

/// Why Redis refuses what is under this cookie.
#[track_caller]
fn reason(network: &Network, cookie: &str) -> EndReason {
    match stands(&network.server, cookie) {
        Some(Entry::Ended(tombstone)) => tombstone.end.reason,
        other => panic!("an ended session was expected, and there is {other:?}"),
    }
}

/// Two instances on one Redis. Only the first goes by the network.
struct Two {
    here: Instance,
    elsewhere: Instance,
    network: Network,
}

impl Two {
    async fn start() -> Self {
        let network = Network::start();
        Self {
            here: Instance::at(&network.url()).await,
            elsewhere: Instance::at(&network.server.url()).await,
            network,
        }
    }

    /// Signed in, and known to both.
    async fn signed_in(&self, user: &str) -> Browser {
        let mut browser = self.here.signed_in(user).await;
        browser.is(user).await;
        self.elsewhere.also(&browser).is(user).await;
        browser
    }

    /// Refused here at once, and, once Redis is back, everywhere and in Redis itself.
    async fn are_over(&self, ended: &mut [(Browser, &str)]) {
        for (browser, reason) in &mut *ended {
            browser.is_refused(reason).await;
        }
        for (browser, _) in &*ended {
            assert!(is_live(&self.network.server, browser.id()), "it is away");
        }
        self.network.reconnect(&self.here).await;
        for (browser, why) in ended {
            browser.is_refused(why).await;
            self.elsewhere.also(browser).is_refused(why).await;
            assert_eq!(reason(&self.network, browser.id()).as_str(), *why);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f07_signing_out_while_away() {
    let two = Two::start().await;
    let (mut alice, mut other) = (two.signed_in("alice").await, two.signed_in("alice").await);
    let tab = alice.clone();
    two.network.cut_off(&two.here).await;
    assert_eq!(alice.signs_out().await.ok(), "pending");
    assert!(two.here.health().pending > 0);
    two.are_over(&mut [(tab, "logged_out")]).await;
    other.is("alice").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f07_a_stranger_who_signs_out_while_away() {
    let two = Two::start().await;
    let mut stranger = two.here.browser();
    stranger.given("/put/cart/pear").await.ok();
    let mut tab = stranger.clone();
    two.network.cut_off(&two.here).await;
    assert_eq!(stranger.signs_out().await.ok(), "pending");
    assert_eq!(tab.get("/get/cart").await.status, 404);
    two.network.reconnect(&two.here).await;
    assert_eq!(tab.get("/get/cart").await.status, 404);
    assert_eq!(reason(&two.network, tab.id()), EndReason::LoggedOut);
}

#[tokio::test(flavor = "multi_thread")]
async fn f07_ending_one_while_away() {
    let two = Two::start().await;
    let (mut alice, mut other) = (two.signed_in("alice").await, two.signed_in("alice").await);
    let handle = other.get("/handle").await.ok();
    two.network.cut_off(&two.here).await;
    let path = format!("/end-one/{handle}");
    assert_eq!(alice.post(&path).await.ok(), "pending");
    two.are_over(&mut [(other, "revoked")]).await;
    alice.is("alice").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f07_ending_the_others_while_away() {
    let two = Two::start().await;
    let (mut alice, other, third) = (
        two.signed_in("alice").await,
        two.signed_in("alice").await,
        two.signed_in("alice").await,
    );
    let mut bob = two.signed_in("bob").await;
    two.network.cut_off(&two.here).await;
    assert_eq!(alice.post("/end-the-others").await.ok(), "pending");
    two.are_over(&mut [(other, "revoked"), (third, "revoked")])
        .await;
    alice.is("alice").await;
    bob.is("bob").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f07_ending_all_while_away() {
    let two = Two::start().await;
    let (mut alice, other) = (two.signed_in("alice").await, two.signed_in("alice").await);
    two.network.cut_off(&two.here).await;
    assert_eq!(alice.post("/end-all-of-them").await.ok(), "pending");
    two.are_over(&mut [(alice, "revoked"), (other, "revoked")])
        .await;
    // Who signs in afterwards is let in.
    two.here.signed_in("alice").await.is("alice").await;
}

/// Also the sessions that this instance never saw.
#[tokio::test(flavor = "multi_thread")]
async fn f07_revoking_while_away() {
    let two = Two::start().await;
    let mut alice = two.signed_in("alice").await;
    let mut unseen = two.elsewhere.signed_in("alice").await;
    two.network.cut_off(&two.here).await;
    assert_eq!(two.here.revoke("alice").await, "pending");
    unseen.is("alice").await;
    two.here.also(&unseen).get("/me").await.not_now();
    alice.is_refused("revoked").await;
    two.are_over(&mut [(alice, "revoked")]).await;
    unseen.is_refused("revoked").await;
}

/// A new id is the same session: an end by an id that was superseded elsewhere meanwhile means it all the same.
#[tokio::test(flavor = "multi_thread")]
async fn f07_signing_out_under_an_id_that_another_instance_has_superseded() {
    let two = Two::start().await;
    let alice = two.signed_in("alice").await;
    two.network.cut_off(&two.here).await;
    let mut regenerated = two.elsewhere.also(&alice);
    regenerated.given("/regenerate").await.ok();
    let mut old = alice.clone();
    assert_eq!(old.signs_out().await.ok(), "pending");
    two.network.reconnect(&two.here).await;
    regenerated.is_refused("logged_out").await;
    two.here.also(&regenerated).is_refused("logged_out").await;
}

/// Served no longer than the lease, and refused for good when it is healed.
#[tokio::test(flavor = "multi_thread")]
async fn f08_ended_elsewhere_while_this_one_is_cut_off() {
    for how in ["/logout", "/end-all-of-them", "/admin/alice"] {
        let network = Network::start();
        let here = Instance::with(&network.url(), Outage::Local { lease: MINUTE }).await;
        let elsewhere = Instance::at(&network.server.url()).await;
        let mut alice = here.signed_in("alice").await;
        alice.is("alice").await;
        network.cut_off(&here).await;
        let mut other = elsewhere.also(&alice);
        assert_eq!(other.any_end(how).await, "committed");
        // It cannot know.
        alice.is("alice").await;
        alice.post("/commit/cart/pear").await.ok();
        here.clock.advance(MINUTE + SECOND);
        alice.get("/me").await.not_now();
        network.reconnect(&here).await;
        let why = if how == "/logout" {
            "logged_out"
        } else {
            "revoked"
        };
        alice.is_refused(why).await;
        assert!(!is_live(&network.server, alice.id()));
        // What was staged on the lease is lost with it.
        assert_eq!(alice.get("/get/cart").await.status, 404);
    }
}

/// Within its lease, too, as soon as the instance reaches the store.
#[tokio::test(flavor = "multi_thread")]
async fn f08_a_lease_is_worth_nothing_once_it_is_healed() {
    let two = Two::start().await;
    let mut alice = two.signed_in("alice").await;
    two.network.cut_off(&two.here).await;
    assert_eq!(two.elsewhere.revoke("alice").await, "committed");
    alice.is("alice").await;
    two.network.reconnect(&two.here).await;
    alice.is_refused("revoked").await;
    // And not again when it is cut off the next time.
    two.network.cut_off(&two.here).await;
    alice.is_refused("revoked").await;
}

/// Nor in the next outage, if nobody has asked for it in between.
#[tokio::test(flavor = "multi_thread")]
async fn f08_a_lease_from_before_one_outage_does_not_serve_in_the_next() {
    let two = Two::start().await;
    let (mut alice, mut bob) = (two.signed_in("alice").await, two.signed_in("bob").await);
    two.network.cut_off(&two.here).await;
    assert_eq!(two.elsewhere.revoke("alice").await, "committed");
    two.network.reconnect(&two.here).await;
    bob.is("bob").await;
    two.network.cut_off(&two.here).await;
    alice.get("/me").await.not_now();
    bob.is("bob").await;
}

/// A request that read its session before, and saves when all is over.
#[tokio::test(flavor = "multi_thread")]
async fn f09_a_slow_request_from_before_brings_nothing_back() {
    for is_ended_here in [true, false] {
        let two = Two::start().await;
        let mut alice = two.signed_in("alice").await;
        let gate = super::fixture::Gate::in_front_of(&two.here);
        let slow = gate.begin(&alice).await;
        two.network.cut_off(&two.here).await;
        match is_ended_here {
            true => assert_eq!(two.here.revoke("alice").await, "pending"),
            false => assert_eq!(two.elsewhere.revoke("alice").await, "committed"),
        }
        two.network.reconnect(&two.here).await;
        let before = keys(&two.network.server);
        let reply = slow.let_go().await;
        assert_eq!(reply.status, 401, "{reply:?}");
        assert_eq!(reply.problem(), ("session_ended", Some("revoked")));
        assert_eq!(reply.set_cookies(), [""; 0]);
        assert_eq!(keys(&two.network.server), before);
        alice.is_refused("revoked").await;
    }
}

/// The same where it saves while Redis is still away: nothing of it ever gets there.
#[tokio::test(flavor = "multi_thread")]
async fn f09_a_slow_request_that_saves_while_away_after_an_end() {
    let two = Two::start().await;
    let mut alice = two.signed_in("alice").await;
    let gate = super::fixture::Gate::in_front_of(&two.here);
    let slow = gate.begin(&alice).await;
    two.network.cut_off(&two.here).await;
    assert_eq!(two.here.revoke("alice").await, "pending");
    let reply = slow.let_go().await;
    assert_eq!(reply.status, 401, "{reply:?}");
    two.network.reconnect(&two.here).await;
    alice.is_refused("revoked").await;
    assert_eq!(reason(&two.network, alice.id()), EndReason::Revoked);
}

/// What is said to be pending is pending until Redis has it, however often it goes away again in between.
#[tokio::test(flavor = "multi_thread")]
async fn inv02_ends_that_are_pending_survive_an_outage_in_the_middle_of_their_replay() {
    const USERS: usize = 200;
    let two = Two::start().await;
    let mut alices = Vec::new();
    for n in 0..USERS {
        alices.push(two.here.signed_in(&format!("user-{n}")).await);
    }
    two.network.cut_off(&two.here).await;
    for n in 0..USERS {
        assert_eq!(two.here.revoke(&format!("user-{n}")).await, "pending");
    }
    // The reply to an end is lost, and the connection with it, again and again.
    for _ in 0..10 {
        two.network
            .proxy
            .drop_reply_of(|command| has(command, "user_sessions:"));
    }
    two.network.heal();
    let what = "the replay was interrupted";
    wait_until(what, async || two.network.proxy.dropped() >= 1).await;
    two.network.cut();
    two.here.is(Mode::Degraded).await;
    for (n, alice) in alices.iter_mut().enumerate() {
        alice.is_refused("revoked").await;
        if n > 20 {
            break;
        }
    }
    two.network.reconnect(&two.here).await;
    assert_eq!(two.here.health().pending, 0);
    for alice in &alices {
        assert!(!is_live(&two.network.server, alice.id()));
        two.elsewhere.also(alice).is_refused("revoked").await;
    }
}

fn has(command: &[u8], word: &str) -> bool {
    command
        .windows(word.len())
        .any(|part| part == word.as_bytes())
}

/// Redis is not read before it knows what ended: not for a moment does the instance serve what it has ended.
#[tokio::test(flavor = "multi_thread")]
async fn inv02_nobody_is_served_between_the_recovery_and_the_replay() {
    let two = Two::start().await;
    let alice = two.signed_in("alice").await;
    two.network.cut_off(&two.here).await;
    assert_eq!(two.here.revoke("alice").await, "pending");
    let asking: Vec<_> = (0..4)
        .map(|_| {
            let mut tab = alice.clone();
            tokio::spawn(async move {
                for _ in 0..200 {
                    tab.is_refused("revoked").await;
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    two.network.heal();
    for task in asking {
        task.await.unwrap();
    }
    two.here.is_back().await;
}

/// A reply that never came: whether Redis has it is not known, so it holds here, and is sent again.
#[tokio::test(flavor = "multi_thread")]
async fn f07_an_end_without_an_answer_is_pending() {
    let network = Network::start();
    let store = sessile::RedisStore::builder(&network.url())
        .command_timeout(Duration::from_millis(200))
        .operation_timeout(Duration::from_millis(400))
        .connect()
        .await
        .unwrap();
    let here = Instance::over(store, |builder| builder);
    let mut alice = here.signed_in("alice").await;
    let mut tab = alice.clone();
    network.proxy.stall(Stall::Both);
    assert_eq!(alice.signs_out().await.ok(), "pending");
    tab.is_refused("logged_out").await;
    network.proxy.flow();
    here.is_back().await;
    tab.is_refused("logged_out").await;
    assert_eq!(reason(&network, tab.id()), EndReason::LoggedOut);
}

/// Two instances that are both cut off, and each ends something.
#[tokio::test(flavor = "multi_thread")]
async fn f07_two_that_are_cut_off_end_the_same_user() {
    let network = Network::start();
    let other = Proxy::start(network.server.address());
    let instances = [
        Instance::at(&network.url()).await,
        Instance::at(&other.url()).await,
    ];
    let mut alices = [
        instances[0].signed_in("alice").await,
        instances[1].signed_in("alice").await,
    ];
    cut(&other);
    network.cut_off(&instances[0]).await;
    instances[1].knows_that_it_is_away().await;
    for instance in &instances {
        assert_eq!(instance.revoke("alice").await, "pending");
    }
    // One of them comes back first, and somebody signs in there.
    network.reconnect(&instances[0]).await;
    let mut fresh = instances[0].signed_in("alice").await;
    fresh.is("alice").await;
    other.allow();
    instances[1].is_back().await;
    for alice in &mut alices {
        alice.is_refused("revoked").await;
    }
    // The end of the other was from before that.
    fresh.is("alice").await;
    instances[1].also(&fresh).is("alice").await;
}
