//! What a server says of itself.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use redis::{Cmd, Value};

use crate::store::StoreError;
use crate::store::redis::admin::Direct;

/// So often the latency is measured.
const PINGS: usize = 20;

/// Everything that findings on one server rest on.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Its address as the operator wrote it has TLS.
    pub(super) is_encrypted: bool,
    /// It is on this machine.
    pub(super) is_local: bool,
    /// Fields of `INFO`; empty where it may not be asked.
    pub(super) info: HashMap<String, String>,
    /// Fields of `CLUSTER INFO`, of a cluster.
    pub(super) cluster: HashMap<String, String>,
    /// How long it took to answer, each time, the shortest first.
    pub(super) pings: Vec<Duration>,
    /// How far its clock is ahead of this machine's (or behind, if negative), in seconds.
    pub(super) ahead: Option<f64>,
    /// Commands that it does not let this user run, on keys of ours.
    pub(super) forbidden: Vec<&'static str>,
    /// Why it takes no writes.
    pub(super) takes_no_writes: Option<String>,
}

impl Facts {
    pub(super) async fn collect(
        server: &Direct,
        prefix: &str,
        url: &str,
    ) -> Result<Self, StoreError> {
        let mut facts = Self {
            is_encrypted: url.starts_with("rediss://") || url.starts_with("valkeys://"),
            is_local: is_local(server.name()) || url.starts_with("unix:") || url.contains("+unix:"),
            ..Self::default()
        };
        for _ in 0..PINGS {
            let sent = Instant::now();
            let time = server.time().await?;
            let took = sent.elapsed();
            facts.pings.push(took);
            let here = SystemTime::now() - took / 2;
            let ahead = match time.duration_since(here) {
                Ok(ahead) => ahead.as_secs_f64(),
                Err(behind) => -behind.duration().as_secs_f64(),
            };
            // That of the shortest round trip says most.
            if facts.pings.iter().all(|other| took <= *other) {
                facts.ahead = Some(ahead);
            }
        }
        facts.pings.sort_unstable();
        let info: Option<String> = server.ask(&redis::cmd("INFO")).await.ok();
        facts.info = fields(&info.unwrap_or_default());
        if facts.is("cluster_enabled", "1") {
            let info: Option<String> = server.ask(redis::cmd("CLUSTER").arg("INFO")).await.ok();
            facts.cluster = fields(&info.unwrap_or_default());
        }
        facts.rights(server, prefix).await?;
        Ok(facts)
    }

    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.info.get(name).map(String::as_str)
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.field(name)?.parse().ok()
    }

    pub(super) fn is(&self, name: &str, value: &str) -> bool {
        self.field(name) == Some(value)
    }

    /// Tries each command that sessions need, on a key that is not there, so that it changes nothing.
    async fn rights(&mut self, server: &Direct, prefix: &str) -> Result<(), StoreError> {
        let tries = tries(prefix);
        let commands: Vec<Cmd> = tries.iter().map(|(_, command)| command.clone()).collect();
        for ((name, _), answer) in tries.iter().zip(server.ask_all(&commands).await?) {
            let Err(error) = answer else { continue };
            match error.code() {
                Some("NOPERM") => self.forbidden.push(name),
                Some("READONLY" | "NOREPLICAS" | "OOM" | "MISCONF" | "MASTERDOWN") => {
                    self.takes_no_writes = error.code().map(str::to_owned);
                }
                // It was let through, and found nothing to do.
                _ => {}
            }
        }
        Ok(())
    }
}

/// The commands that sessions need, each so that it does nothing.
fn tries(prefix: &str) -> Vec<(&'static str, Cmd)> {
    let record = format!("{prefix}session:{{0000}}:no-such-session");
    let demo = format!("{prefix}demo:session:{{0000}}:no-such-session");
    let index = format!("{prefix}user_sessions:{{0000}}:");
    let since = format!("{prefix}user_since:{{0000}}:");
    let events = format!("{prefix}user_events:{{0000}}:");
    let activity = format!("{prefix}user_activity:{{0000}}:");
    let beat = format!("{prefix}beat:{{0000}}:no-such-beat");
    let budget = format!("{prefix}demo_budget:{{0000}}:no-such-budget");
    let command = |words: &[&str]| {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command
    };
    vec![
        ("get session:*", command(&["GET", &record])),
        ("get demo:session:*", command(&["GET", &demo])),
        ("get user_since:*", command(&["GET", &since])),
        ("get beat:*", command(&["GET", &beat])),
        ("get demo_budget:*", command(&["GET", &budget])),
        // `rpush` and `incr` cannot be tried without an effect.
        ("llen", command(&["LLEN", &demo])),
        ("lindex", command(&["LINDEX", &demo, "0"])),
        ("rename", command(&["RENAME", &demo, &demo])),
        (
            "lrange user_events:*",
            command(&["LRANGE", &events, "0", "0"]),
        ),
        (
            "lrange user_activity:*",
            command(&["LRANGE", &activity, "0", "0"]),
        ),
        (
            "ltrim user_events:*",
            command(&["LTRIM", &events, "0", "-1"]),
        ),
        (
            "ltrim user_activity:*",
            command(&["LTRIM", &activity, "0", "-1"]),
        ),
        ("set", command(&["SET", &record, "", "XX"])),
        ("set demo:session:*", command(&["SET", &demo, "", "XX"])),
        (
            "set user_since:*",
            command(&["SET", &since, "", "XX", "KEEPTTL"]),
        ),
        ("set beat:*", command(&["SET", &beat, "", "XX"])),
        ("del", command(&["DEL", &record])),
        ("exists", command(&["EXISTS", &record])),
        ("pexpireat", command(&["PEXPIREAT", &record, "1"])),
        ("pttl", command(&["PTTL", &record])),
        ("zadd", command(&["ZADD", &index, "XX", "1", "x"])),
        ("zcard", command(&["ZCARD", &index])),
        ("zrange", command(&["ZRANGE", &index, "0", "0"])),
        (
            "zrangebyscore",
            command(&["ZRANGEBYSCORE", &index, "0", "0"]),
        ),
        ("zrem", command(&["ZREM", &index, "x"])),
        ("zscore", command(&["ZSCORE", &index, "x"])),
        ("time", command(&["TIME"])),
        // Unknown to the server, and refused for that if for nothing else.
        (
            "evalsha",
            command(&["EVALSHA", "0000000000000000000000000000000000000000", "0"]),
        ),
        // A number of keys that is none.
        ("eval", command(&["EVAL", "return 1", "none"])),
        ("info", command(&["INFO", "server"])),
    ]
}

/// The fields of an `INFO`.
fn fields(info: &str) -> HashMap<String, String> {
    info.lines()
        .filter_map(|line| line.trim_end().split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn is_local(name: &str) -> bool {
    let host = name.rsplit_once(':').map_or(name, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.starts_with('/')
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// How many of some keys have no expiry.
pub(super) fn endless(answers: &[Result<Value, redis::RedisError>]) -> usize {
    answers
        .iter()
        .filter(|left| matches!(left, Ok(Value::Int(-1))))
        .count()
}
