//! The tower trio: [`SessionLayer`] makes [`SessionService`], whose calls are [`ResponseFuture`]s.
//!
//! 1. A request that touches no session pays for one allocation, one scan of its `Cookie` headers and one extension.
//! 2. The record is read when somebody extracts the session, not before.
//! 3. The response leaves once what it says is stored. A future is boxed only if there is something to store.
//! 4. A response that cannot keep what the handler said is replaced by one that says why, with a
//!    [`Problem`](crate::Problem) in its extensions.

mod builder;
mod future;
mod service;

use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;

pub use builder::SessionLayerBuilder;
pub use future::ResponseFuture;
pub use service::SessionService;

use crate::policy::Policy;
use crate::session::Area;
use crate::sessions::Sessions;
use crate::store::{Health, SessionStore};

/// Adds sessions to a service: put it around the routes that use them.
///
/// A clone is a count, and so is [`Layer::layer`]: axum calls it for every route. The same layer met twice on the way to
/// a handler passes through the second time. Two layers with two cookie names are two areas, and extractors use the
/// innermost; two layers that share a name answer 500 and say so. Each has sessions of its own as far as each has a store of
/// its own, or a [namespace](crate::RedisStoreBuilder::namespace): in one store an id opens its session under either cookie,
/// and a user's list has the sessions of both. Where both serve demos, one of them needs another
/// [`demo_cookie_name`](crate::SessionLayerBuilder::demo_cookie_name) as well.
#[derive(Clone)]
pub struct SessionLayer {
    area: Arc<Area>,
}

impl SessionLayer {
    /// A layer with the defaults, which are safe: see [`SessionLayerBuilder`].
    #[must_use]
    pub fn new(store: impl SessionStore) -> Self {
        Self::builder(store)
            .build()
            .expect("the defaults contradict nothing")
    }

    /// A layer with settings of your own.
    pub fn builder(store: impl SessionStore) -> SessionLayerBuilder {
        SessionLayerBuilder::new(store)
    }

    /// Administration of every user's sessions, over the same store.
    #[must_use]
    pub fn sessions(&self) -> Sessions {
        Sessions::new(Arc::clone(&self.area))
    }

    /// How the store does, at once and without asking it: for a readiness probe. A store in this process is always
    /// healthy.
    #[must_use]
    pub fn health(&self) -> Health {
        self.area.health()
    }

    /// What sessions are held to: timeouts, limit, and what happens while the store is away. For people to read, and
    /// for programs.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.area.policy()
    }

    pub(crate) fn from_area(area: Area) -> Self {
        Self {
            area: Arc::new(area),
        }
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> SessionService<S> {
        SessionService::new(inner, Arc::clone(&self.area))
    }
}

impl fmt::Debug for SessionLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.area.fmt(f)
    }
}
