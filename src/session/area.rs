//! What all requests share that go through one layer.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::config::Config;
use crate::demo::{DemoConfig, Demos};
use crate::error::ConfigError;
use crate::event::{self, Tally};
use crate::id::{Born, Bucket, Digest, Kind, RecordKey, UserId};
use crate::record::{Entry, Record};
use crate::session::Freshness;
use crate::store::{
    Append, Appended, Applied, Apply, Budget, Create, Created, EndSessions, EndedSessions, Health,
    Mode, Replace, Replaced, Shield, Spend, Spent, StoreError, Told, UNBOUNDED,
};
use std::time::SystemTime;

/// Configuration and store: one for each layer that was built.
pub(crate) struct Area {
    /// Which kind of sessions it has.
    pub(crate) kind: Kind,
    /// The demos beside users' sessions.
    pub(crate) demos: Option<Arc<Demos>>,
    pub(crate) store: ToldStore,
    pub(crate) config: Config,
    pub(crate) refusals: Tally,
    /// When the layer was built.
    pub(crate) began: SystemTime,
    /// Whether it was said that another layer has the same cookie.
    pub(crate) clashed: AtomicBool,
    /// Whether it was said why the cookie will not stick.
    pub(crate) warned: AtomicBool,
}

impl Area {
    /// An area of users' sessions, with its demos.
    pub(crate) fn new(
        store: Shield,
        config: Config,
        demo: DemoConfig,
    ) -> Result<Self, ConfigError> {
        store.watch();
        let demos = Self::of(Kind::Demo, store.clone(), demo.settle(&config)?);
        let demos = Demos {
            area: Arc::new(demos),
            config: demo,
            tallies: Default::default(),
        };
        Ok(Self {
            demos: Some(Arc::new(demos)),
            ..Self::of(Kind::User, store, config)
        })
    }

    fn of(kind: Kind, store: Shield, config: Config) -> Self {
        Self {
            kind,
            demos: None,
            began: store.now(),
            store: ToldStore {
                store,
                failures: Tally::default(),
            },
            config,
            refusals: Tally::default(),
            clashed: AtomicBool::new(false),
            warned: AtomicBool::new(false),
        }
    }
}

impl Area {
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

/// The store; its failures are told here, once and in number, however many requests run into them.
pub(crate) struct ToldStore {
    store: Shield,
    failures: Tally,
}

impl ToldStore {
    async fn told<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let answer = call.await;
        if let Err(error) = &answer
            && let Some(count) = self.failures.add(self.now())
        {
            event::store_failed(error, count);
        }
        answer
    }

    pub(crate) fn now(&self) -> SystemTime {
        self.store.now()
    }

    pub(crate) fn bucket(&self, user: &UserId) -> Bucket {
        self.store.bucket(user)
    }

    /// Where and when a session is born that is made here, on what `freshness` says.
    pub(crate) fn birth(&self, freshness: Freshness) -> Option<Born> {
        self.store.birth(freshness)
    }

    pub(crate) fn health(&self) -> Option<Health> {
        self.store.health()
    }

    /// The same, asked by a request that waits no longer than its budget.
    pub(crate) const fn within<'a>(&'a self, budget: &'a Budget) -> Asked<'a> {
        Asked {
            store: self,
            budget,
        }
    }

    pub(crate) fn budget(&self) -> Budget {
        self.store.budget()
    }

    /// Outside of any request.
    pub(crate) fn create(
        &self,
        create: Create,
    ) -> impl Future<Output = Result<Told<Created>, StoreError>> {
        self.within(&UNBOUNDED).create(create)
    }

    /// Outside of any request.
    pub(crate) fn end(
        &self,
        end: EndSessions,
        known: Option<Record>,
    ) -> impl Future<Output = Result<Told<EndedSessions>, StoreError>> {
        self.within(&UNBOUNDED).end(end, known)
    }

    pub(crate) fn migrated(
        &self,
        old: Digest,
    ) -> impl Future<Output = Result<Option<RecordKey>, StoreError>> {
        self.told(self.store.migrated(old))
    }

    /// Outside of any request.
    pub(crate) fn list(
        &self,
        user: UserId,
    ) -> impl Future<Output = Result<Vec<Record>, StoreError>> {
        self.within(&UNBOUNDED).list(user)
    }
}

/// The store as one request asks it.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    store: &'a ToldStore,
    budget: &'a Budget,
}

impl Asked<'_> {
    pub(crate) async fn create(self, create: Create) -> Result<Told<Created>, StoreError> {
        let Self { store, budget } = self;
        store.told(store.store.create(create, budget)).await
    }

    pub(crate) async fn load(
        self,
        key: RecordKey,
        born: Option<Born>,
    ) -> Result<Told<Option<Entry>>, StoreError> {
        let Self { store, budget } = self;
        store.told(store.store.load(key, born, budget)).await
    }

    pub(crate) async fn load_each(
        self,
        keys: &[(RecordKey, Option<Born>)],
    ) -> Result<Vec<Told<Option<Entry>>>, StoreError> {
        let Self { store, budget } = self;
        store.told(store.store.load_each(keys, budget)).await
    }

    /// `read`: on what the changes rest.
    pub(crate) async fn apply(
        self,
        apply: Apply,
        read: Freshness,
    ) -> Result<Told<Applied>, StoreError> {
        let Self { store, budget } = self;
        store.told(store.store.apply(apply, read, budget)).await
    }

    pub(crate) async fn append(self, append: Append) -> Result<Told<Appended>, StoreError> {
        let Self { store, budget } = self;
        store.told(store.store.append(append, budget)).await
    }

    pub(crate) async fn spend(self, spend: Spend) -> Result<Spent, StoreError> {
        let Self { store, budget } = self;
        store.told(store.store.spend(spend, budget)).await
    }

    pub(crate) async fn replace(self, replace: Replace) -> Result<Told<Replaced>, StoreError> {
        let Self { store, budget } = self;
        store.told(store.store.replace(replace, budget)).await
    }

    /// `known`: the record under the key, where one ends that the caller has read.
    pub(crate) async fn end(
        self,
        end: EndSessions,
        known: Option<Record>,
    ) -> Result<Told<EndedSessions>, StoreError> {
        let Self { store, budget } = self;
        store.told(store.store.end(end, known, budget)).await
    }

    pub(crate) async fn list(self, user: UserId) -> Result<Vec<Record>, StoreError> {
        let Self { store, budget } = self;
        store.told(store.store.list(user, budget)).await
    }
}
