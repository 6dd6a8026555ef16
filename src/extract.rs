//! Extractors for axum, and the responses they answer with instead.
//!
//! Extracting reads the record, once a request; all extractors of a request share it.

use axum::body::Body;
use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderValue, header};

use std::sync::Arc;
use std::time::Duration;

use crate::demo::{Demo, DemoSession};
use crate::error::Error;
use crate::problem::ErrorKind;
use crate::session::{Current, Session, missing_layer};
use crate::sessions::Sessions;
use crate::user::UserSession;

/// A status, a sentence as plain text, and the [`Problem`](crate::Problem) in the extensions.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let text = match self.kind() {
            // For whoever wires the application up: it says nothing that is not in the documentation.
            ErrorKind::Misconfigured => self.to_string(),
            kind => kind.message().to_owned(),
        };
        self.tell();
        let mut response = self.problem().clone().into_response(Body::from(text));
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, plain);
        response
    }
}

impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        Self::from_extensions(&parts.extensions).await
    }
}

impl<S: Sync> FromRequestParts<S> for UserSession {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        Self::require(&Session::known_from_extensions(&parts.extensions).await?)
    }
}

/// `None` for whoever is not signed in; a store that fails stays a failure.
impl<S: Sync> OptionalFromRequestParts<S> for UserSession {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Error> {
        Ok(Session::known_from_extensions(&parts.extensions)
            .await?
            .user())
    }
}

impl<S: Sync> FromRequestParts<S> for Demo {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        Self::from_extensions(&parts.extensions).await
    }
}

impl<S: Sync> FromRequestParts<S> for DemoSession {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        Demo::from_extensions(&parts.extensions).await?.require()
    }
}

/// `None` where there is no demo; a store that fails stays a failure.
impl<S: Sync> OptionalFromRequestParts<S> for DemoSession {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Error> {
        Ok(Demo::from_extensions(&parts.extensions).await?.get())
    }
}

impl<S: Sync> FromRequestParts<S> for Sessions {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        match parts.extensions.get::<Current>() {
            Some(Current(context)) => Ok(Self::new(Arc::clone(&context.area))),
            None => Err(missing_layer("Sessions")),
        }
    }
}

/// A user who proved within the last `SECONDS` who they are; anybody else signed in gets 401 `sign_in_again`.
///
/// For what should not be done from a session left open: changing a password, paying. [`UserSession::reauthenticate`]
/// makes a session fresh again.
///
/// ```
/// use sessile::Fresh;
/// async fn change_password(Fresh(user): Fresh<300>) -> String {
///     format!("{} may", user.user_id())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Fresh<const SECONDS: u64, T = UserSession>(pub T);

impl<S, const SECONDS: u64, T> FromRequestParts<S> for Fresh<SECONDS, T>
where
    S: Sync,
    T: FromRequestParts<S, Rejection = Error> + AsRef<UserSession>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        read_from_the_store(parts).await;
        let inner = T::from_request_parts(parts, state).await?;
        if inner
            .as_ref()
            .signed_in_within(Duration::from_secs(SECONDS))
        {
            Ok(Self(inner))
        } else {
            Err(Error::new(ErrorKind::SignInAgain))
        }
    }
}

/// What must not run on a lease: a session as the store itself has it now, not as this instance knew it before the store
/// went away, nor one that was made here meanwhile. Anything else is 503 with `Retry-After`; a stranger, who has no
/// session, passes where `T` lets them.
///
/// For what an ended session must not do under any circumstances: paying, deleting. No store call of its own, but for one
/// where a near cache (`RedisStoreBuilder::near_cache`) has answered before.
///
/// ```
/// use sessile::{Live, UserSession};
/// async fn pay(Live(user): Live<UserSession>) -> String {
///     format!("{} pays", user.user_id())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Live<T>(pub T);

impl<S, T> FromRequestParts<S> for Live<T>
where
    S: Sync,
    T: FromRequestParts<S, Rejection = Error> + AsRef<Session>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        read_from_the_store(parts).await;
        let inner = T::from_request_parts(parts, state).await?;
        inner.as_ref().must_not_be_leased()?;
        Ok(Self(inner))
    }
}

/// Before a session is taken out that must not be a copy: so that nobody who is over is taken for signed in. What fails is told
/// by whoever takes it out.
async fn read_from_the_store(parts: &Parts) {
    if let Some(context) = Current::of(&parts.extensions) {
        let _ = context.load_live().await;
    }
}

impl AsRef<Self> for Session {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl AsRef<Session> for UserSession {
    fn as_ref(&self) -> &Session {
        self.session()
    }
}

impl<const SECONDS: u64, T: AsRef<Session>> AsRef<Session> for Fresh<SECONDS, T> {
    fn as_ref(&self) -> &Session {
        self.0.as_ref()
    }
}

impl<T: AsRef<UserSession>> AsRef<UserSession> for Live<T> {
    fn as_ref(&self) -> &UserSession {
        self.0.as_ref()
    }
}

impl AsRef<Self> for UserSession {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl<const SECONDS: u64, T: AsRef<UserSession>> AsRef<UserSession> for Fresh<SECONDS, T> {
    fn as_ref(&self) -> &UserSession {
        self.0.as_ref()
    }
}
