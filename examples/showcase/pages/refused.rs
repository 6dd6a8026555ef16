//! A refusal as a page, and the reasons for an end in words.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use sessile::{End, EndReason};

use super::look::{Page, instant};

/// What was refused, and a way on. Only the body and what goes with it: status and headers are the caller's.
pub(crate) fn page(status: StatusCode, message: &str, end: Option<&End>) -> Response {
    let title = match status {
        StatusCode::NOT_FOUND => "There is no such page",
        StatusCode::UNAUTHORIZED => "Please sign in",
        StatusCode::SERVICE_UNAVAILABLE => "Not available right now",
        _ => "That did not work",
    };
    let main = html! {
        h1 { (title) }
        @match end {
            Some(end) => (notice(end)),
            None => p { (message) },
        }
        p { a.button href="/" { "Go to the start page" } }
    };
    let title = format!("{title} · sessile");
    Page { title, main }.into_response()
}

/// Why a session is over.
pub(super) fn notice(end: &End) -> Markup {
    html! {
        div.notice role="status" {
            p { strong { (in_words(end.reason)) } }
            @if let Some(note) = &end.note { p { "The reason given: “" (note) "”" } }
            p.about { "Since " (instant(end.at)) "." }
        }
    }
}

const fn in_words(reason: EndReason) -> &'static str {
    match reason {
        EndReason::LoggedOut => "You are signed out.",
        EndReason::Idle => "Your session ended: it was not used for too long.",
        EndReason::Absolute => "Your session ended: it had reached its full length.",
        EndReason::Regenerated => {
            "This browser holds an old key of a session that goes on under a new one."
        }
        EndReason::Limit => {
            "You were signed out: you signed in elsewhere, on as many devices as allowed."
        }
        EndReason::Revoked => {
            "You were signed out: ended from another device, or by an administrator."
        }
        EndReason::StoreLost => "Your session ended: the server does not have it any more.",
    }
}
