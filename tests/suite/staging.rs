//! What is stored when, and what the response says about it.

use axum::routing::post;
use http::StatusCode;
use sessile::store::wrappers::{Call, Failing, Holding, Slow, Spy};
use sessile::{ErrorKind, Session, SessionLayer};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tower::ServiceExt;

use crate::harness::{CART, Client, HITS, app, routes, text};
use crate::stores::{Asked, TestStore, on_every_store};
use crate::support::wait::wait_until;

async fn inv10_staged_data_is_stored_before_the_response_leaves(store: impl TestStore) {
    let holding = Holding::new(store.clone());
    let app = app(holding.clone());
    let mut client = Client::signed_in(&app, "alice").await;
    let held = holding.hold_reply(Call::Apply);
    let mut other = client.clone();
    let put = tokio::spawn(async move { client.post("/put/a/1").await });
    held.arrived().await;
    assert!(!put.is_finished(), "the answer waits for the store");
    assert_eq!(other.get("/get/a").await.ok(), "1");
    held.release();
    put.await.unwrap().ok();
}

async fn inv10_r61_a_redirect_and_read_sees_the_write_also_from_a_slow_store(
    store: impl TestStore,
) {
    let app = app(Slow::new(store, Duration::from_millis(50)));
    let mut client = Client::new(&app);
    for n in 0..5 {
        client.post(&format!("/put/a/{n}")).await.ok();
        assert_eq!(client.get("/get/a").await.ok(), n.to_string());
    }
}

async fn inv10_staged_data_is_dropped_when_the_handler_failed_and_kept_when_it_refused(
    store: impl TestStore,
) {
    let spy = Spy::new(store);
    let app = app(spy.clone());
    let mut client = Client::signed_in(&app, "alice").await;
    for (status, stored) in [
        (200, true),
        (302, true),
        (404, true),
        (422, true),
        (500, false),
        (503, false),
        (599, false),
    ] {
        let key = format!("k{status}");
        assert_eq!(
            client
                .post(&format!("/fail/{status}/{key}"))
                .await
                .status
                .as_u16(),
            status
        );
        assert_eq!(
            client.get(&format!("/get/{key}")).await.status.is_success(),
            stored,
            "{status}"
        );
    }
    let mut stranger = Client::new(&app);
    spy.asked();
    let failed = stranger.post("/fail/500/a").await;
    assert_eq!(
        (failed.set_cookies().len(), spy.asked()),
        (0, vec![]),
        "nor is a session made"
    );
}

async fn inv10_what_was_awaited_has_happened_and_its_cookie_goes_out_with_a_500(
    store: impl TestStore,
) {
    let app = routes()
        .route(
            "/login-and-fail",
            post(async |session: Session| {
                session.insert(text("staged"), "x").unwrap();
                session.login("alice").await.unwrap();
                session.insert(text("after"), "x").unwrap();
                StatusCode::INTERNAL_SERVER_ERROR
            }),
        )
        .layer(SessionLayer::new(store));
    let mut client = Client::new(&app);
    let reply = client.post("/login-and-fail").await;
    assert_eq!((reply.status.as_u16(), reply.set_cookies().len()), (500, 1));
    assert_eq!(client.get("/me").await.ok(), "alice");
    assert_eq!(client.get("/get/after").await.status, StatusCode::NOT_FOUND);
}

async fn inv10_a_store_that_fails_after_a_login_sends_the_logins_cookie(store: impl TestStore) {
    let failing = Failing::new(store);
    let app = routes()
        .route(
            "/login-then-write",
            post(async |session: Session| {
                session.login("alice").await?;
                session.insert(CART, "apple")
            }),
        )
        .layer(SessionLayer::new(failing.clone()));
    let mut client = Client::new(&app);
    failing.fail(Call::Apply);
    let reply = client.post("/login-then-write").await;
    assert_eq!(
        (reply.problem(), reply.set_cookies().len()),
        (("store_unavailable", None), 1)
    );
    failing.heal();
    assert_eq!(client.get("/me").await.ok(), "alice");
}

async fn a_commit_that_was_told_to_the_handler_is_not_told_twice(store: impl TestStore) {
    let store = store.with_record_limit(2000).await;
    let app = routes()
        .route(
            "/try",
            post(async |session: Session| {
                session.insert(CART, &"x".repeat(3000))?;
                assert_eq!(
                    session.commit().await.unwrap_err().kind(),
                    ErrorKind::TooLarge
                );
                session.insert(CART, "small")
            }),
        )
        .layer(SessionLayer::new(store));
    let mut client = Client::new(&app);
    client.post("/try").await.ok();
    assert_eq!(client.get("/get/cart").await.ok(), "small");
}

async fn clear_and_remove_and_insert_are_seen_at_once_and_stored_together(store: impl TestStore) {
    let spy = Spy::new(store);
    let app = routes()
        .route(
            "/all",
            post(async |session: Session| {
                session.insert(text("a"), "1")?;
                session.clear()?;
                assert_eq!(session.get(text("a"))?, None);
                assert_eq!(session.get(text("old"))?, None);
                session.insert(text("b"), "2")?;
                session.insert(text("c"), "3")?;
                session.remove(text("c"))?;
                assert_eq!(session.get(text("b"))?.as_deref(), Some("2"));
                // What is stored now is spared by the clear that is stored later.
                assert_eq!(
                    session
                        .update(text("d"), |before| format!("{before:?}"))
                        .await?,
                    "None"
                );
                assert_eq!(session.get(text("d"))?.as_deref(), Some("None"));
                Ok::<_, sessile::Error>(())
            }),
        )
        .layer(SessionLayer::new(spy.clone()));
    let mut client = Client::new(&app);
    client.post("/put/old/1").await.ok();
    spy.asked();
    client.post("/all").await.ok();
    assert_eq!(spy.asked(), [Call::Load, Call::Apply, Call::Apply]);
    for (key, value) in [
        ("a", None),
        ("old", None),
        ("b", Some("2")),
        ("c", None),
        ("d", Some("None")),
    ] {
        let reply = client.get(&format!("/get/{key}")).await;
        assert_eq!(
            reply.status.is_success().then_some(&*reply.body),
            value,
            "{key}"
        );
    }
}

async fn update_and_increment_start_from_what_is_staged(store: impl TestStore) {
    let app = routes()
        .route(
            "/staged",
            post(async |session: Session| {
                session.insert(HITS, &5)?;
                assert_eq!(session.increment(HITS, 2).await?, 7);
                session.insert(CART, "a")?;
                assert_eq!(
                    session.update(CART, |cart| cart.unwrap() + "b").await?,
                    "ab"
                );
                session.remove(CART)?;
                assert_eq!(
                    session.update(CART, |cart| format!("{cart:?}")).await?,
                    "None"
                );
                Ok::<_, sessile::Error>(())
            }),
        )
        .layer(SessionLayer::new(store));
    for mut client in [Client::new(&app), Client::signed_in(&app, "alice").await] {
        client.post("/staged").await.ok();
        assert_eq!(client.get("/get/hits").await.ok(), "7");
        assert_eq!(client.get("/get/cart").await.ok(), "None");
    }
}

async fn a_value_that_does_not_decode_is_an_error_and_never_none(store: impl TestStore) {
    let app = app(store);
    let mut client = Client::new(&app);
    client.post("/put/n/text").await.ok();
    assert_eq!(
        client.post("/count/n").await.problem(),
        ("invalid_value", None)
    );
    assert_eq!(
        client.post("/add/n/1").await.problem(),
        ("invalid_value", None)
    );
    assert_eq!(client.get("/get/n").await.ok(), "text");
}

async fn inv10_what_a_failed_or_cancelled_handler_staged_is_not_found_by_a_later_update(
    store: impl TestStore,
) {
    let kept: Arc<Mutex<Option<Session>>> = Arc::default();
    let keep = Arc::clone(&kept);
    let app = routes()
        .route(
            "/stage/{forever}",
            post(
                move |session: Session, axum::extract::Path(forever): axum::extract::Path<bool>| {
                    session.insert(HITS, &100).unwrap();
                    session.insert(CART, "staged").unwrap();
                    *keep.lock().unwrap() = Some(session);
                    async move {
                        if forever {
                            std::future::pending::<()>().await;
                        }
                        StatusCode::INTERNAL_SERVER_ERROR
                    }
                },
            ),
        )
        .layer(SessionLayer::new(store));
    let mut client = Client::signed_in(&app, "alice").await;
    for (cancelled, hits) in [(false, 1), (true, 2)] {
        let request = client.request("POST", &format!("/stage/{cancelled}"));
        let response = app.clone().oneshot(request);
        if cancelled {
            let staged = async || kept.lock().unwrap().is_some();
            tokio::select! {
                _ = response => panic!("it never answers"),
                () = wait_until("the handler has staged", staged) => {}
            }
        } else {
            assert_eq!(response.await.unwrap().status().as_u16(), 500);
        }
        let session = kept.lock().unwrap().take().unwrap();
        assert_eq!(session.get(CART).unwrap(), None);
        assert_eq!(session.increment(HITS, 1).await.unwrap(), hits);
        assert_eq!(client.get("/get/hits").await.ok(), hits.to_string());
    }
}

async fn a_first_write_whose_commit_failed_is_tried_again_with_the_response(store: impl TestStore) {
    let failing = Failing::new(store.clone());
    let app = routes()
        .route(
            "/try",
            post(async |session: Session| {
                session.insert(CART, "apple").unwrap();
                let failed = session.commit().await.unwrap_err();
                assert_eq!(failed.kind(), ErrorKind::StoreUnavailable);
                assert_eq!(session.get(CART).unwrap().as_deref(), Some("apple"));
            }),
        )
        .layer(SessionLayer::new(failing.clone()));
    let mut client = Client::new(&app);
    failing.fail_next(Call::Create);
    client.post("/try").await.ok();
    assert_eq!(client.get("/get/cart").await.ok(), "apple");
    failing.fail(Call::Create);
    let reply = Client::new(&app).post("/try").await;
    assert_eq!(reply.problem(), ("store_unavailable", None));
}

async fn inv03_what_was_staged_for_a_session_that_ended_meanwhile_goes_into_no_other(
    store: impl TestStore,
) {
    let app = routes()
        .route(
            "/late",
            post(async |session: Session, sessions: sessile::Sessions| {
                session.insert(CART, "alice's").unwrap();
                sessions.revoke_all("alice", "").await.unwrap();
                for _ in 0..2 {
                    let ended = session.increment(HITS, 1).await.unwrap_err();
                    assert_eq!(ended.kind(), ErrorKind::SessionEnded);
                }
            }),
        )
        .layer(SessionLayer::new(store.clone()));
    let mut client = Client::signed_in(&app, "alice").await;
    let reply = client.post("/late").await;
    assert_eq!(reply.problem(), ("session_ended", Some("revoked")));
    assert_eq!(reply.set_cookies().len(), 0);
    assert_eq!(store.count(sessile::Kind::User).await.unwrap(), 0);
}

on_every_store! {
    inv10_staged_data_is_stored_before_the_response_leaves,
    inv10_r61_a_redirect_and_read_sees_the_write_also_from_a_slow_store(paused),
    inv10_staged_data_is_dropped_when_the_handler_failed_and_kept_when_it_refused,
    inv10_what_was_awaited_has_happened_and_its_cookie_goes_out_with_a_500,
    inv10_a_store_that_fails_after_a_login_sends_the_logins_cookie,
    a_commit_that_was_told_to_the_handler_is_not_told_twice,
    clear_and_remove_and_insert_are_seen_at_once_and_stored_together,
    update_and_increment_start_from_what_is_staged,
    a_value_that_does_not_decode_is_an_error_and_never_none,
    inv10_what_a_failed_or_cancelled_handler_staged_is_not_found_by_a_later_update,
    a_first_write_whose_commit_failed_is_tried_again_with_the_response,
    inv03_what_was_staged_for_a_session_that_ended_meanwhile_goes_into_no_other,
}
