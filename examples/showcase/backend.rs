//! Where sessions are kept, and how that place does.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use sessile::{ConfigError, MemoryStore, RedisStore, SessionLayer};

use crate::options::Options;

#[derive(Debug)]
pub(crate) struct Backend {
    store: Store,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
enum Store {
    Memory,
    /// A clone of what the layer has.
    Redis(RedisStore),
}

/// A mode, and since when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) mode: &'static str,
    pub(crate) since: SystemTime,
}

/// The layer that the options ask for, over the store that they ask for. Redis need not be there yet.
pub(crate) async fn connect(options: &Options) -> Result<(SessionLayer, Backend), ConfigError> {
    let Some(url) = &options.redis else {
        let layer = options.layer(MemoryStore::new())?;
        return Ok((layer, Backend::new(Store::Memory)));
    };
    let mut builder = RedisStore::builder(url);
    if let Some(namespace) = &options.namespace {
        builder = builder.namespace(namespace);
    }
    let store = builder.connect().await?;
    let layer = options.layer(store.clone())?;
    Ok((layer, Backend::new(Store::Redis(store))))
}

impl Backend {
    fn new(store: Store) -> Self {
        let seen = Mutex::new(Seen {
            mode: store.mode(),
            since: SystemTime::now(),
        });
        Self { store, seen }
    }

    /// For programs.
    pub(crate) const fn name(&self) -> &'static str {
        match self.store {
            Store::Memory => "memory",
            Store::Redis(_) => "redis",
        }
    }

    /// For people.
    pub(crate) const fn in_words(&self) -> &'static str {
        match self.store {
            Store::Memory => "the memory of this process: all is gone when it ends",
            Store::Redis(_) => "Redis: shared by all processes, and still there after they end",
        }
    }

    /// What the store is doing, without asking it; `since` is when that was first seen, or the start.
    pub(crate) fn health(&self) -> Seen {
        let mode = self.store.mode();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.mode != mode {
            let since = SystemTime::now();
            *seen = Seen { mode, since };
        }
        *seen
    }
}

impl Store {
    fn mode(&self) -> &'static str {
        let is_answering = match self {
            Self::Memory => true,
            Self::Redis(store) => store.is_answering(),
        };
        if is_answering { "healthy" } else { "degraded" }
    }
}
