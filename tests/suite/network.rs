//! The network that the tests of stores run on: that it fails as it is told to, and not otherwise.

use std::time::{Duration, Instant};

use redis::{AsyncCommands, Commands};

use crate::support::dump::contains;
use crate::support::proxy::Stall;
use crate::support::redis::connect;
use crate::support::wait::wait_until;
use crate::support::{Proxy, Server};

#[tokio::test]
async fn a_proxy_drops_one_reply_of_a_command_that_was_executed() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let mut first = connect(&proxy.url()).await.unwrap();
    proxy.drop_reply_of(|command| contains(command, b"INCR"));
    let _: () = first.set("other", "x".repeat(300_000)).await.unwrap();
    assert!(first.incr::<_, _, i64>("n", 1).await.is_err());
    assert_eq!(proxy.dropped(), 1);
    assert!(first.get::<_, i64>("n").await.is_err(), "it is closed");

    let mut second = connect(&proxy.url()).await.unwrap();
    assert_eq!(second.incr::<_, _, i64>("n", 1).await.unwrap(), 2);
    let long: String = second.get("other").await.unwrap();
    assert_eq!(long.len(), 300_000);
    proxy.drop_next_reply();
    assert!(second.incr::<_, _, i64>("n", 1).await.is_err());
    assert_eq!(server.connection().get("n"), Ok(3));
    assert_eq!((proxy.dropped(), proxy.accepted()), (2, 2));
    wait_until("both are closed", async || proxy.connections() == 0).await;
}

#[tokio::test]
async fn of_commands_sent_together_only_the_replies_up_to_the_dropped_one_are_passed_on() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let connection = connect(&proxy.url()).await.unwrap();
    proxy.drop_reply_of(|command| contains(command, b"LOSE"));
    let ask = |text: &'static str| {
        let mut connection = connection.clone();
        async move { connection.append::<_, _, i64>("k", text).await }
    };
    let (before, lost, after) = tokio::join!(ask("before"), ask("LOSE"), ask("after"));
    assert_eq!(before, Ok(6));
    assert!(lost.is_err() && after.is_err());
    assert_eq!(
        server.connection().get("k"),
        Ok("beforeLOSE".to_owned()),
        "what comes after it is not passed on"
    );
}

#[tokio::test]
async fn a_stalled_proxy_holds_and_then_passes_all_on() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let connection = connect(&proxy.url()).await.unwrap();
    for (what, executed) in [(Stall::Both, 0), (Stall::Replies, 10)] {
        let () = server.connection().set("n", 0).unwrap();
        proxy.stall(what);
        let replies: Vec<_> = (0..10)
            .map(|_| {
                let mut connection = connection.clone();
                tokio::spawn(async move { connection.incr::<_, _, i64>("n", 1).await.unwrap() })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(replies.iter().all(|reply| !reply.is_finished()));
        assert_eq!(server.connection().get("n"), Ok(executed));
        proxy.flow();
        for (count, reply) in (1..).zip(replies) {
            assert_eq!(reply.await.unwrap(), count, "they keep their order");
        }
    }
}

#[tokio::test]
async fn what_a_stalled_proxy_holds_of_a_client_that_gave_up_arrives_late() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let mut connection = connect(&proxy.url()).await.unwrap();
    proxy.stall(Stall::Both);
    let given_up = tokio::time::timeout(
        Duration::from_millis(50),
        connection.incr::<_, _, i64>("n", 1),
    )
    .await;
    assert!(given_up.is_err());
    drop(connection);
    proxy.flow();
    let mut supervisor = server.connection();
    wait_until("the command arrives", async || {
        supervisor.get("n") == Ok(Some(1))
    })
    .await;
}

#[tokio::test]
async fn a_proxy_cuts_refuses_and_slows() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let mut first = connect(&proxy.url()).await.unwrap();
    proxy.cut();
    assert_eq!(proxy.connections(), 0);
    assert!(first.get::<_, Option<i64>>("n").await.is_err());

    let mut second = connect(&proxy.url()).await.unwrap();
    proxy.refuse();
    let refused = connect(&proxy.url()).await.err().unwrap();
    assert!(refused.is_connection_refusal(), "{refused}");
    assert_eq!(second.incr::<_, _, i64>("n", 1).await, Ok(1));
    proxy.allow();
    let address = proxy.address();
    let mut third = connect(&format!("redis://{address}")).await.unwrap();
    assert_eq!(proxy.accepted(), 3);

    proxy.slow(Duration::from_millis(50));
    let began = Instant::now();
    assert_eq!(third.incr::<_, _, i64>("n", 1).await, Ok(2));
    assert!(began.elapsed() >= Duration::from_millis(100));
}
