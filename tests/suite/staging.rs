//! What is stored when, and what the response says about it.

use axum::routing::post;
use http::StatusCode;
use sessile::store::wrappers::{Call, Failing, Holding, Slow, Spy};
use sessile::{ErrorKind, MemoryStore, Session, SessionLayer, SessionStore};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tower::ServiceExt;

use crate::harness::{CART, Client, HITS, app, memory, routes, text};

#[tokio::test]
async fn inv10_staged_data_is_stored_before_the_response_leaves() {
    let (store, _) = memory();
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

#[tokio::test(start_paused = true)]
async fn inv10_r61_a_redirect_and_read_sees_the_write_also_from_a_slow_store() {
    let (store, _) = memory();
    let app = app(Slow::new(store, Duration::from_millis(200)));
    let mut client = Client::new(&app);
    for n in 0..5 {
        client.post(&format!("/put/a/{n}")).await.ok();
        assert_eq!(client.get("/get/a").await.ok(), n.to_string());
    }
}

#[tokio::test]
async fn inv10_staged_data_is_dropped_when_the_handler_failed_and_kept_when_it_refused() {
    let (store, _) = memory();
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
    spy.take();
    let failed = stranger.post("/fail/500/a").await;
    assert_eq!(
        (failed.set_cookies().len(), spy.take()),
        (0, vec![]),
        "nor is a session made"
    );
}

#[tokio::test]
async fn inv10_what_was_awaited_has_happened_and_its_cookie_goes_out_with_a_500() {
    let (store, _) = memory();
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

#[tokio::test]
async fn inv10_a_store_that_fails_after_a_login_sends_the_logins_cookie() {
    let (store, _) = memory();
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

#[tokio::test]
async fn a_commit_that_was_told_to_the_handler_is_not_told_twice() {
    let store = MemoryStore::builder().record_limit(2000).build();
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

#[tokio::test]
async fn clear_and_remove_and_insert_are_seen_at_once_and_stored_together() {
    let (store, _) = memory();
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
    spy.take();
    client.post("/all").await.ok();
    assert_eq!(spy.take(), [Call::Load, Call::Apply, Call::Apply]);
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

#[tokio::test]
async fn update_and_increment_start_from_what_is_staged() {
    let (store, _) = memory();
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

#[tokio::test]
async fn a_value_that_does_not_decode_is_an_error_and_never_none() {
    let (store, _) = memory();
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

#[tokio::test]
async fn inv10_what_a_failed_or_cancelled_handler_staged_is_not_found_by_a_later_update() {
    let (store, _) = memory();
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
        let answered =
            tokio::time::timeout(Duration::from_millis(20), app.clone().oneshot(request));
        assert_eq!(answered.await.is_err(), cancelled);
        let session = kept.lock().unwrap().take().unwrap();
        assert_eq!(session.get(CART).unwrap(), None);
        assert_eq!(session.increment(HITS, 1).await.unwrap(), hits);
        assert_eq!(client.get("/get/hits").await.ok(), hits.to_string());
    }
}

#[tokio::test]
async fn a_first_write_whose_commit_failed_is_tried_again_with_the_response() {
    let (store, _) = memory();
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

#[tokio::test]
async fn inv03_what_was_staged_for_a_session_that_ended_meanwhile_goes_into_no_other() {
    let (store, _) = memory();
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
