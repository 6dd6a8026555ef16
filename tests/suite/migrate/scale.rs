//! Many sessions, without stalling the server.

use std::collections::BTreeSet;

use sessile::admin::Admin;
use sessile::migrate::{Migration, Source};
use sessile::{Handle, Kind, RedisStore};

use super::fixture::{ask, checked, place_of};
use crate::support::Server;

const N: u64 = 20_000;
/// Nearly 4 MiB, more than which nothing is that is read.
const LONGER: usize = 50_000;

/// The commands that took the server longer than 10 ms: each with what it is about.
fn slow(server: &Server) -> BTreeSet<(String, String)> {
    let log: Vec<(u64, u64, u64, Vec<Vec<u8>>)> =
        ask::<Vec<redis::Value>>(server, &["SLOWLOG", "GET", "-1"])
            .into_iter()
            .map(|entry| match entry {
                redis::Value::Array(mut fields) => {
                    fields.truncate(4);
                    redis::from_redis_value(redis::Value::Array(fields)).unwrap()
                }
                entry => panic!("{entry:?}"),
            })
            .collect();
    let text = |bytes: Option<&Vec<u8>>| {
        String::from_utf8_lossy(bytes.map_or(&[][..], |bytes| bytes)).into_owned()
    };
    log.iter()
        // The test's own.
        .filter(|(_, _, _, words)| words[0] != b"KEYS")
        // Within a script each command is told, too.
        .map(|(_, _, _, words)| {
            let about = if words[0] == b"EVALSHA" { 3 } else { 1 };
            (text(words.first()), text(words.get(about)))
        })
        .collect()
}

async fn migrated(server: &Server) {
    ask::<()>(server, &["FLUSHALL"]);
    let mut connection = server.connection();
    for chunk in 0..N / 1_000 {
        let mut pipeline = redis::pipe();
        for n in chunk * 1_000..(chunk + 1) * 1_000 {
            let user = format!("user_{}", n / 3);
            let text = format!(
                r#"{{"session_id": "x", "user_id": "{user}", "created_at": "2025-03-04T09:45:42", "last_accessed": "2025-03-04T09:45:42", "data": {{"cart": "{}"}}}}"#,
                "x".repeat(100)
            );
            let key = format!("session:{user}_{}", 1_741_081_542_000 + n);
            pipeline
                .cmd("SET")
                .arg(key)
                .arg(text)
                .arg("EX")
                .arg(3600)
                .ignore();
        }
        // One large index, a demo as long as one may become here, and one that is as long as it likes.
        pipeline
            .cmd("SADD")
            .arg("user_sessions:user_1")
            .arg((chunk * 1_000..(chunk + 1) * 1_000).collect::<Vec<_>>())
            .ignore();
        pipeline.exec(&mut connection).unwrap();
    }
    let message =
        r#"{"role": "user", "content": "hello", "timestamp": "2025-03-04T09:45:42+00:00"}"#;
    for (id, said) in [("long", 1_000), ("longer", LONGER)] {
        let messages = vec![message; said].join(", ");
        let demo = format!(r#"{{"industry": "media", "messages": [{messages}]}}"#);
        let key = format!("demo:session:{id}");
        ask::<()>(server, &["SET", &key, &demo, "EX", "3600"]);
    }
    ask::<()>(server, &["SLOWLOG", "RESET"]);

    // What is slow is told by the server: nothing here depends on a deadline.
    let far = std::time::Duration::from_secs(20);
    let store = RedisStore::builder(&server.url())
        .command_timeout(far)
        .operation_timeout(far)
        .connect()
        .await
        .unwrap();
    let run = Migration::new(&store, Source::Legacy).run(|_| {});
    let report = checked(run.await.unwrap());
    assert!(report.is_complete(), "{report}");
    assert_eq!(report.migrated.total(), N + 2);
    assert_eq!(report.messages, 1_000 + LONGER as u64);
    let waiting: Vec<String> = ask(server, &["KEYS", "legacy:{*}:*:????????-*"]);
    assert_eq!(waiting, Vec::<String>::new());
    // Counted: to read all of it would hold up the server by itself.
    let key = place_of(&store, Kind::Demo, "longer").await.unwrap();
    let digest = key.digest.to_text();
    let name = format!("demo:session:{{{}}}:{digest}:messages", key.bucket);
    assert_eq!(ask::<usize>(server, &["LLEN", &name]), LONGER);

    // And whoever looks at all of it holds up nobody either.
    let admin = Admin::new(&store);
    let figures = admin.figures(|_| {}).await.unwrap();
    assert_eq!((figures.user_sessions, figures.demo_sessions), (N, 2));
    let repair = admin.repair(false, |_| {}).await.unwrap();
    assert!(repair.found_nothing(), "{repair:?}");
    let findings = admin.doctor(&server.url()).await;
    assert!(findings.iter().any(|found| found.check == "lists"));
    let mut follow = admin.follow(far).await.unwrap();
    follow.pass(|user, _| panic!("{user}")).await.unwrap();
    assert_eq!(admin.find(Handle::random().unwrap()).await.unwrap(), None);
}

/// A machine that does too much at once makes any command slow, a different one each time: what is slow by itself is so
/// every time. The longest compares and copies 4 MB, which takes some 5 ms, and on slow machines 30.
#[tokio::test]
async fn no_command_of_a_migration_nor_of_those_that_look_at_everything_holds_up_the_server() {
    let server = Server::start();
    ask::<()>(
        &server,
        &["CONFIG", "SET", "slowlog-log-slower-than", "100000"],
    );
    ask::<()>(&server, &["CONFIG", "SET", "slowlog-max-len", "100000"]);
    migrated(&server).await;
    let mut always = slow(&server);
    for _ in 0..5 {
        if always.is_empty() {
            break;
        }
        migrated(&server).await;
        always = always.intersection(&slow(&server)).cloned().collect();
    }
    assert_eq!(always, BTreeSet::new());
}
