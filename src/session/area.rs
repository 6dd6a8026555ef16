//! What all requests share that go through one layer.

use std::fmt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::config::Config;
use crate::demo::{DemoConfig, Demos};
use crate::error::ConfigError;
use crate::event::Hub;
use crate::id::{Born, Bucket, Digest, Kind, RecordKey, UserId};
use crate::policy::Policy;
use crate::record::{Activity, Entry, Record, UserLog};
use crate::risk::rates::Rates;
use crate::session::Freshness;
use crate::stats::{COUNTED_EVERY, Census, Latencies, Latency};
use crate::store::{
    Append, Appended, Applied, Apply, Budget, Connections, Counts, Create, Created, EndSessions,
    EndedSessions, Ends, Health, Hearing, Mode, NearCounts, Outage, Replace, Replaced, Shield,
    Spend, Spent, StoreError, Told, UNBOUNDED,
};
use std::time::{Duration, Instant, SystemTime};

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
        let store = ToldStore {
            latencies: store.outage(Kind::User).map(|_| Arc::new(Latencies::new())),
            store,
            events,
        };
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
        let ends = store.store.ends();
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

/// The store; its failures are told here, once and in number, however many requests run into them. Clones are the same.
#[derive(Clone)]
pub(crate) struct ToldStore {
    store: Shield,
    events: Arc<Hub>,
    /// How long calls take: of a store that is not in this process.
    latencies: Option<Arc<Latencies>>,
}

impl ToldStore {
    /// Pinned where it is made: a call that is handed on by value would have room in the future of whoever waits twice.
    async fn told<T>(
        &self,
        call: Pin<&mut impl Future<Output = Result<T, StoreError>>>,
    ) -> Result<T, StoreError> {
        let sent = self.latencies.as_ref().map(|_| Instant::now());
        let answer = call.await;
        if let (Some(latencies), Some(sent)) = (&self.latencies, sent) {
            let answered = Instant::now();
            latencies.add(sent, answered);
            #[cfg(feature = "metrics")]
            crate::stats::meter::call(answered.duration_since(sent), answer.is_ok());
        }
        if let Err(error) = &answer {
            self.events.store_failed(self.now(), error);
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

    /// Reads several, for those who wait: each as far as it is known now.
    pub(crate) async fn look_each(
        &self,
        keys: &[(RecordKey, Option<Born>)],
    ) -> Vec<Option<Told<Option<Entry>>>> {
        self.store.look_each(keys).await
    }

    pub(crate) fn hear(&self, kind: Kind) -> Option<Hearing> {
        self.store.hear(kind)
    }

    pub(crate) fn outage(&self, kind: Kind) -> Option<Outage> {
        self.store.outage(kind)
    }

    pub(crate) async fn record(&self, user: UserId, activity: Activity) -> Result<(), StoreError> {
        self.told(pin!(self.store.record(user, activity))).await
    }

    pub(crate) async fn log(&self, user: UserId) -> Result<UserLog, StoreError> {
        self.told(pin!(self.store.log(user))).await
    }

    pub(crate) async fn erase(&self, user: UserId) -> Result<(), StoreError> {
        self.told(pin!(self.store.erase(user))).await
    }

    pub(crate) async fn counts(&self) -> Result<Option<Counts>, StoreError> {
        self.told(pin!(self.store.counts(COUNTED_EVERY))).await
    }

    pub(crate) fn near_counts(&self) -> Option<NearCounts> {
        self.store.near_counts()
    }

    pub(crate) fn connections(&self) -> Option<Connections> {
        self.store.connections()
    }

    pub(crate) fn latency(&self) -> Option<Latency> {
        self.latencies.as_ref()?.get()
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
        store.told(pin!(store.store.create(create, budget))).await
    }

    pub(crate) async fn load(
        self,
        key: RecordKey,
        born: Option<Born>,
    ) -> Result<Told<Option<Entry>>, StoreError> {
        let Self { store, budget } = self;
        store.told(pin!(store.store.load(key, born, budget))).await
    }

    /// As a near cache has it, without asking the store.
    pub(crate) fn near(self, key: &RecordKey, born: Option<Born>) -> Option<Told<Option<Entry>>> {
        self.store.store.near(key, born)
    }

    pub(crate) async fn load_each(
        self,
        keys: &[(RecordKey, Option<Born>)],
    ) -> Result<Vec<Told<Option<Entry>>>, StoreError> {
        let Self { store, budget } = self;
        store.told(pin!(store.store.load_each(keys, budget))).await
    }

    /// `read`: on what the changes rest.
    pub(crate) async fn apply(
        self,
        apply: Apply,
        read: Freshness,
    ) -> Result<Told<Applied>, StoreError> {
        let Self { store, budget } = self;
        store
            .told(pin!(store.store.apply(apply, read, budget)))
            .await
    }

    pub(crate) async fn migrated(self, old: Digest) -> Result<Option<RecordKey>, StoreError> {
        let Self { store, budget } = self;
        store.told(pin!(store.store.migrated(old, budget))).await
    }

    pub(crate) async fn append(self, append: Append) -> Result<Told<Appended>, StoreError> {
        let Self { store, budget } = self;
        store.told(pin!(store.store.append(append, budget))).await
    }

    pub(crate) async fn spend(self, spend: Spend) -> Result<Spent, StoreError> {
        let Self { store, budget } = self;
        store.told(pin!(store.store.spend(spend, budget))).await
    }

    pub(crate) async fn replace(self, replace: Replace) -> Result<Told<Replaced>, StoreError> {
        let Self { store, budget } = self;
        store.told(pin!(store.store.replace(replace, budget))).await
    }

    /// `known`: the record under the key, where one ends that the caller has read.
    pub(crate) async fn end(
        self,
        end: EndSessions,
        known: Option<Record>,
    ) -> Result<Told<EndedSessions>, StoreError> {
        let Self { store, budget } = self;
        store.told(pin!(store.store.end(end, known, budget))).await
    }

    pub(crate) async fn list(self, user: UserId) -> Result<Vec<Record>, StoreError> {
        let Self { store, budget } = self;
        store.told(pin!(store.store.list(user, budget))).await
    }
}
