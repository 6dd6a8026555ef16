//! Demos while Redis is away: they are local by default, whatever users' sessions are, and get there with what was said.

use http::StatusCode;
use sessile::Outage;

use super::fixture::{Instance, LEASE, LOCAL_ID, Network, SECOND, keys, patient};
use crate::demo::pages;
use crate::harness::{Client, Reply};
use crate::support::wait::wait_until;

const DEMO: &str = "__Host-demo";

/// One instance that can be cut off, and one that is always there. Users' sessions are refused while it is.
struct Apart {
    here: Instance,
    elsewhere: Instance,
    network: Network,
}

impl Apart {
    async fn start() -> Self {
        let network = Network::start();
        Self {
            here: Instance::with(&network.url(), Outage::Refuse).await,
            elsewhere: Instance::at(&network.server.url()).await,
            network,
        }
    }

    async fn with(outage: Outage) -> Self {
        let network = Network::start();
        let store = patient(&network.url()).connect().await.unwrap();
        Self {
            here: Instance::over(store, |builder| builder.demo_outage(outage)),
            elsewhere: Instance::at(&network.server.url()).await,
            network,
        }
    }

    async fn cut_off(&self) {
        self.network.cut_off(&self.here).await;
    }

    async fn reconnect(&self) {
        self.network.reconnect(&self.here).await;
    }
}

fn visitor(instance: &Instance) -> Client {
    Client::new(&pages().layer(instance.layer.clone()))
}

async fn started(instance: &Instance) -> Client {
    let mut client = visitor(instance);
    client.post("/demo/start/media").await.ok();
    client
}

fn also(instance: &Instance, client: &Client) -> Client {
    let mut other = visitor(instance);
    let id = client.cookies[DEMO].clone();
    other.cookies.insert(DEMO.into(), id);
    other
}

async fn say(client: &mut Client, texts: &[&str]) {
    for text in texts {
        client.post(&format!("/demo/say/{text}")).await.ok();
    }
}

async fn said(client: &mut Client) -> String {
    client.get("/demo/said").await.ok()
}

/// Waits until the demo has an id as any other, and is what the store has.
async fn settles(client: &mut Client) {
    wait_until("the demo is in Redis, under another id", async || {
        client.get("/demo").await.ok();
        client.cookies[DEMO].len() < LOCAL_ID && client.get("/demo/freshness").await.ok() == "live"
    })
    .await;
}

#[track_caller]
fn not_now(reply: &Reply) {
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{reply:?}");
    assert_eq!(reply.set_cookies(), [""; 0], "{reply:?}");
    assert_eq!(reply.problem(), ("store_unavailable", None));
}

#[tokio::test(flavor = "multi_thread")]
async fn f10_a_demo_that_was_started_while_redis_was_away_gets_there_with_all_that_was_said() {
    let apart = Apart::start().await;
    apart.cut_off().await;
    let mut client = started(&apart.here).await;
    assert_eq!(client.cookies[DEMO].len(), LOCAL_ID);
    let handle = client.get("/demo/there").await.ok();
    say(&mut client, &["one", "two", "three"]).await;
    assert_eq!(client.get("/demo").await.ok(), "media 3 50 active");
    assert_eq!(client.get("/demo/freshness").await.ok(), "local");
    assert_eq!(keys(&apart.network.server), [""; 0]);
    // Another instance cannot know it yet, and takes nothing away.
    not_now(&also(&apart.elsewhere, &client).get("/demo").await);
    not_now(
        &also(&apart.elsewhere, &client)
            .post("/demo/start/media")
            .await,
    );
    apart.reconnect().await;
    let mut moved = also(&apart.elsewhere, &client);
    settles(&mut moved).await;
    assert_eq!(said(&mut moved).await, "one two three");
    assert_eq!(moved.get("/demo/there").await.ok(), handle);
    say(&mut moved, &["four"]).await;
    let mut back = also(&apart.here, &moved);
    assert_eq!(said(&mut back).await, "one two three four");
    // The record, its messages, and that the old id is over.
    assert_eq!(keys(&apart.network.server).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn f04_what_was_said_before_an_outage_and_during_it_stands_in_order() {
    let apart = Apart::start().await;
    let mut client = started(&apart.here).await;
    say(&mut client, &["one", "two"]).await;
    apart.cut_off().await;
    say(&mut client, &["three", "four"]).await;
    assert_eq!(said(&mut client).await, "one two three four");
    assert_eq!(client.get("/demo/freshness").await.ok(), "stale");
    assert_eq!(apart.here.health().pending, 1);
    // The same demo at an instance that reaches Redis.
    let mut other = also(&apart.elsewhere, &client);
    say(&mut other, &["meanwhile"]).await;
    assert_eq!(said(&mut other).await, "one two meanwhile");
    apart.reconnect().await;
    for mut client in [client, other] {
        assert_eq!(said(&mut client).await, "one two meanwhile three four");
        assert_eq!(
            client.get("/demo").await.ok(),
            "media 5 83.33333333333334 active"
        );
    }
}

/// The store has what was sent, and nobody knows: it is sent again, and is there once.
#[tokio::test(flavor = "multi_thread")]
async fn inv07_what_is_sent_again_after_an_outage_is_said_once() {
    let messages = |command: &[u8]| command.windows(9).any(|it| it == b":messages");
    for is_local in [true, false] {
        let apart = Apart::start().await;
        let mut client = visitor(&apart.here);
        if !is_local {
            client.post("/demo/start/media").await.ok();
            say(&mut client, &["zero"]).await;
        }
        apart.cut_off().await;
        if is_local {
            client.post("/demo/start/media").await.ok();
            say(&mut client, &["zero"]).await;
        }
        say(&mut client, &["one", "two"]).await;
        // The first answer, and that to what is sent again at once: nobody knows then.
        let dropped = apart.network.proxy.dropped();
        apart.network.proxy.drop_reply_of(messages);
        apart.network.proxy.drop_reply_of(messages);
        apart.network.heal();
        wait_until("two replies were lost", async || {
            apart.network.proxy.dropped() >= dropped + 2
        })
        .await;
        wait_until("one more is said", async || {
            client.post("/demo/say/three").await.status == StatusCode::OK
        })
        .await;
        apart.reconnect().await;
        let mut moved = also(&apart.here, &client);
        wait_until("the demo is live", async || {
            moved.get("/demo/freshness").await.ok() == "live"
        })
        .await;
        assert_eq!(said(&mut moved).await, "zero one two three", "{is_local}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f07_a_demo_that_is_ended_while_redis_is_away_stays_ended() {
    let apart = Apart::start().await;
    let mut leased = started(&apart.here).await;
    say(&mut leased, &["one"]).await;
    apart.cut_off().await;
    let mut local = started(&apart.here).await;
    say(&mut local, &["one"]).await;
    for client in [&mut leased, &mut local] {
        let mut tab = also(&apart.here, client);
        assert_eq!(client.post("/demo/end").await.ok(), "pending");
        let reply = tab.post("/demo/say/late").await;
        assert_eq!(reply.problem(), ("no_demo_session", Some("logged_out")));
        client.cookies = tab.cookies;
    }
    apart.reconnect().await;
    let mut there = also(&apart.elsewhere, &leased);
    let reply = there.get("/demo").await;
    assert_eq!(reply.problem(), ("no_demo_session", Some("logged_out")));
    let left = keys(&apart.network.server);
    assert!(
        left.iter().all(|key| !key.ends_with(":messages")),
        "{left:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn demos_have_a_policy_of_their_own() {
    // Users' sessions are refused, and demos go on: the default of demos.
    let apart = Apart::start().await;
    let mut client = started(&apart.here).await;
    client.post("/login/alice").await.ok();
    apart.cut_off().await;
    not_now(&client.get("/me").await);
    say(&mut client, &["one"]).await;
    // And the other way round.
    for (outage, reads) in [(Outage::Lease(LEASE), true), (Outage::Refuse, false)] {
        let apart = Apart::with(outage).await;
        let mut client = started(&apart.here).await;
        client.post("/login/alice").await.ok();
        say(&mut client, &["one"]).await;
        apart.cut_off().await;
        assert_eq!(client.get("/me").await.ok(), "alice");
        if reads {
            assert_eq!(said(&mut client).await, "one");
        } else {
            not_now(&client.get("/demo").await);
        }
        not_now(&client.post("/demo/say/two").await);
        not_now(&visitor(&apart.here).post("/demo/start/media").await);
        apart.reconnect().await;
        assert_eq!(said(&mut client).await, "one");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f05_a_demos_lease_ends() {
    let apart = Apart::with(Outage::Local { lease: 60 * SECOND }).await;
    let mut client = started(&apart.here).await;
    apart.cut_off().await;
    apart.here.clock.advance(60 * SECOND);
    client.get("/demo").await.ok();
    apart.here.clock.advance(SECOND);
    not_now(&client.get("/demo").await);
    not_now(&client.post("/demo/start/media").await);
}

/// A login works in every mode; what it cannot bring along now stays where it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_demo_is_brought_along_where_it_is_local_and_stays_where_it_is_leased() {
    let apart = Apart::with(Outage::Local { lease: LEASE }).await;
    let mut leased = started(&apart.here).await;
    say(&mut leased, &["one"]).await;
    apart.cut_off().await;
    assert_eq!(leased.post("/adopt/alice").await.ok(), "none");
    assert_eq!(leased.get("/me").await.ok(), "alice");
    assert_eq!(said(&mut leased).await, "one");
    let mut local = started(&apart.here).await;
    say(&mut local, &["two"]).await;
    let handle = local.get("/demo/there").await.ok();
    assert_eq!(local.post("/adopt/bob").await.ok(), handle);
    apart.reconnect().await;
    settles(&mut local).await;
    assert_eq!(local.get("/demo/whose").await.ok(), "bob");
    assert_eq!(local.get("/brought").await.ok(), handle);
    assert_eq!(said(&mut local).await, "two");
    assert_ne!(leased.post("/adopt/alice").await.ok(), "none");
    assert_eq!(leased.get("/demo/whose").await.ok(), "alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn inv11_bounds_and_the_budget_hold_while_redis_is_away() {
    let network = Network::start();
    let store = patient(&network.url()).connect().await.unwrap();
    let here = Instance::over(store, |builder| {
        builder.demo_messages(2, 1000, 2000).demo_budget(1)
    });
    let at = |address: &str| {
        let mut client = visitor(&here);
        client.address = Some(address.parse().unwrap());
        client
    };
    let mut leased = at("192.0.2.1");
    leased.post("/demo/start/media").await.ok();
    say(&mut leased, &["one"]).await;
    network.cut_off(&here).await;
    let mut local = at("192.0.2.2");
    local.post("/demo/start/media").await.ok();
    say(&mut local, &["one"]).await;
    for client in [&mut leased, &mut local] {
        say(client, &["two"]).await;
        let reply = client.post("/demo/say/three").await;
        assert_eq!(reply.problem(), ("too_large", None));
        assert_eq!(said(client).await, "one two");
    }
    let reply = at("192.0.2.2").post("/demo/start/media").await;
    assert_eq!(reply.problem(), ("too_many_demos", None));
    network.reconnect(&here).await;
    assert_eq!(said(&mut leased).await, "one two");
}
