//! Ways to a server: by sentinels, with TLS, with a user and a password, to a database; and settings that cannot be.

use sessile::{RedisStore, SessionStore};

use super::fixture::{creation, is_live, made};
use crate::support::redis::Server;
use crate::support::sentinel::Sentinels;
use crate::support::wait::wait_until;

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_the_sentinels_new_master_is_found() {
    let mut sentinels = Sentinels::start();
    let store = RedisStore::sentinel(sentinels.sentinel_urls(), sentinels.master_name())
        .connect()
        .await
        .unwrap();
    let key = made(&store, "alice").await;
    let _: i64 = redis::cmd("WAIT")
        .arg(1)
        .arg(10_000)
        .query(&mut sentinels.master().connection())
        .unwrap();
    sentinels.kill_master();
    store.load(key).await.unwrap_err();
    sentinels.wait_for_promotion().await;
    wait_until("the new master is found", async || {
        store.create(creation(&store, "bob")).await.is_ok()
    })
    .await;
    assert!(is_live(&store, key).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_no_sentinel_knows_is_an_error_that_says_so() {
    let sentinels = Sentinels::start();
    let store = RedisStore::sentinel(sentinels.sentinel_urls(), "nobody")
        .connect()
        .await
        .unwrap();
    let error = store.list("alice".into()).await.unwrap_err();
    assert!(error.to_string().contains("nobody"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tls_the_server_must_be_vouched_for() {
    let (server, authority) = Server::start_tls();
    let (_other, foreign) = Server::start_tls();
    let with = async |pem: Option<String>| {
        let builder = RedisStore::builder(&server.url());
        match pem {
            Some(pem) => builder.root_certificate(pem),
            None => builder,
        }
        .connect()
        .await
        .unwrap()
    };
    let store = with(Some(authority)).await;
    let key = made(&store, "alice").await;
    assert!(is_live(&store, key).await);
    for pem in [None, Some(foreign)] {
        let error = with(pem).await.load(key).await.unwrap_err();
        assert!(error.to_string().contains("certificate"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn user_password_and_database_are_of_the_address() {
    let server = Server::with(&["user app on >s3cr%t ~* &* +@all", "user default off"]);
    let url = |login: &str| {
        server
            .url()
            .replace("redis://", &format!("redis://{login}@"))
            + "/3"
    };
    let store = RedisStore::connect(&url("app:s3cr%25t")).await.unwrap();
    let key = made(&store, "alice").await;
    assert!(is_live(&store, key).await);
    assert!(server.dump().iter().all(|held| held.database == 3));
    let error = RedisStore::connect(&url("app:wrong"))
        .await
        .unwrap()
        .load(key)
        .await
        .unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(
        shown.contains("WRONGPASS") || shown.contains("uthentication"),
        "{shown}"
    );
    assert!(
        !shown.contains("wrong:") && !shown.contains("app:"),
        "{shown}"
    );
}

/// Each with a sentence that says what to change, and none that shows a password.
#[tokio::test]
async fn settings_that_cannot_be_are_refused_when_the_store_is_built() {
    let of = |url: &str| RedisStore::builder(url);
    let good = "redis://127.0.0.1:1/";
    let refused = [
        (of("http://user:hidden@host/"), "redis://"),
        (of("redis://user:hidden@host:port/"), "redis://"),
        (of("rediss://user:hidden@host/#insecure"), "#insecure"),
        (of(good).namespace("demo"), "demo"),
        (of(good).namespace("Shop"), "a-z"),
        (of(good).connections(0), "1 to 4"),
        (of(good).connections(9), "1 to 4"),
        (
            of(good).command_timeout(std::time::Duration::ZERO),
            "millisecond",
        ),
        (
            of(good).operation_timeout(std::time::Duration::from_millis(100)),
            "longer",
        ),
        (of(good).record_limit(10), "1 KiB"),
        (of(good).root_certificate("none"), "rediss://"),
        (of("rediss://host/").root_certificate("none"), "PEM"),
        (RedisStore::cluster([""; 0]), "at least one"),
        (RedisStore::cluster(["redis://host/2"]), "database"),
    ];
    for (builder, words) in refused {
        let shown = format!("{builder:?}");
        assert!(!shown.contains("hidden"), "{shown}");
        let error = builder.connect().await.unwrap_err().to_string();
        assert!(
            error.contains(words) && !error.contains("hidden"),
            "{error}"
        );
    }
}
