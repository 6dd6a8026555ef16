//! Reading one record: of a user's or a stranger's session, and of a demo.

use super::failure::{CallError, Trouble};
use super::keys::Keyspace;
use super::reply::{self, Loading};
use super::servers::Again;
use super::{RedisStore, ask};
use crate::id::RecordKey;
use crate::record::{Entry, Record};
use crate::store::StoreError;

impl RedisStore {
    /// Reads over the connection that tells of changes, so that what it answers may be kept. `None`: there is none, or it
    /// did not answer; the others are asked, in the time that is left.
    pub(super) async fn load_by_line(
        &self,
        key: &RecordKey,
    ) -> Option<Result<Option<Entry>, StoreError>> {
        let near = self.0.near.as_ref()?;
        let reading = near.begin(key)?;
        let wait = self.0.servers.command().min(self.0.budget / 2);
        let sent = reading.line.send(&get(&self.0.keys, key), wait).await;
        match sent {
            Ok(value) => {
                let loaded = reply::loaded(Ok(value));
                reading.answered(live(&loaded).cloned());
                Some(self.entry(loaded))
            }
            Err(Trouble::Lost(_)) => {
                near.lose(reading.line.number());
                None
            }
            // What it means is told by the others.
            Err(
                Trouble::NoScript(_)
                | Trouble::Moved(_)
                | Trouble::Ask(_)
                | Trouble::Later(_)
                | Trouble::Demoted(_)
                | Trouble::Refused(_),
            ) => None,
        }
    }

    pub(super) async fn load_demo(&self, key: RecordKey) -> Result<Option<Entry>, StoreError> {
        let sent = self
            .0
            .servers
            .send(key.bucket, self.term(), Again::Freely, |attempt| {
                ask::demo(&self.0.keys, &key, attempt)
            });
        let value = match sent.await {
            Ok(reply) => Ok(reply.value),
            Err(CallError::Refused(error)) => Err(error),
            Err(error) => return Err(error.into()),
        };
        self.entry(reply::loaded_demo(value))
    }

    /// What was loaded, as it is now by the server's clock.
    pub(super) fn entry(
        &self,
        loaded: Result<Option<Entry>, Loading>,
    ) -> Result<Option<Entry>, StoreError> {
        match loaded {
            // By the clock alone, not by the instants that were acknowledged: those are no reason to end a session.
            Ok(entry) => Ok(entry.map(|entry| entry.at(self.0.clock.reading()))),
            Err(Loading::Malformed) => {
                self.tell_malformed();
                Ok(None)
            }
            Err(Loading::Failed(error)) => Err(CallError::Refused(error).into()),
        }
    }
}

pub(super) const fn live(loaded: &Result<Option<Entry>, Loading>) -> Option<&Record> {
    match loaded {
        Ok(Some(Entry::Live(record))) => Some(record),
        Ok(Some(Entry::Ended(_)) | None) | Err(_) => None,
    }
}

pub(super) fn get(keys: &Keyspace, key: &RecordKey) -> redis::Cmd {
    let name = keys.record_name(key);
    let mut command = redis::Cmd::with_capacity(2, 3 + name.as_bytes().len());
    command.arg("GET").arg(name.as_bytes());
    command
}
