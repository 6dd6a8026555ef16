//! Cookies of another system open what was migrated, once.

use axum::Router;
use http::StatusCode;
use sessile::store::wrappers::{Call, Failing, Spy};
use sessile::{
    DemoSession, EndReason, GuessableId, Kind, LegacyIds, Outage, RedisStore, SessionLayer,
    SessionStore,
};

use super::fixture::{self, HOUR, digest, migrate, place, put};
use crate::harness::{self, Client};
use crate::support::{Server, Showcase};

const RANDOM: &str = "f4bb2a0e-8f3c-4e9b-a0a5-1f5d1a3b9c10";
const GUESSABLE: &str = "alice_1741081542886";

fn record(user: &str) -> String {
    format!(
        r#"{{"user_id": "{user}", "created_at": "2025-03-04T09:45:42", "last_accessed": "2025-03-04T09:45:42", "data": {{"cart": "apple"}}}}"#
    )
}

/// Sessions of alice under these ids, migrated.
async fn moved(ids: &[&str]) -> (Server, RedisStore) {
    let (server, store) = place().await;
    for id in ids {
        put(
            &server,
            &format!("session:{id}"),
            record("alice").as_bytes(),
            Some(HOUR),
        );
    }
    let report = migrate(&store).await;
    assert_eq!(report.migrated.total(), ids.len() as u64);
    (server, store)
}

fn app(store: impl SessionStore, ids: LegacyIds) -> Router {
    harness::with(SessionLayer::builder(store).accept_legacy(ids))
}

fn ids(store: &RedisStore) -> LegacyIds {
    LegacyIds::until(store.now() + HOUR)
}

#[tokio::test]
async fn an_old_id_opens_its_session_once_and_gets_an_id_of_ours() {
    let (_server, store) = moved(&[RANDOM]).await;
    let app = app(store.clone(), ids(&store));
    let mut client = Client::holding(&app, RANDOM);
    let reply = client.get("/get/cart").await;
    assert_eq!(reply.set_cookies().len(), 1);
    assert_eq!(reply.ok(), "apple");
    let id = client.id().unwrap().to_owned();
    assert_ne!(id, RANDOM);
    // From here on it is a session as any other, with what it had.
    assert_eq!(client.get("/me").await.ok(), "alice");
    client.post("/put/more/pear").await.ok();
    assert_eq!(client.get("/get/more").await.ok(), "pear");
    assert_eq!(client.id(), Some(&*id));
    let listed = store.list("alice".into()).await.unwrap();
    assert_eq!(listed.len(), 1);
    // The old one says what became of it, and makes nothing.
    let mut late = Client::holding(&app, RANDOM);
    let reply = late.get("/me").await;
    assert_eq!(reply.problem(), ("session_ended", Some("regenerated")));
    assert_eq!(reply.set_cookies(), Vec::<&str>::new());
    assert_eq!(late.post("/put/x/y").await.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn r28_of_parallel_requests_with_an_old_id_one_gets_the_cookie() {
    let (_server, store) = moved(&[RANDOM]).await;
    let app = app(store.clone(), ids(&store));
    let requests = (0..20).map(|_| {
        let mut client = Client::holding(&app, RANDOM);
        async move { client.get("/look").await.set_cookies().len() }
    });
    let cookies: usize = futures_util::future::join_all(requests)
        .await
        .into_iter()
        .sum();
    assert_eq!(cookies, 1);
    assert_eq!(store.list("alice".into()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn inv04_what_can_be_guessed_opens_nothing_unless_its_form_is_named() {
    let (_server, store) =
        moved(&[GUESSABLE, "demo-1741081542886", "session_alice", "anything"]).await;
    let forms = [
        (GUESSABLE, GuessableId::UserAndMillis),
        ("demo-1741081542886", GuessableId::DemoAndMillis),
        ("session_alice", GuessableId::SessionOfUser),
        ("anything", GuessableId::AnyOther),
    ];
    for (id, form) in forms {
        let spy = Spy::new(store.clone());
        let strict = app(spy.clone(), ids(&store));
        let reply = Client::holding(&strict, id).get("/me").await;
        assert_eq!(reply.problem(), ("not_signed_in", None), "{id}");
        let calls = spy.take();
        assert!(
            !calls.contains(&Call::Migrated),
            "{id} is not even looked up: {calls:?}"
        );
        let others = forms.iter().filter(|(_, other)| *other != form);
        let named = others.fold(ids(&store), |ids, (_, other)| {
            ids.insecure_guessable(*other)
        });
        let reply = Client::holding(&app(store.clone(), named), id)
            .get("/me")
            .await;
        assert_eq!(
            reply.problem(),
            ("not_signed_in", None),
            "{id} by another form"
        );
        let lax = app(store.clone(), ids(&store).insecure_guessable(form));
        assert_eq!(
            Client::holding(&lax, id).get("/me").await.ok(),
            "alice",
            "{id}"
        );
    }
}

#[tokio::test]
async fn after_the_instant_and_without_the_setting_old_ids_are_strangers() {
    let (_server, store) = moved(&[RANDOM]).await;
    let over = app(store.clone(), LegacyIds::until(store.now()));
    let plain = harness::app(store.clone());
    for app in [over, plain] {
        let reply = Client::holding(&app, RANDOM).get("/me").await;
        assert_eq!(reply.problem(), ("not_signed_in", None));
    }
}

#[tokio::test]
async fn inv04_an_id_that_was_not_migrated_never_becomes_a_session() {
    let (server, store) = moved(&[RANDOM]).await;
    let app = app(store.clone(), ids(&store));
    let other = "0b9d1c62-52a5-4f0a-8a59-6a1f2b3c4d5e";
    // Also one that the old system still has.
    put(
        &server,
        &format!("session:{other}"),
        record("mallory").as_bytes(),
        Some(HOUR),
    );
    let mut client = Client::holding(&app, other);
    assert_eq!(client.get("/me").await.problem(), ("not_signed_in", None));
    client.post("/put/x/y").await.ok();
    assert_ne!(
        client.id(),
        Some(other),
        "what it writes is in a session with an id of ours"
    );
}

#[tokio::test]
async fn inv04_an_old_id_that_is_dressed_up_as_one_of_ours_opens_nothing() {
    // As long as a secret of ours.
    let id = "alice-0123456789_1741081542886xx";
    assert_eq!(id.len(), 32);
    let (_server, store) = moved(&[id]).await;
    let key = fixture::place_of(&store, Kind::User, id).await.unwrap();
    let mut bytes = vec![1];
    bytes.extend(key.bucket.get().to_be_bytes());
    bytes.extend(id.as_bytes());
    use base64::Engine as _;
    let cookie = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let app = app(store.clone(), ids(&store));
    let reply = Client::holding(&app, &cookie).get("/me").await;
    assert_eq!(reply.problem(), ("not_signed_in", None));
    // Nor does what stands in the store.
    for stored in [key.digest.to_text(), digest(Kind::User, id).to_text()] {
        let reply = Client::holding(&app, &stored).get("/me").await;
        assert_eq!(reply.problem(), ("not_signed_in", None));
    }
}

#[tokio::test]
async fn inv02_a_migrated_session_that_was_ended_stays_so_under_its_old_id() {
    let (_server, store) = moved(&[RANDOM]).await;
    let app = app(store.clone(), ids(&store));
    let layer = SessionLayer::new(store.clone());
    layer
        .sessions()
        .revoke_all("alice", "moved out")
        .await
        .unwrap();
    let reply = Client::holding(&app, RANDOM).get("/me").await;
    assert_eq!(
        reply.problem(),
        ("session_ended", Some(EndReason::Revoked.as_str()))
    );
}

#[tokio::test]
async fn an_id_of_ours_goes_before_an_old_one_and_costs_nothing_more() {
    let (_server, store) = moved(&[RANDOM]).await;
    let spy = Spy::new(store.clone());
    let app = app(spy.clone(), ids(&store).cookie_name("sid"));
    let mut client = Client::signed_in(&app, "bob").await;
    client.cookies.insert("sid".into(), RANDOM.into());
    spy.take();
    assert_eq!(client.get("/me").await.ok(), "bob");
    let calls = spy.take();
    assert_eq!(
        calls
            .iter()
            .filter(|call| **call != Call::Beat)
            .collect::<Vec<_>>(),
        [&Call::Load]
    );
    // Without one, that of the other cookie counts, and it may stand in quotes.
    for value in [RANDOM.to_owned(), format!("\"{RANDOM}\"")] {
        let mut other = Client::new(&app);
        other.cookies.insert("sid".into(), value);
        let reply = other.get("/who").await;
        let expected = if reply.set_cookies().is_empty() {
            "nobody"
        } else {
            "alice"
        };
        assert_eq!(reply.ok(), expected);
    }
}

#[tokio::test]
async fn a_login_under_an_old_id_leaves_nothing_of_it() {
    let (_server, store) = moved(&[RANDOM]).await;
    let app = app(store.clone(), ids(&store));
    for user in ["alice", "bob"] {
        let mut client = Client::holding(&app, RANDOM);
        client.post(&format!("/login/{user}")).await.ok();
        assert_eq!(client.get("/me").await.ok(), user);
    }
    let reply = Client::holding(&app, RANDOM).get("/me").await;
    assert_eq!(reply.problem(), ("session_ended", Some("regenerated")));
}

#[tokio::test]
async fn a_logout_under_an_old_id_ends_it() {
    let (_server, store) = moved(&[RANDOM]).await;
    let app = app(store.clone(), ids(&store));
    let reply = Client::holding(&app, RANDOM).post("/logout").await;
    assert_eq!(reply.ok(), "committed");
    let reply = Client::holding(&app, RANDOM).get("/me").await;
    assert_eq!(reply.problem(), ("session_ended", Some("logged_out")));
}

#[tokio::test]
async fn inv08_an_old_id_while_redis_is_away_is_not_told_and_keeps_its_cookie() {
    let (_server, store) = moved(&[RANDOM]).await;
    let failing = Failing::new(store.clone());
    let layer = SessionLayer::builder(failing.clone())
        .outage(Outage::Refuse)
        .accept_legacy(ids(&store));
    let app = harness::with(layer);
    failing.fail(Call::Migrated);
    let reply = Client::holding(&app, RANDOM).get("/me").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(reply.set_cookies(), Vec::<&str>::new());
    failing.heal();
    assert_eq!(Client::holding(&app, RANDOM).get("/me").await.ok(), "alice");
}

#[tokio::test]
async fn a_request_that_fails_still_gets_the_new_id() {
    let (_server, store) = moved(&[RANDOM]).await;
    let app = app(store.clone(), ids(&store));
    let mut client = Client::holding(&app, RANDOM);
    assert_eq!(client.post("/fail/500/x").await.status, 500);
    assert_eq!(client.get("/me").await.ok(), "alice");
    assert_ne!(client.id(), Some(RANDOM));
}

#[tokio::test]
async fn an_old_demo_id_opens_its_demo_once_with_all_that_was_said() {
    let (server, store) = place().await;
    let demo = r#"{"industry": "Healthcare", "user_id": null, "started_at": "2025-03-04T09:45:42+00:00", "messages": [{"role": "user", "content": "one", "timestamp": "2025-03-04T09:45:43+00:00", "n": 1}, {"role": "assistant", "content": "two", "timestamp": "2025-03-04T09:45:44+00:00"}], "session_type": "demo"}"#;
    for id in [RANDOM, "demo-1741081542886"] {
        put(
            &server,
            &format!("demo:session:{id}"),
            demo.as_bytes(),
            Some(HOUR),
        );
    }
    assert!(migrate(&store).await.is_complete());
    let say = async |demo: DemoSession| -> Result<String, sessile::Error> {
        demo.add_message("user", "three").await?;
        let said = demo.messages()?;
        let said: Vec<_> = said.iter().map(|message| &*message.content).collect();
        let status = demo.status()?;
        Ok(format!(
            "{} {:?} {}",
            status.industry, said, status.progress_percentage
        ))
    };
    let layer = SessionLayer::builder(store.clone())
        .accept_legacy(ids(&store))
        .build()
        .unwrap();
    let app = Router::new()
        .route("/say", axum::routing::post(say))
        .layer(layer);
    let mut client = Client::new(&app);
    client.cookies.insert("__Host-demo".into(), RANDOM.into());
    let reply = client.post("/say").await;
    assert_eq!(reply.ok(), r#"healthcare ["one", "two", "three"] 50"#);
    assert_ne!(client.cookies["__Host-demo"], RANDOM);
    let reply = client.post("/say").await;
    assert_eq!(reply.set_cookies(), Vec::<&str>::new());
    assert!(reply.ok().contains(r#""three", "three"]"#));
    // The old one is dead, one that can be guessed opens nothing, and neither is a user's.
    for (cookie, id) in [
        ("__Host-demo", RANDOM),
        ("__Host-demo", "demo-1741081542886"),
        ("__Host-session", RANDOM),
    ] {
        let mut other = Client::new(&app);
        other.cookies.insert(cookie.into(), id.into());
        assert_eq!(
            other.post("/say").await.status,
            StatusCode::NOT_FOUND,
            "{cookie} {id}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_showcase_opens_a_migrated_session_by_its_old_cookie() {
    let (server, store) = place().await;
    for id in [RANDOM, GUESSABLE] {
        put(
            &server,
            &format!("session:{id}"),
            record("alice").as_bytes(),
            Some(HOUR),
        );
        let demo = r#"{"industry": "media", "started_at": "2025-03-04T09:45:42+00:00", "messages": [{"role": "user", "content": "old", "timestamp": "2025-03-04T09:45:43+00:00"}]}"#;
        put(
            &server,
            &format!("demo:session:{id}"),
            demo.as_bytes(),
            Some(HOUR),
        );
    }
    assert!(migrate(&store).await.is_complete());
    let until = humantime::format_rfc3339_seconds(store.now() + HOUR).to_string();
    let options = ["--insecure-cookies", "--accept-legacy", &until];
    let showcase = Showcase::on(&server.url(), &options);
    let lax = Showcase::on(
        &server.url(),
        &[&options[..], &["--accept-guessable"]].concat(),
    );
    let session = |showcase: &Showcase, id: &str| {
        let mut client = showcase.client();
        client.cookie = Some(format!("session={id}"));
        let me = tokio::task::block_in_place(|| client.get("/api/me"));
        (client, me)
    };
    let (_, me) = session(&showcase, GUESSABLE);
    assert_eq!(me.status, 401);
    for (showcase, id) in [(&showcase, RANDOM), (&lax, GUESSABLE)] {
        let (mut client, me) = session(showcase, id);
        assert_eq!(
            (me.status, me.json()["user"].as_str()),
            (200, Some("alice"))
        );
        assert!(
            me.set_cookie()
                .is_some_and(|cookie| cookie.starts_with("session=") && !cookie.contains(id))
        );
        assert_eq!(client.get("/api/data/cart").text(), "\"apple\"");
        client.demo = Some(format!("demo={id}"));
        let status = client.get("/api/demo").json();
        assert_eq!(status["industry"], "media");
        assert_eq!(status["started_at"], "2025-03-04T09:45:42.000Z");
        assert_ne!(client.demo, Some(format!("demo={id}")));
        let messages = client.get("/api/demo/messages").json();
        assert_eq!(messages[0]["content"], "old");
        assert_eq!(messages[0]["timestamp"], "2025-03-04T09:45:43.000Z");
    }
}
