//! The servers that the tests of stores run on: that they do what those tests take for granted.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use redis::{AsyncCommands, Client, Commands, RedisResult, Script};

use crate::support::dump::Entry;
use crate::support::redis::connect;
use crate::support::{Cluster, Sentinels, Server};

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
async fn a_server_with_tls_is_known_by_its_authority_alone() {
    let (server, authority) = Server::start_tls();
    assert!(server.url().starts_with("rediss://127.0.0.1:"));
    assert_eq!(server.describe().1, "1 redis-server with TLS");
    let (_, stranger) = Server::start_tls();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let ask = |pem: &str, host: &str| {
        std::fs::write(&file, pem).unwrap();
        let asked = Command::new("redis-cli")
            .args(["--tls", "-h", host, "-p"])
            .arg(server.address().port().to_string())
            .arg("--cacert")
            .arg(&file)
            .arg("PING")
            .output()
            .unwrap();
        asked.stdout == b"PONG\n"
    };
    assert!(ask(&authority, "127.0.0.1"));
    assert!(ask(&authority, "localhost"));
    assert!(!ask(&stranger, "127.0.0.1"));
    let plain = Client::open(format!("redis://{}", server.address())).unwrap();
    assert!(plain.get_connection().is_err());
}

#[tokio::test]
async fn a_cluster_moves_a_slot_and_its_keys() {
    let cluster = Cluster::start();
    let (version, processes) = cluster.describe();
    assert!(version.starts_with("redis "), "{version}");
    assert_eq!(processes, "3 masters");
    assert_eq!(cluster.urls().len(), 3);
    let owners = [0, 5461, 10922].map(|slot| cluster.master_of(slot));
    assert_eq!(owners, [0, 1, 2]);

    let slot = cluster.slot_of("{a}");
    let from = cluster.master_of(slot);
    let (between, last) = ((from + 1) % 3, (from + 2) % 3);
    let mut keys = cluster.node(from).connection();
    for index in 0..25 {
        let () = keys.set_ex(format!("{{a}}{index}"), index, 1000).unwrap();
    }
    let before = cluster.dump();
    let values = |entries: &[Entry]| -> Vec<_> {
        let entries = entries.iter();
        entries
            .map(|entry| (entry.key.clone(), entry.values.clone()))
            .collect()
    };

    let migration = cluster.begin_migration(slot, between);
    assert_eq!(migration.move_keys(20), 20);
    assert_eq!(cluster.node(from).dump().len(), 5);
    assert_eq!(cluster.master_of(slot), from, "it is between the two");
    let moved = &cluster.node(between).dump()[0].key;
    let answer: RedisResult<i64> = keys.get(moved);
    assert_eq!(answer.unwrap_err().code(), Some("ASK"));
    assert_eq!((migration.move_keys(20), migration.move_keys(20)), (5, 0));
    migration.finish();
    assert_eq!(cluster.master_of(slot), between);
    cluster.migrate_slot(slot, last);
    assert_eq!(cluster.master_of(slot), last);
    assert_eq!(cluster.node(last).dump().len(), 25);
    let after = cluster.dump();
    assert_eq!(values(&after), values(&before));
    assert!(after.iter().all(|entry| entry.ttl.is_some()));
    let answer: RedisResult<i64> = keys.get(moved);
    assert_eq!(answer.unwrap_err().code(), Some("MOVED"));
}

#[tokio::test]
async fn a_replica_takes_over_from_a_killed_master_of_a_cluster() {
    let mut cluster = Cluster::with(1, &["cluster-require-full-coverage no"]);
    assert_eq!(cluster.describe().1, "3 masters, 1 replica");
    let slot = cluster.slot_of("b");
    assert_eq!(cluster.master_of(slot), 0);
    let mut master = cluster.node(0).connection();
    let () = master.set("b", 1).unwrap();
    let replicas: i64 = redis::cmd("WAIT")
        .arg((1, 10_000))
        .query(&mut master)
        .unwrap();
    assert_eq!(replicas, 1);
    assert_eq!(cluster.node(3).dump(), cluster.dump());
    cluster.kill_master(0);
    assert_eq!(cluster.wait_for_failover(slot).await, 3);
    assert_eq!(cluster.master_of(slot), 3);
    assert_eq!(cluster.node(3).connection().get("b"), Ok(1));
    assert_eq!(cluster.dump().len(), 1);
}

#[tokio::test]
async fn sentinels_name_the_replica_after_the_master_is_killed() {
    let mut sentinels = Sentinels::start();
    let (version, processes) = sentinels.describe();
    assert!(version.starts_with("redis "), "{version}");
    assert_eq!(processes, "1 master, 1 replica, 3 sentinels");
    assert_eq!(sentinels.sentinel_urls().len(), 3);
    let first = sentinels.master().address();
    let mut master = sentinels.master().connection();
    let () = master.set("a", 1).unwrap();
    let replicas: i64 = redis::cmd("WAIT")
        .arg((1, 10_000))
        .query(&mut master)
        .unwrap();
    assert_eq!(replicas, 1);
    sentinels.kill_master();
    sentinels.wait_for_promotion().await;
    assert_ne!(sentinels.master().address(), first);
    assert_eq!(sentinels.master().connection().get("a"), Ok(1));

    let mut sentinel = connect(&sentinels.sentinel_urls()[0]).await.unwrap();
    let (_, port): (String, u16) = redis::cmd("SENTINEL")
        .arg(("GET-MASTER-ADDR-BY-NAME", sentinels.master_name()))
        .query_async(&mut sentinel)
        .await
        .unwrap();
    assert_eq!(port, sentinels.master().address().port());
}
