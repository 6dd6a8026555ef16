//! A user's sessions: lists, limits, and ends.
//!
//! On memory alone: what needs a clock that is moved. `ages` has the same on both, of sessions made old.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::StatusCode;
use sessile::store::wrappers::{Call, Holding};
use sessile::{AtLimit, Handle, SessionLayer, SessionStore};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::harness::{COOKIE, Client, HOUR, IDLE, MINUTE, app, limited, memory, with};
use crate::stores::{TestStore, on_every_store};

async fn inv12_r41_fifty_parallel_logins_at_a_limit_of_five_leave_exactly_five(
    store: impl TestStore,
) {
    for _ in 0..20 {
        let store = store.another().await;
        let app = limited(store.clone(), 5, AtLimit::EndOldest);
        let clients = fifty_logins(&app).await;
        let mut working = 0;
        for (mut client, status) in clients {
            assert_eq!(status, StatusCode::OK);
            let reply = client.get("/me").await;
            if reply.status.is_success() {
                working += 1;
            } else {
                assert_eq!(reply.problem(), ("session_ended", Some("limit")));
            }
        }
        assert_eq!(
            (working, store.list("alice".into()).await.unwrap().len()),
            (5, 5)
        );
    }
}

async fn inv12_r42_at_a_limit_that_refuses_exactly_five_of_fifty_succeed(store: impl TestStore) {
    for _ in 0..20 {
        let store = store.another().await;
        let app = limited(store.clone(), 5, AtLimit::Refuse);
        let clients = fifty_logins(&app).await;
        let succeeded = clients
            .iter()
            .filter(|(_, status)| *status == StatusCode::OK)
            .count();
        assert!(
            clients
                .iter()
                .all(|(_, status)| [StatusCode::OK, StatusCode::CONFLICT].contains(status))
        );
        assert_eq!(
            (succeeded, store.list("alice".into()).await.unwrap().len()),
            (5, 5)
        );
    }
}

async fn fifty_logins(app: &axum::Router) -> Vec<(Client, StatusCode)> {
    let barrier = Arc::new(Barrier::new(50));
    let mut logins = JoinSet::new();
    for _ in 0..50 {
        let (mut client, barrier) = (Client::new(app), Arc::clone(&barrier));
        logins.spawn(async move {
            barrier.wait().await;
            let status = client.post("/login/alice").await.status;
            (client, status)
        });
    }
    logins.join_all().await
}

async fn inv12_r42_a_refused_login_ends_nothing(store: impl TestStore) {
    let app = limited(store, 2, AtLimit::Refuse);
    let first = Client::signed_in(&app, "alice").await;
    let mut second = Client::signed_in(&app, "alice").await;
    let mut stranger = Client::new(&app);
    stranger.post("/put/cart/apple").await.ok();
    let refused = stranger.post("/login/alice").await;
    assert_eq!(
        (refused.problem(), refused.set_cookies().len()),
        (("too_many_sessions", None), 0)
    );
    assert_eq!(
        stranger.get("/get/cart").await.ok(),
        "apple",
        "nothing of before is lost"
    );
    assert_eq!(first.clone().get("/me").await.ok(), "alice");
    second.post("/login/alice").await.ok();
    assert_eq!(
        second.get("/me").await.ok(),
        "alice",
        "the same browser replaces its own"
    );
}

#[tokio::test]
async fn inv12_r42_a_dead_clients_place_frees_itself() {
    let (store, clock) = memory();
    let app = limited(store, 2, AtLimit::Refuse);
    let first = Client::signed_in(&app, "alice").await;
    let mut second = Client::signed_in(&app, "alice").await;
    clock.advance(20 * MINUTE);
    second.get("/me").await.ok();
    clock.advance(20 * MINUTE);
    assert_eq!(
        first.clone().get("/me").await.problem(),
        ("session_ended", Some("idle"))
    );
    Client::signed_in(&app, "alice").await;
}

async fn a_limit_may_depend_on_the_user(store: impl TestStore) {
    let rule = |user: &sessile::UserId| (user.as_str() != "root").then_some(1);
    let app = with(
        SessionLayer::builder(store.clone()).max_sessions_per_user_by(rule, AtLimit::EndOldest),
    );
    for user in ["alice", "root"] {
        for _ in 0..3 {
            Client::signed_in(&app, user).await;
        }
    }
    assert_eq!(store.list("alice".into()).await.unwrap().len(), 1);
    assert_eq!(store.list("root".into()).await.unwrap().len(), 3);
}

async fn inv12_at_the_limit_it_is_the_oldest_that_ends(store: impl TestStore) {
    let app = limited(store.clone(), 2, AtLimit::EndOldest);
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(Client::signed_in(&app, "alice").await);
        store.later().await;
    }
    assert_eq!(
        clients[0].get("/me").await.problem(),
        ("session_ended", Some("limit"))
    );
    assert_eq!(clients[1].get("/me").await.ok(), "alice");
    assert_eq!(clients[2].get("/me").await.ok(), "alice");
}

#[tokio::test]
async fn inv12_r43_r44_the_list_is_exactly_what_authenticates() {
    let (store, clock) = memory();
    let app = app(store);
    let mut clients = Vec::new();
    for _ in 0..6 {
        clients.push(Client::signed_in(&app, "alice").await);
        clock.advance(Duration::from_secs(1));
    }
    clients[0].post("/logout").await.ok();
    clients[1].post("/regenerate").await.ok();
    clients[2].post("/login/bob").await.ok();
    clock.advance(IDLE - MINUTE);
    for n in [1, 4, 5] {
        clients[n].get("/me").await.ok();
    }
    clock.advance(3 * MINUTE);
    let mut authenticate = Vec::new();
    for client in &mut clients {
        if client.get("/who").await.body == "alice" {
            authenticate.push(client.get("/handle").await.body);
        }
    }
    let list = clients[5].get("/sessions").await.ok();
    let mut listed: Vec<_> = list
        .lines()
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect();
    listed.reverse();
    assert_eq!(listed.len(), 3);
    assert_eq!(listed, authenticate, "newest first");
}

async fn r49_the_list_shows_device_and_address_and_marks_this_one(store: impl TestStore) {
    let app = app(store);
    for (agent, address) in [("phone/1", "192.0.2.1"), ("laptop/2", "2001:db8::7")] {
        let mut client = Client::new(&app);
        client.agent = Some(agent.into());
        client.address = Some(address.parse().unwrap());
        client.post("/login/alice").await.ok();
    }
    let mut client = Client::signed_in(&app, "alice").await;
    let list = client.get("/sessions").await.ok();
    let own = client.get("/handle").await.ok();
    assert!(
        list.contains("other 192.0.2.1 phone/1") && list.contains("other 2001:db8::7 laptop/2"),
        "{list}"
    );
    assert!(list.contains(&format!("{own} current - -")), "{list}");
    assert!(!list.contains(client.id().unwrap()));
    assert!(own.parse::<Handle>().is_ok());
}

async fn r50_nobody_ends_anothers_session_by_its_handle(store: impl TestStore) {
    let app = app(store);
    let mut alice = Client::signed_in(&app, "alice").await;
    let mut mallory = Client::signed_in(&app, "mallory").await;
    let handle = alice.get("/handle").await.ok();
    assert_eq!(mallory.post(&format!("/end/{handle}")).await.ok(), "0");
    assert_eq!(alice.get("/me").await.ok(), "alice");
    let mut second = Client::signed_in(&app, "alice").await;
    assert_eq!(second.post(&format!("/end/{handle}")).await.ok(), "1");
    assert_eq!(
        alice.get("/me").await.problem(),
        ("session_ended", Some("revoked"))
    );
    assert_eq!(second.post(&format!("/end/{handle}")).await.ok(), "0");
}

async fn inv12_r47_ending_the_others_keeps_the_caller_also_in_the_middle_of_a_rotation(
    store: impl TestStore,
) {
    let holding = Holding::new(store.clone());
    let app = app(holding.clone());
    let mut caller = Client::signed_in(&app, "alice").await;
    let mut others = vec![
        Client::signed_in(&app, "alice").await,
        Client::signed_in(&app, "alice").await,
    ];
    // The caller's id is replaced between the reading and the ending of its request.
    let held = holding.hold(Call::End);
    let mut ending = caller.clone();
    let ending = tokio::spawn(async move { ending.post("/end-others").await });
    held.arrived().await;
    caller.post("/regenerate").await.ok();
    held.release();
    assert_eq!(ending.await.unwrap().ok(), "2");
    assert_eq!(caller.get("/me").await.ok(), "alice");
    for other in &mut others {
        assert_eq!(
            other.get("/me").await.problem(),
            ("session_ended", Some("revoked"))
        );
    }
}

async fn inv12_r46_a_login_whose_request_began_before_end_all_does_not_survive_it(
    store: impl TestStore,
) {
    let holding = Holding::new(store.clone());
    let app = app(holding.clone());
    let mut client = Client::signed_in(&app, "alice").await;
    for from in [None, Some("bob"), Some("alice")] {
        let mut late = Client::new(&app);
        if let Some(user) = from {
            late.post(&format!("/login/{user}")).await.ok();
        }
        let held = holding.hold(if from == Some("alice") {
            Call::Replace
        } else {
            Call::Create
        });
        let login = tokio::spawn(async move { late.post("/login/alice").await });
        held.arrived().await;
        client.post("/end-all").await.ok();
        held.release();
        let reply = login.await.unwrap();
        assert_eq!(
            (reply.problem().0, reply.set_cookies().len()),
            ("session_ended", 0),
            "{from:?}"
        );
        assert_eq!(store.list("alice".into()).await.unwrap().len(), 0);
        // Whoever begins afterwards is let in, also within the same tick of the clock.
        client.post("/login/alice").await.ok();
        assert_eq!(client.get("/me").await.ok(), "alice");
    }
}

async fn inv12_ending_all_terminates_and_holds_however_fast_someone_signs_in(
    store: impl TestStore,
) {
    let app = app(store.clone());
    let stop = Arc::new(AtomicBool::new(false));
    let mut busy = JoinSet::new();
    for path in ["/login/alice", "/regenerate"] {
        let (mut client, stop) = (Client::signed_in(&app, "alice").await, Arc::clone(&stop));
        busy.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                client.post(path).await;
                tokio::task::yield_now().await;
            }
        });
    }
    let admin = SessionLayer::new(store.clone()).sessions();
    for _ in 0..200 {
        let began = store.now();
        admin.revoke_all("alice", "").await.unwrap();
        for record in store.list("alice".into()).await.unwrap() {
            assert!(
                record.signed_in_at().unwrap() >= began,
                "a session from before survived"
            );
        }
    }
    stop.store(true, Ordering::Relaxed);
    busy.join_all().await;
    admin.revoke_all("alice", "").await.unwrap();
    assert_eq!(store.list("alice".into()).await.unwrap().len(), 0);
}

async fn inv12_five_sessions_three_logouts_and_two_end_alls_at_once_leave_none(
    store: impl TestStore,
) {
    for _ in 0..50 {
        let store = store.another().await;
        let app = app(store.clone());
        let mut clients = Vec::new();
        for _ in 0..5 {
            clients.push(Client::signed_in(&app, "alice").await);
        }
        let barrier = Arc::new(Barrier::new(5));
        let mut tasks = JoinSet::new();
        for (mut client, path) in clients
            .into_iter()
            .zip(["/logout", "/logout", "/logout", "/end-all", "/end-all"])
        {
            let barrier = Arc::clone(&barrier);
            tasks.spawn(async move {
                barrier.wait().await;
                client.post(path).await.status
            });
        }
        tasks.join_all().await;
        assert_eq!(store.list("alice".into()).await.unwrap().len(), 0);
        assert_eq!(store.live_without(&[]).await, 0);
        assert!(store.is_empty_after(26 * HOUR).await, "no orphan");
    }
}

async fn an_administrator_lists_ends_and_makes_sessions_of_any_user(store: impl TestStore) {
    let layer = SessionLayer::new(store);
    let admin = layer.sessions();
    let app = crate::harness::routes().layer(layer);
    let cookie = admin.create_for("alice").await.unwrap();
    assert_eq!(
        (cookie.name(), cookie.secure(), cookie.http_only()),
        (COOKIE, Some(true), Some(true))
    );
    let mut alice = Client::holding(&app, cookie.value());
    assert_eq!(alice.get("/me").await.ok(), "alice");
    let mut second = Client::signed_in(&app, "alice").await;
    let list = admin.list("alice").await.unwrap();
    assert_eq!(list.len(), 2);
    assert!(
        list.iter()
            .all(|info| !info.current && info.user.as_ref().unwrap().as_str() == "alice")
    );
    let own: Handle = second.get("/handle").await.ok().parse().unwrap();
    assert_eq!(
        admin
            .revoke_others("alice", own, "cleaning up")
            .await
            .unwrap()
            .count,
        1
    );
    let reply = alice.get("/me").await;
    assert_eq!(reply.problem(), ("session_ended", Some("revoked")));
    assert_eq!(reply.problem.unwrap().note.as_deref(), Some("cleaning up"));
    assert_eq!(admin.revoke("bob", own, "").await.unwrap().count, 0);
    assert_eq!(admin.revoke("alice", own, "").await.unwrap().count, 1);
    assert_eq!(second.get("/me").await.problem.unwrap().note, None);
    assert!(admin.create_for("").await.is_err());
}

async fn who_ends_the_others_may_prove_again_who_they_are_in_the_same_request(
    store: impl TestStore,
) {
    use axum::routing::post;
    use sessile::{Error, Session, UserSession};
    let app = crate::harness::routes()
        .route(
            "/new-password",
            post(async |user: UserSession| {
                user.end_others().await?;
                user.reauthenticate().await
            }),
        )
        .route(
            "/start-over",
            post(async |user: UserSession, session: Session| {
                user.end_all().await?;
                session.login("alice").await.map(|_| ())?;
                Ok::<_, Error>(())
            }),
        )
        .layer(SessionLayer::new(store.clone()));
    let mut client = Client::signed_in(&app, "alice").await;
    for path in ["/new-password", "/start-over"] {
        let mut other = Client::signed_in(&app, "alice").await;
        client.post(path).await.ok();
        assert_eq!(client.get("/me").await.ok(), "alice", "{path}");
        assert_eq!(
            other.get("/me").await.problem(),
            ("session_ended", Some("revoked"))
        );
        assert_eq!(store.list("alice".into()).await.unwrap().len(), 1);
    }
}

/// The other one comes between the beginning of the request and what it does itself.
async fn inv12_who_was_ended_by_another_does_not_get_past_it_by_ending_all_themselves(
    store: impl TestStore,
) {
    use axum::extract::Path;
    use axum::routing::post;
    use sessile::{Error, Session, UserSession};
    let another = SessionLayer::new(store.clone()).sessions();
    let handler = async move |user: UserSession, session: Session, Path(case): Path<String>| {
        let revoke = async |user: &str, sessions: usize| {
            let ended = another.revoke_all(user, "locked").await.unwrap();
            assert_eq!(ended.count, sessions, "{user}");
        };
        match &*case {
            "others" => {
                revoke("alice", 1).await;
                user.end_others().await?;
            }
            "all" => {
                revoke("alice", 1).await;
                user.end_all().await?;
            }
            "other-user" => {
                revoke("bob", 1).await;
                user.end_all().await?;
            }
            // The other one comes last.
            "after" => {
                user.end_others().await?;
                revoke("alice", 1).await;
            }
            // And finds nobody; a login on its way is meant all the same.
            "all-after" => {
                user.end_all().await?;
                revoke("alice", 0).await;
            }
            case => panic!("{case}"),
        }
        let next = if case == "other-user" { "bob" } else { "alice" };
        session.login(next).await.map(drop)?;
        Ok::<_, Error>(())
    };
    let app = crate::harness::routes()
        .route("/try/{case}", post(handler))
        .layer(SessionLayer::new(store.clone()));
    for case in ["others", "all", "other-user", "after", "all-after"] {
        let mut client = Client::signed_in(&app, "alice").await;
        if case == "other-user" {
            Client::signed_in(&app, "bob").await;
        }
        let reply = client.post(&format!("/try/{case}")).await;
        assert_eq!(
            reply.problem(),
            ("session_ended", Some("revoked")),
            "{case}"
        );
        for user in ["alice", "bob"] {
            assert_eq!(store.list(user.into()).await.unwrap().len(), 0, "{case}");
        }
    }
}

#[tokio::test]
async fn inv12_a_clock_that_goes_back_finds_no_session_alive_that_left_the_list() {
    let (store, clock) = memory();
    let app = limited(store.clone(), 2, AtLimit::EndOldest);
    let mut old = Client::signed_in(&app, "alice").await;
    let start = store.now();
    clock.advance(IDLE + 2 * MINUTE);
    Client::signed_in(&app, "alice").await;
    clock.set(start);
    assert_eq!(
        old.get("/me").await.problem(),
        ("session_ended", Some("idle"))
    );
}

on_every_store! {
    inv12_r41_fifty_parallel_logins_at_a_limit_of_five_leave_exactly_five(threads),
    inv12_r42_at_a_limit_that_refuses_exactly_five_of_fifty_succeed(threads),
    a_limit_may_depend_on_the_user,
    r49_the_list_shows_device_and_address_and_marks_this_one,
    r50_nobody_ends_anothers_session_by_its_handle,
    inv12_r47_ending_the_others_keeps_the_caller_also_in_the_middle_of_a_rotation,
    inv12_r46_a_login_whose_request_began_before_end_all_does_not_survive_it,
    inv12_ending_all_terminates_and_holds_however_fast_someone_signs_in(threads),
    an_administrator_lists_ends_and_makes_sessions_of_any_user,
    who_ends_the_others_may_prove_again_who_they_are_in_the_same_request,
    inv12_who_was_ended_by_another_does_not_get_past_it_by_ending_all_themselves,
    inv12_r42_a_refused_login_ends_nothing,
    inv12_at_the_limit_it_is_the_oldest_that_ends,
    inv12_five_sessions_three_logouts_and_two_end_alls_at_once_leave_none(threads),
}
