//! Copies are bounded in number, and in bytes together with the leases.

use sessile::{Outage, RedisStore, SessionLayer, SessionStore};

use super::fixture::{builder, creation, near, warm};
use crate::support::redis::Server;

const MEBIBYTE: usize = 1 << 20;

async fn fill(store: &RedisStore, sessions: usize, bytes: usize) {
    for n in 0..sessions {
        let create = creation(store, &format!("user-{n}"), "1".repeat(bytes));
        let key = create.key;
        store.create(create).await.unwrap();
        store.load(key).await.unwrap();
    }
}

#[tokio::test]
async fn inv11_copies_are_bounded_in_number() {
    let server = Server::start();
    for entries in [1, 10, 300] {
        let store = builder(&server.url())
            .near_cache(entries)
            .connect()
            .await
            .unwrap();
        fill(&store, 2 * entries + 10, 10).await;
        let counts = store.near_counts().unwrap();
        assert!(counts.entries <= entries, "{counts:?} of {entries}");
        assert!(counts.entries >= entries / 4, "{counts:?} of {entries}");
    }
}

#[tokio::test]
async fn inv11_copies_and_leases_share_the_outage_memory() {
    let server = Server::start();
    let store = near(&server.url()).await;
    let builder = SessionLayer::builder(store.clone());
    let layer = builder
        .outage_memory(MEBIBYTE)
        .outage(Outage::default())
        .build()
        .unwrap();
    fill(&store, 400, 4_000).await;
    let counts = store.near_counts().unwrap();
    assert!(counts.entries > 10 && counts.entries < 400, "{counts:?}");
    assert!(counts.bytes <= MEBIBYTE / 2, "{counts:?}");
    // Another layer over the same store leaves them no more.
    let more = SessionLayer::builder(store.clone()).outage_memory(64 * MEBIBYTE);
    drop(more.build().unwrap());
    fill(&store, 400, 4_000).await;
    assert!(store.near_counts().unwrap().bytes <= MEBIBYTE / 2);
    drop(layer);
}

#[tokio::test]
async fn a_session_that_is_larger_than_all_is_read_and_not_kept() {
    let server = Server::start();
    let store = near(&server.url()).await;
    let small = creation(&store, "bob", "1".into());
    let key = small.key;
    store.create(small).await.unwrap();
    warm(&store, &key).await;
    assert!(
        !RedisStore::connect(&server.url())
            .await
            .unwrap()
            .near_memory(1)
    );
    assert!(store.near_memory(64 * 1024));
    let large = creation(&store, "alice", "1".repeat(60_000));
    let key = large.key;
    store.create(large).await.unwrap();
    assert!(store.load(key).await.unwrap().is_some());
    assert!(store.near(&key).is_none());
}
