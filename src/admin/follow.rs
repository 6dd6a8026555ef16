//! What happens to all users' sessions, as it happens.
//!
//! Redis tells nobody that a key has changed unless its operator says so, and one stream of all events would be one key that
//! every login writes to. So the histories that users have anyhow are looked at again and again. What is new is told by the
//! server's own clock: a pass tells what happened from the beginning of the last one to its own, and nothing need be
//! remembered of any user.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use redis::Value;

use crate::id::UserId;
use crate::record::HistoryEntry;
use crate::store::redis::admin::{Answer, Direct};
use crate::store::{RedisStore, StoreError};

/// How many keys the server looks at in one step: well below a millisecond.
const STEP: usize = 500;
/// After each step others have their turn: with it, following takes no more than some hundredths of the server's time.
const PAUSE: Duration = Duration::from_millis(10);
/// A server that grows its table in the middle of a pass may name a key twice. So many are remembered as told.
const TOLD: usize = 50_000;

/// Follows what happens to all users' sessions: from [`Admin::follow`](super::Admin::follow).
#[derive(Debug)]
pub struct Follow {
    store: RedisStore,
    servers: Vec<Followed>,
}

#[derive(Debug)]
struct Followed {
    server: Direct,
    /// What happened before it, by the server's clock, was told.
    told_until: SystemTime,
}

impl Follow {
    pub(super) async fn start(store: &RedisStore, patience: Duration) -> Result<Self, StoreError> {
        let mut servers = Vec::new();
        for server in store.direct(patience).await? {
            let told_until = server.time().await?;
            servers.push(Followed { server, told_until });
        }
        Ok(Self {
            store: store.clone(),
            servers,
        })
    }

    /// Looks at all histories once, and tells what has happened since the last pass: each entry once, of one user the oldest
    /// first. What happens meanwhile is for the next pass.
    ///
    /// It takes 10 ms and a `SCAN` for 500 keys of the whole server, whatever they are: a second for 50,000. More than
    /// [200](HistoryEntry::MOST) entries of one user within a pass are told in part.
    ///
    /// # Errors
    /// [`StoreError`] when Redis cannot be reached. The next pass tells what this one has not, and again what it had told
    /// since it began.
    ///
    /// # Cancel safety
    /// As after an error.
    pub async fn pass(
        &mut self,
        mut tell: impl FnMut(UserId, HistoryEntry) + Send,
    ) -> Result<(), StoreError> {
        for Followed { server, told_until } in &mut self.servers {
            // Whatever happened before it is there by now: a script's instant is not after its writes.
            let now = server.time().await?;
            let span = *told_until..now;
            let mut told = HashSet::new();
            let pattern = self.store.history_pattern();
            let mut cursor = Some(b"0".to_vec());
            while let Some(here) = cursor {
                let step = server.scan(&here, &pattern, STEP).await?;
                for key in with_news(server, step.keys, span.start).await? {
                    let Some(user) = self.store.history_of(&key) else {
                        continue;
                    };
                    if told.contains(&key) {
                        continue;
                    }
                    for entry in entries(server, &key).await? {
                        if span.contains(&entry.at) {
                            tell(user.clone(), entry);
                        }
                    }
                    if told.len() < TOLD {
                        told.insert(key);
                    }
                }
                cursor = step.next;
                tokio::time::sleep(PAUSE).await;
            }
            *told_until = now;
        }
        Ok(())
    }
}

/// Those of the keys whose last entry is not from before an instant.
async fn with_news(
    server: &Direct,
    keys: Vec<Vec<u8>>,
    since: SystemTime,
) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut last = Vec::with_capacity(keys.len());
    for key in &keys {
        let mut command = redis::cmd("LINDEX");
        command.arg(key).arg(-1);
        last.push(command);
    }
    let last = server.ask_all(last).await?;
    let has_news = |last: Answer| match last {
        // What cannot be read is looked at: there may be more behind it.
        Ok(Value::BulkString(line)) => entry(&line).is_none_or(|entry| entry.at >= since),
        _ => false,
    };
    let keys = keys.into_iter().zip(last);
    Ok(keys
        .filter_map(|(key, last)| has_news(last).then_some(key))
        .collect())
}

async fn entries(server: &Direct, key: &[u8]) -> Result<Vec<HistoryEntry>, StoreError> {
    let mut range = redis::cmd("LRANGE");
    range.arg(key).arg(0).arg(-1);
    let answer = server.ask_all(vec![range]).await?.into_iter().next();
    let lines: Vec<Vec<u8>> = match answer {
        Some(Ok(lines)) => redis::from_redis_value(lines).unwrap_or_default(),
        // It is of another type by now.
        Some(Err(_)) | None => Vec::new(),
    };
    Ok(lines.iter().filter_map(|line| entry(line)).collect())
}

/// A line of a history, if this version knows what it says.
fn entry(line: &[u8]) -> Option<HistoryEntry> {
    HistoryEntry::from_text(str::from_utf8(line).ok()?)
}
