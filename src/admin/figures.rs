//! How many there are of what, and how the servers do: by looking at each key once.

use std::time::{Duration, Instant, SystemTime};

use redis::Value;
use serde::{Serialize, Serializer};

use super::facts::Facts;
use crate::clock::Clock;
use crate::id::{Kind, RecordKey};
use crate::record::{Entry, Record};
use crate::store::redis::admin::{Direct, each, entry, fraction};
use crate::store::{RedisStore, SessionStore, StoreError};

/// How many keys the server looks at in one step: well below a millisecond.
const STEP: usize = 500;
/// After each step others have their turn.
const PAUSE: Duration = Duration::from_millis(1);

/// What the keys of a store begin with, behind its namespace. Before each stands what it is called here.
const FAMILIES: [(&str, &str); 10] = [
    ("session", "session:{"),
    ("demo:session", "demo:session:{"),
    ("user_sessions", "user_sessions:{"),
    ("user_since", "user_since:{"),
    ("user_events", "user_events:{"),
    ("user_activity", "user_activity:{"),
    ("beat", "beat:{"),
    ("count", "count:{"),
    ("demo_budget", "demo_budget:{"),
    ("legacy", "legacy:{"),
];
/// Conversations: they have the names of their demos, and more.
const MESSAGES: &str = "demo:session:messages";
/// Of another namespace, or of another service.
const OTHER: &str = "other";

/// What there is in a Redis. Nothing in it is an id.
///
/// What changes while it is counted may be in it or not, and a key that the server's own table moves meanwhile may be
/// counted twice.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Figures {
    /// Live sessions in users' cookies, strangers' among them.
    pub user_sessions: u64,
    /// Those of them that nobody has signed in to.
    pub strangers: u64,
    /// Live demo sessions.
    pub demo_sessions: u64,
    /// Those of them whose steps are not all done.
    pub demos_active: u64,
    /// And those whose are.
    pub demos_completed: u64,
    /// Demo sessions that a user has made their own, active or completed.
    pub demos_adopted: u64,
    /// Sessions that were ended, or got another id, of which the reason is still known.
    pub ended: u64,
    /// Sessions that are over by their clocks, and that the server has not dropped yet.
    pub over: u64,
    /// Keys with the name of a session that hold none.
    pub malformed: u64,
    /// How many keys there are of each family.
    pub keys: Vec<Family>,
    /// How long counting took: the figures are that old at most.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub took: Duration,
    /// What the applications counted last, for their own statistics; `None`: nothing, or not within a day.
    pub last_count: Option<LastCount>,
    /// The servers.
    pub servers: Vec<ServerFigures>,
}

/// How many keys there are of one family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Family {
    /// What they begin with behind the namespace; `demo:session:messages` are conversations, `other` is of other
    /// namespaces and services.
    pub name: &'static str,
    /// How many.
    pub keys: u64,
}

/// A count that an application made ([`Sessions::stats`](crate::Sessions::stats)).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LastCount {
    /// Sessions in users' cookies.
    pub user_sessions: u64,
    /// Demo sessions.
    pub demo_sessions: u64,
    /// How long ago it was made.
    #[serde(rename = "age_seconds", serialize_with = "seconds")]
    pub age: Duration,
}

/// How a server does.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ServerFigures {
    /// Where it is.
    pub server: String,
    /// What it is: `Redis 7.0.15`; `None` where this user may not ask (`INFO`), and so for the next four.
    pub version: Option<String>,
    /// `master` or `slave`, in the words of `INFO`.
    pub role: Option<String>,
    /// How many bytes of memory it uses.
    pub memory_bytes: Option<u64>,
    /// How many it may use; `None`: as many as there are.
    pub memory_limit_bytes: Option<u64>,
    /// How many clients are connected to it.
    pub clients: Option<u64>,
    /// How long it took to answer: the middle one of some times.
    #[serde(rename = "latency_seconds", serialize_with = "seconds")]
    pub latency: Duration,
}

fn seconds<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(span.as_secs_f64())
}

pub(super) async fn count(
    store: &RedisStore,
    clock: &dyn Clock,
    mut progress: impl FnMut(f64) + Send,
) -> Result<Figures, StoreError> {
    let began = Instant::now();
    let mut figures = Figures::default();
    let mut families = [0; FAMILIES.len() + 2];
    let servers = store.direct(Duration::ZERO).await?;
    let number = servers.len() as f64;
    for (n, server) in servers.iter().enumerate() {
        let facts = Facts::collect(server, "", clock).await?;
        figures.servers.push(of_server(server.name(), &facts));
        let pattern = format!("{}*", store.prefix());
        let mut cursor = Some(b"0".to_vec());
        while let Some(here) = cursor {
            progress((n as f64 + fraction(&here)) / number);
            let step = server.scan(&here, &pattern, STEP).await?;
            for key in &step.keys {
                families[family(store.prefix(), key)] += 1;
            }
            for kind in [Kind::User, Kind::Demo] {
                of_records(store, server, kind, &step.keys, &mut figures).await?;
            }
            cursor = step.next;
            tokio::time::sleep(PAUSE).await;
        }
    }
    let names = FAMILIES.map(|(name, _)| name);
    let names = names.into_iter().chain([MESSAGES, OTHER]);
    figures.keys = names
        .zip(families)
        .map(|(name, keys)| Family { name, keys })
        .collect();
    figures.last_count = last_count(store).await?;
    figures.took = began.elapsed();
    Ok(figures)
}

/// The place of a key's family, with those that have no beginning of their own behind the others.
fn family(prefix: &str, key: &[u8]) -> usize {
    let Some(rest) = key.strip_prefix(prefix.as_bytes()) else {
        return FAMILIES.len() + 1;
    };
    let found = FAMILIES
        .iter()
        .position(|(_, beginning)| rest.starts_with(beginning.as_bytes()));
    match found {
        Some(at) if FAMILIES[at].0 == "demo:session" && rest.ends_with(b":messages") => {
            FAMILIES.len()
        }
        Some(at) => at,
        None => FAMILIES.len() + 1,
    }
}

async fn of_records(
    store: &RedisStore,
    server: &Direct,
    kind: Kind,
    keys: &[Vec<u8>],
    figures: &mut Figures,
) -> Result<(), StoreError> {
    let keys: Vec<(RecordKey, &[u8])> = keys
        .iter()
        .filter_map(|name| Some((store.record_key(kind, name)?, &name[..])))
        .collect();
    let values = server
        .ask_all(each("GET", keys.iter().map(|(_, name)| *name)))
        .await?;
    let now = store.now();
    let mut demos = Vec::new();
    for ((_, name), value) in keys.into_iter().zip(values) {
        let stands = match value {
            Ok(Value::Nil) => continue,
            Ok(value) => entry(&value),
            Err(_) => None,
        };
        match stands {
            None => figures.malformed += 1,
            Some(Entry::Ended(_)) => figures.ended += 1,
            Some(Entry::Live(record)) if record.end_at(now).is_some() => figures.over += 1,
            Some(Entry::Live(record)) => match kind {
                Kind::User => {
                    figures.user_sessions += 1;
                    figures.strangers += u64::from(record.user().is_none());
                }
                Kind::Demo => demos.push((name, record)),
            },
        }
    }
    let lists = demos.iter().map(|(name, _)| [*name, b":messages"].concat());
    let lengths = server.ask_all(each("LLEN", lists)).await?;
    for ((_, record), length) in demos.into_iter().zip(lengths) {
        let said = match length {
            Ok(Value::Int(said)) => u64::try_from(said).unwrap_or(0),
            _ => 0,
        };
        figures.demo_sessions += 1;
        figures.demos_adopted += u64::from(record.user().is_some());
        if said < steps(&record) {
            figures.demos_active += 1;
        } else {
            figures.demos_completed += 1;
        }
    }
    Ok(())
}

fn steps(demo: &Record) -> u64 {
    demo.value("steps")
        .and_then(|json| serde_json::from_slice(json).ok())
        .unwrap_or(1)
}

async fn last_count(store: &RedisStore) -> Result<Option<LastCount>, StoreError> {
    let now = store.now();
    Ok(store.last_counts().await?.map(|counts| LastCount {
        user_sessions: counts.user,
        demo_sessions: counts.demo,
        age: since(counts.at, now),
    }))
}

/// A clock that was put right may show less than before.
fn since(at: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(at).unwrap_or_default()
}

fn of_server(name: &str, facts: &Facts) -> ServerFigures {
    let limit = facts.number("maxmemory").filter(|most| *most > 0);
    ServerFigures {
        server: name.to_owned(),
        version: facts.version(),
        role: facts.field("role").map(str::to_owned),
        memory_bytes: facts.number("used_memory"),
        memory_limit_bytes: limit,
        clients: facts.number("connected_clients"),
        latency: facts.latency().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_of_one_family_or_of_somebody_else() {
        let name = |key: &str| {
            let at = family("shop:", key.as_bytes());
            let names = FAMILIES.map(|(name, _)| name);
            names.into_iter().chain([MESSAGES, OTHER]).nth(at).unwrap()
        };
        for (key, expected) in [
            ("shop:session:{0a3f}:x", "session"),
            ("shop:demo:session:{0a3f}:x", "demo:session"),
            ("shop:demo:session:{0a3f}:x:messages", MESSAGES),
            ("shop:user_events:{0a3f}:a:messages", "user_events"),
            ("shop:session:user_42_1", OTHER),
            ("session:{0a3f}:x", OTHER),
            ("shop2:session:{0a3f}:x", OTHER),
        ] {
            assert_eq!(name(key), expected, "{key}");
        }
    }
}
