//! The private twin of [`SessionStore`] that can be a trait object, so that no public type has a store parameter.

use std::future::Future;
use std::pin::Pin;
use std::time::SystemTime;

use super::{
    Applied, Apply, Create, Created, EndSessions, EndedSessions, Replace, Replaced, SessionStore,
    StoreError,
};
use crate::id::{Bucket, RecordKey, UserId};
use crate::record::{Entry, Record};

pub(crate) type StoreFuture<'a, T> =
    Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Each method is the one of [`SessionStore`], boxed once.
pub(crate) trait ErasedStore: Send + Sync {
    fn now(&self) -> SystemTime;
    fn bucket(&self, user: &UserId) -> Bucket;
    fn create(&self, create: Create) -> StoreFuture<'_, Created>;
    fn load(&self, key: RecordKey) -> StoreFuture<'_, Option<Entry>>;
    fn load_each<'a>(&'a self, keys: &'a [RecordKey]) -> StoreFuture<'a, Vec<Option<Entry>>>;
    fn apply(&self, apply: Apply) -> StoreFuture<'_, Applied>;
    fn replace(&self, replace: Replace) -> StoreFuture<'_, Replaced>;
    fn end(&self, end: EndSessions) -> StoreFuture<'_, EndedSessions>;
    fn list(&self, user: UserId) -> StoreFuture<'_, Vec<Record>>;
}

impl<S: SessionStore> ErasedStore for S {
    fn now(&self) -> SystemTime {
        SessionStore::now(self)
    }

    fn bucket(&self, user: &UserId) -> Bucket {
        SessionStore::bucket(self, user)
    }

    fn create(&self, create: Create) -> StoreFuture<'_, Created> {
        Box::pin(SessionStore::create(self, create))
    }

    fn load(&self, key: RecordKey) -> StoreFuture<'_, Option<Entry>> {
        Box::pin(SessionStore::load(self, key))
    }

    fn load_each<'a>(&'a self, keys: &'a [RecordKey]) -> StoreFuture<'a, Vec<Option<Entry>>> {
        Box::pin(SessionStore::load_each(self, keys))
    }

    fn apply(&self, apply: Apply) -> StoreFuture<'_, Applied> {
        Box::pin(SessionStore::apply(self, apply))
    }

    fn replace(&self, replace: Replace) -> StoreFuture<'_, Replaced> {
        Box::pin(SessionStore::replace(self, replace))
    }

    fn end(&self, end: EndSessions) -> StoreFuture<'_, EndedSessions> {
        Box::pin(SessionStore::end(self, end))
    }

    fn list(&self, user: UserId) -> StoreFuture<'_, Vec<Record>> {
        Box::pin(SessionStore::list(self, user))
    }
}
