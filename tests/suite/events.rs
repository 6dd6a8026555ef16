//! What is told of sessions, and what never is.
//!
//! On memory alone: what is told once a minute, since the clock of Redis cannot be moved; no store has a part in it.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt;
use sessile::RedisStore;
use sha2::{Digest, Sha256};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::harness::{COOKIE, Client, MINUTE, app, memory};
use crate::stores::{TestStore, on_every_store};
use crate::support::redis::Server;

/// Keeps every event of every crate, as text and as fields.
#[derive(Clone, Default)]
pub(crate) struct Collector(Arc<Mutex<Vec<Fields>>>);

pub(crate) type Fields = BTreeMap<String, String>;

impl<S: tracing::Subscriber> Layer<S> for Collector {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        struct Reader(Fields);
        impl Visit for Reader {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0.insert(
                    field.name().into(),
                    format!("{value:?}").trim_matches('"').to_owned(),
                );
            }
        }
        let mut reader = Reader(Fields::new());
        event.record(&mut reader);
        reader
            .0
            .insert("target".into(), event.metadata().target().into());
        self.0.lock().unwrap().push(reader.0);
    }
}

/// A second subscriber that stays. As long as there is but one, the first thread that comes to an event decides for all
/// whether anybody listens to it, and another test's has none.
static SECOND: LazyLock<tracing::Dispatch> =
    LazyLock::new(|| tracing::Dispatch::new(tracing_subscriber::registry()));

impl Collector {
    pub(crate) fn install() -> (Self, tracing::subscriber::DefaultGuard) {
        LazyLock::force(&SECOND);
        let collector = Self::default();
        let subscriber = tracing_subscriber::registry().with(collector.clone());
        (collector, tracing::subscriber::set_default(subscriber))
    }

    /// All that were told of with this value of a field.
    pub(crate) fn fields(&self, name: &str, value: &str) -> Vec<Fields> {
        let told = self.0.lock().unwrap();
        let of = told
            .iter()
            .filter(|fields| fields.get(name).is_some_and(|is| is == value));
        of.cloned().collect()
    }

    /// How many lines say this.
    pub(crate) fn saying(&self, words: &str) -> usize {
        let told = self.0.lock().unwrap();
        let saying = told.iter().filter(|fields| {
            fields
                .get("message")
                .is_some_and(|text| text.contains(words))
        });
        saying.count()
    }

    /// The life-cycle events since the last call, as "event reason user".
    pub(crate) fn take(&self) -> Vec<String> {
        let events = std::mem::take(&mut *self.0.lock().unwrap());
        let of =
            |fields: &Fields, name: &str| fields.get(name).cloned().unwrap_or_else(|| "-".into());
        events
            .iter()
            .filter(|fields| fields["target"] == "sessile" && fields.contains_key("event"))
            .map(|fields| {
                format!(
                    "{} {} {}",
                    of(fields, "event"),
                    of(fields, "reason"),
                    of(fields, "user")
                )
            })
            .collect()
    }
}

async fn r53_every_event_of_a_life_is_told_once_with_its_reason_and_user(store: impl TestStore) {
    let (told, _guard) = Collector::install();
    let app = crate::harness::limited(store.clone(), 2, sessile::AtLimit::EndOldest);
    let mut client = Client::new(&app);
    client.address = Some("192.0.2.1".parse().unwrap());
    client.post("/put/cart/1").await.ok();
    assert_eq!(told.take(), ["created - -"]);
    client.post("/login/alice").await.ok();
    assert_eq!(told.take(), ["signed_in - alice", "ended regenerated -"]);
    client.post("/login/alice").await.ok();
    assert_eq!(
        told.take(),
        ["ended regenerated alice", "signed_in - alice"]
    );
    client.post("/regenerate").await.ok();
    assert_eq!(told.take(), ["regenerated - alice"]);
    client.post("/reauthenticate").await.ok();
    assert_eq!(told.take(), ["reauthenticated - alice"]);
    store.later().await;
    let mut second = Client::signed_in(&app, "alice").await;
    assert_eq!(told.take(), ["signed_in - alice"]);
    store.later().await;
    Client::signed_in(&app, "alice").await;
    assert_eq!(told.take(), ["signed_in - alice", "ended limit alice"]);
    second.post("/end-others").await.ok();
    assert_eq!(told.take(), ["ended revoked alice"]);
    second.post("/logout").await.ok();
    second.post("/logout").await.ok();
    assert_eq!(told.take(), ["ended logged_out alice"]);
    client.get("/me").await;
    assert_eq!(told.take(), Vec::<String>::new());
}

async fn r53_an_event_has_handle_and_address(store: impl TestStore) {
    let (told, _guard) = Collector::install();
    let app = app(store);
    let mut client = Client::new(&app);
    client.address = Some("192.0.2.1".parse().unwrap());
    let handle = client.post("/login/alice").await.ok();
    client.post("/logout").await.ok();
    let events = told.0.lock().unwrap().clone();
    let events: Vec<_> = events
        .iter()
        .filter(|fields| fields.contains_key("event"))
        .collect();
    assert_eq!(events.len(), 2);
    for fields in events {
        assert_eq!(
            (&*fields["handle"], &*fields["address"]),
            (&*handle, "192.0.2.1")
        );
    }
}

#[tokio::test]
async fn r03_r54_a_flood_of_made_up_ids_is_told_at_once_and_then_once_a_minute() {
    let (told, _guard) = Collector::install();
    let (store, clock) = memory();
    let app = app(store);
    let mut counts = Vec::new();
    for n in 0..10_000u32 {
        let mut bytes = [1u8; 35];
        bytes[3..7].copy_from_slice(&n.to_be_bytes());
        Client::holding(&app, &URL_SAFE_NO_PAD.encode(bytes))
            .get("/look")
            .await
            .ok();
        if n == 9_998 {
            clock.advance(MINUTE);
        }
    }
    for fields in told
        .0
        .lock()
        .unwrap()
        .iter()
        .filter(|fields| fields.contains_key("event"))
    {
        assert_eq!(fields["event"], "refused");
        counts.push(fields["count"].clone());
    }
    assert_eq!(counts, ["1", "9999"]);
}

async fn inv05_r07_nothing_that_is_told_holds_an_id_or_a_digest(store: impl TestStore) {
    let (told, _guard) = Collector::install();
    let failing = sessile::store::wrappers::Failing::new(store);
    let layer = sessile::SessionLayer::new(failing.clone());
    let sessions = layer.sessions();
    let mut events = sessions.events();
    let app = crate::harness::routes().layer(layer);
    let mut ids = Vec::new();
    let mut client = Client::new(&app);
    for path in [
        "/put/cart/1",
        "/login/alice",
        "/regenerate",
        "/reauthenticate",
        "/count/cart",
        "/login/bob",
    ] {
        let reply = client.post(path).await;
        ids.push(client.id().unwrap().to_owned());
        told.0.lock().unwrap().push(Fields::from([(
            "reply".into(),
            format!("{} {:?}", reply.body, reply.problem),
        )]));
    }
    let mut everything = Vec::new();
    for user in ["alice", "bob"] {
        everything.push(format!("{:?}", sessions.security(user).await.unwrap()));
        everything.push(format!("{:?}", sessions.history(user).await.unwrap()));
    }
    everything.push(format!("{:?}", sessions.stats().await));
    failing.fail_all();
    for path in ["/logout", "/put/a/1", "/end-all"] {
        let reply = client.post(path).await;
        told.0.lock().unwrap().push(Fields::from([(
            "reply".into(),
            format!("{} {:?}", reply.body, reply.problem),
        )]));
    }
    ids.dedup();
    assert!(ids.len() >= 4);
    while let Some(Some(event)) = events.recv().now_or_never() {
        everything.push(format!("{event:?}"));
    }
    assert!(everything.len() > 10, "events were heard");
    let all = format!("{:?} {everything:?}", told.0.lock().unwrap());
    for id in &ids {
        let bytes = URL_SAFE_NO_PAD.decode(id).unwrap();
        let digest = Sha256::digest(&bytes[3..]);
        let hex = |bytes: &[u8]| {
            bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        for secret in [
            id.clone(),
            hex(&bytes[3..]),
            hex(&digest),
            URL_SAFE_NO_PAD.encode(digest),
            id[8..40].to_owned(),
        ] {
            assert!(!all.contains(&secret));
        }
    }
}

async fn r21_on_plain_http_from_elsewhere_it_is_said_once_why_the_cookie_will_not_stick(
    store: impl TestStore,
) {
    let (told, _guard) = Collector::install();
    let app = app(store);
    let mut said = Vec::new();
    for origin in [
        "https://example.com",
        "http://localhost:3000",
        "http://127.0.0.1",
        "http://[::1]:80",
        "http://app.localhost",
        "http://192.0.2.7:3000",
        "http://example.com",
    ] {
        let mut client = Client::new(&app);
        let mut request = client.request("POST", "/login/alice");
        request
            .headers_mut()
            .insert("origin", origin.parse().unwrap());
        client.send(request).await.ok();
        let lines = std::mem::take(&mut *told.0.lock().unwrap());
        if lines.iter().any(|fields| {
            fields
                .get("message")
                .is_some_and(|text| text.contains("plain http"))
        }) {
            said.push(origin);
        }
    }
    assert_eq!(said, ["http://192.0.2.7:3000"]);
    assert!(COOKIE.starts_with("__Host-"));
}

#[tokio::test]
async fn a_store_that_is_away_is_told_in_one_line_however_many_run_into_it() {
    let (told, _guard) = Collector::install();
    let (store, clock) = memory();
    let failing = sessile::store::wrappers::Failing::new(store);
    let app = app(failing.clone());
    let mut client = Client::signed_in(&app, "alice").await;
    told.take();
    failing.fail_all();
    for n in 0..1000 {
        for path in ["/me", "/who", "/look"] {
            assert_eq!(
                client.get(path).await.problem(),
                ("store_unavailable", None)
            );
        }
        client.post("/put/a/1").await;
        if n == 998 {
            clock.advance(MINUTE);
        }
    }
    assert_eq!(told.take(), ["store_failed - -", "store_failed - -"]);
}

on_every_store! {
    r53_an_event_has_handle_and_address,
    inv05_r07_nothing_that_is_told_holds_an_id_or_a_digest,
    r21_on_plain_http_from_elsewhere_it_is_said_once_why_the_cookie_will_not_stick,
    r53_every_event_of_a_life_is_told_once_with_its_reason_and_user,
}

#[tokio::test]
async fn r73_a_redis_that_may_evict_sessions_is_told_of_at_the_start() {
    let (collector, _guard) = Collector::install();
    for (limit, policy, told) in [
        ("100mb", "allkeys-lru", 1),
        ("100mb", "noeviction", 0),
        ("0", "allkeys-lru", 0),
    ] {
        let lines = [
            &*format!("maxmemory {limit}"),
            &*format!("maxmemory-policy {policy}"),
        ];
        let server = Server::with(&lines);
        RedisStore::connect(&server.url()).await.unwrap();
        let evicting = collector
            .take()
            .into_iter()
            .filter(|event| event.starts_with("evicting"));
        assert_eq!(evicting.count(), told, "{limit} {policy}");
    }
}
