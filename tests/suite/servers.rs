//! The servers and networks that the tests of stores run on: that they do what those tests take for granted.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, AsyncConnectionConfig, Client, Commands, RedisResult, Script};

use crate::support::dump::contains;
use crate::support::proxy::Stall;
use crate::support::wait::wait_until;
use crate::support::{Proxy, Server};

/// A connection that waits for its replies as long as it takes.
async fn connect(url: &str) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None);
    Client::open(url)?
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

fn counts(calls: &[(&str, u64)]) -> BTreeMap<String, u64> {
    calls
        .iter()
        .map(|&(name, count)| (name.to_owned(), count))
        .collect()
}

#[tokio::test]
async fn a_server_knows_its_users_and_says_what_it_is() {
    let server = Server::with(&[
        "requirepass secret",
        "user app on >word ~sessile:* +get +set",
    ]);
    let (version, processes) = server.describe();
    assert!(version.starts_with("redis "), "{version}");
    assert_eq!(processes, "1 redis-server");
    let mut nobody = connect(&server.url()).await.unwrap();
    assert!(nobody.set::<_, _, ()>("sessile:a", 1).await.is_err());
    let address = server.address();
    let mut app = connect(&format!("redis://app:word@{address}"))
        .await
        .unwrap();
    app.set::<_, _, ()>("sessile:a", 1).await.unwrap();
    assert!(app.set::<_, _, ()>("other", 1).await.is_err());
    assert!(connect(&format!("redis://:wrong@{address}")).await.is_err());
}

#[tokio::test]
async fn a_dump_has_every_key_of_every_type_and_database() {
    let server = Server::start();
    let mut connection = connect(&server.url()).await.unwrap();
    redis::pipe()
        .cmd("SET")
        .arg(&["s", "text", "PX", "60000"])
        .cmd("HSET")
        .arg(&["h", "field", "value"])
        .cmd("SADD")
        .arg(&["m", "member"])
        .cmd("ZADD")
        .arg(&["z", "1", "scored"])
        .cmd("RPUSH")
        .arg(&["l", "first", "second"])
        .cmd("XADD")
        .arg(&["x", "1-1", "name", "entry"])
        .cmd("SELECT")
        .arg(3)
        .cmd("SET")
        .arg(&["elsewhere", "far"])
        .exec_async(&mut connection)
        .await
        .unwrap();
    let found: Vec<_> = server
        .dump()
        .into_iter()
        .map(|entry| {
            assert!(entry.contains(&entry.key));
            assert!(entry.contains(&entry.values[0][1..]));
            assert!(!entry.contains(b"nowhere"));
            assert_eq!(
                entry.ttl.is_some_and(|ttl| ttl <= Duration::from_secs(60)),
                entry.key == b"s"
            );
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let values: Vec<_> = entry.values.iter().map(|value| text(value)).collect();
            (
                entry.database,
                text(&entry.key),
                entry.kind,
                values.join(" "),
            )
        })
        .collect();
    let expected = [
        (0, "h", "hash", "field value"),
        (0, "l", "list", "first second"),
        (0, "m", "set", "member"),
        (0, "s", "string", "text"),
        (0, "x", "stream", "1-1 name entry"),
        (0, "z", "zset", "scored 1"),
        (3, "elsewhere", "string", "far"),
    ]
    .map(|(database, key, kind, values)| (database, key.into(), kind.into(), values.into()));
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_killed_server_comes_back_with_its_data_if_it_was_to_keep_it() {
    for (lines, kept) in [(vec!["appendonly yes"], Some(7)), (vec![], None)] {
        let mut server = Server::with(&lines);
        let address = server.address();
        let () = server.connection().set("k", 7).unwrap();
        server.kill();
        assert!(connect(&server.url()).await.is_err());
        server.restart();
        assert_eq!(server.address(), address);
        let mut connection = connect(&server.url()).await.unwrap();
        let value: Option<i32> = connection.get("k").await.unwrap();
        assert_eq!(value, kept);
    }
}

#[tokio::test]
async fn a_stopped_server_answers_when_it_goes_on_and_can_be_dropped() {
    let server = Server::start();
    let mut connection = connect(&server.url()).await.unwrap();
    server.stop();
    let reply = tokio::spawn(async move { connection.incr::<_, _, i64>("n", 1).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!reply.is_finished());
    server.resume();
    assert_eq!(reply.await.unwrap().unwrap(), 1);
    server.stop();
}

#[tokio::test]
async fn a_monitor_tells_commands_of_clients_from_those_of_scripts() {
    let server = Server::start();
    let mut connection = connect(&server.url()).await.unwrap();
    let mut monitor = server.monitor();
    let script = Script::new("redis.call('SET', KEYS[1], 1); return redis.call('GET', KEYS[1])");
    let mut invocation = script.prepare_invoke();
    invocation.key("k");
    for _ in 0..2 {
        invocation
            .invoke_async::<()>(&mut connection)
            .await
            .unwrap();
    }
    redis::cmd("get")
        .arg("k\"\n")
        .exec_async(&mut connection)
        .await
        .unwrap();
    redis::cmd("PING")
        .exec_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(server.dump().len(), 1);
    let calls = monitor.take();
    assert_eq!(calls.scripts, counts(&[("GET", 2), ("SET", 2)]));
    assert_eq!(calls.clients["PING"], 1);
    assert_eq!(
        calls.without(&["PING"]).clients,
        counts(&[("EVALSHA", 3), ("GET", 1), ("SCRIPT", 1)]),
        "the first EVALSHA does not know the script"
    );
    assert_eq!(monitor.take(), Default::default());
}

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
    let began = std::time::Instant::now();
    assert_eq!(third.incr::<_, _, i64>("n", 1).await, Ok(2));
    assert!(began.elapsed() >= Duration::from_millis(100));
}
