//! All that a server holds, for checks that hold for every key.

use std::time::Duration;

use redis::{Connection, Value};

/// A key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) database: i64,
    pub(crate) key: Vec<u8>,
    /// `string`, `hash`, `set`, `zset`, `list`, `stream`.
    pub(crate) kind: String,
    /// Raw; of a hash its fields and values in turns, of a sorted set its members and scores.
    pub(crate) values: Vec<Vec<u8>>,
    /// `None` if it never expires.
    pub(crate) ttl: Option<Duration>,
}

impl Entry {
    /// Whether these bytes are anywhere in the key or its values.
    pub(crate) fn contains(&self, needle: &[u8]) -> bool {
        std::iter::once(&self.key)
            .chain(&self.values)
            .any(|bytes| contains(bytes, needle))
    }
}

/// Whether these bytes are in those.
pub(crate) fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// Every key of every database, in order.
pub(super) fn all(connection: &mut Connection) -> Vec<Entry> {
    let info: String = ask(connection, &["INFO", "keyspace"]);
    let databases: Vec<i64> = info
        .lines()
        .filter_map(|line| line.strip_prefix("db")?.split(':').next()?.parse().ok())
        .collect();
    let mut entries = Vec::new();
    for database in databases {
        // A cluster node has database 0 alone, and refuses to select it.
        if database != 0 {
            let _: () = ask(connection, &["SELECT", &database.to_string()]);
        }
        let keys: Vec<Vec<u8>> = ask(connection, &["KEYS", "*"]);
        entries.extend(
            keys.into_iter()
                .filter_map(|key| entry(connection, database, key)),
        );
    }
    entries.sort();
    entries
}

/// `None` if the key has just expired.
fn entry(connection: &mut Connection, database: i64, key: Vec<u8>) -> Option<Entry> {
    let kind: String = of_key(connection, "TYPE", &key, &[]);
    let values: Value = match kind.as_str() {
        "none" => return None,
        "string" => of_key(connection, "GET", &key, &[]),
        "hash" => of_key(connection, "HGETALL", &key, &[]),
        "set" => of_key(connection, "SMEMBERS", &key, &[]),
        "zset" => of_key(connection, "ZRANGE", &key, &["0", "-1", "WITHSCORES"]),
        "list" => of_key(connection, "LRANGE", &key, &["0", "-1"]),
        "stream" => of_key(connection, "XRANGE", &key, &["-", "+"]),
        _ => panic!("a dump does not know how to read a {kind}"),
    };
    let ttl = match of_key::<i64>(connection, "PTTL", &key, &[]) {
        -2 => return None,
        -1 => None,
        ttl => Some(Duration::from_millis(ttl.unsigned_abs())),
    };
    Some(Entry {
        database,
        key,
        kind,
        values: flat(values),
        ttl,
    })
}

fn of_key<T: redis::FromRedisValue>(
    connection: &mut Connection,
    command: &str,
    key: &[u8],
    arguments: &[&str],
) -> T {
    redis::cmd(command)
        .arg(key)
        .arg(arguments)
        .query(connection)
        .unwrap_or_else(|error| panic!("{command} in a dump: {error}"))
}

fn ask<T: redis::FromRedisValue>(connection: &mut Connection, command: &[&str]) -> T {
    redis::cmd(command[0])
        .arg(&command[1..])
        .query(connection)
        .unwrap_or_else(|error| panic!("{command:?} in a dump: {error}"))
}

fn flat(value: Value) -> Vec<Vec<u8>> {
    match value {
        Value::Nil => Vec::new(),
        Value::BulkString(bytes) => vec![bytes],
        Value::Array(values) => values.into_iter().flat_map(flat).collect(),
        value => panic!("a dump does not know {value:?}"),
    }
}
