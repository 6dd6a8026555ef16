//! What a user did, what happened to their sessions, and how that looks.

use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use sessile::{Activity, Error, Handle, HistoryEntry, HistoryEvent, UserSession};

use crate::object::Object;
use crate::problems::Refusal;
use crate::time::Instant;

/// So many of the recorded activities are shown.
const RECENT: usize = 20;

#[derive(Deserialize)]
pub(crate) struct Doing {
    kind: String,
    #[serde(default)]
    resource: String,
}

/// Writes down what a user did. A real application does so itself, where it happens.
pub(crate) async fn record(
    user: UserSession,
    Json(Object(doing)): Json<Object<Doing>>,
) -> Result<StatusCode, Refusal> {
    if doing.kind.is_empty() {
        return Err(Refusal::invalid("an activity has a kind"));
    }
    user.record_activity(&doing.kind, &doing.resource).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize)]
pub(crate) struct Look {
    level: &'static str,
    reasons: Vec<&'static str>,
    unknown: Vec<&'static str>,
    activity_count: usize,
    recent: Vec<Done>,
}

#[derive(Serialize)]
struct Done {
    at: Instant,
    kind: String,
    resource: String,
    address: Option<String>,
    user_agent: Option<String>,
}

impl From<&Activity> for Done {
    fn from(activity: &Activity) -> Self {
        Self {
            at: Instant(activity.at),
            kind: activity.kind.to_string(),
            resource: activity.resource.to_string(),
            address: activity.address.as_deref().map(Into::into),
            user_agent: activity.user_agent.as_deref().map(Into::into),
        }
    }
}

/// The judgement of the layer's policy, with its reasons.
pub(crate) async fn look(user: UserSession) -> Result<Json<Look>, Error> {
    let security = user.security().await?;
    let names = |signals: &[sessile::risk::Signal]| signals.iter().map(|s| s.as_str()).collect();
    Ok(Json(Look {
        level: security.risk.level.as_str(),
        reasons: names(&security.risk.reasons),
        unknown: names(&security.risk.unknown),
        activity_count: security.activities.len(),
        recent: security
            .activities
            .iter()
            .take(RECENT)
            .map(Done::from)
            .collect(),
    }))
}

#[derive(Serialize)]
pub(crate) struct Happened {
    at: Instant,
    event: &'static str,
    reason: Option<&'static str>,
    note: Option<String>,
    handle: Handle,
    address: Option<String>,
}

impl From<HistoryEntry> for Happened {
    fn from(entry: HistoryEntry) -> Self {
        let (reason, note) = match &entry.event {
            HistoryEvent::Ended { reason, note } => (Some(reason.as_str()), note.as_deref()),
            _ => (None, None),
        };
        Self {
            at: Instant(entry.at),
            event: entry.event.as_str(),
            reason,
            note: note.map(Into::into),
            handle: entry.handle,
            address: entry.address.as_deref().map(Into::into),
        }
    }
}

/// What happened to the caller's sessions, newest first.
pub(crate) async fn history(user: UserSession) -> Result<Json<Vec<Happened>>, Error> {
    let history = user.history().await?;
    Ok(Json(history.into_iter().map(Happened::from).collect()))
}
