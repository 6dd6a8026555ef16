//! What all requests share that go through one layer.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::config::Config;
use crate::event::Refusals;
use crate::store::ErasedStore;

/// Configuration and store: one for each layer that was built.
pub(crate) struct Area {
    pub(crate) store: Arc<dyn ErasedStore>,
    pub(crate) config: Config,
    pub(crate) refusals: Refusals,
    /// Whether it was said why the cookie will not stick.
    pub(crate) warned: AtomicBool,
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

impl fmt::Debug for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionLayer")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
