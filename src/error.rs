//! An operation that failed, and a configuration that cannot work.

use std::fmt;
use std::time::Duration;

use http::StatusCode;

use crate::problem::{ErrorKind, Problem};
use crate::record::{End, EndReason};
use crate::store::StoreError;

/// An operation on a session failed.
///
/// Its text is for the operator; what a client may know is its [`problem`](Self::problem). With the feature `axum` it
/// is a response: the status of its kind, a sentence, and the [`Problem`] in the extensions.
#[derive(Debug)]
pub struct Error {
    problem: Box<Problem>,
    detail: Option<Box<str>>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind) -> Self {
        Self {
            problem: Box::new(Problem::new(kind)),
            detail: None,
            source: None,
        }
    }

    pub(crate) fn ended(end: &End) -> Self {
        Self::new(ErrorKind::SessionEnded).with_end(end)
    }

    /// With why and when a session ended.
    pub(crate) fn with_end(mut self, end: &End) -> Self {
        self.problem.reason = Some(end.reason);
        self.problem.at = Some(end.at);
        self.problem.note.clone_from(&end.note);
        self
    }

    pub(crate) fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into().into());
        self
    }

    pub(crate) fn with_source(
        mut self,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    pub(crate) fn with_retry_after(mut self, after: Duration) -> Self {
        self.problem.retry_after = Some(after);
        self
    }

    /// What went wrong.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.problem.kind
    }

    /// What a client may know about it.
    #[must_use]
    pub const fn problem(&self) -> &Problem {
        &self.problem
    }

    /// Why the session ended, if that is what went wrong.
    #[must_use]
    pub const fn reason(&self) -> Option<EndReason> {
        self.problem.reason
    }

    /// The status of a response that says so.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.problem.kind.status()
    }
}

impl Error {
    /// Tells the operator what a client is not told. A store that is away is told where it fails, and not by each of the
    /// requests that run into it.
    pub(crate) fn tell(&self) {
        match self.kind() {
            ErrorKind::InvalidValue | ErrorKind::ResponseSent => {
                tracing::warn!(target: "sessile", error = %self, "a handler used its session wrongly");
            }
            ErrorKind::StoreUnavailable
            | ErrorKind::NotSignedIn
            | ErrorKind::SessionEnded
            | ErrorKind::SignInAgain
            | ErrorKind::SessionMoved
            | ErrorKind::TooManySessions
            | ErrorKind::TooLarge
            | ErrorKind::InvalidUser
            | ErrorKind::NoDemoSession
            | ErrorKind::InvalidDemo
            | ErrorKind::InvalidMessage
            | ErrorKind::TooManyDemos
            | ErrorKind::Contended
            | ErrorKind::Misconfigured => {
                tracing::debug!(target: "sessile", error = %self, "a request was refused")
            }
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.problem.kind.as_str())?;
        if let Some(reason) = self.problem.reason {
            write!(f, " ({reason})")?;
        }
        match &self.detail {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.source {
            Some(source) => Some(&**source),
            None => None,
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::new(ErrorKind::StoreUnavailable)
            .with_retry_after(error.retry_after())
            .with_detail(error.to_string())
            .with_source(error)
    }
}

impl From<getrandom::Error> for Error {
    fn from(error: getrandom::Error) -> Self {
        Self::new(ErrorKind::StoreUnavailable)
            .with_retry_after(Duration::from_secs(1))
            .with_detail("the operating system gave no randomness")
            .with_source(error)
    }
}

/// A configuration that cannot work, in a sentence that says what to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    sentence: String,
}

impl ConfigError {
    pub(crate) fn new(sentence: impl Into<String>) -> Self {
        Self {
            sentence: sentence.into(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for ConfigError {}
