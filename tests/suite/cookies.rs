//! The cookie as it is sent, and whose jar it goes through.

use axum::routing::{get, post};
use http::{HeaderValue, Request, StatusCode, header};
use sessile::store::wrappers::{Call, Spy};
use sessile::{Error, Session, SessionLayer};
use tower_cookies::{Cookie, CookieManagerLayer, Cookies};

use crate::harness::{CART, COOKIE, Client, app, routes, with};
use crate::stores::{Asked, TestStore, on_every_store};

const ATTRIBUTES: &str = "HttpOnly; SameSite=Lax; Secure; Path=/";

async fn r10_r09_the_cookie_is_bound_to_host_path_and_tls_and_names_nobody(store: impl TestStore) {
    let app = app(store);
    let reply = Client::new(&app).post("/login/alice").await;
    let [cookie] = reply.set_cookies()[..] else {
        panic!("{reply:?}")
    };
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(attributes, ATTRIBUTES);
    let (name, value) = pair.split_once('=').unwrap();
    assert_eq!((name, value.len()), ("__Host-session", 47));
    assert!(
        value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    );
}

async fn r15_the_removal_repeats_the_attributes(store: impl TestStore) {
    let builder = SessionLayer::builder(store)
        .cookie_name("sid")
        .cookie_domain("example.com")
        .cookie_path("/app")
        .same_site(sessile::SameSite::Strict)
        .partitioned(true);
    let app = with(builder);
    let mut client = Client::new(&app);
    client.cookies.clear();
    let set = client.post("/login/alice").await;
    let id = set.cookies()[0].1.clone();
    let mut client = Client::new(&app);
    client.cookies.insert("sid".into(), id);
    let removed = client.post("/logout").await;
    let attributes = |text: &str| {
        let mut parts: Vec<_> = text.split("; ").skip(1).map(str::to_owned).collect();
        parts.sort();
        parts
    };
    let mut expected = attributes(set.set_cookies()[0]);
    expected.push("Max-Age=0".into());
    expected.sort();
    assert_eq!(attributes(removed.set_cookies()[0]), expected);
    assert!(removed.set_cookies()[0].starts_with("sid=;"));
}

async fn r13_r14_the_cookie_is_small_and_lives_400_days_at_most(store: impl TestStore) {
    let year = std::time::Duration::from_secs(3600 * 24 * 365);
    let app = with(SessionLayer::builder(store).remember_timeouts(year, 5 * year));
    let reply = Client::new(&app).post("/login/alice?remember=1").await;
    let cookie = reply.set_cookies()[0];
    assert!(cookie.contains("Max-Age=34560000"), "{cookie}");
    assert!(cookie.split(';').next().unwrap().len() <= 4096);
    assert!(
        cookie
            .split(';')
            .skip(1)
            .all(|attribute| attribute.len() <= 1024)
    );
}

async fn r17_our_cookie_means_no_store_and_a_session_that_was_read_varies_by_cookie(
    store: impl TestStore,
) {
    let app = routes()
        .route(
            "/own",
            post(async |session: Session| {
                session.insert(CART, "x").unwrap();
                [
                    (header::CACHE_CONTROL, "private, max-age=5"),
                    (header::VARY, "Accept, Cookie"),
                ]
            }),
        )
        .layer(SessionLayer::new(store));
    let mut client = Client::new(&app);
    let reply = client.get("/look").await;
    assert_eq!(
        (
            reply.header(header::VARY),
            reply.header(header::CACHE_CONTROL)
        ),
        (Some("cookie"), None)
    );
    let reply = client.post("/put/a/1").await;
    assert_eq!(
        (
            reply.header(header::VARY),
            reply.header(header::CACHE_CONTROL)
        ),
        (Some("cookie"), Some("no-store"))
    );
    let reply = client.get("/ping").await;
    assert_eq!(
        (
            reply.header(header::VARY),
            reply.header(header::CACHE_CONTROL)
        ),
        (None, None)
    );
    let reply = Client::new(&app).post("/own").await;
    assert_eq!(
        reply.header(header::CACHE_CONTROL),
        Some("private, max-age=5"),
        "the handler's own"
    );
    assert_eq!(reply.headers.get_all(header::VARY).iter().count(), 1);
}

async fn r19_nothing_changed_no_set_cookie(store: impl TestStore) {
    let app = app(store);
    let mut client = Client::signed_in(&app, "alice").await;
    for path in ["/ping", "/look", "/me", "/sessions", "/get/a"] {
        assert_eq!(client.get(path).await.set_cookies().len(), 0, "{path}");
    }
    for path in ["/put/a/1", "/count/n", "/remove/a", "/clear", "/commit/a/1"] {
        assert_eq!(client.post(path).await.set_cookies().len(), 0, "{path}");
    }
    let mut stranger = Client::new(&app);
    for path in ["/remove/a", "/clear", "/logout", "/regenerate"] {
        assert_eq!(stranger.post(path).await.set_cookies().len(), 0, "{path}");
    }
}

async fn r18_of_twin_cookies_the_one_that_opens_a_session_wins_wherever_it_stands(
    store: impl TestStore,
) {
    let spy = Spy::new(store);
    let app = app(spy.clone());
    let alice = Client::signed_in(&app, "alice").await;
    let mut gone = Client::signed_in(&app, "bob").await;
    let dead = gone.id().unwrap().to_owned();
    gone.post("/logout").await.ok();
    let live = alice.id().unwrap();
    spy.asked();
    for header in [
        format!("{COOKIE}={dead}; {COOKIE}={live}"),
        format!("{COOKIE}={live}; {COOKIE}={dead}"),
        format!(
            "{COOKIE}=nonsense; x=y; {COOKIE}={dead}; {COOKIE}={dead}; {COOKIE}={live}; {COOKIE}={dead}"
        ),
    ] {
        let request = Request::get("/me")
            .header(header::COOKIE, header)
            .body(axum::body::Body::empty())
            .unwrap();
        assert_eq!(Client::new(&app).send(request).await.ok(), "alice");
        assert_eq!(spy.asked(), [Call::LoadEach], "in one pipeline");
    }
    let header = format!("{COOKIE}={dead}; {COOKIE}={dead}");
    let request = Request::get("/me")
        .header(header::COOKIE, header)
        .body(axum::body::Body::empty())
        .unwrap();
    assert_eq!(
        Client::new(&app).send(request).await.problem(),
        ("session_ended", Some("logged_out"))
    );
}

/// Handlers with a cookie of the application's own.
fn with_own_cookies() -> axum::Router {
    routes()
        .route(
            "/both/{user}",
            post(
                async |cookies: Cookies,
                       session: Session,
                       axum::extract::Path(user): axum::extract::Path<String>| {
                    cookies.add(Cookie::new("theme", "dark"));
                    session.login(user).await.map(|_| ())
                },
            ),
        )
        .route(
            "/bye",
            post(async |cookies: Cookies, session: Session| {
                cookies.add(Cookie::new("theme", "light"));
                session.logout().await.map(|_| ())
            }),
        )
}

async fn r16_the_applications_cookies_survive_with_its_manager_outside_and_inside(
    store: impl TestStore,
) {
    for outside in [true, false] {
        let store = store.another().await;
        let sessions = SessionLayer::new(store);
        let app = if outside {
            with_own_cookies()
                .layer(sessions)
                .layer(CookieManagerLayer::new())
        } else {
            with_own_cookies()
                .layer(CookieManagerLayer::new())
                .layer(sessions)
        };
        let mut client = Client::new(&app);
        let reply = client.post("/both/alice").await;
        let mut names: Vec<_> = reply.cookies().into_iter().map(|(name, _)| name).collect();
        names.sort();
        assert_eq!(names, [COOKIE, "theme"], "outside: {outside}");
        let ours = reply
            .set_cookies()
            .into_iter()
            .find(|text| text.starts_with(COOKIE))
            .unwrap();
        assert!(ours.ends_with(ATTRIBUTES), "{ours}");
        assert_eq!(client.get("/me").await.ok(), "alice");

        // One bad byte makes the jar blind: its own `remove` would say nothing.
        let id = client.id().unwrap().to_owned();
        let blind = [b"junk=\xff; ", COOKIE.as_bytes(), b"=", id.as_bytes()].concat();
        let request = Request::post("/bye")
            .header(header::COOKIE, HeaderValue::from_bytes(&blind).unwrap())
            .body(axum::body::Body::empty())
            .unwrap();
        let reply = client.send(request).await;
        assert_eq!(reply.status, StatusCode::OK);
        let removal = reply
            .set_cookies()
            .into_iter()
            .find(|text| text.starts_with(COOKIE))
            .unwrap();
        assert!(
            removal.contains("Max-Age=0")
                && removal.contains("Path=/")
                && removal.contains("Secure"),
            "{removal}"
        );
        assert_eq!(
            client.cookies.get("theme").map(String::as_str),
            Some("light")
        );
        assert_eq!(client.id(), None);
        assert_eq!(
            Client::holding(&app, &id).get("/me").await.problem(),
            ("session_ended", Some("logged_out"))
        );
    }
}

async fn a_bad_byte_and_a_logout_without_any_manager(store: impl TestStore) {
    let app = app(store);
    let client = Client::signed_in(&app, "alice").await;
    let blind = [
        b"junk=\xff; ",
        COOKIE.as_bytes(),
        b"=",
        client.id().unwrap().as_bytes(),
    ]
    .concat();
    let request = Request::post("/logout")
        .header(header::COOKIE, HeaderValue::from_bytes(&blind).unwrap())
        .body(axum::body::Body::empty())
        .unwrap();
    let reply = Client::new(&app).send(request).await;
    assert_eq!((&*reply.body, reply.set_cookies().len()), ("committed", 1));
}

async fn the_same_layer_met_twice_passes_through(store: impl TestStore) {
    let spy = Spy::new(store);
    let sessions = SessionLayer::new(spy.clone());
    let app = routes()
        .layer(sessions.clone())
        .layer(sessions.clone())
        .layer(sessions);
    let mut client = Client::new(&app);
    let reply = client.post("/login/alice").await;
    assert_eq!(reply.set_cookies().len(), 1);
    spy.asked();
    client.get("/me").await.ok();
    assert_eq!(spy.asked(), [Call::Load]);
}

async fn two_layers_with_two_names_are_two_areas(store: impl TestStore) {
    let outer_store = store.another().await;
    let inner_store = store.another().await;
    let outer = SessionLayer::new(outer_store);
    let inner = SessionLayer::builder(inner_store)
        .cookie_name("__Host-admin")
        .build()
        .unwrap();
    let app = axum::Router::new()
        .nest(
            "/admin",
            routes()
                .route(
                    "/outer",
                    get(async |request: axum::extract::Request| {
                        let session =
                            Session::from_extensions_by_cookie(request.extensions(), COOKIE)
                                .await?;
                        Ok::<_, Error>(
                            session
                                .user()
                                .map_or("nobody".into(), |user| user.user_id().to_string()),
                        )
                    }),
                )
                .layer(inner),
        )
        .merge(routes())
        .layer(outer);
    let mut client = Client::new(&app);
    client.post("/login/alice").await.ok();
    assert_eq!(client.get("/admin/who").await.ok(), "nobody");
    client.post("/admin/login/root").await.ok();
    assert_eq!(
        client.cookies.keys().collect::<Vec<_>>(),
        ["__Host-admin", "__Host-session"]
    );
    assert_eq!(client.get("/admin/me").await.ok(), "root");
    assert_eq!(client.get("/me").await.ok(), "alice");
    assert_eq!(client.get("/admin/outer").await.ok(), "alice");
    client.post("/admin/logout").await.ok();
    assert_eq!(client.get("/me").await.ok(), "alice");
    assert_eq!(client.get("/admin/who").await.ok(), "nobody");
}

async fn the_same_name_on_two_layers_is_a_clear_500_that_names_both(store: impl TestStore) {
    let a = store.another().await;
    let b = store.another().await;
    let app = routes()
        .layer(SessionLayer::new(a))
        .layer(SessionLayer::new(b));
    let reply = Client::new(&app).get("/ping").await;
    assert_eq!(
        (reply.status.as_u16(), reply.problem()),
        (500, ("misconfigured", None))
    );
}

async fn insecure_cookies_have_a_plain_name_and_no_secure(store: impl TestStore) {
    let app = with(SessionLayer::builder(store).insecure_cookies());
    let reply = Client::new(&app).post("/login/alice").await;
    let cookie = reply.set_cookies()[0];
    assert!(
        cookie.starts_with("session=") && !cookie.contains("Secure"),
        "{cookie}"
    );
}

on_every_store! {
    r10_r09_the_cookie_is_bound_to_host_path_and_tls_and_names_nobody,
    r15_the_removal_repeats_the_attributes,
    r13_r14_the_cookie_is_small_and_lives_400_days_at_most,
    r17_our_cookie_means_no_store_and_a_session_that_was_read_varies_by_cookie,
    r19_nothing_changed_no_set_cookie,
    r18_of_twin_cookies_the_one_that_opens_a_session_wins_wherever_it_stands,
    r16_the_applications_cookies_survive_with_its_manager_outside_and_inside,
    a_bad_byte_and_a_logout_without_any_manager,
    the_same_layer_met_twice_passes_through,
    two_layers_with_two_names_are_two_areas,
    the_same_name_on_two_layers_is_a_clear_500_that_names_both,
    insecure_cookies_have_a_plain_name_and_no_secure,
}
