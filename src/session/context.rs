//! What one request carries: who it says it is, and what has become of that.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, header};
use tokio::sync::OnceCell;
use tower_cookies::Cookies;

use super::area::Area;
use super::state::{Dead, Identity, Live, Phase, SUPERSEDED_GRACE, State};
use crate::address::client_address;
use crate::cookie::Presented;
use crate::error::Error;
use crate::id::{Kind, RecordKey, SessionId};
use crate::record::{Changes, EndReason, Entry, Record, Seen, Tombstone, cut};
use crate::store::{EndScope, EndSessions, Told};

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
    presented: Presented,
    address: Option<IpAddr>,
    agent: Option<HeaderValue>,
    passive: bool,
    loaded: OnceCell<()>,
    /// See [`turn`](Self::turn).
    turn: tokio::sync::Mutex<()>,
    /// Held while a change is stored at once, also where who asked for it has gone away.
    pub(super) writing: tokio::sync::Mutex<()>,
    /// Held for a few instructions, never across an await, a user's closure or serde.
    state: Mutex<State>,
}

impl Context {
    pub(crate) fn new(area: &Arc<Area>, headers: &HeaderMap, extensions: &Extensions) -> Self {
        let config = &area.config;
        let presented = Presented::scan(headers, &config.cookie.name);
        // It tells whether to extend a session that is read.
        let passive = !presented.is_empty()
            && (extensions.get::<Passive>().is_some()
                || headers
                    .get(&SEC_PURPOSE)
                    .is_some_and(|purpose| purpose.as_bytes().starts_with(b"prefetch"))
                || config
                    .passive_header
                    .as_ref()
                    .is_some_and(|name| headers.contains_key(name)));
        Self {
            outer: extensions
                .get::<Current>()
                .map(|current| Arc::clone(&current.0)),
            jar: extensions.get::<Cookies>().cloned(),
            began_at: area.store.now(),
            presented,
            address: client_address(
                extensions,
                headers,
                &config.trusted_proxies,
                config.proxy_header,
            ),
            agent: headers.get(header::USER_AGENT).cloned(),
            passive,
            loaded: OnceCell::new(),
            turn: tokio::sync::Mutex::new(()),
            writing: tokio::sync::Mutex::new(()),
            state: Mutex::new(State::default()),
            area: Arc::clone(area),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics under it; if something did, the state is still one of its own.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Operations that change who this is, or that read and then write, take turns within a request: also with what
    /// goes on in the background after its future was dropped.
    pub(crate) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        let turn = self.turn.lock().await;
        drop(self.writing.lock().await);
        turn
    }

    /// Whether the request carries what may be a session's cookie.
    pub(crate) const fn has_cookie(&self) -> bool {
        !self.presented.is_empty()
    }

    /// Whether the session was read: whether the response depends on the cookie.
    pub(crate) fn was_read(&self) -> bool {
        self.loaded.initialized()
    }

    /// Reads the session, once; all who ask share the answer. A failure is not kept.
    pub(crate) async fn load(&self) -> Result<(), Error> {
        self.loaded.get_or_try_init(|| self.read()).await.copied()
    }

    async fn read(&self) -> Result<(), Error> {
        let mut ids = self.presented.iter();
        let identity = match (ids.next(), ids.next()) {
            (None, _) => return Ok(()),
            (Some(id), None) => {
                let key = id.key(Kind::User);
                let entry = self.area.store.load(key, id.birth()).await?;
                self.identify([(id, key, entry)])
            }
            // Boxed, for it is rare, and every handler's future would have room for it.
            (Some(_), Some(_)) => Box::pin(self.read_twins()).await?,
        };
        self.state().identity = identity;
        Ok(())
    }

    async fn read_twins(&self) -> Result<Identity, Error> {
        let ids: Vec<SessionId> = self.presented.iter().collect();
        let keys: Vec<_> = ids
            .iter()
            .map(|id| (id.key(Kind::User), id.birth()))
            .collect();
        let entries = self.area.store.load_each(&keys).await?;
        let found = ids.into_iter().zip(keys).zip(entries);
        Ok(self.identify(found.map(|((id, (key, _)), entry)| (id, key, entry))))
    }

    /// Of twin cookies, the one that opens a session wins, wherever it stands; else one that can say why it does not.
    fn identify(
        &self,
        found: impl IntoIterator<Item = (SessionId, RecordKey, Told<Option<Entry>>)>,
    ) -> Identity {
        let mut identity = Identity::Stranger;
        for (id, key, entry) in found {
            let freshness = entry.freshness;
            match entry.value {
                Some(Entry::Live(record)) => {
                    self.area.requests.add(record.handle(), self.began_at);
                    let due = self.is_touch_due(&record).then(|| self.seen());
                    return Identity::Live(Live {
                        id,
                        key,
                        record,
                        freshness,
                        due,
                    });
                }
                Some(Entry::Ended(tombstone)) => {
                    if let Identity::Stranger = identity {
                        let age = self
                            .began_at
                            .duration_since(tombstone.end.at)
                            .unwrap_or_default();
                        let moved = tombstone.end.reason == EndReason::Regenerated
                            && age < SUPERSEDED_GRACE;
                        self.notice_dead_id(&tombstone, moved);
                        identity = Identity::Dead(Dead {
                            end: tombstone.end,
                            moved,
                            lost: false,
                        });
                    }
                }
                None => {
                    self.area.events.refused(self.began_at);
                }
            }
        }
        identity
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
                .reused(self.began_at, tombstone.handle, address);
        }
    }

    fn is_touch_due(&self, record: &Record) -> bool {
        if self.passive {
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

    /// When a sign-in by this request began, for the ends of all of a user's sessions that it must not survive.
    pub(crate) fn sign_in_began_at(&self) -> SystemTime {
        self.state().ended_all_at.unwrap_or(self.began_at)
    }

    /// The response is made: from now on nothing is staged and no cookie is set.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.phase = Phase::Closed;
        state.unsent = None;
        // What could not be stored with the response is not for a later update to find.
        state.staged = Changes::default();
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
