//! What a client may present, and what becomes of it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderValue, Request, StatusCode, header};
use sessile::store::wrappers::{Call, Spy};
use sessile::{Kind, SessionStore};
use sha2::{Digest as _, Sha256};

use crate::harness::{COOKIE, Client, app, memory};
use crate::stores::{Asked, TestStore, on_every_store};

fn made_up() -> String {
    let mut bytes = [0x5a; 35];
    bytes[0] = 1;
    URL_SAFE_NO_PAD.encode(bytes)
}

async fn inv04_r03_a_made_up_id_of_the_right_shape_never_becomes_a_session(store: impl TestStore) {
    let app = app(store.clone());
    let mut client = Client::holding(&app, &made_up());
    assert_eq!(client.get("/me").await.problem(), ("not_signed_in", None));
    assert_eq!(client.get("/look").await.set_cookies().len(), 0);
    assert_eq!(store.entries().await, 0);
    client.post("/put/a/1").await.ok();
    assert_ne!(
        client.id().unwrap(),
        made_up(),
        "what is written goes under an id of ours"
    );
    client.post("/login/alice").await.ok();
    assert_ne!(client.id().unwrap(), made_up());
    assert_eq!(
        Client::holding(&app, &made_up()).get("/me").await.status,
        StatusCode::UNAUTHORIZED
    );
}

async fn inv04_r04_what_is_malformed_never_reaches_the_store(store: impl TestStore) {
    let spy = Spy::new(store);
    let app = app(spy.clone());
    let id = made_up();
    let values: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"x".to_vec(),
        id.as_bytes()[1..].to_vec(),
        format!("{id}A").into_bytes(),
        format!("\"{id}\"").into_bytes(),
        format!("{}!", &id[1..]).into_bytes(),
        id.replace('A', "\u{e4}").into_bytes(),
        [b"\xff\xfe".as_slice(), id.as_bytes()].concat(),
        vec![b'A'; 1 << 20],
        "%00%0d%0a".into(),
        URL_SAFE_NO_PAD.encode([0u8; 35]).into_bytes(),
    ];
    for value in values {
        let header = [COOKIE.as_bytes(), b"=", &value].concat();
        let request = Request::get("/look")
            .header(header::COOKIE, HeaderValue::from_bytes(&header).unwrap())
            .body(axum::body::Body::empty())
            .unwrap();
        let reply = Client::new(&app).send(request).await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.set_cookies().len(), 0);
        assert_eq!(spy.asked(), [], "{} bytes", value.len());
    }
}

async fn inv04_r04_ten_thousand_cookies_are_read_and_four_looked_up(store: impl TestStore) {
    let spy = Spy::new(store);
    let app = app(spy.clone());
    let many = format!("{COOKIE}={}; ", made_up()).repeat(10_000);
    let request = Request::get("/look")
        .header(header::COOKIE, many)
        .body(axum::body::Body::empty())
        .unwrap();
    assert_eq!(Client::new(&app).send(request).await.status, StatusCode::OK);
    assert_eq!(spy.asked(), [Call::LoadEach]);
}

async fn inv05_r06_the_stored_digest_sent_as_the_cookie_opens_nothing(store: impl TestStore) {
    let app = app(store.clone());
    let alice = Client::signed_in(&app, "alice").await;
    let bytes = URL_SAFE_NO_PAD.decode(alice.id().unwrap()).unwrap();
    let digest = Sha256::digest(&bytes[3..]);
    let forged = URL_SAFE_NO_PAD.encode([&bytes[..3], &digest[..]].concat());
    assert_eq!(
        Client::holding(&app, &forged).get("/me").await.status,
        StatusCode::UNAUTHORIZED
    );
    let text = URL_SAFE_NO_PAD.encode(digest);
    assert_eq!(
        Client::holding(&app, &text).get("/me").await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        Client::holding(&app, alice.id().unwrap())
            .get("/me")
            .await
            .status,
        StatusCode::OK
    );
}

async fn inv05_r05_what_the_store_sees_rebuilds_no_cookie(store: impl TestStore) {
    use sessile::record::Entry;
    use sessile::{Bucket, Digest, RecordKey, UserId};
    let app = app(store.clone());
    let alice = Client::signed_in(&app, "alice").await;
    let id = URL_SAFE_NO_PAD.decode(alice.id().unwrap()).unwrap();
    let key = RecordKey {
        kind: Kind::User,
        bucket: Bucket::of("", &UserId::from("alice")),
        digest: Digest::from_bytes(Sha256::digest(&id[3..]).into()),
    };
    let entry = store.load(key).await.unwrap().unwrap();
    assert!(
        matches!(entry, Entry::Live(_)),
        "the store knows the digest of the secret"
    );
    let dump = [entry.to_bytes(), format!("{entry:?} {key:?}").into_bytes()].concat();
    assert!(
        !dump
            .windows(8)
            .any(|run| id[3..].windows(8).any(|secret| secret == run))
    );
}

async fn inv04_a_wrong_bucket_is_only_a_miss(store: impl TestStore) {
    let app = app(store);
    let alice = Client::signed_in(&app, "alice").await;
    let mut id = URL_SAFE_NO_PAD.decode(alice.id().unwrap()).unwrap();
    id[1] ^= 1;
    let moved = URL_SAFE_NO_PAD.encode(id);
    assert_eq!(
        Client::holding(&app, &moved).get("/me").await.problem(),
        ("not_signed_in", None)
    );
}

async fn r08_an_id_in_the_url_or_another_header_is_ignored(store: impl TestStore) {
    let spy = Spy::new(store);
    let app = app(spy.clone());
    let alice = Client::signed_in(&app, "alice").await;
    let id = alice.id().unwrap();
    spy.asked();
    for request in [
        Request::get(format!("/me?{COOKIE}={id}")),
        Request::get("/me").header("authorization", format!("Bearer {id}")),
        Request::get("/me").header("x-session", id),
        Request::get("/me").header(COOKIE, id),
        Request::get("/me").header(header::COOKIE, format!("session={id}")),
    ] {
        let reply = Client::new(&app)
            .send(request.body(axum::body::Body::empty()).unwrap())
            .await;
        assert_eq!(reply.problem(), ("not_signed_in", None));
    }
    assert_eq!(spy.asked(), []);
}

/// A thousand of them. That each of a hundred thousand costs no call is told by the spy, whatever the store.
async fn inv09_r64_strangers_leave_nothing(store: impl TestStore) {
    let spy = Spy::new(store.clone());
    strangers(&spy, 1_000).await;
    assert_eq!(
        (
            store.entries().await,
            store.count(Kind::User).await.unwrap()
        ),
        (0, 0)
    );
    assert!(store.is_empty_after(Duration::ZERO).await);
}

#[tokio::test]
async fn inv09_r64_a_hundred_thousand_strangers_leave_nothing() {
    let (store, _) = memory();
    strangers(&Spy::new(store.clone()), 100_000).await;
    assert_eq!(
        (store.entries(), store.count(Kind::User).await.unwrap()),
        (0, 0)
    );
}

async fn strangers<S: SessionStore>(spy: &Spy<S>, requests: u32) {
    let app = app(spy.clone());
    let mut client = Client::new(&app);
    for _ in 0..requests / 2 {
        for path in ["/ping", "/look"] {
            assert_eq!(client.get(path).await.set_cookies().len(), 0);
        }
    }
    assert_eq!(spy.asked(), []);
}

on_every_store! {
    inv04_r03_a_made_up_id_of_the_right_shape_never_becomes_a_session,
    inv04_r04_what_is_malformed_never_reaches_the_store,
    inv04_r04_ten_thousand_cookies_are_read_and_four_looked_up,
    inv05_r06_the_stored_digest_sent_as_the_cookie_opens_nothing,
    inv05_r05_what_the_store_sees_rebuilds_no_cookie,
    inv04_a_wrong_bucket_is_only_a_miss,
    r08_an_id_in_the_url_or_another_header_is_ignored,
    inv09_r64_strangers_leave_nothing,
}
