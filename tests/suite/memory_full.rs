//! A memory in which everything is in use: who is there can go on, and who is new is refused.

use std::time::SystemTime;

use sessile::{Activity, MemoryStore, SessionLayer, SessionStore};

use crate::demo::pages;
use crate::harness::{Client, app};

fn of(entries: usize) -> MemoryStore {
    MemoryStore::builder().max_entries(entries).build()
}

fn activity() -> Activity {
    Activity {
        at: SystemTime::now(),
        kind: "read".into(),
        resource: "a".into(),
        handle: None,
        address: None,
        user_agent: None,
    }
}

#[tokio::test]
async fn inv11_a_stranger_who_fills_the_memory_alone_can_go_on() {
    let store = of(1);
    let app = app(store.clone());
    let mut stranger = Client::new(&app);
    stranger.post("/put/a/1").await.ok();
    stranger.post("/put/a/2").await.ok();
    assert_eq!(stranger.post("/count/n").await.ok(), "1");
    assert_eq!(stranger.post("/add/m/3").await.ok(), "3");
    stranger.post("/remove/n").await.ok();
    let before = stranger.id().map(str::to_owned);
    stranger.post("/regenerate").await.ok();
    assert_ne!(stranger.id(), before.as_deref());
    assert_eq!(stranger.get("/get/a").await.ok(), "2");
    assert_eq!(store.entries(), 2, "and what tells of the old id");
    stranger.post("/put/cart/bread").await.ok();
    stranger.post("/login/alice").await.ok();
    assert_eq!(stranger.get("/me").await.ok(), "alice");
    assert_eq!(stranger.get("/get/cart").await.ok(), "bread");
}

#[tokio::test]
async fn inv11_users_who_fill_the_memory_can_go_on() {
    const USERS: usize = 300;
    let store = of(USERS);
    let app = app(store.clone());
    let mut users = Vec::new();
    for n in 0..USERS {
        users.push(Client::signed_in(&app, &format!("user{n}")).await);
    }
    for (n, user) in users.iter_mut().enumerate() {
        user.post("/put/a/1").await.ok();
        assert_eq!(user.post("/count/n").await.ok(), "1");
        assert_eq!(user.post("/add/n/3").await.ok(), "4");
        assert_eq!(store.entries(), USERS + n.min(1));
        for path in ["/regenerate", "/reauthenticate"] {
            user.post(path).await.ok();
            assert_eq!(store.entries(), USERS + 1, "{path}");
        }
        user.post(&format!("/login/user{n}")).await.ok();
        assert_eq!(store.entries(), USERS + 1);
        let who = format!("user{n}").into();
        store.record(who, activity()).await.unwrap();
    }
    for path in ["/login/late", "/put/a/1"] {
        let reply = Client::new(&app).post(path).await;
        assert_eq!(reply.problem(), ("store_unavailable", None));
    }
    assert_eq!(store.entries(), USERS, "no longer above the bound");
    for (n, user) in users.iter_mut().enumerate() {
        assert_eq!(user.get("/me").await.ok(), format!("user{n}"));
        assert!(
            store
                .log(format!("user{n}").into())
                .await
                .unwrap()
                .history
                .len()
                > 3
        );
    }
}

#[tokio::test]
async fn inv11_a_demo_that_fills_the_memory_can_go_on() {
    let layer = SessionLayer::new(of(1));
    let app = pages().layer(layer);
    let mut client = Client::new(&app);
    client.post("/demo/start/media").await.ok();
    for text in ["one", "two", "three"] {
        client.post(&format!("/demo/say/{text}")).await.ok();
    }
    let said = client.get("/demo/said").await.ok();
    assert!(said.contains("one") && said.contains("three"), "{said}");
}

/// Where bytes are the matter, what makes no session longer is written.
#[tokio::test]
async fn inv11_what_does_not_grow_is_written_into_a_memory_without_a_byte_left() {
    let store = MemoryStore::builder().max_bytes(60_000).build();
    let app = app(store.clone());
    let value = "x".repeat(500);
    let mut users = Vec::new();
    loop {
        let mut user = Client::new(&app);
        let login = user.post(&format!("/login/user{}", users.len())).await;
        let put = user.post(&format!("/put/a/{value}")).await;
        if !login.status.is_success() || !put.status.is_success() {
            break;
        }
        users.push(user);
    }
    let grows = format!("/put/b/{}", "y".repeat(4000));
    let reply = users[0].post(&grows).await;
    assert_eq!(reply.problem(), ("store_unavailable", None));
    let (other, shorter) = ("z".repeat(500), "short");
    for user in &mut users {
        user.post(&format!("/put/a/{other}")).await.ok();
        user.post("/regenerate").await.ok();
        assert_eq!(user.get("/get/a").await.ok(), other);
        assert!(store.bytes() <= 62_000, "{}", store.bytes());
    }
    for user in &mut users {
        user.post(&format!("/put/a/{shorter}")).await.ok();
        assert_eq!(user.get("/get/a").await.ok(), shorter);
    }
    users[0].post(&grows).await.ok();
}
