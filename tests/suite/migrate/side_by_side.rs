//! Beside an application that still runs as it did.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sessile::{Kind, RedisStore, SessionLayer, SessionStore};

use super::fixture::{self, HOUR, ask, checked, exists, migrate, migration, place, put, session};
use crate::support::Server;

fn text(n: u64) -> String {
    format!(
        r#"{{"user_id": "alice", "created_at": "2025-03-04T09:45:42", "last_accessed": "2025-03-04T09:45:42", "data": {{"n": {n}}}}}"#
    )
}

/// What the old system's update is if it is careful: what is not there is not written. It counts until its session has
/// gone, and tells up to where.
fn write(server: &Server, key: &str, stop: &AtomicBool) -> u64 {
    let mut connection = server.connection();
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut set = redis::cmd("SET");
        set.arg(key).arg(text(n + 1)).arg("EX").arg(3600).arg("XX");
        let done: Option<String> = set.query(&mut connection).unwrap();
        if done.is_none() {
            break;
        }
        n += 1;
    }
    n
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_session_that_changes_while_it_is_migrated_is_read_again_and_nothing_is_lost() {
    let (server, store) = place().await;
    let keys: Vec<String> = (0..8).map(|n| format!("session:busy-{n}")).collect();
    let mut read_again = 0;
    for _ in 0..20 {
        ask::<()>(&server, &["FLUSHALL"]);
        for key in &keys {
            put(&server, key, text(0).as_bytes(), Some(HOUR));
        }
        let stop = AtomicBool::new(false);
        let (written, report) = std::thread::scope(|scope| {
            let writers: Vec<_> = keys
                .iter()
                .map(|key| (key, scope.spawn(|| write(&server, key, &stop))))
                .collect();
            let run = async {
                loop {
                    let report = checked(migration(&store).run(|_| {}).await.unwrap());
                    if report.failed == 0 {
                        return report;
                    }
                }
            };
            let report =
                tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(run));
            stop.store(true, Ordering::Relaxed);
            let written: HashMap<_, _> = writers
                .into_iter()
                .map(|(key, writer)| (key, writer.join().unwrap()))
                .collect();
            (written, report)
        });
        read_again += report.read_again;
        for (key, n) in written {
            let id = key.strip_prefix("session:").unwrap();
            let record = session(&store, Kind::User, id).await.unwrap();
            assert_eq!(
                record.value("n").unwrap(),
                n.to_string().as_bytes(),
                "{key}"
            );
        }
    }
    assert!(read_again > 0, "none of them changed under it");
}

/// The old system's every read wrote the record back, also when it had gone meanwhile.
fn write_back(server: &Server, key: &str, read: &str) {
    put(
        server,
        key,
        read.replace("42\"", "43\"").as_bytes(),
        Some(HOUR),
    );
}

#[tokio::test]
async fn inv02_what_the_old_system_writes_back_after_the_move_revives_nothing_and_is_told() {
    let (server, store) = place().await;
    let (id, key) = ("alice_1741081542886", "session:alice_1741081542886");
    put(&server, key, text(1).as_bytes(), Some(HOUR));
    let read: String = ask(&server, &["GET", key]);
    migrate(&store).await;
    // It was ended here, and a slow request of the old system writes back what it had read before.
    let layer = SessionLayer::new(store.clone());
    assert_eq!(
        layer
            .sessions()
            .revoke_all("alice", "")
            .await
            .unwrap()
            .count,
        1
    );
    write_back(&server, key, &read);
    for keep in [false, true] {
        let report = checked(migration(&store).keep_old(keep).run(|_| {}).await.unwrap());
        assert_eq!(
            (report.migrated.total(), report.written_since),
            (0, 1),
            "{report}"
        );
        assert!(!report.is_complete());
        assert!(
            report.problems[0]
                .reason
                .contains("its old system has written to it")
        );
        assert!(exists(&server, key), "it is left alone");
    }
    assert!(session(&store, Kind::User, id).await.is_none());
    assert_eq!(store.list("alice".into()).await.unwrap(), []);
}

#[tokio::test]
async fn a_session_that_the_old_system_ends_before_its_turn_does_not_come_along() {
    let (server, store) = place().await;
    for n in 0..50 {
        put(
            &server,
            &format!("session:s-{n}"),
            text(n).as_bytes(),
            Some(HOUR),
        );
    }
    let store = Arc::new(store);
    let first = migration(&store)
        .step(1)
        .limit(1)
        .run(|_| {})
        .await
        .unwrap();
    checked(first);
    let left: Vec<String> = ask(&server, &["KEYS", "session:s-*"]);
    let ended = left.first().unwrap();
    ask::<i64>(&server, &["DEL", ended]);
    let store: &RedisStore = &store;
    migrate(store).await;
    let id = ended.strip_prefix("session:").unwrap();
    assert!(session(store, Kind::User, id).await.is_none());
    assert!(!exists(&server, &fixture::pointer(Kind::User, id)));
    assert_eq!(store.list("alice".into()).await.unwrap().len(), 49);
}
