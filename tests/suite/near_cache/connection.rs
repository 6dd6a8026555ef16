//! The connection that tells of changes is cut, hangs, or leads to a server that starts again: nothing is served that it does
//! not vouch for, and the next one is used as the first.

use std::time::{Duration, Instant};

use sessile::SessionStore;
use sessile::store::EndScope;

use super::fixture::{copy, end, gone_since, loaded, made, near, tracking, two, warm, write};
use crate::support::proxy::{Proxy, Stall};
use crate::support::redis::Server;
use crate::support::wait::wait_until;

#[tokio::test]
async fn copies_die_with_their_connection() {
    let (server, a, b) = two().await;
    let key = made(&b, "alice", 1).await;
    for n in 2..6 {
        warm(&a, &key).await;
        for id in tracking(&server) {
            let mut kill = redis::cmd("CLIENT");
            let _: u64 = kill
                .arg("KILL")
                .arg("ID")
                .arg(id)
                .query(&mut server.connection())
                .unwrap();
        }
        // Nobody is told of this one.
        write(&b, key, n).await;
        gone_since(&a, &key, Instant::now()).await;
        assert_eq!(loaded(&a, &key).await, Some(n));
        warm(&a, &key).await;
        assert_eq!(copy(&a, &key), Some(n));
    }
}

#[tokio::test]
async fn a_cut_network_is_survived() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let (a, b) = (near(&proxy.url()).await, near(&server.url()).await);
    let key = made(&b, "alice", 1).await;
    for n in 2..6 {
        warm(&a, &key).await;
        proxy.refuse();
        proxy.cut();
        write(&b, key, n).await;
        gone_since(&a, &key, Instant::now()).await;
        proxy.allow();
        warm(&a, &key).await;
        assert_eq!(copy(&a, &key), Some(n));
    }
}

#[tokio::test]
async fn inv02_a_connection_that_hangs_vouches_for_nothing() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let (a, b) = (near(&proxy.url()).await, near(&server.url()).await);
    // Neither direction, and one: half open.
    for stall in [Stall::Both, Stall::Replies] {
        let key = made(&b, "alice", 1).await;
        warm(&a, &key).await;
        proxy.stall(stall);
        b.end(end(EndScope::One(key, None))).await.unwrap();
        gone_since(&a, &key, Instant::now()).await;
        proxy.flow();
        wait_until("it is read again", async || a.load(key).await.is_ok()).await;
        assert_eq!(loaded(&a, &key).await, None);
        assert_eq!(copy(&a, &key), None);
    }
}

#[tokio::test]
async fn a_server_that_stands_still_vouches_for_nothing() {
    let (server, a, _b) = two().await;
    let key = made(&a, "alice", 1).await;
    warm(&a, &key).await;
    server.stop();
    gone_since(&a, &key, Instant::now()).await;
    server.resume();
    warm(&a, &key).await;
}

#[tokio::test]
async fn a_server_that_starts_again_empty_leaves_no_copies() {
    let mut server = Server::start();
    let a = near(&server.url()).await;
    let key = made(&a, "alice", 1).await;
    warm(&a, &key).await;
    server.kill();
    gone_since(&a, &key, Instant::now()).await;
    server.restart();
    wait_until("it is read again", async || a.load(key).await.is_ok()).await;
    assert_eq!(loaded(&a, &key).await, None);
    assert_eq!(copy(&a, &key), None);
    let key = made(&a, "alice", 2).await;
    warm(&a, &key).await;
}

#[tokio::test]
async fn it_may_start_without_a_server() {
    let mut server = Server::start();
    server.kill();
    let a = near(&server.url()).await;
    server.restart();
    wait_until("there is a connection", async || {
        a.near_counts().is_some() && !tracking(&server).is_empty()
    })
    .await;
    let key = made(&a, "alice", 1).await;
    warm(&a, &key).await;
}

#[tokio::test]
async fn with_the_store_its_connection_ends() {
    let (server, a, b) = two().await;
    assert_eq!(tracking(&server).len(), 2);
    drop((a, b));
    wait_until("they are closed", async || tracking(&server).is_empty()).await;
}

/// A runtime that ends takes the connection along; the next has one of its own.
#[test]
fn it_outlives_its_runtime() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let server = Server::start();
    let first = runtime();
    let (a, key) = first.block_on(async {
        let a = near(&server.url()).await;
        let key = made(&a, "alice", 1).await;
        warm(&a, &key).await;
        (a, key)
    });
    first.shutdown_timeout(Duration::from_secs(5));
    assert_eq!(copy(&a, &key), None);
    runtime().block_on(async {
        warm(&a, &key).await;
        write(&a, key, 2).await;
        assert_eq!(loaded(&a, &key).await, Some(2));
    });
}
