//! When Redis counts as away: by what it says, by what it does not say, and how often that changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sessile::store::Mode;
use sessile::{Outage, RedisStore};

use super::fixture::{Instance, LEASE, Network, SECOND, admin, is_live};
use crate::events::Collector;
use crate::support::Server;
use crate::support::dump::contains;
use crate::support::proxy::Stall;
use crate::support::wait::wait_until;

/// Far above the whole budget of a request, and far below what waiting for Redis would be.
const BUDGET: Duration = Duration::from_secs(3);

/// Reads are answered, and nothing can be written: for an instance that is to write, that is away.
#[tokio::test(flavor = "multi_thread")]
async fn f14_a_read_only_replica_counts_as_away() {
    let server = Server::start();
    let instance = Instance::at(&server.url()).await;
    let mut alice = instance.signed_in("alice").await;
    let mut ended = instance.signed_in("carol").await;
    let mut tab = ended.clone();
    // Of a master that nobody finds: it keeps what it has, and takes nothing.
    admin(&server, &["REPLICAOF", "127.0.0.1", "1"]);
    // By the heartbeat alone: nobody writes.
    instance.is(Mode::Degraded).await;
    assert_eq!(alice.freshness().await, "stale");
    assert_eq!(alice.post("/commit/a/1").await.ok(), "pending");
    assert_eq!(ended.signs_out().await.ok(), "pending");
    let mut bob = instance.signed_in("bob").await;
    assert_eq!(bob.freshness().await, "local");
    admin(&server, &["REPLICAOF", "NO", "ONE"]);
    instance.is_back().await;
    assert_eq!(alice.freshness().await, "live");
    assert_eq!(alice.get("/get/a").await.ok(), "1");
    tab.is_refused("logged_out").await;
    bob.settles("bob").await;
}

/// The first who writes finds out, and is served as everybody after them.
#[tokio::test(flavor = "multi_thread")]
async fn f14_who_writes_to_a_replica_first_signs_in_here() {
    let server = Server::start();
    let instance = Instance::at(&server.url()).await;
    let mut alice = instance.signed_in("alice").await;
    admin(&server, &["REPLICAOF", "127.0.0.1", "1"]);
    assert_eq!(alice.post("/commit/a/1").await.ok(), "pending");
    let mut bob = instance.signed_in("bob").await;
    assert_eq!(bob.freshness().await, "local");
    assert_eq!(instance.health().mode, Mode::Degraded);
}

/// So few replicas that it does not write: nothing is sent again and again, and nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn f14_a_master_without_enough_replicas_counts_as_away() {
    let server = Server::start();
    let instance = Instance::at(&server.url()).await;
    let mut alice = instance.signed_in("alice").await;
    admin(&server, &["CONFIG", "SET", "min-replicas-to-write", "1"]);
    instance.is(Mode::Degraded).await;
    assert_eq!(alice.freshness().await, "stale");
    admin(&server, &["CONFIG", "SET", "min-replicas-to-write", "0"]);
    instance.is_back().await;
    assert_eq!(alice.freshness().await, "live");
}

/// It runs, takes connections, and says that it loads its data.
#[tokio::test(flavor = "multi_thread")]
async fn f14_a_server_that_loads_its_data_counts_as_away() {
    const KEYS: usize = 300;
    // Microseconds for each key.
    let slowly = [
        "appendonly yes",
        "appendfsync always",
        "aof-use-rdb-preamble no",
        "key-load-delay 10000",
        "loading-process-events-interval-bytes 1024",
    ];
    let mut server = Server::with(&slowly);
    let instance = Instance::at(&server.url()).await;
    let mut alice = instance.signed_in("alice").await;
    for n in 0..KEYS {
        admin(&server, &["SET", &format!("filler-{n}"), &"x".repeat(1000)]);
    }
    let url = server.url();
    server.kill();
    instance.knows_that_it_is_away().await;
    let starting = tokio::task::spawn_blocking(move || {
        server.restart();
        server
    });
    let mut is_loading = false;
    let what = "the server has loaded its data";
    wait_until(what, async || {
        let known = loading(&url).await;
        is_loading |= known == Some(true);
        if known == Some(true) {
            alice.is("alice").await;
            let mut bob = instance.signed_in("bob").await;
            assert!(["local", "live"].contains(&&*bob.freshness().await));
        }
        known == Some(false)
    })
    .await;
    let server = starting.await.unwrap();
    instance.is_back().await;
    assert!(is_live(&server, alice.id()));
    assert_eq!(alice.freshness().await, "live");
    // Nothing is gained from a server that loads too fast to be seen: then this test has shown the restart alone.
    eprintln!("seen while it loads: {is_loading}");
}

/// Whether the server says that it loads its data; `None`: it says nothing.
async fn loading(url: &str) -> Option<bool> {
    let mut connection = crate::support::redis::connect(url).await.ok()?;
    let answer: Result<String, redis::RedisError> = redis::cmd("GET")
        .arg("none")
        .query_async(&mut connection)
        .await;
    match answer {
        Err(error) if error.code() == Some("LOADING") => Some(true),
        Err(error) if error.is_io_error() => None,
        _ => Some(false),
    }
}

/// It is there: what it has is read, changed and ended as ever, and nothing lives here in its place.
#[tokio::test(flavor = "multi_thread")]
async fn f15_out_of_memory_is_not_away_and_creates_nothing() {
    let server = Server::start();
    let instance = Instance::at(&server.url()).await;
    let mut alice = instance.signed_in("alice").await;
    let mut other = instance.signed_in("alice").await;
    admin(
        &server,
        &["CONFIG", "SET", "maxmemory-policy", "noeviction"],
    );
    admin(&server, &["CONFIG", "SET", "maxmemory", "1"]);
    for _ in 0..5 {
        for path in ["/login/bob", "/put/cart/pear"] {
            instance.browser().post(path).await.not_now();
        }
        alice.is("alice").await;
        assert_eq!(alice.freshness().await, "live");
    }
    let began = Instant::now();
    let what = "a heartbeat has found it full";
    wait_until(what, async || {
        alice.is("alice").await;
        began.elapsed() > SECOND + SECOND / 2
    })
    .await;
    let health = instance.health();
    assert_eq!((health.mode, health.local), (Mode::Healthy, 0));
    alice.post("/put/a/1").await.ok();
    assert_eq!(alice.post("/end-the-others").await.ok(), "committed");
    other.is_refused("revoked").await;
    assert_eq!(alice.signs_out().await.ok(), "committed");
    admin(&server, &["CONFIG", "SET", "maxmemory", "0"]);
    instance.signed_in("bob").await.is("bob").await;
}

/// With the deadlines that everybody has.
async fn impatient(url: &str) -> Instance {
    let store = RedisStore::connect(url).await.unwrap();
    Instance::over(store, |builder| {
        builder.outage(Outage::Local { lease: LEASE })
    })
}

/// Nobody waits for an answer that does not come: neither those who find out, nor those who come after them.
async fn is_served_while_it_says_nothing(
    instance: &Instance,
    alices: &mut [super::fixture::Browser],
) {
    let served = alices.iter_mut().map(async |alice| {
        for _ in 0..20 {
            let began = Instant::now();
            alice.is("alice").await;
            assert!(began.elapsed() < BUDGET);
        }
    });
    futures_util::future::join_all(served).await;
    instance.is(Mode::Degraded).await;
    let began = Instant::now();
    let mut bob = instance.signed_in("bob").await;
    assert_eq!(bob.freshness().await, "local");
    assert_eq!(alices[0].post("/commit/a/1").await.ok(), "pending");
    assert!(began.elapsed() < BUDGET);
}

#[tokio::test(flavor = "multi_thread")]
async fn f16_five_seconds_of_latency_open_the_breaker() {
    let network = Network::start();
    let instance = impatient(&network.url()).await;
    let mut alices = vec![
        instance.signed_in("alice").await,
        instance.signed_in("alice").await,
    ];
    network.proxy.slow(5 * SECOND);
    is_served_while_it_says_nothing(&instance, &mut alices).await;
    network.proxy.slow(Duration::ZERO);
    instance.is_back().await;
    assert_eq!(alices[0].get("/get/a").await.ok(), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn f16_a_process_that_is_stopped_opens_the_breaker() {
    let server = Server::start();
    let instance = impatient(&server.url()).await;
    let mut alices = vec![
        instance.signed_in("alice").await,
        instance.signed_in("alice").await,
    ];
    server.stop();
    is_served_while_it_says_nothing(&instance, &mut alices).await;
    server.resume();
    instance.is_back().await;
    assert_eq!(alices[0].get("/get/a").await.ok(), "1");
}

/// Bytes that go nowhere, and with nobody who asks: the heartbeat finds it.
#[tokio::test(flavor = "multi_thread")]
async fn f16_the_heartbeat_alone_finds_that_nothing_is_answered() {
    let network = Network::start();
    let instance = impatient(&network.url()).await;
    instance.signed_in("alice").await;
    network.proxy.stall(Stall::Replies);
    instance.is(Mode::Degraded).await;
    network.proxy.flow();
    instance.is_back().await;
}

/// It takes connections and commands, and its answers are lost on the way: no call fails but by its silence.
#[tokio::test(flavor = "multi_thread")]
async fn f16_two_calls_in_a_row_without_an_answer_open_the_breaker() {
    let network = Network::start();
    let instance = impatient(&network.url()).await;
    let mut alice = instance.signed_in("alice").await;
    let is_silent = Arc::new(AtomicBool::new(true));
    for _ in 0..1_000 {
        let is_silent = Arc::clone(&is_silent);
        network.proxy.drop_reply_of(move |command| {
            let asks = [&b"GET"[..], b"EVALSHA"]
                .iter()
                .any(|word| contains(command, word));
            asks && is_silent.load(Ordering::SeqCst)
        });
    }
    instance.is(Mode::Degraded).await;
    alice.is("alice").await;
    assert_eq!(alice.post("/commit/a/1").await.ok(), "pending");
    is_silent.store(false, Ordering::SeqCst);
    instance.is_back().await;
    assert_eq!(alice.get("/get/a").await.ok(), "1");
}

/// A connection that was cut is replaced, and nothing is told of it.
#[tokio::test]
async fn a_connection_that_is_cut_is_no_outage() {
    let (told, _guard) = Collector::install();
    let network = Network::start();
    let instance = Instance::at(&network.url()).await;
    let mut alice = instance.signed_in("alice").await;
    for _ in 0..10 {
        network.proxy.cut();
        alice.is("alice").await;
        assert_eq!(alice.freshness().await, "live");
    }
    assert_eq!(modes(&told), [""; 0]);
}

/// The modes that were told of, in order.
fn modes(told: &Collector) -> Vec<String> {
    let events = told.fields("event", "mode");
    events.iter().map(|fields| fields["mode"].clone()).collect()
}

#[tokio::test]
async fn f17_an_outage_is_told_in_three_lines_however_many_run_into_it() {
    let (told, _guard) = Collector::install();
    let network = Network::start();
    let instance = Instance::at(&network.url()).await;
    let mut alice = instance.signed_in("alice").await;
    network.cut_off(&instance).await;
    for _ in 0..200 {
        alice.is("alice").await;
        instance.browser().given("/login/bob").await.ok();
    }
    network.reconnect(&instance).await;
    alice.is("alice").await;
    assert_eq!(modes(&told), ["degraded", "recovering", "healthy"]);
}

#[tokio::test]
async fn f17_flapping_each_second_changes_the_mode_as_often_and_is_one_line_each() {
    const TIMES: usize = 4;
    let (told, _guard) = Collector::install();
    let network = Network::start();
    let instance = Instance::at(&network.url()).await;
    let mut alice = instance.signed_in("alice").await;
    let began = Instant::now();
    for n in 1..=TIMES {
        network.cut();
        while began.elapsed() < SECOND * (2 * n as u32 - 1) {
            alice.is("alice").await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        network.heal();
        while began.elapsed() < SECOND * (2 * n as u32) {
            alice.is("alice").await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    network.reconnect(&instance).await;
    let modes = modes(&told);
    assert!(modes.len() <= 3 * TIMES, "{modes:?}");
    for pair in modes.windows(2) {
        let follows = matches!(
            (&*pair[0], &*pair[1]),
            ("degraded", "recovering")
                | ("recovering", "healthy" | "degraded")
                | ("healthy", "degraded")
        );
        assert!(follows, "{modes:?}");
    }
    assert!(told.fields("event", "store_failed").len() <= 1);
    alice.is("alice").await;
}
