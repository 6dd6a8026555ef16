//! Figures: each is driven off zero, and back where it can go back.

use std::time::Duration;

use axum::routing::post;
use sessile::record::{NewRecord, Record, Seen};
use sessile::store::wrappers::{Call, Spy};
use sessile::store::{Create, Created, Mode};
use sessile::{
    AtLimit, Bucket, Digest, EndReason, Handle, Kind, LimitPolicy, Outage, RecordKey, RedisStore,
    Session, SessionLayer, UserId,
};
use sha2::{Digest as _, Sha256};

use crate::harness::{Client, HOUR, MINUTE, memory, routes};
use crate::on_redis::OnRedis;
use crate::stores::{TestStore, on_every_store};
use crate::support::wait::wait_until;
use crate::support::{Proxy, Server};

async fn what_has_happened_here_is_counted_exactly(store: impl TestStore) {
    let layer = SessionLayer::builder(store.clone())
        .max_sessions_per_user(1, AtLimit::EndOldest)
        .build()
        .unwrap();
    let sessions = layer.sessions();
    let app = routes().layer(layer);
    let stats = sessions.stats().await;
    assert!(
        stats.events.iter().all(|(_, count)| *count == 0)
            && stats.ended.iter().all(|(_, count)| *count == 0)
    );
    assert_eq!(
        stats.policy.limit,
        LimitPolicy::Fixed(1, AtLimit::EndOldest)
    );

    let mut client = Client::new(&app);
    for path in [
        "/put/cart/1",
        "/login/alice",
        "/regenerate",
        "/reauthenticate",
        "/regenerate",
    ] {
        client.post(path).await.ok();
    }
    store.later().await;
    let mut second = Client::signed_in(&app, "alice").await;
    second.post("/logout").await.ok();
    for n in 0..50u8 {
        let mut bytes = [1; 35];
        bytes[5] = n;
        let id = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, bytes);
        Client::holding(&app, &id).get("/look").await.ok();
    }
    let stats = sessions.stats().await;
    let counts = [
        ("created", 1),
        ("signed_in", 2),
        ("regenerated", 2),
        ("reauthenticated", 1),
        ("ended", 3),
        ("refused", 50),
    ];
    for (event, count) in counts {
        assert_eq!(stats.count(event), count, "{event}");
    }
    let ends = [
        (EndReason::Regenerated, 1),
        (EndReason::Limit, 1),
        (EndReason::LoggedOut, 1),
        (EndReason::Revoked, 0),
    ];
    for (reason, count) in ends {
        assert_eq!(stats.ended_for(reason), count, "{reason}");
    }
}

async fn live_sessions_are_counted_and_go_back_to_none(store: impl TestStore) {
    let layer = SessionLayer::new(store);
    let sessions = layer.sessions();
    let app = routes().layer(layer);
    let count = async |expected: u64| {
        wait_until("they are counted", async || {
            let live = sessions.stats().await.live;
            live.is_some_and(|live| (live.user, live.demo) == (expected, 0))
        })
        .await;
    };
    count(0).await;
    let mut clients = Vec::new();
    for n in 0..3 {
        clients.push(Client::signed_in(&app, &format!("user-{n}")).await);
    }
    count(3).await;
    for client in &mut clients {
        client.post("/logout").await.ok();
    }
    count(0).await;
}

/// A session that is over by its clocks is kept for a while, so that its holder can be told why.
async fn what_is_over_by_its_clocks_is_not_counted(store: impl TestStore) {
    let now = store.now();
    let ends = [
        // Absolute end, idle time, last seen.
        (now + HOUR, HOUR, now),
        (now - MINUTE, HOUR, now - 2 * MINUTE),
        (now + HOUR, MINUTE, now - HOUR),
    ];
    for (absolute_end, idle_timeout, at) in ends {
        for user in [Some("alice"), None] {
            let user = user.map(UserId::from);
            let bucket = user.as_ref().map(|user| store.bucket(user));
            let record = Record::new(&NewRecord {
                handle: Handle::random().unwrap(),
                signed_in_at: user.is_some().then_some(now - 3 * HOUR),
                user,
                created_at: now - 3 * HOUR,
                absolute_end,
                idle_timeout,
                touch_threshold: Duration::ZERO,
                persistent: false,
                seen: Seen {
                    at,
                    address: None,
                    agent: None,
                },
                values: Vec::new(),
            });
            let digest = [Handle::random(), Handle::random()].map(|half| half.unwrap().to_string());
            let digest = Sha256::digest(digest.concat());
            let create = Create {
                key: RecordKey {
                    kind: Kind::User,
                    bucket: bucket.unwrap_or(Bucket::from(7)),
                    digest: Digest::from_bytes(digest.into()),
                },
                record,
                began_at: now,
                limit: None,
                held: false,
            };
            let created = store.create(create).await.unwrap();
            assert_eq!(created, Created::Created(Vec::new()));
        }
    }
    assert_eq!(store.count(Kind::User).await.unwrap(), 2);
    assert_eq!(store.count(Kind::Demo).await.unwrap(), 0);
    assert_eq!(store.list("alice".into()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn in_this_process_they_are_exact_and_of_now() {
    let (store, clock) = memory();
    let layer = SessionLayer::new(store);
    let sessions = layer.sessions();
    let app = routes().layer(layer);
    for n in 1..=5 {
        Client::signed_in(&app, &format!("user-{n}")).await;
        let stats = sessions.stats().await;
        let live = stats.live.unwrap();
        assert_eq!((live.user, live.at), (n, sessile::Clock::now(&clock)));
        assert_eq!((stats.latency, stats.connections), (None, None));
    }
}

/// Whoever asks again and again, at however many instances, has them counted once.
async fn of_many_who_ask_one_counts(store: OnRedis) {
    let spies = [Spy::new(store.clone()), Spy::new(store.clone())];
    let layers = [
        SessionLayer::new(spies[0].clone()),
        SessionLayer::new(spies[1].clone()),
    ];
    Client::signed_in(&routes().layer(layers[0].clone()), "alice").await;
    wait_until("they are counted", async || {
        layers[0].sessions().stats().await.live.is_some()
    })
    .await;
    let first = layers[0].sessions().stats().await.live.unwrap();
    let other = layers[1].sessions().stats().await.live.unwrap();
    assert_eq!(first.at, other.at, "by one, for both");
    for _ in 0..20 {
        layers[1].sessions().stats().await;
    }
    let asked = |spy: &Spy<OnRedis>| {
        spy.take()
            .iter()
            .filter(|call| **call == Call::Counts)
            .count()
    };
    assert!(asked(&spies[1]) <= 2, "it is known for a while");
}

#[tokio::test]
async fn what_is_in_memory_for_an_outage_shows_and_goes_back() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let store = RedisStore::builder(&proxy.url()).connect().await.unwrap();
    let lease = Duration::from_secs(600);
    let layer = SessionLayer::builder(store)
        .outage(Outage::Local { lease })
        .build()
        .unwrap();
    let sessions = layer.sessions();
    let wait = async |session: Session| drop(tokio::spawn(session.ended()));
    let app = routes().route("/wait", post(wait)).layer(layer);
    let stats = sessions.stats().await;
    assert_eq!(
        (
            stats.health.mode,
            stats.health.leases,
            stats.health.local,
            stats.health.pending
        ),
        (Mode::Healthy, 0, 0, 0)
    );
    assert_eq!(stats.watched, 0);

    let mut client = Client::signed_in(&app, "alice").await;
    client.get("/me").await.ok();
    client.post("/wait").await.ok();
    wait_until("somebody waits", async || {
        sessions.stats().await.watched == 1
    })
    .await;
    let stats = sessions.stats().await;
    assert!(stats.health.leases == 1 && stats.health.memory > 0);
    let pool = stats.connections.unwrap();
    assert!(
        pool.open >= 1 && pool.most >= pool.open && pool.idle <= pool.open,
        "{pool:?}"
    );
    let latency = stats.latency.unwrap();
    assert!(
        latency.calls >= 1 && latency.median <= latency.p99,
        "{latency:?}"
    );

    proxy.refuse();
    proxy.cut();
    wait_until("it is away", async || {
        client.get("/me").await;
        sessions.stats().await.health.mode == Mode::Degraded
    })
    .await;
    Client::signed_in(&app, "bob").await;
    client.post("/logout").await.ok();
    let stats = sessions.stats().await;
    assert_eq!(
        (stats.health.local, stats.health.pending, stats.watched),
        (1, 1, 0)
    );
    assert!(stats.count("mode") >= 1);
    proxy.allow();
    wait_until("it is back, and has all", async || {
        let health = sessions.stats().await.health;
        (health.mode, health.local, health.pending) == (Mode::Healthy, 0, 0)
    })
    .await;
    assert!(sessions.stats().await.count("promoted") == 1);
}

#[tokio::test]
async fn what_is_asked_for_demos_is_measured_with_the_rest() {
    let server = Server::start();
    let layer = SessionLayer::new(RedisStore::connect(&server.url()).await.unwrap());
    let sessions = layer.sessions();
    let app = crate::demo::pages().layer(layer);
    for _ in 0..20 {
        Client::new(&app).post("/demo/start/media").await.ok();
    }
    let calls = sessions.stats().await.latency.unwrap().calls;
    assert!(calls >= 20, "{calls}");
}

async fn live_demos_are_counted_and_go_back_to_none(store: impl TestStore) {
    let layer = SessionLayer::new(store);
    let sessions = layer.sessions();
    let app = crate::demo::pages().layer(layer);
    let count = async |expected: u64| {
        wait_until("they are counted", async || {
            let live = sessions.stats().await.live;
            live.is_some_and(|live| (live.user, live.demo) == (0, expected))
        })
        .await;
    };
    count(0).await;
    let mut client = Client::new(&app);
    client.post("/demo/start/media").await.ok();
    count(1).await;
    client.post("/demo/end").await.ok();
    count(0).await;
}

on_every_store! {
    what_has_happened_here_is_counted_exactly,
    live_sessions_are_counted_and_go_back_to_none,
    live_demos_are_counted_and_go_back_to_none,
    what_is_over_by_its_clocks_is_not_counted,
    of_many_who_ask_one_counts(redis_alone),
}
