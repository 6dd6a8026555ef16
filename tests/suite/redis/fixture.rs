//! Sessions to put into a store, one at a time.

use std::time::{Duration, SystemTime};

use sessile::record::{Changes, Entry, NewRecord, Op, Record, Seen};
use sessile::store::{Applied, Apply, Create, Created, EndScope, EndSessions, Renewal, Replace};
use sessile::{Digest, EndReason, Handle, Kind, RecordKey, RedisStore, SessionStore, UserId};

use crate::support::redis::Server;

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn digest() -> Digest {
    let (a, b) = (uuid(), uuid());
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&a);
    bytes[16..].copy_from_slice(&b);
    Digest::from_bytes(bytes)
}

fn uuid() -> [u8; 16] {
    *Handle::random().unwrap().as_uuid().as_bytes()
}

/// A key in the user's bucket under which nothing is.
pub(super) fn key(store: &RedisStore, user: &str) -> RecordKey {
    RecordKey {
        kind: Kind::User,
        bucket: store.bucket(&UserId::from(user)),
        digest: digest(),
    }
}

pub(super) fn new_record(now: SystemTime, user: &str) -> NewRecord {
    NewRecord {
        handle: Handle::random().unwrap(),
        user: Some(user.into()),
        created_at: now,
        signed_in_at: Some(now),
        absolute_end: now + 12 * HOUR,
        idle_timeout: HOUR / 2,
        touch_threshold: Duration::from_secs(60),
        persistent: false,
        seen: seen(now),
        values: vec![("cart".into(), br#"{"n":1}"#.to_vec())],
    }
}

pub(super) fn seen(at: SystemTime) -> Seen {
    Seen {
        at,
        address: Some("192.0.2.1".into()),
        agent: Some("test/1".into()),
    }
}

pub(super) fn creation(store: &RedisStore, user: &str) -> Create {
    Create {
        key: key(store, user),
        record: Record::new(&new_record(store.now(), user)),
        began_at: store.now(),
        limit: None,
        held: false,
    }
}

/// Makes a session of the user.
pub(super) async fn made(store: &RedisStore, user: &str) -> RecordKey {
    let create = creation(store, user);
    let key = create.key;
    store.create(create).await.unwrap();
    key
}

pub(super) fn change(key: RecordKey, changes: Changes) -> Apply {
    Apply {
        read: None,
        key,
        changes,
        seen: None,
    }
}

pub(super) fn set(name: &'static str, json: &str) -> Changes {
    Changes::one(name.into(), Op::Set(json.into()))
}

pub(super) fn add(name: &'static str, by: i64) -> Changes {
    Changes::one(name.into(), Op::Add(by))
}

pub(super) fn touch(store: &RedisStore, key: RecordKey) -> Apply {
    Apply {
        read: None,
        key,
        changes: Changes::default(),
        seen: Some(seen(store.now())),
    }
}

pub(super) fn regeneration(store: &RedisStore, key: RecordKey) -> Replace {
    Replace {
        key,
        successor: digest(),
        renewal: Renewal::SameSession,
        seen: seen(store.now()),
    }
}

pub(super) fn end(scope: EndScope) -> EndSessions {
    EndSessions {
        scope,
        reason: EndReason::Revoked,
        note: None,
        before: None,
    }
}

pub(super) async fn is_live(store: &RedisStore, key: RecordKey) -> bool {
    matches!(store.load(key).await.unwrap(), Some(Entry::Live(_)))
}

/// Why it ended; anything else than an ended session is a failure.
#[track_caller]
pub(super) fn reason(entry: Option<Entry>) -> EndReason {
    match entry {
        Some(Entry::Ended(tombstone)) => tombstone.end.reason,
        other => panic!("an ended session was expected, and there is {other:?}"),
    }
}

/// The number in a session.
pub(super) async fn number(store: &RedisStore, key: RecordKey, name: &str) -> i64 {
    match store.load(key).await.unwrap() {
        Some(Entry::Live(record)) => serde_json::from_slice(record.value(name).unwrap()).unwrap(),
        other => panic!("a live session was expected, and there is {other:?}"),
    }
}

/// Runs every script once, so that the server knows them.
pub(super) async fn warm_up(store: &RedisStore) {
    let user = "warm-up";
    let key = made(store, user).await;
    let saved = store.apply(change(key, set("a", "1"))).await.unwrap();
    assert_eq!(saved, Applied::Saved(None));
    store.replace(regeneration(store, key)).await.unwrap();
    store.end(end(EndScope::One(key, None))).await.unwrap();
    store.end(end(EndScope::All(user.into()))).await.unwrap();
    store.list(user.into()).await.unwrap();
}

pub(super) fn record_name(key: RecordKey) -> String {
    format!("session:{{{}}}:{}", key.bucket, key.digest.to_text())
}

pub(super) fn index_name(key: RecordKey, user: &str) -> String {
    format!("user_sessions:{{{}}}:{user}", key.bucket)
}

/// Sends a command past the store.
pub(super) fn ask<T: redis::FromRedisValue>(server: &Server, command: &[&str]) -> T {
    redis::cmd(command[0])
        .arg(&command[1..])
        .query(&mut server.connection())
        .unwrap()
}

/// Makes a session as it says.
pub(super) async fn made_as(store: &RedisStore, new: &NewRecord) -> RecordKey {
    let user = new.user.as_ref().map_or("nobody", UserId::as_str);
    let create = Create {
        record: Record::new(new),
        ..creation(store, user)
    };
    let key = create.key;
    let created = store.create(create).await.unwrap();
    assert_eq!(created, Created::Created(Vec::new()));
    key
}
