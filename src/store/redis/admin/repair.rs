//! The commands that look at records and lists, and those that put them right.

use std::time::{Duration, SystemTime};

use redis::{Cmd, Value};

use super::super::script::{RELIST, UNLIST, UNSAY};
use super::super::{RedisStore, count};
use crate::clock::micros;
use crate::id::{Kind, RecordKey, UserId};
use crate::record::{Entry, Record};
use crate::store::{Counts, StoreError, late};

/// A list without an expiry is kept for so long: its next change sets a better one.
const LIST_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// A user's list, by its key.
#[derive(Debug, Clone)]
pub(crate) struct List {
    pub(crate) key: Vec<u8>,
    /// What the keys of its records begin with.
    pub(crate) records: String,
}

impl RedisStore {
    /// What the keys of all records of a kind look like.
    pub(crate) fn record_pattern(&self, kind: Kind) -> String {
        self.inner().keys.pattern(kind)
    }

    /// What the keys of all lists look like.
    pub(crate) fn list_pattern(&self) -> String {
        self.inner().keys.index_pattern()
    }

    /// What the name of a record's key says; `None`: it is none.
    pub(crate) fn record_key(&self, kind: Kind, key: &[u8]) -> Option<RecordKey> {
        self.inner().keys.parse(kind, key)
    }

    /// What an application counted last.
    pub(crate) async fn last_counts(&self) -> Result<Option<Counts>, StoreError> {
        count::last(self.inner()).await
    }

    /// What the keys of all histories look like.
    pub(crate) fn history_pattern(&self) -> String {
        self.inner().keys.events_pattern()
    }

    /// Whose history a key is; `None`: nobody's.
    pub(crate) fn history_of(&self, key: &[u8]) -> Option<UserId> {
        self.inner().keys.events_user(key)
    }

    /// Of a key that is a conversation's: the key of its demo.
    pub(crate) fn demo_of<'a>(&self, key: &'a [u8]) -> Option<&'a [u8]> {
        self.inner().keys.of_messages(key)
    }

    /// What the name of a list's key says; `None`: it is none.
    pub(crate) fn list_of(&self, key: &[u8]) -> Option<List> {
        let bucket = self.inner().keys.index_bucket(key)?;
        Some(List {
            key: key.to_vec(),
            records: self.inner().keys.records(Kind::User, bucket),
        })
    }

    /// Asks whether a session is in its user's list. `None`: it is to be in none.
    pub(crate) fn is_listed(&self, key: &RecordKey, record: &Record) -> Option<Cmd> {
        let user = record.user().filter(|_| key.kind == Kind::User)?;
        let mut command = redis::cmd("ZSCORE");
        command
            .arg(self.inner().keys.index(&UserId::from(user)))
            .arg(key.digest.to_text());
        Some(command)
    }

    /// Puts a record right. `record`: what stands there; a tombstone, or what is no user's, only gets an expiry.
    pub(crate) fn relist(
        &self,
        key: &RecordKey,
        record: Option<&Record>,
        now: SystemTime,
        with_text: bool,
    ) -> Cmd {
        let keys = &self.inner().keys;
        let user = record
            .and_then(Record::user)
            .filter(|_| key.kind == Kind::User)
            .map(UserId::from);
        let mut command = RELIST.command(with_text, if user.is_some() { 4 } else { 1 }, 0);
        command.arg(keys.record(key));
        if let Some(user) = &user {
            command
                .arg(keys.index(user))
                .arg(keys.since(user))
                .arg(keys.events(user));
        }
        command.arg(late::not_after(micros(now)));
        command
    }

    /// Puts a conversation right: it goes if its demo is gone.
    pub(crate) fn unsay(
        &self,
        messages: &[u8],
        demo: &[u8],
        now: SystemTime,
        with_text: bool,
    ) -> Cmd {
        let mut command = UNSAY.command(with_text, 2, 0);
        command
            .arg(messages)
            .arg(demo)
            .arg(late::not_after(micros(now)));
        command
    }

    /// Puts a list right: these members of it are none, as far as is known.
    pub(crate) fn unlist(
        &self,
        list: &List,
        dead: &[Vec<u8>],
        now: SystemTime,
        with_text: bool,
    ) -> Cmd {
        let mut command = UNLIST.command(with_text, 1, 64 * dead.len());
        command
            .arg(&list.key)
            .arg(late::not_after(micros(now)))
            .arg(&list.records)
            .arg(micros(now + LIST_KEPT) / 1000);
        for digest in dead {
            command.arg(digest);
        }
        command
    }
}

/// What stands under a key; `None`: nothing, or nothing of ours.
pub(crate) fn entry(value: &Value) -> Option<Entry> {
    match value {
        Value::BulkString(bytes) => Entry::from_bytes(bytes).ok(),
        _ => None,
    }
}
