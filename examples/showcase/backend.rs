//! Where sessions are kept.

use sessile::{ConfigError, Health, MemoryStore, RedisStore, SessionLayer, Stats};

use crate::options::Options;

#[derive(Debug)]
pub(crate) struct Backend {
    place: Place,
    sessions: SessionLayer,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Memory,
    Redis,
}

/// The layer that the options ask for, over the store that they ask for. Redis need not be there yet.
pub(crate) async fn connect(options: &Options) -> Result<(SessionLayer, Backend), ConfigError> {
    let (place, sessions) = match &options.redis {
        None => (Place::Memory, options.layer(MemoryStore::new())?),
        Some(url) => {
            let mut builder = RedisStore::builder(url);
            if let Some(namespace) = &options.namespace {
                builder = builder.namespace(namespace);
            }
            if let Some(entries) = options.near_cache {
                builder = builder.near_cache(usize::try_from(entries).unwrap_or(usize::MAX));
            }
            (Place::Redis, options.layer(builder.connect().await?)?)
        }
    };
    let backend = Backend {
        place,
        sessions: sessions.clone(),
    };
    Ok((sessions, backend))
}

impl Backend {
    /// For programs.
    pub(crate) const fn name(&self) -> &'static str {
        match self.place {
            Place::Memory => "memory",
            Place::Redis => "redis",
        }
    }

    /// For people.
    pub(crate) const fn in_words(&self) -> &'static str {
        match self.place {
            Place::Memory => "the memory of this process: all is gone when it ends",
            Place::Redis => "Redis: shared by all processes, and still there after they end",
        }
    }

    /// All figures.
    pub(crate) async fn stats(&self) -> Stats {
        self.sessions.sessions().stats().await
    }

    /// What the store is doing, without asking it.
    pub(crate) fn health(&self) -> Health {
        self.sessions.health()
    }

    /// Before the process ends: what was promised to be brought to Redis later, and will not be. An application that has
    /// more to lose gives the layer a `journal_file`, in which ends survive.
    pub(crate) fn say_what_is_lost(&self) {
        let Health { pending, local, .. } = self.health();
        if pending > 0 || local > 0 {
            tracing::warn!(
                pending,
                local,
                "stopping before Redis has everything: ends and writes that are pending, and sessions that are only here, \
                 are lost"
            );
        }
    }
}
