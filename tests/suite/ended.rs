//! Waiting for the end of a session.

use std::time::Duration;

use axum::Router;
use axum::routing::post;
use futures_util::{StreamExt, stream};
use sessile::record::Entry;
use sessile::store::wrappers::{Call, Spy};
use sessile::store::{EndScope, EndSessions, Heard};
use sessile::{AtLimit, EndReason, Outage, RedisStore, Session, SessionLayer, SessionStore};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::harness::{Client, HOUR, IDLE, TOUCH, memory, routes};
use crate::on_redis::OnRedis;
use crate::stores::{TestStore, on_every_store};
use crate::support::Server;
use crate::support::redis::connect;
use crate::support::wait::wait_until;

/// What waits for an end, once for each request.
type Waiting = mpsc::UnboundedReceiver<JoinHandle<EndReason>>;

/// An application of which every request to `/wait` leaves something that waits for the end of its session.
fn waiting(layer: &SessionLayer) -> (Router, Waiting) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let wait = async move |session: Session| {
        sender.send(tokio::spawn(session.ended())).unwrap();
    };
    (
        routes().route("/wait", post(wait)).layer(layer.clone()),
        receiver,
    )
}

/// Leaves one that waits for the end of this client's session.
async fn wait(client: &mut Client, waiting: &mut Waiting) -> JoinHandle<EndReason> {
    client.post("/wait").await.ok();
    waiting.recv().await.unwrap()
}

async fn r63_whoever_waits_learns_of_every_end_and_its_reason(store: impl TestStore) {
    let limited = |store| {
        SessionLayer::builder(store)
            .max_sessions_per_user(2, AtLimit::EndOldest)
            .build()
            .unwrap()
    };
    let (here, there) = (limited(store.clone()), limited(store.clone()));
    let (app, mut waits) = waiting(&here);
    let other = routes().layer(there.clone());

    let mut client = Client::new(&app);
    client.post("/put/cart/1").await.ok();
    let stranger = wait(&mut client, &mut waits).await;
    client.post("/login/alice").await.ok();
    assert_eq!(
        stranger.await.unwrap(),
        EndReason::Regenerated,
        "it is another session now"
    );

    let one = wait(&mut client, &mut waits).await;
    let two = wait(&mut client, &mut waits).await;
    for _ in 0..3 {
        client.post("/regenerate").await.ok();
    }
    client.post("/reauthenticate").await.ok();
    assert!(
        !one.is_finished() && !two.is_finished(),
        "a new id is no end"
    );
    // By the other instance, which knows the last of its ids alone.
    let mut same = client.clone();
    same = Client::holding(&other, same.id().unwrap());
    same.post("/regenerate").await.ok();
    same.post("/logout").await.ok();
    assert_eq!(
        (one.await.unwrap(), two.await.unwrap()),
        (EndReason::LoggedOut, EndReason::LoggedOut)
    );

    let mut client = Client::signed_in(&app, "alice").await;
    let again = wait(&mut client, &mut waits).await;
    client.post("/login/alice").await.ok();
    assert_eq!(again.await.unwrap(), EndReason::Regenerated);

    let revoked = wait(&mut client, &mut waits).await;
    there.sessions().revoke_all("alice", "").await.unwrap();
    assert_eq!(revoked.await.unwrap(), EndReason::Revoked);
    let over = wait(&mut client, &mut waits).await;
    assert_eq!(
        over.await.unwrap(),
        EndReason::Revoked,
        "at once: it is known"
    );

    store.later().await;
    let mut client = Client::signed_in(&app, "alice").await;
    let oldest = wait(&mut client, &mut waits).await;
    for _ in 0..2 {
        store.later().await;
        Client::signed_in(&other, "alice").await;
    }
    assert_eq!(oldest.await.unwrap(), EndReason::Limit);
}

async fn a_stream_stops_with_its_session_and_a_strangers_does_not(store: impl TestStore) {
    let layer = SessionLayer::new(store);
    let (sender, mut streams) = mpsc::unbounded_channel();
    let start = async move |session: Session| {
        let ticks = stream::repeat(()).then(|()| tokio::time::sleep(Duration::from_millis(1)));
        let counted = session.until_ended(ticks).count();
        sender.send(tokio::spawn(counted)).unwrap();
    };
    let app = routes().route("/stream", post(start)).layer(layer.clone());
    let mut client = Client::signed_in(&app, "alice").await;
    client.post("/stream").await.ok();
    let users = streams.recv().await.unwrap();
    Client::new(&app).post("/stream").await.ok();
    let strangers = streams.recv().await.unwrap();
    layer.sessions().revoke_all("alice", "").await.unwrap();
    users.await.unwrap();
    assert!(!strangers.is_finished());
    strangers.abort();
}

#[tokio::test(start_paused = true)]
async fn r63_on_memory_nobody_asks_for_an_end_and_the_clocks_end_it_too() {
    let (store, clock) = memory();
    let spy = Spy::new(store);
    let layer = SessionLayer::new(spy.clone());
    let (app, mut waits) = waiting(&layer);
    let mut client = Client::signed_in(&app, "alice").await;
    let handles = [
        wait(&mut client, &mut waits).await,
        wait(&mut client, &mut waits).await,
    ];
    tokio::time::sleep(Duration::from_secs(5)).await;
    spy.take();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(spy.take(), [], "nobody asks");
    clock.advance(IDLE + TOUCH);
    for handle in handles {
        assert_eq!(handle.await.unwrap(), EndReason::Idle);
    }
    // It was used meanwhile: whoever waited for the end of its time looks and goes on.
    let mut client = Client::signed_in(&app, "bob").await;
    let handle = wait(&mut client, &mut waits).await;
    clock.advance(IDLE);
    client.get("/me").await.ok();
    clock.advance(IDLE);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!handle.is_finished());
    spy.take();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(spy.take(), [], "nobody asks");
    // An end that the layer has no part in.
    let end = EndSessions {
        scope: EndScope::All("bob".into()),
        reason: EndReason::Revoked,
        note: None,
        before: None,
    };
    spy.end(end).await.unwrap();
    assert_eq!(handle.await.unwrap(), EndReason::Revoked);
}

async fn r63_a_thousand_who_wait_cost_one_pipelined_read_at_a_time(store: OnRedis) {
    let spy = Spy::new(store.clone());
    let layer = SessionLayer::new(spy.clone());
    let (app, mut waits) = waiting(&layer);
    let mut handles = Vec::new();
    for n in 0..1_000 {
        let mut client = Client::signed_in(&app, &format!("user-{n}")).await;
        handles.push(wait(&mut client, &mut waits).await);
    }
    let reads = |calls: Vec<Call>| {
        let of = |call| calls.iter().filter(|c| **c == call).count();
        (of(Call::LoadEach), of(Call::Load))
    };
    spy.take();
    let mut seen = (0, 0);
    wait_until("they were asked for three times", async || {
        let more = reads(spy.take());
        seen = (seen.0 + more.0, seen.1 + more.1);
        seen.0 >= 3
    })
    .await;
    assert_eq!(seen, (3, 0), "all of them in one");
    for n in 0..1_000 {
        layer
            .sessions()
            .revoke_all(format!("user-{n}"), "")
            .await
            .unwrap();
    }
    for handle in handles {
        assert_eq!(handle.await.unwrap(), EndReason::Revoked);
    }
    // And nobody asks any more.
    wait_until("it is quiet", async || {
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        reads(spy.take()) == (0, 0)
    })
    .await;
}

#[tokio::test]
async fn f08_away_from_redis_it_ends_with_the_lease_and_at_once_where_it_is_ended_here() {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let lease = Duration::from_millis(300);
    let layer = SessionLayer::builder(store)
        .outage(Outage::Local { lease })
        .build()
        .unwrap();
    let (app, mut waits) = waiting(&layer);
    let mut leased = Client::signed_in(&app, "alice").await;
    let mut ended = Client::signed_in(&app, "bob").await;
    let (leased, ended_here) = (
        wait(&mut leased, &mut waits).await,
        wait(&mut ended, &mut waits).await,
    );
    drop(server);
    wait_until("it is away", async || {
        layer.health().mode.as_str() == "degraded"
    })
    .await;
    ended.post("/logout").await;
    assert!(matches!(
        ended_here.await.unwrap(),
        EndReason::LoggedOut | EndReason::StoreLost
    ));
    assert_eq!(leased.await.unwrap(), EndReason::StoreLost);

    // What is born here is served here.
    let mut local = Client::signed_in(&app, "carol").await;
    let local_end = wait(&mut local, &mut waits).await;
    tokio::task::yield_now().await;
    local.post("/logout").await.ok();
    assert_eq!(local_end.await.unwrap(), EndReason::LoggedOut);
}

/// Waits until so many listen to what the scripts tell of ends.
async fn are_listening(server: &Server, count: usize) {
    let mut connection = connect(&server.url()).await.unwrap();
    wait_until("they listen", async || {
        let mut ask = ::redis::cmd("PUBSUB");
        ask.arg("NUMSUB").arg("session_ends");
        let heard: (String, usize) = ask.query_async(&mut connection).await.unwrap();
        heard.1 == count
    })
    .await;
}

#[tokio::test]
async fn r63_an_end_elsewhere_is_heard_also_if_redis_stops_right_after_and_no_lease_outlives_it() {
    let server = Server::start();
    let layer = async || {
        // Leases that outlive the test: by their end nobody learns anything.
        SessionLayer::builder(RedisStore::connect(&server.url()).await.unwrap())
            .outage(Outage::Local { lease: HOUR })
            .build()
            .unwrap()
    };
    let (here, there) = (layer().await, layer().await);
    let (app, mut waits) = waiting(&here);
    for round in 0..10 {
        let user = format!("user-{round}");
        let mut client = Client::signed_in(&app, &user).await;
        let mut bystander = Client::signed_in(&app, "carol").await;
        let ended = wait(&mut client, &mut waits).await;
        let other = wait(&mut bystander, &mut waits).await;
        are_listening(&server, 1).await;
        there.sessions().revoke_all(&*user, "note").await.unwrap();
        server.stop();
        let ended = timeout(Duration::from_secs(20), ended).await;
        assert_eq!(ended.expect("it was heard").unwrap(), EndReason::Revoked);
        assert!(!client.get("/me").await.status.is_success());
        assert_eq!(bystander.get("/me").await.ok(), "carol", "on its lease");
        assert!(!other.is_finished());
        server.resume();
        wait_until("Redis is read again", async || {
            here.health().mode.as_str() == "healthy" && there.health().mode.as_str() == "healthy"
        })
        .await;
        bystander.post("/logout").await.ok();
        assert_eq!(other.await.unwrap(), EndReason::LoggedOut);
    }
    are_listening(&server, 0).await;
}

#[tokio::test]
async fn r63_what_ended_before_anybody_listened_again_is_asked_for_then() {
    let server = Server::start();
    let connected = async || RedisStore::connect(&server.url()).await.unwrap();
    let (here, there) = (connected().await, connected().await);
    let mut hearing = here.hear(sessile::Kind::User).unwrap();
    assert_eq!(hearing.next().await, Some(Heard::Listening));
    let app = routes().layer(SessionLayer::new(there.clone()));
    let client = Client::signed_in(&app, "alice").await;
    let end = |user: &str| EndSessions {
        scope: EndScope::All(user.into()),
        reason: EndReason::Revoked,
        note: Some("a note".into()),
        before: None,
    };
    let mut connection = connect(&server.url()).await.unwrap();
    // What others publish there is no end.
    let mut publish = ::redis::cmd("PUBLISH");
    publish.arg("session_ends").arg("session:{0000}:x nothing");
    let _: usize = publish.query_async(&mut connection).await.unwrap();
    there.end(end("alice")).await.unwrap();
    let Some(Heard::Ended(key, tombstone)) = hearing.next().await else {
        panic!("no end was heard");
    };
    let entry = there.load(key).await.unwrap();
    assert_eq!(entry, Some(Entry::Ended(tombstone.clone())));
    assert_eq!(tombstone.end.note.as_deref(), Some("a note"));
    drop(client);
    // The connection is cut, and there is another.
    let mut kill = ::redis::cmd("CLIENT");
    kill.arg("KILL").arg("TYPE").arg("pubsub");
    let killed: usize = kill.query_async(&mut connection).await.unwrap();
    assert_eq!(killed, 1);
    assert_eq!(hearing.next().await, Some(Heard::Listening));
    drop(hearing);
    are_listening(&server, 0).await;
}

#[tokio::test]
async fn r63_who_may_not_listen_asks() {
    let server =
        Server::with(&["user default on nopass ~* resetchannels +@all -publish -subscribe"]);
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let layer = SessionLayer::new(store.clone());
    let (app, mut waits) = waiting(&layer);
    let mut client = Client::signed_in(&app, "alice").await;
    let ended = wait(&mut client, &mut waits).await;
    let other = SessionLayer::new(RedisStore::connect(&server.url()).await.unwrap());
    other.sessions().revoke_all("alice", "").await.unwrap();
    let ended = timeout(Duration::from_secs(20), ended).await;
    assert_eq!(
        ended.expect("it was asked for").unwrap(),
        EndReason::Revoked
    );
}

#[tokio::test]
async fn inv11_whoever_stops_waiting_leaves_nothing() {
    let (store, _clock) = memory();
    let layer = SessionLayer::new(store.clone());
    let (app, mut waits) = waiting(&layer);
    let mut client = Client::signed_in(&app, "alice").await;
    let first = wait(&mut client, &mut waits).await;
    let second = wait(&mut client, &mut waits).await;
    let ends = store.ends().unwrap();
    wait_until("they wait", async || {
        format!("{ends:?}").contains("waiting: 1")
    })
    .await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert!(format!("{ends:?}").contains("waiting: 1") && !second.is_finished());
    second.abort();
    wait_until("nobody waits", async || {
        format!("{ends:?}").contains("waiting: 0")
    })
    .await;
}

on_every_store! {
    r63_whoever_waits_learns_of_every_end_and_its_reason,
    a_stream_stops_with_its_session_and_a_strangers_does_not,
    r63_a_thousand_who_wait_cost_one_pipelined_read_at_a_time(redis_alone),
}
