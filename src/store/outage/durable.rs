//! The journal's file, for requests that wait until the disk has what they ended.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::away::Away;
use super::file::Log;
use super::journal::{Journal, JournalLimits, Step};
use crate::error::ConfigError;
use crate::event;

/// A log, and the steps that it does not have yet. Whoever writes takes along what others wait for: one sync for all.
#[derive(Debug)]
pub(super) struct Durable {
    log: Mutex<Log>,
    waiting: Mutex<Vec<Step>>,
}

impl Durable {
    /// The journal in this file.
    pub(super) fn open(path: &Path) -> Result<(Self, Journal), ConfigError> {
        let (log, journal) = Log::open(path, JournalLimits::default()).map_err(|error| {
            ConfigError::new(format!("the journal of ends cannot be opened: {error}"))
        })?;
        let found = log.found();
        if found.damaged > 0 {
            event::journal_damaged(found.damaged);
        }
        let durable = Self {
            log: Mutex::new(log),
            waiting: Mutex::new(Vec::new()),
        };
        Ok((durable, journal))
    }

    /// Takes a step of the journal, whose lock the caller holds: they are written in their order.
    pub(super) fn push(&self, step: Step) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(step);
    }

    /// Returns when the disk has every step that was pushed before.
    pub(super) async fn sync(away: &Arc<Away>) -> io::Result<()> {
        if away.durable().is_none() {
            return Ok(());
        }
        let away = Arc::clone(away);
        let written = tokio::task::spawn_blocking(move || match away.durable() {
            Some(durable) => durable.write(&away),
            None => Ok(()),
        });
        written
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    fn write(&self, away: &Away) -> io::Result<()> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let steps = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *waiting)
        };
        // Also without any: what somebody else took along has failed then, or is there.
        log.append(&steps).or_else(|_| {
            let journal = away.journal().clone();
            log.rewrite(&journal)
        })
    }
}
