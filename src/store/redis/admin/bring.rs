//! A session of another system, on its way here.

use std::time::{Duration, SystemTime};

use redis::{Cmd, RedisError, Value};

use super::super::RedisStore;
use super::super::ask::MOST_SESSIONS;
use super::super::script::BRING;
use crate::clock::micros;
use crate::id::{Kind, RecordKey, UserId};
use crate::legacy::{self, Pointer};
use crate::record::{Entry, Record};
use crate::store::late;

/// How long pointers and indexes outlive the end of a session: as long as its record.
const KEPT: Duration = Duration::from_secs(2 * 3600);

/// One session.
#[derive(Debug)]
pub(crate) struct Bring<'a> {
    pub(crate) kind: Kind,
    pub(crate) old_key: &'a [u8],
    pub(crate) old_id: &'a [u8],
    pub(crate) old: &'a [u8],
    pub(crate) keep_old: bool,
    pub(crate) record: &'a Record,
    /// When the session was made; `None`: it may be older than any end of all of its user's.
    pub(crate) made_at: Option<SystemTime>,
    pub(crate) messages: &'a [Vec<u8>],
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Brought {
    Migrated,
    Already,
    /// It was migrated before, and its old system has written to it since.
    WrittenSince,
    /// It changed after it was read.
    Changed,
    Gone,
    /// All of the user's sessions were ended after this one was made.
    Refused,
    AtLimit,
    /// The server wants the script's text.
    NoScript,
    Late,
}

impl RedisStore {
    /// Asks whether a session was migrated from this id.
    pub(crate) fn pointer_exists(&self, kind: Kind, old_id: &[u8]) -> Cmd {
        let digest = legacy::digest(kind, old_id);
        let mut command = redis::cmd("EXISTS");
        command.arg(self.inner().keys.pointer(&digest));
        command
    }

    /// The command that does it; nothing but its answer is `Brought`. `now`: by the server's clock.
    ///
    /// The record stands under the digest of the old id, in its user's bucket, and nobody can open it by an id of ours:
    /// there is no secret with that digest.
    pub(crate) fn bring(&self, bring: &Bring<'_>, now: SystemTime, with_text: bool) -> Cmd {
        let keys = &self.inner().keys;
        let digest = legacy::digest(bring.kind, bring.old_id);
        let user = bring
            .record
            .user()
            .map(UserId::from)
            .filter(|_| bring.kind == Kind::User);
        let key = RecordKey {
            kind: bring.kind,
            bucket: match &user {
                Some(user) => keys.bucket(user),
                None => legacy::pointer_bucket(&digest),
            },
            digest,
        };
        let bytes = Entry::Live(bring.record.clone()).to_bytes();
        let has_list = !bring.messages.is_empty();
        let number = 3 + 2 * usize::from(user.is_some()) + usize::from(has_list);
        let messages: usize = bring.messages.iter().map(Vec::len).sum();
        let mut command =
            BRING.command(with_text, number, bring.old.len() + bytes.len() + messages);
        command
            .arg(bring.old_key)
            .arg(keys.pointer(&digest))
            .arg(keys.record(&key));
        if let Some(user) = &user {
            command.arg(keys.index(user)).arg(keys.since(user));
        }
        if has_list {
            command.arg(keys.messages(&key));
        }
        let end = bring.record.ends_at();
        command
            .arg(late::not_after(micros(now)))
            .arg(bring.old)
            .arg(if bring.keep_old { "1" } else { "" })
            .arg(Pointer::write(&key, bring.old))
            .arg(micros(end + KEPT) / 1000 + 1)
            .arg(bytes)
            .arg(micros(bring.record.kept_until()) / 1000 + 1)
            .arg(micros(end));
        match &user {
            Some(_) => command.arg(bring.made_at.map_or(0, micros)),
            None => command.arg(""),
        };
        command
            .arg(micros(end + KEPT) / 1000 + 1)
            .arg(MOST_SESSIONS);
        for message in bring.messages {
            command.arg(message);
        }
        command
    }
}

impl Brought {
    /// Reads the answer.
    ///
    /// # Errors
    /// What the server has against the command.
    pub(crate) fn read(answer: Result<Value, RedisError>) -> Result<Self, String> {
        let value = match answer {
            Ok(value) => value,
            Err(error) if error.code() == Some("NOSCRIPT") => return Ok(Self::NoScript),
            Err(error) => return Err(format!("Redis refused: {error}")),
        };
        let words: Vec<String> = redis::from_redis_value(value).unwrap_or_default();
        Ok(match words.first().map(String::as_str) {
            Some("migrated") => Self::Migrated,
            // One without a pointer is one that was migrated so long ago that the pointer is gone.
            Some("already" | "exists") => Self::Already,
            Some("written") => Self::WrittenSince,
            Some("changed") => Self::Changed,
            Some("gone") => Self::Gone,
            Some("refused") => Self::Refused,
            Some("at_limit") => Self::AtLimit,
            Some("late") => Self::Late,
            _ => return Err("Redis gave an answer that the script does not give".into()),
        })
    }
}
