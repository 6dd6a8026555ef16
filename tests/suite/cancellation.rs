//! Clients that hang up, and handlers that panic: at every point where that can happen.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use http::StatusCode;
use sessile::store::wrappers::{Call, Holding, Slow};
use sessile::{Error, Kind, MemoryStore, Session, SessionLayer, SessionStore, UserSession};
use tower::ServiceExt;

use crate::harness::{CART, Client, memory, routes, settled, text};

/// Handlers with many points to be dropped at.
fn app(store: &MemoryStore) -> Router {
    let slow = Slow::new(store.clone(), Duration::from_millis(1));
    routes()
        .route(
            "/everything",
            post(async |session: Session| {
                session.insert(text("staged"), "1")?;
                session.login("alice").keep(CART).await?;
                session.regenerate_id().await?;
                session.update(text("updated"), |_| "1".to_string()).await?;
                session.insert(text("late"), "1")?;
                tokio::task::yield_now().await;
                Ok::<_, Error>(())
            }),
        )
        .route(
            "/switch",
            post(async |user: UserSession| {
                user.end_others().await?;
                user.logout().await?;
                user.login("bob").await?;
                Ok::<_, Error>(())
            }),
        )
        .layer(SessionLayer::new(slow))
}

/// Polls `future` `polls` times and drops it; its output, if it got that far.
async fn polled<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    for n in 0..polls {
        let poll = std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
        if let Poll::Ready(output) = poll {
            return Some(output);
        }
        if n + 1 < polls {
            // Let the store answer before the next poll.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    None
}

/// Every session that opens with a cookie that somebody was sent. None else may be live.
async fn nobody_else(store: &MemoryStore, users: &[(&str, usize)]) {
    for (user, most) in users {
        settled(async || {
            tokio::time::sleep(Duration::from_millis(2)).await;
            store.list((*user).into()).await.unwrap().len() <= *most
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn inv10_a_request_dropped_after_any_poll_leaves_no_session_that_nobody_holds() {
    let mut polls = 0;
    loop {
        polls += 1;
        let (store, _) = memory();
        let app = app(&store);
        let mut client = Client::new(&app);
        client.post("/put/cart/apple").await.ok();
        let request = client.request("POST", "/everything");
        let done = polled(app.clone().oneshot(request), polls).await;
        if let Some(response) = done {
            assert_eq!(response.unwrap().status(), StatusCode::OK);
            assert!(polls >= 8, "only {polls} points to drop at");
            assert_eq!(store.list("alice".into()).await.unwrap().len(), 1);
            break;
        }
        nobody_else(&store, &[("alice", 0)]).await;
        // The id from before either opens what it was, or nothing: it never became alice's.
        let who = client.get("/who").await;
        assert_eq!(who.body, "nobody", "after {polls} polls");
        let staged = client.get("/get/staged").await;
        assert_eq!(
            staged.status,
            StatusCode::NOT_FOUND,
            "staged data is dropped, after {polls} polls"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn inv10_what_a_dropped_request_had_begun_is_carried_through() {
    for polls in 1..60 {
        let (store, _) = memory();
        let app = app(&store);
        let client = Client::signed_in(&app, "alice").await;
        let other = Client::signed_in(&app, "alice").await;
        let request = client.request("POST", "/switch");
        let done = polled(app.clone().oneshot(request), polls).await.is_some();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let alices = store.list("alice".into()).await.unwrap().len();
        let bobs = store.list("bob".into()).await.unwrap().len();
        let (mine, others) = (
            client.clone().get("/who").await.body,
            other.clone().get("/who").await.body,
        );
        match (alices, &*mine, &*others) {
            (2, "alice", "alice") | (1, "alice", "nobody") | (0, "nobody", "nobody") => {}
            half => panic!("half done after {polls} polls: {half:?}"),
        }
        assert_eq!(bobs, usize::from(done), "after {polls} polls");
        if done {
            return;
        }
    }
    panic!("it never completed");
}

#[tokio::test(start_paused = true)]
async fn inv10_a_first_write_dropped_at_any_poll_leaves_no_session_or_its_cookie_went_out() {
    for polls in 1..20 {
        let (store, _) = memory();
        let app = app(&store);
        let request = Client::new(&app).request("POST", "/put/a/1");
        let done = polled(app.clone().oneshot(request), polls).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let live = store.count(Kind::User).await.unwrap();
        match done {
            None => assert_eq!(live, 0, "after {polls} polls"),
            Some(response) => {
                assert!(
                    response
                        .unwrap()
                        .headers()
                        .contains_key(http::header::SET_COOKIE)
                );
                assert_eq!(live, 1);
                assert!(polls > 1, "it was never dropped on the way");
                return;
            }
        }
    }
    panic!("it never completed");
}

#[tokio::test(start_paused = true)]
async fn inv07_an_update_dropped_at_any_poll_happens_once_or_not_at_all() {
    for polls in 1..20 {
        let (store, _) = memory();
        let app = app(&store);
        let mut client = Client::signed_in(&app, "alice").await;
        client.post("/count/n").await.ok();
        let request = client.request("POST", "/count/n");
        let done = polled(app.clone().oneshot(request), polls).await.is_some();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let n = client.get("/get/n").await.ok();
        assert!(n == "2" || (n == "1" && !done), "{n} after {polls} polls");
        if done {
            assert_eq!(n, "2");
            return;
        }
    }
    panic!("it never completed");
}

#[tokio::test(start_paused = true)]
async fn inv10_a_handler_that_panics_stages_nothing_and_leaves_no_session_that_nobody_holds() {
    let (store, _) = memory();
    let app = routes()
        .route(
            "/panic/{after}",
            post(
                async |session: Session, axum::extract::Path(after): axum::extract::Path<u32>| {
                    session.insert(text("staged"), "1").unwrap();
                    if after > 0 {
                        session.login("alice").keep(CART).await.unwrap();
                    }
                    if after > 1 {
                        session.regenerate_id().await.unwrap();
                        session.insert(text("late"), "1").unwrap();
                    }
                    panic!("the handler's own");
                    #[allow(unreachable_code)]
                    ()
                },
            ),
        )
        .layer(SessionLayer::new(Slow::new(
            store.clone(),
            Duration::from_millis(1),
        )));
    for after in 0..3 {
        let mut client = Client::new(&app);
        client.post("/put/cart/apple").await.ok();
        let request = client.request("POST", &format!("/panic/{after}"));
        let panicked =
            futures_util::FutureExt::catch_unwind(AssertUnwindSafe(app.clone().oneshot(request)))
                .await;
        assert!(panicked.is_err());
        nobody_else(&store, &[("alice", 0)]).await;
        assert_eq!(client.get("/who").await.body, "nobody");
        assert_eq!(
            client.get("/get/staged").await.status,
            StatusCode::NOT_FOUND
        );
        let cart = client.get("/get/cart").await.status;
        assert_eq!(
            cart.is_success(),
            after == 0,
            "before the login it is all still there"
        );
    }
}

/// Lets everything else get as far as it can.
async fn others_run() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn inv03_a_first_write_that_was_given_up_does_not_take_a_logins_place() {
    let (store, _) = memory();
    let holding = Holding::new(store.clone());
    let held = Arc::new(Mutex::new(Some(holding.hold_reply(Call::Create))));
    let app = routes()
        .route(
            "/give-up",
            post(async move |session: Session| {
                let held = held.lock().unwrap().take().unwrap();
                tokio::select! {
                    _ = session.update(text("updated"), |_| "1".to_string()) => panic!("it is held"),
                    () = held.arrived() => {}
                }
                let (login, ()) = tokio::join!(async { session.login("alice").await }, async {
                    others_run().await;
                    held.release();
                });
                others_run().await;
                login.map(|_| ())
            }),
        )
        .layer(SessionLayer::new(holding));
    let mut client = Client::new(&app);
    client.post("/give-up").await.ok();
    assert_eq!(client.get("/who").await.ok(), "alice");
    assert_eq!(store.count(Kind::User).await.unwrap(), 1);
}

#[tokio::test]
async fn inv03_a_first_write_with_the_response_does_not_take_the_place_of_a_login_under_way() {
    let (store, _) = memory();
    let holding = Holding::new(store.clone());
    let (login, write) = (
        holding.hold_reply(Call::Create),
        holding.hold_reply(Call::Create),
    );
    let app = routes()
        .route(
            "/both",
            post(async |session: Session| {
                session.insert(CART, "apple").unwrap();
                tokio::spawn(async move { session.login("alice").await.map(|_| ()) });
                others_run().await;
            }),
        )
        .layer(SessionLayer::new(holding));
    let mut client = Client::new(&app);
    let (reply, ()) = tokio::join!(client.post("/both"), async {
        // Until both are there, or one waits for the other.
        others_run().await;
        login.release();
        others_run().await;
        write.release();
    });
    reply.ok();
    assert_eq!(client.get("/who").await.ok(), "alice");
    assert_eq!(store.count(Kind::User).await.unwrap(), 1);
}
