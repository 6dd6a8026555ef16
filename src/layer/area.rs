//! The layer: what all requests that go through it share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tower_layer::Layer;

use super::service::SessionService;
use crate::config::{Config, SessionLayerBuilder};
use crate::event::Refusals;
use crate::sessions::Sessions;
use crate::store::{ErasedStore, SessionStore};

/// Adds sessions to a service: put it around the routes that use them.
///
/// A clone is a count, and so is [`Layer::layer`]: axum calls it for every route. The same layer met twice on the way to
/// a handler passes through the second time. Two layers with two cookie names are two areas, each with sessions of
/// its own, and extractors use the innermost; two layers that share a name answer 500 and say so.
#[derive(Clone)]
pub struct SessionLayer {
    area: Arc<Area>,
}

/// Configuration and store: one for each layer that was built.
pub(crate) struct Area {
    pub(crate) store: Arc<dyn ErasedStore>,
    pub(crate) config: Config,
    pub(crate) refusals: Refusals,
    /// Whether it was said why the cookie will not stick.
    pub(super) warned: AtomicBool,
}

impl Area {
    pub(crate) fn new(store: Arc<dyn ErasedStore>, config: Config) -> Self {
        Self {
            store,
            config,
            refusals: Refusals::default(),
            warned: AtomicBool::new(false),
        }
    }
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

impl fmt::Debug for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionLayer")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
