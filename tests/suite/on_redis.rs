//! The Redis of [`on_every_store!`](crate::stores::on_every_store): a server for each test, and what is looked for in it
//! afterwards.

use std::collections::HashSet;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sessile::record::{Activity, Entry, HistoryEntry};
use sessile::store::RedisStore;
use sessile::{Bucket, Digest, Kind, RecordKey, SessionStore};

use crate::stores::{In, TestStore, key_of};
use crate::support::dump::contains;
use crate::support::{Server, dump, setups};

/// Sessions on a real server, which ends with the last of the stores on it.
pub(crate) type OnRedis = In<RedisStore, Place>;

/// Where on which server. Each store has a namespace of its own.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    server: Arc<Server>,
    namespace: Arc<str>,
    /// How many stores there are beside the first.
    others: Arc<AtomicUsize>,
}

impl OnRedis {
    /// On a server that is started for it.
    pub(crate) async fn start() -> Self {
        let server = Arc::new(Server::start());
        let store = connect(&server, "", None).await;
        let place = Place {
            server,
            namespace: "".into(),
            others: Arc::default(),
        };
        Self::new(store, place)
    }

    pub(crate) fn server(&self) -> Arc<Server> {
        Arc::clone(&self.place.server)
    }

    /// What a record's key is called, in the store without a namespace.
    pub(crate) fn name_of(&self, key: &RecordKey) -> String {
        format!("session:{{{}}}:{}", key.bucket, key.digest.to_text())
    }

    /// Writes the row of the table of set-ups.
    pub(crate) fn report(&self) {
        let (version, processes) = self.place.server.describe();
        setups::report("redis", &version, processes);
    }

    async fn beside(&self, record_limit: Option<usize>) -> Self {
        let number = self.place.others.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("n{number}");
        let store = connect(&self.place.server, &namespace, record_limit).await;
        let place = Place {
            namespace: namespace.into(),
            ..self.place.clone()
        };
        Self::new(store, place)
    }

    /// The keys of this store, with those of stores beside it left out.
    fn dump(&self) -> Vec<dump::Entry> {
        let own = match &*self.place.namespace {
            "" => String::new(),
            namespace => format!("{namespace}:"),
        };
        let families = ["session:", "demo:session:", "user_"];
        let mut dump = self.place.server.dump();
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
        // Histories outlive all sessions.
        let kept = |entry: &dump::Entry| match &entry.key {
            key if contains(key, b"user_events:") => HistoryEntry::KEPT,
            key if contains(key, b"user_activity:") => Activity::KEPT,
            _ => time,
        };
        self.dump()
            .iter()
            .all(|entry| entry.ttl.is_some_and(|ttl| ttl <= kept(entry)))
    }

    fn clones(&self) -> usize {
        self.count_clones()
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

/// Runs a test on a server of its own, and then looks through all that the server holds.
pub(crate) async fn on_redis<F: Future<Output = ()>>(test: impl FnOnce(OnRedis) -> F) {
    let store = OnRedis::start().await;
    let server = Arc::clone(&store.place.server);
    test(store).await;
    let faults = faults(&server.dump());
    assert!(faults.is_empty(), "{faults:#?}");
}

/// The secret of every cookie that a client of this process was sent: its bytes, in hex, and as it stands in the
/// cookie.
static SECRETS: LazyLock<Mutex<HashSet<Vec<u8>>>> = LazyLock::new(Mutex::default);
const FORMS: [usize; 3] = [32, 64, 43];
const COOKIE: usize = 47;

/// Remembers a cookie, so that it can be looked for in what servers hold.
pub(crate) fn was_sent(cookie: &str) {
    if cookie.len() == COOKIE
        && let Ok(bytes) = URL_SAFE_NO_PAD.decode(cookie)
    {
        let mut secrets = SECRETS.lock().unwrap();
        secrets.insert(bytes[3..].to_vec());
        secrets.insert(hex(&bytes[3..]).into_bytes());
        // The three bytes before it are four characters.
        secrets.insert(cookie.as_bytes()[4..].to_vec());
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a server must not hold: a key that never expires (invariant 11), a secret (invariant 5).
fn faults(dump: &[dump::Entry]) -> Vec<String> {
    let secrets = SECRETS.lock().unwrap();
    let mut faults = Vec::new();
    for entry in dump {
        let key = String::from_utf8_lossy(&entry.key);
        if entry.ttl.is_none() {
            faults.push(format!("{key} never expires"));
        }
        let texts = std::iter::once(&entry.key).chain(&entry.values);
        let holds = |length: &usize| {
            let mut runs = texts.clone().flat_map(|text| text.windows(*length));
            runs.any(|run| secrets.contains(run))
        };
        if FORMS.iter().any(holds) {
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
    put(&format!("c{}", &id[4..]), b"");
    put("d", hex(&secret).as_bytes());
    put("e", b"harmless");
    redis::cmd("PERSIST")
        .arg("e")
        .exec(&mut connection)
        .unwrap();
    let expected = [
        "a holds a secret".to_owned(),
        "b holds a secret".to_owned(),
        format!("c{} holds a secret", &id[4..]),
        "d holds a secret".to_owned(),
        "e never expires".to_owned(),
    ];
    assert_eq!(faults(&server.dump()), expected);
}
