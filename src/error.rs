//! What can go wrong, for programs ([`ErrorKind`]), for clients ([`Problem`]) and for operators ([`Error`]'s text).

use std::fmt;
use std::time::Duration;

use http::StatusCode;

use crate::problem::Problem;
use crate::record::{End, EndReason};
use crate::store::StoreError;

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The store failed or cannot be reached: 503.
    StoreUnavailable,
    /// Nobody is signed in: 401.
    NotSignedIn,
    /// The session is over: 401. [`Problem::reason`] says why.
    SessionEnded,
    /// The sign-in is too long ago for this: 401.
    SignInAgain,
    /// The session's id was superseded, by a login or a regeneration in another request: 409.
    SessionMoved,
    /// The user has as many sessions as allowed, and the limit refuses: 409.
    TooManySessions,
    /// The session's values are more than the store allows: 413.
    TooLarge,
    /// The user id is empty or longer than 256 bytes: 422.
    InvalidUser,
    /// A value did not decode as its key's type, or did not encode, or is no integer: 500.
    InvalidValue,
    /// Too many others updated the same value at once: 503.
    Contended,
    /// The response was made already: no cookie can be sent, and nothing is staged any more. 500.
    ResponseSent,
    /// The session layer is missing, or set up wrongly for this route: 500.
    Misconfigured,
}

impl ErrorKind {
    /// The kind's name in responses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StoreUnavailable => "store_unavailable",
            Self::NotSignedIn => "not_signed_in",
            Self::SessionEnded => "session_ended",
            Self::SignInAgain => "sign_in_again",
            Self::SessionMoved => "session_moved",
            Self::TooManySessions => "too_many_sessions",
            Self::TooLarge => "too_large",
            Self::InvalidUser => "invalid_user",
            Self::InvalidValue => "invalid_value",
            Self::Contended => "contended",
            Self::ResponseSent => "response_sent",
            Self::Misconfigured => "misconfigured",
        }
    }

    /// The status of a response that says so.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::StoreUnavailable | Self::Contended => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotSignedIn | Self::SessionEnded | Self::SignInAgain => StatusCode::UNAUTHORIZED,
            Self::SessionMoved | Self::TooManySessions => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::InvalidUser => StatusCode::UNPROCESSABLE_ENTITY,
            Self::InvalidValue | Self::ResponseSent | Self::Misconfigured => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }

    /// A sentence for the client, that says nothing about the inside.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::StoreUnavailable => {
                "Sessions are not available right now. Please try again in a moment."
            }
            Self::NotSignedIn => "Please sign in.",
            Self::SessionEnded => "Your session has ended. Please sign in again.",
            Self::SignInAgain => "Please sign in again to confirm that it is you.",
            Self::SessionMoved => "Your session was renewed meanwhile. Please try again.",
            Self::TooManySessions => {
                "You are signed in on as many devices as allowed. Sign out on one of them first."
            }
            Self::TooLarge => "This is more than a session can hold.",
            Self::InvalidUser => "A user name has 1 to 256 bytes.",
            Self::InvalidValue => "A value of the session could not be read or written.",
            Self::Contended => "Too many requests changed this value at once. Please try again.",
            Self::ResponseSent | Self::Misconfigured => {
                "Something is set up wrongly on the server."
            }
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

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
        let mut error = Self::new(ErrorKind::SessionEnded);
        error.problem.reason = Some(end.reason);
        error.problem.at = Some(end.at);
        error.problem.note.clone_from(&end.note);
        error
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
