//! Stores around a store, for tests (feature `test-util`).
//!
//! Each does one thing to every call and hands the rest on, so that they stack: a [`Spy`] around a [`Failing`] around
//! a [`MemoryStore`](super::MemoryStore) counts calls that fail. A clone shares its state with the original: give one
//! to the layer and keep one to steer.
//!
//! | wrapper | what it does |
//! |---|---|
//! | [`Spy`] | notes which calls were made, in order |
//! | [`Failing`] | fails calls before they reach the store, or loses the reply of what was done |
//! | [`Slow`] | delays every call |
//! | [`Holding`] | stops one call, before or after the store, until the test lets it go |
//!
//! [`now`](SessionStore::now), [`bucket`](SessionStore::bucket), [`deadline`](SessionStore::deadline),
//! [`parts`](SessionStore::parts), [`part`](SessionStore::part), [`ends`](SessionStore::ends),
//! [`hear`](SessionStore::hear), [`connections`](SessionStore::connections) and what is of a near cache
//! ([`near`](SessionStore::near)) are no calls: they are answered by the store inside.

use std::future::Future;
use std::time::Duration;

use super::{SessionStore, StoreError};

/// Implements [`SessionStore`] for a wrapper through its [`Around`], so that the list of calls is written once.
macro_rules! stores_around {
    ($wrapper:ident) => {
        impl<S: $crate::store::SessionStore> $crate::store::SessionStore for $wrapper<S> {
            fn now(&self) -> std::time::SystemTime {
                $crate::store::wrappers::Around::store(self).now()
            }

            fn bucket(&self, user: &$crate::id::UserId) -> $crate::id::Bucket {
                $crate::store::wrappers::Around::store(self).bucket(user)
            }

            fn record_limit(&self) -> usize {
                $crate::store::wrappers::Around::store(self).record_limit()
            }

            fn deadline(&self) -> Option<std::time::Duration> {
                $crate::store::wrappers::Around::deadline(self)
            }

            fn parts(&self) -> Vec<$crate::store::Part> {
                $crate::store::wrappers::Around::store(self).parts()
            }

            fn part(&self, bucket: $crate::id::Bucket) -> $crate::store::Part {
                $crate::store::wrappers::Around::store(self).part(bucket)
            }

            fn ends(&self) -> Option<$crate::store::Ends> {
                $crate::store::wrappers::Around::store(self).ends()
            }

            fn hear(&self, kind: $crate::id::Kind) -> Option<$crate::store::Hearing> {
                $crate::store::wrappers::Around::store(self).hear(kind)
            }

            fn connections(&self) -> Option<$crate::store::Connections> {
                $crate::store::wrappers::Around::store(self).connections()
            }

            fn near(&self, key: &$crate::id::RecordKey) -> Option<$crate::store::Near> {
                $crate::store::wrappers::Around::store(self).near(key)
            }

            fn near_memory(&self, most: usize) -> bool {
                $crate::store::wrappers::Around::store(self).near_memory(most)
            }

            fn near_counts(&self) -> Option<$crate::store::NearCounts> {
                $crate::store::wrappers::Around::store(self).near_counts()
            }

            // Not `load_now`: what is read at once would pass the wrapper by, which is there for every call.
            stores_around! { calls
                create(create: $crate::store::Create) -> $crate::store::Created, Create;
                load(key: $crate::id::RecordKey) -> Option<$crate::record::Entry>, Load;
                load_each(keys: &[$crate::id::RecordKey]) -> Vec<Option<$crate::record::Entry>>, LoadEach;
                apply(apply: $crate::store::Apply) -> $crate::store::Applied, Apply;
                append(append: $crate::store::Append) -> $crate::store::Appended, Append;
                spend(spend: $crate::store::Spend) -> $crate::store::Spent, Spend;
                replace(replace: $crate::store::Replace) -> $crate::store::Replaced, Replace;
                end(end: $crate::store::EndSessions) -> $crate::store::EndedSessions, End;
                list(user: $crate::id::UserId) -> Vec<$crate::record::Record>, List;
                migrated(old: $crate::id::Digest) -> Option<$crate::id::RecordKey>, Migrated;
                record(user: $crate::id::UserId, activity: $crate::record::Activity) -> (), Record;
                log(user: $crate::id::UserId) -> $crate::record::UserLog, Log;
                erase(user: $crate::id::UserId) -> (), Erase;
                count(kind: $crate::id::Kind) -> u64, Count;
                counts(oldest: std::time::Duration) -> Option<$crate::store::Counts>, Counts;
                beat(part: $crate::store::Part, least: u64) -> $crate::store::Beat, Beat;
            }
        }
    };
    (calls $($name:ident($($given:ident: $what:ty),*) -> $out:ty, $call:ident;)*) => {$(
        async fn $name(&self, $($given: $what),*) -> Result<$out, $crate::store::StoreError> {
            // In a block of its own: a store's method may begin to act before its future is polled.
            let op = async move { $crate::store::wrappers::Around::store(self).$name($($given),*).await };
            $crate::store::wrappers::Around::around(self, $crate::store::wrappers::Call::$call, op).await
        }
    )*};
}

mod failing;
mod holding;
mod slow;
mod spy;

pub use failing::Failing;
pub use holding::{Held, Holding};
pub use slow::Slow;
pub use spy::Spy;

/// One operation of a [`SessionStore`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// [`SessionStore::create`].
    Create,
    /// [`SessionStore::load`].
    Load,
    /// [`SessionStore::load_each`]: one call, however many keys.
    LoadEach,
    /// [`SessionStore::apply`].
    Apply,
    /// [`SessionStore::append`].
    Append,
    /// [`SessionStore::spend`].
    Spend,
    /// [`SessionStore::replace`].
    Replace,
    /// [`SessionStore::end`].
    End,
    /// [`SessionStore::list`].
    List,
    /// [`SessionStore::migrated`].
    Migrated,
    /// [`SessionStore::record`].
    Record,
    /// [`SessionStore::log`].
    Log,
    /// [`SessionStore::erase`].
    Erase,
    /// [`SessionStore::count`].
    Count,
    /// [`SessionStore::counts`].
    Counts,
    /// [`SessionStore::beat`].
    Beat,
}

impl Call {
    /// Every call.
    pub const ALL: [Self; 16] = [
        Self::Create,
        Self::Load,
        Self::LoadEach,
        Self::Apply,
        Self::Append,
        Self::Spend,
        Self::Replace,
        Self::End,
        Self::List,
        Self::Migrated,
        Self::Record,
        Self::Log,
        Self::Erase,
        Self::Count,
        Self::Counts,
        Self::Beat,
    ];
}

/// What a wrapper is: a store, and something that happens around each call of it.
trait Around: Send + Sync + 'static {
    type Store: SessionStore;

    fn store(&self) -> &Self::Store;

    fn deadline(&self) -> Option<Duration> {
        self.store().deadline()
    }

    /// Runs `op`, or not. Until it is polled, nothing of it has reached the store.
    fn around<T: Send>(
        &self,
        call: Call,
        op: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> impl Future<Output = Result<T, StoreError>> + Send;
}
