//! All that a server holds, for checks that hold for every key.

use std::time::Duration;

use redis::{Connection, FromRedisValue, Value};

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
pub(super) fn all(connection: Connection) -> Vec<Entry> {
    let mut dump = Dump {
        connection,
        is_of_cluster: false,
    };
    let info: String = dump.ask(&["INFO"]);
    dump.is_of_cluster = info.contains("cluster_enabled:1");
    let databases = info
        .lines()
        .filter_map(|line| line.strip_prefix("db")?.split(':').next()?.parse().ok());
    if dump.is_of_cluster {
        let _: () = dump.ask(&["READONLY"]);
    }
    let mut entries = Vec::new();
    for database in databases {
        if !dump.is_of_cluster {
            let _: () = dump.ask(&["SELECT", &i64::to_string(&database)]);
        }
        let keys: Vec<Vec<u8>> = dump.ask(&["KEYS", "*"]);
        entries.extend(keys.into_iter().filter_map(|key| dump.entry(database, key)));
    }
    entries.sort();
    entries
}

struct Dump {
    connection: Connection,
    /// Then there is one database, and a node speaks of keys that are moved to it when it is asked with `ASKING`, of
    /// those that it is a replica of after `READONLY`.
    is_of_cluster: bool,
}

impl Dump {
    /// `None` if the key has just expired.
    fn entry(&mut self, database: i64, key: Vec<u8>) -> Option<Entry> {
        let kind: String = self.of_key("TYPE", &key, &[]);
        let values: Value = match kind.as_str() {
            "none" => return None,
            "string" => self.of_key("GET", &key, &[]),
            "hash" => self.of_key("HGETALL", &key, &[]),
            "set" => self.of_key("SMEMBERS", &key, &[]),
            "zset" => self.of_key("ZRANGE", &key, &["0", "-1", "WITHSCORES"]),
            "list" => self.of_key("LRANGE", &key, &["0", "-1"]),
            "stream" => self.of_key("XRANGE", &key, &["-", "+"]),
            _ => panic!("a dump does not know how to read a {kind}"),
        };
        let ttl = match self.of_key::<i64>("PTTL", &key, &[]) {
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

    fn of_key<T: FromRedisValue>(&mut self, command: &str, key: &[u8], arguments: &[&str]) -> T {
        if self.is_of_cluster {
            let _: () = self.ask(&["ASKING"]);
        }
        redis::cmd(command)
            .arg(key)
            .arg(arguments)
            .query(&mut self.connection)
            .unwrap_or_else(|error| panic!("{command} in a dump: {error}"))
    }

    fn ask<T: FromRedisValue>(&mut self, command: &[&str]) -> T {
        redis::cmd(command[0])
            .arg(&command[1..])
            .query(&mut self.connection)
            .unwrap_or_else(|error| panic!("{command:?} in a dump: {error}"))
    }
}

fn flat(value: Value) -> Vec<Vec<u8>> {
    match value {
        Value::Nil => Vec::new(),
        Value::BulkString(bytes) => vec![bytes],
        Value::Array(values) => values.into_iter().flat_map(flat).collect(),
        value => panic!("a dump does not know {value:?}"),
    }
}
