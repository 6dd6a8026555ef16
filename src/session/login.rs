//! Signing in, and the other ways to a new id.
//!
//! A login never moves privilege into an existing id. It makes a session under a new one and ends the old: in one step
//! where both are the same user's, else in two, and then only the second makes it so. What crosses is what the login
//! names, as last stored.

use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use serde::Serialize;

use super::Session;
use super::area::Area;
use super::commit::NewSession;
use super::context::Context;
use super::finish::Finish;
use super::info::Freshness;
use super::state::{Identity, Live, Phase, Step, Unknown};
use crate::error::Error;
use crate::id::{Fresh, RecordKey, UserId};
use crate::key::{DataName, Key};
use crate::problem::ErrorKind;
use crate::record::{Changes, DemoPointer, End, EndReason, Op, Record};
use crate::store::{
    Applied, Apply, EndScope, EndSessions, EndedSession, Renewal, Replace, Replaced, SignIn,
};
use crate::user::UserSession;

/// A login that is being put together; awaiting it signs in.
///
/// Nothing crosses from before, neither stored nor staged, but what [`keep`](Self::keep) names.
#[derive(Debug)]
#[must_use = "a login does nothing until it is awaited"]
pub struct Login<'a> {
    session: &'a Session,
    user: UserId,
    keep: Vec<DataName>,
    with: Vec<(DataName, Vec<u8>)>,
    persistent: bool,
    adopts: bool,
    failed: Option<Error>,
}

impl<'a> Login<'a> {
    pub(super) const fn new(session: &'a Session, user: UserId) -> Self {
        Self {
            session,
            user,
            keep: Vec::new(),
            with: Vec::new(),
            persistent: false,
            adopts: false,
            failed: None,
        }
    }

    /// Takes this value along from the session before, as last stored or as staged by this request.
    pub fn keep<T>(mut self, key: Key<T>) -> Self {
        self.keep.push(key.into_name());
        self
    }

    /// Puts a value into the new session, in the same step.
    pub fn with<T: std::borrow::Borrow<V>, V: Serialize + ?Sized>(
        mut self,
        key: Key<T>,
        value: &V,
    ) -> Self {
        match super::encode(value) {
            Ok(json) => {
                let name = key.into_name();
                self.with.retain(|(given, _)| *given != name);
                self.with.push((name, json));
            }
            Err(error) => self.failed = Some(error),
        }
        self
    }

    /// Keeps the cookie beyond the browser's session, under the layer's
    /// [`remember_timeouts`](crate::SessionLayerBuilder::remember_timeouts).
    pub fn remember(mut self) -> Self {
        self.persistent = true;
        self
    }

    /// Brings the demo along that the request has a cookie of, with what was said in it: it is this user's from then on, under a
    /// new id within its own slot, and the old one is dead. Nothing else of it crosses; the user's session keeps its name:
    /// [`UserSession::demo`]. Two store calls more: the demo is read, if this request has not, and gets its id.
    ///
    /// Where there is no demo, where it is another user's already, or where it cannot be read or changed now because the store is
    /// away, the login is one like any other, and the demo stays as it is, under its cookie. If the login fails after it, the
    /// demo is its user's all the same: it is the same browser's, and they had proved who they are.
    pub fn adopt_demo(mut self) -> Self {
        self.adopts = true;
        self
    }
}

impl IntoFuture for Login<'_> {
    type Output = Result<UserSession, Error>;
    type IntoFuture = LoginFuture;

    fn into_future(self) -> LoginFuture {
        let session = self.session.clone();
        let Self {
            user,
            keep,
            with,
            persistent,
            adopts,
            failed,
            ..
        } = self;
        let mut new = NewSession {
            user: Some(user.clone()),
            persistent,
            values: with,
            demo: None,
        };
        LoginFuture(Finish::new(async move {
            if let Some(error) = failed {
                return Err(error);
            }
            let context = &session.context;
            context.sign_in(&user, &keep, &mut new, adopts).await?;
            Ok(UserSession::new(session, user))
        }))
    }
}

/// The future of a [`Login`].
///
/// # Cancel safety
/// Dropped before its first poll it has done nothing; dropped later it is carried through in the background, and if
/// the request dies with it, the session that nobody got the cookie of is ended.
#[must_use = "futures do nothing until they are polled"]
pub struct LoginFuture(Finish<Result<UserSession, Error>>);

impl Future for LoginFuture {
    type Output = Result<UserSession, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl std::fmt::Debug for LoginFuture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginFuture").finish_non_exhaustive()
    }
}

impl Context {
    async fn sign_in(
        self: &Arc<Self>,
        user: &UserId,
        keep: &[DataName],
        new: &mut NewSession,
        adopts: bool,
    ) -> Result<(), Error> {
        if !user.is_valid() {
            return Err(Error::new(ErrorKind::InvalidUser));
        }
        let _turn = self.turn().await;
        self.must_be_open()?;
        // What is kept comes from the session as it is.
        self.read_copy_again().await;
        // What is rare, or takes a call as well, is boxed: this future would have room for all of it.
        if adopts {
            // First, so that the new session can name it.
            new.demo = Box::pin(self.adopt_demo(user)).await?;
        }
        let (before, keep) = self.crossing(keep, &mut new.values);
        let Some(live) = before else {
            match self.unknown() {
                Some(unknown) => Box::pin(self.sign_in_over(unknown, new)).await?,
                None => drop(self.create(new).await?),
            }
            self.forget_staged();
            return Ok(());
        };
        if live.record.user() == Some(user.as_str())
            && Box::pin(self.sign_in_again(&live, &keep, new)).await?
        {
            self.forget_staged();
            return Ok(());
        }
        Box::pin(self.sign_in_from(&live, &keep, new)).await?;
        self.forget_staged();
        Ok(())
    }

    /// Makes the request's demo this user's; `None` where there is none to be had.
    async fn adopt_demo(&self, user: &UserId) -> Result<Option<DemoPointer>, Error> {
        let Some(demo) = self.demo() else {
            return Ok(None);
        };
        let _turn = demo.turn().await;
        let unavailable = |error: Error| match error.kind() {
            ErrorKind::StoreUnavailable => {
                tracing::debug!(target: "sessile", %error, "a demo could not be brought along");
                Ok(None)
            }
            _ => Err(error),
        };
        if let Err(error) = demo.load().await {
            return unavailable(error);
        }
        let live = demo.state().live().cloned();
        let Some(live) = live.filter(|live| {
            live.record
                .user()
                .is_none_or(|whose| whose == user.as_str())
        }) else {
            return Ok(None);
        };
        let fresh = Fresh::draw()?;
        match demo
            .renew(&live, &fresh, Renewal::Adopted(user.clone()))
            .await
        {
            Ok(Renewed::Done(record)) => {
                let now = self.area.store.now();
                self.area.events.demo_adopted(now, &record);
                Ok(Some(DemoPointer {
                    handle: record.handle(),
                    key: fresh.id(live.key.bucket).key(live.key.kind),
                }))
            }
            Ok(Renewed::Moved) => {
                let end = End::new(EndReason::Regenerated, self.area.store.now());
                demo.state().died(end);
                Ok(None)
            }
            Ok(Renewed::Ended(end)) => {
                demo.state().died(end);
                Ok(None)
            }
            Err(error) => unavailable(error),
        }
    }

    /// What this request was before, and which of the kept names must still come from there: what it staged itself
    /// goes over the stored, and what the login brings goes over both.
    fn crossing(
        &self,
        keep: &[DataName],
        values: &mut Vec<(DataName, Vec<u8>)>,
    ) -> (Option<Live>, Vec<DataName>) {
        let state = self.state();
        let mut stored = Vec::new();
        for name in keep {
            if values.iter().any(|(given, _)| given == name) || stored.contains(name) {
                continue;
            }
            match state.staged.get(name).map(|change| &change.op) {
                Some(Op::Set(json)) => values.push((name.clone(), json.clone())),
                Some(Op::Remove | Op::Add(_)) => {}
                None if state.staged.clears(name) => {}
                None => stored.push(name.clone()),
            }
        }
        (state.live().cloned(), stored)
    }

    /// From a session of the same user: one step. `false` where that session ended meanwhile.
    async fn sign_in_again(
        self: &Arc<Self>,
        live: &Live,
        keep: &[DataName],
        new: &NewSession,
    ) -> Result<bool, Error> {
        let fresh = Fresh::draw()?;
        let record = self.area.new_record(&fresh, new.clone(), self.seen());
        let user = UserId::from(record.user().unwrap_or_default());
        let renewal = Renewal::SignIn(Box::new(SignIn {
            record,
            keep: keep.to_vec(),
            began_at: self.sign_in_began_at(&user, Step::OfOwn),
            limit: self.area.config.limit(&user),
        }));
        match self.renew(live, &fresh, renewal).await? {
            Renewed::Done(record) => {
                let old = EndedSession {
                    handle: live.record.handle(),
                    user: Some(user),
                };
                let address = live.record.address();
                self.area
                    .tell_ended(&[old], EndReason::Regenerated, address);
                self.area.events.created(self.area.store.now(), &record);
                Ok(true)
            }
            Renewed::Moved | Renewed::Ended(_) => Ok(false),
        }
    }

    /// From somebody else's session, a stranger's mostly: first the new one, then the end of the old one, with which
    /// it is done. If that end fails, the new session is ended.
    async fn sign_in_from(
        self: &Arc<Self>,
        live: &Live,
        keep: &[DataName],
        new: &mut NewSession,
    ) -> Result<(), Error> {
        for name in keep {
            if let Some(json) = live.record.value(name) {
                new.values.push((name.clone(), json.to_vec()));
            }
        }
        let (cookie, unsent) = {
            let state = self.state();
            (state.cookie, state.unsent.clone())
        };
        let (key, _) = self.create(new).await?;
        let end = EndSessions {
            scope: EndScope::One(live.key, None),
            reason: EndReason::Regenerated,
            note: None,
            before: None,
        };
        let ended = match self.store().end(end, Some(live.record.clone())).await {
            Ok(ended) => ended.value,
            Err(error) => {
                self.take_back(key).await;
                // It may be there still, and its cookie is not replaced because the store is away.
                let mut state = self.state();
                state.identity = Identity::Live(live.clone());
                if matches!(state.phase, Phase::Open | Phase::Committing) {
                    (state.cookie, state.unsent) = (cookie, unsent);
                }
                drop(state);
                return Err(error.into());
            }
        };
        let Some(last) = &ended.last else {
            return Ok(());
        };
        self.area
            .tell_ended(&ended.sessions, EndReason::Regenerated, last.address());
        let changes = difference(keep, &live.record, last);
        if changes.is_empty() {
            return Ok(());
        }
        match self
            .store()
            .apply(
                Apply {
                    key,
                    changes: changes.clone(),
                    seen: None,
                    read: None,
                },
                Freshness::Live,
            )
            .await
            .map(|told| told.value)
        {
            Ok(Applied::Saved(_)) => {
                self.state().saved(&key, changes);
                Ok(())
            }
            Ok(outcome) => {
                self.take_back(key).await;
                Err(self.refused(&key, outcome))
            }
            Err(error) => {
                self.take_back(key).await;
                Err(error.into())
            }
        }
    }

    fn unknown(&self) -> Option<Unknown> {
        self.state().unknown().cloned()
    }

    /// Under an id that could not be looked up: as from no session; and whatever is under that id is over with it, here
    /// at once, and in the store before it is read again. If that cannot be noted, the new session is ended.
    async fn sign_in_over(
        self: &Arc<Self>,
        unknown: Unknown,
        new: &mut NewSession,
    ) -> Result<(), Error> {
        let (key, _) = self.create(new).await?;
        for (old, born) in self.presented_keys() {
            let (scope, reason) = match born {
                None => (EndScope::One(old, None), EndReason::Regenerated),
                // Another instance may have it and bring it for an hour yet: the mark of a regenerated id is not kept
                // for so long.
                Some(_) => (EndScope::Unborn(old), EndReason::LoggedOut),
            };
            let end = EndSessions {
                scope,
                reason,
                note: None,
                before: None,
            };
            match self.store().end(end, None).await {
                Ok(told) => {
                    let (ended, address) = (told.value.sessions, self.seen().address);
                    self.area.tell_ended(&ended, reason, address.as_deref());
                }
                Err(error) => {
                    self.take_back(key).await;
                    self.state().identity = Identity::Unknown(unknown);
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    /// Ends the session that was just made, and is nobody's again: also where its cookie is out already.
    async fn take_back(&self, key: RecordKey) {
        {
            let mut state = self.state();
            state.identity = Identity::Stranger;
            state.cookie = super::state::Outgoing::Nothing;
            state.unsent = None;
        }
        let area = Arc::clone(&self.area);
        let end = Finish::new(async move { area.end_unsent(key).await });
        // It goes on where the request waits no longer.
        match self.budget.left() {
            Some(left) => drop(tokio::time::timeout(left, end).await),
            None => end.await,
        }
    }

    /// Gives the live session a new id, and makes that this request's.
    pub(super) async fn renew(
        self: &Arc<Self>,
        live: &Live,
        fresh: &Fresh,
        renewal: Renewal,
    ) -> Result<Renewed, Error> {
        let id = fresh.id(live.key.bucket);
        let key = id.key(live.key.kind);
        let replace = Replace {
            key: live.key,
            successor: key.digest,
            renewal,
            seen: self.seen(),
        };
        let is_sign_in = matches!(replace.renewal, Renewal::SignIn(_));
        let told = self.store().replace(replace).await?;
        let freshness = told.freshness;
        match told.value {
            Replaced::Replaced { record, ended } => {
                self.area
                    .tell_ended(&ended, EndReason::Limit, record.address());
                if is_sign_in && freshness == Freshness::Local && live.freshness != Freshness::Local
                {
                    // The new one lives here; that the old one is over has still to reach the store.
                    self.area.end_renewed(live).await;
                }
                let id = id.born(self.area.store.birth(freshness));
                let adopted = self.state().adopt(id, key, record.clone(), freshness);
                match adopted {
                    Ok(()) => Ok(Renewed::Done(record)),
                    Err(()) => {
                        self.area.end_unsent(key).await;
                        Err(Error::new(ErrorKind::ResponseSent))
                    }
                }
            }
            Replaced::Moved => Ok(Renewed::Moved),
            Replaced::Ended(end) => Ok(Renewed::Ended(end)),
            Replaced::Refused(reason) => {
                Err(Error::ended(&End::new(reason, self.area.store.now())))
            }
            Replaced::TooLarge => Err(Error::new(ErrorKind::TooLarge)),
        }
    }

    pub(crate) fn must_be_open(&self) -> Result<(), Error> {
        match self.state().phase {
            Phase::Open => Ok(()),
            Phase::Committing | Phase::Closed | Phase::Abandoned => {
                Err(Error::new(ErrorKind::ResponseSent))
            }
        }
    }

    fn forget_staged(&self) {
        self.state().staged = Changes::default();
    }
}

impl Area {
    /// Ends a session of a user in whose place another one was made while the store is away.
    async fn end_renewed(&self, live: &Live) {
        let end = EndSessions {
            scope: EndScope::One(live.key, None),
            reason: EndReason::Regenerated,
            note: None,
            before: None,
        };
        // It holds here whatever comes of it; what cannot wait for the store is told there.
        let _ = self.store.end(end, Some(live.record.clone())).await;
    }
}

/// What came of a renewal.
pub(super) enum Renewed {
    Done(Record),
    Moved,
    Ended(End),
}

/// What the kept values became after they were read.
fn difference(keep: &[DataName], read: &Record, last: &Record) -> Changes {
    let mut changes = Changes::default();
    for name in keep {
        match (read.value(name), last.value(name)) {
            (before, now) if before == now => {}
            (_, Some(json)) => changes.put(name.clone(), Op::Set(json.to_vec())),
            (_, None) => changes.put(name.clone(), Op::Remove),
        }
    }
    changes
}
