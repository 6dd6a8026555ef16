//! A user's security and history.

use maud::{Markup, html};
use sessile::risk::{Risk, RiskLevel};
use sessile::{Activity, EndReason, Error, HistoryEntry, HistoryEvent, UserSession};

use super::home_again;
use super::look::{Page, from_now};
use axum::extract::Form;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use sessile::Session;

use crate::problems::Refusal;

/// Strangers are sent to where one signs in.
pub(super) async fn page(session: Session) -> Result<Response, Error> {
    let Some(user) = session.user() else {
        return Ok(home_again().into_response());
    };
    let security = user.security().await?;
    let main = html! {
        h1 { "Security of " (user.user_id()) }
        (risk(&security.risk))
        (activities(&security.activities))
        (history(&security.history))
        p { a href="/" { "Back to the start page" } }
    };
    let title = "Security · sessile".into();
    Ok(Page { title, main }.into_response())
}

#[derive(Deserialize)]
pub(super) struct Doing {
    resource: String,
}

pub(super) async fn record(
    user: UserSession,
    Form(doing): Form<Doing>,
) -> Result<Redirect, Refusal> {
    if doing.resource.is_empty() {
        return Err(Refusal::invalid("Say what was opened."));
    }
    user.record_activity("open", &doing.resource).await?;
    Ok(Redirect::to("/security"))
}

fn risk(risk: &Risk) -> Markup {
    let words = match risk.level {
        RiskLevel::Low => "Nothing out of the ordinary.",
        RiskLevel::Medium => "Worth a look.",
        RiskLevel::High => "Does somebody else use your account?",
    };
    html! {
        section aria-labelledby="risk" {
            h2 id="risk" { "Risk: " span.badge { (risk.level) } }
            p { (words) }
            @if !risk.reasons.is_empty() {
                ul { @for reason in &risk.reasons { li { (reason.message()) } } }
            }
        }
    }
}

fn activities(activities: &[Activity]) -> Markup {
    html! {
        section aria-labelledby="activity" {
            h2 id="activity" { "What you did" }
            @if activities.is_empty() { p.empty { "Nothing was recorded." } }
            ul {
                @for activity in activities.iter().take(10) {
                    li { span { (activity.kind) " " code { (activity.resource) } } span.about { (from_now(activity.at)) } }
                }
            }
            form.line method="post" action="/activity" {
                label for="resource" { "Record that you opened" }
                input id="resource" name="resource" required maxlength="256" autocomplete="off";
                button { "Record" }
            }
        }
    }
}

fn history(history: &[HistoryEntry]) -> Markup {
    html! {
        section aria-labelledby="history" {
            h2 id="history" { "What happened to your sessions" }
            ul {
                @for entry in history {
                    li {
                        div {
                            p { strong { (event(&entry.event)) } }
                            @if let HistoryEvent::Ended { note: Some(note), .. } = &entry.event { p { "“" (note) "”" } }
                            p.about {
                                (entry.address.as_deref().unwrap_or("unknown address"))
                                " · " (from_now(entry.at))
                                " · session " code { (entry.handle) }
                            }
                        }
                    }
                }
            }
        }
    }
}

const fn event(event: &HistoryEvent) -> &'static str {
    match event {
        HistoryEvent::SignedIn => "Signed in",
        HistoryEvent::Reauthenticated => "Signed in again, to confirm",
        HistoryEvent::Regenerated => "New session id",
        HistoryEvent::Ended { reason, .. } => match reason {
            EndReason::LoggedOut => "Signed out",
            EndReason::Idle | EndReason::Absolute => "Timed out",
            EndReason::Regenerated => "Went on as another session",
            EndReason::Limit => "Ended: too many sessions",
            EndReason::Revoked => "Ended from elsewhere",
            EndReason::StoreLost => "Lost",
        },
        _ => "Something that this version does not know",
    }
}
