//! The handle of a request's session.
//!
//! 1. **Data is staged.** [`insert`](Session::insert), [`remove`](Session::remove) and [`clear`](Session::clear) cost
//!    nothing; the layer stores them when the handler has answered, in one call, before the response leaves. They are
//!    dropped when the handler failed (status 500 or above, or an error of the service), panicked, or was cancelled.
//! 2. **Identity is awaited.** [`login`](Session::login), [`logout`](Session::logout),
//!    [`regenerate_id`](Session::regenerate_id), [`update`](Session::update), [`increment`](Session::increment) and
//!    [`commit`](Session::commit) have happened when they return `Ok`, and their cookie goes out with whatever
//!    response follows.
//! 3. **The response closes it.** Afterwards a stream or socket still reads, and writes with `update` and `increment`,
//!    and can log out; what would need a cookie returns [`ErrorKind::ResponseSent`].
//!
//! # Cancel safety
//! Every future of this module may be dropped. What it began is carried through in the background; what it had not
//! begun, polls included, does not happen. If the request itself dies, a session whose cookie was never sent is ended.

mod area;
mod asked;
mod commit;
mod context;
mod ended;
mod finish;
mod info;
mod login;
mod state;

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use http::Extensions;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use area::Area;
pub(crate) use asked::Asked;
pub(crate) use commit::NewSession;
pub use context::Passive;
pub(crate) use context::{Context, Current};
pub(crate) use finish::Finish;
pub use info::{Freshness, Remaining, SessionInfo};
pub use login::{Login, LoginFuture};
pub(crate) use state::{EndedAll, Identity, Outgoing, Phase, Step};

use crate::error::Error;
use crate::id::{Fresh, Handle, UserId};
use crate::key::Key;
use crate::problem::ErrorKind;
use crate::record::{Changes, End, EndReason, Entry, Op};
use crate::store::{EndScope, EndSessions, Renewal};
use crate::user::UserSession;
use login::Renewed;
use state::View;

/// What became of something that was to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The store has it.
    Committed,
    /// The store is away; it is noted here, holds here, and will reach the store.
    Pending,
    /// There was nothing to do.
    Nothing,
}

impl Outcome {
    /// Its name in responses: `committed`, `pending`, `none`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Pending => "pending",
            Self::Nothing => "none",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The session of a request: a stranger's, a user's, or none yet.
///
/// An extractor (feature `axum`); without axum, [`from_extensions`](Self::from_extensions). Getting it reads the
/// record, once a request however many ask: one store call, none without a cookie. Clones are the same session.
///
/// # Under an id that cannot be looked up
/// While the store is away, an id may be presented of which nothing is known here. Nobody can tell whose it is then, and
/// nobody is told that it is nobody's:
///
/// - [`login`](Self::login) works wherever a session can be made, as from no session: nothing is
///   [kept](Login::keep) but what this request staged. What is under the old id ends with it, now or, where that has to
///   wait for the store, before the store is read again.
/// - What returns a `Result` and needs the session is `StoreUnavailable`. [`user`](Self::user), [`handle`](Self::handle),
///   [`info`](Self::info), [`freshness`](Self::freshness) and [`end`](Self::end) are `None`.
/// - Without a login, a response of the handler's does not go out, for it may rest on that `None`: 503 with
///   `Retry-After` does, and the cookie stays. Its own stands only where it is a 5xx, or a 4xx of a handler that asked the
///   session nothing and staged nothing: a wrong password.
///
/// A handler that does something for strangers, beyond an answer, takes `Option<UserSession>`: that, as every other
/// extractor, is 503 before the handler runs. So is this, by [`must_be_live`](Self::must_be_live).
///
/// See the [module](self) for when what is stored.
#[derive(Clone)]
pub struct Session {
    context: Arc<Context>,
}

impl Session {
    /// The session of a request, by its extensions: for services without axum. It is that of the innermost
    /// [`SessionLayer`](crate::SessionLayer) around the service.
    ///
    /// # Errors
    /// `Misconfigured` without a layer. A record that cannot be read is told by what would need it.
    pub fn from_extensions(
        extensions: &Extensions,
    ) -> impl Future<Output = Result<Self, Error>> + Send + use<> {
        let current = Current::of(extensions);
        async move { Ok(Self::open(current.ok_or_else(|| missing_layer("Session"))?).await) }
    }

    /// The same for what has no use for a session that cannot be looked up: that is an error then.
    #[cfg(feature = "axum")]
    pub(crate) async fn known_from_extensions(extensions: &Extensions) -> Result<Self, Error> {
        let context = Current::of(extensions).ok_or_else(|| missing_layer("Session"))?;
        context.load().await?;
        Ok(Self { context })
    }

    /// The session of the layer with this cookie name, where two layers with two names are around the service.
    ///
    /// # Errors
    /// `Misconfigured` where no layer around the service has that name.
    pub fn from_extensions_by_cookie(
        extensions: &Extensions,
        cookie_name: &str,
    ) -> impl Future<Output = Result<Self, Error>> + Send + use<> {
        let mut context = extensions.get::<Current>().map(|current| &current.0);
        while let Some(inner) = context
            && inner.area.config.cookie.name != cookie_name
        {
            context = inner.outer.as_ref();
        }
        let context = context.map(Arc::clone).ok_or_else(|| {
            missing_layer("Session")
                .with_detail(format!("no session layer has the cookie {cookie_name}"))
        });
        async move { Ok(Self::open(context?).await) }
    }

    /// Whatever is known of it: under an unknown id, too, one can sign in.
    async fn open(context: Arc<Context>) -> Self {
        if context.load().await.is_err() {
            context.state().hand_out();
        }
        Self { context }
    }

    /// A value, as this request sees it: what it staged, else what was stored when the session was read.
    ///
    /// # Errors
    /// `InvalidValue` when it does not decode as a `T`: that is never `None`. `StoreUnavailable` where the session could
    /// not be looked up.
    pub fn get<T: DeserializeOwned>(&self, key: Key<T>) -> Result<Option<T>, Error> {
        let view = self.context.state().look().view(key.name());
        // Decoded without the lock: a `Deserialize` is the application's code.
        match view {
            View::Staged(json) => decode(key.name(), Some(&json)),
            View::Stored(record) => decode(key.name(), record.value(key.name())),
            View::Absent => Ok(None),
            View::Unknown(error) => Err(error),
        }
    }

    /// Stages a value. A stranger gets a session, and a cookie, when the response commits.
    ///
    /// The value may be anything that the key's type borrows as: `insert(NAME, "x")` for a `Key<String>`.
    ///
    /// # Errors
    /// `InvalidValue` when it does not encode as JSON; `ResponseSent` when the response was made already.
    pub fn insert<T: Borrow<V>, V: Serialize + ?Sized>(
        &self,
        key: Key<T>,
        value: &V,
    ) -> Result<(), Error> {
        let json = encode(value)?;
        self.stage(|staged| staged.put(key.into_name(), Op::Set(json)))
    }

    /// Stages the removal of a value.
    ///
    /// # Errors
    /// `ResponseSent` when the response was made already.
    pub fn remove<T>(&self, key: Key<T>) -> Result<(), Error> {
        self.stage(|staged| staged.put(key.into_name(), Op::Remove))
    }

    /// Stages the removal of all values. The session itself stays; to end it, [`logout`](Self::logout).
    ///
    /// # Errors
    /// `ResponseSent` when the response was made already.
    pub fn clear(&self) -> Result<(), Error> {
        self.stage(Changes::clear)
    }

    fn stage(&self, change: impl FnOnce(&mut Changes)) -> Result<(), Error> {
        let mut state = self.context.state();
        if state.phase != Phase::Open {
            return Err(Error::new(ErrorKind::ResponseSent));
        }
        change(&mut state.staged);
        Ok(())
    }

    /// Reads a value, changes it, and stores it, now and atomically: parallel updates of one value lose none.
    ///
    /// What this request staged for the value is where it starts from. `edit` may run several times, when other requests
    /// change the value at once; what it returns last is stored. A stranger gets a session. One store call, two more
    /// for each time that somebody else was faster.
    ///
    /// # Errors
    /// `InvalidValue`, `SessionEnded`, `SessionMoved`, `TooLarge`, `StoreUnavailable` (the value may or may not be
    /// stored then; it is never stored twice), `Contended` after two seconds of being too slow, and `ResponseSent`
    /// where a session would have to be made.
    pub async fn update<T, F>(&self, key: Key<T>, mut edit: F) -> Result<T, Error>
    where
        T: Serialize + DeserializeOwned,
        F: FnMut(Option<T>) -> T + Send,
    {
        let name = key.into_name();
        let label = name.clone();
        commit::update(&self.context, name, move |json| {
            let value = edit(decode(&label, json)?);
            Ok((encode(&value)?, value))
        })
        .await
    }

    /// Adds to an integer, now and in the store, and returns what it came to. None counts as 0. One store call; it
    /// never has to be repeated.
    ///
    /// # Errors
    /// As [`update`](Self::update); `InvalidValue` when the value is no integer, or the sum does not fit.
    pub async fn increment(&self, key: Key<i64>, by: i64) -> Result<i64, Error> {
        commit::increment(&self.context, key.into_name(), by).await
    }

    /// Stores what is staged, now: for a handler that wants to know, or that goes on for long.
    ///
    /// # Errors
    /// `SessionEnded`, `SessionMoved` and `TooLarge`, after which what was staged is gone; `StoreUnavailable`, after
    /// which the response tries again; `ResponseSent`.
    pub async fn commit(&self) -> Result<Outcome, Error> {
        let context = Arc::clone(&self.context);
        Finish::new(async move {
            let _turn = context.turn().await;
            context.must_be_open()?;
            context.commit(false, true).await
        })
        .await
    }

    /// Signs a user in: a new id, so that whoever knew the old one has nothing (OWASP: session fixation). Await it, after
    /// adding to it what it should bring along.
    ///
    /// From no session: one store call. From one of the same user: one. From a stranger's: two, three where a
    /// kept value changed meanwhile.
    ///
    /// # Errors
    /// `InvalidUser`; `TooManySessions` where the limit refuses; `SessionEnded` where all of the user's sessions
    /// were ended after this request began; `TooLarge`; `StoreUnavailable`; `ResponseSent`. Nobody is signed in then,
    /// and nothing of before is lost, but for a store that failed between the two steps.
    pub fn login(&self, user: impl Into<UserId>) -> Login<'_> {
        Login::new(self, user.into())
    }

    /// Ends the session, now. What was staged is dropped, and the response removes the cookie. Signing out without a
    /// session is fine. One store call, two where the session was over already. Where another request has superseded
    /// the id meanwhile, the outcome is [`Nothing`](Outcome::Nothing), and the cookie, which is that one's, stays.
    ///
    /// # Errors
    /// `StoreUnavailable`: the session may still be there, and the cookie stays.
    pub async fn logout(&self) -> Result<Outcome, Error> {
        Arc::clone(&self.context).log_out().await
    }

    /// Gives the session a new id: same data, same handle, same absolute end; the old id is dead. Do it whenever
    /// what the session may do changes. Without a session it does nothing. One store call.
    ///
    /// # Errors
    /// `SessionMoved` where another request was faster: its cookie counts. `SessionEnded`, `StoreUnavailable`,
    /// `ResponseSent`.
    pub async fn regenerate_id(&self) -> Result<(), Error> {
        let context = Arc::clone(&self.context);
        Finish::new(async move {
            let renewed = context.renew_live(|_| Renewal::SameSession).await?;
            if let Some(record) = renewed {
                let now = context.area.store.now();
                context.area.events.regenerated(now, &record);
            }
            Ok(())
        })
        .await
    }

    /// The signed-in user's session, if this is one.
    #[must_use]
    pub fn user(&self) -> Option<UserSession> {
        let user = self
            .context
            .state()
            .look()
            .live()?
            .record
            .user()
            .map(UserId::from)?;
        Some(UserSession::new(self.clone(), user))
    }

    /// The session's public name, if there is one.
    #[must_use]
    pub fn handle(&self) -> Option<Handle> {
        let mut state = self.context.state();
        state.look().live().map(|live| live.record.handle())
    }

    /// The session's times and circumstances, if there is one.
    #[must_use]
    pub fn info(&self) -> Option<SessionInfo> {
        self.context.state().look();
        self.context.info()
    }

    /// How long the session has left, if there is one, by the store's clock. Looking extends nothing; the request itself
    /// may, unless it is [passive](Passive). No store call.
    #[must_use]
    pub fn remaining(&self) -> Option<Remaining> {
        self.context.state().look();
        self.context.remaining()
    }

    /// On what rests what this request knows of its session, if there is one: on the store, on what this instance
    /// verified before the store went away, or on this instance alone. A copy that the store keeps true counts as the
    /// store's word.
    #[must_use]
    pub fn freshness(&self) -> Option<Freshness> {
        let mut state = self.context.state();
        state.look().live().map(|live| live.freshness)
    }

    /// For what must not run on a lease, nor on a copy: whether the store itself said what this request knows of its session.
    /// Where a near cache (`RedisStoreBuilder::near_cache`) did, it is read again, with one store call; else there is
    /// none.
    ///
    /// # Errors
    /// `StoreUnavailable` where the store did not say it; `SessionEnded` or `SessionMoved` where it says now that the session
    /// is over.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn must_be_live(&self) -> Result<(), Error> {
        let was_copy = self.context.state().copied().is_some();
        self.context.read_copy_again().await;
        if was_copy {
            match &self.context.state().identity {
                Identity::Live(_) => {}
                Identity::Dead(dead) if dead.moved => {
                    return Err(Error::new(ErrorKind::SessionMoved));
                }
                Identity::Dead(dead) => return Err(Error::ended(&dead.end)),
                Identity::Unknown(unknown) => return Err(unknown.error()),
                Identity::Stranger => {
                    let end = End::new(EndReason::StoreLost, self.context.area.store.now());
                    return Err(Error::ended(&end));
                }
            }
        }
        self.must_not_be_leased()
    }

    /// The same of what is no copy, or is none any more.
    pub(crate) fn must_not_be_leased(&self) -> Result<(), Error> {
        self.context.must_be_known()?;
        match self.freshness() {
            Some(Freshness::Stale | Freshness::Local) => {
                Err(Error::new(ErrorKind::StoreUnavailable)
                    .with_retry_after(std::time::Duration::from_secs(1))
                    .with_detail("this is not done while the store is away"))
            }
            Some(Freshness::Live) | None => Ok(()),
        }
    }

    /// Why and when the session ended whose cookie this request carries, if it is a dead one's.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        match &self.context.state().look().identity {
            Identity::Dead(dead) => Some(dead.end.clone()),
            Identity::Live(_) | Identity::Stranger | Identity::Unknown(_) => None,
        }
    }

    pub(crate) const fn context(&self) -> &Arc<Context> {
        &self.context
    }
}

impl Context {
    fn info(&self) -> Option<SessionInfo> {
        let state = self.state();
        let live = state.live()?;
        let mut info = SessionInfo::of(&live.record, true);
        info.freshness = live.freshness;
        if let Some(seen) = &live.due {
            info.was_seen(seen, &live.record);
        }
        Some(info)
    }

    pub(crate) fn remaining(&self) -> Option<Remaining> {
        Some(Remaining::of(&self.info()?, self.area.store.now()))
    }

    /// Ends the session that this request has, if it has one.
    pub(crate) async fn log_out(self: Arc<Self>) -> Result<Outcome, Error> {
        let context = self;
        Finish::new(async move {
            let _turn = context.turn().await;
            let (key, known) = {
                let mut state = context.state();
                state.staged = Changes::default();
                match &state.identity {
                    Identity::Live(live) => (live.key, live.record.clone()),
                    // Its successor's cookie may be on its way: that one is not ours to remove.
                    Identity::Dead(dead) if dead.moved => return Ok(Outcome::Nothing),
                    Identity::Dead(_) => {
                        state.cookie = Outgoing::Remove;
                        return Ok(Outcome::Nothing);
                    }
                    Identity::Stranger => {
                        // An id that the store does not know is of no use to anybody.
                        if context.has_cookie() {
                            state.cookie = Outgoing::Remove;
                        }
                        return Ok(Outcome::Nothing);
                    }
                    // Not noted for later: whoever makes ids up would fill the journal.
                    Identity::Unknown(unknown) => return Err(unknown.error()),
                }
            };
            let end = EndSessions {
                scope: EndScope::One(key, None),
                reason: EndReason::LoggedOut,
                note: None,
                before: None,
            };
            let told = context.store().end(end, Some(known)).await?;
            let (outcome, ended) = (told.outcome(), told.value);
            if ended.sessions.is_empty()
                && outcome == Outcome::Committed
                && let Some(Entry::Ended(tombstone)) = context.store().load(key, None).await?.value
                && tombstone.end.reason == EndReason::Regenerated
            {
                // Another request was faster with a new id: that cookie is not ours to remove.
                context.state().died(tombstone.end);
                return Ok(Outcome::Nothing);
            }
            let address = context.seen().address;
            context
                .area
                .tell_ended(&ended.sessions, EndReason::LoggedOut, address.as_deref());
            let mut state = context.state();
            state.identity = Identity::Stranger;
            state.unsent = None;
            state.cookie = Outgoing::Remove;
            Ok(match outcome {
                Outcome::Committed if ended.sessions.is_empty() => Outcome::Nothing,
                outcome => outcome,
            })
        })
        .await
    }

    /// Gives the live session a new id, `None` if there is none.
    pub(crate) async fn renew_live(
        self: &Arc<Self>,
        renewal: impl FnOnce(&crate::record::Record) -> Renewal,
    ) -> Result<Option<crate::record::Record>, Error> {
        let _turn = self.turn().await;
        self.must_be_open()?;
        self.read_copy_again().await;
        let live = match &self.state().identity {
            Identity::Live(live) => live.clone(),
            Identity::Dead(dead) if dead.moved => return Err(Error::new(ErrorKind::SessionMoved)),
            Identity::Dead(_) | Identity::Stranger => return Ok(None),
            Identity::Unknown(unknown) => return Err(unknown.error()),
        };
        let fresh = Fresh::draw()?;
        let error = match self.renew(&live, &fresh, renewal(&live.record)).await? {
            Renewed::Done(record) => return Ok(Some(record)),
            Renewed::Moved => {
                self.state()
                    .died(End::new(EndReason::Regenerated, self.area.store.now()));
                Error::new(ErrorKind::SessionMoved)
            }
            Renewed::Ended(end) => {
                let error = Error::ended(&end);
                self.state().died(end);
                error
            }
        };
        Err(error)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field(
                "handle",
                &self.context.state().live().map(|live| live.record.handle()),
            )
            .finish_non_exhaustive()
    }
}

/// What an extractor says that found no layer.
pub(crate) fn missing_layer(extractor: &str) -> Error {
    Error::new(ErrorKind::Misconfigured).with_detail(format!(
        "{extractor} needs a SessionLayer around its route (sessile {}): add `.layer(SessionLayer::new(store))` to the \
         router, after the route",
        env!("CARGO_PKG_VERSION")
    ))
}

pub(crate) fn encode<V: Serialize + ?Sized>(value: &V) -> Result<Vec<u8>, Error> {
    // Room for a value as large as most are: growing costs more than the bytes.
    let mut json = Vec::with_capacity(256);
    match serde_json::to_writer(&mut json, value) {
        Ok(()) => Ok(json),
        Err(error) => Err(Error::new(ErrorKind::InvalidValue)
            .with_detail("a value did not encode as JSON")
            .with_source(error)),
    }
}

fn decode<T: DeserializeOwned>(name: &str, json: Option<&[u8]>) -> Result<Option<T>, Error> {
    json.map(serde_json::from_slice)
        .transpose()
        .map_err(|error| {
            Error::new(ErrorKind::InvalidValue)
                .with_detail(format!(
                    "the session value {name:?} did not decode as a {}",
                    std::any::type_name::<T>()
                ))
                .with_source(error)
        })
}
