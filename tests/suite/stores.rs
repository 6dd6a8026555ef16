//! The stores that every test which is not about one of them runs on: memory, and a Redis server of its own.

use std::collections::HashSet;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sessile::record::{Entry, Record};
use sessile::store::{
    Applied, Apply, Create, Created, EndSessions, EndedSessions, RedisStore, Replace, Replaced,
};
use sessile::{
    Bucket, Digest, Kind, ManualClock, MemoryStore, RecordKey, SessionStore, StoreError, UserId,
};
use sha2::{Digest as _, Sha256};

use crate::support::dump;
use crate::support::wait::wait_until;
use crate::support::{Server, setups};

/// Makes two tests of each of these functions of a store: `memory::name`, whose clock stands still, and
/// `redis::name`, on a server of its own, which is looked through afterwards.
///
/// After a name may stand in parentheses: `threads`, for races; `paused`: in memory tokio's clock moves when everybody
/// waits (on Redis it never does: it would jump over the deadlines); `redis_alone`: of an [`OnRedis`].
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
            super::$name($crate::stores::Memory::new()).await;
        }
    };
    (redis $name:ident, #[$test:meta]) => {
        #[$test]
        async fn $name() {
            $crate::stores::on_redis(super::$name).await;
        }
    };
}
pub(crate) use on_every_store;

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

    /// Waits until no other clone is left: nobody is at work any more for an application that was dropped.
    async fn left_alone(&self);

    /// The live sessions that none of these cookies opens.
    async fn live_without(&self, cookies: &[&str]) -> usize;
}

/// A memory whose clock stands still until it is moved.
#[derive(Clone)]
pub(crate) struct Memory {
    store: MemoryStore,
    clock: ManualClock,
    clones: Arc<()>,
}

/// Sessions on a real server, which ends with the last of the stores on it. Each store has a namespace of its own.
#[derive(Clone)]
pub(crate) struct OnRedis {
    store: RedisStore,
    namespace: Arc<str>,
    server: Arc<Server>,
    stores: Arc<AtomicUsize>,
    clones: Arc<()>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        let (store, clock) = crate::harness::memory();
        Self {
            store,
            clock,
            clones: Arc::default(),
        }
    }
}

impl TestStore for Memory {
    async fn another(&self) -> Self {
        Self::new()
    }

    async fn with_record_limit(&self, bytes: usize) -> Self {
        let clock = ManualClock::new();
        let builder = MemoryStore::builder().record_limit(bytes);
        Self {
            store: builder.clock(clock.clone()).build(),
            clock,
            clones: Arc::default(),
        }
    }

    async fn later(&self) {
        self.clock.advance(crate::harness::MINUTE);
    }

    async fn entries(&self) -> usize {
        self.store.entries()
    }

    async fn is_empty_after(&self, time: Duration) -> bool {
        self.clock.advance(time);
        self.store.purge();
        (self.store.entries(), self.store.bytes()) == (0, 0)
    }

    async fn left_alone(&self) {
        let one = async || Arc::strong_count(&self.clones) == 1;
        wait_until("the other clones of a store are dropped", one).await;
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

impl OnRedis {
    /// On a server that is started for it.
    pub(crate) async fn start() -> Self {
        let server = Arc::new(Server::start());
        let (version, processes) = server.describe();
        setups::report("redis", &version, processes);
        Self {
            store: connect(&server, "", None).await,
            namespace: "".into(),
            server,
            stores: Arc::default(),
            clones: Arc::default(),
        }
    }

    async fn beside(&self, record_limit: Option<usize>) -> Self {
        let namespace = format!("n{}", self.stores.fetch_add(1, Ordering::Relaxed));
        Self {
            store: connect(&self.server, &namespace, record_limit).await,
            namespace: namespace.into(),
            server: Arc::clone(&self.server),
            stores: Arc::clone(&self.stores),
            clones: Arc::default(),
        }
    }

    /// The keys of this store, with those of stores beside it left out.
    fn dump(&self) -> Vec<dump::Entry> {
        let own = match &*self.namespace {
            "" => String::new(),
            namespace => format!("{namespace}:"),
        };
        let families = ["session:", "demo:session:", "user_"];
        let mut dump = self.server.dump();
        dump.retain(|entry| {
            let rest = entry.key.strip_prefix(own.as_bytes());
            rest.is_some_and(|rest| families.iter().any(|of| rest.starts_with(of.as_bytes())))
        });
        dump
    }

    /// All records and tombstones as they stand there, with the time until they are gone.
    pub(crate) fn kept(&self) -> Vec<(RecordKey, Entry, Duration)> {
        let dump = self.dump();
        let kept = dump.iter().filter_map(|entry| {
            let key = record_key(str::from_utf8(&entry.key).unwrap())?;
            let stands = Entry::from_bytes(&entry.values[0]).unwrap();
            Some((key, stands, entry.ttl.unwrap()))
        });
        kept.collect()
    }
}

/// A store on that server. Its deadlines are far away: nothing that these tests assert depends on speed, and the
/// machine may be busy.
async fn connect(server: &Server, namespace: &str, record_limit: Option<usize>) -> RedisStore {
    let far = Duration::from_secs(20);
    let mut builder = RedisStore::builder(&server.url())
        .command_timeout(far)
        .operation_timeout(far);
    if !namespace.is_empty() {
        builder = builder.namespace(namespace);
    }
    if let Some(bytes) = record_limit {
        builder = builder.record_limit(bytes);
    }
    builder.connect().await.unwrap()
}

impl TestStore for OnRedis {
    async fn another(&self) -> Self {
        self.beside(None).await
    }

    async fn with_record_limit(&self, bytes: usize) -> Self {
        self.beside(Some(bytes)).await
    }

    async fn later(&self) {
        let now = self.now();
        while self.now() < now + Duration::from_millis(2) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn entries(&self) -> usize {
        self.kept().len()
    }

    async fn is_empty_after(&self, time: Duration) -> bool {
        self.dump()
            .iter()
            .all(|entry| entry.ttl.is_some_and(|ttl| ttl <= time))
    }

    async fn left_alone(&self) {
        let one = async || Arc::strong_count(&self.clones) == 1;
        wait_until("the other clones of a store are dropped", one).await;
    }

    async fn live_without(&self, cookies: &[&str]) -> usize {
        let held: HashSet<_> = cookies.iter().map(|cookie| key_of(cookie)).collect();
        let mut live = 0;
        for (key, ..) in self.kept() {
            let is_live = matches!(self.load(key).await.unwrap(), Some(Entry::Live(_)));
            live += usize::from(is_live && !held.contains(&key));
        }
        live
    }
}

/// `session:{0123}:digest`, with a namespace or without.
fn record_key(key: &str) -> Option<RecordKey> {
    let (family, rest) = key.split_once('{')?;
    let (tag, digest) = rest.split_once("}:")?;
    let kind = match family {
        _ if family.ends_with("demo:session:") => Kind::Demo,
        _ if family.ends_with("session:") => Kind::User,
        _ => return None,
    };
    let digest = URL_SAFE_NO_PAD.decode(digest).ok()?;
    Some(RecordKey {
        kind,
        bucket: Bucket::from(u16::from_str_radix(tag, 16).ok()?),
        digest: Digest::from_bytes(digest.try_into().ok()?),
    })
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

/// Runs a test on a server of its own, and then looks through all that the server holds.
pub(crate) async fn on_redis<F: Future<Output = ()>>(test: impl FnOnce(OnRedis) -> F) {
    let store = OnRedis::start().await;
    let server = Arc::clone(&store.server);
    test(store).await;
    let faults = faults(&server.dump());
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Every cookie that a client of this process was sent: the secret in it, and all of it.
static COOKIES: LazyLock<Mutex<HashSet<Vec<u8>>>> = LazyLock::new(Mutex::default);
const SECRET: usize = 32;
const COOKIE: usize = 47;

/// Remembers a cookie, so that it can be looked for in what servers hold.
pub(crate) fn was_sent(cookie: &str) {
    if cookie.len() == COOKIE
        && let Ok(bytes) = URL_SAFE_NO_PAD.decode(cookie)
    {
        let mut cookies = COOKIES.lock().unwrap();
        cookies.insert(cookie.into());
        cookies.insert(bytes[3..].to_vec());
    }
}

/// What a server must not hold: a key that never expires (invariant 11), a secret (invariant 5).
fn faults(dump: &[dump::Entry]) -> Vec<String> {
    let cookies = COOKIES.lock().unwrap();
    let mut faults = Vec::new();
    for entry in dump {
        let key = String::from_utf8_lossy(&entry.key);
        if entry.ttl.is_none() {
            faults.push(format!("{key} never expires"));
        }
        let texts = std::iter::once(&entry.key).chain(&entry.values);
        let holds = |length| {
            let mut runs = texts.clone().flat_map(|text| text.windows(length));
            runs.any(|run| cookies.contains(run))
        };
        if holds(SECRET) || holds(COOKIE) {
            faults.push(format!("{key} holds a secret"));
        }
    }
    faults
}

#[tokio::test]
async fn inv05_inv11_a_secret_and_a_key_without_an_expiry_are_found_in_a_server() {
    let server = Server::start();
    let store = connect(&server, "", None).await;
    let mut client = crate::harness::Client::signed_in(&crate::harness::app(store), "alice").await;
    client.post("/put/cart/apple").await;
    assert_eq!(faults(&server.dump()), Vec::<String>::new());
    let id = client.id().unwrap();
    let secret = URL_SAFE_NO_PAD.decode(id).unwrap()[3..].to_vec();
    let mut connection = server.connection();
    let mut put = |key: &str, value: &[u8]| {
        let mut put = redis::cmd("SET");
        put.arg(key).arg(value).arg("PX").arg(60_000);
        put.exec(&mut connection).unwrap();
    };
    put("a", format!("<{id}>").as_bytes());
    put("b", &[b"<", &*secret, b">"].concat());
    put(&format!("c{id}"), b"");
    put("d", b"harmless");
    redis::cmd("PERSIST")
        .arg("d")
        .exec(&mut connection)
        .unwrap();
    let expected = [
        "a holds a secret".to_owned(),
        "b holds a secret".to_owned(),
        format!("c{id} holds a secret"),
        "d never expires".to_owned(),
    ];
    assert_eq!(faults(&server.dump()), expected);
}

/// Hands every call on to the store inside.
macro_rules! is_the_store_inside {
    ($outer:ident: $($name:ident($given:ident: $what:ty) -> $out:ty;)*) => {
        impl SessionStore for $outer {
            fn now(&self) -> SystemTime {
                self.store.now()
            }

            fn bucket(&self, user: &UserId) -> Bucket {
                self.store.bucket(user)
            }

            $(async fn $name(&self, $given: $what) -> Result<$out, StoreError> {
                self.store.$name($given).await
            })*
        }
    };
    ($($outer:ident)*) => {$(
        is_the_store_inside! { $outer:
            create(create: Create) -> Created;
            load(key: RecordKey) -> Option<Entry>;
            load_each(keys: &[RecordKey]) -> Vec<Option<Entry>>;
            apply(apply: Apply) -> Applied;
            replace(replace: Replace) -> Replaced;
            end(end: EndSessions) -> EndedSessions;
            list(user: UserId) -> Vec<Record>;
            count(kind: Kind) -> u64;
        }
    )*};
}

is_the_store_inside! { Memory OnRedis }
