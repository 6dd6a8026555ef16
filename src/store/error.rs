//! The failure of a store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The store failed: it could not be reached, refused, or is full.
///
/// Not that something is absent, ended or too large: those are outcomes. After a failure it is unknown whether the
/// operation happened.
#[derive(Debug, Clone)]
pub struct StoreError {
    what: Arc<str>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
    retry_after: Duration,
}

impl StoreError {
    /// A failure, in a sentence for the operator's log; clients never see it.
    #[must_use]
    pub fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into().into(),
            source: None,
            retry_after: Duration::from_secs(1),
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
