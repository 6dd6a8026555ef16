//! Demos in which so much was said that their messages go ahead of them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sessile::store::{EndScope, EndSessions};
use sessile::{EndReason, Kind, RedisStore, SessionStore};

use super::fixture::{
    HOUR, ask, exists, messages, migrate, migration, place, place_of, put, session,
};
use crate::support::{Proxy, Server, dump};

/// Three commands' worth.
const SAID: usize = 1_200;
/// The keys of what waits.
const WAITING: &str = "legacy:{*}:*:????????-*";

fn put_demo(server: &Server, id: &str, said: usize) {
    let messages: Vec<String> = (0..said)
        .map(|n| format!(r#"{{"role": "user", "content": "{n}"}}"#))
        .collect();
    let demo = format!(
        r#"{{"industry": "media", "started_at": "2025-03-04T09:45:42+00:00", "messages": [{}]}}"#,
        messages.join(", ")
    );
    put(
        server,
        &format!("demo:session:{id}"),
        demo.as_bytes(),
        Some(HOUR),
    );
}

/// What was said, and whether it is all of it in its order.
async fn is_whole(server: &Server, store: &RedisStore, id: &str, said: usize) -> bool {
    let list = messages(server, store, id).await;
    let contents = list.iter().map(|message| message["content"].as_str());
    contents.eq((0..said)
        .map(|n| n.to_string())
        .collect::<Vec<_>>()
        .iter()
        .map(|n| Some(n.as_str())))
}

/// What goes ahead, or was copied, and is nobody's yet.
fn waiting(server: &Server) -> Vec<String> {
    ask(server, &["KEYS", WAITING])
}

fn waits_in_a_list(server: &Server) -> bool {
    let is_list = |key: &String| ask::<String>(server, &["TYPE", key]) == "list";
    waiting(server).iter().any(is_list)
}

/// Whoever migrates is killed at each of its commands in turn, when the server has carried it out.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_demo_is_here_with_all_that_was_said_or_not_at_all_wherever_it_stops() {
    let server = Server::start();
    let (mut stopped, mut halfway) = (0, 0);
    for at in 0.. {
        ask::<()>(&server, &["FLUSHALL"]);
        put_demo(&server, "long", SAID);
        let proxy = Proxy::start(server.address());
        let store = RedisStore::connect(&proxy.url()).await.unwrap();
        let (seen, killed) = (AtomicU64::new(0), Arc::new(AtomicBool::new(false)));
        let kill = Arc::clone(&killed);
        proxy.drop_reply_of(move |command| {
            let is_it =
                dump::contains(command, b"legacy:") && seen.fetch_add(1, Ordering::Relaxed) == at;
            kill.fetch_or(is_it, Ordering::Relaxed);
            is_it
        });
        let dead = async {
            while !killed.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            _ = migration(&store).run(|_| {}) => {}
            () = dead => {}
        }
        let was_killed = killed.load(Ordering::Relaxed);
        drop((store, proxy));
        let store = RedisStore::connect(&server.url()).await.unwrap();
        if place_of(&store, Kind::Demo, "long").await.is_some() {
            assert!(is_whole(&server, &store, "long", SAID).await, "{at}");
            assert!(!exists(&server, "demo:session:long"), "{at}");
        } else {
            assert!(exists(&server, "demo:session:long"), "{at}");
            halfway += u64::from(waits_in_a_list(&server));
        }
        for key in waiting(&server) {
            let left: i64 = ask(&server, &["TTL", &key]);
            assert!((0..=600).contains(&left), "inv11: {left}");
        }
        migrate(&store).await;
        assert!(is_whole(&server, &store, "long", SAID).await, "{at}");
        if !was_killed {
            break;
        }
        stopped += 1;
    }
    assert!(stopped >= 4 && halfway >= 2, "{stopped}, {halfway}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_whose_messages_are_gone_before_its_turn_is_read_again() {
    let server = Server::start();
    put_demo(&server, "long", SAID);
    let proxy = Proxy::start(server.address());
    let store = RedisStore::connect(&proxy.url()).await.unwrap();
    let connection = Mutex::new(server.connection());
    let gone = Arc::new(AtomicBool::new(false));
    let once = Arc::clone(&gone);
    proxy.drop_reply_of(move |command| {
        let brings = dump::contains(command, b"legacy:") && dump::contains(command, b":messages");
        if brings && !once.swap(true, Ordering::Relaxed) {
            let mut connection = connection.lock().unwrap();
            let mut scan = redis::cmd("SCAN");
            scan.arg(0)
                .arg("MATCH")
                .arg(WAITING)
                .arg("COUNT")
                .arg(1_000);
            scan.arg("TYPE").arg("list");
            let (_, keys): (u64, Vec<String>) = scan.query(&mut *connection).unwrap();
            assert_eq!(keys.len(), 1);
            let mut del = redis::cmd("DEL");
            del.arg(keys).exec(&mut *connection).unwrap();
        }
        false
    });
    let report = migrate(&store).await;
    assert!(gone.load(Ordering::Relaxed));
    assert_eq!(
        (report.migrated.total(), report.read_again),
        (1, 1),
        "{report}"
    );
    assert!(is_whole(&server, &store, "long", SAID).await);
}

#[tokio::test]
async fn what_waits_for_a_demo_that_does_not_come_is_nobodys() {
    let (server, store) = place().await;
    put_demo(&server, "long", SAID);
    let report = migration(&store).keep_old(true).run(|_| {}).await.unwrap();
    assert_eq!((report.migrated.total(), report.messages), (1, SAID as u64));
    // It was ended here, and what was said with it: the old key brings back neither.
    let key = place_of(&store, Kind::Demo, "long").await.unwrap();
    let end = EndSessions {
        scope: EndScope::One(key, None),
        reason: EndReason::LoggedOut,
        note: None,
        before: None,
    };
    store.end(end).await.unwrap();
    let report = migration(&store).keep_old(true).run(|_| {}).await.unwrap();
    assert_eq!((report.migrated.total(), report.already), (0, 1));
    assert_eq!(waiting(&server), Vec::<String>::new());
    assert!(session(&store, Kind::Demo, "long").await.is_none());
    let name = format!("demo:session:{{{}}}:{}", key.bucket, key.digest.to_text());
    assert!(!exists(&server, &format!("{name}:messages")));
}

/// It is compared on the server, with a copy of what was read.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_record_that_changes_while_it_is_migrated_is_read_again_and_nothing_is_lost() {
    for (said, length) in [("y", 19_999), ("y", 20_000), ("", 30_000)] {
        let server = Server::start();
        let demo = |said: &str, length: usize| {
            let content = format!("{}{said}", "x".repeat(length));
            format!(r#"{{"messages": [{{"role": "user", "content": "{content}"}}]}}"#)
        };
        let key = "demo:session:large";
        put(&server, key, demo("", 20_000).as_bytes(), Some(HOUR));
        let proxy = Proxy::start(server.address());
        let store = RedisStore::connect(&proxy.url()).await.unwrap();
        let connection = Mutex::new(server.connection());
        let changed = demo(said, length);
        let (then, has) = (changed.clone(), Arc::new(AtomicBool::new(false)));
        let once = Arc::clone(&has);
        proxy.drop_reply_of(move |command| {
            let brings =
                dump::contains(command, b"legacy:") && dump::contains(command, b":messages");
            if brings && !once.swap(true, Ordering::Relaxed) {
                let mut connection = connection.lock().unwrap();
                let mut set = redis::cmd("SET");
                set.arg(key).arg(&then).arg("KEEPTTL");
                set.exec(&mut *connection).unwrap();
            }
            false
        });
        let report = migrate(&store).await;
        assert!(has.load(Ordering::Relaxed));
        assert_eq!(
            (report.migrated.total(), report.read_again),
            (1, 1),
            "{report}"
        );
        let list = messages(&server, &store, "large").await;
        let content = list[0]["content"].as_str().unwrap();
        assert!(changed.contains(&format!("\"{content}\"")), "{length}");
        let left: Vec<String> = ask(&server, &["KEYS", "*:compared"]);
        assert_eq!(left, Vec::<String>::new());
        assert!(
            server.dump().iter().all(|entry| entry.ttl.is_some()),
            "inv11"
        );
    }
}

#[tokio::test]
async fn a_large_message_goes_alone_and_a_conversation_that_is_left_there_is_not_taken_over() {
    let (server, store) = place().await;
    let large = "x".repeat(300_000);
    let message = format!(r#"{{"role": "user", "content": "{large}"}}"#);
    let demo = format!(r#"{{"messages": [{message}, {message}, {message}]}}"#);
    put(&server, "demo:session:large", demo.as_bytes(), Some(HOUR));
    put_demo(&server, "short", 2);
    migrate(&store).await;
    assert_eq!(messages(&server, &store, "large").await.len(), 3);
    // Both again, where somebody deleted their records and pointers by hand and left the messages.
    for id in ["large", "short"] {
        let key = place_of(&store, Kind::Demo, id).await.unwrap();
        let name = format!("demo:session:{{{}}}:{}", key.bucket, key.digest.to_text());
        ask::<i64>(&server, &["DEL", &name]);
        ask::<i64>(&server, &["DEL", &super::fixture::pointer(Kind::Demo, id)]);
    }
    put(&server, "demo:session:large", demo.as_bytes(), Some(HOUR));
    put_demo(&server, "short", 2);
    migrate(&store).await;
    assert_eq!(messages(&server, &store, "large").await.len(), 3);
    assert!(is_whole(&server, &store, "short", 2).await);
}
