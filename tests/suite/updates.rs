//! Parallel writers of one session.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::StatusCode;
use sessile::store::wrappers::{Call, Failing, Holding, Spy};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::ages::planted;
use crate::harness::{Client, MINUTE, app};
use crate::stores::{Asked, TestStore, on_every_store};

async fn in_parallel(
    client: &Client,
    paths: impl IntoIterator<Item = String>,
) -> Vec<crate::harness::Reply> {
    let paths: Vec<_> = paths.into_iter().collect();
    let barrier = Arc::new(Barrier::new(paths.len()));
    let mut tasks = JoinSet::new();
    for path in paths {
        let (mut client, barrier) = (client.clone(), Arc::clone(&barrier));
        tasks.spawn(async move {
            barrier.wait().await;
            client.post(&path).await
        });
    }
    tasks.join_all().await
}

async fn inv07_r58_parallel_writes_of_different_keys_all_survive(store: impl TestStore) {
    for _ in 0..20 {
        let store = store.another().await;
        let app = app(store);
        let mut client = Client::signed_in(&app, "alice").await;
        let replies = in_parallel(&client, (0..40).map(|n| format!("/put/k{n}/{n}"))).await;
        assert!(replies.iter().all(|reply| reply.status == StatusCode::OK));
        for n in 0..40 {
            assert_eq!(client.get(&format!("/get/k{n}")).await.ok(), n.to_string());
        }
    }
}

async fn inv07_r59_a_hundred_parallel_updates_give_a_hundred_and_each_its_own_number(
    store: impl TestStore,
) {
    for path in ["/count/n", "/add/n/1"] {
        let store = store.another().await;
        let app = app(store);
        let mut client = Client::signed_in(&app, "alice").await;
        let replies = in_parallel(&client, (0..100).map(|_| path.to_owned())).await;
        let seen: BTreeSet<i64> = replies
            .into_iter()
            .map(|reply| reply.ok().parse().unwrap())
            .collect();
        assert_eq!(seen, (1..=100).collect(), "{path}");
        assert_eq!(client.get("/get/n").await.ok(), "100");
    }
}

async fn inv07_an_update_that_met_another_runs_its_closure_again_on_what_that_left(
    store: impl TestStore,
) {
    let holding = Holding::new(store);
    let spy = Spy::new(holding.clone());
    let app = app(spy.clone());
    let mut client = Client::signed_in(&app, "alice").await;
    client.post("/count/n").await.ok();
    let mut other = client.clone();
    let held = holding.hold(Call::Apply);
    spy.asked();
    let slow = tokio::spawn(async move { client.post("/count/n").await });
    held.arrived().await;
    assert_eq!(other.post("/add/n/10").await.ok(), "11");
    held.release();
    assert_eq!(slow.await.unwrap().ok(), "12");
    let calls = spy.asked();
    assert_eq!(calls.iter().filter(|call| **call == Call::Apply).count(), 3);
    assert_eq!(
        calls.len(),
        6,
        "two loads, the other's write, a conflict, a reload, a write: {calls:?}"
    );
}

async fn inv07_an_update_whose_reply_was_lost_is_an_error_and_is_not_applied_twice(
    store: impl TestStore,
) {
    for path in ["/count/n", "/add/n/1"] {
        let store = store.another().await;
        let failing = Failing::new(store);
        let app = app(failing.clone());
        let mut client = Client::signed_in(&app, "alice").await;
        client.post(path).await.ok();
        failing.lose_next_reply(Call::Apply);
        assert_eq!(
            client.post(path).await.problem(),
            ("store_unavailable", None)
        );
        assert_eq!(
            client.get("/get/n").await.ok(),
            "2",
            "once, and never twice"
        );
    }
}

async fn inv07_r60_a_reader_never_writes_data(store: impl TestStore) {
    let holding = Holding::new(store.clone());
    let app = app(holding.clone());
    let mut client = planted(&app, &store, "alice", |new| {
        new.seen.at -= 2 * MINUTE;
        new.values = vec![("a".into(), b"\"1\"".to_vec())];
    })
    .await;
    // The reader's touch is late; what was written meanwhile stays.
    let held = holding.hold(Call::Apply);
    let mut reader = client.clone();
    let reading = tokio::spawn(async move { reader.get("/get/a").await });
    held.arrived().await;
    client.post("/put/a/2").await.ok();
    held.release();
    assert_eq!(reading.await.unwrap().ok(), "1");
    assert_eq!(client.get("/get/a").await.ok(), "2");
}

async fn r62_closing_a_stream_writes_nothing(store: impl TestStore) {
    use axum::body::Body;
    use axum::routing::get;
    use futures_util::StreamExt;
    use sessile::{Session, SessionLayer};
    let spy = Spy::new(store);
    let app = crate::harness::routes()
        .route(
            "/stream",
            get(async |session: Session| {
                let lines = futures_util::stream::unfold((session, 0), |(session, n)| async move {
                    let count = session.increment(crate::harness::HITS, 1).await.ok()?;
                    Some((
                        Ok::<_, std::convert::Infallible>(format!("{count}\n")),
                        (session, n + 1),
                    ))
                });
                Body::from_stream(lines)
            }),
        )
        .layer(SessionLayer::new(spy.clone()));
    let mut client = Client::signed_in(&app, "alice").await;
    let response = tower::ServiceExt::oneshot(app, client.request("GET", "/stream"))
        .await
        .unwrap();
    let mut lines = response.into_body().into_data_stream();
    for n in 1..=3 {
        assert_eq!(lines.next().await.unwrap().unwrap(), format!("{n}\n"));
    }
    spy.asked();
    drop(lines);
    tokio::task::yield_now().await;
    assert_eq!(spy.asked(), []);
    assert_eq!(client.get("/get/hits").await.ok(), "3");
}

on_every_store! {
    inv07_r58_parallel_writes_of_different_keys_all_survive(threads),
    inv07_r59_a_hundred_parallel_updates_give_a_hundred_and_each_its_own_number(threads),
    inv07_an_update_that_met_another_runs_its_closure_again_on_what_that_left,
    inv07_an_update_whose_reply_was_lost_is_an_error_and_is_not_applied_twice,
    r62_closing_a_stream_writes_nothing,
    inv07_r60_a_reader_never_writes_data,
}
