//! Parallel writers and readers on two instances: the recorded histories are coherent, and those of a cache that is told of
//! nothing are not.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sessile::record::{Entry, Record};
use sessile::{RecordKey, RedisStore, SessionStore};

use super::checker::{Fault, Op, What, check};
use super::fixture::{BOUND, made, near, set, two, value};
use crate::support::redis::Server;

/// Reads and writes of one value.
trait Instance: Clone + Send + Sync + 'static {
    /// As a request reads that a copy may answer.
    fn read(&self, key: RecordKey) -> impl Future<Output = u64> + Send;

    fn write(&self, key: RecordKey, value: u64) -> impl Future<Output = ()> + Send;
}

impl Instance for RedisStore {
    async fn read(&self, key: RecordKey) -> u64 {
        match self.near(&key) {
            Some(near) => value(&near.record),
            None => value(&live(self, key).await),
        }
    }

    async fn write(&self, key: RecordKey, value: u64) {
        super::fixture::write(self, key, value).await;
    }
}

async fn live(store: &RedisStore, key: RecordKey) -> Record {
    match store.load(key).await.unwrap() {
        Some(Entry::Live(record)) => record,
        other => panic!("it is live, and not {other:?}"),
    }
}

/// A cache that nobody tells of changes; of its own it knows, or not.
#[derive(Clone)]
struct Deaf {
    store: RedisStore,
    copies: Arc<Mutex<HashMap<RecordKey, Record>>>,
    knows_own: bool,
}

impl Deaf {
    fn over(store: RedisStore, knows_own: bool) -> Self {
        Self {
            store,
            copies: Arc::default(),
            knows_own,
        }
    }
}

impl Instance for Deaf {
    async fn read(&self, key: RecordKey) -> u64 {
        let copy = self.copies.lock().unwrap().get(&key).cloned();
        if let Some(copy) = copy {
            return value(&copy);
        }
        let record = live(&self.store, key).await;
        let read = value(&record);
        self.copies.lock().unwrap().insert(key, record);
        read
    }

    async fn write(&self, key: RecordKey, value: u64) {
        self.store.apply(set(key, value)).await.unwrap();
        if self.knows_own {
            self.copies.lock().unwrap().remove(&key);
        }
    }
}

/// What instances did with one value, all at once, for so long: each writes now and then, and reads all the time.
async fn recorded(instances: [impl Instance; 2], key: RecordKey, span: Duration) -> Vec<Op> {
    let began = Instant::now();
    let next = Arc::new(AtomicU64::new(1));
    let mut tasks = Vec::new();
    for (number, instance) in instances.into_iter().enumerate() {
        for task in 0..3_u64 {
            let (instance, next) = (instance.clone(), Arc::clone(&next));
            tasks.push(tokio::spawn(async move {
                let mut history = Vec::new();
                let mut turn = 0;
                while began.elapsed() < span {
                    turn += 1;
                    let start = began.elapsed();
                    // Some of them only read.
                    let (what, value) = if task > 0 && turn % (40 * task) == 0 {
                        let value = next.fetch_add(1, Ordering::SeqCst);
                        instance.write(key, value).await;
                        (What::Write, value)
                    } else {
                        (What::Read, instance.read(key).await)
                    };
                    history.push(Op {
                        instance: number,
                        what,
                        start,
                        end: began.elapsed(),
                        value,
                    });
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
                history
            }));
        }
    }
    let mut history = Vec::new();
    for task in tasks {
        history.extend(task.await.unwrap());
    }
    history.sort_by_key(|op| op.start);
    history
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_writers_on_two_instances_have_coherent_histories() {
    let (_server, a, b) = two().await;
    for number in 0..4 {
        let key = made(&a, &format!("user-{number}"), 0).await;
        let history = recorded([a.clone(), b.clone()], key, Duration::from_millis(700)).await;
        let writes = history.iter().filter(|op| op.what == What::Write).count();
        assert!(writes > 0, "{} operations", history.len());
        assert_eq!(check(&history, BOUND), Ok(()));
    }
    for store in [a, b] {
        let counts = store.near_counts().unwrap();
        assert!(counts.hits > 0 && counts.invalidations > 0, "{counts:?}");
    }
}

/// The checker tells a cache that is not coherent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_without_invalidation_is_rejected() {
    let server = Server::start();
    let (a, b) = (near(&server.url()).await, near(&server.url()).await);
    let key = made(&a, "alice", 0).await;
    let deaf = [&a, &b].map(|store| Deaf::over(store.clone(), false));
    let history = recorded(deaf, key, Duration::from_millis(300)).await;
    let fault = check(&history, BOUND);
    assert!(matches!(fault, Err(Fault::Forgot { .. })), "{fault:?}");

    // One that hears of its own writes alone.
    let key = made(&a, "bob", 0).await;
    let listener = Deaf::over(b.clone(), true);
    let began = Instant::now();
    let mut ops = Vec::new();
    let mut note = |instance, what, start, value| {
        ops.push(Op {
            instance,
            what,
            start,
            end: began.elapsed(),
            value,
        });
    };
    let start = began.elapsed();
    note(1, What::Read, start, listener.read(key).await);
    let start = began.elapsed();
    a.write(key, 3).await;
    note(0, What::Write, start, 3);
    let start = began.elapsed();
    note(1, What::Read, start, listener.read(key).await);
    assert!(matches!(
        check(&ops, Duration::ZERO),
        Err(Fault::Stale { .. })
    ));
}
