//! `sessile` over Redis without anything that carries on while Redis is away: what that costs.

use std::time::SystemTime;

use axum::Router;
use sessile::record::{Activity, Entry, Record, UserLog};
use sessile::store::{
    Append, Appended, Applied, Apply, Create, Created, EndSessions, EndedSessions, Replace,
    Replaced,
};
use sessile::{
    Bucket, Kind, RecordKey, RedisStore, SessionLayer, SessionStore, StoreError, UserId,
};

use super::own;

pub(super) async fn over_redis(url: &str) -> Router {
    let store = RedisStore::connect(url).await.expect("an address");
    own::routes()
        .layer(SessionLayer::new(Alone(store)))
        .with_state(())
}

/// A store that does not say that it can be away.
struct Alone(RedisStore);

impl SessionStore for Alone {
    fn now(&self) -> SystemTime {
        self.0.now()
    }

    fn bucket(&self, user: &UserId) -> Bucket {
        self.0.bucket(user)
    }

    fn create(&self, create: Create) -> impl Future<Output = Result<Created, StoreError>> + Send {
        self.0.create(create)
    }

    fn load(
        &self,
        key: RecordKey,
    ) -> impl Future<Output = Result<Option<Entry>, StoreError>> + Send {
        self.0.load(key)
    }

    fn apply(&self, apply: Apply) -> impl Future<Output = Result<Applied, StoreError>> + Send {
        self.0.apply(apply)
    }

    fn append(&self, append: Append) -> impl Future<Output = Result<Appended, StoreError>> + Send {
        self.0.append(append)
    }

    fn replace(
        &self,
        replace: Replace,
    ) -> impl Future<Output = Result<Replaced, StoreError>> + Send {
        self.0.replace(replace)
    }

    fn end(
        &self,
        end: EndSessions,
    ) -> impl Future<Output = Result<EndedSessions, StoreError>> + Send {
        self.0.end(end)
    }

    fn list(&self, user: UserId) -> impl Future<Output = Result<Vec<Record>, StoreError>> + Send {
        self.0.list(user)
    }

    fn record(
        &self,
        user: UserId,
        activity: Activity,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        self.0.record(user, activity)
    }

    fn log(&self, user: UserId) -> impl Future<Output = Result<UserLog, StoreError>> + Send {
        self.0.log(user)
    }

    fn erase(&self, user: UserId) -> impl Future<Output = Result<(), StoreError>> + Send {
        self.0.erase(user)
    }

    fn count(&self, kind: Kind) -> impl Future<Output = Result<u64, StoreError>> + Send {
        self.0.count(kind)
    }
}
