//! Sessions that are made while Redis is away: where they live, and how they get there.

use std::time::Duration;

use sessile::record::{Change, Changes, Entry, Guard, Op};
use sessile::store::{Applied, Apply};
use sessile::{AtLimit, Clock as _, EndReason, Outage, RedisStore, SessionStore as _};

use super::fixture::{
    ID, Instance, LEASE, LOCAL_ID, Network, SECOND, is_live, keys, patient, stands,
};
use crate::support::wait::wait_until;

const HOUR: Duration = Duration::from_secs(3600);

/// One instance that is cut off, and one that is not.
struct Apart {
    here: Instance,
    elsewhere: Instance,
    network: Network,
}

impl Apart {
    async fn start() -> Self {
        let apart = Self::together().await;
        apart.network.cut_off(&apart.here).await;
        apart
    }

    async fn together() -> Self {
        let network = Network::start();
        Self {
            here: Instance::at(&network.url()).await,
            elsewhere: Instance::at(&network.server.url()).await,
            network,
        }
    }

    async fn reconnect(&self) {
        self.network.reconnect(&self.here).await;
    }

    /// Waits until nothing is left to bring to Redis, whatever became of it.
    async fn is_settled(&self) {
        self.network.heal();
        self.here.is_back().await;
    }

    /// The local session of this id gets to Redis, every reply to that is lost, and this instance is cut off again.
    async fn gets_there_without_an_answer(&self, id: &str) {
        let digest = super::fixture::key_of(id).digest.to_text();
        for _ in 0..100 {
            let digest = digest.clone();
            self.network.proxy.drop_reply_of(move |command| {
                command
                    .windows(digest.len())
                    .any(|part| part == digest.as_bytes())
            });
        }
        self.network.heal();
        let what = "the session got there, and nobody here knows";
        wait_until(what, async || {
            self.network.proxy.dropped() > 0 && self.is_live(id)
        })
        .await;
        self.network.cut_off(&self.here).await;
    }

    fn is_live(&self, id: &str) -> bool {
        is_live(&self.network.server, id)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f10_a_local_session_is_not_in_redis_and_does_all_that_any_can() {
    let apart = Apart::start().await;
    let mut alice = apart.here.browser();
    alice.given("/put/cart/pear").await.ok();
    let stranger = alice.id().to_owned();
    alice.given("/login/alice").await.ok();
    assert_eq!(alice.id().len(), LOCAL_ID);
    assert_eq!(alice.freshness().await, "local");
    assert_eq!(alice.get("/get/cart").await.ok(), "pear");
    assert_eq!(alice.post("/commit/a/1").await.ok(), "pending");
    for n in 1..=3 {
        assert_eq!(alice.post("/count/n").await.ok(), n.to_string());
        assert_eq!(alice.post("/add/m/5").await.ok(), (5 * n).to_string());
    }
    let handle = alice.get("/handle").await.ok();
    for path in ["/regenerate", "/reauthenticate"] {
        let before = apart.here.also(&alice);
        alice.given(path).await.ok();
        assert_eq!(alice.id().len(), LOCAL_ID);
        assert_eq!(alice.get("/handle").await.ok(), handle);
        apart.here.also(&before).is_refused("regenerated").await;
    }
    assert_eq!(alice.get("/get/a").await.ok(), "1");
    // The id from before the login is nothing any more.
    let mut old = apart.here.also(&alice);
    old.set_id(&stranger);
    assert_eq!(old.get("/who").await.ok(), "nobody");
    assert_eq!(keys(&apart.network.server), [""; 0]);
    assert_eq!(apart.here.health().local, 1);
    // All of it gets there, and nothing of what was before.
    apart.reconnect().await;
    alice.settles("alice").await;
    assert_eq!(alice.freshness().await, "live");
    assert_eq!(alice.get("/get/n").await.ok(), "3");
    assert_eq!(alice.get("/get/m").await.ok(), "15");
    assert_eq!(alice.get("/handle").await.ok(), handle);
    assert!(!apart.is_live(&stranger));
    apart.elsewhere.also(&alice).is("alice").await;
}

/// Under its own digest, and the next request, wherever it goes, gives it an id as any other.
#[tokio::test(flavor = "multi_thread")]
async fn f10_what_was_promoted_is_opened_and_regenerated_by_any_instance() {
    for is_elsewhere in [false, true] {
        let apart = Apart::start().await;
        let alice = apart.here.signed_in("alice").await;
        let mut stranger = apart.here.browser();
        stranger.given("/put/cart/pear").await.ok();
        apart.reconnect().await;
        for id in [alice.id(), stranger.id()] {
            assert!(apart.is_live(id));
        }
        let instance = if is_elsewhere {
            &apart.elsewhere
        } else {
            &apart.here
        };
        let mut moved = instance.also(&alice);
        moved.replaced("GET", "/me").await.ok();
        assert_eq!(moved.id().len(), ID);
        assert!(apart.is_live(moved.id()));
        match stands(&apart.network.server, alice.id()) {
            Some(Entry::Ended(tombstone)) => {
                assert_eq!(tombstone.end.reason, EndReason::Regenerated);
            }
            other => panic!("the old id is over, and there is {other:?}"),
        }
        // Once, and no more.
        moved.is("alice").await;
        let mut moved = instance.also(&stranger);
        assert_eq!(moved.replaced("GET", "/get/cart").await.ok(), "pear");
        assert_eq!(moved.id().len(), ID);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f10_a_local_session_that_was_ended_here_never_gets_there() {
    let apart = Apart::start().await;
    let mut ended = Vec::new();
    for how in ["/logout", "/end-all-of-them", "/admin/carol"] {
        let user = if how == "/admin/carol" {
            "carol"
        } else {
            "alice"
        };
        let mut browser = apart.here.signed_in(user).await;
        let tab = apart.here.also(&browser);
        assert_eq!(browser.any_end(how).await, "pending");
        ended.push((tab, how));
    }
    let mut ender = apart.here.signed_in("bob").await;
    let mut other = apart.here.signed_in("bob").await;
    assert_eq!(ender.post("/end-the-others").await.ok(), "pending");
    other.is_refused("revoked").await;
    apart.is_settled().await;
    for (mut browser, how) in ended {
        assert!(!apart.is_live(browser.id()), "{how}");
        let reply = browser.get("/me").await;
        assert_eq!(reply.status, 401, "{how}: {reply:?}");
        // It cannot know that nobody will bring it.
        apart.elsewhere.also(&browser).not_opened().await;
    }
    assert!(!apart.is_live(other.id()));
}

#[tokio::test(flavor = "multi_thread")]
async fn f10_a_local_session_whose_user_was_revoked_elsewhere_never_gets_there() {
    for all in [true, false] {
        let apart = Apart::together().await;
        let mut there = apart.elsewhere.signed_in("alice").await;
        apart.network.cut_off(&apart.here).await;
        let mut local = apart.here.signed_in("alice").await;
        let mut bob = apart.here.signed_in("bob").await;
        match all {
            true => assert_eq!(apart.elsewhere.revoke("alice").await, "committed"),
            false => {
                let others = there.post("/end-the-others").await.ok();
                assert!(["committed", "none"].contains(&&*others), "{others}");
            }
        }
        local.is("alice").await;
        apart.is_settled().await;
        local.is_refused("revoked").await;
        assert!(!apart.is_live(local.id()));
        apart.elsewhere.also(&local).not_opened().await;
        bob.settles("bob").await;
        if !all {
            there.is("alice").await;
        }
    }
}

/// Ending the others does not end the one that asks for it, also where it is not in Redis yet.
#[tokio::test(flavor = "multi_thread")]
async fn inv12_r47_a_local_session_that_ends_all_others_gets_there_and_they_are_over() {
    let apart = Apart::together().await;
    let mut there = apart.elsewhere.signed_in("alice").await;
    apart.network.cut_off(&apart.here).await;
    let mut other = apart.here.signed_in("alice").await;
    let mut local = apart.here.signed_in("alice").await;
    assert_eq!(local.post("/end-the-others").await.ok(), "pending");
    local.is("alice").await;
    other.is_refused("revoked").await;
    apart.is_settled().await;
    local.settles("alice").await;
    other.is_refused("revoked").await;
    there.is_refused("revoked").await;
    assert!(!apart.is_live(other.id()));
}

/// But not past what ended it elsewhere, before it asked.
#[tokio::test(flavor = "multi_thread")]
async fn inv12_a_local_session_that_ends_all_others_does_not_outlive_a_revocation_so() {
    let apart = Apart::start().await;
    let mut local = apart.here.signed_in("alice").await;
    assert_eq!(apart.elsewhere.revoke("alice").await, "none");
    assert_eq!(local.post("/end-the-others").await.ok(), "pending");
    apart.is_settled().await;
    assert!(!apart.is_live(local.id()));
    local.is_refused("revoked").await;
}

/// A login that began before all of its user's sessions were ended here does not get in after it, neither here nor
/// there.
#[tokio::test(flavor = "multi_thread")]
async fn inv12_a_login_that_began_before_an_end_of_all_while_away_is_refused() {
    let apart = Apart::start().await;
    let gate = super::fixture::Gate::before_a_login_at(&apart.here);
    let slow = gate.begin(&apart.here.browser()).await;
    assert_eq!(apart.here.revoke("alice").await, "pending");
    let reply = slow.let_go().await;
    assert_eq!(reply.status, 401, "{reply:?}");
    assert_eq!(reply.set_cookies(), [""; 0]);
    let mut alice = apart.here.signed_in("alice").await;
    apart.is_settled().await;
    alice.settles("alice").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inv12_the_limit_holds_when_local_sessions_get_there() {
    for at_limit in [AtLimit::Refuse, AtLimit::EndOldest] {
        let network = Network::start();
        let limited = async |url: String| {
            Instance::over(patient(&url).connect().await.unwrap(), |builder| {
                builder.max_sessions_per_user(2, at_limit)
            })
        };
        let here = limited(network.url()).await;
        let elsewhere = limited(network.server.url()).await;
        let mut there = [
            elsewhere.signed_in("alice").await,
            elsewhere.signed_in("alice").await,
        ];
        network.cut_off(&here).await;
        let mut local = [here.signed_in("alice").await, here.signed_in("alice").await];
        let third = here.browser().any("POST", "/login/alice").await;
        assert_eq!(third.status == 409, at_limit == AtLimit::Refuse);
        network.heal();
        here.is_back().await;
        let mut open = 0;
        for browser in local.iter_mut().chain(&mut there) {
            open += usize::from(elsewhere.also(browser).any("GET", "/me").await.status == 200);
        }
        match at_limit {
            // Those that were there first.
            AtLimit::Refuse => {
                assert_eq!(open, 2);
                for browser in &mut there {
                    browser.is("alice").await;
                }
                for browser in &mut local {
                    browser.is_refused("limit").await;
                }
            }
            // The second of the local ones, and the third, whose cookie nobody has here.
            AtLimit::EndOldest => {
                for browser in &mut there {
                    browser.is_refused("limit").await;
                }
                assert!(open <= 2, "{open}");
            }
        }
        let listed = listed(&elsewhere).await;
        assert!(listed <= 3, "{listed}");
    }
}

/// How many sessions alice has: a new one of hers is asked.
async fn listed(instance: &Instance) -> usize {
    let mut alice = instance.browser();
    match alice.any("POST", "/login/alice").await.status.as_u16() {
        200 => alice.get("/sessions").await.ok().lines().count(),
        _ => 2,
    }
}

/// It may have got there already: then it is not made again over its end.
#[tokio::test(flavor = "multi_thread")]
async fn inv01_a_promotion_without_an_answer_does_not_go_over_a_tombstone() {
    let apart = Apart::start().await;
    // The server knows the script: what is lost is what it did.
    apart.elsewhere.signed_in("bob").await;
    let mut alice = apart.here.signed_in("alice").await;
    let tab = apart.here.also(&alice);
    apart.gets_there_without_an_answer(alice.id()).await;
    assert_eq!(alice.signs_out().await.ok(), "pending");
    apart.is_settled().await;
    assert!(!apart.is_live(tab.id()));
    apart.elsewhere.also(&tab).is_refused("logged_out").await;
}

/// It may have got there already, and what was written here since comes after it: unless somebody else has written there
/// meanwhile what it rests on, as with what is written on a lease.
#[tokio::test(flavor = "multi_thread")]
async fn inv07_what_was_written_after_a_promotion_without_an_answer_gets_there_too() {
    for others_write in [false, true] {
        let apart = Apart::start().await;
        // The server knows the script: what is lost is what it did.
        apart.elsewhere.signed_in("bob").await;
        let mut alice = apart.here.signed_in("alice").await;
        for path in ["/put/cart/pear", "/put/old/gone"] {
            alice.post(path).await.ok();
        }
        apart.gets_there_without_an_answer(alice.id()).await;
        for path in ["/put/cart/plum", "/put/new/more", "/remove/old"] {
            alice.post(path).await.ok();
        }
        if others_write {
            // By an instance that has opened it: its values are written under the same key.
            let store = RedisStore::connect(&apart.network.server.url()).await;
            let change = Change {
                name: "cart".into(),
                guard: Guard::Any,
                op: Op::Set(b"\"theirs\"".to_vec()),
            };
            let apply = Apply {
                key: super::fixture::key_of(alice.id()),
                changes: Changes {
                    clear: None,
                    each: vec![change],
                },
                seen: None,
                read: None,
            };
            let applied = store.unwrap().apply(apply).await.unwrap();
            assert!(matches!(applied, Applied::Saved(_)));
        }
        apart.network.proxy.drop_no_replies();
        apart.is_settled().await;
        let Some(Entry::Live(record)) = stands(&apart.network.server, alice.id()) else {
            panic!("it is live");
        };
        let values = ["cart", "new", "old"].map(|name| {
            let value = record.value(name)?;
            Some(str::from_utf8(value).unwrap().trim_matches('"'))
        });
        let expected = match others_write {
            false => [Some("plum"), Some("more"), None],
            true => [Some("theirs"), None, Some("gone")],
        };
        assert_eq!(values, expected);
        let lost = apart
            .here
            .layer
            .sessions()
            .stats()
            .await
            .count("write_lost");
        assert_eq!(lost, u64::from(others_write));
    }
}

/// Its maker may bring it yet: so it is not "signed out".
#[tokio::test(flavor = "multi_thread")]
async fn f10_who_comes_to_another_instance_meanwhile_is_told_to_come_again() {
    let apart = Apart::start().await;
    let alice = apart.here.signed_in("alice").await;
    let mut there = apart.elsewhere.also(&alice);
    for path in ["/me", "/who", "/look"] {
        there.get(path).await.not_now();
    }
    there.post("/put/cart/pear").await.not_now();
    apart.reconnect().await;
    there.settles("alice").await;
}

/// And when it does not: 503 for as long as it could, and then a stranger who is told why.
#[tokio::test(flavor = "multi_thread")]
async fn f10_a_local_session_whose_instance_died_is_waited_for_and_then_lost() {
    let apart = Apart::start().await;
    let alice = apart.here.signed_in("alice").await;
    drop(apart.here);
    apart.network.heal();
    let mut there = apart.elsewhere.also(&alice);
    there.get("/me").await.not_now();
    apart.elsewhere.clock.advance(HOUR - 10 * SECOND);
    there.get("/me").await.not_now();
    apart.elsewhere.clock.advance(20 * SECOND);
    there.is_refused("store_lost").await;
    assert_eq!(there.get("/who").await.ok(), "nobody");
    there.given("/login/alice").await.ok();
    there.is("alice").await;
    assert_eq!(there.id().len(), ID);
}

#[tokio::test(flavor = "multi_thread")]
async fn f10_a_local_session_lives_no_longer_than_its_time() {
    let network = Network::start();
    let here = Instance::set_up(&network.url(), |builder| builder.local_ttl(60 * SECOND)).await;
    network.cut_off(&here).await;
    let mut alice = here.signed_in("alice").await;
    here.clock.advance(59 * SECOND);
    alice.is("alice").await;
    // A new id is no new time.
    alice.given("/regenerate").await.ok();
    here.clock.advance(2 * SECOND);
    alice.not_opened().await;
    network.reconnect(&here).await;
    alice.is_refused("store_lost").await;
    assert!(!is_live(&network.server, alice.id()));
    alice.given("/login/alice").await.ok();
}

/// A login is a login: what was known before it opens nothing afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn inv03_a_login_while_away_ends_what_was_before_it() {
    for before in ["/put/cart/pear", "/login/alice", "/login/bob"] {
        let apart = Apart::together().await;
        let mut browser = apart.here.browser();
        browser.given(before).await.ok();
        browser.get("/who").await.ok();
        let old = apart.here.also(&browser);
        apart.network.cut_off(&apart.here).await;
        browser.given("/login/alice").await.ok();
        assert_eq!(browser.id().len(), LOCAL_ID, "{before}");
        browser.is("alice").await;
        assert_ne!(old.clone().get("/who").await.ok(), "alice", "{before}");
        assert_eq!(old.clone().get("/me").await.status, 401, "{before}");
        if before == "/put/cart/pear" {
            assert_eq!(browser.get("/get/cart").await.ok(), "pear");
        }
        apart.reconnect().await;
        assert!(!apart.is_live(old.id()), "{before}");
        browser.settles("alice").await;
        for instance in [&apart.here, &apart.elsewhere] {
            assert_eq!(instance.also(&old).get("/me").await.status, 401, "{before}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f10_an_id_that_nobody_made_is_no_session_and_a_made_up_birth_changes_nothing() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let network = Network::start();
    let here = Instance::with(&network.url(), Outage::Local { lease: LEASE }).await;
    let alice = here.signed_in("alice").await;
    // The id of a session that is there, dressed as one that was made during an outage: it opens what it opens.
    let mut bytes = URL_SAFE_NO_PAD.decode(alice.id()).unwrap();
    network.cut_off(&here).await;
    let local = here.signed_in("bob").await;
    network.reconnect(&here).await;
    let form = URL_SAFE_NO_PAD.decode(local.id()).unwrap()[0];
    bytes[0] = form;
    bytes.extend([0; 8]);
    let mut dressed = here.also(&alice);
    dressed.set_id(&URL_SAFE_NO_PAD.encode(&bytes));
    dressed.replaced("GET", "/me").await.ok();
    // A made-up one: another instance's for all that is known, and so not now, if it was born within the last hour, or
    // by a clock that is a quarter of an hour ahead; else nothing.
    let now = here.clock.now().duration_since(std::time::UNIX_EPOCH);
    let now = u32::try_from(now.unwrap().as_secs()).unwrap();
    for (born, may_come) in [
        (0, false),
        (now - 3600, false),
        (now - 3599, true),
        (now, true),
        (now + 900, true),
        (now + 901, false),
        (u32::MAX, false),
    ] {
        let born = born.to_be_bytes();
        let made_up = [&[form][..], &[9; 34], &[1, 2, 3, 4], &born].concat();
        dressed.set_id(&URL_SAFE_NO_PAD.encode(&made_up));
        match may_come {
            true => dressed.get("/me").await.not_now(),
            false => dressed.is_refused("store_lost").await,
        }
    }
}
