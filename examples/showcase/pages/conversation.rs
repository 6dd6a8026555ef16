//! How a demo looks: the choice, the conversation, how far it is.

use maud::{Markup, html};
use serde_json::Value;
use sessile::demo::{DemoProgress, DemoStatus, Message};
use sessile::{EndReason, Error, Industry, UserId};

use super::demo::LONGEST;
use super::home::lost_cookie;
use super::look::{Page, from_now, instant, span};
use crate::{Server, assistant};

/// No more of a long conversation is shown.
const SHOWN: usize = 100;

/// To whom a demo belongs, and who is there.
pub(super) struct Whose {
    pub(super) demos: Option<UserId>,
    pub(super) here: Option<UserId>,
}

/// Where there is none yet, or none any more.
pub(super) fn choice(server: &Server, gone: Option<&Error>, lost: Option<&str>) -> Page {
    let main = html! {
        h1 { "Start a demo" }
        @if let Some(did) = lost { (lost_cookie(server, did)) }
        @else if let Some(gone) = gone { (why_it_is_over(gone)) }
        p {
            "A conversation with an assistant of your industry. It lasts " (span(server.options.demo_ttl))
            ", and nobody needs to sign in for it."
        }
        form.choice method="post" action="/demo/start" {
            @for industry in &Industry::KNOWN {
                button name="industry" value=(industry) {
                    strong { (label(industry)) }
                    @if let Some(question) = assistant::question(industry, 0) { span { "“" (question) "”" } }
                }
            }
        }
        section aria-labelledby="another" {
            h2 id="another" { "Another industry" }
            form.line method="post" action="/demo/start" {
                label for="industry" { "Its name" }
                input id="industry" name="industry" required maxlength=(Industry::MAX_BYTES) autocomplete="off";
                button { "Start" }
            }
        }
    };
    Page {
        title: "Start a demo · sessile".into(),
        main,
    }
}

pub(super) fn page(
    server: &Server,
    status: &DemoStatus,
    messages: &[Message],
    whose: &Whose,
    lost: Option<&str>,
) -> Page {
    let asked = messages
        .iter()
        .filter(|message| message.role == "user")
        .count();
    let title = format!("{} demo", label(&status.industry));
    let main = html! {
        h1 { (title) }
        @if let Some(did) = lost { (lost_cookie(server, did)) }
        @if let Some(user) = &whose.demos { p.kept { "This conversation is kept for " strong { (user) } "." } }
        (how_far(status))
        section aria-labelledby="talk" {
            h2 id="talk" { "Conversation" }
            (talk(messages))
            @if let Some(question) = assistant::question(&status.industry, asked) {
                form.below method="post" action="/demo/say" {
                    button.quiet.ask name="content" value=(question) { "Ask: " (question) }
                }
            }
            form.line method="post" action="/demo/say" {
                label for="content" { "Your message" }
                input id="content" name="content" required maxlength=(LONGEST) autocomplete="off";
                button { "Send" }
            }
        }
        @if whose.demos.is_none() { (keeping(whose.here.as_ref())) }
        (ending())
    };
    Page {
        title: format!("{title} · sessile"),
        main,
    }
}

/// The demo of a user who is not signed in here now.
pub(super) fn somebodys(server: &Server, status: &DemoStatus, lost: Option<&str>) -> Page {
    let title = format!("{} demo", label(&status.industry));
    let main = html! {
        h1 { (title) }
        @if let Some(did) = lost { (lost_cookie(server, did)) }
        div.notice role="status" {
            p { strong { "Whoever signed in with this conversation keeps it." } }
            p { "Sign in as the same user to go on, or end it to start another one." }
        }
        (sign_in("Sign in"))
        (ending())
    };
    Page {
        title: format!("{title} · sessile"),
        main,
    }
}

fn how_far(status: &DemoStatus) -> Markup {
    let percent = format!("{:.0}", status.progress_percentage);
    let word = match status.status {
        DemoProgress::Active => "active",
        DemoProgress::Completed => "completed",
    };
    html! {
        section aria-labelledby="progress" {
            h2 id="progress" { "Progress" }
            progress aria-labelledby="progress" max="100" value=(status.progress_percentage) { (percent) " %" }
            p.how-far {
                strong { (percent) " %" }
                " · " (status.message_count) @if status.message_count == 1 { " message" } @else { " messages" }
                " · " span.badge { (word) }
            }
            p.about {
                "Started " (from_now(status.started_at))
                @if let Some(last) = status.last_interaction { " · last message " (from_now(last)) }
                " · ends " (from_now(status.ends_at))
            }
        }
    }
}

fn talk(messages: &[Message]) -> Markup {
    let skipped = messages.len().saturating_sub(SHOWN);
    let last = messages.len().checked_sub(1);
    html! {
        @if messages.is_empty() { p.empty { "Nothing was said yet." } }
        @if skipped > 0 { p.empty { (skipped) " earlier messages are not shown." } }
        ol.talk {
            @for (number, message) in messages.iter().enumerate().skip(skipped) {
                li.mine[message.role == "user"] id=[(Some(number) == last).then_some("latest")] {
                    p.about { strong { (speaker(&message.role)) } " · " (from_now(message.timestamp)) }
                    p.content { (message.content) }
                    @if !message.metadata.is_empty() {
                        ul.known { @for (name, value) in &message.metadata { li { (known(name, value)) } } }
                    }
                }
            }
        }
    }
}

fn speaker(role: &str) -> &str {
    match role {
        "user" => "You",
        "assistant" => "Assistant",
        other => other,
    }
}

/// Whatever else is known of a message.
fn known(name: &str, value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            let items: Vec<_> = items.iter().filter_map(Value::as_str).collect();
            items.join(", ")
        }
        other => other.to_string(),
    };
    match name.strip_suffix("_ms") {
        Some(name) => format!("{}: {text} ms", name.replace('_', " ")),
        None => format!("{}: {text}", name.replace('_', " ")),
    }
}

/// For a demo that is nobody's yet.
fn keeping(user: Option<&UserId>) -> Markup {
    html! {
        @match user {
            // They may have signed in long ago, and bringing something along is a sign-in: a real application asks for the
            // password here, too.
            Some(user) => section aria-labelledby="keep" {
                h2 id="keep" { "Keep this conversation" }
                p.about { "It is nobody’s yet." }
                form method="post" action="/demo/keep" {
                    button name="user" value=(user) { "Keep it for " (user) }
                }
            },
            None => (sign_in("Sign in and keep this conversation")),
        }
    }
}

fn sign_in(title: &str) -> Markup {
    html! {
        section aria-labelledby="keep" {
            h2 id="keep" { (title) }
            form.line method="post" action="/demo/keep" {
                label for="user" { "Your name" }
                input id="user" name="user" required maxlength="256" autocomplete="username" autocapitalize="none" spellcheck="false";
                button { "Sign in" }
            }
        }
    }
}

fn ending() -> Markup {
    html! {
        div.actions {
            form method="post" action="/demo/end" { button.quiet { "End this demo" } }
        }
    }
}

fn why_it_is_over(gone: &Error) -> Markup {
    let problem = gone.problem();
    html! {
        @if let (Some(reason), Some(at)) = (problem.reason, problem.at) {
            div.notice role="status" {
                p { strong { (in_words(reason)) } }
                p.about { "Since " (instant(at)) "." }
            }
        }
    }
}

const fn in_words(reason: EndReason) -> &'static str {
    match reason {
        EndReason::LoggedOut | EndReason::Limit | EndReason::Revoked => "Your demo was ended.",
        EndReason::Idle => "Your demo ended: it was not used for too long.",
        EndReason::Absolute => "Your demo ended: its time was over.",
        EndReason::Regenerated => {
            "This browser holds an old key of a demo that goes on under a new one."
        }
        EndReason::StoreLost => "Your demo ended: the server does not have it any more.",
    }
}

/// An industry as people call it.
fn label(industry: &Industry) -> &str {
    match industry.as_str() {
        "financial" => "Financial services",
        "healthcare" => "Healthcare",
        "ecommerce" => "E-commerce",
        "manufacturing" => "Manufacturing",
        "technology" => "Technology",
        "media" => "Media",
        "general" => "General",
        other => other,
    }
}
