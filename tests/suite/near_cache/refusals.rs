//! Where there can be no near cache, a sentence says so.

use sessile::{ConfigError, RedisStore, SessionStore};

use super::fixture::{builder, made, near, warm};
use crate::support::redis::Server;

async fn refused(url: &str, entries: usize) -> String {
    let store = builder(url).near_cache(entries).connect().await;
    let error: ConfigError = store.expect_err("it is refused");
    error.to_string()
}

fn as_user(server: &Server) -> String {
    server.url().replace("redis://", "redis://app:secret@")
}

#[tokio::test]
async fn there_is_none_by_default() {
    let server = Server::start();
    let store = builder(&server.url()).connect().await.unwrap();
    assert_eq!(store.near_counts(), None);
    let none = builder(&server.url()).near_cache(0);
    assert_eq!(none.connect().await.unwrap().near_counts(), None);
}

#[tokio::test]
async fn a_user_that_may_not_is_told_what_to_allow() {
    let server = Server::with(&["user app on >secret ~* +@all -client"]);
    let error = refused(&as_user(&server), 10).await;
    assert!(
        error.contains("NOPERM") && error.contains("`client|tracking`"),
        "{error}"
    );
    assert!(!error.contains("secret"));
    // Without one, that user may.
    builder(&as_user(&server)).connect().await.unwrap();
}

/// Those that the README names, beside those that every store needs.
#[tokio::test]
async fn the_right_that_is_named_is_enough() {
    let readme = include_str!("../../../README.md");
    let right = "+client|tracking";
    assert!(readme.contains(&format!("`{right}`")));
    let user = readme
        .lines()
        .find(|line| line.starts_with("user sessile "))
        .expect("the README names the rights");
    let url = |server: &Server| {
        let address = server.url();
        address.replace("redis://", "redis://sessile:password@")
    };
    let server = Server::with(&[&format!("{user} {right}")]);
    let store = near(&url(&server)).await;
    let key = made(&store, "alice", 1).await;
    warm(&store, &key).await;
    let server = Server::with(&[user]);
    let error = refused(&url(&server), 10).await;
    assert!(error.contains("NOPERM"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_too_old_is_told_of() {
    for gone in ["HELLO", "CLIENT"] {
        let server = Server::with(&[&format!("rename-command {gone} \"\"")]);
        let error = refused(&server.url(), 10).await;
        assert!(error.contains("Redis 6"), "{error}");
        builder(&server.url()).connect().await.unwrap();
    }
}

#[tokio::test]
async fn more_copies_than_fit_into_any_memory_are_refused() {
    let error = refused("redis://127.0.0.1:1", usize::MAX).await;
    assert!(error.contains("near cache"), "{error}");
}

#[tokio::test]
async fn over_several_servers_there_is_none() {
    let cluster = RedisStore::cluster(["redis://127.0.0.1:1"]);
    let sentinel = RedisStore::sentinel(["redis://127.0.0.1:1"], "main");
    for builder in [cluster, sentinel] {
        let error = builder.near_cache(10).connect().await.expect_err("refused");
        assert!(error.to_string().contains("one server"), "{error}");
    }
}
