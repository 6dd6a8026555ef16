//! Clients that hang up, and handlers that panic: at every point where that can happen.
//!
//! How many points there are, only memory's tests know beforehand: over a network, an answer comes in one piece or in
//! several. So each test drops the request after one poll, after two, and so on, until it is answered.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use http::StatusCode;
use sessile::store::wrappers::{Call, Holding, Slow};
use sessile::{Error, Kind, Session, SessionLayer, UserSession};
use tower::ServiceExt;

use crate::harness::{CART, Client, routes, text};
use crate::stores::{TestStore, on_every_store};

/// Handlers with many points to be dropped at.
fn app(store: &impl TestStore) -> Router {
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

/// Where a client hangs up, if it is not answered before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HangUp {
    /// After so many polls of the request…
    polls: usize,
    /// …at once, or when it would be polled again: what it waits for has happened then.
    woken: bool,
}

impl HangUp {
    /// Polls the request as a runtime does, whenever it is woken; its output, if it got that far.
    pub(crate) async fn of<F: Future>(self, request: F) -> Option<F::Output> {
        let mut request = pin!(request);
        let mut polls = 0;
        poll_fn(|cx| {
            if polls == self.polls {
                return Poll::Ready(None);
            }
            polls += 1;
            match request.as_mut().poll(cx) {
                Poll::Pending if polls == self.polls && !self.woken => Poll::Ready(None),
                poll => poll.map(Some),
            }
        })
        .await
    }
}

/// Runs a test that says whether the request was answered for every place, until it was at so many in a row: the same
/// request may take a poll more or less the next time.
pub(crate) async fn at_every_place(mut test: impl AsyncFnMut(HangUp) -> bool) -> usize {
    let mut answered = 0;
    for polls in 1..100 {
        for woken in [false, true] {
            answered = match test(HangUp { polls, woken }).await {
                true => answered + 1,
                false => 0,
            };
            if answered == 4 {
                return polls;
            }
        }
    }
    panic!("it was never answered");
}

async fn inv10_a_request_dropped_after_any_poll_leaves_no_session_that_nobody_holds(
    store: impl TestStore,
) {
    let polls = at_every_place(async |place| {
        let store = store.another().await;
        let app = app(&store);
        let mut client = Client::new(&app);
        client.post("/put/cart/apple").await.ok();
        let reply = place.of(client.post("/everything")).await;
        let id = client.id().unwrap().to_owned();
        drop((app, client));
        store.left_alone().await;
        assert_eq!(store.live_without(&[&id]).await, 0, "{place:?}");
        let alices = store.list("alice".into()).await.unwrap().len();
        assert_eq!(alices, usize::from(reply.is_some()), "{place:?}");
        if let Some(reply) = reply {
            assert_eq!(reply.status, StatusCode::OK);
            return true;
        }
        // The id from before either opens what it was, or nothing: it never became alice's.
        let mut client = Client::holding(&self::app(&store), &id);
        assert_eq!(client.get("/who").await.body, "nobody", "{place:?}");
        assert_eq!(
            client.get("/get/staged").await.status,
            StatusCode::NOT_FOUND,
            "staged data is dropped: {place:?}"
        );
        false
    })
    .await;
    assert!(polls >= 8, "only {polls} points to drop at");
}

async fn inv10_what_a_dropped_request_had_begun_is_carried_through(store: impl TestStore) {
    at_every_place(async |place| {
        let store = store.another().await;
        let app = app(&store);
        let mut client = Client::signed_in(&app, "alice").await;
        let other = Client::signed_in(&app, "alice").await;
        let (mine, others) = (
            client.id().unwrap().to_owned(),
            other.id().unwrap().to_owned(),
        );
        let done = place.of(client.post("/switch")).await.is_some();
        let id = client.id().unwrap().to_owned();
        drop((app, client, other));
        store.left_alone().await;
        let app = self::app(&store);
        let alices = store.list("alice".into()).await.unwrap().len();
        let bobs = store.list("bob".into()).await.unwrap().len();
        let (mine, others) = (
            Client::holding(&app, &mine).get("/who").await.body,
            Client::holding(&app, &others).get("/who").await.body,
        );
        match (alices, &*mine, &*others) {
            (2, "alice", "alice") | (1, "alice", "nobody") | (0, "nobody", "nobody") => {}
            half => panic!("half done at {place:?}: {half:?}"),
        }
        assert_eq!(bobs, usize::from(done), "{place:?}");
        let live = store.live_without(&[]).await;
        assert_eq!(live, alices + bobs, "{place:?}");
        assert!(!done || store.live_without(&[&id]).await == 0, "{place:?}");
        done
    })
    .await;
}

async fn inv10_a_first_write_dropped_at_any_poll_leaves_no_session_or_its_cookie_went_out(
    store: impl TestStore,
) {
    let polls = at_every_place(async |place| {
        let store = store.another().await;
        let app = app(&store);
        let mut client = Client::new(&app);
        let reply = place.of(client.post("/put/a/1")).await;
        let id = client.id().map(str::to_owned);
        drop((app, client));
        store.left_alone().await;
        let live = store.live_without(&[]).await;
        match reply {
            None => assert_eq!(live, 0, "{place:?}"),
            Some(_) => {
                let id = id.expect("its cookie went out");
                assert_eq!((live, store.live_without(&[&id]).await), (1, 0));
                return true;
            }
        }
        false
    })
    .await;
    assert!(polls > 2, "it was never dropped on the way");
}

async fn inv07_an_update_dropped_at_any_poll_happens_once_or_not_at_all(store: impl TestStore) {
    at_every_place(async |place| {
        let store = store.another().await;
        let app = app(&store);
        let mut client = Client::signed_in(&app, "alice").await;
        client.post("/count/n").await.ok();
        let done = place.of(client.post("/count/n")).await.is_some();
        let id = client.id().unwrap().to_owned();
        drop((app, client));
        store.left_alone().await;
        let n = Client::holding(&self::app(&store), &id)
            .get("/get/n")
            .await
            .ok();
        assert!(n == "2" || (n == "1" && !done), "{n} at {place:?}");
        done
    })
    .await;
}

async fn inv10_a_handler_that_panics_stages_nothing_and_leaves_no_session_that_nobody_holds(
    store: impl TestStore,
) {
    let panics = routes().route(
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
    );
    for after in 0..3 {
        let store = store.another().await;
        let slow = Slow::new(store.clone(), Duration::from_millis(1));
        let app = panics.clone().layer(SessionLayer::new(slow));
        let mut client = Client::new(&app);
        client.post("/put/cart/apple").await.ok();
        let request = client.request("POST", &format!("/panic/{after}"));
        let panicked =
            futures_util::FutureExt::catch_unwind(AssertUnwindSafe(app.clone().oneshot(request)))
                .await;
        assert!(panicked.is_err());
        let id = client.id().unwrap().to_owned();
        drop((app, client));
        store.left_alone().await;
        assert_eq!(store.live_without(&[&id]).await, 0);
        assert_eq!(store.list("alice".into()).await.unwrap().len(), 0);
        let mut client = Client::holding(&self::app(&store), &id);
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

/// Lets everything else get as far as it can, which takes a real store a moment. Where that is not long enough, less
/// goes on at the same time, and the test holds all the same.
async fn others_run() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
}

async fn inv03_a_first_write_that_was_given_up_does_not_take_a_logins_place(store: impl TestStore) {
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

async fn inv03_a_first_write_with_the_response_does_not_take_the_place_of_a_login_under_way(
    store: impl TestStore,
) {
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

on_every_store! {
    inv10_a_request_dropped_after_any_poll_leaves_no_session_that_nobody_holds(paused),
    inv10_what_a_dropped_request_had_begun_is_carried_through(paused),
    inv10_a_first_write_dropped_at_any_poll_leaves_no_session_or_its_cookie_went_out(paused),
    inv07_an_update_dropped_at_any_poll_happens_once_or_not_at_all(paused),
    inv10_a_handler_that_panics_stages_nothing_and_leaves_no_session_that_nobody_holds(paused),
    inv03_a_first_write_that_was_given_up_does_not_take_a_logins_place,
    inv03_a_first_write_with_the_response_does_not_take_the_place_of_a_login_under_way,
}
