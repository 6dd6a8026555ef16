//! What a response may become, and what goes on after it.

use axum::routing::{get, post};
use http::StatusCode;
use sessile::store::wrappers::{Call, Failing, Holding};
use sessile::{ErrorKind, Problem, Session, SessionLayer};
use std::sync::{Arc, Mutex};
use tower::{Layer, Service, ServiceExt};

use crate::ages::planted;
use crate::harness::{CART, Client, HITS, MINUTE, app, refusing, reply, routes};
use crate::stores::{TestStore, on_every_store};

async fn inv10_inv08_a_store_that_fails_is_503_with_retry_after_and_no_cookie(
    store: impl TestStore,
) {
    let failing = Failing::new(store);
    let app = refusing(failing.clone());
    let mut client = Client::signed_in(&app, "alice").await;
    let id = client.id().unwrap().to_owned();
    for (call, path) in [
        (Call::Load, "/put/a/1"),
        (Call::Apply, "/put/a/1"),
        (Call::Apply, "/count/n"),
        (Call::Replace, "/regenerate"),
        (Call::Replace, "/login/alice"),
        (Call::Create, "/login/bob"),
        (Call::End, "/logout"),
        (Call::End, "/end-all"),
    ] {
        failing.fail(call);
        let reply = client.post(path).await;
        assert_eq!(reply.problem(), ("store_unavailable", None), "{path}");
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(reply.header(http::header::RETRY_AFTER), Some("1"));
        assert_eq!(reply.set_cookies().len(), 0, "{path}");
        failing.heal();
    }
    assert_eq!(client.id(), Some(&*id));
    assert_eq!(client.get("/me").await.ok(), "alice");
    let mut stranger = Client::new(&app);
    failing.fail_all();
    assert_eq!(
        stranger.get("/look").await.status,
        StatusCode::OK,
        "strangers are served"
    );
    let reply = stranger.post("/put/a/1").await;
    assert_eq!(
        (reply.problem(), reply.set_cookies().len()),
        (("store_unavailable", None), 0)
    );
    assert_eq!(
        client.get("/who").await.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "away is not absent"
    );
    assert_eq!(client.get("/ping").await.status, StatusCode::OK);
}

async fn an_end_in_the_meantime_is_401_only_where_something_was_staged(store: impl TestStore) {
    let holding = Holding::new(store.clone());
    let app = app(holding.clone());
    for (path, status) in [
        ("/me", StatusCode::OK),
        ("/fail/200/k", StatusCode::UNAUTHORIZED),
    ] {
        let mut client = planted(&app, &store, "alice", |new| new.seen.at -= 2 * MINUTE).await;
        let held = holding.hold(Call::Apply);
        let request = client.request(if path == "/me" { "GET" } else { "POST" }, path);
        let mut slow = client.clone();
        let slow = tokio::spawn(async move { slow.send(request).await });
        held.arrived().await;
        client.post("/logout").await.ok();
        held.release();
        let reply = slow.await.unwrap();
        assert_eq!(
            (reply.status, reply.set_cookies().len()),
            (status, 0),
            "{path}"
        );
    }
}

async fn r66_a_record_over_the_limit_is_413_and_nothing_is_half_stored(store: impl TestStore) {
    let store = store.with_record_limit(2000).await;
    let app = app(store);
    let mut client = Client::signed_in(&app, "alice").await;
    client.post("/put/a/small").await.ok();
    let large = "x".repeat(3000);
    for path in [
        format!("/put/b/{large}"),
        format!("/commit/b/{large}"),
        format!("/put/a/{large}"),
    ] {
        let reply = client.post(&path).await;
        assert_eq!(
            (reply.problem(), reply.status.as_u16()),
            (("too_large", None), 413)
        );
    }
    assert_eq!(client.get("/get/a").await.ok(), "small");
    assert_eq!(client.get("/get/b").await.status, StatusCode::NOT_FOUND);
    let mut stranger = Client::new(&app);
    let reply = stranger.post(&format!("/put/b/{large}")).await;
    assert_eq!(
        (reply.problem(), reply.set_cookies().len()),
        (("too_large", None), 0)
    );
}

async fn after_the_response_a_session_reads_updates_and_logs_out_but_stages_nothing(
    store: impl TestStore,
) {
    let kept: Arc<Mutex<Option<Session>>> = Arc::default();
    let keep = Arc::clone(&kept);
    let app = routes()
        .route(
            "/keep",
            get(move |session: Session| {
                *keep.lock().unwrap() = Some(session);
                async {}
            }),
        )
        .layer(SessionLayer::new(store));
    let mut client = Client::signed_in(&app, "alice").await;
    client.post("/put/cart/apple").await.ok();
    client.get("/keep").await.ok();
    let session = kept.lock().unwrap().take().unwrap();
    assert_eq!(session.get(CART).unwrap().as_deref(), Some("apple"));
    let sent = |result: Result<(), sessile::Error>| {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::ResponseSent)
    };
    sent(session.insert(CART, "x"));
    sent(session.remove(CART));
    sent(session.clear());
    sent(session.regenerate_id().await);
    sent(session.commit().await.map(|_| ()));
    sent(session.login("bob").await.map(|_| ()));
    assert_eq!(session.increment(HITS, 3).await.unwrap(), 3);
    assert_eq!(
        session
            .update(CART, |cart| cart.unwrap() + "s")
            .await
            .unwrap(),
        "apples"
    );
    assert_eq!(client.get("/get/cart").await.ok(), "apples");
    session.logout().await.unwrap();
    assert_eq!(
        client.get("/me").await.problem(),
        ("session_ended", Some("logged_out"))
    );

    let mut stranger = Client::new(&app);
    stranger.get("/keep").await.ok();
    let session = kept.lock().unwrap().take().unwrap();
    sent(session.increment(HITS, 1).await.map(|_| ()));
    sent(session.update(CART, |_| "x".into()).await.map(|_| ()));
}

async fn a_login_that_is_still_under_way_when_the_response_leaves_ends_again(
    store: impl TestStore,
) {
    let holding = Holding::new(store.clone());
    let held = Arc::new(holding.hold(Call::Create));
    let arrived = Arc::clone(&held);
    let (tell, told) = tokio::sync::oneshot::channel();
    let tell = Arc::new(Mutex::new(Some(tell)));
    let app = routes()
        .route(
            "/spawn",
            post(move |session: Session| {
                let tell = tell.lock().unwrap().take().unwrap();
                async move {
                    tokio::spawn(async move {
                        let login = session.login("alice").await;
                        tell.send(login.map(|_| ()).map_err(|error| error.kind()))
                    });
                    arrived.arrived().await;
                }
            }),
        )
        .layer(SessionLayer::new(holding));
    let reply = Client::new(&app).post("/spawn").await;
    assert_eq!(
        (reply.status, reply.set_cookies().len()),
        (StatusCode::OK, 0)
    );
    drop((app, held));
    assert_eq!(told.await.unwrap(), Err(ErrorKind::ResponseSent));
    assert_eq!(store.list("alice".into()).await.unwrap().len(), 0);
}

/// A service without axum, with a body that is only `Default`.
async fn the_layer_goes_around_any_tower_service_and_a_replaced_body_is_the_default(
    store: impl TestStore,
) {
    #[derive(Default, Debug, PartialEq)]
    struct Bare(&'static str);
    let failing = Failing::new(store);
    let service = tower::service_fn(|request: http::Request<()>| async move {
        let session = Session::from_extensions(request.extensions())
            .await
            .unwrap();
        session.insert(CART, "apple").unwrap();
        Ok::<_, std::convert::Infallible>(http::Response::new(Bare("handler's")))
    });
    let mut service = SessionLayer::new(failing.clone()).layer(service);
    let response = service
        .ready()
        .await
        .unwrap()
        .call(http::Request::new(()))
        .await
        .unwrap();
    assert_eq!(
        (response.status().as_u16(), response.body()),
        (200, &Bare("handler's"))
    );
    assert!(response.headers().contains_key(http::header::SET_COOKIE));
    failing.fail_all();
    let response = service
        .ready()
        .await
        .unwrap()
        .call(http::Request::new(()))
        .await
        .unwrap();
    assert_eq!(
        (response.status().as_u16(), response.body()),
        (503, &Bare(""))
    );
    assert_eq!(
        response.extensions().get::<Problem>().unwrap().kind,
        ErrorKind::StoreUnavailable
    );
    assert!(!response.headers().contains_key(http::header::SET_COOKIE));
}

async fn an_error_of_the_service_passes_through_and_ends_what_it_signed_in(store: impl TestStore) {
    let service = tower::service_fn(|request: http::Request<()>| async move {
        let session = Session::from_extensions(request.extensions())
            .await
            .unwrap();
        session.login("alice").await.unwrap();
        Err::<http::Response<()>, _>("broken")
    });
    let service = SessionLayer::new(store.clone()).layer(service);
    assert_eq!(
        service.oneshot(http::Request::new(())).await.unwrap_err(),
        "broken"
    );
    crate::harness::settled(async || store.list("alice".into()).await.unwrap().is_empty()).await;
}

async fn one_map_response_outside_gives_every_problem_its_look(store: impl TestStore) {
    async fn look(response: axum::response::Response) -> axum::response::Response {
        use axum::response::IntoResponse;
        match response.extensions().get::<Problem>() {
            Some(problem) => {
                (problem.kind.status(), format!("seen {}", problem.kind)).into_response()
            }
            None => response,
        }
    }
    let store = store.with_record_limit(1024).await;
    let app = app(store).layer(axum::middleware::map_response(look));
    let mut client = Client::new(&app);
    assert_eq!(
        client.get("/me").await.body,
        "seen not_signed_in",
        "an extractor's"
    );
    assert_eq!(
        client
            .post(&format!("/put/a/{}", "x".repeat(1500)))
            .await
            .body,
        "seen too_large",
        "the layer's"
    );
    let response = app.oneshot(client.request("GET", "/me")).await.unwrap();
    assert_eq!(reply(response).await.body, "seen not_signed_in");
}

async fn a_service_without_axum_asks_for_its_user(store: impl TestStore) {
    use sessile::UserSession;
    let layer = SessionLayer::new(store);
    let cookie = layer.sessions().create_for("alice").await.unwrap();
    let service = layer.layer(tower::service_fn(|request: http::Request<()>| async move {
        let session = Session::from_extensions(request.extensions())
            .await
            .unwrap();
        let answer = match UserSession::require(&session) {
            Ok(user) => user.user_id().to_string(),
            Err(error) => error.kind().to_string(),
        };
        Ok::<_, std::convert::Infallible>(http::Response::new(answer))
    }));
    let stranger = http::Request::new(());
    let response = service.clone().oneshot(stranger).await.unwrap();
    assert_eq!(response.body(), "not_signed_in");
    let alice =
        http::Request::builder().header("cookie", format!("{}={}", cookie.name(), cookie.value()));
    let response = service.oneshot(alice.body(()).unwrap()).await.unwrap();
    assert_eq!(response.body(), "alice");
}

on_every_store! {
    inv10_inv08_a_store_that_fails_is_503_with_retry_after_and_no_cookie,
    r66_a_record_over_the_limit_is_413_and_nothing_is_half_stored,
    after_the_response_a_session_reads_updates_and_logs_out_but_stages_nothing,
    a_login_that_is_still_under_way_when_the_response_leaves_ends_again,
    the_layer_goes_around_any_tower_service_and_a_replaced_body_is_the_default,
    an_error_of_the_service_passes_through_and_ends_what_it_signed_in,
    one_map_response_outside_gives_every_problem_its_look,
    a_service_without_axum_asks_for_its_user,
    an_end_in_the_meantime_is_401_only_where_something_was_staged,
}
