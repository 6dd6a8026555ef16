//! The store as requests ask it: each call is measured, and its failures are told.
//!
//! A call is a few words in the future of whoever waits for it. What a shield does around a remote store's call is large,
//! and boxed here once; of a store in this process there is nothing around it.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::{Instant, SystemTime};

use crate::event::Hub;
use crate::id::{Born, Bucket, Digest, Kind, RecordKey, UserId};
use crate::record::{Activity, Entry, Record, UserLog};
use crate::session::Freshness;
use crate::stats::{COUNTED_EVERY, Latencies, Latency};
use crate::store::{
    Append, Appended, Applied, Apply, Budget, Connections, Counts, Create, Created, EndSessions,
    EndedSessions, Ends, Health, Hearing, NearCounts, Outage, Replace, Replaced, Shield, Spend,
    Spent, StoreError, StoreFuture, Told, UNBOUNDED,
};

/// The store; its failures are told here, once and in number, however many requests run into them. Clones are the same.
#[derive(Clone)]
pub(crate) struct ToldStore {
    store: Shield,
    pub(super) events: Arc<Hub>,
    /// How long calls take: of a store that is not in this process.
    latencies: Option<Arc<Latencies>>,
}

impl ToldStore {
    pub(super) fn new(store: Shield, events: Arc<Hub>) -> Self {
        Self {
            latencies: store.outage(Kind::User).map(|_| Arc::new(Latencies::new())),
            store,
            events,
        }
    }

    /// Where the store tells of ends, if it does.
    pub(super) fn ends(&self) -> Option<Ends> {
        self.store.ends()
    }

    /// What becomes of a call is told.
    const fn told<F>(&self, call: F) -> ToldCall<'_, F> {
        ToldCall {
            call,
            store: self,
            sent: None,
        }
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
        self.told(Box::pin(self.store.record(user, activity))).await
    }

    pub(crate) async fn log(&self, user: UserId) -> Result<UserLog, StoreError> {
        self.told(Box::pin(self.store.log(user))).await
    }

    pub(crate) async fn erase(&self, user: UserId) -> Result<(), StoreError> {
        self.told(Box::pin(self.store.erase(user))).await
    }

    pub(crate) async fn counts(&self) -> Result<Option<Counts>, StoreError> {
        self.told(Box::pin(self.store.counts(COUNTED_EVERY))).await
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
    pub(crate) fn create(&self, create: Create) -> ToldCall<'_, Call<'_, Created>> {
        self.within(&UNBOUNDED).create(create)
    }

    /// Outside of any request.
    pub(crate) fn end(
        &self,
        end: EndSessions,
        known: Option<Record>,
    ) -> ToldCall<'_, Call<'_, EndedSessions>> {
        self.within(&UNBOUNDED).end(end, known)
    }

    /// Outside of any request.
    pub(crate) fn list(&self, user: UserId) -> ToldCall<'_, StoreFuture<'_, Vec<Record>>> {
        self.within(&UNBOUNDED).list(user)
    }
}

/// A call whose outcome says on what it rests.
pub(crate) enum Call<'a, T> {
    /// Of a store in this process.
    Direct(StoreFuture<'a, T>),
    /// Of one that may be away.
    Around(StoreFuture<'a, Told<T>>),
}

impl<T> Future for Call<'_, T> {
    type Output = Result<Told<T>, StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Direct(call) => call.as_mut().poll(cx).map(|answer| answer.map(Told::live)),
            Self::Around(call) => call.as_mut().poll(cx),
        }
    }
}

/// A call whose failure is told, and how long it took.
#[must_use = "futures do nothing until they are polled"]
pub(crate) struct ToldCall<'a, F> {
    call: F,
    store: &'a ToldStore,
    sent: Option<Instant>,
}

impl<T, F> Future for ToldCall<'_, F>
where
    F: Future<Output = Result<T, StoreError>> + Unpin,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        if this.sent.is_none() && this.store.latencies.is_some() {
            this.sent = Some(Instant::now());
        }
        let answer = ready!(Pin::new(&mut this.call).poll(cx));
        if let (Some(latencies), Some(sent)) = (&this.store.latencies, this.sent) {
            let answered = Instant::now();
            latencies.add(sent, answered);
            #[cfg(feature = "metrics")]
            crate::stats::meter::call(answered.duration_since(sent), answer.is_ok());
        }
        if let Err(error) = &answer {
            this.store.events.store_failed(this.store.now(), error);
        }
        Poll::Ready(answer)
    }
}

/// The store as one request asks it.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    store: &'a ToldStore,
    budget: &'a Budget,
}

impl<'a> Asked<'a> {
    pub(crate) fn create(self, create: Create) -> ToldCall<'a, Call<'a, Created>> {
        let Self { store, budget } = self;
        store.told(match store.store.direct(budget) {
            Some(direct) => Call::Direct(direct.create(create)),
            None => Call::Around(Box::pin(store.store.create(create, budget))),
        })
    }

    pub(crate) fn load(
        self,
        key: RecordKey,
        born: Option<Born>,
    ) -> ToldCall<'a, Call<'a, Option<Entry>>> {
        let Self { store, budget } = self;
        store.told(match store.store.direct(budget) {
            Some(direct) => Call::Direct(direct.load(key)),
            None => Call::Around(Box::pin(store.store.load(key, born, budget))),
        })
    }

    /// The same for whoever is boxed already: what is large has its room there.
    pub(crate) async fn load_here(
        self,
        key: RecordKey,
        born: Option<Born>,
    ) -> Result<Told<Option<Entry>>, StoreError> {
        let Self { store, budget } = self;
        match store.store.direct(budget) {
            Some(direct) => store.told(Call::Direct(direct.load(key))).await,
            None => {
                let call = pin!(store.store.load(key, born, budget));
                store.told(call).await
            }
        }
    }

    /// At once, of a store in this process.
    pub(crate) fn load_now(self, key: &RecordKey) -> Option<Told<Option<Entry>>> {
        self.store.store.load_now(key)
    }

    /// As a near cache has it, without asking the store.
    pub(crate) fn near(self, key: &RecordKey, born: Option<Born>) -> Option<Told<Option<Entry>>> {
        self.store.store.near(key, born)
    }

    pub(crate) fn load_each(
        self,
        keys: &'a [(RecordKey, Option<Born>)],
    ) -> ToldCall<'a, StoreFuture<'a, Vec<Told<Option<Entry>>>>> {
        let Self { store, budget } = self;
        store.told(Box::pin(store.store.load_each(keys, budget)))
    }

    /// `read`: on what the changes rest.
    pub(crate) fn apply(self, apply: Apply, read: Freshness) -> ToldCall<'a, Call<'a, Applied>> {
        let Self { store, budget } = self;
        store.told(match store.store.direct(budget) {
            Some(direct) => Call::Direct(direct.apply(apply)),
            None => Call::Around(Box::pin(store.store.apply(apply, read, budget))),
        })
    }

    pub(crate) fn migrated(self, old: Digest) -> ToldCall<'a, StoreFuture<'a, Option<RecordKey>>> {
        let Self { store, budget } = self;
        store.told(Box::pin(store.store.migrated(old, budget)))
    }

    pub(crate) fn append(self, append: Append) -> ToldCall<'a, Call<'a, Appended>> {
        let Self { store, budget } = self;
        store.told(match store.store.direct(budget) {
            Some(direct) => Call::Direct(direct.append(append)),
            None => Call::Around(Box::pin(store.store.append(append, budget))),
        })
    }

    pub(crate) fn spend(self, spend: Spend) -> ToldCall<'a, StoreFuture<'a, Spent>> {
        let Self { store, budget } = self;
        store.told(Box::pin(store.store.spend(spend, budget)))
    }

    pub(crate) fn replace(self, replace: Replace) -> ToldCall<'a, Call<'a, Replaced>> {
        let Self { store, budget } = self;
        store.told(match store.store.direct(budget) {
            Some(direct) => Call::Direct(direct.replace(replace)),
            None => Call::Around(Box::pin(store.store.replace(replace, budget))),
        })
    }

    /// `known`: the record under the key, where one ends that the caller has read.
    pub(crate) fn end(
        self,
        end: EndSessions,
        known: Option<Record>,
    ) -> ToldCall<'a, Call<'a, EndedSessions>> {
        let Self { store, budget } = self;
        store.told(match store.store.direct(budget) {
            Some(direct) => Call::Direct(direct.end(end)),
            None => Call::Around(Box::pin(store.store.end(end, known, budget))),
        })
    }

    pub(crate) fn list(self, user: UserId) -> ToldCall<'a, StoreFuture<'a, Vec<Record>>> {
        let Self { store, budget } = self;
        store.told(Box::pin(store.store.list(user, budget)))
    }
}
