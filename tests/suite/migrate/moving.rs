//! How sessions move: all of one or nothing, once, whatever happens meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sessile::migrate::Shape;
use sessile::record::Entry;
use sessile::store::{EndScope, EndSessions};
use sessile::{EndReason, Kind, RedisStore, SessionStore, UserId};

use super::fixture::{self, ask, checked, exists, migrate, migration, place, place_of, session};
use crate::support::{Proxy, Server, dump};

const N: u64 = 300;

/// As many sessions of some users, and demos, as the old system had.
fn fill(server: &Server) {
    let mut pipeline = redis::pipe();
    for n in 0..N {
        let user = format!("user_{}", n % 40);
        let id = format!("{user}_{}", 1_741_081_542_000u64 + n);
        let text = format!(
            r#"{{"session_id": "{id}", "user_id": "{user}", "created_at": "2025-03-04T09:45:42", "last_accessed": "2025-03-04T09:45:42", "data": {{"n": {n}}}}}"#
        );
        pipeline
            .cmd("SET")
            .arg(format!("session:{id}"))
            .arg(text)
            .arg("EX")
            .arg(3600 + n)
            .ignore();
        pipeline
            .cmd("SADD")
            .arg(format!("user_sessions:{user}"))
            .arg(&id)
            .ignore();
    }
    for n in 0..N / 3 {
        let text = format!(
            r#"{{"industry": "media", "started_at": "2025-03-04T09:45:42+00:00", "messages": [{{"role": "user", "content": "{n}"}}, {{"role": "assistant", "content": "ok"}}]}}"#
        );
        pipeline
            .cmd("SET")
            .arg(format!("demo:session:demo-{}", 1_741_081_542_000u64 + n))
            .arg(text)
            .arg("EX")
            .arg(40_000)
            .ignore();
    }
    pipeline
        .cmd("SADD")
        .arg("user_sessions:user_1")
        .arg("dead-member")
        .ignore();
    pipeline
        .cmd("SADD")
        .arg("user_sessions:gone")
        .arg("dead-member")
        .ignore();
    pipeline.exec(&mut server.connection()).unwrap();
}

/// All that is in a Redis but what is random and what passes: handles, ids of messages, expiries.
fn picture(server: &Server) -> Vec<String> {
    let mut picture = Vec::new();
    for entry in server.dump() {
        let key = String::from_utf8_lossy(&entry.key).into_owned();
        if key.starts_with("beat:") {
            continue;
        }
        let mut values: Vec<String> = entry
            .values
            .iter()
            .map(|value| match Entry::from_bytes(value) {
                Ok(Entry::Live(record)) => format!(
                    "{:?} {:?} {:?} {:?}",
                    record.user(),
                    record.created_at(),
                    record.seen_at(),
                    fixture::values(&record)
                ),
                Ok(Entry::Ended(tombstone)) => format!("{tombstone:?}"),
                Err(_) => match serde_json::from_slice::<serde_json::Value>(value) {
                    Ok(serde_json::Value::Object(mut message)) => {
                        message.remove("id");
                        serde_json::to_string(&message).unwrap()
                    }
                    // A score is an instant, by the microsecond.
                    Ok(serde_json::Value::Number(_)) => "score".to_owned(),
                    _ => String::from_utf8_lossy(value).into_owned(),
                },
            })
            .collect();
        if entry.kind == "zset" || entry.kind == "set" {
            values.sort();
        }
        let expires = entry.ttl.is_some();
        picture.push(format!("{key} {} {values:?} {expires}", entry.kind));
    }
    picture
}

#[tokio::test]
async fn a_migration_that_is_killed_anywhere_goes_on_to_what_one_that_was_not_comes_to() {
    let (whole, store) = place().await;
    fill(&whole);
    let report = migrate(&store).await;
    assert_eq!(report.migrated.of(Shape::Platform), N);
    assert_eq!(report.migrated.of(Shape::Demo), N / 3);
    let expected = picture(&whole);
    assert!(
        expected
            .iter()
            .all(|line| !line.starts_with("session:user_"))
    );

    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let mut in_the_middle = 0;
    for seed in 0..100u64 {
        ask::<()>(&server, &["FLUSHALL"]);
        fill(&server);
        for kill in 0..1 + seed % 3 {
            // Dropped in the middle, with what it had sent under way: as of a process that is killed.
            let pause = Duration::from_micros(500 + (seed * 7_919 + kill * 104_729) % 40_000);
            let steps = 1 + usize::try_from(seed).unwrap() % 9;
            let run = migration(&store).step(steps).run(|_| {});
            let _ = tokio::time::timeout(pause, run).await;
            if seed % 5 == 0 {
                ask::<()>(&server, &["SCRIPT", "FLUSH"]);
            }
            let left = server
                .dump()
                .iter()
                .filter(|entry| entry.key.starts_with(b"session:user_"))
                .count() as u64;
            in_the_middle += u64::from(0 < left && left < N);
        }
        migrate(&store).await;
        let last = migrate(&store).await;
        assert_eq!(last.migrated.total(), 0, "seed {seed}: {last}");
        assert_eq!(picture(&server), expected, "seed {seed}");
    }
    assert!(
        in_the_middle > 10,
        "{in_the_middle} kills came in the middle"
    );
}

#[tokio::test]
async fn a_migration_that_is_stopped_after_so_many_says_so_and_goes_on() {
    let (server, store) = place().await;
    fill(&server);
    let report = checked(migration(&store).limit(1).run(|_| {}).await.unwrap());
    // It looks after each step, and there are few.
    assert!(report.migrated.total() >= 1, "{report}");
    ask::<()>(&server, &["FLUSHALL"]);
    fill(&server);
    let stop = Arc::new(AtomicBool::new(true));
    let run = migration(&store).step(5).stop_when(Arc::clone(&stop));
    let report = checked(run.run(|_| {}).await.unwrap());
    assert!(report.stopped && !report.is_complete(), "{report}");
    assert!(report.scanned < N, "{report}");
    stop.store(false, Ordering::Relaxed);
    let mut last = 0.0;
    let report = migration(&store)
        .stop_when(stop)
        .run(|progress| {
            assert!(progress.fraction >= last);
            last = progress.fraction;
        })
        .await
        .unwrap();
    assert!(checked(report).is_complete());
    assert!((last - 1.0).abs() < f64::EPSILON);
    for n in 0..N {
        let id = format!("user_{}_{}", n % 40, 1_741_081_542_000u64 + n);
        assert!(session(&store, Kind::User, &id).await.is_some(), "{id}");
    }
}

#[tokio::test]
async fn inv12_the_lists_are_made_from_the_records_and_dead_members_are_dropped() {
    let (server, store) = place().await;
    fill(&server);
    // Not in the old list, though it is there.
    ask::<i64>(
        &server,
        &["SREM", "user_sessions:user_0", "user_0_1741081542000"],
    );
    let report = migrate(&store).await;
    for n in 0..40 {
        let listed = store.list(UserId::from(format!("user_{n}"))).await.unwrap();
        let expected = (0..N).filter(|m| m % 40 == n).count();
        assert_eq!(listed.len(), expected, "user_{n}");
    }
    assert_eq!(report.old_indexes.lists, 41);
    assert_eq!(report.old_indexes.dead_members, N - 1 + 2);
    let left: Vec<String> = ask(&server, &["KEYS", "user_sessions:user_*"]);
    assert_eq!(left, Vec::<String>::new());
    assert!(!exists(&server, "user_sessions:gone"));
}

#[tokio::test]
async fn a_dry_run_counts_the_same_and_writes_nothing() {
    let (server, store) = place().await;
    fill(&server);
    let before = picture(&server);
    let dry = checked(migration(&store).dry_run(true).run(|_| {}).await.unwrap());
    assert_eq!(picture(&server), before);
    let report = migrate(&store).await;
    assert!(dry.dry_run && !report.dry_run);
    assert_eq!(
        (dry.scanned, dry.migrated, dry.messages),
        (N + N / 3, report.migrated, report.messages)
    );
    let again = checked(migration(&store).dry_run(true).run(|_| {}).await.unwrap());
    assert_eq!(again.migrated.total(), 0);
}

#[tokio::test]
async fn only_the_shapes_that_are_asked_for_move() {
    let (server, store) = place().await;
    fill(&server);
    let report = checked(
        migration(&store)
            .only(Shape::Demo)
            .run(|_| {})
            .await
            .unwrap(),
    );
    assert_eq!((report.migrated.total(), report.left), (N / 3, N));
    assert!(exists(&server, "session:user_0_1741081542000"));
}

#[tokio::test]
async fn inv02_what_was_migrated_once_and_ended_here_is_not_made_again_from_a_key_that_was_kept() {
    let (server, store) = place().await;
    fill(&server);
    let id = "user_1_1741081542001";
    let report = checked(migration(&store).keep_old(true).run(|_| {}).await.unwrap());
    assert_eq!(report.migrated.total(), N + N / 3);
    assert!(exists(&server, &format!("session:{id}")));
    let key = place_of(&store, Kind::User, id).await.unwrap();
    let end = EndSessions {
        scope: EndScope::All("user_1".into()),
        reason: EndReason::Revoked,
        note: None,
        before: None,
    };
    let ended = store.end(end).await.unwrap().sessions.len();
    assert!(ended > 1);
    // Also when its tombstone is gone.
    let name = format!("session:{{{}}}:{}", key.bucket, key.digest.to_text());
    assert_eq!(ask::<i64>(&server, &["DEL", &name]), 1);
    let report = checked(migration(&store).keep_old(true).run(|_| {}).await.unwrap());
    assert_eq!((report.migrated.total(), report.already), (0, N + N / 3));
    assert!(session(&store, Kind::User, id).await.is_none());
    assert_eq!(store.list("user_1".into()).await.unwrap(), []);
    // At last the old keys go.
    let report = migrate(&store).await;
    assert_eq!((report.migrated.total(), report.already), (0, N + N / 3));
    assert!(!exists(&server, &format!("session:{id}")));
}

#[tokio::test]
async fn inv12_a_session_from_before_all_of_its_users_were_ended_here_does_not_come_along() {
    let (server, store) = place().await;
    fill(&server);
    let end = EndSessions {
        scope: EndScope::All("user_7".into()),
        reason: EndReason::Revoked,
        note: None,
        before: None,
    };
    store.end(end).await.unwrap();
    let report = migrate(&store).await;
    let of_user = (0..N).filter(|n| n % 40 == 7).count() as u64;
    assert_eq!(
        (report.refused, report.migrated.of(Shape::Platform)),
        (of_user, N - of_user)
    );
    assert!(report.is_complete());
    assert_eq!(store.list("user_7".into()).await.unwrap(), []);
}

#[tokio::test]
async fn a_user_with_a_thousand_sessions_gets_no_more_and_it_is_told() {
    let (server, store) = place().await;
    let mut pipeline = redis::pipe();
    for n in 0..1_005 {
        let text = r#"{"user_id": "bot", "last_activity": null}"#;
        pipeline
            .cmd("SET")
            .arg(format!("session:bot-{n}"))
            .arg(text)
            .arg("EX")
            .arg(3600)
            .ignore();
    }
    pipeline.exec(&mut server.connection()).unwrap();
    let report = migrate(&store).await;
    assert_eq!((report.migrated.total(), report.failed), (1_000, 5));
    assert!(
        report
            .problems
            .iter()
            .all(|problem| problem.reason.contains("a thousand"))
    );
}

#[tokio::test]
async fn r66_a_server_without_memory_takes_nothing_and_loses_nothing() {
    let (server, store) = place().await;
    fill(&server);
    ask::<()>(&server, &["CONFIG", "SET", "maxmemory", "1"]);
    let report = checked(migration(&store).run(|_| {}).await.unwrap());
    assert_eq!(report.failed, N + N / 3, "{report}");
    ask::<()>(&server, &["CONFIG", "SET", "maxmemory", "0"]);
    assert!(migrate(&store).await.is_complete());
}

#[tokio::test]
async fn a_key_that_may_not_be_read_is_told_and_the_others_move() {
    let server = Server::with(&[
        "user mover on >secret resetkeys ~session:may* ~session:{* ~legacy:* ~user_sessions:* ~user_since:* ~beat:* +@all",
    ]);
    let record = r#"{"user_id": "u1", "last_activity": null}"#;
    for id in ["may-1", "may-not", "closed"] {
        let key = format!("session:{id}");
        ask::<()>(&server, &["SET", &key, record, "EX", "3600"]);
    }
    let url = server.url().replace("redis://", "redis://mover:secret@");
    let store = RedisStore::connect(&url).await.unwrap();
    let report = migrate(&store).await;
    assert_eq!((report.migrated.total(), report.failed), (2, 1), "{report}");
    assert!(!report.is_complete());
    assert_eq!(report.problems[0].key, "session:closed");
    assert!(report.problems[0].reason.contains("refused to read"));
    assert!(exists(&server, "session:closed"));
}

/// Those that the README and the guide name are enough, also for what is large.
#[tokio::test]
async fn whoever_migrates_needs_the_rights_that_the_guide_names() {
    let readme = include_str!("../../../README.md");
    let mut lines = readme.lines();
    let application = lines
        .find_map(|line| line.strip_prefix("user sessile on >password resetkeys "))
        .expect("the README names the rights");
    let guide = include_str!("../../../src/guide_migrating.md");
    let (_, beside) = guide.split_once("for whoever migrates `~*`, and").unwrap();
    let beside = beside
        .split('`')
        .nth(1)
        .expect("the guide names the rights");
    let words = application.split(' ');
    let commands: Vec<_> = words.filter(|word| !word.starts_with('~')).collect();
    let server = Server::with(&[&format!(
        "user mover on >secret ~* {} {beside}",
        commands.join(" ")
    )]);
    fill(&server);
    let message = r#"{"role": "user", "content": "hello"}"#;
    let messages = vec![message; 2_000].join(", ");
    let demo = format!(r#"{{"messages": [{messages}]}}"#);
    ask::<()>(&server, &["SET", "demo:session:long", &demo, "EX", "3600"]);
    let url = server.url().replace("redis://", "redis://mover:secret@");
    let store = RedisStore::connect(&url).await.unwrap();
    let report = checked(migration(&store).keep_old(true).run(|_| {}).await.unwrap());
    assert_eq!(report.migrated.total(), N + N / 3 + 1, "{report}");
    let report = migrate(&store).await;
    assert_eq!(
        (report.failed, report.already),
        (0, N + N / 3 + 1),
        "{report}"
    );
    assert!(report.old_indexes.dead_members > 0);
}

#[tokio::test]
async fn a_namespace_has_its_own() {
    let server = Server::start();
    fill(&server);
    let shop = RedisStore::builder(&server.url())
        .namespace("shop")
        .connect()
        .await
        .unwrap();
    migrate(&shop).await;
    let plain = RedisStore::connect(&server.url()).await.unwrap();
    assert!(
        session(&plain, Kind::User, "user_1_1741081542001")
            .await
            .is_none()
    );
    assert_eq!(plain.list("user_1".into()).await.unwrap(), []);
    assert!(!shop.list("user_1".into()).await.unwrap().is_empty());
    let ours = server
        .dump()
        .iter()
        .filter(|entry| entry.key.starts_with(b"shop:"))
        .count();
    assert!(ours > 2 * N as usize);
}

#[tokio::test]
async fn a_redis_that_is_away_is_told_and_what_was_done_with_it() {
    let mut server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    server.kill();
    let run = migration(&store).run(|_| {});
    // It is waited for; here not for long.
    assert!(
        tokio::time::timeout(Duration::from_millis(300), run)
            .await
            .is_err()
    );
    server.restart();
    fill(&server);
    assert!(migrate(&store).await.is_complete());
}

/// A server that answers, and whose answer gets lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_is_lost_changes_neither_what_is_there_nor_the_counts() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let store = RedisStore::connect(&proxy.url()).await.unwrap();
    // The server knows the script from here on: what is lost is no request for it.
    ask::<()>(
        &server,
        &[
            "SET",
            "session:first",
            r#"{"last_activity": null}"#,
            "EX",
            "60",
        ],
    );
    assert_eq!(migrate(&store).await.migrated.total(), 1);
    fill(&server);
    let lost = Arc::new(AtomicBool::new(false));
    let once = Arc::clone(&lost);
    proxy.drop_reply_of(move |command| {
        dump::contains(command, b"legacy:") && !once.swap(true, Ordering::Relaxed)
    });
    let report = migrate(&store).await;
    assert!(lost.load(Ordering::Relaxed) && proxy.dropped() > 0);
    assert!(report.is_complete(), "{report}");
    assert_eq!((report.migrated.total(), report.already), (N + N / 3, 0));
}
