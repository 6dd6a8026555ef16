//! Signing in and out, who is there, and a new id.

use axum::Json;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sessile::{Error, Freshness, Handle, Key, Session, UserId, UserSession};

use crate::object::Object;
use crate::time::Instant;

/// What a user put together before signing in comes along; nothing else does.
pub(crate) const CART: Key<Box<RawValue>> = Key::new("cart");

#[derive(Serialize)]
pub(crate) struct Whoever {
    kind: &'static str,
    user: Option<UserId>,
    handle: Option<Handle>,
    created_at: Option<Instant>,
    ends_at: Option<Instant>,
    idle_ends_at: Option<Instant>,
    freshness: &'static str,
}

/// The session of whoever asks: a user's, a stranger's, or none.
pub(crate) async fn session(session: Session) -> Json<Whoever> {
    let Some(info) = session.info() else {
        return Json(Whoever {
            kind: "none",
            user: None,
            handle: None,
            created_at: None,
            ends_at: None,
            idle_ends_at: None,
            freshness: Freshness::Live.as_str(),
        });
    };
    Json(Whoever {
        kind: if info.user.is_some() {
            "user"
        } else {
            "anonymous"
        },
        user: info.user,
        handle: Some(info.handle),
        created_at: Some(Instant(info.created_at)),
        ends_at: Some(Instant(info.ends_at)),
        idle_ends_at: Some(Instant(info.idle_ends_at)),
        freshness: info.freshness.as_str(),
    })
}

#[derive(Deserialize)]
pub(crate) struct Credentials {
    user: String,
    /// Whether the demo that this browser has comes along.
    #[serde(default)]
    adopt_demo: bool,
}

#[derive(Serialize)]
pub(crate) struct SignedIn {
    user: UserId,
    handle: Option<Handle>,
}

/// A real application checks a password first.
pub(crate) async fn login(
    session: Session,
    Json(Object(credentials)): Json<Object<Credentials>>,
) -> Result<Json<SignedIn>, Error> {
    let mut login = session.login(credentials.user).keep(CART);
    if credentials.adopt_demo {
        login = login.adopt_demo();
    }
    let user = login.await?;
    Ok(Json(SignedIn {
        user: user.user_id().clone(),
        handle: user.handle(),
    }))
}

#[derive(Serialize)]
pub(crate) struct SignedOut {
    outcome: &'static str,
}

pub(crate) async fn logout(session: Session) -> Result<Json<SignedOut>, Error> {
    let outcome = session.logout().await?.as_str();
    Ok(Json(SignedOut { outcome }))
}

#[derive(Serialize)]
pub(crate) struct Me {
    user: UserId,
}

/// For users only: to anybody else the extractor answers 401, with the reason where their session ended.
pub(crate) async fn me(user: UserSession) -> Json<Me> {
    Json(Me {
        user: user.user_id().clone(),
    })
}

#[derive(Serialize)]
pub(crate) struct Renewed {
    handle: Option<Handle>,
}

/// A new id for the same session; where there is none, there is nothing to do.
pub(crate) async fn regenerate(session: Session) -> Result<Json<Renewed>, Error> {
    session.regenerate_id().await?;
    Ok(Json(Renewed {
        handle: session.handle(),
    }))
}
