//! What all requests share that go through one layer.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use super::asked::ToldStore;
use crate::config::Config;
use crate::demo::{DemoConfig, Demos};
use crate::error::ConfigError;
use crate::event::Hub;
use crate::id::Kind;
use crate::policy::Policy;
use crate::risk::rates::Rates;
use crate::stats::Census;
use crate::store::{Ends, Health, Mode, Shield};

/// Configuration and store: one for each layer that was built.
pub(crate) struct Area {
    /// Which kind of sessions it has.
    pub(crate) kind: Kind,
    /// The demos beside users' sessions.
    pub(crate) demos: Option<Arc<Demos>>,
    pub(crate) store: ToldStore,
    pub(crate) config: Config,
    pub(crate) events: Arc<Hub>,
    /// When the layer was built.
    pub(crate) began: SystemTime,
    /// Whether it was said that another layer has the same cookie.
    pub(crate) clashed: AtomicBool,
    /// Whether it was said why the cookie will not stick.
    pub(crate) warned: AtomicBool,
    /// Who waits for the end of a session; and whether the store has to be asked, for it does not tell.
    pub(crate) ends: Ends,
    pub(crate) asks_for_ends: bool,
    /// The last count of all sessions.
    pub(crate) census: Census,
    /// Whether somebody looks after those who wait.
    pub(crate) looking: AtomicBool,
    /// Whether it was said that clients' addresses are not known.
    pub(crate) unaddressed: AtomicBool,
    /// How many requests of each session there were within a minute, and how often its dead ids came within an hour.
    pub(crate) requests: Rates,
    pub(crate) dead_ids: Rates,
}

impl Area {
    /// An area of users' sessions, with its demos.
    pub(crate) fn new(
        store: Shield,
        config: Config,
        demo: DemoConfig,
        events: Arc<Hub>,
    ) -> Result<Self, ConfigError> {
        store.watch();
        let settled = demo.settle(&config)?;
        let store = ToldStore::new(store, events);
        let demos = Self::of(Kind::Demo, store.clone(), settled);
        let demos = Demos {
            area: Arc::new(demos),
            config: demo,
        };
        Ok(Self {
            demos: Some(Arc::new(demos)),
            ..Self::of(Kind::User, store, config)
        })
    }

    fn of(kind: Kind, store: ToldStore, config: Config) -> Self {
        let ends = store.ends();
        Self {
            kind,
            demos: None,
            began: store.now(),
            events: Arc::clone(&store.events),
            store,
            config,
            clashed: AtomicBool::new(false),
            warned: AtomicBool::new(false),
            asks_for_ends: ends.is_none(),
            ends: ends.unwrap_or_default(),
            census: Census::default(),
            looking: AtomicBool::new(false),
            unaddressed: AtomicBool::new(false),
            requests: Rates::new(Duration::from_secs(60)),
            dead_ids: Rates::new(Duration::from_secs(3600)),
        }
    }
}

impl Area {
    pub(crate) fn policy(&self) -> Policy {
        Policy::of(&self.config, self.store.outage(self.kind))
    }

    pub(crate) fn health(&self) -> Health {
        self.store.health().unwrap_or(Health {
            mode: Mode::Healthy,
            since: self.began,
            leases: 0,
            local: 0,
            memory: 0,
            pending: 0,
        })
    }
}

impl fmt::Debug for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionLayer")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
