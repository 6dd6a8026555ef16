//! `sessile` with its defaults: sessions of users, with activity, limits possible, and an index.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use sessile::record::{Activity, Entry, Record, UserLog};
use sessile::store::{
    Append, Appended, Applied, Apply, Create, Created, EndSessions, EndedSessions, Replace,
    Replaced,
};
use sessile::{
    Bucket, Key, Kind, RecordKey, RedisStore, Session, SessionLayer, SessionStore, StoreError,
    UserId,
};

use super::data;

const DATA: Key<String> = Key::new("data");
const LAST: Key<u64> = Key::new("last");

static NUMBER: AtomicU64 = AtomicU64::new(0);

fn next() -> u64 {
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// `alone`: without anything that carries on while Redis is away.
pub(super) async fn app(url: &str, alone: bool) -> Router {
    let store = RedisStore::connect(url).await.expect("an address");
    let sessions = if alone {
        SessionLayer::new(Alone(store))
    } else {
        SessionLayer::new(store)
    };
    Router::new()
        .route("/plain", get(async || "ok"))
        .route("/create", get(create))
        .route("/read", get(read))
        .route("/write", get(write))
        .layer(sessions)
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

async fn create(session: Session) -> Result<&'static str, StatusCode> {
    let user = format!("user-{}", next());
    let login = session.login(user).with(DATA, &data());
    login.await.map_err(|error| error.status())?;
    Ok("ok")
}

async fn read(session: Session) -> Result<&'static str, StatusCode> {
    match session.get(DATA) {
        Ok(Some(data)) if data.len() == super::DATA_BYTES => Ok("ok"),
        _ => Err(StatusCode::NOT_FOUND),
    }
}

async fn write(session: Session) -> Result<&'static str, StatusCode> {
    if session.user().is_none() {
        return Err(StatusCode::NOT_FOUND);
    }
    session
        .insert(LAST, &next())
        .map_err(|error| error.status())?;
    Ok("ok")
}
