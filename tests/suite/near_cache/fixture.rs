//! Stores with a near cache, and sessions in them.

use std::time::{Duration, Instant};

use sessile::record::{Changes, Entry, NewRecord, Op, Record, Seen};
use sessile::store::{Applied, Apply, Create, Created, EndScope, EndSessions};
use sessile::{
    Bucket, Digest, EndReason, Handle, Kind, RecordKey, RedisStore, RedisStoreBuilder,
    SessionStore, UserId,
};

use crate::support::redis::Server;
use crate::support::wait::wait_until;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
/// Longer than by default, for a machine that is busy with something else.
const COMMAND: Duration = Duration::from_secs(2);
/// What the documentation says: so long after a change no copy of before is served.
pub(super) const BOUND: Duration = Duration::from_secs(1).saturating_add(COMMAND);

/// Without a near cache.
pub(super) fn builder(url: &str) -> RedisStoreBuilder {
    let builder = RedisStore::builder(url).command_timeout(COMMAND);
    builder.operation_timeout(10 * COMMAND)
}

/// With one of a thousand.
pub(super) async fn near(url: &str) -> RedisStore {
    let builder = builder(url).near_cache(1_000);
    builder.connect().await.unwrap()
}

/// The same, with all the time that there is for an answer: what is held is not given up.
pub(super) async fn patient(url: &str) -> RedisStore {
    let builder = RedisStore::builder(url)
        .near_cache(1_000)
        .command_timeout(20 * SECOND)
        .operation_timeout(60 * SECOND);
    builder.connect().await.unwrap()
}

/// Two instances with near caches of their own on one server.
pub(super) async fn two() -> (Server, RedisStore, RedisStore) {
    let server = Server::start();
    let (a, b) = (near(&server.url()).await, near(&server.url()).await);
    (server, a, b)
}

/// A session of the user's, with this value.
pub(super) async fn made(store: &RedisStore, user: &str, n: u64) -> RecordKey {
    let create = creation(store, user, n.to_string());
    let key = create.key;
    let created = store.create(create).await.unwrap();
    assert_eq!(created, Created::Created(Vec::new()));
    key
}

pub(super) fn creation(store: &RedisStore, user: &str, n: String) -> Create {
    let now = store.now();
    let user = UserId::from(user);
    let bucket: Bucket = store.bucket(&user);
    Create {
        key: RecordKey {
            kind: Kind::User,
            bucket,
            digest: digest(),
        },
        record: Record::new(&NewRecord {
            handle: Handle::random().unwrap(),
            user: Some(user),
            created_at: now,
            signed_in_at: Some(now),
            absolute_end: now + 12 * HOUR,
            idle_timeout: HOUR / 2,
            touch_threshold: Duration::from_secs(60),
            persistent: false,
            seen: Seen {
                at: now,
                address: None,
                agent: None,
            },
            values: vec![("n".into(), n.into_bytes())],
        }),
        began_at: now,
        limit: None,
        held: false,
    }
}

pub(super) fn digest() -> Digest {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).unwrap();
    Digest::from_bytes(bytes)
}

pub(super) fn set(key: RecordKey, n: u64) -> Apply {
    Apply {
        key,
        changes: Changes::one("n".into(), Op::Set(n.to_string().into_bytes())),
        seen: None,
        read: None,
    }
}

pub(super) async fn write(store: &RedisStore, key: RecordKey, n: u64) {
    let applied = store.apply(set(key, n)).await.unwrap();
    assert_eq!(applied, Applied::Saved(None));
}

pub(super) fn end(scope: EndScope) -> EndSessions {
    EndSessions {
        scope,
        reason: EndReason::Revoked,
        note: None,
        before: None,
    }
}

pub(super) fn value(record: &Record) -> u64 {
    let json = record.value("n").expect("it has one").to_vec();
    String::from_utf8(json).unwrap().parse().unwrap()
}

/// What a copy says.
pub(super) fn copy(store: &RedisStore, key: &RecordKey) -> Option<u64> {
    store.near(key).map(|near| value(&near.record))
}

/// What Redis says.
pub(super) async fn loaded(store: &RedisStore, key: &RecordKey) -> Option<u64> {
    match store.load(*key).await.unwrap()? {
        Entry::Live(record) => Some(value(&record)),
        Entry::Ended(_) => None,
    }
}

/// Reads until there is a copy: the connection is there, and was answered lately.
pub(super) async fn warm(store: &RedisStore, key: &RecordKey) {
    wait_until("a copy is kept", async || {
        store.load(*key).await.is_ok() && store.near(key).is_some()
    })
    .await;
}

/// Until there is no copy, which may be served no later than the bound after `since`.
pub(super) async fn gone_since(store: &RedisStore, key: &RecordKey, since: Instant) {
    wait_until("no copy is served", async || {
        let asked = Instant::now();
        if store.near(key).is_none() {
            return true;
        }
        assert!(asked <= since + BOUND, "{:?} after", asked - since);
        false
    })
    .await;
}

/// The connections that track, by their ids.
pub(super) fn tracking(server: &Server) -> Vec<u64> {
    let mut list = redis::cmd("CLIENT");
    let list: String = list.arg("LIST").query(&mut server.connection()).unwrap();
    let field = |line: &str, name: &str| {
        let mut fields = line.split(' ');
        fields.find_map(|field| Some(field.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
    };
    list.lines()
        .filter(|line| field(line, "flags").is_some_and(|flags| flags.contains('t')))
        .filter_map(|line| field(line, "id")?.parse().ok())
        .collect()
}
