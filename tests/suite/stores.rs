//! The stores that every test which is not about one of them runs on: memory, and a Redis server of its own.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sessile::record::{Activity, Entry, HistoryEntry, Record, UserLog};
use sessile::store::wrappers::{Call, Spy};
use sessile::store::{
    Append, Appended, Applied, Apply, Beat, Counts, Create, Created, EndSessions, EndedSessions,
    Part, Replace, Replaced, Spend, Spent,
};
use sessile::{
    Bucket, Digest, Kind, ManualClock, MemoryStore, RecordKey, SessionStore, StoreError, UserId,
};
use sha2::{Digest as _, Sha256};

use crate::support::wait::wait_until;

/// Makes two tests of each of these functions of a store: `memory::name`, whose clock stands still, and
/// `redis::name`, on a server of its own, which is looked through afterwards.
///
/// After a name may stand in parentheses: `threads`, for races; `paused`: in memory tokio's clock moves when everybody
/// waits (on Redis it never does: it would jump over the deadlines); `redis_alone`: of an
/// [`OnRedis`](crate::on_redis::OnRedis).
macro_rules! on_every_store {
    ($($name:ident $(($how:ident))?),* $(,)?) => {
        mod memory {
            $($crate::stores::on_every_store!(memory $name $($how)?);)*
        }
        mod redis {
            $($crate::stores::on_every_store!(redis $name $($how)?);)*
        }
    };
    (memory $name:ident) => {
        $crate::stores::on_every_store!(memory $name, #[tokio::test]);
    };
    (memory $name:ident redis_alone) => {};
    (memory $name:ident paused) => {
        $crate::stores::on_every_store!(memory $name, #[tokio::test(start_paused = true)]);
    };
    (memory $name:ident threads) => {
        $crate::stores::on_every_store!(memory $name, #[tokio::test(flavor = "multi_thread", worker_threads = 2)]);
    };
    (redis $name:ident threads) => {
        $crate::stores::on_every_store!(redis $name, #[tokio::test(flavor = "multi_thread", worker_threads = 2)]);
    };
    (redis $name:ident $($how:ident)?) => {
        $crate::stores::on_every_store!(redis $name, #[tokio::test]);
    };
    (memory $name:ident, #[$test:meta]) => {
        #[$test]
        async fn $name() {
            super::$name($crate::stores::Memory::standing_still()).await;
        }
    };
    (redis $name:ident, #[$test:meta]) => {
        #[$test]
        async fn $name() {
            $crate::on_redis::on_redis(super::$name).await;
        }
    };
}
pub(crate) use on_every_store;

/// What requests cost.
pub(crate) trait Asked {
    /// The calls since the last time, but for the heartbeat, which is no request's.
    fn asked(&self) -> Vec<Call>;
}

impl<S> Asked for Spy<S> {
    fn asked(&self) -> Vec<Call> {
        let mut calls = self.take();
        calls.retain(|call| *call != Call::Beat);
        calls
    }
}

/// A store that a test may be about any of.
pub(crate) trait TestStore: SessionStore + Clone {
    /// Another one, that is empty.
    async fn another(&self) -> Self;

    /// Another one, in which a session has at most so many bytes.
    async fn with_record_limit(&self, bytes: usize) -> Self;

    /// Lets the clock go on by at least a moment, so that what follows is later than what was.
    async fn later(&self);

    /// Everything there is: live sessions, and those that ended.
    async fn entries(&self) -> usize;

    /// Whether after this time nothing of all this will be left. To be asked at the end of a test: memory's clock is
    /// moved for it.
    async fn is_empty_after(&self, time: Duration) -> bool;

    /// How many clones of it there are.
    fn clones(&self) -> usize;

    /// Waits until no other clone is left: nobody is at work any more for an application that was dropped.
    async fn left_alone(&self) {
        let what = "the other clones of a store are dropped";
        wait_until(what, async || self.clones() == 1).await;
    }

    /// The live sessions that none of these cookies opens.
    async fn live_without(&self, cookies: &[&str]) -> usize;
}

/// A store, with what a test needs to know of where it is.
#[derive(Debug, Clone)]
pub(crate) struct In<S, Place> {
    store: S,
    pub(crate) place: Place,
    clones: Arc<()>,
}

impl<S, Place> In<S, Place> {
    pub(crate) fn new(store: S, place: Place) -> Self {
        Self {
            store,
            place,
            clones: Arc::default(),
        }
    }

    pub(crate) fn count_clones(&self) -> usize {
        Arc::strong_count(&self.clones)
    }
}

/// Hands every call on to the store inside.
impl<S: SessionStore, Place: Send + Sync + 'static> SessionStore for In<S, Place> {
    fn now(&self) -> SystemTime {
        self.store.now()
    }

    fn bucket(&self, user: &UserId) -> Bucket {
        self.store.bucket(user)
    }

    fn record_limit(&self) -> usize {
        self.store.record_limit()
    }

    fn parts(&self) -> Vec<Part> {
        self.store.parts()
    }

    fn part(&self, bucket: Bucket) -> Part {
        self.store.part(bucket)
    }

    fn connections(&self) -> Option<sessile::store::Connections> {
        self.store.connections()
    }

    async fn record(&self, user: UserId, activity: Activity) -> Result<(), StoreError> {
        self.store.record(user, activity).await
    }

    async fn log(&self, user: UserId) -> Result<UserLog, StoreError> {
        self.store.log(user).await
    }

    async fn erase(&self, user: UserId) -> Result<(), StoreError> {
        self.store.erase(user).await
    }

    async fn counts(&self, oldest: Duration) -> Result<Option<Counts>, StoreError> {
        self.store.counts(oldest).await
    }

    fn ends(&self) -> Option<sessile::store::Ends> {
        self.store.ends()
    }

    fn hear(&self, kind: Kind) -> Option<sessile::store::Hearing> {
        self.store.hear(kind)
    }

    async fn beat(&self, part: Part, least: u64) -> Result<Beat, StoreError> {
        self.store.beat(part, least).await
    }

    async fn create(&self, create: Create) -> Result<Created, StoreError> {
        self.store.create(create).await
    }

    async fn load(&self, key: RecordKey) -> Result<Option<Entry>, StoreError> {
        self.store.load(key).await
    }

    async fn load_each(&self, keys: &[RecordKey]) -> Result<Vec<Option<Entry>>, StoreError> {
        self.store.load_each(keys).await
    }

    async fn apply(&self, apply: Apply) -> Result<Applied, StoreError> {
        self.store.apply(apply).await
    }

    async fn append(&self, append: Append) -> Result<Appended, StoreError> {
        self.store.append(append).await
    }

    async fn spend(&self, spend: Spend) -> Result<Spent, StoreError> {
        self.store.spend(spend).await
    }

    async fn replace(&self, replace: Replace) -> Result<Replaced, StoreError> {
        self.store.replace(replace).await
    }

    async fn end(&self, end: EndSessions) -> Result<EndedSessions, StoreError> {
        self.store.end(end).await
    }

    async fn list(&self, user: UserId) -> Result<Vec<Record>, StoreError> {
        self.store.list(user).await
    }

    async fn count(&self, kind: Kind) -> Result<u64, StoreError> {
        self.store.count(kind).await
    }
}

/// A memory whose clock stands still until it is moved.
pub(crate) type Memory = In<MemoryStore, ManualClock>;

impl Memory {
    pub(crate) fn standing_still() -> Self {
        let (store, clock) = crate::harness::memory();
        Self::new(store, clock)
    }
}

impl TestStore for Memory {
    async fn another(&self) -> Self {
        Self::standing_still()
    }

    async fn with_record_limit(&self, bytes: usize) -> Self {
        let clock = ManualClock::new();
        let builder = MemoryStore::builder().record_limit(bytes);
        Self::new(builder.clock(clock.clone()).build(), clock)
    }

    async fn later(&self) {
        self.place.advance(crate::harness::MINUTE);
    }

    async fn entries(&self) -> usize {
        self.store.entries()
    }

    async fn is_empty_after(&self, time: Duration) -> bool {
        self.place.advance(time);
        self.store.purge();
        let entries = self.store.entries();
        // Histories outlive all sessions.
        self.place.advance(HistoryEntry::KEPT);
        self.store.purge();
        (entries, self.store.bytes()) == (0, 0)
    }

    fn clones(&self) -> usize {
        self.count_clones()
    }

    async fn live_without(&self, cookies: &[&str]) -> usize {
        let live = self.count(Kind::User).await.unwrap() as usize;
        let mut held = HashSet::new();
        for cookie in cookies {
            let key = key_of(cookie);
            if let Some(Entry::Live(_)) = self.load(key).await.unwrap() {
                held.insert(key);
            }
        }
        live - held.len()
    }
}

/// What a store knows a cookie's session by.
pub(crate) fn key_of(cookie: &str) -> RecordKey {
    let bytes = URL_SAFE_NO_PAD.decode(cookie).unwrap();
    RecordKey {
        kind: Kind::User,
        bucket: Bucket::from(u16::from_be_bytes([bytes[1], bytes[2]])),
        digest: Digest::from_bytes(Sha256::digest(&bytes[3..]).into()),
    }
}
