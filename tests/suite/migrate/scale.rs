//! Many sessions, without stalling the server.

use std::collections::BTreeSet;

use sessile::RedisStore;
use sessile::migrate::{Migration, Source};

use super::fixture::{ask, checked};
use crate::support::Server;

const N: u64 = 20_000;

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
        // One large index, and a demo as long as one may become here.
        pipeline
            .cmd("SADD")
            .arg("user_sessions:user_1")
            .arg((chunk * 1_000..(chunk + 1) * 1_000).collect::<Vec<_>>())
            .ignore();
        pipeline.exec(&mut connection).unwrap();
    }
    let message =
        r#"{"role": "user", "content": "hello", "timestamp": "2025-03-04T09:45:42+00:00"}"#;
    let messages = vec![message; 1_000].join(", ");
    let demo = format!(r#"{{"industry": "media", "messages": [{messages}]}}"#);
    ask::<()>(server, &["SET", "demo:session:long", &demo, "EX", "3600"]);
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
    assert_eq!(report.migrated.total(), N + 1);
    assert_eq!(report.messages, 1_000);
}

/// A machine that does too much at once makes any command slow, a different one each time: what is slow by itself is so
/// every time.
#[tokio::test]
async fn no_command_of_a_migration_holds_up_the_server() {
    let server = Server::start();
    ask::<()>(
        &server,
        &["CONFIG", "SET", "slowlog-log-slower-than", "10000"],
    );
    ask::<()>(&server, &["CONFIG", "SET", "slowlog-max-len", "100000"]);
    migrated(&server).await;
    let mut always = slow(&server);
    for _ in 0..2 {
        if always.is_empty() {
            break;
        }
        migrated(&server).await;
        always = always.intersection(&slow(&server)).cloned().collect();
    }
    assert_eq!(always, BTreeSet::new());
}
