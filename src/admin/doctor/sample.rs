//! Whether keys and lists are as they should be: by some of each sort.

use std::collections::HashSet;

use redis::{Cmd, Value};

use super::{Finding, Level, Verdict, finding, good};
use crate::id::Kind;
use crate::record::Entry;
use crate::store::redis::admin::{Answer, Direct, each, entry};
use crate::store::{RedisStore, SessionStore, StoreError};

/// So many keys of each sort are looked at.
const SAMPLE: usize = 1_000;
const STEP: usize = 500;
/// No more steps for a sample: among a million of other keys there may be none of ours.
const STEPS: usize = 40;

/// Looks at some keys of each sort.
pub(super) async fn take(store: &RedisStore, server: &Direct) -> Result<Vec<Finding>, StoreError> {
    let name = server.name();
    let mut without_expiry = 0;
    let mut looked_at = 0;
    let (mut missing, mut malformed, mut sessions, mut adrift) = (0, 0, 0, 0);
    for kind in [Kind::User, Kind::Demo] {
        let keys = some(server, &store.record_pattern(kind)).await?;
        // Conversations have the names of their demos, and more.
        let (messages, demos): (Vec<_>, Vec<_>) = keys
            .iter()
            .filter_map(|key| Some((key, store.demo_of(key)?)))
            .unzip();
        looked_at += messages.len();
        without_expiry += endless(&server.ask_all(each("PTTL", messages)).await?);
        adrift += server
            .ask_all(each("EXISTS", demos))
            .await?
            .iter()
            .filter(|exists| matches!(exists, Ok(Value::Int(0))))
            .count();
        let keys: Vec<_> = keys
            .into_iter()
            .filter_map(|key| Some((store.record_key(kind, &key)?, key)))
            .collect();
        let names: Vec<_> = keys.iter().map(|(_, name)| name.clone()).collect();
        looked_at += names.len();
        without_expiry += endless(&server.ask_all(each("PTTL", &names)).await?);
        let mut scores: Vec<Cmd> = Vec::new();
        for ((key, _), value) in keys.iter().zip(server.ask_all(each("GET", &names)).await?) {
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
        let scores = server.ask_all(scores).await?;
        missing += scores
            .iter()
            .filter(|score| matches!(score, Ok(Value::Nil)))
            .count();
    }
    let lists = some(server, &store.list_pattern()).await?;
    looked_at += lists.len();
    without_expiry += endless(&server.ask_all(each("PTTL", &lists)).await?);
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
    let drift = missing + dead + adrift + malformed;
    let list = if drift > 0 {
        (
            Level::Error,
            format!(
                "of {sessions} sessions and {} lists: {missing} sessions are missing from their users' lists, {dead} \
                 members of lists are no live session, {adrift} conversations have no demo, {malformed} keys hold no session",
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
    for (list, members) in lists.iter().zip(server.ask_all(ranges).await?) {
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
    let values = server.ask_all(each("GET", &names)).await?;
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

/// How many of some keys have no expiry.
fn endless(answers: &[Answer]) -> usize {
    answers
        .iter()
        .filter(|left| matches!(left, Ok(Value::Int(-1))))
        .count()
}
