//! One step: some hundred keys, read, made into sessions of ours, and written.

use std::time::{Duration, SystemTime};

use redis::{Cmd, Value};

use super::json::{self, Mended};
use super::large;
use super::old::{self, Around, Unread};
use super::report::{Report, Shape};
use super::run::Migration;
use crate::id::{Handle, Kind};
use crate::legacy;
use crate::store::redis::admin::{Bring, Brought, Direct, Messages, Staged};
use crate::store::{SessionStore, StoreError};

/// Key, kind, and where the id begins in the key.
pub(super) type Keys = Vec<(Vec<u8>, Kind, usize)>;

/// So much of a value is read with all the others: most are below a kilobyte.
const READ: usize = 16 * 1024;
/// So often a session is read again that changes while it is being migrated.
const TRIES: u32 = 10;

pub(super) const CLOCK: &str = "the clock of Redis is not to be relied on";

/// A step of a migration.
pub(super) struct Step {
    pub(super) migration: Migration,
    pub(super) server: Direct,
}

/// What stands under a key.
pub(super) struct Stored {
    pub(super) bytes: Vec<u8>,
    pub(super) expires_at: Option<SystemTime>,
    /// It was read from a copy of this name.
    pub(super) held: Option<Handle>,
}

/// What stands under some keys.
struct Read {
    /// By the server's clock.
    now: SystemTime,
    values: Vec<(usize, Stored)>,
    /// Those that are longer than what was read, and when they expire.
    large: Vec<(usize, Option<SystemTime>)>,
}

/// A session that is ready to be written.
pub(super) struct Ready {
    pub(super) at: usize,
    value: Stored,
    shape: Shape,
    pub(super) brought: old::Brought,
    mended: Mended,
    /// Its messages have gone ahead.
    pub(super) is_staged: bool,
}

impl Step {
    pub(super) async fn run(self, keys: Keys) -> (Report, Result<(), StoreError>) {
        let mut report = Report {
            scanned: keys.len() as u64,
            ..Report::default()
        };
        let mut open: Vec<usize> = (0..keys.len()).collect();
        for attempt in 0..TRIES {
            if attempt > 0 {
                report.read_again += open.len() as u64;
            }
            match self.attempt(&keys, &open, &mut report).await {
                Ok(again) => open = again,
                Err(error) => {
                    // What is not known to be migrated was not looked at.
                    report.scanned = report.counted();
                    return (report, Err(error));
                }
            }
            if open.is_empty() {
                return (report, Ok(()));
            }
        }
        for at in open {
            report.failed += 1;
            report.problem(
                &keys[at].0,
                "it changes all the time: stop the old system first",
            );
        }
        (report, Ok(()))
    }

    /// Reads and writes some of the keys. Gives those that changed meanwhile.
    async fn attempt(
        &self,
        keys: &Keys,
        open: &[usize],
        report: &mut Report,
    ) -> Result<Vec<usize>, StoreError> {
        let Read { now, values, large } = self.read(keys, open, report).await?;
        let mut again = self.bring(keys, values, now, report).await?;
        // One at a time: some hundreds of them would be more than there may be room for.
        for (at, expires_at) in large {
            let Some(stored) = self.large(keys, at, expires_at, report).await? else {
                continue;
            };
            let held = stored.held;
            again.extend(self.bring(keys, vec![(at, stored)], now, report).await?);
            if let Some(name) = held {
                self.forget_copy(keys, at, name).await?;
            }
        }
        Ok(again)
    }

    /// Writes what was read. Gives those that changed meanwhile.
    async fn bring(
        &self,
        keys: &Keys,
        values: Vec<(usize, Stored)>,
        now: SystemTime,
        report: &mut Report,
    ) -> Result<Vec<usize>, StoreError> {
        let mut ready = Vec::with_capacity(values.len());
        for (at, value) in values {
            let (key, kind, id_at) = &keys[at];
            match self.prepare(*kind, &key[*id_at..], &value, now) {
                Ok(Some((shape, brought, mended))) => ready.push(Ready {
                    at,
                    value,
                    shape,
                    brought,
                    mended,
                    is_staged: false,
                }),
                Ok(None) => report.left += 1,
                Err(Unread::Over(_)) => report.over += 1,
                Err(Unread::Invalid(why)) => {
                    report.invalid += 1;
                    report.problem(key, why);
                }
            }
        }
        if self.migration.dry_run {
            self.count(keys, &ready, report).await?;
            return Ok(Vec::new());
        }
        self.write(keys, ready, report).await
    }

    /// What stands under the keys, and when it was.
    async fn read(
        &self,
        keys: &Keys,
        open: &[usize],
        report: &mut Report,
    ) -> Result<Read, StoreError> {
        let mut commands = Vec::with_capacity(2 * open.len());
        for &at in open {
            let key = &keys[at].0;
            commands.push(range(key, READ));
            let mut left = redis::cmd("PTTL");
            left.arg(key);
            commands.push(left);
        }
        // Before them: an expiry is then never taken for later than it is.
        let now = self.server.time().await?;
        let mut answers = self.server.ask_all(commands).await?.into_iter();
        let (mut values, mut large) = (Vec::with_capacity(open.len()), Vec::new());
        for &at in open {
            let (Some(range_), Some(left)) = (answers.next(), answers.next()) else {
                break;
            };
            let key = &keys[at].0;
            let bytes = match range_ {
                Ok(Value::BulkString(bytes)) => bytes,
                Err(error) if error.code() == Some("WRONGTYPE") => {
                    report.invalid += 1;
                    report.problem(key, "it is no string, but a set, a list or another type");
                    continue;
                }
                Ok(_) | Err(_) => {
                    report.failed += 1;
                    report.problem(key, "Redis refused to read it");
                    continue;
                }
            };
            let expires_at = match left {
                Ok(Value::Int(-2)) => {
                    report.gone += 1;
                    continue;
                }
                Ok(Value::Int(left)) => u64::try_from(left)
                    .ok()
                    .map(|left| now + Duration::from_millis(left)),
                Ok(_) | Err(_) => None,
            };
            if bytes.len() < READ {
                let held = None;
                values.push((
                    at,
                    Stored {
                        bytes,
                        expires_at,
                        held,
                    },
                ));
            } else {
                large.push((at, expires_at));
            }
        }
        Ok(Read { now, values, large })
    }

    /// What a record becomes; `None` where its shape was not asked for.
    fn prepare(
        &self,
        kind: Kind,
        id: &[u8],
        value: &Stored,
        now: SystemTime,
    ) -> Result<Option<(Shape, old::Brought, Mended)>, Unread> {
        let Migration {
            source,
            only,
            offset,
            user_key,
            ..
        } = &self.migration;
        let Ok(id) = str::from_utf8(id) else {
            return Err(Unread::invalid("its id is no text"));
        };
        if id.is_empty() || id.len() > legacy::MAX_LEGACY_BYTES {
            return Err(Unread::invalid("its id is empty or longer than 512 bytes"));
        }
        let around = Around {
            id,
            now,
            expires_at: value.expires_at,
            offset: *offset,
            user_key: user_key.as_deref(),
        };
        let (text, mended) = if source.is_json() {
            json::mend(&value.bytes)
        } else {
            (value.bytes[..].into(), Mended::default())
        };
        let old = source.read(kind, &text, mended, &around)?;
        let shape = old.shape;
        if !only.is_empty() && !only.contains(&shape) {
            return Ok(None);
        }
        let mended = old.mended;
        let randomness = |_| Unread::invalid("the operating system gave no randomness");
        let handle = Handle::random().map_err(randomness)?;
        let brought = old.brought(handle).map_err(randomness)?;
        let (size, most) = (brought.record.size(), self.migration.store.record_limit());
        if size > most {
            let why = format!("it would have {size} bytes, and a session here may have {most}");
            return Err(Unread::Invalid(why.into()));
        }
        Ok(Some((shape, brought, mended)))
    }

    /// Writes, and gives those that changed since they were read.
    async fn write(
        &self,
        keys: &Keys,
        ready: Vec<Ready>,
        report: &mut Report,
    ) -> Result<Vec<usize>, StoreError> {
        let mut again = Vec::new();
        let mut open = Vec::with_capacity(ready.len());
        for mut ready in ready {
            ready.is_staged = large::is_long(&ready.brought.messages);
            match self.stage(keys, &ready).await? {
                Ok(Staged::Waiting) => open.push(ready),
                Ok(Staged::Lost | Staged::Late) => again.push(ready.at),
                Err(why) => {
                    report.failed += 1;
                    report.problem(&keys[ready.at].0, why);
                }
            }
        }
        for _ in 0..TRIES {
            if open.is_empty() {
                return Ok(again);
            }
            let now = self.migration.store.now();
            let answers = self
                .server
                .run_all(open.len(), |n, with_text| {
                    self.command(keys, &open[n], now, with_text)
                })
                .await?;
            let mut left = Vec::new();
            for (ready, answer) in open.into_iter().zip(answers) {
                let key = &keys[ready.at].0;
                match Brought::read(answer) {
                    Ok(Brought::Migrated) => ready.count(report),
                    Ok(Brought::Already) => report.already += 1,
                    Ok(Brought::WrittenSince) => {
                        report.written_since += 1;
                        report.problem(
                            key,
                            "its old system has written to it since it was migrated",
                        );
                    }
                    Ok(Brought::Gone) => report.gone += 1,
                    Ok(Brought::Changed) => again.push(ready.at),
                    Ok(Brought::Refused) => report.refused += 1,
                    Ok(Brought::AtLimit) => {
                        report.failed += 1;
                        report.problem(key, "its user has a thousand sessions here already");
                    }
                    Ok(Brought::Late) => left.push(ready),
                    Err(why) => {
                        report.failed += 1;
                        report.problem(key, why);
                    }
                }
            }
            open = left;
        }
        for ready in open {
            report.failed += 1;
            report.problem(&keys[ready.at].0, CLOCK);
        }
        Ok(again)
    }

    fn command(&self, keys: &Keys, ready: &Ready, now: SystemTime, with_text: bool) -> Cmd {
        let (key, kind, id_at) = &keys[ready.at];
        let messages = &ready.brought.messages;
        let bring = Bring {
            kind: *kind,
            old_key: key,
            old_id: &key[*id_at..],
            old: &ready.value.bytes,
            held: ready.value.held,
            keep_old: self.migration.keep_old,
            record: &ready.brought.record,
            made_at: ready.brought.made_at,
            messages: if ready.is_staged {
                Messages::Staged(messages.len())
            } else {
                Messages::Here(messages)
            },
        };
        self.migration.store.bring(&bring, now, with_text)
    }

    /// A dry run: which of them would be written.
    async fn count(
        &self,
        keys: &Keys,
        ready: &[Ready],
        report: &mut Report,
    ) -> Result<(), StoreError> {
        let pointers = ready.iter().map(|ready| {
            let (key, kind, id_at) = &keys[ready.at];
            self.migration.store.pointer_exists(*kind, &key[*id_at..])
        });
        let pointers = self.server.ask_all(pointers.collect()).await?;
        for (ready, answer) in ready.iter().zip(pointers) {
            if matches!(answer, Ok(Value::Int(1))) {
                report.already += 1;
            } else {
                ready.count(report);
            }
        }
        Ok(())
    }
}

impl Ready {
    /// It was migrated, or would be.
    fn count(&self, report: &mut Report) {
        report.migrated.add(self.shape);
        report.messages += self.brought.messages.len() as u64;
        report.numbers_mended += u64::from(self.mended.numbers);
        report.surrogates_mended += u64::from(self.mended.surrogates);
    }
}

pub(super) fn range(key: &[u8], len: usize) -> Cmd {
    let mut command = redis::cmd("GETRANGE");
    command.arg(key).arg(0).arg(len - 1);
    command
}
