//! doctor: each finding, by a server that has it.

use std::time::{Duration, SystemTime};

use serde_json::Value;
use sessile::admin::{Admin, Finding, Level};
use sessile::{ManualClock, RedisStore};

use super::fixture::{Said, made, on, sessile};
use crate::support::{Proxy, Server};

/// The levels of a check.
#[track_caller]
fn level(said: &Said, check: &str) -> String {
    let findings: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
    let finding = findings
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["check"] == check);
    let finding = finding.unwrap_or_else(|| panic!("{check} in {findings}"));
    let is_good = finding["level"] == "good";
    assert_eq!(finding["advice"].is_null(), is_good, "{finding}");
    finding["level"].as_str().unwrap().to_owned()
}

fn examined(server: &Server) -> Said {
    on(server, &["doctor", "--json"])
}

fn ask<T: redis::FromRedisValue>(server: &Server, command: &[&str]) -> T {
    redis::cmd(command[0])
        .arg(&command[1..])
        .query(&mut server.connection())
        .unwrap()
}

#[tokio::test]
async fn a_sound_server_is_well_and_is_left_as_it_is() {
    let server = Server::with(&["appendonly yes"]);
    let store = RedisStore::connect(&server.url()).await.unwrap();
    made(&store, "alice", 1).await;
    let before = server.dump().len();
    let said = examined(&server);
    assert_eq!(said.code, 0, "{said:?}");
    for check in [
        "reachable",
        "version",
        "clock",
        "tls",
        "rights",
        "memory",
        "eviction",
        "persistence",
        "expiries",
        "lists",
    ] {
        assert_eq!(level(&said, check), "good", "{check}");
    }
    assert_eq!(level(&said, "replication"), "note");
    assert_eq!(server.dump().len(), before, "it changes nothing");
    let table = on(&server, &["doctor"]).done();
    assert!(table.starts_with("LEVEL"), "{table}");
    assert!(table.contains("replication: a replica"), "{table}");
}

#[test]
fn a_policy_that_evicts_and_a_memory_that_is_full_are_errors() {
    let server = Server::with(&["maxmemory 100mb", "maxmemory-policy allkeys-lru"]);
    let said = examined(&server);
    assert_eq!((said.code, level(&said, "eviction").as_str()), (1, "error"));
    let server = Server::with(&["maxmemory 1"]);
    let said = examined(&server);
    assert_eq!((said.code, level(&said, "memory").as_str()), (1, "error"));
    assert_eq!(level(&said, "rights"), "error", "it takes no writes");
    let server = Server::with(&["maxmemory-policy volatile-ttl"]);
    assert_eq!(level(&examined(&server), "eviction"), "note");
}

#[test]
fn no_append_only_file_is_a_warning() {
    let said = examined(&Server::start());
    assert_eq!(
        (said.code, level(&said, "persistence").as_str()),
        (0, "warning")
    );
}

#[test]
fn a_write_to_disk_that_failed_is_an_error() {
    let server = Server::with(&["appendonly yes"]);
    let (_, folder): (String, String) = ask(&server, &["CONFIG", "GET", "dir"]);
    // Where the file is to be is a folder.
    std::fs::create_dir_all(std::path::Path::new(&folder).join("dump.rdb/x")).unwrap();
    ask::<()>(&server, &["BGSAVE"]);
    crate::support::wait::wait_for("the write has failed", || {
        let info: String = ask(&server, &["INFO", "persistence"]);
        info.contains("rdb_last_bgsave_status:err").then_some(())
    });
    let said = examined(&server);
    assert_eq!(
        (said.code, level(&said, "persistence").as_str()),
        (1, "error")
    );
}

#[test]
fn a_replica_and_a_primary_that_writes_alone_are_told() {
    let primary = Server::start();
    let port = primary.address().port().to_string();
    let replica = Server::with(&[&format!("replicaof 127.0.0.1 {port}")]);
    let said = examined(&replica);
    assert_eq!(
        (said.code, level(&said, "replication").as_str()),
        (1, "error")
    );
    assert_eq!(level(&said, "rights"), "error");
    crate::support::wait::wait_for("the replica is there", || {
        let info: String = ask(&primary, &["INFO", "replication"]);
        info.contains("connected_slaves:1").then_some(())
    });
    assert_eq!(level(&examined(&primary), "replication"), "warning");
    ask::<()>(&primary, &["CONFIG", "SET", "min-replicas-to-write", "1"]);
    assert_eq!(level(&examined(&primary), "replication"), "good");
}

#[test]
fn a_cluster_with_slots_that_nobody_serves_is_an_error() {
    let server = Server::with(&["cluster-enabled yes"]);
    let said = sessile(&["doctor", "--json", "--redis", &server.url()]);
    assert_eq!((said.code, level(&said, "cluster").as_str()), (1, "error"));
}

#[tokio::test]
async fn keys_without_an_expiry_and_lists_that_drifted_are_errors() {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let (key, _) = made(&store, "alice", 1).await;
    let name = format!("session:{{{}}}:{}", key.bucket, key.digest.to_text());
    let index = format!("user_sessions:{{{}}}:alice", key.bucket);
    ask::<i64>(&server, &["PERSIST", &name]);
    let said = examined(&server);
    assert_eq!((said.code, level(&said, "expiries").as_str()), (1, "error"));
    assert_eq!(level(&said, "lists"), "good");
    ask::<i64>(&server, &["EXPIRE", &name, "1000"]);
    ask::<i64>(&server, &["ZREM", &index, &key.digest.to_text()]);
    assert_eq!(level(&examined(&server), "lists"), "error");
    ask::<i64>(
        &server,
        &[
            "ZADD",
            &index,
            "1",
            &key.digest.to_text(),
            "2",
            &"A".repeat(43),
        ],
    );
    ask::<i64>(&server, &["EXPIRE", &index, "1000"]);
    let said = examined(&server);
    assert_eq!(
        (level(&said, "lists"), level(&said, "expiries")),
        ("error".into(), "good".into())
    );
}

#[test]
fn rights_that_are_missing_are_named() {
    // Those that the README names.
    let readme = include_str!("../../../README.md");
    let mut lines = readme.lines();
    let all = lines
        .find_map(|line| line.strip_prefix("user sessile on >password resetkeys "))
        .expect("the README names the rights");
    let server = Server::with(&[
        &format!("user app on >secret resetkeys {all} +scan"),
        &format!(
            "user half on >secret resetkeys {} +scan",
            all.replace(" +zadd", "")
                .replace(" +evalsha", "")
                .replace(" ~user_since:*", "")
                .replace(" +rename", "")
        ),
        // Those that cannot be tried without an effect.
        &format!(
            "user quiet on >secret resetkeys {} +scan",
            all.replace(" +rpush", "").replace(" +incr", "")
        ),
        &format!(
            "user past on >secret resetkeys {} +scan",
            all.replace(" ~user_activity:*", "")
        ),
        &format!(
            "user mute on >secret resetkeys {} +scan",
            all.replace(" +info", "")
        ),
        &format!("user blind on >secret resetkeys {all}"),
    ]);
    let of = |user: &str| {
        let url = server
            .url()
            .replace("redis://", &format!("redis://{user}:secret@"));
        sessile(&["doctor", "--json", "--redis", &url])
    };
    assert_eq!(level(&of("app"), "rights"), "good");
    let said = of("half");
    assert_eq!(level(&said, "rights"), "error");
    for missing in ["zadd", "evalsha", "user_since:*", "rename"] {
        assert!(said.stdout.contains(missing), "{missing}: {}", said.stdout);
    }
    let said = of("quiet");
    assert_eq!(level(&said, "rights"), "error");
    for missing in [
        "rpush demo:session:*",
        "rpush user_events:*",
        "rpush user_activity:*",
        "incr demo_budget:*",
    ] {
        assert!(said.stdout.contains(missing), "{missing}: {}", said.stdout);
    }
    let said = of("past");
    assert!(said.stdout.contains("rpush user_activity:*"), "{said:?}");
    assert!(!said.stdout.contains("rpush user_events:*"), "{said:?}");
    assert_eq!(server.dump(), [], "it changes nothing");
    assert_eq!(level(&of("mute"), "version"), "warning");
    assert_eq!(level(&of("blind"), "lists"), "error");
}

/// The findings on one thing, by the library.
fn of(findings: &[Finding], check: &str) -> Vec<(Level, bool)> {
    let of = findings.iter().filter(|finding| finding.check == check);
    of.map(|finding| (finding.level, finding.advice.is_some()))
        .collect()
}

#[tokio::test]
async fn a_clock_that_is_not_the_servers_is_told() {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let clock = ManualClock::new();
    let admin = Admin::new(&store).with_clock(clock.clone());
    let second = Duration::from_secs(1);
    for (ahead, behind, expected) in [
        (Duration::ZERO, Duration::ZERO, (Level::Good, false)),
        (30 * second, Duration::ZERO, (Level::Warning, true)),
        (Duration::ZERO, 30 * second, (Level::Warning, true)),
        (3600 * second, Duration::ZERO, (Level::Error, true)),
        (Duration::ZERO, 3600 * second, (Level::Error, true)),
    ] {
        clock.set(SystemTime::now() + ahead - behind);
        let findings = admin.doctor(&server.url()).await;
        assert_eq!(of(&findings, "clock"), [expected], "{findings:?}");
    }
}

#[tokio::test]
async fn a_connection_that_others_can_listen_to_is_told() {
    let (server, authority) = Server::start_tls();
    let builder = RedisStore::builder(&server.url()).root_certificate(authority);
    let store = builder.connect().await.unwrap();
    let findings = Admin::new(&store).doctor(&server.url()).await;
    assert_eq!(of(&findings, "tls"), [(Level::Good, false)]);
    let what = findings.iter().find(|finding| finding.check == "tls");
    assert!(what.unwrap().what.contains("encrypted"), "{what:?}");

    // What the system's resolver takes for 127.0.0.1, and by its name is a host like any other.
    let server = Server::start();
    let url = format!("redis://127.1:{}", server.address().port());
    let said = sessile(&["doctor", "--json", "--redis", &url]);
    assert_eq!((said.code, level(&said, "tls").as_str()), (0, "warning"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_answers_slowly_is_told() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    proxy.slow(Duration::from_millis(20));
    let url = proxy.url();
    let said = tokio::task::spawn_blocking(move || sessile(&["doctor", "--json", "--redis", &url]))
        .await
        .unwrap();
    // On a machine that is busy it is as slow as for an error.
    assert_ne!(level(&said, "latency"), "good");
}
