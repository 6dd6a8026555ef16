//! A signed-in user's session, and what its holder may do with their sessions.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::id::{Handle, UserId};
use crate::problem::ErrorKind;
use crate::record::EndReason;
use crate::session::{EndedAll, Finish, Outcome, Session, SessionInfo, Step};
use crate::store::{EndScope, Renewal};

/// The session of a signed-in user: everything that [`Session`] can, and the user.
///
/// As an extractor (feature `axum`) it answers 401 for anybody else, with the reason where a session ended;
/// `Option<UserSession>` is `None` for them. A store that fails is 503 in both.
#[derive(Debug, Clone)]
pub struct UserSession {
    session: Session,
    user: UserId,
}

/// What came of ending sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// How many ended.
    pub count: usize,
    /// Whether the store has it.
    pub outcome: Outcome,
}

impl Ended {
    pub(crate) const fn new(count: usize, stored: Outcome) -> Self {
        Self {
            count,
            outcome: match stored {
                // The store had none of them.
                Outcome::Committed if count == 0 => Outcome::Nothing,
                stored => stored,
            },
        }
    }
}

impl UserSession {
    pub(crate) const fn new(session: Session, user: UserId) -> Self {
        Self { session, user }
    }

    /// The signed-in user's session in `session`: what the extractor does, for services without axum.
    ///
    /// # Errors
    /// `NotSignedIn` for a stranger; `SessionEnded` with the reason where the cookie is a dead session's;
    /// `StoreUnavailable` where it could not be looked up.
    pub fn require(session: &Session) -> Result<Self, Error> {
        session.user().ok_or_else(|| Self::gone(session))
    }

    /// Why there is nobody signed in.
    fn gone(session: &Session) -> Error {
        if let Err(error) = session.context().must_be_known() {
            return error;
        }
        match session.end() {
            Some(end) => Error::ended(&end),
            None => Error::new(ErrorKind::NotSignedIn),
        }
    }

    /// Who is signed in.
    #[must_use]
    pub const fn user_id(&self) -> &UserId {
        &self.user
    }

    /// The name of the demo that was brought along when this session began: see
    /// [`Login::adopt_demo`](crate::Login::adopt_demo). It may be over since; it opens with its own cookie.
    #[must_use]
    pub fn demo(&self) -> Option<Handle> {
        let state = self.session.context().state();
        state.live()?.record.demo().map(|demo| demo.handle)
    }

    /// The session as such: what a function takes that serves strangers too.
    #[must_use]
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// All live sessions of this user, newest first, this one marked. One store call.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn sessions(&self) -> Result<Vec<SessionInfo>, Error> {
        let own = self.session.handle();
        let records = self
            .session
            .context()
            .store()
            .list(self.user.clone())
            .await?;
        Ok(records
            .iter()
            .map(|record| SessionInfo::of(record, Some(record.handle()) == own))
            .collect())
    }

    /// Ends one of this user's sessions, with the reason `revoked`. Another user's, and an unknown one, is none of
    /// theirs: a count of 0. One store call.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn end(&self, handle: Handle) -> Result<Ended, Error> {
        self.end_sessions(EndScope::Handle(self.user.clone(), handle))
            .await
    }

    /// Ends all of this user's sessions but this one, also one whose login is under way. One store call.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn end_others(&self) -> Result<Ended, Error> {
        match self.session.handle() {
            Some(own) => {
                self.end_sessions(EndScope::Others(self.user.clone(), own))
                    .await
            }
            None => Err(Self::gone(&self.session)),
        }
    }

    /// Ends all of this user's sessions, this one too, and a login whose request began before. One store call.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn end_all(&self) -> Result<Ended, Error> {
        self.end_sessions(EndScope::All(self.user.clone())).await
    }

    async fn end_sessions(&self, scope: EndScope) -> Result<Ended, Error> {
        let context = Arc::clone(self.session.context());
        let (user, own) = (self.user.clone(), self.session.handle());
        Finish::new(async move {
            let address = context.seen().address;
            let (ended, told) = context
                .area
                .end(
                    context.store(),
                    scope,
                    EndReason::Revoked,
                    None,
                    address.as_deref(),
                )
                .await?;
            if let Some(since) = told.since {
                context.state().ended_all = Some(EndedAll {
                    user,
                    since,
                    own: told.sessions.iter().any(|ended| Some(ended.handle) == own),
                });
            }
            Ok(ended)
        })
        .await
    }

    /// The user proved again who they are: a new id, and both clocks start again. Data and handle stay. One store call.
    ///
    /// # Errors
    /// As [`Session::regenerate_id`]; `SessionEnded` also where all sessions were ended after this request began;
    /// `NotSignedIn` where this request has signed out since.
    pub async fn reauthenticate(&self) -> Result<(), Error> {
        let (session, user) = (self.session.clone(), self.user.clone());
        Finish::new(async move {
            let context = session.context();
            let now = context.area.store.now();
            let renewed = context
                .renew_live(|record| Renewal::Reauthenticated {
                    signed_in_at: now,
                    absolute_end: now
                        + context
                            .area
                            .config
                            .timeouts(record.is_persistent())
                            .absolute,
                    began_at: context.sign_in_began_at(&user, Step::OfOwn),
                })
                .await?;
            let record = renewed.ok_or_else(|| Self::gone(&session))?;
            context.area.events.reauthenticated(now, &record);
            Ok(())
        })
        .await
    }

    /// Whether the user proved who they are within the last `span`.
    #[must_use]
    pub fn signed_in_within(&self, span: Duration) -> bool {
        let context = self.session.context();
        let signed_in_at = context
            .state()
            .live()
            .and_then(|live| live.record.signed_in_at());
        // A clock that went back makes nobody's sign-in old.
        signed_in_at.is_some_and(|at| {
            let age = context.area.store.now().duration_since(at);
            age.unwrap_or_default() <= span
        })
    }
}

impl Deref for UserSession {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}
