//! What all requests share that go through one layer.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::config::Config;
use crate::event::{self, Tally};
use crate::id::{Bucket, RecordKey, UserId};
use crate::record::{Entry, Record};
use crate::store::{
    Applied, Apply, Create, Created, EndSessions, EndedSessions, ErasedStore, Replace, Replaced,
    StoreError, StoreFuture,
};
use std::time::SystemTime;

/// Configuration and store: one for each layer that was built.
pub(crate) struct Area {
    pub(crate) store: ToldStore,
    pub(crate) config: Config,
    pub(crate) refusals: Tally,
    /// Whether it was said that another layer has the same cookie.
    pub(crate) clashed: AtomicBool,
    /// Whether it was said why the cookie will not stick.
    pub(crate) warned: AtomicBool,
}

impl Area {
    pub(crate) fn new(store: Arc<dyn ErasedStore>, config: Config) -> Self {
        Self {
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

impl fmt::Debug for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionLayer")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// The store; its failures are told here, once and in number, however many requests run into them.
pub(crate) struct ToldStore {
    store: Arc<dyn ErasedStore>,
    failures: Tally,
}

impl ToldStore {
    async fn told<T>(&self, call: StoreFuture<'_, T>) -> Result<T, StoreError> {
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

    pub(crate) fn create(
        &self,
        create: Create,
    ) -> impl Future<Output = Result<Created, StoreError>> {
        self.told(self.store.create(create))
    }

    pub(crate) fn load(
        &self,
        key: RecordKey,
    ) -> impl Future<Output = Result<Option<Entry>, StoreError>> {
        self.told(self.store.load(key))
    }

    pub(crate) async fn load_each(
        &self,
        keys: &[RecordKey],
    ) -> Result<Vec<Option<Entry>>, StoreError> {
        self.told(self.store.load_each(keys)).await
    }

    pub(crate) fn apply(&self, apply: Apply) -> impl Future<Output = Result<Applied, StoreError>> {
        self.told(self.store.apply(apply))
    }

    pub(crate) fn replace(
        &self,
        replace: Replace,
    ) -> impl Future<Output = Result<Replaced, StoreError>> {
        self.told(self.store.replace(replace))
    }

    pub(crate) fn end(
        &self,
        end: EndSessions,
    ) -> impl Future<Output = Result<EndedSessions, StoreError>> {
        self.told(self.store.end(end))
    }

    pub(crate) fn list(
        &self,
        user: UserId,
    ) -> impl Future<Output = Result<Vec<Record>, StoreError>> {
        self.told(self.store.list(user))
    }
}
