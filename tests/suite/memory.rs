//! The memory's bounds.

use sessile::{HistoryEntry, HistoryEvent, Kind, ManualClock, MemoryStore, SessionStore};
use std::time::Duration;

use crate::harness::{Client, HOUR, app, memory};

fn of_ten_entries() -> (MemoryStore, ManualClock) {
    let clock = ManualClock::new();
    let builder = MemoryStore::builder().max_entries(10);
    (builder.clock(clock.clone()).build(), clock)
}

#[tokio::test]
async fn inv11_at_the_bound_strangers_go_first_and_nobody_is_signed_out() {
    let store = MemoryStore::builder().max_entries(100).build();
    let app = app(store.clone());
    let mut users = Vec::new();
    for n in 0..20 {
        users.push(Client::signed_in(&app, &format!("user{n}")).await);
    }
    for _ in 0..1000 {
        Client::new(&app).post("/put/a/1").await.ok();
        assert!(store.entries() <= 100);
    }
    for (n, user) in users.iter_mut().enumerate() {
        assert_eq!(user.get("/me").await.ok(), format!("user{n}"));
    }
    // More users push out the strangers that are left, and then find no room.
    for n in 20..100 {
        users.push(Client::signed_in(&app, &format!("user{n}")).await);
    }
    let reply = Client::new(&app).post("/login/late").await;
    assert_eq!(reply.problem(), ("store_unavailable", None));
    assert_eq!(
        Client::new(&app).post("/put/a/1").await.problem(),
        ("store_unavailable", None)
    );
    for (n, user) in users.iter_mut().enumerate() {
        assert_eq!(user.get("/me").await.ok(), format!("user{n}"));
    }
    users[0].post("/logout").await.ok();
    Client::signed_in(&app, "late").await;
}

#[tokio::test]
async fn inv11_at_the_bound_a_touch_drops_nobody() {
    let (store, clock) = of_ten_entries();
    let app = app(store.clone());
    let mut strangers = Vec::new();
    for _ in 0..10 {
        let mut stranger = Client::new(&app);
        stranger.post("/put/a/1").await.ok();
        strangers.push(stranger);
    }
    clock.advance(Duration::from_secs(120));
    for stranger in &mut strangers {
        assert_eq!(stranger.get("/get/a").await.ok(), "1");
    }
    assert_eq!(store.entries(), 10);
}

#[tokio::test]
async fn inv11_the_bound_in_bytes_holds_too() {
    let store = MemoryStore::builder().max_bytes(200_000).build();
    let app = app(store.clone());
    let mut alice = Client::signed_in(&app, "alice").await;
    let value = "x".repeat(5000);
    for _ in 0..300 {
        Client::new(&app)
            .post(&format!("/put/a/{value}"))
            .await
            .ok();
        assert!(store.bytes() <= 200_000, "{}", store.bytes());
    }
    assert_eq!(alice.get("/me").await.ok(), "alice");
    // A session that grows makes strangers go, and is refused when there are none.
    let mut refused = 0;
    for n in 0..60 {
        refused += usize::from(
            !alice
                .post(&format!("/put/k{n}/{value}"))
                .await
                .status
                .is_success(),
        );
        assert!(store.bytes() <= 200_000 + 10_000, "{}", store.bytes());
    }
    assert!(refused > 0);
    assert_eq!(alice.get("/get/k0").await.ok(), value);
}

/// An anonymous flood must not erase what happened to anybody, in whichever way the store is full.
#[tokio::test]
async fn inv11_strangers_push_out_no_history() {
    let full = [
        MemoryStore::builder().max_entries(50),
        MemoryStore::builder().max_bytes(50_000),
    ];
    for builder in full {
        let store = builder.build();
        let app = app(store.clone());
        Client::signed_in(&app, "alice").await;
        for _ in 0..500 {
            Client::new(&app).post("/put/a/1").await.ok();
        }
        let log = store.log("alice".into()).await.unwrap();
        assert_eq!(log.history.len(), 1, "{store:?}");
        assert_eq!(log.history[0].event, HistoryEvent::SignedIn);
    }
}

/// Which would make no room, for they are no entries.
#[tokio::test]
async fn inv11_a_full_count_of_users_forgets_no_history() {
    let store = MemoryStore::builder().max_entries(20).build();
    let app = app(store.clone());
    for n in 0..40 {
        Client::new(&app).post(&format!("/login/user-{n}")).await;
    }
    for n in 0..20 {
        let log = store.log(format!("user-{n}").into()).await.unwrap();
        assert_eq!(log.history.len(), 1, "of user-{n}");
    }
}

/// Where it is users who have filled it, what happened goes before somebody is refused.
#[tokio::test]
async fn inv11_histories_make_room_where_bytes_are_the_matter() {
    let store = MemoryStore::builder().max_bytes(60_000).build();
    let app = app(store.clone());
    let mut users = 0;
    while Client::new(&app)
        .post(&format!("/login/user-{users}"))
        .await
        .status
        .is_success()
    {
        users += 1;
    }
    let mut lines = 0;
    for n in 0..users {
        let user = format!("user-{n}");
        lines += store.log(user.into()).await.unwrap().history.len();
    }
    assert!(users > 50 && lines < 20, "{lines} lines of {users}");
}

#[tokio::test]
async fn inv11_expired_users_make_room_too() {
    let (store, clock) = of_ten_entries();
    let app = app(store.clone());
    for n in 0..10 {
        Client::signed_in(&app, &format!("user{n}")).await;
    }
    assert_eq!(
        Client::new(&app).post("/login/late").await.problem(),
        ("store_unavailable", None)
    );
    clock.advance(HOUR);
    for n in 0..10 {
        Client::signed_in(&app, &format!("late{n}")).await;
    }
}

#[tokio::test]
async fn inv11_writes_alone_free_what_is_over() {
    let (store, clock) = memory();
    let app = app(store.clone());
    for _ in 0..20 {
        for _ in 0..500 {
            Client::new(&app).post("/put/a/1").await.ok();
        }
        clock.advance(HOUR);
    }
    // Each write drops a few that are over in the shard that it touches anyway.
    assert!(store.entries() < 5000, "{}", store.entries());
}

#[tokio::test(start_paused = true)]
async fn inv11_the_sweeper_frees_what_is_over_without_any_request() {
    let (store, clock) = memory();
    let app = app(store.clone());
    for _ in 0..1000 {
        Client::new(&app).post("/put/a/1").await.ok();
    }
    let mut alice = Client::signed_in(&app, "alice").await;
    alice.post("/end-all").await.ok();
    assert_eq!(store.entries(), 1001);
    // Histories are kept for longest.
    clock.advance(HistoryEntry::KEPT + HOUR);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(
        (
            store.entries(),
            store.bytes(),
            store.count(Kind::User).await.unwrap()
        ),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn the_count_follows_sessions_from_birth_to_end() {
    let (store, clock) = memory();
    let app = app(store.clone());
    let count = async || store.count(Kind::User).await.unwrap();
    let mut client = Client::new(&app);
    client.post("/put/a/1").await.ok();
    assert_eq!(count().await, 1);
    client.post("/login/alice").await.ok();
    assert_eq!(count().await, 1);
    client.post("/regenerate").await.ok();
    Client::signed_in(&app, "bob").await;
    assert_eq!(count().await, 2);
    client.post("/logout").await.ok();
    assert_eq!(count().await, 1);
    clock.advance(48 * HOUR);
    store.purge();
    assert_eq!(
        (count().await, store.count(Kind::Demo).await.unwrap()),
        (0, 0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_totals_are_exact_after_any_number_of_parallel_changes() {
    let (store, clock) = memory();
    let app = app(store.clone());
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..8 {
        let app = app.clone();
        tasks.spawn(async move {
            for m in 0..200 {
                let mut client = Client::new(&app);
                // Others end all of the same users' sessions meanwhile: not every step succeeds.
                client.post("/put/cart/x").await.ok();
                client.post(&format!("/login/user{}", (n + m) % 3)).await;
                client.post("/put/b/yyyyyyy").await;
                client
                    .post(["/logout", "/regenerate", "/end-all", "/end-others"][m % 4])
                    .await;
            }
        });
    }
    tasks.join_all().await;
    clock.advance(HistoryEntry::KEPT + HOUR);
    store.purge();
    assert_eq!(
        (
            store.entries(),
            store.bytes(),
            store.count(Kind::User).await.unwrap()
        ),
        (0, 0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn background_work_starts_at_first_use_and_ends_with_the_last_clone() {
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let (store, _) = memory();
    let clone = store.clone();
    let app = app(store);
    Client::new(&app).get("/look").await.ok();
    assert_eq!(tasks(), 0, "nothing was written yet");
    Client::new(&app).post("/put/a/1").await.ok();
    Client::new(&app).post("/put/a/1").await.ok();
    assert_eq!(tasks(), 1);
    drop(app);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(tasks(), 1, "a clone is left");
    drop(clone);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(tasks(), 0);
}
