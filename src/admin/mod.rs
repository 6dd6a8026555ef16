//! For those who run it: looking for a session, putting lists right, checking a server (feature `admin`).
//!
//! What the command line, `sessile`, is made of. All of it asks Redis in small steps, so that no request waits for it, and
//! none of it shows an id or a digest.

mod doctor;
mod facts;
mod figures;
mod find;
mod follow;
mod repair;

pub use doctor::{Finding, Level};
pub use figures::{Family, Figures, LastCount, ServerFigures};
pub use find::{Found, FoundState};
pub use follow::Follow;
pub use repair::Repair;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::store::{RedisStore, StoreError};

/// Administration of what is kept in a Redis.
#[derive(Debug, Clone)]
pub struct Admin {
    store: RedisStore,
    clock: Arc<dyn Clock>,
}

impl Admin {
    /// Over this store.
    #[must_use]
    pub fn new(store: &RedisStore) -> Self {
        Self {
            store: store.clone(),
            clock: Arc::new(SystemClock),
        }
    }

    /// The clock that servers' are compared with by [`doctor`](Self::doctor). Default: the operating system's.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Looks for a session by its handle, live or ended, among all of them: as many `SCAN`s as it takes.
    ///
    /// # Errors
    /// [`StoreError`] when Redis cannot be reached.
    ///
    /// # Cancel safety
    /// Safe: it changes nothing.
    pub async fn find(&self, handle: crate::Handle) -> Result<Option<Found>, StoreError> {
        find::find(&self.store, handle).await
    }

    /// Puts lists right: sessions that are missing from their users' lists come back into them, or end where all of their
    /// user's were ended after they were made; members that are no live session are taken out; conversations whose demo is
    /// gone are deleted; keys without an expiry get one. `dry_run`: it only counts.
    ///
    /// `progress` is called after each step, with how much was looked at, from 0 to 1.
    ///
    /// # Errors
    /// [`StoreError`] when Redis cannot be reached.
    ///
    /// # Cancel safety
    /// Safe: each step is whole.
    pub async fn repair(
        &self,
        dry_run: bool,
        progress: impl FnMut(f64),
    ) -> Result<Repair, StoreError> {
        repair::repair(&self.store, dry_run, progress).await
    }

    /// Counts what is there, and asks the servers how they do: a `SCAN` of all keys in steps of 500 with a millisecond in
    /// between, and a `GET` of each record. It changes nothing.
    ///
    /// `progress` is called before each step, with how much was looked at, from 0 to 1.
    ///
    /// # Errors
    /// [`StoreError`] when Redis cannot be reached.
    ///
    /// # Cancel safety
    /// Safe: it changes nothing.
    pub async fn figures(&self, progress: impl FnMut(f64) + Send) -> Result<Figures, StoreError> {
        figures::count(&self.store, &*self.clock, progress).await
    }

    /// Follows what happens to all users' sessions from now on: call [`Follow::pass`] again and again. A Redis that is away
    /// is waited for as long as `patience`.
    ///
    /// # Errors
    /// [`StoreError`] when Redis cannot be reached.
    ///
    /// # Cancel safety
    /// Safe: it changes nothing.
    pub async fn follow(&self, patience: Duration) -> Result<Follow, StoreError> {
        Follow::start(&self.store, patience).await
    }

    /// Checks the servers, and a sample of what is in them. It changes nothing. `url`: how they are reached.
    ///
    /// What is wrong is a finding, also that a server cannot be reached.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn doctor(&self, url: &str) -> Vec<Finding> {
        doctor::examine(&self.store, url, &*self.clock).await
    }
}
