//! Checking servers: each finding says what is, and what to do about it.

use std::collections::HashSet;
use std::time::Duration;

use redis::{Cmd, Value};
use serde::Serialize;

use super::facts::{Facts, endless};
use crate::id::Kind;
use crate::record::Entry;
use crate::store::redis::admin::{Direct, entry};
use crate::store::{RedisStore, SessionStore, StoreError};

/// So many keys of each sort are looked at.
const SAMPLE: usize = 1_000;
const STEP: usize = 500;
/// No more steps for a sample: among a million of other keys there may be none of ours.
const STEPS: usize = 40;
/// What the store needs: `SET … PXAT`.
const OLDEST: (u32, u32) = (6, 2);

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

pub(super) async fn examine(store: &RedisStore, url: &str) -> Vec<Finding> {
    let servers = match store.direct(Duration::ZERO).await {
        Ok(servers) => servers,
        Err(error) => return vec![unreachable("", &error)],
    };
    let mut findings = Vec::new();
    for server in &servers {
        let name = server.name();
        match Facts::collect(server, store.prefix(), url).await {
            Ok(facts) => findings.extend(judge(name, &facts)),
            Err(error) => {
                findings.push(unreachable(name, &error));
                continue;
            }
        }
        match sample(store, server).await {
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
fn judge(server: &str, facts: &Facts) -> Vec<Finding> {
    let of = |check, (level, what, advice): Verdict| finding(check, server, level, what, advice);
    let mut findings = vec![
        of("reachable", good("it answers")),
        of("latency", latency(facts)),
        of("clock", clock(facts)),
        of("tls", tls(facts)),
        of("rights", rights(facts)),
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
    findings.push(of("version", version(facts)));
    findings.push(of("memory", memory(facts)));
    findings.push(of("eviction", eviction(facts)));
    findings.push(of("persistence", persistence(facts)));
    findings.push(of("replication", replication(facts)));
    if facts.is("cluster_enabled", "1") {
        findings.push(of("cluster", cluster(facts)));
    }
    findings
}

type Verdict = (Level, String, Option<&'static str>);

fn good(what: impl Into<String>) -> Verdict {
    (Level::Good, what.into(), None)
}

fn latency(facts: &Facts) -> Verdict {
    let (Some(middle), Some(most)) = (facts.pings.get(facts.pings.len() / 2), facts.pings.last())
    else {
        return (Level::Note, "it was not measured".into(), None);
    };
    let millis = |span: &Duration| span.as_secs_f64() * 1000.0;
    let what = format!(
        "{:.2} ms in the middle, {:.2} ms at most",
        millis(middle),
        millis(most)
    );
    if *middle > Duration::from_millis(50) {
        let advice = "operations have 250 ms: bring it nearer, or raise command_timeout and operation_timeout";
        (Level::Error, what, Some(advice))
    } else if *middle > Duration::from_millis(5) {
        (
            Level::Warning,
            what,
            Some("a read costs each request that long: bring it nearer"),
        )
    } else {
        good(what)
    }
}

fn clock(facts: &Facts) -> Verdict {
    let Some(ahead) = facts.ahead else {
        return (Level::Note, "it was not read".into(), None);
    };
    let what = match ahead {
        ahead if ahead.abs() < 0.1 => "it shows the time of this machine".to_owned(),
        ahead if ahead > 0.0 => format!("it is {ahead:.1} s ahead of this machine's"),
        behind => format!("it is {:.1} s behind this machine's", -behind),
    };
    let advice = "sessions go by the server's clock, and cookies by browsers': let both machines keep time (NTP)";
    match ahead.abs() {
        apart if apart > 60.0 => (Level::Error, what, Some(advice)),
        apart if apart > 5.0 => (Level::Warning, what, Some(advice)),
        _ => good(what),
    }
}

fn tls(facts: &Facts) -> Verdict {
    match (facts.is_encrypted, facts.is_local) {
        (true, _) => good("the connection is encrypted"),
        (false, true) => good("it is on this machine, without TLS"),
        (false, false) => (
            Level::Warning,
            "the connection is not encrypted: whoever is in between reads users and their values"
                .into(),
            Some("use rediss://, or a network that nobody else is in"),
        ),
    }
}

fn rights(facts: &Facts) -> Verdict {
    if !facts.forbidden.is_empty() {
        return (
            Level::Error,
            format!("this user may not: {}", facts.forbidden.join(", ")),
            Some("grant the rights that the README lists under Redis"),
        );
    }
    match facts.takes_no_writes.as_deref() {
        Some("READONLY") => (
            Level::Error,
            "it is a read-only replica".into(),
            Some("give the address of the primary"),
        ),
        Some(code) => (
            Level::Error,
            format!("it takes no writes now ({code})"),
            Some("see memory, persistence and replication"),
        ),
        None => good("every command that sessions need is allowed, scripts too"),
    }
}

fn version(facts: &Facts) -> Verdict {
    let name = match facts.field("valkey_version") {
        Some(version) => format!("Valkey {version}"),
        None => format!("Redis {}", facts.field("redis_version").unwrap_or("?")),
    };
    let parts = |version: &str| {
        let mut parts = version.split('.').map(str::parse::<u32>);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    };
    match facts.field("redis_version").and_then(parts) {
        Some(version) if version < OLDEST => (
            Level::Error,
            format!("{name} is too old"),
            Some("sessions need Redis 6.2 or later, or Valkey"),
        ),
        Some(_) => good(name),
        None => (Level::Note, "it does not say its version".into(), None),
    }
}

fn memory(facts: &Facts) -> Verdict {
    let used = facts.number("used_memory").unwrap_or(0);
    match facts.number("maxmemory").filter(|most| *most > 0) {
        None => good(format!("{} MiB used, without a limit", used >> 20)),
        Some(most) => {
            let share = 100.0 * used as f64 / most as f64;
            let what = format!("{} of {} MiB used ({share:.0} %)", used >> 20, most >> 20);
            let advice = "raise maxmemory: when it is full nobody can sign in, though reading and ending go on";
            if share >= 100.0 {
                (Level::Error, what, Some(advice))
            } else if share > 85.0 {
                (Level::Warning, what, Some(advice))
            } else {
                good(what)
            }
        }
    }
}

fn eviction(facts: &Facts) -> Verdict {
    let policy = facts.field("maxmemory_policy").unwrap_or("noeviction");
    let has_limit = facts.number("maxmemory").is_some_and(|most| most > 0);
    let advice =
        "set maxmemory-policy noeviction: any other drops sessions, and what keeps ended ones out";
    match (policy, has_limit) {
        ("noeviction", _) => good("nothing is dropped for want of memory"),
        (policy, true) => (
            Level::Error,
            format!("sessions, and what ended them, are dropped when memory is full ({policy})"),
            Some(advice),
        ),
        (policy, false) => (
            Level::Note,
            format!("the policy is {policy}, and would drop sessions if memory had a limit"),
            Some(advice),
        ),
    }
}

fn persistence(facts: &Facts) -> Verdict {
    if facts
        .field("rdb_last_bgsave_status")
        .is_some_and(|status| status != "ok")
        || facts
            .field("aof_last_write_status")
            .is_some_and(|status| status != "ok")
    {
        return (
            Level::Error,
            "the last write to disk failed".into(),
            Some("look at the disk, and at the log of Redis: it may take no writes until then"),
        );
    }
    if facts.is("aof_enabled", "1") {
        return good("every write goes to the append-only file");
    }
    (
        Level::Warning,
        "no append-only file: a restart forgets the last minutes, or everything".into(),
        Some(
            "set appendonly yes: sessions that were lost are signed out, and ends that were lost must be asserted again",
        ),
    )
}

fn replication(facts: &Facts) -> Verdict {
    if facts.is("role", "slave") {
        return (
            Level::Error,
            "it is a replica: it takes no writes".into(),
            Some("give the address of the primary"),
        );
    }
    match facts.number("connected_slaves") {
        None | Some(0) => (
            Level::Note,
            "it has no replica: while it is away, applications live from memory".into(),
            Some("a replica, and something that promotes it, make outages shorter"),
        ),
        Some(number) => {
            let what = format!("{number} replicas");
            // The field is there only where min-replicas-to-write is set.
            if facts.field("min_slaves_good_slaves").is_some() {
                good(format!(
                    "{what}, and writes wait for some of them to be there"
                ))
            } else {
                (
                    Level::Warning,
                    format!(
                        "{what}; a primary that is cut off from them goes on taking writes that a failover loses"
                    ),
                    Some("set min-replicas-to-write 1 and min-replicas-max-lag 10"),
                )
            }
        }
    }
}

fn cluster(facts: &Facts) -> Verdict {
    let field = |name: &str| facts.cluster.get(name).map_or("?", String::as_str);
    let what = format!(
        "{}, {} of 16384 slots are served",
        field("cluster_state"),
        field("cluster_slots_ok")
    );
    if field("cluster_state") == "ok" && field("cluster_slots_ok") == "16384" {
        good(what)
    } else {
        let advice =
            "see CLUSTER INFO and CLUSTER SHARDS: users whose slot is not served cannot sign in";
        (Level::Error, what, Some(advice))
    }
}

/// Looks at some keys of each sort.
async fn sample(store: &RedisStore, server: &Direct) -> Result<Vec<Finding>, StoreError> {
    let name = server.name();
    let mut without_expiry = 0;
    let mut looked_at = 0;
    let (mut missing, mut malformed, mut sessions) = (0, 0, 0);
    for kind in [Kind::User, Kind::Demo] {
        let keys = some(server, &store.record_pattern(kind)).await?;
        let keys: Vec<_> = keys
            .into_iter()
            .filter_map(|key| Some((store.record_key(kind, &key)?, key)))
            .collect();
        let names: Vec<_> = keys.iter().map(|(_, name)| name.clone()).collect();
        looked_at += names.len();
        without_expiry += endless(&server.ask_all(&each("PTTL", &names)).await?);
        let mut scores: Vec<Cmd> = Vec::new();
        for ((key, _), value) in keys.iter().zip(server.ask_all(&each("GET", &names)).await?) {
            match value {
                Ok(Value::Nil) => {}
                Ok(value) => match entry(&value).map(|entry| entry.at(store.now())) {
                    Some(Entry::Live(record)) => {
                        sessions += 1;
                        scores.extend(store.is_listed(key, &record));
                    }
                    Some(Entry::Ended(_)) => {}
                    None => malformed += 1,
                },
                Err(_) => malformed += 1,
            }
        }
        let scores = server.ask_all(&scores).await?;
        missing += scores
            .iter()
            .filter(|score| matches!(score, Ok(Value::Nil)))
            .count();
    }
    let lists = some(server, &store.list_pattern()).await?;
    looked_at += lists.len();
    without_expiry += endless(&server.ask_all(&each("PTTL", &lists)).await?);
    let dead = dead_members(store, server, &lists).await?;

    let expiries = if without_expiry > 0 {
        (
            Level::Error,
            format!("{without_expiry} of {looked_at} keys have no expiry, and stay for ever"),
            Some("run `sessile cleanup`, and find out who wrote or changed them"),
        )
    } else {
        good(format!("all of {looked_at} keys have an expiry"))
    };
    let drift = missing + dead + malformed;
    let list = if drift > 0 {
        (
            Level::Error,
            format!(
                "of {sessions} sessions and {} lists: {missing} sessions are missing from their users' lists, {dead} \
                 members of lists are no live session, {malformed} keys hold no session",
                lists.len()
            ),
            Some("run `sessile cleanup`, and find out who deleted or wrote keys by hand"),
        )
    } else {
        good(format!(
            "{sessions} sessions and {} lists agree",
            lists.len()
        ))
    };
    let of = |check, (level, what, advice): Verdict| finding(check, name, level, what, advice);
    Ok(vec![of("expiries", expiries), of("lists", list)])
}

/// How many members of lists name nothing that is or was a session. One that has ended by its clocks stays a while.
async fn dead_members(
    store: &RedisStore,
    server: &Direct,
    lists: &[Vec<u8>],
) -> Result<usize, StoreError> {
    let mut ranges = Vec::new();
    for list in lists {
        let mut command = redis::cmd("ZRANGE");
        command.arg(list).arg(0).arg(9);
        ranges.push(command);
    }
    let mut names = Vec::new();
    for (list, members) in lists.iter().zip(server.ask_all(&ranges).await?) {
        let (Some(list), Ok(members)) = (store.list_of(list), members) else {
            continue;
        };
        let members: Vec<Vec<u8>> = redis::from_redis_value(members).unwrap_or_default();
        names.extend(
            members
                .iter()
                .map(|digest| [list.records.as_bytes(), &digest[..]].concat()),
        );
    }
    names.truncate(SAMPLE);
    let values = server.ask_all(&each("GET", &names)).await?;
    Ok(values
        .iter()
        .filter(|value| !matches!(value.as_ref().ok().and_then(entry), Some(Entry::Live(_))))
        .count())
}

/// Some of the keys that look like this.
async fn some(server: &Direct, pattern: &str) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut found = HashSet::new();
    let mut cursor = Some(b"0".to_vec());
    for _ in 0..STEPS {
        let Some(here) = cursor else { break };
        let step = server.scan(&here, pattern, STEP).await?;
        found.extend(step.keys);
        if found.len() >= SAMPLE {
            break;
        }
        cursor = step.next;
    }
    Ok(found.into_iter().take(SAMPLE).collect())
}

/// The same command for each key.
fn each(command: &str, keys: &[Vec<u8>]) -> Vec<Cmd> {
    keys.iter()
        .map(|key| {
            let mut command = redis::cmd(command);
            command.arg(key);
            command
        })
        .collect()
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
        let findings = judge("server", facts);
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
        for finding in judge("server", &facts) {
            assert_eq!(
                (finding.level, finding.advice),
                (Level::Good, None),
                "{finding:?}"
            );
        }
    }

    #[test]
    fn each_thing_that_is_wrong_is_one_finding_with_an_advice() {
        let cases: [(&str, Level, Break); 16] = [
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
            ("rights", Level::Error, |f| f.forbidden.push("zadd")),
            ("rights", Level::Error, |f| {
                f.takes_no_writes = Some("OOM".into())
            }),
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
            for finding in judge("server", &facts) {
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
