//! Putting lists right.

use std::time::Duration;

use redis::{Cmd, Value};
use serde::Serialize;

use crate::id::{Kind, RecordKey};
use crate::record::{Entry, Record};
use crate::store::redis::admin::{Direct, List, each, entry, fraction};
use crate::store::{RedisStore, SessionStore, StoreError};

/// How many keys the server looks at in one step.
const STEP: usize = 500;
/// How many members of a list are looked at together.
const MEMBERS: usize = 200;

/// What was put right, or would have been.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Repair {
    /// Nothing was changed.
    pub dry_run: bool,
    /// Records that were looked at: sessions, and what is remembered of those that ended.
    pub records: u64,
    /// Lists that were looked at.
    pub lists: u64,
    /// Sessions that came back into their users' lists.
    pub listed: u64,
    /// Sessions that were missing there, and ended: all of their user's had been ended after they were made.
    pub ended: u64,
    /// Members that were no live session, and were taken out.
    pub unlisted: u64,
    /// Conversations whose demo was gone, and that were deleted.
    pub conversations: u64,
    /// Keys that had no expiry, and have one now.
    pub expiries: u64,
    /// Keys with the name of a session that hold none. They are left alone.
    pub malformed: u64,
}

impl Repair {
    /// Whether there was nothing to be put right.
    #[must_use]
    pub const fn found_nothing(&self) -> bool {
        self.listed == 0
            && self.ended == 0
            && self.unlisted == 0
            && self.conversations == 0
            && self.expiries == 0
    }
}

pub(super) async fn repair(
    store: &RedisStore,
    dry_run: bool,
    mut progress: impl FnMut(f64),
) -> Result<Repair, StoreError> {
    let mut repair = Repair {
        dry_run,
        ..Repair::default()
    };
    let servers = store.direct(Duration::ZERO).await?;
    let passes = 3.0 * servers.len() as f64;
    let mut done = 0.0;
    for server in &servers {
        let run = Run {
            store,
            server,
            dry_run,
        };
        for kind in [Kind::User, Kind::Demo] {
            run.records(kind, &mut repair, |part| progress((done + part) / passes))
                .await?;
            done += 1.0;
        }
        run.lists(&mut repair, |part| progress((done + part) / passes))
            .await?;
        done += 1.0;
    }
    Ok(repair)
}

struct Run<'a> {
    store: &'a RedisStore,
    server: &'a Direct,
    dry_run: bool,
}

impl Run<'_> {
    async fn records(
        &self,
        kind: Kind,
        repair: &mut Repair,
        mut progress: impl FnMut(f64),
    ) -> Result<(), StoreError> {
        let pattern = self.store.record_pattern(kind);
        let mut cursor = Some(b"0".to_vec());
        while let Some(here) = cursor {
            progress(fraction(&here));
            let step = self.server.scan(&here, &pattern, STEP).await?;
            // They have the names of their demos, and more.
            self.conversations(&step.keys, repair).await?;
            let keys: Vec<_> = step
                .keys
                .into_iter()
                .filter_map(|name| Some((self.store.record_key(kind, &name)?, name)))
                .collect();
            self.some_records(&keys, repair).await?;
            cursor = step.next;
        }
        Ok(())
    }

    async fn some_records(
        &self,
        keys: &[(RecordKey, Vec<u8>)],
        repair: &mut Repair,
    ) -> Result<(), StoreError> {
        let mut commands = Vec::with_capacity(2 * keys.len());
        for (_, name) in keys {
            for command in ["GET", "PTTL"] {
                let mut command = redis::cmd(command);
                command.arg(name);
                commands.push(command);
            }
        }
        let mut answers = self.server.ask_all(commands).await?.into_iter();
        let mut asks = Vec::new();
        let mut wrong: Vec<(RecordKey, Option<Record>, bool)> = Vec::new();
        for (key, _) in keys {
            let (Some(value), Some(left)) = (answers.next(), answers.next()) else {
                break;
            };
            let Ok(value) = value else {
                repair.malformed += 1;
                continue;
            };
            if matches!(value, Value::Nil) {
                continue;
            }
            repair.records += 1;
            let Some(entry) = entry(&value) else {
                repair.malformed += 1;
                continue;
            };
            let is_endless = matches!(left, Ok(Value::Int(-1)));
            match entry.at(self.store.now()) {
                Entry::Live(record) => match self.store.is_listed(key, &record) {
                    Some(command) => asks.push((command, *key, record, is_endless)),
                    None if is_endless => wrong.push((*key, None, true)),
                    None => {}
                },
                Entry::Ended(_) if is_endless => wrong.push((*key, None, true)),
                Entry::Ended(_) => {}
            }
        }
        let commands = asks.iter().map(|(command, ..)| command.clone()).collect();
        let scores = self.server.ask_all(commands).await?;
        for ((_, key, record, is_endless), score) in asks.into_iter().zip(scores) {
            if is_endless || matches!(score, Ok(Value::Nil)) {
                wrong.push((key, Some(record), is_endless));
            }
        }
        self.put_right(&wrong, repair).await
    }

    async fn put_right(
        &self,
        wrong: &[(RecordKey, Option<Record>, bool)],
        repair: &mut Repair,
    ) -> Result<(), StoreError> {
        repair.expiries += wrong
            .iter()
            .filter(|(_, _, is_endless)| *is_endless)
            .count() as u64;
        if self.dry_run {
            let missing = wrong
                .iter()
                .filter(|(_, record, is_endless)| record.is_some() && !is_endless);
            repair.listed += missing.count() as u64;
            return Ok(());
        }
        let words = self
            .scripts(wrong.len(), |n, with_text| {
                let (key, record, _) = &wrong[n];
                self.store
                    .relist(key, record.as_ref(), self.store.now(), with_text)
            })
            .await?;
        for words in words {
            match words.first().map(String::as_str) {
                Some("listed") => repair.listed += 1,
                Some("ended") => repair.ended += 1,
                _ => {}
            }
        }
        Ok(())
    }

    /// Those of the keys that are conversations.
    async fn conversations(&self, keys: &[Vec<u8>], repair: &mut Repair) -> Result<(), StoreError> {
        let keys = keys
            .iter()
            .filter_map(|key| Some((&key[..], self.store.demo_of(key)?)));
        let keys: Vec<(&[u8], &[u8])> = keys.collect();
        let demos = each("GET", keys.iter().map(|(_, demo)| *demo));
        let demos = self.server.ask_all(demos).await?;
        let left = each("PTTL", keys.iter().map(|(key, _)| *key));
        let left = self.server.ask_all(left).await?;
        let mut wrong = Vec::new();
        for ((pair, demo), left) in keys.into_iter().zip(demos).zip(left) {
            let is_gone = match demo {
                Ok(Value::Nil) => true,
                Ok(value) => matches!(entry(&value), Some(Entry::Ended(_))),
                Err(_) => false,
            };
            let is_endless = matches!(left, Ok(Value::Int(-1)));
            if is_gone || is_endless {
                wrong.push(pair);
                repair.conversations += u64::from(self.dry_run && is_gone);
                repair.expiries += u64::from(self.dry_run && !is_gone);
            }
        }
        if self.dry_run {
            return Ok(());
        }
        let words = self
            .scripts(wrong.len(), |n, with_text| {
                let (messages, demo) = wrong[n];
                let now = self.store.now();
                self.store.unsay(messages, demo, now, with_text)
            })
            .await?;
        for words in words {
            match words.first().map(String::as_str) {
                Some("deleted") => repair.conversations += 1,
                Some("expiry") => repair.expiries += 1,
                _ => {}
            }
        }
        Ok(())
    }

    async fn lists(
        &self,
        repair: &mut Repair,
        mut progress: impl FnMut(f64),
    ) -> Result<(), StoreError> {
        let pattern = self.store.list_pattern();
        let mut cursor = Some(b"0".to_vec());
        while let Some(here) = cursor {
            progress(fraction(&here));
            let step = self.server.scan(&here, &pattern, STEP).await?;
            for key in &step.keys {
                if let Some(list) = self.store.list_of(key) {
                    self.list(&list, repair).await?;
                }
            }
            cursor = step.next;
        }
        Ok(())
    }

    async fn list(&self, list: &List, repair: &mut Repair) -> Result<(), StoreError> {
        let mut range = redis::cmd("ZRANGE");
        range.arg(&list.key).arg(0).arg(-1);
        let mut left = redis::cmd("PTTL");
        left.arg(&list.key);
        let mut answers = self.server.ask_all(vec![range, left]).await?.into_iter();
        let (Some(Ok(members)), Some(Ok(left))) = (answers.next(), answers.next()) else {
            // It is of another type: somebody else's.
            repair.malformed += 1;
            return Ok(());
        };
        let members: Vec<Vec<u8>> = redis::from_redis_value(members).unwrap_or_default();
        let is_endless = matches!(left, Value::Int(-1));
        repair.lists += 1;
        repair.expiries += u64::from(is_endless);
        let mut first = is_endless;
        for members in members.chunks(MEMBERS) {
            let records = members
                .iter()
                .map(|digest| [list.records.as_bytes(), &digest[..]].concat());
            let now = self.store.now();
            let values = self.server.ask_all(each("GET", records)).await?;
            let dead: Vec<Vec<u8>> = members
                .iter()
                .zip(values)
                .filter(|(_, value)| {
                    let entry = value.as_ref().ok().and_then(entry);
                    !matches!(entry.map(|entry| entry.at(now)), Some(Entry::Live(_)))
                })
                .map(|(digest, _)| digest.clone())
                .collect();
            if dead.is_empty() && !first {
                continue;
            }
            first = false;
            if self.dry_run {
                repair.unlisted += dead.len() as u64;
                continue;
            }
            let words = self
                .scripts(1, |_, with_text| {
                    self.store.unlist(list, &dead, self.store.now(), with_text)
                })
                .await?;
            let count = words
                .first()
                .and_then(|words| words.get(1)?.parse::<u64>().ok());
            repair.unlisted += count.unwrap_or(0);
        }
        Ok(())
    }

    /// Runs scripts, and gives the words that each answers with.
    async fn scripts(
        &self,
        number: usize,
        build: impl Fn(usize, bool) -> Cmd,
    ) -> Result<Vec<Vec<String>>, StoreError> {
        let answers = self.server.run_all(number, build).await?;
        answers
            .into_iter()
            .map(|answer| match answer {
                Ok(value) => Ok(redis::from_redis_value(value).unwrap_or_default()),
                Err(error) => Err(StoreError::new(format!("Redis refused: {error}"))),
            })
            .collect()
    }
}
