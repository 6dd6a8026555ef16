//! A server, asked directly.

use std::time::{Duration, Instant, SystemTime};

use redis::{Cmd, FromRedisValue, Pipeline, RedisError, ToRedisArgs, Value};

use super::super::servers::Primary;
use super::super::{Inner, RedisStore};
use crate::store::{Failure, StoreError};

/// The most that one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(30);
/// What came to nothing is asked again so much later.
const AGAIN: Duration = Duration::from_millis(200);

/// So often a script is sent again that the server does not have: somebody flushes them.
const SCRIPT_TRIES: usize = 10;

/// A command's answer, or what the server has against it.
pub(crate) type Answer = Result<Value, RedisError>;

/// One of the servers that hold records.
#[derive(Debug, Clone)]
pub(crate) struct Direct {
    primary: Primary,
    is_alone: bool,
    /// For so long it is asked again while it is away.
    patience: Duration,
}

/// A step of a scan.
#[derive(Debug)]
pub(crate) struct Scanned {
    /// Where the next one goes on; `None`: it was the last.
    pub(crate) next: Option<Vec<u8>>,
    pub(crate) keys: Vec<Vec<u8>>,
}

impl RedisStore {
    /// Every server that holds records. While one is away it is asked again for as long as the patience lasts.
    pub(crate) async fn direct(&self, patience: Duration) -> Result<Vec<Direct>, StoreError> {
        let servers = &self.inner().servers;
        let is_alone = servers.is_alone();
        let primaries = servers.primaries().await?;
        Ok(primaries
            .into_iter()
            .map(|primary| Direct {
                primary,
                is_alone,
                patience,
            })
            .collect())
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    /// What every key of this store begins with: its namespace and a colon, or nothing.
    pub(crate) fn prefix(&self) -> &str {
        self.0.keys.prefix()
    }
}

impl Direct {
    /// Whether it has all keys.
    pub(crate) const fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// What the operator knows it by.
    pub(crate) fn name(&self) -> &str {
        self.primary.name()
    }

    /// Sends a command that is the same when it is sent twice.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let until = Instant::now() + self.patience;
        loop {
            let error = match self.primary.send(Instant::now() + ATTEMPT, command).await {
                Ok(value) => {
                    return redis::from_redis_value(value).map_err(|error| {
                        StoreError::new(format!("Redis gave an answer that does not fit: {error}"))
                    });
                }
                Err(error) => StoreError::from(error),
            };
            let is_away = match error.failure() {
                Failure::Unreachable | Failure::Silent | Failure::Refused => true,
                Failure::Full | Failure::Other => false,
            };
            if !is_away || Instant::now() + AGAIN >= until {
                return Err(error);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Sends commands in one go; each has its own answer. They must be the same when they are sent twice.
    pub(crate) async fn ask_all(&self, commands: Vec<Cmd>) -> Result<Vec<Answer>, StoreError> {
        let mut pipeline = Pipeline::with_capacity(commands.len());
        for command in commands {
            pipeline.add_command(command);
        }
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        let until = Instant::now() + self.patience;
        loop {
            let error = match self
                .primary
                .send_all(Instant::now() + ATTEMPT, &pipeline)
                .await
            {
                Ok(values) => return Ok(values.into_iter().map(apart).collect()),
                Err(error) => error,
            };
            if Instant::now() + AGAIN >= until {
                return Err(StoreError::new(format!("Redis did not answer: {error}"))
                    .with_failure(Failure::Silent));
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Runs scripts in one go. `build`: the command of the so-manieth, with the script's text or with its hash; it must be
    /// the same when it is sent twice.
    pub(crate) async fn run_all(
        &self,
        number: usize,
        build: impl Fn(usize, bool) -> Cmd,
    ) -> Result<Vec<Answer>, StoreError> {
        let commands = (0..number).map(|n| build(n, false)).collect();
        let mut answers = self.ask_all(commands).await?;
        for _ in 0..SCRIPT_TRIES {
            let unknown: Vec<usize> = (0..number)
                .filter(|&n| matches!(&answers[n], Err(error) if error.code() == Some("NOSCRIPT")))
                .collect();
            let Some(&first) = unknown.first() else { break };
            // The first brings the text, and the server has it for the others.
            let commands = unknown.iter().map(|&n| build(n, n == first)).collect();
            for (n, answer) in unknown.into_iter().zip(self.ask_all(commands).await?) {
                answers[n] = answer;
            }
        }
        Ok(answers)
    }

    /// A step of a scan over all of its keys.
    pub(crate) async fn scan(
        &self,
        cursor: &[u8],
        pattern: &str,
        count: usize,
    ) -> Result<Scanned, StoreError> {
        let mut command = redis::cmd("SCAN");
        command
            .arg(cursor)
            .arg("MATCH")
            .arg(pattern)
            .arg("COUNT")
            .arg(count);
        let (next, keys): (Vec<u8>, Vec<Vec<u8>>) = self.ask(&command).await?;
        Ok(Scanned {
            next: (next != b"0").then_some(next),
            keys,
        })
    }

    /// Its clock.
    pub(crate) async fn time(&self) -> Result<SystemTime, StoreError> {
        let (seconds, micros): (u64, u64) = self.ask(&redis::cmd("TIME")).await?;
        Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_micros(micros))
    }
}

/// An answer, or what the server has against the command.
fn apart(value: Value) -> Answer {
    match value {
        Value::ServerError(error) => Err(error.into()),
        value => Ok(value),
    }
}

/// The same command for each key.
pub(crate) fn each<K: ToRedisArgs>(name: &str, keys: impl IntoIterator<Item = K>) -> Vec<Cmd> {
    keys.into_iter()
        .map(|key| {
            let mut command = redis::cmd(name);
            command.arg(key);
            command
        })
        .collect()
}

/// How far a scan is: its cursor counts from the highest bit down.
pub(crate) fn fraction(cursor: &[u8]) -> f64 {
    let cursor: u64 = str::from_utf8(cursor)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    cursor.reverse_bits() as f64 / u64::MAX as f64
}
