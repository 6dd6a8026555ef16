//! Commands that reach Redis when everybody has given them up.

use std::time::{Duration, Instant};

use sessile::record::Entry;
use sessile::store::{Applied, EndScope, Part, StoreError};
use sessile::{EndReason, RedisStore, SessionStore};

use super::fixture::{
    add, change, creation, end, is_live, made, number, reason, regeneration, touch, warm_up,
};
use crate::support::redis::Server;
use crate::support::wait::wait_until;

async fn started() -> (Server, RedisStore) {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    warm_up(&store).await;
    (server, store)
}

/// Both connections are used once more, so that what is sent next goes out on one that is alive.
async fn use_all_connections(store: &RedisStore) {
    let list = || store.list("nobody".into());
    let (a, b, c) = tokio::join!(list(), list(), list());
    a.and(b).and(c).unwrap();
}

/// Five seconds after it was sent a command changes nothing any more: not by the clock of whoever sent it, but by that
/// of Redis.
#[tokio::test(flavor = "multi_thread")]
async fn inv01_a_redis_that_was_stopped_for_six_seconds_changes_nothing_when_it_resumes() {
    let (server, store) = started().await;
    let (written, touched, renewed, ended, all) = (
        made(&store, "writes").await,
        made(&store, "touches").await,
        made(&store, "renews").await,
        made(&store, "ends").await,
        made(&store, "all").await,
    );
    let saved = store.apply(change(written, add("n", 7))).await.unwrap();
    assert_eq!(saved, Applied::Saved(Some(7)));
    store.beat(Part::default(), 0).await.unwrap();
    use_all_connections(&store).await;
    let dump = |server: &Server| {
        let mut dump = server.dump();
        dump.retain(|held| !held.key.starts_with(b"patient:"));
        for held in &mut dump {
            held.ttl = None;
        }
        dump
    };
    let before = dump(&server);
    // Somebody who waits for the answers, and has other connections.
    let patient = RedisStore::builder(&server.url())
        .command_timeout(Duration::from_secs(20))
        .operation_timeout(Duration::from_secs(30))
        .connect()
        .await
        .unwrap();
    use_all_connections(&patient).await;
    let beating = RedisStore::builder(&server.url())
        .namespace("patient")
        .command_timeout(Duration::from_secs(20))
        .operation_timeout(Duration::from_secs(30))
        .connect()
        .await
        .unwrap();
    assert_eq!(beating.beat(Part::default(), 0).await.unwrap().value, 1);

    server.stop();
    let stopped = Instant::now();
    let waiting = tokio::spawn(async move {
        let create = creation(&patient, "creates");
        <[Result<(), StoreError>; 5]>::from(tokio::join!(
            async { patient.create(create).await.map(drop) },
            async { patient.apply(change(written, add("n", 1))).await.map(drop) },
            async {
                patient
                    .replace(regeneration(&patient, renewed))
                    .await
                    .map(drop)
            },
            async { patient.end(end(EndScope::One(ended, None))).await.map(drop) },
            async {
                patient
                    .end(end(EndScope::All("all".into())))
                    .await
                    .map(drop)
            },
        ))
    });
    let beating = tokio::spawn(async move { beating.beat(Part::default(), 0).await });
    let create = creation(&store, "creates");
    let created = create.key;
    // At once, and so on connections that were alive when Redis stopped.
    let results: [Result<(), StoreError>; 7] = tokio::join!(
        async { store.create(create).await.map(drop) },
        async { store.apply(change(written, add("n", 1))).await.map(drop) },
        async { store.apply(touch(&store, touched)).await.map(drop) },
        async { store.replace(regeneration(&store, renewed)).await.map(drop) },
        async { store.end(end(EndScope::One(ended, None))).await.map(drop) },
        async { store.end(end(EndScope::All("all".into()))).await.map(drop) },
        async { store.beat(Part::default(), 0).await.map(drop) },
    )
    .into();
    for result in results {
        result.unwrap_err();
    }
    // A wait that stands for time that passes: Redis's clock cannot be moved.
    tokio::time::sleep(Duration::from_secs(6).saturating_sub(stopped.elapsed())).await;
    server.resume();

    wait_until("Redis answers again", async || {
        store.load(created).await.is_ok()
    })
    .await;
    for result in waiting.await.unwrap() {
        let error = result.unwrap_err().to_string();
        assert!(error.contains("more than five seconds"), "{error}");
    }
    // A heartbeat has read the clock with the answer that it was late, and was sent again by that.
    assert_eq!(beating.await.unwrap().unwrap().value, 2);
    // What was given up has run by now: commands of older connections come first.
    assert_eq!(dump(&server), before);
    for key in [written, touched, renewed, ended, all] {
        assert!(is_live(&store, key).await);
    }
    assert_eq!(number(&store, written, "n").await, 7);
}

/// Within the five seconds it runs, after its sender was told that the outcome is unknown; then its end follows.
#[tokio::test(flavor = "multi_thread")]
async fn inv02_inv10_what_a_stopped_redis_makes_when_it_resumes_is_ended() {
    let (server, store) = started().await;
    let renewed = made(&store, "renews").await;
    use_all_connections(&store).await;
    server.stop();
    let create = creation(&store, "creates");
    let created = create.key;
    let replace = regeneration(&store, renewed);
    let next = renewed.sibling(replace.successor);
    let (a, b) = tokio::join!(store.create(create), store.replace(replace));
    a.unwrap_err();
    b.unwrap_err();
    server.resume();
    for (key, user) in [(created, "creates"), (next, "renews")] {
        wait_until("it was made, and ended", async || {
            matches!(store.load(key).await, Ok(Some(Entry::Ended(_))))
        })
        .await;
        assert_eq!(reason(store.load(key).await.unwrap()), EndReason::LoggedOut);
        assert_eq!(store.list(user.into()).await.unwrap(), []);
    }
}
