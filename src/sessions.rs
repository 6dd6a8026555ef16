//! Administration: any user's sessions, by whoever the application lets.

use std::sync::Arc;

use ::cookie::Cookie;

use crate::demo::DemoCounts;
use crate::error::Error;
use crate::event::Events;
use crate::id::{Fresh, Handle, Kind, UserId};
use crate::policy::Policy;
use crate::problem::ErrorKind;
use crate::record::{End, EndReason, Seen};
use crate::session::{Area, Asked};
use crate::session::{Finish, SessionInfo};
use crate::store::{Create, EndScope, EndSessions, EndedSession, EndedSessions, Health, UNBOUNDED};
use crate::user::Ended;

/// Every user's sessions: from [`SessionLayer::sessions`](crate::SessionLayer::sessions), or as an extractor (feature
/// `axum`).
///
/// It asks for nothing but the user's name. Who may use it is for the application to decide, before.
///
/// # Cancel safety
/// What was begun is carried through when the future is dropped.
#[derive(Debug, Clone)]
pub struct Sessions {
    area: Arc<Area>,
}

impl Sessions {
    pub(crate) const fn new(area: Arc<Area>) -> Self {
        Self { area }
    }

    pub(crate) const fn area(&self) -> &Arc<Area> {
        &self.area
    }

    /// What sessions are held to: see [`SessionLayer::policy`](crate::SessionLayer::policy).
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.area.policy()
    }

    /// What happens to sessions through this layer, from now on: see [`event`](crate::event). At an instance of its own,
    /// not at the others.
    #[must_use]
    pub fn events(&self) -> Events {
        self.area.events.listen()
    }

    /// How the store does: see [`SessionLayer::health`](crate::SessionLayer::health).
    #[must_use]
    pub fn health(&self) -> Health {
        self.area.health()
    }

    /// A user's live sessions, newest first. One store call.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn list(&self, user: impl Into<UserId>) -> Result<Vec<SessionInfo>, Error> {
        let records = self.area.store.list(user.into()).await?;
        Ok(records
            .iter()
            .map(|record| SessionInfo::of(record, false))
            .collect())
    }

    /// Ends one session of a user, with the reason `revoked` and a note (at most 256 bytes; empty: none) that its
    /// holder is told. One store call.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn revoke(
        &self,
        user: impl Into<UserId>,
        handle: Handle,
        note: &str,
    ) -> Result<Ended, Error> {
        self.end(EndScope::Handle(user.into(), handle), note).await
    }

    /// Ends all sessions of a user, and every login of theirs whose request began before. One store call.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn revoke_all(&self, user: impl Into<UserId>, note: &str) -> Result<Ended, Error> {
        self.end(EndScope::All(user.into()), note).await
    }

    /// Ends all sessions of a user but one, and every login of theirs whose request began before. One store call.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn revoke_others(
        &self,
        user: impl Into<UserId>,
        keep: Handle,
        note: &str,
    ) -> Result<Ended, Error> {
        self.end(EndScope::Others(user.into(), keep), note).await
    }

    /// How many demos this instance started, and what became of them. At once.
    #[must_use]
    pub fn demo_counts(&self) -> DemoCounts {
        DemoCounts::of(&self.area.events)
    }

    async fn end(&self, scope: EndScope, note: &str) -> Result<Ended, Error> {
        let area = Arc::clone(&self.area);
        let note = End::new(EndReason::Revoked, self.area.store.now())
            .with_note(note)
            .note;
        Finish::new(async move {
            let store = area.store.within(&UNBOUNDED);
            let ended = area.end(store, scope, EndReason::Revoked, note, None).await;
            ended.map(|(ended, _)| ended)
        })
        .await
    }

    /// Makes a session for a user outside of any request, and returns the cookie that opens it: for tests, and for
    /// signing in by other ways. The user's limit holds. One store call.
    ///
    /// # Errors
    /// `InvalidUser`, `TooManySessions`, `StoreUnavailable`.
    pub async fn create_for(&self, user: impl Into<UserId>) -> Result<Cookie<'static>, Error> {
        let user = user.into();
        if !user.is_valid() {
            return Err(Error::new(ErrorKind::InvalidUser));
        }
        let area = Arc::clone(&self.area);
        Finish::new(async move { area.create_for(user).await }).await
    }
}

impl Area {
    async fn create_for(&self, user: UserId) -> Result<Cookie<'static>, Error> {
        let fresh = Fresh::draw()?;
        let id = fresh.id(self.store.bucket(&user));
        let began_at = self.store.now();
        let seen = Seen {
            at: began_at,
            address: None,
            agent: None,
        };
        let limit = self.config.limit(&user);
        let record = self.new_users_record(&fresh, user, seen);
        let create = Create {
            key: id.key(Kind::User),
            record: record.clone(),
            began_at,
            limit,
            held: false,
        };
        let created = self.store.create(create).await?;
        let id = id.born(self.store.birth(created.freshness));
        let ended = self.created(created.value)?;
        self.events.created(self.store.now(), &record);
        self.tell_ended(&ended, EndReason::Limit, None);
        Ok(self.config.cookie.set(&id, None))
    }

    /// Ends sessions of a user, and says so. What the store told comes with it.
    pub(crate) async fn end(
        &self,
        store: Asked<'_>,
        scope: EndScope,
        reason: EndReason,
        note: Option<Arc<str>>,
        address: Option<&str>,
    ) -> Result<(Ended, EndedSessions), Error> {
        let told = store
            .end(
                EndSessions {
                    scope,
                    reason,
                    note,
                    before: None,
                },
                None,
            )
            .await?;
        let stored = told.outcome();
        let told = told.value;
        self.tell_ended(&told.sessions, reason, address);
        Ok((Ended::new(told.sessions.len(), stored), told))
    }

    pub(crate) fn tell_ended(
        &self,
        ended: &[EndedSession],
        reason: EndReason,
        address: Option<&str>,
    ) {
        for session in ended {
            self.ends.tell(session.handle, reason);
            self.events
                .ended(self.store.now(), (self.kind, session), reason, address);
        }
    }
}
