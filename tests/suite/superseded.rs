//! Ids that were superseded, and whose cookie counts.
//!
//! On memory alone: what is only so half a minute later, since the clock of Redis cannot be moved.

use std::sync::Arc;
use std::time::Duration;

use axum::routing::post;
use http::StatusCode;
use sessile::store::wrappers::{Call, Holding};
use sessile::{Session, SessionLayer};
use tokio::sync::Barrier;

use crate::ages::planted;
use crate::harness::{CART, Client, HOUR, MINUTE, app, memory, routes};
use crate::stores::{TestStore, on_every_store};

async fn inv01_r24_a_slow_request_under_the_old_id_changes_nothing_after_the_login(
    store: impl TestStore,
) {
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

async fn inv01_inv02_a_slow_save_does_not_revive_an_ended_session(store: impl TestStore) {
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

async fn inv06_r23_regenerating_keeps_data_handle_and_absolute_end_and_kills_the_old_id(
    store: impl TestStore,
) {
    let app = app(store.clone());
    let mut client = Client::signed_in(&app, "alice").await;
    client.post("/put/a/1").await.ok();
    let (before, handle) = (
        client.id().unwrap().to_owned(),
        client.get("/handle").await.ok(),
    );
    let end = store.list("alice".into()).await.unwrap()[0].absolute_end();
    store.later().await;
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

async fn inv06_r23_reauthenticating_is_a_new_id_and_new_ends_of_the_same_session(
    store: impl TestStore,
) {
    let app = app(store.clone());
    let mut client = planted(&app, &store, "alice", |new| {
        new.signed_in_at = Some(new.created_at - 10 * MINUTE);
        new.absolute_end -= 10 * MINUTE;
    })
    .await;
    client.post("/put/a/1").await.ok();
    let (before, handle) = (
        client.id().unwrap().to_owned(),
        client.get("/handle").await.ok(),
    );
    assert_eq!(
        client.get("/fresh").await.problem(),
        ("sign_in_again", None)
    );
    let began = store.now();
    client.post("/reauthenticate").await.ok();
    let span = began + 12 * HOUR..=store.now() + 12 * HOUR;
    assert_eq!(client.get("/fresh").await.ok(), "alice");
    assert_ne!(client.id().unwrap(), before);
    assert_eq!(
        (
            client.get("/handle").await.ok(),
            client.get("/get/a").await.ok()
        ),
        (handle, "1".into())
    );
    let end = store.list("alice".into()).await.unwrap()[0].absolute_end();
    assert!(span.contains(&end), "{end:?} is not in {span:?}");
    assert_eq!(
        Client::holding(&app, &before).get("/me").await.status,
        StatusCode::UNAUTHORIZED
    );
}

async fn inv15_r28_of_many_parallel_regenerations_one_wins_and_the_losers_leave_the_cookie_alone(
    store: impl TestStore,
) {
    for _ in 0..50 {
        let store = store.another().await;
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

async fn inv15_under_an_id_superseded_a_moment_ago_nothing_is_made_but_by_signing_in(
    store: impl TestStore,
) {
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
    assert_eq!(store.entries().await, 2);
    old.post("/login/bob").await.ok();
    assert_eq!(old.get("/me").await.ok(), "bob");
}

#[tokio::test]
async fn inv15_under_an_id_superseded_a_while_ago_sessions_are_made_again() {
    let (store, clock) = memory();
    let app = app(store);
    let mut client = Client::signed_in(&app, "alice").await;
    let mut late = client.clone();
    client.post("/regenerate").await.ok();
    clock.advance(Duration::from_secs(29));
    assert_eq!(
        late.clone().post("/put/a/1").await.problem(),
        ("session_moved", None)
    );
    clock.advance(Duration::from_secs(2));
    late.post("/put/a/1").await.ok();
    assert_eq!(
        late.get("/get/a").await.ok(),
        "1",
        "later it is a stranger's like any other dead one"
    );
}

async fn inv15_a_login_that_supersedes_its_own_new_id_sends_only_the_last(store: impl TestStore) {
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

async fn inv15_a_logout_whose_id_was_superseded_meanwhile_leaves_the_winners_cookie_alone(
    store: impl TestStore,
) {
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

on_every_store! {
    inv01_r24_a_slow_request_under_the_old_id_changes_nothing_after_the_login,
    inv01_inv02_a_slow_save_does_not_revive_an_ended_session,
    inv15_r28_of_many_parallel_regenerations_one_wins_and_the_losers_leave_the_cookie_alone(threads),
    inv15_a_login_that_supersedes_its_own_new_id_sends_only_the_last,
    inv15_a_logout_whose_id_was_superseded_meanwhile_leaves_the_winners_cookie_alone,
    inv06_r23_regenerating_keeps_data_handle_and_absolute_end_and_kills_the_old_id,
    inv06_r23_reauthenticating_is_a_new_id_and_new_ends_of_the_same_session,
    inv15_under_an_id_superseded_a_moment_ago_nothing_is_made_but_by_signing_in,
}
