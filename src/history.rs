//! What happened to a user's sessions, and what they did.

use std::sync::Arc;

use crate::error::Error;
use crate::id::UserId;
use crate::problem::ErrorKind;
use crate::record::{Activity, EndReason, HistoryEntry, Record, cut};
use crate::session::{Area, Finish};
use crate::sessions::Sessions;
use crate::store::{EndScope, UNBOUNDED};
use crate::user::{Ended, UserSession};

impl Sessions {
    /// What happened to a user's sessions, newest first: sign-ins, new ids, ends with their reasons. It outlives the
    /// sessions: at most [`HistoryEntry::MOST`], of at most [`HistoryEntry::KEPT`]. One store call.
    ///
    /// # Errors
    /// `StoreUnavailable`, also while the store is away: what happens meanwhile is written down when it gets there.
    pub async fn history(&self, user: impl Into<UserId>) -> Result<Vec<HistoryEntry>, Error> {
        Ok(self.area().store.log(user.into()).await?.history)
    }

    /// What the application [recorded](UserSession::record_activity) of a user, newest first: at most
    /// [`Activity::MOST`], of at most [`Activity::KEPT`]. One store call.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn activities(&self, user: impl Into<UserId>) -> Result<Vec<Activity>, Error> {
        Ok(self.area().store.log(user.into()).await?.activities)
    }

    /// Ends all sessions of a user and the demos that these brought along, and then forgets what was kept of them beyond:
    /// history and activities. For a user who asks for it, and for one who is deleted. What may still name them is
    /// `user_since`, which is gone after 75 minutes, and a demo whose user's session was over before: it goes with its own
    /// end, and until then opens for whoever has its cookie. Three store calls, and one for each of those demos.
    ///
    /// # Errors
    /// `StoreUnavailable`, also while the store is away. Call it again: what is done is done.
    pub async fn erase_user(&self, user: impl Into<UserId>) -> Result<Ended, Error> {
        let (area, user) = (Arc::clone(self.area()), user.into());
        Finish::new(async move {
            let end = async |area: &Area, scope| {
                let store = area.store.within(&UNBOUNDED);
                area.end(store, scope, EndReason::Revoked, None, None).await
            };
            // Only their sessions name them.
            let sessions = area.store.list(user.clone()).await?;
            if let Some(demos) = &area.demos {
                for demo in sessions.iter().filter_map(Record::demo) {
                    end(&demos.area, EndScope::One(demo.key, None)).await?;
                }
            }
            let (ended, _) = end(&area, EndScope::All(user.clone())).await?;
            area.store.erase(user).await?;
            Ok(ended)
        })
        .await
    }
}

impl UserSession {
    /// What happened to this user's sessions, newest first: see [`Sessions::history`]. One store call.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn history(&self) -> Result<Vec<HistoryEntry>, Error> {
        let store = &self.session().context().area.store;
        Ok(store.log(self.user_id().clone()).await?.history)
    }

    /// Writes down that this user did something, with time, address and user agent: for the judgement of
    /// [risk](crate::risk), and for whoever looks into it later. The application decides what is worth it; the last 200 are
    /// kept. A longer `kind` than 64 bytes, or a longer `resource` than 256, is cut. One store call.
    ///
    /// # Errors
    /// `StoreUnavailable`, also while the store is away: it may or may not be written down then, and is never twice.
    /// `NotSignedIn` where this request has signed out since.
    pub async fn record_activity(&self, kind: &str, resource: &str) -> Result<(), Error> {
        let context = Arc::clone(self.session().context());
        let seen = context.seen();
        let Some(handle) = self.session().handle() else {
            return Err(Error::new(ErrorKind::NotSignedIn));
        };
        let activity = Activity {
            at: context.area.store.now(),
            kind: cut(kind, Activity::MAX_KIND_BYTES).into(),
            resource: cut(resource, Activity::MAX_RESOURCE_BYTES).into(),
            handle: Some(handle),
            address: seen.address,
            user_agent: seen.agent,
        };
        let user = self.user_id().clone();
        Finish::new(async move { Ok(context.area.store.record(user, activity).await?) }).await
    }
}
