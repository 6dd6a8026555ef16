//! One look for everything that is refused.
//!
//! Refusals come from three places: from sessile (they carry a [`Problem`]), from axum (a status and a line of text),
//! and from this application ([`Refusal`]). Outside of all of them stands [`present`], which makes JSON of what happens
//! under `/api`.

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sessile::{EndReason, Error, InvalidName, Problem};

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

/// Presents every refusal on its way out.
pub(crate) async fn present(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    if let Some(problem) = response.extensions().get::<Problem>() {
        let report = Report::from(problem);
        return replace_body(response, &report);
    }
    if response.status().as_u16() < 400 || is_json(&response) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let (status, error, message) = match parts.status {
        StatusCode::NOT_FOUND => (
            StatusCode::NOT_FOUND,
            "not_found",
            "There is no such thing.",
        ),
        StatusCode::METHOD_NOT_ALLOWED => (
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "This is not done with it; `Allow` says what is.",
        ),
        StatusCode::PAYLOAD_TOO_LARGE => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            "This is more than is accepted.",
        ),
        StatusCode::UNPROCESSABLE_ENTITY => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", ""),
        status if status.is_server_error() => (status, "failed", "Something failed."),
        _ => (StatusCode::BAD_REQUEST, "bad_request", ""),
    };
    parts.status = status;
    let message = match message {
        // What axum says about a body or a query is of use to whoever wrote the request.
        "" => {
            let text = to_bytes(body, TEXT_BYTES).await.unwrap_or_default();
            String::from_utf8_lossy(&text).into_owned()
        }
        message => message.into(),
    };
    let response = Response::from_parts(parts, Body::empty());
    replace_body(response, &Report::new(error, message))
}

fn is_json(response: &Response) -> bool {
    response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/json"))
}

/// Status and headers stay: `Set-Cookie`, `Retry-After`, `Cache-Control` and `Vary` mean what they said.
fn replace_body(response: Response, report: &Report) -> Response {
    let (mut parts, _) = response.into_parts();
    let (json, body) = Json(report).into_response().into_parts();
    parts.headers.extend(json.headers);
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, body)
}

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
                let mut response = (status, Json(Report::new(error, message))).into_response();
                let headers = response.headers_mut();
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
                response
            }
            Self::Session(error) => error.into_response(),
        }
    }
}
