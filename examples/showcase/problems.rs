//! One look for everything that is refused.
//!
//! Refusals come from three places: from sessile (they carry a [`Problem`]), from axum (a status and a line of text),
//! and from this application ([`Refusal`]). Outside of all of them stands [`present`], which makes JSON of what happens
//! under `/api`, and a page of everything else.

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sessile::{End, EndReason, Error, InvalidName, Problem};

use crate::pages;
use crate::time::Instant;

/// The longest text of a refusal by axum.
const TEXT_BYTES: usize = 4 << 10;

/// What the API says when it refuses.
#[derive(Debug, Serialize)]
struct Report {
    error: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<EndReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

impl Report {
    fn new(error: &'static str, message: impl Into<String>) -> Self {
        Self {
            error,
            message: message.into(),
            reason: None,
            at: None,
            note: None,
        }
    }
}

impl From<&Problem> for Report {
    fn from(problem: &Problem) -> Self {
        Self {
            error: problem.kind.as_str(),
            message: problem.message().into(),
            reason: problem.reason,
            at: problem.at.map(Instant),
            note: problem.note.as_deref().map(Into::into),
        }
    }
}

/// Presents every refusal on its way out: as JSON to programs, as a page to people.
pub(crate) async fn present(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let for_programs = path == "/api" || path.starts_with("/api/");
    let response = next.run(request).await;
    let status = response.status();
    if let Some(problem) = response.extensions().get::<Problem>() {
        let body = if for_programs {
            Json(Report::from(problem)).into_response()
        } else {
            pages::refused(status, problem.message(), end(problem).as_ref())
        };
        return with_body(response, body);
    }
    if let Some(Said(message)) = response.extensions().get() {
        if for_programs {
            return response;
        }
        let body = pages::refused(status, message, None);
        return with_body(response, body);
    }
    if status.as_u16() < 400 {
        return response;
    }
    present_axums(response, for_programs).await
}

/// What axum refuses has a status, and for a body or a query that it could not read, a line of text: that is of use to
/// whoever wrote the request.
async fn present_axums(response: Response, for_programs: bool) -> Response {
    let (mut parts, body) = response.into_parts();
    let (status, error, message) = explain(parts.status);
    parts.status = status;
    let message = match message {
        Some(message) => message.to_owned(),
        None => {
            let text = to_bytes(body, TEXT_BYTES).await.unwrap_or_default();
            String::from_utf8_lossy(&text).into_owned()
        }
    };
    let body = if for_programs {
        Json(Report::new(error, message)).into_response()
    } else {
        pages::refused(status, &message, None)
    };
    with_body(Response::from_parts(parts, Body::empty()), body)
}

fn end(problem: &Problem) -> Option<End> {
    Some(End {
        reason: problem.reason?,
        at: problem.at?,
        note: problem.note.clone(),
    })
}

/// What a status of axum's means here: the status that is sent, its code, and what to say unless axum said it.
const fn explain(status: StatusCode) -> (StatusCode, &'static str, Option<&'static str>) {
    match status {
        StatusCode::NOT_FOUND => (status, "not_found", Some("There is no such thing.")),
        StatusCode::METHOD_NOT_ALLOWED => (
            status,
            "method_not_allowed",
            Some("This is not done with it; `Allow` says what is."),
        ),
        StatusCode::REQUEST_TIMEOUT => {
            (status, "timeout", Some("The request did not come in time."))
        }
        StatusCode::PAYLOAD_TOO_LARGE => {
            (status, "too_large", Some("This is more than is accepted."))
        }
        StatusCode::UNPROCESSABLE_ENTITY => (status, "invalid", None),
        StatusCode::INTERNAL_SERVER_ERROR => (status, "failed", Some("Something failed.")),
        _ => (StatusCode::BAD_REQUEST, "bad_request", None),
    }
}

/// Status and headers stay: `Set-Cookie`, `Retry-After` and `Vary` mean what they said. Body, and headers that go with it, are
/// new.
fn with_body(response: Response, body: Response) -> Response {
    let (mut parts, _) = response.into_parts();
    let (of_body, body) = body.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    for (name, value) in &of_body.headers {
        parts.headers.insert(name.clone(), value.clone());
    }
    Response::from_parts(parts, body)
}

/// In the extensions of a refusal of this application's own: what it says.
#[derive(Debug, Clone)]
struct Said(String);

/// A refusal of this application's own, or of sessile's.
#[derive(Debug)]
pub(crate) enum Refusal {
    Own {
        status: StatusCode,
        error: &'static str,
        message: String,
    },
    Session(Error),
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, error: &'static str, message: impl Into<String>) -> Self {
        Self::Own {
            status,
            error,
            message: message.into(),
        }
    }

    pub(crate) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "There is no such thing.",
        )
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Session(error)
    }
}

impl From<InvalidName> for Refusal {
    fn from(error: InvalidName) -> Self {
        Self::invalid(error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Own {
                status,
                error,
                message,
            } => {
                let said = Said(message.clone());
                let mut response = (status, Json(Report::new(error, message))).into_response();
                response.extensions_mut().insert(said);
                let headers = response.headers_mut();
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
                response
            }
            Self::Session(error) => error.into_response(),
        }
    }
}
