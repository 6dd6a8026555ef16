//! Checking servers: each finding says what is, and what to do about it.

mod durability;
mod memory;
mod reach;
mod rights;
mod sample;

use std::time::Duration;

use serde::Serialize;

use self::rights::Rights;
use super::facts::Facts;
use crate::clock::Clock;
use crate::store::{RedisStore, StoreError};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Good,
    /// Worth knowing.
    Note,
    /// It works, and may not always.
    Warning,
    /// It does not work, or not as promised.
    Error,
}

impl Level {
    /// Its name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What was found out about one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// About what: `reachable`, `version`, `latency`, `memory`, `eviction`, `persistence`, `replication`, `cluster`,
    /// `clock`, `expiries`, `lists`, `rights`, `tls`.
    pub check: &'static str,
    /// Of which server.
    pub server: String,
    /// How bad it is.
    pub level: Level,
    /// What is.
    pub what: String,
    /// What to do about it; nothing where all is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<&'static str>,
}

pub(super) async fn examine(store: &RedisStore, url: &str, clock: &dyn Clock) -> Vec<Finding> {
    let servers = match store.direct(Duration::ZERO).await {
        Ok(servers) => servers,
        Err(error) => return vec![unreachable("", &error)],
    };
    let mut findings = Vec::new();
    for server in &servers {
        let name = server.name();
        let facts = Facts::collect(server, url, clock).await;
        let rights = Rights::ask(server, store.prefix()).await;
        match (facts, rights) {
            (Ok(facts), Ok(rights)) => findings.extend(judge(name, &facts, &rights)),
            (Err(error), _) | (_, Err(error)) => {
                findings.push(unreachable(name, &error));
                continue;
            }
        }
        match sample::take(store, server).await {
            Ok(more) => findings.extend(more),
            Err(error) => findings.push(finding(
                "lists",
                name,
                Level::Error,
                format!("no sample could be taken: {error}"),
                Some("grant +scan, +get, +pttl, +zscore and +zrange to whoever runs this"),
            )),
        }
    }
    findings
}

fn unreachable(server: &str, error: &StoreError) -> Finding {
    finding(
        "reachable",
        server,
        Level::Error,
        error.to_string(),
        Some(
            "check address, port, password, TLS and firewall; until then applications live from memory",
        ),
    )
}

fn finding(
    check: &'static str,
    server: &str,
    level: Level,
    what: impl Into<String>,
    advice: Option<&'static str>,
) -> Finding {
    Finding {
        check,
        server: server.to_owned(),
        level,
        what: what.into(),
        advice,
    }
}

/// What the facts say. Pure.
fn judge(server: &str, facts: &Facts, rights: &Rights) -> Vec<Finding> {
    let of = |check, (level, what, advice): Verdict| finding(check, server, level, what, advice);
    let mut findings = vec![
        of("reachable", good("it answers")),
        of("latency", reach::latency(facts)),
        of("clock", reach::clock(facts)),
        of("tls", reach::tls(facts)),
        of("rights", rights.judge()),
    ];
    if facts.info.is_empty() {
        findings.push(finding(
            "version",
            server,
            Level::Warning,
            "it does not say what it is: version, memory, persistence and replication were not checked",
            Some("grant +info: without it, every new connection also counts as another server"),
        ));
        return findings;
    }
    findings.push(of("version", reach::version(facts)));
    findings.push(of("memory", memory::memory(facts)));
    findings.push(of("eviction", memory::eviction(facts)));
    findings.push(of("persistence", durability::persistence(facts)));
    findings.push(of("replication", durability::replication(facts)));
    if facts.is("cluster_enabled", "1") {
        findings.push(of("cluster", durability::cluster(facts)));
    }
    findings
}

type Verdict = (Level, String, Option<&'static str>);

fn good(what: impl Into<String>) -> Verdict {
    (Level::Good, what.into(), None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn facts(info: &[(&str, &str)]) -> Facts {
        Facts {
            is_local: true,
            info: info
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            pings: vec![Duration::from_micros(100)],
            ahead: Some(0.0),
            ..Facts::default()
        }
    }

    /// Makes something be wrong.
    type Break = fn(&mut Facts);

    const SOUND: [(&str, &str); 6] = [
        ("redis_version", "7.0.15"),
        ("maxmemory", "0"),
        ("maxmemory_policy", "noeviction"),
        ("aof_enabled", "1"),
        ("role", "master"),
        ("connected_slaves", "1"),
    ];

    fn level(facts: &Facts, check: &str) -> Level {
        let findings = judge("server", facts, &Rights::default());
        findings
            .iter()
            .find(|finding| finding.check == check)
            .unwrap()
            .level
    }

    #[test]
    fn a_sound_server_has_only_good_findings() {
        let mut facts = facts(&SOUND);
        facts
            .info
            .insert("min_slaves_good_slaves".into(), "1".into());
        for finding in judge("server", &facts, &Rights::default()) {
            assert_eq!(
                (finding.level, finding.advice),
                (Level::Good, None),
                "{finding:?}"
            );
        }
    }

    #[test]
    fn each_thing_that_is_wrong_is_one_finding_with_an_advice() {
        let cases: [(&str, Level, Break); 14] = [
            ("version", Level::Error, |f| {
                set(f, "redis_version", "6.0.20")
            }),
            ("version", Level::Warning, |f| f.info.clear()),
            ("latency", Level::Warning, |f| {
                f.pings = vec![Duration::from_millis(9)]
            }),
            ("latency", Level::Error, |f| {
                f.pings = vec![Duration::from_millis(90)]
            }),
            ("clock", Level::Warning, |f| f.ahead = Some(-8.0)),
            ("clock", Level::Error, |f| f.ahead = Some(3600.0)),
            ("tls", Level::Warning, |f| f.is_local = false),
            ("memory", Level::Warning, |f| {
                set(f, "maxmemory", "1000");
                set(f, "used_memory", "900");
            }),
            ("eviction", Level::Error, |f| {
                set(f, "maxmemory", "1000");
                set(f, "maxmemory_policy", "allkeys-lru");
            }),
            ("eviction", Level::Note, |f| {
                set(f, "maxmemory_policy", "volatile-ttl")
            }),
            ("persistence", Level::Warning, |f| {
                set(f, "aof_enabled", "0")
            }),
            ("persistence", Level::Error, |f| {
                set(f, "rdb_last_bgsave_status", "err")
            }),
            ("replication", Level::Error, |f| set(f, "role", "slave")),
            ("cluster", Level::Error, |f| {
                set(f, "cluster_enabled", "1");
                f.cluster = HashMap::from([("cluster_state".into(), "fail".into())]);
            }),
        ];
        for (check, expected, break_it) in cases {
            let mut facts = facts(&SOUND);
            break_it(&mut facts);
            assert_eq!(level(&facts, check), expected, "{check}");
            for finding in judge("server", &facts, &Rights::default()) {
                assert_eq!(
                    finding.level == Level::Good,
                    finding.advice.is_none(),
                    "{finding:?}"
                );
            }
        }
    }

    fn set(facts: &mut Facts, name: &str, value: &str) {
        facts.info.insert(name.into(), value.into());
    }
}
