//! A change of what was read a moment ago. What it becomes is worked out here, and Redis compares what it holds with what
//! was read: whatever a change is checked for holds for this way too.

use std::time::Duration;

use sessile::record::{Entry, NewRecord, Record};
use sessile::store::{Applied, Apply, EndScope};
use sessile::{EndReason, RecordKey, RedisStore, SessionStore};

use super::fixture::{
    HOUR, MINUTE, SECOND, add, ask, change, creation, end, index_name, is_live, made, made_as,
    new_record, number, reason, record_name, set, touch, warm_up,
};
use crate::support::redis::Server;
use crate::support::wait::wait_until;

async fn started() -> (Server, RedisStore) {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    warm_up(&store).await;
    (server, store)
}

async fn read(store: &RedisStore, key: RecordKey) -> Record {
    match store.load(key).await.unwrap() {
        Some(Entry::Live(record)) => record,
        other => panic!("a live session was expected, and there is {other:?}"),
    }
}

/// The same, asked for by whoever has read that.
fn having_read(read: &Record, apply: Apply) -> Apply {
    Apply {
        read: Some(read.clone()),
        ..apply
    }
}

fn bytes(server: &Server, key: RecordKey) -> Vec<u8> {
    ask(server, &["GET", &record_name(key)])
}

#[tokio::test]
async fn inv07_a_change_of_what_is_no_longer_as_it_was_read_loses_nothing() {
    let (_server, store) = started().await;
    let key = made(&store, "alice").await;
    let before = read(&store, key).await;
    for n in 1..4 {
        let apply = having_read(&before, change(key, add("n", 1)));
        assert_eq!(store.apply(apply).await.unwrap(), Applied::Saved(Some(n)));
    }
    let apply = having_read(&before, change(key, set("a", "1")));
    assert_eq!(store.apply(apply).await.unwrap(), Applied::Saved(None));
    assert_eq!(number(&store, key, "n").await, 3);
}

/// A user's, and a stranger's, which is in no list.
#[tokio::test]
async fn inv01_what_was_ended_since_it_was_read_takes_no_change_and_stays_ended() {
    let (server, store) = started().await;
    for user in [Some("alice"), None] {
        let now = store.now();
        let new = NewRecord {
            user: user.map(Into::into),
            signed_in_at: user.map(|_| now),
            ..new_record(now, "alice")
        };
        let key = made_as(&store, &new).await;
        let before = read(&store, key).await;
        store.end(end(EndScope::One(key, None))).await.unwrap();
        for apply in [touch(&store, key), change(key, set("a", "1"))] {
            let applied = store.apply(having_read(&before, apply)).await.unwrap();
            assert!(
                matches!(&applied, Applied::Ended(end) if end.reason == EndReason::Revoked),
                "{applied:?}"
            );
            assert_eq!(reason(store.load(key).await.unwrap()), EndReason::Revoked);
        }
        let _: () = ask(&server, &["DEL", &record_name(key)]);
        let apply = having_read(&before, change(key, set("a", "1")));
        let applied = store.apply(apply).await.unwrap();
        assert!(
            matches!(&applied, Applied::Ended(end) if end.reason == EndReason::StoreLost),
            "{applied:?}"
        );
        assert_eq!(store.load(key).await.unwrap(), None);
    }
}

/// Its bytes are those that were read; only time has passed.
#[tokio::test]
async fn inv06_what_is_over_since_it_was_read_takes_no_change() {
    let (server, store) = started().await;
    let now = store.now();
    let new = NewRecord {
        absolute_end: now + Duration::from_millis(1500),
        ..new_record(now, "alice")
    };
    let key = made_as(&store, &new).await;
    let before = read(&store, key).await;
    let there = bytes(&server, key);
    wait_until("it is over", async || !is_live(&store, key).await).await;
    for apply in [touch(&store, key), change(key, set("a", "1"))] {
        let applied = store.apply(having_read(&before, apply)).await.unwrap();
        assert!(
            matches!(&applied, Applied::Ended(end) if end.reason == EndReason::Absolute),
            "{applied:?}"
        );
        assert_eq!(bytes(&server, key), there);
    }
}

#[tokio::test]
async fn inv12_what_left_the_list_since_it_was_read_takes_no_change() {
    let (server, store) = started().await;
    let key = made(&store, "alice").await;
    let before = read(&store, key).await;
    let there = bytes(&server, key);
    let index = index_name(key, "alice");
    let _: () = ask(&server, &["ZREM", &index, &key.digest.to_text()]);
    for apply in [touch(&store, key), change(key, set("a", "1"))] {
        let applied = store.apply(having_read(&before, apply)).await.unwrap();
        assert!(
            matches!(&applied, Applied::Ended(end) if end.reason == EndReason::StoreLost),
            "{applied:?}"
        );
        assert_eq!(bytes(&server, key), there);
    }
    assert_eq!(ask::<i64>(&server, &["ZCARD", &index]), 0);
}

/// A change leaves the expiry as it was, and a touch moves it, with the place in the list: of a user's and of a
/// stranger's.
#[tokio::test]
async fn inv06_inv11_what_was_read_is_kept_from_its_last_use() {
    let (server, store) = started().await;
    let ttl = |key| Duration::from_millis(ask(&server, &["PTTL", &record_name(key)]));
    let near = |ttl: Duration, expected: Duration| {
        assert!(
            ttl <= expected + SECOND && ttl + 10 * SECOND > expected,
            "{ttl:?}, not {expected:?}"
        );
    };
    let made_at = store.now() - 20 * MINUTE;
    let idle = HOUR / 2 + MINUTE;
    for (user, kept) in [(Some("alice"), 2 * HOUR), (None, MINUTE)] {
        let new = NewRecord {
            user: user.map(Into::into),
            signed_in_at: user.map(|_| made_at),
            ..new_record(made_at, "alice")
        };
        let key = made_as(&store, &new).await;
        let before = read(&store, key).await;
        let apply = having_read(&before, change(key, set("a", "1")));
        assert_eq!(store.apply(apply).await.unwrap(), Applied::Saved(None));
        near(ttl(key), idle - 20 * MINUTE + kept);
        let before = read(&store, key).await;
        let apply = having_read(&before, touch(&store, key));
        assert_eq!(store.apply(apply).await.unwrap(), Applied::Saved(None));
        near(ttl(key), idle + kept);
        let after = read(&store, key).await;
        assert!(after.seen_at() > before.seen_at() + 19 * MINUTE);
        if let Some(user) = user {
            let member = key.digest.to_text();
            let score: f64 = ask(&server, &["ZSCORE", &index_name(key, user), &member]);
            let ends = after.ends_at().duration_since(std::time::UNIX_EPOCH);
            assert_eq!(score, ends.unwrap().as_micros() as f64);
        }
    }
}

/// A server without memory refuses what would be the first write, and takes the change by the other way.
#[tokio::test]
async fn inv02_a_redis_without_memory_takes_changes_of_what_was_read() {
    let (server, store) = started().await;
    let key = made(&store, "alice").await;
    let _: () = ask(&server, &["CONFIG", "SET", "maxmemory", "1"]);
    let refused = store.create(creation(&store, "alice")).await.unwrap_err();
    assert!(refused.to_string().contains("OOM"), "{refused}");
    let before = read(&store, key).await;
    let apply = having_read(&before, change(key, add("n", 7)));
    assert_eq!(store.apply(apply).await.unwrap(), Applied::Saved(Some(7)));
    assert_eq!(number(&store, key, "n").await, 7);
    let before = read(&store, key).await;
    let apply = having_read(&before, touch(&store, key));
    assert_eq!(store.apply(apply).await.unwrap(), Applied::Saved(None));
    assert!(read(&store, key).await.seen_at() > before.seen_at());
}

#[tokio::test]
async fn inv11_what_was_read_does_not_grow_past_the_limit() {
    let (server, store) = started().await;
    let key = made(&store, "alice").await;
    let small = RedisStore::builder(&server.url())
        .record_limit(1024)
        .connect()
        .await
        .unwrap();
    let before = read(&small, key).await;
    let there = bytes(&server, key);
    let large = format!("\"{}\"", "x".repeat(1024));
    let apply = having_read(&before, change(key, set("a", &large)));
    assert_eq!(small.apply(apply).await.unwrap(), Applied::TooLarge);
    assert_eq!(bytes(&server, key), there);
}
