//! A user's sessions, one for each device, and ending them.

use axum::Json;
use axum::extract::{Path, Query};
use serde::{Deserialize, Serialize};
use sessile::{Ended, Error, Handle, SessionInfo, Sessions, UserId, UserSession};

use crate::object::Object;
use crate::problems::Refusal;
use crate::time::Instant;

#[derive(Serialize)]
pub(crate) struct Device {
    handle: Handle,
    current: bool,
    created_at: Instant,
    last_seen_at: Instant,
    ends_at: Instant,
    address: Option<String>,
    user_agent: Option<String>,
}

impl From<SessionInfo> for Device {
    fn from(info: SessionInfo) -> Self {
        Self {
            handle: info.handle,
            current: info.current,
            created_at: Instant(info.created_at),
            last_seen_at: Instant(info.last_seen_at),
            ends_at: Instant(info.ends_at),
            address: info.address,
            user_agent: info.user_agent,
        }
    }
}

pub(crate) async fn list(user: UserSession) -> Result<Json<Vec<Device>>, Error> {
    let sessions = user.sessions().await?;
    Ok(Json(sessions.into_iter().map(Device::from).collect()))
}

#[derive(Serialize)]
pub(crate) struct Done {
    ended: usize,
    outcome: &'static str,
}

impl From<Ended> for Done {
    fn from(ended: Ended) -> Self {
        Self {
            ended: ended.count,
            outcome: ended.outcome.as_str(),
        }
    }
}

/// One of the caller's own. Another user's is as unknown as one that never was: nothing tells them apart.
pub(crate) async fn end(
    user: UserSession,
    Path(handle): Path<String>,
) -> Result<Json<Done>, Refusal> {
    let handle: Handle = handle.parse().map_err(|_| Refusal::not_found())?;
    match user.end(handle).await? {
        Ended { count: 0, .. } => Err(Refusal::not_found()),
        ended => Ok(Json(ended.into())),
    }
}

#[derive(Deserialize)]
pub(crate) struct Which {
    #[serde(default)]
    others: bool,
}

/// All of the caller's, or all but this one.
pub(crate) async fn end_all(
    user: UserSession,
    Query(which): Query<Which>,
) -> Result<Json<Done>, Error> {
    let ended = if which.others {
        user.end_others().await?
    } else {
        user.end_all().await?
    };
    Ok(Json(ended.into()))
}

#[derive(Deserialize)]
pub(crate) struct Revocation {
    user: String,
    #[serde(default)]
    reason: String,
}

/// Anybody's. A real application asks here whether the caller is an administrator.
pub(crate) async fn revoke(
    sessions: Sessions,
    Json(Object(revocation)): Json<Object<Revocation>>,
) -> Result<Json<Done>, Refusal> {
    let user = UserId::from(revocation.user);
    if !user.is_valid() {
        return Err(Refusal::invalid("a user has 1 to 256 bytes"));
    }
    let ended = sessions.revoke_all(user, &revocation.reason).await?;
    Ok(Json(ended.into()))
}
