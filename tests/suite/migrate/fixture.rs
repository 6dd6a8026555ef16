//! Records of another system in a Redis, and what became of them.

use std::time::{Duration, SystemTime};

use sessile::migrate::{Migration, Report, Source};
use sessile::record::{Entry, Record};
use sessile::{Digest, Kind, RecordKey, RedisStore, SessionStore};
use sha2::{Digest as _, Sha256};

use crate::support::Server;

pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// 2025-03-04T09:45:42Z, when most of the corpus was written.
pub(super) const WRITTEN: Duration = Duration::from_secs(1_741_081_542);

pub(super) fn at(since_1970: Duration) -> SystemTime {
    SystemTime::UNIX_EPOCH + since_1970
}

/// A Redis, and a store in it.
pub(super) async fn place() -> (Server, RedisStore) {
    let server = Server::start();
    // Its deadlines are far away: nothing here depends on speed, and the machine may be busy.
    let far = Duration::from_secs(20);
    let builder = RedisStore::builder(&server.url()).command_timeout(far);
    let store = builder.operation_timeout(far).connect().await.unwrap();
    (server, store)
}

/// Puts a record there as the old system did; `None`: it never expires.
pub(super) fn put(server: &Server, key: &str, value: &[u8], ttl: Option<Duration>) {
    let mut set = redis::cmd("SET");
    set.arg(key).arg(value);
    if let Some(ttl) = ttl {
        set.arg("PX").arg(u64::try_from(ttl.as_millis()).unwrap());
    }
    set.exec(&mut server.connection()).unwrap();
}

pub(super) fn ask<T: redis::FromRedisValue>(server: &Server, command: &[&str]) -> T {
    redis::cmd(command[0])
        .arg(&command[1..])
        .query(&mut server.connection())
        .unwrap()
}

pub(super) fn exists(server: &Server, key: &str) -> bool {
    ask(server, &["EXISTS", key])
}

/// A migration of everything.
pub(super) fn migration(store: &RedisStore) -> Migration {
    Migration::new(store, Source::Legacy)
}

pub(super) async fn migrate(store: &RedisStore) -> Report {
    checked(migration(store).run(|_| {}).await.unwrap())
}

/// A report whose counts add up, in numbers and in JSON.
pub(super) fn checked(report: Report) -> Report {
    assert!(report.adds_up(), "{report:?}");
    let json = serde_json::to_value(&report).unwrap();
    let count = |name: &str| json[name].as_u64().unwrap();
    let parts = [
        "already",
        "ours",
        "over",
        "gone",
        "left",
        "invalid",
        "refused",
        "written_since",
        "failed",
    ];
    let migrated: u64 = json["migrated"]
        .as_object()
        .unwrap()
        .values()
        .map(|n| n.as_u64().unwrap())
        .sum();
    assert_eq!(
        migrated + parts.into_iter().map(count).sum::<u64>(),
        count("scanned"),
        "{json}"
    );
    report
}

/// What stands for an old id.
pub(super) fn digest(kind: Kind, id: &str) -> Digest {
    let words = match kind {
        Kind::User => "sessile: the id that a user session had in another system\0",
        Kind::Demo => "sessile: the id that a demo session had in another system\0",
    };
    Digest::from_bytes(Sha256::digest([words, id].concat()).into())
}

/// Where it is written which session was made of it.
pub(super) fn pointer(kind: Kind, id: &str) -> String {
    let digest = digest(kind, id);
    let [a, b, ..] = *digest.as_bytes();
    format!("legacy:{{{a:02x}{b:02x}}}:{}", digest.to_text())
}

/// Where the session is now that had this id.
pub(super) async fn place_of(store: &RedisStore, kind: Kind, id: &str) -> Option<RecordKey> {
    store.migrated(digest(kind, id)).await.unwrap()
}

/// The session that had this id, if it is live.
pub(super) async fn session(store: &RedisStore, kind: Kind, id: &str) -> Option<Record> {
    let key = place_of(store, kind, id).await?;
    match store.load(key).await.unwrap()? {
        Entry::Live(record) => Some(record),
        Entry::Ended(_) => None,
    }
}

/// The messages of a demo that had this id.
pub(super) async fn messages(
    server: &Server,
    store: &RedisStore,
    id: &str,
) -> Vec<serde_json::Value> {
    let key = place_of(store, Kind::Demo, id).await.unwrap();
    let name = format!(
        "demo:session:{{{}}}:{}:messages",
        key.bucket,
        key.digest.to_text()
    );
    let list: Vec<String> = ask(server, &["LRANGE", &name, "0", "-1"]);
    list.iter()
        .map(|json| serde_json::from_str(json).unwrap())
        .collect()
}

/// The values of a session, as JSON text.
pub(super) fn values(record: &Record) -> Vec<(String, String)> {
    record
        .names()
        .map(|name| {
            let value = record.value(name).unwrap();
            (name.to_owned(), String::from_utf8(value.to_vec()).unwrap())
        })
        .collect()
}
