//! What one request carries: who it says it is, and what has become of that.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, header};
use tokio::sync::OnceCell;
use tower_cookies::Cookies;

use super::area::Area;
use super::asked::Asked;
use super::state::{Dead, Identity, Live, Phase, SUPERSEDED_GRACE, State, Step, Unknown};
use crate::address::client_address;
use crate::cookie::{CookieHeaders, Presented, Shown};
use crate::error::Error;
use crate::id::{Born, RecordKey, SessionId, UserId};
use crate::record::{
    Added, Changes, EndReason, Entry, MessageBounds, NewMessage, Record, Seen, Tombstone, cut,
};
use crate::store::{Budget, EndScope, EndSessions, StoreError, Told, UNBOUNDED};

/// A change of agent or network is written down at once, but not more often than this.
const MOVED_TOUCH: Duration = Duration::from_secs(10);

/// What browsers send with a request that nobody made by hand (yet).
static SEC_PURPOSE: HeaderName = HeaderName::from_static("sec-purpose");

/// Put into a request's extensions outside of the layer: this request is no activity, and extends nothing. For polls
/// and other requests that nobody made by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passive;

/// The extension by which extractors find the context of the innermost layer.
#[derive(Debug, Clone)]
pub(crate) struct Current(pub(crate) Arc<Context>);

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) area: Arc<Area>,
    /// That of the layer around this one, if there are two.
    pub(crate) outer: Option<Arc<Self>>,
    /// The application's jar, if its `CookieManagerLayer` is outside of ours.
    pub(crate) jar: Option<Cookies>,
    /// When the request began, by the store's clock.
    pub(crate) began_at: SystemTime,
    cookies: CookieHeaders,
    /// The demo of the same request, once somebody asks for it.
    demo: OnceLock<Arc<Self>>,
    address: Option<IpAddr>,
    agent: Option<HeaderValue>,
    passive: bool,
    /// It only reads, as far as its method says: a copy may answer it.
    reads_only: bool,
    /// What is left of the time that the request waits for the store.
    pub(super) budget: Budget,
    loaded: OnceCell<()>,
    /// See [`turn`](Self::turn).
    turn: tokio::sync::Mutex<()>,
    /// Held while a change is stored at once, also where who asked for it has gone away.
    pub(super) writing: tokio::sync::Mutex<()>,
    /// Held for a few instructions, never across an await, a user's closure or serde.
    state: Mutex<State>,
}

/// Waits for a lock that nearly nobody else wants: trying first takes a third of what waiting does, and passes nobody by,
/// for a lock that somebody waits for is not free.
pub(super) async fn lock(lock: &tokio::sync::Mutex<()>) -> tokio::sync::MutexGuard<'_, ()> {
    match lock.try_lock() {
        Ok(guard) => guard,
        Err(_) => lock.lock().await,
    }
}

/// Where a session is read from.
enum Place {
    /// The one place that its id names.
    Here(SessionId, RecordKey),
    /// Each place that one of several ids names.
    Twins,
    /// Where it was migrated to.
    Migrated,
}

impl Current {
    /// The context of the innermost layer around a service, by its request's extensions.
    pub(crate) fn of(extensions: &Extensions) -> Option<Arc<Context>> {
        extensions
            .get::<Self>()
            .map(|current| Arc::clone(&current.0))
    }
}

impl Context {
    #[inline(always)]
    pub(crate) fn new(
        area: &Arc<Area>,
        method: &Method,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Self {
        let config = &area.config;
        let began_at = area.store.now();
        let cookies = CookieHeaders::of(headers);
        // It tells whether to extend a session that is read.
        let passive = !cookies.is_empty()
            && (extensions.get::<Passive>().is_some()
                || headers
                    .get(&SEC_PURPOSE)
                    .is_some_and(|purpose| purpose.as_bytes().starts_with(b"prefetch"))
                || config
                    .passive_header
                    .as_ref()
                    .is_some_and(|name| headers.contains_key(name)));
        Self {
            outer: Current::of(extensions),
            jar: extensions.get::<Cookies>().cloned(),
            began_at,
            cookies,
            demo: OnceLock::new(),
            address: client_address(
                extensions,
                headers,
                &config.trusted_proxies,
                config.proxy_header,
            ),
            agent: headers.get(header::USER_AGENT).cloned(),
            passive,
            reads_only: method.is_safe(),
            budget: area.store.budget(),
            loaded: OnceCell::new(),
            turn: tokio::sync::Mutex::new(()),
            writing: tokio::sync::Mutex::new(()),
            state: Mutex::new(State::default()),
            area: Arc::clone(area),
        }
    }

    /// The demo of the same request, in its own area. `None`: this is one.
    pub(crate) fn demo(&self) -> Option<Arc<Self>> {
        let demos = self.area.demos.as_ref()?;
        let demo = self.demo.get_or_init(|| {
            Arc::new(Self {
                area: Arc::clone(&demos.area),
                outer: None,
                jar: self.jar.clone(),
                began_at: self.began_at,
                cookies: self.cookies.clone(),
                demo: OnceLock::new(),
                address: self.address,
                agent: self.agent.clone(),
                passive: self.passive,
                reads_only: self.reads_only,
                budget: self.budget.rest(),
                loaded: OnceCell::new(),
                turn: tokio::sync::Mutex::new(()),
                writing: tokio::sync::Mutex::new(()),
                state: Mutex::new(State::default()),
            })
        });
        Some(Arc::clone(demo))
    }

    /// The same, if somebody asked for it.
    pub(crate) fn asked_demo(&self) -> Option<&Arc<Self>> {
        self.demo.get()
    }

    pub(crate) const fn address(&self) -> Option<IpAddr> {
        self.address
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics under it; if something did, the state is still one of its own.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store, for no longer than this request waits for it. A stream that goes on behind its response waits for
    /// each call as long as the store lets it.
    pub(crate) fn store(&self) -> Asked<'_> {
        let budget = match self.state().phase {
            Phase::Open | Phase::Committing => &self.budget,
            Phase::Closed | Phase::Abandoned => &UNBOUNDED,
        };
        self.area.store.within(budget)
    }

    /// Operations that change who this is, or that read and then write, take turns within a request: also with what
    /// goes on in the background after its future was dropped.
    pub(crate) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        let turn = lock(&self.turn).await;
        drop(lock(&self.writing).await);
        turn
    }

    /// Whether the request carries what may be a session's cookie.
    pub(crate) fn has_cookie(&self) -> bool {
        !self.presented().is_empty()
    }

    /// The ids that the request carries. Looked for whenever they are asked for, which is once in most requests that ask.
    fn presented(&self) -> Presented {
        let config = &self.area.config;
        let presented = self.cookies.ids(&config.cookie.name);
        match &config.legacy {
            // Only where there is none of ours.
            Some(legacy) if presented.is_empty() => {
                let kind = self.area.kind;
                self.cookies
                    .old_ids(&config.cookie.name, legacy.cookie(kind), |value| {
                        legacy.accept(self.began_at, kind, value)
                    })
            }
            Some(_) | None => presented,
        }
    }

    /// Whether the session was read: whether the response depends on the cookie.
    pub(crate) fn was_read(&self) -> bool {
        self.loaded.initialized()
    }

    /// Reads the session, once; all who ask share the answer, a failure too: the request is an unknown one's then.
    pub(crate) async fn load(&self) -> Result<(), Error> {
        self.loaded.get_or_init(|| self.read(self.reads_only)).await;
        self.must_be_known()
    }

    /// The same for what must have it from the store itself: where a copy has answered, it is read again.
    #[cfg(feature = "axum")]
    pub(crate) async fn load_live(&self) -> Result<(), Error> {
        self.loaded.get_or_init(|| self.read(false)).await;
        self.read_copy_again().await;
        self.must_be_known()
    }

    /// Reads from the store what is known of a copy. It may be over, as everywhere.
    pub(super) async fn read_copy_again(&self) {
        let copied = self.state().copied();
        if let Some(key) = copied {
            Box::pin(self.read_again(key)).await;
        }
    }

    async fn read_again(&self, key: RecordKey) {
        let told = self.store().load(key, None).await;
        // Whatever is noticed or counted, without the lock.
        let identity = match told {
            Ok(told) => {
                let freshness = told.freshness;
                match told.value {
                    Some(Entry::Live(record)) => {
                        let due = self.is_touch_due(&record).then(|| self.seen());
                        self.state().reread(&key, record, freshness, due);
                        return;
                    }
                    Some(Entry::Ended(tombstone)) => Identity::Dead(self.dead(tombstone)),
                    None => {
                        self.refuse();
                        Identity::Stranger
                    }
                }
            }
            Err(error) => Identity::Unknown(Unknown::new(error)),
        };
        self.state().was_copy(&key, identity);
    }

    /// Whether it could be told whose request this is.
    pub(crate) fn must_be_known(&self) -> Result<(), Error> {
        match self.state().unknown() {
            Some(unknown) => Err(unknown.error()),
            None => Ok(()),
        }
    }

    /// `near`: whether a copy will do.
    async fn read(&self, near: bool) {
        if let Some(place) = self.read_now(near) {
            // Boxed, for every handler's future would have room for it.
            Box::pin(self.read_from(place)).await;
        }
    }

    /// Reads what is known here; or else where it has to be read from.
    fn read_now(&self, near: bool) -> Option<Place> {
        match self.presented().first()? {
            (Shown::Old(_), _) => Some(Place::Migrated),
            (Shown::Id(_), true) => Some(Place::Twins),
            (Shown::Id(id), false) => {
                let key = id.key(self.area.kind);
                let store = self.store();
                let known = store
                    .load_now(&key)
                    .or_else(|| near.then(|| store.near(&key, id.birth())).flatten());
                match known {
                    Some(entry) => {
                        self.state().identity = self.identify([(Some(id), key, entry)]);
                        None
                    }
                    None => Some(Place::Here(id, key)),
                }
            }
        }
    }

    async fn read_from(&self, place: Place) {
        let identity = match place {
            Place::Here(id, key) => {
                let entry = self.store().load_here(key, id.birth()).await;
                entry.map(|entry| self.identify([(Some(id), key, entry)]))
            }
            Place::Migrated => Box::pin(self.read_migrated()).await,
            Place::Twins => Box::pin(self.read_twins()).await,
        };
        self.state().identity =
            identity.unwrap_or_else(|error| Identity::Unknown(Unknown::new(error)));
    }

    async fn read_twins(&self) -> Result<Identity, StoreError> {
        let ids: Vec<SessionId> = self.presented_ids().collect();
        let keys: Vec<_> = ids
            .iter()
            .map(|id| (id.key(self.area.kind), id.birth()))
            .collect();
        let entries = self.store().load_each(&keys).await?;
        let found = ids.into_iter().zip(keys).zip(entries);
        Ok(self.identify(found.map(|((id, (key, _)), entry)| (Some(id), key, entry))))
    }

    /// Of ids of another system: each names where its session is, or nothing.
    async fn read_migrated(&self) -> Result<Identity, StoreError> {
        let mut keys = Vec::new();
        for shown in self.presented() {
            let Shown::Old(old) = shown else { continue };
            match self.store().migrated(old).await? {
                Some(key) if key.kind == self.area.kind => keys.push((key, None)),
                Some(_) | None => self.refuse(),
            }
        }
        if keys.is_empty() {
            return Ok(Identity::Stranger);
        }
        let entries = self.store().load_each(&keys).await?;
        let found = keys.into_iter().zip(entries);
        Ok(self.identify(found.map(|((key, _), entry)| (None, key, entry))))
    }

    /// Counts an id that opens nothing.
    fn refuse(&self) {
        self.area.events.refused(self.began_at);
    }

    /// Under which keys the session may be of which this request has the cookie, and what the ids say of its birth.
    pub(super) fn presented_keys(&self) -> impl Iterator<Item = (RecordKey, Option<Born>)> {
        let ids = self.presented_ids();
        ids.map(|id| (id.key(self.area.kind), id.birth()))
    }

    /// Those that are of this crate.
    fn presented_ids(&self) -> impl Iterator<Item = SessionId> {
        self.presented()
            .into_iter()
            .filter_map(|shown| match shown {
                Shown::Id(id) => Some(id),
                Shown::Old(_) => None,
            })
    }

    /// Of twin cookies, the one that opens a session wins, wherever it stands; else one that can say why it does not.
    fn identify(
        &self,
        found: impl IntoIterator<Item = (Option<SessionId>, RecordKey, Told<Option<Entry>>)>,
    ) -> Identity {
        let mut identity = Identity::Stranger;
        for (id, key, entry) in found {
            let (freshness, is_copy) = (entry.freshness, entry.is_near);
            match entry.value {
                Some(Entry::Live(record)) => {
                    self.area.requests.add(record.handle(), self.began_at);
                    let due = self.is_touch_due(&record).then(|| self.seen());
                    return Identity::Live(Live {
                        id,
                        key,
                        record,
                        freshness,
                        is_copy,
                        due,
                    });
                }
                Some(Entry::Ended(tombstone)) => {
                    if let Identity::Stranger = identity {
                        identity = Identity::Dead(self.dead(tombstone));
                    }
                }
                None => self.refuse(),
            }
        }
        identity
    }

    /// An id that is over was presented.
    fn dead(&self, tombstone: Tombstone) -> Dead {
        let age = self
            .began_at
            .duration_since(tombstone.end.at)
            .unwrap_or_default();
        let moved = tombstone.end.reason == EndReason::Regenerated && age < SUPERSEDED_GRACE;
        self.notice_dead_id(&tombstone, moved);
        Dead {
            end: tombstone.end,
            moved,
            lost: false,
        }
    }

    /// An id that is over was presented: what it says of whoever has it.
    fn notice_dead_id(&self, tombstone: &Tombstone, moved: bool) {
        if moved || !tombstone.end.reason.is_of_somebody() {
            return;
        }
        self.area.dead_ids.add(tombstone.handle, self.began_at);
        if tombstone.end.reason == EndReason::Regenerated {
            let address = self.seen().address;
            self.area
                .events
                .reused(self.began_at, tombstone.handle, address.as_deref());
        }
    }

    fn is_touch_due(&self, record: &Record) -> bool {
        if self.passive || !self.area.config.touches {
            return false;
        }
        let Ok(age) = self.began_at.duration_since(record.seen_at()) else {
            return false;
        };
        age >= record
            .touch_threshold()
            .min(self.area.config.touch_threshold(record.idle_timeout()))
            || (age >= MOVED_TOUCH && self.is_elsewhere(record))
    }

    /// Whether agent or network differ from the stored ones. What is not known does not differ.
    fn is_elsewhere(&self, record: &Record) -> bool {
        let agent = self
            .agent()
            .is_some_and(|agent| record.user_agent() != Some(&*agent));
        let stored = &self.area.config.stored_address;
        agent
            || self
                .address
                .is_some_and(|address| stored.is_elsewhere(record.address(), address))
    }

    /// Whether it is not known where the request comes from.
    pub(crate) const fn has_no_address(&self) -> bool {
        self.address.is_none()
    }

    /// The user agent as records have it: text, cut.
    fn agent(&self) -> Option<Cow<'_, str>> {
        let bytes = self.agent.as_ref()?.as_bytes();
        let agent = match str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(cut(text, Seen::MAX_AGENT_BYTES)),
            Err(_) => {
                let text = String::from_utf8_lossy(bytes);
                Cow::Owned(cut(&text, Seen::MAX_AGENT_BYTES).to_owned())
            }
        };
        (!agent.is_empty()).then_some(agent)
    }

    /// What a touch by this request writes.
    pub(crate) fn seen(&self) -> Seen {
        Seen {
            at: self.began_at,
            address: self
                .address
                .and_then(|address| self.area.config.stored_address.text(address)),
            agent: self.agent().map(Into::into),
        }
    }

    /// When a sign-in of this user by this request began, for the ends of all of their sessions that it must not survive:
    /// with the request, or with such an end of its own. That counts only where its session was live then, for somebody
    /// else may have ended all of them before, and that would be passed over.
    pub(crate) fn sign_in_began_at(&self, user: &UserId, step: Step) -> SystemTime {
        match &self.state().ended_all {
            Some(ended) if ended.user == *user && (ended.own || step == Step::OfOwn) => ended.since,
            Some(_) | None => self.began_at,
        }
    }

    /// The response is made: from now on nothing is staged and no cookie is set.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.phase = Phase::Closed;
        state.unsent = None;
        // What could not be stored with the response is not for a later update to find.
        state.staged = Changes::default();
    }

    /// A message is in the conversation: what this request reads from now on has it.
    pub(crate) fn said(&self, key: &RecordKey, message: &NewMessage, at: SystemTime) {
        let any = MessageBounds {
            count: usize::MAX,
            bytes: usize::MAX,
        };
        if let Identity::Live(live) = &mut self.state().identity
            && live.key == *key
            && let Added::New(record, _) = live.record.added(message, any, at)
        {
            live.record = record;
        }
    }

    /// The request died. A session whose cookie nobody will ever see is ended; one that is still being made will find
    /// the phase changed, and end itself.
    pub(crate) fn abandon(&self) {
        let unsent = {
            let mut state = self.state();
            match state.phase {
                Phase::Open | Phase::Committing => {}
                Phase::Closed | Phase::Abandoned => return,
            }
            state.phase = Phase::Abandoned;
            state.staged = Changes::default();
            state.unsent.take()
        };
        let Some(unsent) = unsent else { return };
        let area = Arc::clone(&self.area);
        let end = async move {
            area.end_unsent(unsent.key).await;
        };
        match tokio::runtime::Handle::try_current()
            .ok()
            .or(unsent.runtime)
        {
            Some(runtime) => drop(runtime.spawn(end)),
            None => {
                tracing::warn!(target: "sessile", "a session whose cookie was never sent could not be ended: no runtime")
            }
        }
    }
}

impl Area {
    /// Ends a session that nobody holds.
    pub(crate) async fn end_unsent(&self, key: RecordKey) {
        let end = EndSessions {
            scope: EndScope::One(key, None),
            reason: EndReason::LoggedOut,
            note: None,
            before: None,
        };
        match self.store.end(end, None).await {
            Ok(ended) => self.tell_ended(&ended.value.sessions, EndReason::LoggedOut, None),
            Err(error) => tracing::warn!(
                target: "sessile",
                %error,
                "a session whose cookie was never sent could not be ended; it ends by its idle timeout"
            ),
        }
    }
}
