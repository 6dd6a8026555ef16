//! The heartbeat of one server: what it leaves, what it tells, and how it fails.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sessile::store::{Beat, Failure, Part};
use sessile::{RedisStore, SessionStore};

use super::fixture::{ask, creation, made};
use crate::support::dump::{Entry as Held, contains};
use crate::support::proxy::Proxy;
use crate::support::redis::Server;
use crate::support::sentinel::Sentinels;
use crate::support::wait::wait_until;

const KEY: &str = "beat:{0000}";
const DAYS_30: Duration = Duration::from_secs(30 * 24 * 3600);

async fn started() -> (Server, RedisStore) {
    let server = Server::start();
    let store = connected(&server).await;
    (server, store)
}

async fn connected(server: &Server) -> RedisStore {
    RedisStore::connect(&server.url()).await.unwrap()
}

async fn beat(store: &RedisStore, least: u64) -> Beat {
    store.beat(Part::default(), least).await.unwrap()
}

async fn failure(store: &RedisStore) -> Failure {
    let beat = store.beat(Part::default(), 0).await;
    beat.expect_err("it takes no writes").failure()
}

fn only(server: &Server) -> Held {
    let mut dump = server.dump();
    assert_eq!(dump.len(), 1, "{dump:?}");
    dump.remove(0)
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[track_caller]
fn lives_30_days(held: &Held) {
    let ttl = held.ttl.expect("it has an expiry");
    assert!(
        ttl <= DAYS_30 + Duration::from_secs(1) && ttl + Duration::from_secs(60) > DAYS_30,
        "{ttl:?}"
    );
}

/// `{namespace:}beat:{tag}`, a string, for thirty days from each beat on.
#[tokio::test]
async fn inv11_a_heartbeat_is_one_key_that_expires_after_thirty_days_without_one() {
    let (server, store) = started().await;
    assert_eq!(store.parts(), [Part::default()]);
    assert_eq!(store.part(store.bucket(&"alice".into())), Part::default());
    let told = beat(&store, 0).await;
    for n in 1..=2 {
        let held = only(&server);
        assert_eq!((text(&held.key), &*held.kind), (KEY, "string"));
        let value = format!("{:016x}:{n}", told.generation);
        assert_eq!(text(&held.values[0]), value);
        lives_30_days(&held);
        let _: i64 = ask(&server, &["PEXPIRE", KEY, "60000"]);
        beat(&store, 0).await;
    }
    let _: () = ask(&server, &["FLUSHALL"]);
    let shop = RedisStore::builder(&server.url()).namespace("shop");
    let shop = shop.connect().await.unwrap();
    beat(&shop, 0).await;
    assert_eq!(text(&only(&server).key), "shop:beat:{0000}");
}

#[tokio::test]
async fn instances_count_on_from_each_others_heartbeats() {
    let (server, first) = started().await;
    let second = connected(&server).await;
    let mut last: Option<Beat> = None;
    for (n, store) in [&first, &second, &second, &first].into_iter().enumerate() {
        let told = beat(store, 0).await;
        assert_eq!(told.value, n as u64 + 1);
        assert_eq!(told.before, last.as_ref().map(|last| last.value));
        if let Some(last) = last {
            assert_eq!(
                (told.generation, told.server),
                (last.generation, last.server)
            );
        }
        last = Some(told);
    }
    // More than what was there, and more than what whoever asks has seen.
    for (least, value) in [(3, 5), (1000, 1001), (7, 1002), (1002, 1003)] {
        assert_eq!(beat(&first, least).await.value, value);
    }
    let most = 999_999_999_999_998;
    assert_eq!(beat(&first, most).await.value, most + 1);
    let error = first.beat(Part::default(), most + 1).await.unwrap_err();
    assert_eq!(error.failure(), Failure::Other);
    // Of another part than there is.
    let error = first.beat(Part::from(1), 0).await.unwrap_err();
    assert_eq!(error.failure(), Failure::Unreachable);
}

/// All that is found is counted on from; what is not found, or is no beat, is of a store that came back empty.
#[tokio::test]
async fn inv08_a_store_that_came_back_empty_has_another_generation() {
    let (server, store) = started().await;
    let mut last = beat(&store, 6).await;
    let forget: [&[&str]; 9] = [
        &["FLUSHALL"],
        &["DEL", KEY],
        &["SET", KEY, ""],
        &["SET", KEY, "0123456789abcdef"],
        &["SET", KEY, "0123456789abcdef:"],
        &["SET", KEY, "0123456789abcde:7"],
        &["SET", KEY, "0123456789abcdefg:7"],
        &["SET", KEY, "0123456789abcdef:1000000000000000"],
        &["RPUSH", KEY, "foreign"],
    ];
    for forget in forget {
        if forget[0] == "RPUSH" {
            let _: i64 = ask(&server, &["DEL", KEY]);
        }
        let _: redis::Value = ask(&server, forget);
        let told = beat(&store, last.value).await;
        assert_eq!(told.before, None, "{forget:?}");
        assert_eq!(told.value, last.value + 1, "{forget:?}");
        assert_ne!(told.generation, last.generation, "{forget:?}");
        assert_eq!(told.server, last.server, "{forget:?}");
        lives_30_days(&only(&server));
        last = told;
    }
    let _: () = ask(&server, &["SET", KEY, "00000000000000ff:41"]);
    let told = beat(&store, 7).await;
    assert_eq!(
        (told.generation, told.before, told.value),
        (255, Some(41), 42)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_restarts_is_another_and_one_with_an_old_dump_is_behind() {
    let mut server = Server::start();
    let store = connected(&server).await;
    let saved = beat(&store, 0).await;
    let _: () = ask(&server, &["SAVE"]);
    let last = beat(&store, 0).await;
    assert_eq!(last.before, Some(saved.value));
    server.kill();
    // What is handed to a connection that nobody knows to be dead yet is lost.
    assert_ne!(failure(&store).await, Failure::Refused);
    assert_eq!(failure(&store).await, Failure::Unreachable);
    server.restart();
    let told = beat(&store, last.value).await;
    assert_ne!(told.server, saved.server);
    assert_eq!(told.generation, saved.generation);
    assert_eq!(told.before, Some(saved.value), "less than was seen");
    assert_eq!(told.value, last.value + 1);
    assert_eq!(beat(&store, 0).await.server, told.server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_cut_is_replaced_within_one_heartbeat() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let store = RedisStore::connect(&proxy.url()).await.unwrap();
    let first = beat(&store, 0).await;
    for n in 2..=4 {
        proxy.cut();
        let told = beat(&store, 0).await;
        assert_eq!((told.value, told.server), (n, first.server));
    }
    // When it was handed over already; and then it is written twice.
    proxy.drop_reply_of(|command| contains(command, b"EVALSHA"));
    assert_eq!(beat(&store, 0).await.value, 6);
    // Once more is once.
    for _ in 0..2 {
        proxy.drop_reply_of(|command| contains(command, b"EVALSHA"));
    }
    assert_eq!(failure(&store).await, Failure::Silent);
    proxy.refuse();
    proxy.cut();
    assert_eq!(failure(&store).await, Failure::Unreachable);
}

#[tokio::test(flavor = "multi_thread")]
async fn inv08_a_server_that_hangs_is_silent_and_then_cannot_be_reached() {
    let (server, store) = started().await;
    beat(&store, 0).await;
    server.stop();
    let began = Instant::now();
    assert_eq!(failure(&store).await, Failure::Silent);
    assert_eq!(failure(&store).await, Failure::Unreachable);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    server.resume();
    wait_until("it beats again", async || {
        store.beat(Part::default(), 0).await.is_ok()
    })
    .await;
}

/// Whatever it answers, it is a server that takes nothing now.
#[tokio::test(flavor = "multi_thread")]
async fn inv08_a_server_that_takes_no_writes_refuses_the_heartbeat_and_the_changes() {
    let (server, store) = started().await;
    let key = made(&store, "alice").await;
    beat(&store, 0).await;
    let _: () = ask(&server, &["CONFIG", "SET", "min-replicas-to-write", "1"]);
    assert_eq!(failure(&store).await, Failure::Refused);
    let error = store.create(creation(&store, "alice")).await.unwrap_err();
    assert_eq!(error.failure(), Failure::Refused, "{error}");
    let _: () = ask(&server, &["CONFIG", "SET", "min-replicas-to-write", "0"]);
    assert_eq!(beat(&store, 0).await.value, 2);

    let master = Server::start();
    let port = master.address().port().to_string();
    let _: () = ask(&server, &["REPLICAOF", "127.0.0.1", &port]);
    assert_eq!(failure(&store).await, Failure::Refused);
    let error = store.create(creation(&store, "alice")).await.unwrap_err();
    assert_eq!(error.failure(), Failure::Refused, "{error}");
    let _: () = ask(&server, &["REPLICAOF", "NO", "ONE"]);
    store.load(key).await.unwrap();
    beat(&store, 0).await;

    server.stop();
    let error = store.create(creation(&store, "alice")).await.unwrap_err();
    assert_eq!(error.failure(), Failure::Silent, "{error}");
    server.resume();
}

/// It reads twenty keys a second, and answers in between.
#[tokio::test(flavor = "multi_thread")]
async fn inv08_a_server_that_loads_its_data_refuses() {
    let mut server = Server::with(&[
        "key-load-delay 50000",
        "loading-process-events-interval-bytes 1024",
        "rdbcompression no",
    ]);
    let store = connected(&server).await;
    let large = "x".repeat(4096);
    for key in 0..60 {
        let _: () = ask(&server, &["SET", &key.to_string(), &large]);
    }
    let before = beat(&store, 0).await;
    let key = made(&store, "alice").await;
    let _: () = ask(&server, &["SAVE"]);
    server.kill();
    let restarting = tokio::task::spawn_blocking(move || {
        server.restart();
        server
    });
    wait_until("it refuses a heartbeat, for it loads", async || {
        let told = store.beat(Part::default(), 0).await;
        let error = told.expect_err("it has not loaded yet");
        error.failure() == Failure::Refused
    })
    .await;
    let error = store.load(key).await.unwrap_err();
    assert_eq!(error.failure(), Failure::Refused, "{error}");
    let _server = restarting.await.unwrap();
    let after = beat(&store, 0).await;
    assert_eq!(after.before, Some(before.value));
    assert_eq!(after.generation, before.generation);
}

/// It is not away: what needs no memory goes on.
#[tokio::test]
async fn a_server_without_memory_beats_and_takes_nothing_new() {
    for warm in [true, false] {
        let (server, store) = started().await;
        if warm {
            beat(&store, 0).await;
        }
        let _: () = ask(&server, &["CONFIG", "SET", "maxmemory", "1"]);
        for n in 1..=3 {
            assert_eq!(beat(&store, 0).await.value, n + u64::from(warm));
        }
        let error = store.create(creation(&store, "alice")).await.unwrap_err();
        assert_eq!(error.failure(), Failure::Full, "{error}");
        lives_30_days(&only(&server));
    }
}

/// Without the right to ask who it is, a new connection leads to another server, for all that is known.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_ask_counts_each_connection_as_another_server() {
    let server = Server::with(&["user app on >password ~* +@all -info"]);
    let proxy = Proxy::start(server.address());
    let url = proxy.url().replace("redis://", "redis://app:password@");
    let store = RedisStore::connect(&url).await.unwrap();
    let mut monitor = server.monitor();
    let (first, again) = (beat(&store, 0).await, beat(&store, 0).await);
    assert_eq!(first.server, again.server);
    // It is asked once a connection, and not with every beat.
    let sent = monitor.take().clients;
    assert_eq!(sent.get("EVALSHA"), Some(&2), "{sent:?}");
    let stats: String = ask(&server, &["INFO", "commandstats"]);
    let of_info = stats.lines().find(|line| line.starts_with("cmdstat_info:"));
    let refused = of_info
        .unwrap()
        .split(',')
        .find_map(|word| word.strip_prefix("rejected_calls="));
    // One of the store's start, and two of the first heartbeat.
    assert_eq!(refused, Some("3"), "{stats}");
    proxy.cut();
    let after = beat(&store, 0).await;
    assert_ne!(after.server, first.server);
    assert_eq!(after.generation, first.generation);
    let other = RedisStore::connect(&url).await.unwrap();
    assert_ne!(beat(&other, 0).await.server, after.server);
}

/// One pipeline; and whoever beats the heart has read the clock.
#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_is_four_commands_and_spares_the_clock_its_own() {
    let (server, store) = started().await;
    beat(&store, 0).await;
    let mut monitor = server.monitor();
    let mut expected = 0;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        beat(&store, 0).await;
        expected += 1;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let counts = |counts: &[(&str, u64)]| -> BTreeMap<String, u64> {
        let counts = counts.iter();
        counts
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect()
    };
    let sent = monitor.take();
    let four = [
        ("TIME", expected),
        ("EVALSHA", expected),
        ("INFO", 2 * expected),
    ];
    assert_eq!(sent.clients, counts(&four));
    let inside = [
        ("TIME", expected),
        ("GET", expected),
        ("PEXPIREAT", expected),
        ("SET", expected),
    ];
    assert_eq!(sent.scripts, counts(&inside));
    // Nobody beats any more: the clock is read again.
    let began = Instant::now();
    wait_until("the clock is read", async || {
        monitor.take().clients.contains_key("TIME")
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(store.is_answering());
}

/// Who beats learns of a clock that was put right as soon as who reads it.
#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_that_fails_is_a_store_that_does_not_answer() {
    let (mut server, store) = started().await;
    beat(&store, 0).await;
    assert!(store.is_answering());
    server.kill();
    failure(&store).await;
    assert!(!store.is_answering());
    server.restart();
    beat(&store, 0).await;
    wait_until("it answers", async || store.is_answering()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_of_sentinels_another_server_beats() {
    let mut sentinels = Sentinels::start();
    let store = RedisStore::sentinel(sentinels.sentinel_urls(), sentinels.master_name())
        .connect()
        .await
        .unwrap();
    assert_eq!(store.parts(), [Part::default()]);
    let before = beat(&store, 0).await;
    let _: i64 = redis::cmd("WAIT")
        .arg(1)
        .arg(10_000)
        .query(&mut sentinels.master().connection())
        .unwrap();
    sentinels.kill_master();
    assert_ne!(failure(&store).await, Failure::Other);
    sentinels.wait_for_promotion().await;
    wait_until("the new master beats", async || {
        store.beat(Part::default(), before.value).await.is_ok()
    })
    .await;
    let after = beat(&store, before.value).await;
    assert_ne!(after.server, before.server);
    assert_eq!(after.generation, before.generation);
}
