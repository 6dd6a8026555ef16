//! What is too large to go in one command without holding up the server: it is read from a copy, and what was said in a demo
//! goes ahead of it.

use std::time::SystemTime;

use super::report::Report;
use super::step::{CLOCK, Keys, Ready, Step, Stored, range};
use crate::id::Handle;
use crate::store::redis::admin::{Held, Stage, Staged, each};
use crate::store::{SessionStore, StoreError};

/// A larger one is no session: reading it would hold up the server.
const LARGEST: usize = 4 * 1024 * 1024;
/// Messages of a demo that one command brings: well below a millisecond of the server.
const MESSAGES: usize = 500;
/// Nor are they more bytes, where they are not a single one.
const MESSAGES_BYTES: usize = 256 * 1024;
const TOO_LARGE: &str = "it is larger than 4 MiB";

impl Step {
    /// Reads a large one, from a copy: it is compared with that on the server, for to send it back and to compare it in a
    /// script would hold up the server. `None`: it is in the report.
    pub(super) async fn large(
        &self,
        keys: &Keys,
        at: usize,
        expires_at: Option<SystemTime>,
        report: &mut Report,
    ) -> Result<Option<Stored>, StoreError> {
        let (key, kind, id_at) = &keys[at];
        let store = &self.migration.store;
        if self.migration.dry_run {
            let bytes: Vec<u8> = self.server.ask(&range(key, LARGEST + 1)).await?;
            if bytes.len() > LARGEST {
                report.invalid += 1;
                report.problem(key, TOO_LARGE);
                return Ok(None);
            }
            let held = None;
            return Ok(Some(Stored {
                bytes,
                expires_at,
                held,
            }));
        }
        let Ok(name) = Handle::random() else {
            report.failed += 1;
            report.problem(key, "the operating system gave no randomness");
            return Ok(None);
        };
        let copy = store.copy_key(*kind, &key[*id_at..], name);
        let now = store.now();
        let answers = self.server.run_all(1, |_, with_text| {
            store.hold(key, copy.as_bytes(), LARGEST, now, with_text)
        });
        let held = answers.await?.into_iter().next().map(Held::read);
        match held {
            Some(Ok(Held::Copied)) => {
                let bytes = self.server.ask(&range(copy.as_bytes(), LARGEST)).await?;
                let held = Some(name);
                return Ok(Some(Stored {
                    bytes,
                    expires_at,
                    held,
                }));
            }
            Some(Ok(Held::TooLarge)) => {
                report.invalid += 1;
                report.problem(key, TOO_LARGE);
            }
            Some(Ok(Held::Gone)) => report.gone += 1,
            Some(Ok(Held::Late)) | None => {
                report.failed += 1;
                report.problem(key, CLOCK);
            }
            Some(Err(why)) => {
                report.failed += 1;
                report.problem(key, why);
            }
        }
        Ok(None)
    }

    /// The copy is of no more use. Where it cannot be removed, it goes by itself.
    pub(super) async fn forget_copy(
        &self,
        keys: &Keys,
        at: usize,
        name: Handle,
    ) -> Result<(), StoreError> {
        let (key, kind, id_at) = &keys[at];
        let copy = self.migration.store.copy_key(*kind, &key[*id_at..], name);
        self.server.ask_all(each("UNLINK", [copy])).await?;
        Ok(())
    }

    /// Sends the messages of a long demo ahead. They are its own only when its record is there, which takes them along.
    pub(super) async fn stage(
        &self,
        keys: &Keys,
        ready: &Ready,
    ) -> Result<Result<Staged, String>, StoreError> {
        if !ready.is_staged {
            return Ok(Ok(Staged::Waiting));
        }
        let (key, kind, id_at) = &keys[ready.at];
        let was_migrated = self.migration.store.pointer_exists(*kind, &key[*id_at..]);
        if self.server.ask(&was_migrated).await? {
            // They would wait for nothing: it is for the record's own command to tell what has become of it.
            return Ok(Ok(Staged::Waiting));
        }
        let mut before = 0;
        for messages in chunks(&ready.brought.messages) {
            let stage = Stage {
                old_id: &key[*id_at..],
                handle: ready.brought.record.handle(),
                before,
                messages,
            };
            let now = self.migration.store.now();
            let answers = self
                .server
                .run_all(1, |_, with_text| {
                    self.migration.store.stage(&stage, now, with_text)
                })
                .await?;
            for answer in answers {
                match Staged::read(answer) {
                    Ok(Staged::Waiting) => {}
                    other => return Ok(other),
                }
            }
            before += messages.len();
        }
        Ok(Ok(Staged::Waiting))
    }
}

/// Whether messages are more than one command brings.
pub(super) fn is_long(messages: &[Vec<u8>]) -> bool {
    chunks(messages).nth(1).is_some()
}

/// Messages by as many as one command brings.
fn chunks(messages: &[Vec<u8>]) -> impl Iterator<Item = &[Vec<u8>]> {
    let mut rest = messages;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let number = rest
            .iter()
            .take(MESSAGES)
            .take_while(|message| {
                bytes += message.len();
                bytes <= MESSAGES_BYTES
            })
            .count()
            .max(1);
        let (chunk, left) = rest.split_at_checked(number)?;
        rest = left;
        Some(chunk)
    })
}
