//! Many sessions, without stalling the server.

use sessile::RedisStore;
use sessile::migrate::{Migration, Source};

use super::fixture::{ask, checked};
use crate::support::Server;

const N: u64 = 40_000;

#[tokio::test]
async fn no_command_of_a_migration_holds_up_the_server() {
    let server = Server::start();
    ask::<()>(
        &server,
        &["CONFIG", "SET", "slowlog-log-slower-than", "10000"],
    );
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
        // One large index, and a long demo.
        pipeline
            .cmd("SADD")
            .arg("user_sessions:user_1")
            .arg((chunk * 1_000..(chunk + 1) * 1_000).collect::<Vec<_>>())
            .ignore();
        pipeline.exec(&mut connection).unwrap();
    }
    let message =
        r#"{"role": "user", "content": "hello", "timestamp": "2025-03-04T09:45:42+00:00"}"#;
    let messages = vec![message; 5_000].join(", ");
    let demo = format!(r#"{{"industry": "media", "messages": [{messages}]}}"#);
    ask::<()>(&server, &["SET", "demo:session:long", &demo, "EX", "3600"]);
    ask::<()>(&server, &["SLOWLOG", "RESET"]);

    let store = RedisStore::connect(&server.url()).await.unwrap();
    let run = Migration::new(&store, Source::Legacy).run(|_| {});
    let report = checked(run.await.unwrap());
    assert!(report.is_complete(), "{report}");
    assert_eq!(report.migrated.total(), N + 1);
    assert_eq!(report.messages, 5_000);
    assert_eq!(
        ask::<i64>(&server, &["SLOWLOG", "LEN"]),
        0,
        "{:?}",
        ask::<redis::Value>(&server, &["SLOWLOG", "GET"])
    );
}
