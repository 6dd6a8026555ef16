//! Ids that were superseded, and whose cookie counts.

use std::sync::Arc;
use std::time::Duration;

use axum::routing::post;
use http::StatusCode;
use sessile::store::wrappers::{Call, Holding};
use sessile::{Session, SessionLayer, SessionStore};
use tokio::sync::Barrier;

use crate::harness::{CART, Client, app, memory, routes};

#[tokio::test]
async fn inv01_r24_a_slow_request_under_the_old_id_changes_nothing_after_the_login() {
    let (store, _) = memory();
    let holding = Holding::new(store.clone());
    let app = app(holding.clone());
    let mut client = Client::new(&app);
    client.post("/put/cart/apple").await.ok();
    let mut slow = client.clone();
    let held = holding.hold(Call::Apply);
    let late = tokio::spawn(async move { slow.post("/put/cart/late").await });
    held.arrived().await;
    client.post("/login/alice").await.ok();
    held.release();
    let late = late.await.unwrap();
    assert_eq!(late.problem(), ("session_moved", None));
    assert_eq!(
        (late.status, late.set_cookies().len()),
        (StatusCode::CONFLICT, 0)
    );
    assert_eq!(client.get("/get/cart").await.ok(), "apple");
}

#[tokio::test]
async fn inv01_inv02_a_slow_save_does_not_revive_an_ended_session() {
    let (store, _) = memory();
    let holding = Holding::new(store.clone());
    let app = app(holding.clone());
    let mut client = Client::signed_in(&app, "alice").await;
    let mut slow = client.clone();
    let held = holding.hold(Call::Apply);
    let late = tokio::spawn(async move { slow.post("/put/cart/late").await });
    held.arrived().await;
    let dead = client.clone();
    assert_eq!(client.post("/logout").await.ok(), "committed");
    held.release();
    let late = late.await.unwrap();
    assert_eq!(late.problem(), ("session_ended", Some("logged_out")));
    assert_eq!(late.set_cookies().len(), 0);
    let mut dead = dead;
    assert_eq!(
        dead.get("/me").await.problem(),
        ("session_ended", Some("logged_out"))
    );
    assert_eq!(store.list("alice".into()).await.unwrap().len(), 0);
}

#[tokio::test]
async fn inv06_r23_regenerating_keeps_data_handle_and_absolute_end_and_kills_the_old_id() {
    let (store, clock) = memory();
    let app = app(store.clone());
    let mut client = Client::signed_in(&app, "alice").await;
    client.post("/put/a/1").await.ok();
    let (before, handle) = (
        client.id().unwrap().to_owned(),
        client.get("/handle").await.ok(),
    );
    let end = store.list("alice".into()).await.unwrap()[0].absolute_end();
    clock.advance(Duration::from_secs(600));
    client.post("/regenerate").await.ok();
    assert_ne!(client.id().unwrap(), before);
    assert_eq!(client.get("/handle").await.ok(), handle);
    assert_eq!(client.get("/get/a").await.ok(), "1");
    assert_eq!(
        store.list("alice".into()).await.unwrap()[0].absolute_end(),
        end
    );
    assert_eq!(
        Client::holding(&app, &before).get("/me").await.problem(),
        ("session_ended", Some("regenerated"))
    );
}

#[tokio::test]
async fn inv06_r23_reauthenticating_is_a_new_id_and_new_ends_of_the_same_session() {
    let (store, clock) = memory();
    let app = app(store.clone());
    let mut client = Client::signed_in(&app, "alice").await;
    client.post("/put/a/1").await.ok();
    let (before, handle) = (
        client.id().unwrap().to_owned(),
        client.get("/handle").await.ok(),
    );
    let end = store.list("alice".into()).await.unwrap()[0].absolute_end();
    clock.advance(Duration::from_secs(600));
    assert_eq!(
        client.get("/fresh").await.problem(),
        ("sign_in_again", None)
    );
    client.post("/reauthenticate").await.ok();
    assert_eq!(client.get("/fresh").await.ok(), "alice");
    assert_ne!(client.id().unwrap(), before);
    assert_eq!(
        (
            client.get("/handle").await.ok(),
            client.get("/get/a").await.ok()
        ),
        (handle, "1".into())
    );
    assert_eq!(
        store.list("alice".into()).await.unwrap()[0].absolute_end(),
        end + Duration::from_secs(600)
    );
    assert_eq!(
        Client::holding(&app, &before).get("/me").await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv15_r28_of_many_parallel_regenerations_one_wins_and_the_losers_leave_the_cookie_alone() {
    for _ in 0..50 {
        let (store, _) = memory();
        let app = app(store.clone());
        let client = Client::signed_in(&app, "alice").await;
        let barrier = Arc::new(Barrier::new(8));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (mut client, barrier) = (client.clone(), Arc::clone(&barrier));
            tasks.spawn(async move {
                barrier.wait().await;
                client.post("/regenerate").await
            });
        }
        let replies = tasks.join_all().await;
        let winners: Vec<_> = replies
            .iter()
            .filter(|reply| reply.status.is_success())
            .collect();
        assert_eq!(winners.len(), 1);
        for reply in replies.iter().filter(|reply| !reply.status.is_success()) {
            assert_eq!(
                (reply.problem(), reply.set_cookies().len()),
                (("session_moved", None), 0)
            );
        }
        assert_eq!(store.list("alice".into()).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn inv15_under_an_id_superseded_a_moment_ago_nothing_is_made_but_by_signing_in() {
    let (store, clock) = memory();
    let app = app(store.clone());
    let mut client = Client::signed_in(&app, "alice").await;
    let mut old = client.clone();
    client.post("/regenerate").await.ok();
    for path in [
        "/put/a/1",
        "/remove/a",
        "/clear",
        "/count/a",
        "/add/a/1",
        "/regenerate",
        "/commit/a/1",
    ] {
        let reply = old.post(path).await;
        assert_eq!(
            (reply.problem(), reply.set_cookies().len()),
            (("session_moved", None), 0),
            "{path}"
        );
    }
    let reply = old.post("/logout").await;
    assert_eq!(
        (reply.set_cookies().len(), &*reply.body),
        (0, "none"),
        "the winner's cookie stays"
    );
    assert_eq!(old.get("/look").await.set_cookies().len(), 0);
    assert_eq!(store.entries(), 2);

    let mut late = old.clone();
    old.post("/login/bob").await.ok();
    assert_eq!(old.get("/me").await.ok(), "bob");

    clock.advance(Duration::from_secs(31));
    late.post("/put/a/1").await.ok();
    assert_eq!(
        late.get("/get/a").await.ok(),
        "1",
        "later it is a stranger's like any other dead one"
    );
}

#[tokio::test]
async fn inv15_a_login_that_supersedes_its_own_new_id_sends_only_the_last() {
    let (store, _) = memory();
    let app = routes()
        .route(
            "/twice",
            post(async |session: Session| {
                session.login("alice").await?;
                session.regenerate_id().await?;
                session.login("bob").keep(CART).await.map(|_| ())
            }),
        )
        .layer(SessionLayer::new(store.clone()));
    let mut client = Client::new(&app);
    let reply = client.post("/twice").await;
    assert_eq!(reply.set_cookies().len(), 1);
    assert_eq!(client.get("/me").await.ok(), "bob");
    assert_eq!(store.list("alice".into()).await.unwrap().len(), 0);
}

#[tokio::test]
async fn inv15_a_logout_whose_id_was_superseded_meanwhile_leaves_the_winners_cookie_alone() {
    let (store, _) = memory();
    let holding = Holding::new(store);
    let app = app(holding.clone());
    let mut winner = Client::signed_in(&app, "alice").await;
    let mut loser = winner.clone();
    let held = holding.hold(Call::End);
    let logout = tokio::spawn(async move { loser.post("/logout").await });
    held.arrived().await;
    winner.post("/regenerate").await.ok();
    held.release();
    let reply = logout.await.unwrap();
    assert_eq!(reply.set_cookies().len(), 0, "{reply:?}");
    assert_eq!(reply.ok(), "none");
    assert_eq!(winner.get("/me").await.ok(), "alice");
}
