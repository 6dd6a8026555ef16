//! What a response says that the crate made itself.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderValue, Response, header};

use crate::error::ErrorKind;
use crate::record::EndReason;

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
