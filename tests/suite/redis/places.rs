//! The contract of a store on every kind of place that Redis can be, and the rows of the table of set-ups.
//!
//! Clusters and sentinels take seconds to start, so all cases of a kind share one. It ends with the test program.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use sessile::{RedisStore, store_conformance};

use crate::support::cluster::Cluster;
use crate::support::redis::Server;
use crate::support::sentinel::Sentinels;
use crate::support::setups::report;

static TLS: LazyLock<(Server, String)> = LazyLock::new(|| {
    let (server, authority) = Server::start_tls();
    let (version, processes) = server.describe();
    report("tls", &version, processes);
    (server, authority)
});

static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| {
    let cluster = Cluster::start();
    let (version, processes) = cluster.describe();
    report("cluster", &version, &processes);
    cluster
});

/// One whose slots move all the time: those that have keys, and so those that are being used.
static MOVING: LazyLock<Arc<Cluster>> = LazyLock::new(|| {
    let cluster = Arc::new(Cluster::start());
    let moving = Arc::clone(&cluster);
    std::thread::spawn(move || {
        let mut turn = 0;
        loop {
            let dump = moving.dump();
            let Some(held) = dump.get(turn * 7919 % dump.len().max(1)) else {
                std::thread::yield_now();
                continue;
            };
            turn += 1;
            let slot = moving.slot_of(&held.key);
            let to = (moving.master_of(slot) + 1) % 3;
            moving.migrate_slot(slot, to);
        }
    });
    cluster
});

/// One whose first master is dead, and whose replica has taken over.
static FAILED_OVER: LazyLock<Mutex<Cluster>> = LazyLock::new(|| {
    let mut cluster = Cluster::with(1, &[]);
    cluster.kill_master(0);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime is there to be had");
    let waited = std::thread::scope(|scope| {
        scope
            .spawn(|| runtime.block_on(cluster.wait_for_failover(0)))
            .join()
    });
    assert_ne!(waited.expect("the replica takes over"), 0);
    Mutex::new(cluster)
});

static SENTINELS: LazyLock<Sentinels> = LazyLock::new(|| {
    let sentinels = Sentinels::start();
    let (version, processes) = sentinels.describe();
    report("sentinel", &version, &processes);
    sentinels
});

store_conformance!(tls, || async {
    let (server, authority) = &*TLS;
    RedisStore::builder(&server.url())
        .root_certificate(authority.clone())
        .connect()
        .await
        .unwrap()
});

store_conformance!(cluster, || async {
    let urls = tokio::task::spawn_blocking(|| CLUSTER.urls())
        .await
        .unwrap();
    RedisStore::cluster(urls).connect().await.unwrap()
});

store_conformance!(cluster_whose_slots_move, || async {
    let urls = tokio::task::spawn_blocking(|| MOVING.urls()).await.unwrap();
    // A slot that is half way answers "try again" until it has arrived.
    RedisStore::cluster(urls)
        .operation_timeout(Duration::from_secs(20))
        .connect()
        .await
        .unwrap()
});

store_conformance!(cluster_after_a_failover, || async {
    let urls = tokio::task::spawn_blocking(|| FAILED_OVER.lock().unwrap().urls())
        .await
        .unwrap();
    RedisStore::cluster(urls)
        .operation_timeout(Duration::from_secs(5))
        .connect()
        .await
        .unwrap()
});

store_conformance!(sentinel, || async {
    let (urls, name) =
        tokio::task::spawn_blocking(|| (SENTINELS.sentinel_urls(), SENTINELS.master_name()))
            .await
            .unwrap();
    RedisStore::sentinel(urls, name).connect().await.unwrap()
});
