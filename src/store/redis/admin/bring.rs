//! A session of another system, on its way here.

use std::time::{Duration, SystemTime};

use redis::Cmd;

use super::super::RedisStore;
use super::super::ask::MOST_SESSIONS;
use super::super::script::{BRING, HOLD, STAGE};
use super::Answer;
use crate::clock::micros;
use crate::id::{Handle, Kind, RecordKey, UserId};
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
    /// What was read there.
    pub(crate) old: &'a [u8],
    /// It is large, and was read from a [copy](RedisStore::hold) of this name.
    pub(crate) held: Option<Handle>,
    pub(crate) keep_old: bool,
    pub(crate) record: &'a Record,
    /// When the session was made; `None`: it may be older than any end of all of its user's.
    pub(crate) made_at: Option<SystemTime>,
    pub(crate) messages: Messages<'a>,
}

/// The messages of a demo.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Messages<'a> {
    /// They come with the record.
    Here(&'a [Vec<u8>]),
    /// So many [wait](RedisStore::stage) for it.
    Staged(usize),
}

/// Some messages that go ahead of their record: a command that brought all of them would hold up the server.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    pub(crate) old_id: &'a [u8],
    /// Of the session that they are for: another attempt has another.
    pub(crate) handle: Handle,
    /// How many went before.
    pub(crate) before: usize,
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
    Late,
}

/// What came of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    Copied,
    /// It is larger than what is copied.
    TooLarge,
    Gone,
    Late,
}

/// What came of messages that went ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Staged {
    Waiting,
    /// Those that went before are gone.
    Lost,
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

    /// The command that copies a large record to be read, if it has no more bytes than `most`; [`Held`] reads its answer. The
    /// copy is gone after ten minutes.
    pub(crate) fn hold(
        &self,
        old_key: &[u8],
        copy: &[u8],
        most: usize,
        now: SystemTime,
        with_text: bool,
    ) -> Cmd {
        let mut command = HOLD.command(with_text, 2, old_key.len());
        command
            .arg(old_key)
            .arg(copy)
            .arg(late::not_after(micros(now)))
            .arg(most);
        command
    }

    /// The key of a copy. `name`: of one attempt alone.
    pub(crate) fn copy_key(&self, kind: Kind, old_id: &[u8], name: Handle) -> String {
        let digest = legacy::digest(kind, old_id);
        self.inner().keys.staged(&digest, name)
    }

    /// The command that sends messages of a demo ahead; [`Staged`] reads its answer. They wait where nobody looks, and are
    /// gone after ten minutes.
    pub(crate) fn stage(&self, stage: &Stage<'_>, now: SystemTime, with_text: bool) -> Cmd {
        let digest = legacy::digest(Kind::Demo, stage.old_id);
        let bytes = stage.messages.iter().map(Vec::len).sum();
        let mut command = STAGE.command(with_text, 1, bytes);
        command
            .arg(self.inner().keys.staged(&digest, stage.handle))
            .arg(late::not_after(micros(now)))
            .arg(stage.before)
            .arg(stage.messages);
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
        let (messages, staged) = match bring.messages {
            Messages::Here(messages) => (messages, 0),
            Messages::Staged(number) => (&[][..], number),
        };
        let has_list = staged > 0 || !messages.is_empty();
        let is_held = bring.held.is_some();
        let number = 3
            + 2 * usize::from(user.is_some())
            + usize::from(has_list)
            + usize::from(staged > 0)
            + 2 * usize::from(is_held);
        // What was copied there need not be sent.
        let old = if is_held { b"" } else { bring.old };
        let said: usize = messages.iter().map(Vec::len).sum();
        let mut command = BRING.command(with_text, number, old.len() + bytes.len() + said);
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
        if staged > 0 {
            command.arg(keys.staged(&digest, bring.record.handle()));
        }
        if let Some(name) = bring.held {
            let copy = keys.staged(&digest, name);
            let scratch = format!("{copy}:compared");
            command.arg(copy).arg(scratch);
        }
        let end = bring.record.ends_at();
        command
            .arg(late::not_after(micros(now)))
            .arg(old)
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
            .arg(MOST_SESSIONS)
            .arg(staged)
            .arg(if is_held { "1" } else { "" })
            .arg(messages);
        command
    }
}

impl Brought {
    /// Reads the answer.
    ///
    /// # Errors
    /// What the server has against the command.
    pub(crate) fn read(answer: Answer) -> Result<Self, String> {
        Ok(match &*word(answer)? {
            "migrated" => Self::Migrated,
            // One without a pointer is one that was migrated so long ago that the pointer is gone.
            "already" | "exists" => Self::Already,
            "written" => Self::WrittenSince,
            "changed" => Self::Changed,
            "gone" => Self::Gone,
            "refused" => Self::Refused,
            "at_limit" => Self::AtLimit,
            "late" => Self::Late,
            _ => return Err(UNKNOWN.into()),
        })
    }
}

impl Held {
    /// Reads the answer.
    ///
    /// # Errors
    /// What the server has against the command.
    pub(crate) fn read(answer: Answer) -> Result<Self, String> {
        Ok(match &*word(answer)? {
            "copied" => Self::Copied,
            "large" => Self::TooLarge,
            "gone" => Self::Gone,
            "late" => Self::Late,
            _ => return Err(UNKNOWN.into()),
        })
    }
}

impl Staged {
    /// Reads the answer.
    ///
    /// # Errors
    /// What the server has against the command.
    pub(crate) fn read(answer: Answer) -> Result<Self, String> {
        Ok(match &*word(answer)? {
            "waiting" => Self::Waiting,
            "lost" => Self::Lost,
            "late" => Self::Late,
            _ => return Err(UNKNOWN.into()),
        })
    }
}

const UNKNOWN: &str = "Redis gave an answer that the script does not give";

/// The word that a script answers with.
fn word(answer: Answer) -> Result<String, String> {
    let value = answer.map_err(|error| format!("Redis refused: {error}"))?;
    let words: Vec<String> = redis::from_redis_value(value).unwrap_or_default();
    Ok(words.into_iter().next().unwrap_or_default())
}
