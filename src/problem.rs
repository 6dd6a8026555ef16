//! What can go wrong, for programs ([`ErrorKind`]) and for clients ([`Problem`]).

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderValue, Response, StatusCode, header};

use crate::record::EndReason;

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
    /// The session's values are more than the store allows, or what is said in a demo is over a bound: 413.
    TooLarge,
    /// The user id is empty or longer than 256 bytes: 422.
    InvalidUser,
    /// There is no demo: 404. [`Problem::reason`] says why, if there was one.
    NoDemoSession,
    /// A demo's industry is longer than 64 bytes: 422.
    InvalidDemo,
    /// A message has no role or no content, or metadata under a name of its own fields: 422.
    InvalidMessage,
    /// As many demos were started from the client's address as the layer allows: 429. [`Problem::retry_after`] says when
    /// to try again.
    TooManyDemos,
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
            Self::NoDemoSession => "no_demo_session",
            Self::InvalidDemo => "invalid_demo",
            Self::InvalidMessage => "invalid_message",
            Self::TooManyDemos => "too_many_demos",
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
            Self::InvalidUser | Self::InvalidDemo | Self::InvalidMessage => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::NoDemoSession => StatusCode::NOT_FOUND,
            Self::TooManyDemos => StatusCode::TOO_MANY_REQUESTS,
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
            Self::NoDemoSession => "There is no demo. Please start one.",
            Self::InvalidDemo => "The name of an industry has at most 64 bytes.",
            Self::InvalidMessage => {
                "A message needs a role and a content; its time is ours to say."
            }
            Self::TooManyDemos => "Too many demos were started from here. Please try again later.",
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

/// Why a response is not the handler's. It is in the extensions of every response that this crate makes: of the
/// layer's, and with the feature `axum` of each rejection and each [`Error`](crate::Error).
///
/// So an application gives all of them its own look in one place, outside of the layer:
///
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::{Json, Router, response::{IntoResponse, Response}};
/// use sessile::{MemoryStore, Problem, SessionLayer};
///
/// async fn problems(response: Response) -> Response {
///     match response.extensions().get::<Problem>() {
///         Some(problem) => {
///             let (status, error) = (problem.kind.status(), problem.kind.as_str());
///             (status, Json(std::collections::HashMap::from([("error", error)]))).into_response()
///         }
///         None => response,
///     }
/// }
/// let app: Router = Router::new()
///     .layer(SessionLayer::new(MemoryStore::new()))
///     .layer(axum::middleware::map_response(problems));
/// # }
/// ```
///
/// Keep the headers that stand on such a response, `Set-Cookie` and `Retry-After` above all.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// What went wrong.
    pub kind: ErrorKind,
    /// Why the session ended, if it did.
    pub reason: Option<EndReason>,
    /// When it ended.
    pub at: Option<SystemTime>,
    /// What the application said when it revoked it.
    pub note: Option<Arc<str>>,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

impl Problem {
    pub(crate) const fn new(kind: ErrorKind) -> Self {
        Self {
            kind,
            reason: None,
            at: None,
            note: None,
            retry_after: None,
        }
    }

    /// A sentence for the client.
    #[must_use]
    pub const fn message(&self) -> &'static str {
        self.kind.message()
    }

    /// The response that says so: status, headers and this in the extensions.
    pub(crate) fn into_response<B>(self, body: B) -> Response<B> {
        let mut response = Response::new(body);
        *response.status_mut() = self.kind.status();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = self.retry_after {
            // Whole seconds, and never 0: that would ask for an immediate storm.
            let seconds = after.as_secs_f64().ceil().max(1.0) as u64;
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(self);
        response
    }
}
