//! The frame of every page, and how it says instants and spans.

use std::time::{Duration, SystemTime};

use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use super::safety;

/// A page as a response. It shows somebody's session: no cache keeps it.
pub(super) struct Page {
    pub(super) title: String,
    pub(super) main: Markup,
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let markup = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) }
                    link rel="stylesheet" href="/style.css";
                }
                body {
                    header { a href="/" { "sessile" } span { "showcase" } }
                    main { (self.main) }
                    footer { p { "There are no passwords here: whoever says a name is that user." } }
                }
            }
        };
        let mut response = Html(markup.into_string()).into_response();
        safety::add_headers(response.headers_mut());
        let no_store = HeaderValue::from_static("no-store");
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, no_store);
        response
    }
}

/// An instant for people and, in its attribute, for programs.
pub(super) fn instant(at: SystemTime) -> Markup {
    let text = humantime::format_rfc3339_seconds(at).to_string();
    let shown = text.replace('T', " ").replace('Z', " UTC");
    html! { time datetime=(text) { (shown) } }
}

/// An instant, and how far off it is.
pub(super) fn instant_and_distance(at: SystemTime) -> Markup {
    html! { (instant(at)) " " span.distance { "(" (distance(at)) ")" } }
}

/// How far off an instant is; the instant itself is in the attributes.
pub(super) fn from_now(at: SystemTime) -> Markup {
    let text = humantime::format_rfc3339_seconds(at).to_string();
    html! { time datetime=(text) title=(text) { (distance(at)) } }
}

fn distance(at: SystemTime) -> String {
    match at.duration_since(SystemTime::now()) {
        Ok(ahead) => format!("in {}", span(ahead)),
        Err(past) if past.duration() < Duration::from_secs(5) => "just now".into(),
        Err(past) => format!("{} ago", span(past.duration())),
    }
}

/// In the largest unit of which there are two or more, rounded.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", (seconds + 30) / 60),
        7_200..172_800 => format!("{} h", (seconds + 1_800) / 3_600),
        _ => format!("{} days", (seconds + 43_200) / 86_400),
    }
}
