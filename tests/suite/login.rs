//! Signing in and out, and ids that were superseded.
//!
//! On memory alone: what is so for hours, since the clock of Redis cannot be moved. `ages` has the same on both.

use std::sync::{Arc, Mutex};

use axum::routing::post;
use http::StatusCode;
use sessile::store::wrappers::{Call, Failing, Holding, Spy};
use sessile::{ErrorKind, Session, SessionLayer, UserSession};
use tokio::sync::Barrier;

use crate::harness::{CART, Client, HOUR, app, memory, refusal, refusing, routes, text, with};
use crate::stores::{Asked, TestStore, on_every_store};

async fn inv03_r22_after_a_login_the_id_from_before_opens_nothing(store: impl TestStore) {
    let app = app(store);
    let mut client = Client::new(&app);
    client.post("/put/cart/apple").await.ok();
    let before = client.id().unwrap().to_owned();
    client.post("/login/alice").await.ok();
    assert_ne!(client.id().unwrap(), before);

    let mut thief = Client::holding(&app, &before);
    assert_eq!(
        thief.get("/me").await.problem(),
        ("session_ended", Some("regenerated"))
    );
    assert_eq!(thief.get("/get/cart").await.status, StatusCode::NOT_FOUND);
    assert_eq!(thief.get("/who").await.body, "nobody");
}

async fn inv03_r22_also_under_many_parallel_requests_that_carry_it(store: impl TestStore) {
    for _ in 0..50 {
        let store = store.another().await;
        let app = app(store);
        let mut client = Client::new(&app);
        client.post("/put/cart/apple").await.ok();
        let before = client.id().unwrap().to_owned();
        let barrier = Arc::new(Barrier::new(9));
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..8 {
            let (mut thief, barrier) = (Client::holding(&app, &before), Arc::clone(&barrier));
            tasks.spawn(async move {
                barrier.wait().await;
                let path = ["/put/cart/evil", "/count/n", "/look", "/regenerate"][n % 4];
                let reply = if n % 4 == 2 {
                    thief.get(path).await
                } else {
                    thief.post(path).await
                };
                (reply.status, thief)
            });
        }
        barrier.wait().await;
        client.post("/login/alice").await.ok();
        while let Some(thief) = tasks.join_next().await {
            let (_, mut thief) = thief.unwrap();
            assert_eq!(
                thief.get("/who").await.body,
                "nobody",
                "privilege is only under the new id"
            );
        }
        assert_eq!(
            Client::holding(&app, &before).get("/who").await.body,
            "nobody"
        );
        assert_eq!(client.get("/me").await.ok(), "alice");
    }
}

async fn inv03_r22_also_when_the_response_was_lost(store: impl TestStore) {
    let app = app(store);
    let mut client = Client::new(&app);
    client.post("/put/cart/apple").await.ok();
    let before = client.clone();
    client.post("/login/alice").await.ok();
    let mut lost = before;
    assert_eq!(
        lost.get("/me").await.problem(),
        ("session_ended", Some("regenerated"))
    );
    lost.post("/login/alice").await.ok();
    assert_eq!(lost.get("/me").await.ok(), "alice");
}

async fn inv03_r25_what_a_stranger_had_crosses_only_by_name(store: impl TestStore) {
    let app = app(store);
    let mut client = Client::new(&app);
    client.post("/put/cart/apple").await.ok();
    client.post("/put/other/pear").await.ok();
    client.post("/login/alice?with=1").await.ok();
    assert_eq!(client.get("/get/cart").await.ok(), "apple");
    assert_eq!(client.get("/get/with").await.ok(), "1");
    assert_eq!(client.get("/get/other").await.status, StatusCode::NOT_FOUND);
}

async fn inv03_r25_also_from_a_session_of_the_same_user_and_with_a_new_handle(
    store: impl TestStore,
) {
    let app = app(store);
    let mut client = Client::new(&app);
    let first = client.post("/login/alice").await.ok();
    client.post("/put/cart/apple").await.ok();
    client.post("/put/other/pear").await.ok();
    let before = client.id().unwrap().to_owned();
    let second = client.post("/login/alice").await.ok();
    assert_ne!(first, second);
    assert_eq!(client.get("/get/cart").await.ok(), "apple");
    assert_eq!(client.get("/get/other").await.status, StatusCode::NOT_FOUND);
    assert_eq!(
        client.get("/sessions").await.ok().lines().count(),
        1,
        "it replaced its own"
    );
    assert_eq!(
        Client::holding(&app, &before).get("/me").await.problem(),
        ("session_ended", Some("regenerated"))
    );
}

async fn inv03_what_a_login_keeps_is_what_was_last_stored(store: impl TestStore) {
    let holding = Holding::new(store);
    let app = app(holding.clone());
    let mut client = Client::new(&app);
    client.post("/put/cart/apple").await.ok();
    let mut other = client.clone();
    // The login has read the cart and made the new session; another request changes the cart before the old one ends.
    let held = holding.hold(Call::End);
    let login = tokio::spawn(async move {
        client.post("/login/alice").await.ok();
        client
    });
    held.arrived().await;
    other.post("/put/cart/pear").await.ok();
    held.release();
    let mut client = login.await.unwrap();
    assert_eq!(client.get("/get/cart").await.ok(), "pear");
}

async fn inv03_a_login_whose_old_session_cannot_be_ended_did_not_happen(store: impl TestStore) {
    let failing = Failing::new(store.clone());
    let app = refusing(failing.clone());
    let mut client = Client::new(&app);
    client.post("/put/cart/apple").await.ok();
    failing.fail_next(Call::End);
    let reply = client.post("/login/alice").await;
    assert_eq!(
        (reply.status, reply.set_cookies().len()),
        (StatusCode::SERVICE_UNAVAILABLE, 0)
    );
    failing.heal();
    assert_eq!(
        store.list("alice".into()).await.unwrap().len(),
        0,
        "the new session is ended"
    );
    assert_eq!(
        client.get("/get/cart").await.ok(),
        "apple",
        "the old one goes on"
    );
}

async fn inv10_r30_logout_is_stored_before_it_is_told(store: impl TestStore) {
    let failing = Failing::new(store);
    let app = refusing(failing.clone());
    let mut client = Client::signed_in(&app, "alice").await;
    failing.fail(Call::End);
    let reply = client.post("/logout").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        reply.set_cookies().len(),
        0,
        "a cookie is not removed on a guess"
    );
    failing.heal();
    assert_eq!(client.get("/me").await.ok(), "alice");
    let dead = client.clone();
    assert_eq!(client.post("/logout").await.ok(), "committed");
    assert_eq!(client.id(), None);
    let mut dead = dead;
    assert_eq!(
        dead.get("/me").await.problem(),
        ("session_ended", Some("logged_out"))
    );
}

async fn r31_signing_out_twice_is_fine(store: impl TestStore) {
    let app = app(store);
    let client = Client::signed_in(&app, "alice").await;
    assert_eq!(client.clone().post("/logout").await.ok(), "committed");
    let mut again = client.clone();
    assert_eq!(again.post("/logout").await.ok(), "none");
    assert_eq!(again.id(), None, "the dead cookie goes away");
    assert_eq!(Client::new(&app).post("/logout").await.ok(), "none");
}

async fn a_session_written_to_after_logging_out_in_one_request_is_a_new_one(store: impl TestStore) {
    let app = routes()
        .route(
            "/bye",
            post(async |session: Session| {
                session.insert(CART, "staged before")?;
                session.logout().await?;
                session.insert(text("flash"), "bye")
            }),
        )
        .layer(SessionLayer::new(store));
    let mut client = Client::signed_in(&app, "alice").await;
    let before = client.id().unwrap().to_owned();
    client.post("/bye").await.ok();
    assert_ne!(client.id().unwrap(), before);
    assert_eq!(client.get("/get/flash").await.ok(), "bye");
    assert_eq!(client.get("/get/cart").await.status, StatusCode::NOT_FOUND);
    assert_eq!(client.get("/who").await.body, "nobody");
}

#[tokio::test]
async fn the_holder_of_a_dead_cookie_is_told_why_again_and_again_for_hours() {
    let (store, clock) = memory();
    let app = app(store.clone());
    let client = Client::signed_in(&app, "alice").await;
    client
        .clone()
        .post("/revoke/alice/stolen%20laptop")
        .await
        .ok();
    for _ in 0..10 {
        let reply = client.clone().get("/me").await;
        assert_eq!(reply.problem(), ("session_ended", Some("revoked")));
        let problem = reply.problem.unwrap();
        assert_eq!(problem.note.as_deref(), Some("stolen laptop"));
        assert!(problem.at.is_some());
        clock.advance(2 * HOUR);
        store.purge();
    }
}

async fn a_user_id_that_is_empty_or_too_long_is_refused_and_nothing_is_lost(store: impl TestStore) {
    let app = app(store.clone());
    let mut client = Client::new(&app);
    client.post("/put/cart/apple").await.ok();
    for user in ["x".repeat(257)] {
        let reply = client.post(&format!("/login/{user}")).await;
        assert_eq!(reply.problem(), ("invalid_user", None));
        assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    assert_eq!(client.get("/get/cart").await.ok(), "apple");
    client
        .post(&format!("/login/{}", "x".repeat(256)))
        .await
        .ok();
}

async fn a_login_costs_one_call_or_two_or_three(store: impl TestStore) {
    let spy = Spy::new(store);
    let app = with(SessionLayer::builder(spy.clone()));
    let mut client = Client::new(&app);
    client.post("/login/alice").await.ok();
    assert_eq!(spy.asked(), [Call::Create]);
    client.post("/login/alice").await.ok();
    assert_eq!(spy.asked(), [Call::Load, Call::Replace]);
    client.post("/login/bob").await.ok();
    assert_eq!(spy.asked(), [Call::Load, Call::Create, Call::End]);
    client.get("/me").await.ok();
    assert_eq!(spy.asked(), [Call::Load]);
    client.post("/put/a/1").await.ok();
    assert_eq!(spy.asked(), [Call::Load, Call::Apply]);
    client.post("/regenerate").await.ok();
    assert_eq!(spy.asked(), [Call::Load, Call::Replace]);
    client.get("/ping").await.ok();
    assert_eq!(spy.asked(), []);
    client.post("/logout").await.ok();
    assert_eq!(spy.asked(), [Call::Load, Call::End]);
    client.post("/put/a/1").await.ok();
    assert_eq!(spy.asked(), [Call::Create]);
}

async fn inv03_a_login_that_fails_when_its_cookie_is_out_already_is_ended_again(
    store: impl TestStore,
) {
    let failing = Failing::new(store.clone());
    let holding = Holding::new(failing.clone());
    let held = Arc::new(holding.hold(Call::End));
    let arrived = Arc::downgrade(&held);
    let (tell, told) = tokio::sync::oneshot::channel();
    let tell = Arc::new(Mutex::new(Some(tell)));
    let app = routes()
        .route(
            "/spawn",
            post(async move |session: Session| {
                let tell = tell.lock().unwrap().take().unwrap();
                tokio::spawn(async move {
                    let login = session.login("alice").await;
                    tell.send(login.map(|_| ()).map_err(|error| error.kind()))
                });
                // The login waits for the end of the session from before: its cookie goes out with this response.
                let held = arrived.upgrade().unwrap();
                held.arrived().await;
            }),
        )
        .layer(refusal(holding));
    let mut client = Client::new(&app);
    client.post("/put/a/1").await.ok();
    client.post("/spawn").await.ok();
    failing.fail_next(Call::End);
    drop(held);
    let failed = told.await.unwrap().unwrap_err();
    assert_eq!(failed, ErrorKind::StoreUnavailable);
    assert_eq!(store.list("alice".into()).await.unwrap().len(), 0);
    assert_eq!(client.get("/who").await.ok(), "nobody");
}

async fn inv03_a_login_that_cannot_hold_what_was_last_stored_did_not_happen(store: impl TestStore) {
    let store = store.with_record_limit(2000).await;
    let holding = Holding::new(store.clone());
    let app = app(holding.clone());
    let mut client = Client::new(&app);
    client.post("/put/cart/apple").await.ok();
    let mut other = client.clone();
    let held = holding.hold(Call::Create);
    let with = "x".repeat(1000);
    let login =
        tokio::spawn(async move { client.post(&format!("/login/alice?with={with}")).await });
    held.arrived().await;
    other
        .post(&format!("/put/cart/{}", "y".repeat(1000)))
        .await
        .ok();
    held.release();
    let reply = login.await.unwrap();
    assert_eq!(
        (reply.problem(), reply.set_cookies().len()),
        (("too_large", None), 0)
    );
    assert_eq!(store.list("alice".into()).await.unwrap().len(), 0);
}

async fn what_a_login_is_given_twice_it_has_once_and_as_given_last(store: impl TestStore) {
    let app = routes()
        .route(
            "/twice",
            post(async |session: Session| {
                let login = session.login("alice").keep(CART).keep(CART);
                let login = login.with(text("a"), "first").with(text("a"), "last");
                login.await.map(|_| ())
            }),
        )
        .layer(SessionLayer::new(store.clone()));
    let mut client = Client::new(&app);
    client.post("/put/cart/apple").await.ok();
    client.post("/twice").await.ok();
    assert_eq!(client.get("/get/a").await.ok(), "last");
    let records = store.list("alice".into()).await.unwrap();
    let mut names: Vec<_> = records[0].names().collect();
    names.sort_unstable();
    assert_eq!(names, ["a", "cart"]);
}

async fn a_user_who_signed_out_in_this_request_is_not_reauthenticated(store: impl TestStore) {
    let app = routes()
        .route(
            "/both",
            post(async |user: UserSession| {
                user.logout().await?;
                user.reauthenticate().await
            }),
        )
        .layer(SessionLayer::new(store));
    let mut client = Client::signed_in(&app, "alice").await;
    assert_eq!(
        client.post("/both").await.problem(),
        ("not_signed_in", None)
    );
}

async fn inv08_a_login_that_the_store_cut_short_leaves_the_session_from_before_its_cookie(
    store: impl TestStore,
) {
    let failing = Failing::new(store.clone());
    let app = routes()
        .route(
            "/try",
            post(async |session: Session| {
                session.login("alice").await.unwrap_err();
                assert!(session.user().is_none());
                session.insert(text("a"), "1")
            }),
        )
        .layer(refusal(failing.clone()));
    let mut client = Client::new(&app);
    client.post("/put/cart/apple").await.ok();
    failing.fail_next(Call::End);
    let reply = client.post("/try").await;
    assert_eq!(
        (reply.status, reply.set_cookies().len()),
        (StatusCode::OK, 0)
    );
    assert_eq!(client.get("/get/cart").await.ok(), "apple");
    assert_eq!(client.get("/get/a").await.ok(), "1");
    assert_eq!(store.list("alice".into()).await.unwrap().len(), 0);
}

async fn signing_out_with_an_id_that_the_store_does_not_know_removes_it(store: impl TestStore) {
    let client = Client::signed_in(&app(store.clone()), "alice").await;
    let other = store.another().await;
    let mut lost = Client::holding(&app(other), client.id().unwrap());
    let reply = lost.post("/logout").await;
    assert_eq!((&*reply.body, reply.set_cookies().len()), ("none", 1));
    assert_eq!(lost.id(), None);
}

on_every_store! {
    inv03_r22_after_a_login_the_id_from_before_opens_nothing,
    inv03_r22_also_under_many_parallel_requests_that_carry_it(threads),
    inv03_r22_also_when_the_response_was_lost,
    inv03_r25_what_a_stranger_had_crosses_only_by_name,
    inv03_r25_also_from_a_session_of_the_same_user_and_with_a_new_handle,
    inv03_what_a_login_keeps_is_what_was_last_stored,
    inv03_a_login_whose_old_session_cannot_be_ended_did_not_happen,
    inv10_r30_logout_is_stored_before_it_is_told,
    r31_signing_out_twice_is_fine,
    a_session_written_to_after_logging_out_in_one_request_is_a_new_one,
    a_user_id_that_is_empty_or_too_long_is_refused_and_nothing_is_lost,
    a_login_costs_one_call_or_two_or_three,
    inv03_a_login_that_fails_when_its_cookie_is_out_already_is_ended_again,
    inv03_a_login_that_cannot_hold_what_was_last_stored_did_not_happen,
    what_a_login_is_given_twice_it_has_once_and_as_given_last,
    a_user_who_signed_out_in_this_request_is_not_reauthenticated,
    inv08_a_login_that_the_store_cut_short_leaves_the_session_from_before_its_cookie,
    signing_out_with_an_id_that_the_store_does_not_know_removes_it,
}
