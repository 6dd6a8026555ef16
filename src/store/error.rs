//! The failure of a store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The store failed: it could not be reached, refused, or is full.
///
/// Not that something is absent, ended or too large: those are outcomes. After a failure it is unknown whether the
/// operation happened, unless its [`failure`](Self::failure) says so.
#[derive(Debug, Clone)]
pub struct StoreError {
    what: Arc<str>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
    retry_after: Duration,
    failure: Failure,
}

/// How a store failed: what whoever asked may conclude.
///
/// Of an operation with several attempts it tells of all of them: one of them without an answer leaves it open
/// whether it happened, whatever the others came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// It cannot be reached: nothing was sent, and nothing changed.
    Unreachable,
    /// It answered that it does not take this now: it is a replica, loads its data, has too few replicas. Nothing
    /// changed.
    Refused,
    /// It has no room left for what is new. Nothing changed.
    Full,
    /// No answer in time: it may have happened, and may happen yet.
    Silent,
    /// Anything else: it is unknown whether it happened.
    Other,
}

impl StoreError {
    /// A failure, in a sentence for the operator's log; clients never see it.
    #[must_use]
    pub fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into().into(),
            source: None,
            retry_after: Duration::from_secs(1),
            failure: Failure::Other,
        }
    }

    /// With the error that caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// With what to tell clients about when to come again; 1 s by default.
    #[must_use]
    pub const fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = after;
        self
    }

    /// With how it failed; [`Failure::Other`] by default.
    #[must_use]
    pub const fn with_failure(mut self, failure: Failure) -> Self {
        self.failure = failure;
        self
    }

    /// How it failed.
    #[must_use]
    pub const fn failure(&self) -> Failure {
        self.failure
    }

    /// When a client may try again.
    #[must_use]
    pub const fn retry_after(&self) -> Duration {
        self.retry_after
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.source {
            Some(source) => Some(&**source),
            None => None,
        }
    }
}
