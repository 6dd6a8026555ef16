//! The private twin of [`SessionStore`] that can be a trait object, so that no public type has a store parameter.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use super::{
    Append, Appended, Applied, Apply, Beat, Connections, Counts, Create, Created, EndSessions,
    EndedSessions, Ends, Hearing, Near, NearCounts, Part, Replace, Replaced, SessionStore, Spend,
    Spent, StoreError,
};
use crate::id::{Bucket, Digest, Kind, RecordKey, UserId};
use crate::record::{Activity, Entry, Record, UserLog};

pub(crate) type StoreFuture<'a, T> =
    Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Each method is the one of [`SessionStore`], boxed once.
pub(crate) trait ErasedStore: Send + Sync {
    fn now(&self) -> SystemTime;
    fn bucket(&self, user: &UserId) -> Bucket;
    fn record_limit(&self) -> usize;
    fn deadline(&self) -> Option<Duration>;
    fn parts(&self) -> Vec<Part>;
    fn part(&self, bucket: Bucket) -> Part;
    fn beat(&self, part: Part, least: u64) -> StoreFuture<'_, Beat>;
    fn ends(&self) -> Option<Ends>;
    fn hear(&self, kind: Kind) -> Option<Hearing>;
    fn create(&self, create: Create) -> StoreFuture<'_, Created>;
    fn load(&self, key: RecordKey) -> StoreFuture<'_, Option<Entry>>;
    fn load_now(&self, key: &RecordKey) -> Option<Option<Entry>>;
    fn load_each<'a>(&'a self, keys: &'a [RecordKey]) -> StoreFuture<'a, Vec<Option<Entry>>>;
    fn near(&self, key: &RecordKey) -> Option<Near>;
    fn near_memory(&self, most: usize) -> bool;
    fn near_counts(&self) -> Option<NearCounts>;
    fn apply(&self, apply: Apply) -> StoreFuture<'_, Applied>;
    fn apply_within<'a>(
        &'a self,
        apply: &'a Apply,
        left: Option<Duration>,
    ) -> StoreFuture<'a, Applied>;
    fn append(&self, append: Append) -> StoreFuture<'_, Appended>;
    fn spend(&self, spend: Spend) -> StoreFuture<'_, Spent>;
    fn replace(&self, replace: Replace) -> StoreFuture<'_, Replaced>;
    fn end(&self, end: EndSessions) -> StoreFuture<'_, EndedSessions>;
    fn list(&self, user: UserId) -> StoreFuture<'_, Vec<Record>>;
    fn migrated(&self, old: Digest) -> StoreFuture<'_, Option<RecordKey>>;
    fn record(&self, user: UserId, activity: Activity) -> StoreFuture<'_, ()>;
    fn log(&self, user: UserId) -> StoreFuture<'_, UserLog>;
    fn erase(&self, user: UserId) -> StoreFuture<'_, ()>;
    fn connections(&self) -> Option<Connections>;
    fn counts(&self, oldest: Duration) -> StoreFuture<'_, Option<Counts>>;
}

impl<S: SessionStore> ErasedStore for S {
    fn now(&self) -> SystemTime {
        SessionStore::now(self)
    }

    fn bucket(&self, user: &UserId) -> Bucket {
        SessionStore::bucket(self, user)
    }

    fn record_limit(&self) -> usize {
        SessionStore::record_limit(self)
    }

    fn deadline(&self) -> Option<Duration> {
        SessionStore::deadline(self)
    }

    fn parts(&self) -> Vec<Part> {
        SessionStore::parts(self)
    }

    fn load_now(&self, key: &RecordKey) -> Option<Option<Entry>> {
        SessionStore::load_now(self, key)
    }

    fn near(&self, key: &RecordKey) -> Option<Near> {
        SessionStore::near(self, key)
    }

    fn near_memory(&self, most: usize) -> bool {
        SessionStore::near_memory(self, most)
    }

    fn near_counts(&self) -> Option<NearCounts> {
        SessionStore::near_counts(self)
    }

    fn part(&self, bucket: Bucket) -> Part {
        SessionStore::part(self, bucket)
    }

    fn beat(&self, part: Part, least: u64) -> StoreFuture<'_, Beat> {
        Box::pin(SessionStore::beat(self, part, least))
    }

    fn ends(&self) -> Option<Ends> {
        SessionStore::ends(self)
    }

    fn hear(&self, kind: Kind) -> Option<Hearing> {
        SessionStore::hear(self, kind)
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

    fn apply_within<'a>(
        &'a self,
        apply: &'a Apply,
        left: Option<Duration>,
    ) -> StoreFuture<'a, Applied> {
        Box::pin(SessionStore::apply_within(self, apply, left))
    }

    fn append(&self, append: Append) -> StoreFuture<'_, Appended> {
        Box::pin(SessionStore::append(self, append))
    }

    fn spend(&self, spend: Spend) -> StoreFuture<'_, Spent> {
        Box::pin(SessionStore::spend(self, spend))
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

    fn migrated(&self, old: Digest) -> StoreFuture<'_, Option<RecordKey>> {
        Box::pin(SessionStore::migrated(self, old))
    }

    fn record(&self, user: UserId, activity: Activity) -> StoreFuture<'_, ()> {
        Box::pin(SessionStore::record(self, user, activity))
    }

    fn log(&self, user: UserId) -> StoreFuture<'_, UserLog> {
        Box::pin(SessionStore::log(self, user))
    }

    fn erase(&self, user: UserId) -> StoreFuture<'_, ()> {
        Box::pin(SessionStore::erase(self, user))
    }

    fn connections(&self) -> Option<Connections> {
        SessionStore::connections(self)
    }

    fn counts(&self, oldest: Duration) -> StoreFuture<'_, Option<Counts>> {
        Box::pin(SessionStore::counts(self, oldest))
    }
}
