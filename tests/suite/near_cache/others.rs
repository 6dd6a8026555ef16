//! What another instance does is seen, in whatever order replies and changes come.

use std::time::Instant;

use redis::Commands;
use sessile::SessionStore;
use sessile::record::Entry;
use sessile::store::{EndScope, Limit};
use sessile::{AtLimit, Kind, RecordKey, RedisStore};

use super::fixture::{
    BOUND, copy, creation, digest, end, gone_since, loaded, made, near, patient, two, warm, write,
};
use crate::support::proxy::{Proxy, Stall};
use crate::support::redis::Server;
use crate::support::wait::wait_until;

#[tokio::test]
async fn a_write_elsewhere_is_seen() {
    let (_server, a, b) = two().await;
    let key = made(&a, "alice", 1).await;
    for n in 2..20 {
        warm(&b, &key).await;
        write(&a, key, n).await;
        let since = Instant::now();
        wait_until("the write is seen", async || {
            let asked = Instant::now();
            let is_old = copy(&b, &key).is_some_and(|copy| copy < n);
            assert!(!is_old || asked <= since + BOUND);
            !is_old
        })
        .await;
        assert_eq!(loaded(&b, &key).await, Some(n));
    }
}

#[tokio::test]
async fn inv02_ends_elsewhere_are_seen() {
    let (_server, a, b) = two().await;
    let one = |key| EndScope::One(key, None);
    let all = |_: RecordKey| EndScope::All("alice".into());
    for scope in [&one as &dyn Fn(_) -> _, &all] {
        let keys = [made(&a, "alice", 1).await, made(&b, "alice", 2).await];
        for key in &keys {
            warm(&b, key).await;
        }
        a.end(end(scope(keys[0]))).await.unwrap();
        gone_since(&b, &keys[0], Instant::now()).await;
        assert!(matches!(
            b.load(keys[0]).await.unwrap(),
            Some(Entry::Ended(_))
        ));
        assert!(b.near(&keys[0]).is_none(), "a tombstone is no copy");
    }
}

#[tokio::test]
async fn inv12_a_login_elsewhere_that_makes_room_is_seen() {
    let (_server, a, b) = two().await;
    let oldest = made(&b, "alice", 1).await;
    warm(&b, &oldest).await;
    let mut create = creation(&a, "alice", "2".into());
    create.limit = Some(Limit {
        sessions: std::num::NonZeroU32::MIN,
        at_limit: AtLimit::EndOldest,
    });
    a.create(create).await.unwrap();
    gone_since(&b, &oldest, Instant::now()).await;
    assert_eq!(loaded(&b, &oldest).await, None);
}

#[tokio::test]
async fn what_is_flushed_or_expires_or_is_evicted_is_seen() {
    let server = Server::start();
    let store = near(&server.url()).await;
    let mut supervisor = server.connection();
    let name = |key: &RecordKey| format!("session:{{{}}}:{}", key.bucket, key.digest.to_text());

    let key = made(&store, "alice", 1).await;
    warm(&store, &key).await;
    let _: () = redis::cmd("FLUSHALL").query(&mut supervisor).unwrap();
    gone_since(&store, &key, Instant::now()).await;
    assert_eq!(store.near_counts().unwrap().entries, 0);

    let key = made(&store, "alice", 1).await;
    warm(&store, &key).await;
    let _: () = supervisor.pexpire(name(&key), 1).unwrap();
    gone_since(&store, &key, Instant::now()).await;

    let key = made(&store, "alice", 1).await;
    warm(&store, &key).await;
    for (setting, value) in [("maxmemory-policy", "allkeys-random"), ("maxmemory", "1")] {
        let mut config = redis::cmd("CONFIG");
        config.arg("SET").arg(setting).arg(value);
        let _: () = config.query(&mut supervisor).unwrap();
    }
    wait_until("Redis evicts it", async || {
        let exists: bool = server.connection().exists(name(&key)).unwrap();
        !exists
    })
    .await;
    gone_since(&store, &key, Instant::now()).await;
    assert_eq!(loaded(&store, &key).await, None);
}

/// What is read through the proxy is registered, sent and answered; its reply is held, and so is what is pushed.
#[tokio::test]
async fn a_change_between_a_read_and_its_reply_is_not_missed() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let (a, b) = (patient(&proxy.url()).await, near(&server.url()).await);
    let (key, other) = (made(&b, "alice", 1).await, made(&b, "bob", 1).await);
    let mut held = 0;
    for n in 2..40 {
        warm(&a, &other).await;
        let before = gets(&server);
        proxy.stall(Stall::Replies);
        let reading = {
            let a = a.clone();
            tokio::spawn(async move { loaded(&a, &key).await })
        };
        wait_until("Redis has answered the read", async || {
            gets(&server) > before
        })
        .await;
        write(&b, key, n).await;
        proxy.flow();
        let read = reading.await.unwrap();
        assert!(read >= Some(n - 1));
        held += u32::from(read == Some(n - 1));
        // Another read's reply comes behind whatever was pushed.
        loaded(&a, &other).await;
        assert_ne!(copy(&a, &key), Some(n - 1));
    }
    assert!(held > 0, "no reply came over the connection that was held");
}

fn gets(server: &Server) -> u64 {
    let stats: String = redis::cmd("INFO")
        .arg("commandstats")
        .query(&mut server.connection())
        .unwrap();
    stats
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_get:calls=")?.split(',').next())
        .map_or(0, |calls| calls.parse().unwrap())
}

#[tokio::test]
async fn an_instance_that_falls_behind_serves_nothing_of_before_once_it_has_caught_up() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    falls_behind(&server, &proxy, near(&proxy.url()).await, true).await;
    falls_behind(&server, &proxy, patient(&proxy.url()).await, false).await;
}

/// `gives_up`: what is held for long costs it its connection; else hundreds of changes are told at once.
async fn falls_behind(server: &Server, proxy: &Proxy, a: RedisStore, gives_up: bool) {
    let b = near(&server.url()).await;
    let other = made(&b, "bob", 0).await;
    let mut keys = Vec::new();
    for n in 0..300 {
        let key = made(&b, &format!("user-{n}"), 1).await;
        a.load(key).await.unwrap();
        keys.push(key);
    }
    for key in &keys {
        warm(&a, key).await;
    }
    proxy.stall(Stall::Replies);
    for key in &keys {
        write(&b, *key, 2).await;
    }
    if gives_up {
        gone_since(&a, &keys[0], Instant::now()).await;
    }
    proxy.flow();
    // What was held comes before the reply to this.
    wait_until("it is read again", async || a.load(other).await.is_ok()).await;
    for key in &keys {
        assert_ne!(copy(&a, key), Some(1));
        assert_eq!(loaded(&a, key).await, Some(2));
    }
}

#[tokio::test]
async fn what_is_not_there_and_demos_are_not_kept() {
    let (_server, a, _b) = two().await;
    let mut create = creation(&a, "alice", "1".into());
    let nobody = create.key.sibling(digest());
    create.key.kind = Kind::Demo;
    let demo = create.key;
    a.create(create).await.unwrap();
    for key in [nobody, demo] {
        a.load(key).await.unwrap();
        assert!(a.near(&key).is_none());
    }
    assert_eq!(a.near_counts().unwrap().entries, 0);
}
