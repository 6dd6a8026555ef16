//! The heartbeats of a cluster: each primary is a part, and beats in a slot of its own.

use std::collections::BTreeSet;

use sessile::store::{Beat, Failure, Part};
use sessile::{Bucket, RedisStore, SessionStore};

use crate::support::cluster::Cluster;
use crate::support::wait::wait_until;

async fn store(cluster: &Cluster) -> RedisStore {
    let store = RedisStore::cluster(cluster.urls()).connect().await.unwrap();
    assert_eq!(store.parts().len(), 3);
    store
}

/// A bucket whose slot a node has.
fn bucket_of(cluster: &Cluster, node: usize) -> Bucket {
    let mut buckets = (0..).map(Bucket::from);
    let is_there =
        |bucket: &Bucket| cluster.master_of(cluster.slot_of(format!("{{{bucket}}}"))) == node;
    buckets.find(is_there).unwrap()
}

/// The part of a node.
fn part_of(cluster: &Cluster, store: &RedisStore, node: usize) -> Part {
    store.part(bucket_of(cluster, node))
}

/// The keys of heartbeats that a node has.
fn keys(cluster: &Cluster, node: usize) -> Vec<String> {
    let dump = cluster.node(node).dump();
    let keys = dump
        .into_iter()
        .map(|held| String::from_utf8(held.key).unwrap());
    keys.filter(|key| key.starts_with("beat:")).collect()
}

async fn beat(store: &RedisStore, part: Part, least: u64) -> Beat {
    store.beat(part, least).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn inv11_inv13_each_primary_is_a_part_and_beats_in_its_own_slot() {
    let cluster = Cluster::start();
    let (first, second) = (store(&cluster).await, store(&cluster).await);
    let mut seen = BTreeSet::new();
    for node in 0..3 {
        let part = part_of(&cluster, &first, node);
        assert!(first.parts().contains(&part) && seen.insert(part));
        let told = beat(&first, part, 0).await;
        assert_eq!((told.before, told.value), (None, 1));
        let held = keys(&cluster, node);
        assert_eq!(held.len(), 1, "{held:?}");
        assert_eq!(cluster.master_of(cluster.slot_of(&held[0])), node);
        // Another instance may number them in another way, and beats on.
        let other = beat(&second, part_of(&cluster, &second, node), 0).await;
        assert_eq!((other.before, other.value), (Some(1), 2));
        assert_eq!(
            (other.server, other.generation),
            (told.server, told.generation)
        );
    }
    for held in cluster.dump() {
        assert!(held.ttl.is_some(), "{held:?}");
    }
    let error = first.beat(Part::from(77), 0).await.unwrap_err();
    assert_eq!(error.failure(), Failure::Unreachable);
}

#[tokio::test(flavor = "multi_thread")]
async fn before_a_cluster_is_known_there_is_a_part_that_cannot_be_reached() {
    let store = RedisStore::cluster(["redis://127.0.0.1:1"])
        .connect()
        .await
        .unwrap();
    assert_eq!(store.parts(), [Part::default()]);
    assert_eq!(store.part(Bucket::from(7)), Part::default());
    let error = store.beat(Part::default(), 0).await.unwrap_err();
    assert_eq!(error.failure(), Failure::Unreachable);
}

/// Its part fails, and the others do not; then what it had is another's, and that is another server.
#[tokio::test(flavor = "multi_thread")]
async fn inv08_a_killed_primary_is_a_part_that_is_away_until_another_has_its_slots() {
    let mut cluster = Cluster::with(1, &["cluster-require-full-coverage no"]);
    let store = store(&cluster).await;
    let bucket = bucket_of(&cluster, 0);
    let parts = [0, 1, 2].map(|node| part_of(&cluster, &store, node));
    let mut before = Vec::new();
    for part in parts {
        before.push(beat(&store, part, 0).await);
    }
    let _: i64 = redis::cmd("WAIT")
        .arg(1)
        .arg(10_000)
        .query(&mut cluster.node(0).connection())
        .unwrap();
    cluster.kill_master(0);
    let error = store.beat(parts[0], 0).await.unwrap_err();
    assert!(
        matches!(error.failure(), Failure::Unreachable | Failure::Silent),
        "{error}"
    );
    let error = store.beat(parts[0], 0).await.unwrap_err();
    assert_eq!(error.failure(), Failure::Unreachable, "{error}");
    assert_eq!(store.part(bucket), parts[0]);
    for part in &parts[1..] {
        assert_eq!(beat(&store, *part, 0).await.before, Some(1));
    }
    // Whoever beats finds out where the slots are, and nobody else is needed for it.
    wait_until("another server has the slots", async || {
        let _ = store.beat(parts[0], 0).await;
        store.part(bucket) != parts[0]
    })
    .await;
    let promoted = store.part(bucket);
    assert!(!parts.contains(&promoted));
    assert_eq!(
        store.parts().iter().collect::<BTreeSet<_>>(),
        [&parts[1], &parts[2], &promoted].into()
    );
    wait_until("it beats", async || store.beat(promoted, 0).await.is_ok()).await;
    let after = beat(&store, promoted, 0).await;
    assert_ne!(after.server, before[0].server);
    assert_eq!(after.generation, before[0].generation);
    assert!(after.before > Some(before[0].value));
    let error = store.beat(parts[0], 0).await.unwrap_err();
    assert_eq!(error.failure(), Failure::Unreachable, "{error}");
}

/// A slot that goes elsewhere says nothing against the server that had it, nor that it is empty.
#[tokio::test(flavor = "multi_thread")]
async fn inv13_a_primary_whose_slot_moves_beats_on_in_another() {
    let cluster = Cluster::start();
    let (store, other) = (store(&cluster).await, store(&cluster).await);
    let part = part_of(&cluster, &store, 0);
    let mut last = beat(&store, part, 0).await;
    for n in 0..3 {
        let slot = cluster.slot_of(&keys(&cluster, 0)[0]);
        if n == 0 {
            let migration = cluster.begin_migration(slot, 1);
            let told = beat(&store, part, last.value).await;
            assert_eq!((told.before, told.generation), (Some(1), last.generation));
            while migration.move_keys(10) > 0 {}
            // Half way, and what it left has gone ahead.
            last = beat(&store, part, told.value).await;
            assert_eq!(
                (last.server, last.generation),
                (told.server, told.generation)
            );
            migration.finish();
        } else {
            cluster.migrate_slot(slot, 1);
        }
        for _ in 0..2 {
            let told = beat(&store, part, last.value).await;
            assert_eq!(
                (told.server, told.generation),
                (last.server, last.generation)
            );
            assert!(told.value > last.value);
            last = told;
        }
        assert_eq!(keys(&cluster, 0).len(), 1);
        assert_eq!(store.part(bucket_of(&cluster, 0)), part);
    }
    // Somebody who has not beaten there before finds another generation under the key, and keeps to that.
    let part = part_of(&cluster, &other, 0);
    let told = beat(&other, part, 0).await;
    assert_eq!((told.server, told.before), (last.server, Some(last.value)));
    assert_eq!(beat(&other, part, 0).await.generation, told.generation);
    // And a store that is empty is still found to be.
    for node in 0..3 {
        let _: () = redis::cmd("FLUSHALL")
            .query(&mut cluster.node(node).connection())
            .unwrap();
    }
    let part = part_of(&cluster, &store, 0);
    let told = beat(&store, part, last.value).await;
    assert_eq!((told.server, told.before), (last.server, None));
    assert_ne!(told.generation, last.generation);
}
