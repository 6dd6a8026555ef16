//! list, show, stats, end, end-all, cleanup.

use std::time::Duration;

use sessile::record::{MessageBounds, MessageId, NewMessage, NewRecord, Record, Seen};
use sessile::store::{Append, Create, EndScope, EndSessions};
use sessile::{Digest, EndReason, Handle, HistoryEvent, Kind, RecordKey, RedisStore, SessionStore};

use super::fixture::{made, on};
use crate::support::Server;

async fn place() -> (Server, RedisStore) {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    (server, store)
}

fn ask<T: redis::FromRedisValue>(server: &Server, command: &[&str]) -> T {
    redis::cmd(command[0])
        .arg(&command[1..])
        .query(&mut server.connection())
        .unwrap()
}

#[tokio::test]
async fn a_users_sessions_are_listed_for_people_and_for_programs() {
    let (server, store) = place().await;
    let (_, first) = made(&store, "alice", 1).await;
    let (_, second) = made(&store, "alice", 2).await;
    made(&store, "bob", 3).await;
    let json = on(&server, &["list", "alice", "--json"]).json();
    let rows = json.as_array().unwrap();
    assert_eq!(rows.len(), 2);
    let handles: Vec<Handle> = rows
        .iter()
        .map(|row| row["handle"].as_str().unwrap().parse().unwrap())
        .collect();
    assert!(handles.contains(&first) && handles.contains(&second));
    for row in rows {
        assert_eq!(row["user"], "alice");
        assert_eq!(row["address"], "192.0.2.1");
        for time in ["created_at", "last_seen_at", "ends_at", "idle_ends_at"] {
            let text = row[time].as_str().unwrap();
            assert!(text.len() == 24 && text.ends_with('Z'), "{text}");
        }
    }
    let table = on(&server, &["list", "alice"]).done();
    let mut lines = table.lines();
    assert!(lines.next().unwrap().starts_with("HANDLE  "));
    assert_eq!(lines.clone().count(), 2);
    assert!(lines.all(|line| line.contains("192.0.2.1") && line.contains("browser/1")));
    assert!(!table.contains('\u{1b}'), "a user agent moves no cursor");
    assert_eq!(
        on(&server, &["list", "nobody"]).done(),
        "nobody has no sessions.\n"
    );
    assert_eq!(
        on(&server, &["list", "nobody", "--json"]).json(),
        serde_json::json!([])
    );
}

#[tokio::test]
async fn a_session_is_shown_by_its_handle_live_or_ended() {
    let (server, store) = place().await;
    let (_, handle) = made(&store, "alice", 1).await;
    let name = handle.to_string();
    let json = on(&server, &["show", &name, "--json"]).json();
    assert_eq!(
        (&json["state"], &json["user"], &json["kind"]),
        (&"live".into(), &"alice".into(), &"user".into())
    );
    assert_eq!(
        json["values"],
        serde_json::json!([{"name": "cart", "bytes": 5}])
    );
    let table = on(&server, &["show", &name]).done();
    assert!(
        table.contains("cart: 5 bytes") && !table.contains("[1,2]"),
        "{table}"
    );

    let said = on(
        &server,
        &[
            "end",
            "alice",
            &name,
            "--reason",
            "left the company",
            "--yes",
        ],
    );
    assert_eq!(said.done(), "1 session was ended.\n");
    let json = on(&server, &["show", &name, "--json"]).json();
    assert_eq!(json["state"], "ended");
    assert_eq!(json["end"]["reason"], "revoked");
    assert_eq!(json["end"]["note"], "left the company");
    // Once is enough, and another user's is none of hers.
    on(&server, &["end", "alice", &name, "--yes"]).failed(1);
    let (_, other) = made(&store, "bob", 2).await;
    on(&server, &["end", "alice", &other.to_string(), "--yes"]).failed(1);
    assert_eq!(store.list("bob".into()).await.unwrap().len(), 1);
    let unknown = Handle::random().unwrap().to_string();
    on(&server, &["show", &unknown]).failed(1);
}

#[tokio::test]
async fn all_sessions_of_a_user_end_and_the_figures_follow() {
    let (server, store) = place().await;
    for n in 0..3 {
        made(&store, "alice", n).await;
    }
    made(&store, "bob", 9).await;
    let json = on(&server, &["stats", "--json"]).json();
    assert_eq!(
        (&json["user_sessions"], &json["demo_sessions"]),
        (&4.into(), &0.into())
    );
    let json = on(
        &server,
        &["end-all", "alice", "--reason", "locked", "--yes", "--json"],
    )
    .json();
    assert_eq!(json["ended"], 3);
    let figures = on(&server, &["stats", "--json"]).json();
    assert_eq!(
        (&figures["user_sessions"], &figures["ended"]),
        (&1.into(), &3.into())
    );
    let said = on(&server, &["end-all", "alice", "--yes"]);
    assert_eq!(said.done(), "0 sessions were ended.\n");
}

/// A demo session that began a minute ago, with what was said; `user`: whose it has become.
async fn demo(store: &RedisStore, user: Option<&str>, said: u64) -> RecordKey {
    let now = store.now();
    let minute = Duration::from_secs(60);
    let record = Record::new(&NewRecord {
        handle: Handle::random().unwrap(),
        user: user.map(Into::into),
        created_at: now - minute,
        signed_in_at: None,
        absolute_end: now + 600 * minute,
        idle_timeout: 600 * minute,
        touch_threshold: Duration::ZERO,
        persistent: false,
        seen: Seen {
            at: now,
            address: None,
            agent: None,
        },
        values: vec![
            ("industry".into(), br#""media""#.to_vec()),
            ("steps".into(), b"2".to_vec()),
        ],
    });
    let mut digest = [0; 32];
    getrandom::fill(&mut digest).unwrap();
    let key = RecordKey {
        kind: Kind::Demo,
        bucket: 7.into(),
        digest: Digest::from_bytes(digest),
    };
    let create = Create {
        key,
        record,
        began_at: now,
        limit: None,
        held: false,
    };
    store.create(create).await.unwrap();
    for _ in 0..said {
        let append = Append {
            key,
            message: NewMessage {
                id: MessageId::random().unwrap(),
                body: br#"{"role":"user","content":"x"}"#.to_vec().into(),
            },
            bounds: MessageBounds {
                count: 10,
                bytes: 1_000,
            },
            at: None,
            again: false,
        };
        store.append(append).await.unwrap();
    }
    key
}

#[tokio::test]
async fn the_figures_tell_what_is_there_by_kind_and_how_the_server_does() {
    let (server, store) = place().await;
    for n in 0..3 {
        made(&store, "alice", n).await;
    }
    let (_, ended) = made(&store, "bob", 9).await;
    let ended = ended.to_string();
    on(&server, &["end", "bob", &ended, "--yes"]).done();
    demo(&store, None, 0).await;
    demo(&store, None, 1).await;
    demo(&store, Some("alice"), 2).await;
    let bad = format!("session:{{0000}}:{}", "A".repeat(43));
    ask::<()>(&server, &["SET", &bad, "no record", "EX", "60"]);
    ask::<()>(&server, &["SET", "shop:session:x", "another's", "EX", "60"]);
    let before = server.dump().len();
    let json = on(&server, &["stats", "--json"]).json();
    assert_eq!(server.dump().len(), before, "it writes nothing");
    for (figure, expected) in [
        ("user_sessions", 3),
        ("strangers", 0),
        ("demo_sessions", 3),
        ("demos_active", 2),
        ("demos_completed", 1),
        ("demos_adopted", 1),
        ("ended", 1),
        ("over", 0),
        ("malformed", 1),
    ] {
        assert_eq!(json[figure], expected, "{figure}: {json}");
    }
    let keys = |name: &str| {
        let families = json["keys"].as_array().unwrap();
        let family = families.iter().find(|family| family["name"] == name);
        family.unwrap()["keys"].as_u64().unwrap()
    };
    for (family, expected) in [
        ("session", 5),
        ("demo:session", 3),
        ("demo:session:messages", 2),
        ("user_sessions", 1),
        ("user_events", 2),
        ("other", 1),
    ] {
        assert_eq!(keys(family), expected, "{family}: {json}");
    }
    let about = &json["servers"][0];
    assert_eq!(about["role"], "master");
    assert_eq!(
        about["version"].as_str().unwrap().to_lowercase(),
        server.version()
    );
    assert!(about["memory_bytes"].as_u64().unwrap() > 100_000);
    assert_eq!(about["memory_limit_bytes"], serde_json::Value::Null);
    assert!(about["latency_seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(json["last_count"], serde_json::Value::Null);
    // What an application has counted is told with its age.
    store.counts(Duration::ZERO).await.unwrap().unwrap();
    let json = on(&server, &["stats", "--json"]).json();
    assert_eq!(json["last_count"]["demo_sessions"], 3);
    assert!(json["last_count"]["age_seconds"].as_f64().unwrap() >= 0.0);
    let table = on(&server, &["stats"]).done();
    for text in [
        "  completed",
        "keys user_events",
        "master",
        "MiB used",
        "Counted just now",
    ] {
        assert!(table.contains(text), "{text}: {table}");
    }
}

#[tokio::test]
async fn conversations_whose_demo_is_gone_are_deleted_and_the_others_stay() {
    let (server, store) = place().await;
    let record = |key: RecordKey| {
        let digest = key.digest.to_text();
        format!("demo:session:{{{}}}:{digest}", key.bucket)
    };
    let messages = |key: RecordKey| record(key) + ":messages";
    let (kept, gone, endless, ended) = (
        demo(&store, None, 2).await,
        demo(&store, None, 2).await,
        demo(&store, None, 2).await,
        demo(&store, None, 2).await,
    );
    ask::<i64>(&server, &["DEL", &record(gone)]);
    ask::<i64>(&server, &["PERSIST", &messages(endless)]);
    // One that was left behind by its end, and one of which nobody knows what its demo was.
    ask::<i64>(&server, &["COPY", &messages(ended), "demo:copy"]);
    let end = EndSessions {
        scope: EndScope::One(ended, None),
        reason: EndReason::LoggedOut,
        note: None,
        before: None,
    };
    store.end(end).await.unwrap();
    ask::<()>(&server, &["RENAME", "demo:copy", &messages(ended)]);
    let of_bad = format!("demo:session:{{0000}}:{}", "A".repeat(43));
    ask::<()>(&server, &["SET", &of_bad, "no record", "EX", "60"]);
    ask::<i64>(&server, &["RPUSH", &(of_bad + ":messages"), "said"]);
    let doctor = on(&server, &["doctor", "--json"]);
    assert_eq!(doctor.code, 1);
    assert!(
        doctor.stdout.contains("1 conversations have no demo"),
        "{doctor:?}"
    );
    assert!(
        doctor.stdout.contains("2 of 9 keys have no expiry"),
        "{doctor:?}"
    );

    let before = server.dump();
    let dry = on(&server, &["cleanup", "--dry-run", "--json"]).json();
    assert_eq!(server.dump().len(), before.len());
    let json = on(&server, &["cleanup", "--yes", "--json"]).json();
    for count in ["conversations", "expiries"] {
        assert_eq!(
            (&json[count], &dry[count]),
            (&2.into(), &2.into()),
            "{count}"
        );
    }
    for key in [gone, ended] {
        assert_eq!(ask::<i64>(&server, &["EXISTS", &messages(key)]), 0);
    }
    for key in [kept, endless] {
        assert_eq!(ask::<i64>(&server, &["LLEN", &messages(key)]), 2);
    }
    assert!(
        server.dump().iter().all(|entry| entry.ttl.is_some()),
        "inv11"
    );
    let json = on(&server, &["cleanup", "--yes", "--json"]).json();
    assert_eq!(
        (&json["conversations"], &json["expiries"]),
        (&0.into(), &0.into())
    );
}

#[tokio::test]
async fn a_namespace_is_apart() {
    let server = Server::start();
    let shop = RedisStore::builder(&server.url())
        .namespace("shop")
        .connect()
        .await
        .unwrap();
    made(&shop, "alice", 1).await;
    assert_eq!(
        on(&server, &["list", "alice", "--json"]).json(),
        serde_json::json!([])
    );
    let list = on(&server, &["list", "alice", "--json", "--namespace", "shop"]).json();
    assert_eq!(list.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn inv12_lists_that_drifted_are_put_right() {
    let (server, store) = place().await;
    let (lost, _) = made(&store, "alice", 1).await;
    let (kept, _) = made(&store, "alice", 2).await;
    let (gone, _) = made(&store, "alice", 3).await;
    let (endless, _) = made(&store, "bob", 4).await;
    let index = format!("user_sessions:{{{}}}:alice", lost.bucket);
    let name = |key: RecordKey| format!("session:{{{}}}:{}", key.bucket, key.digest.to_text());
    ask::<i64>(&server, &["ZREM", &index, &lost.digest.to_text()]);
    ask::<i64>(&server, &["DEL", &name(gone)]);
    ask::<i64>(&server, &["PERSIST", &name(endless)]);
    ask::<i64>(&server, &["PERSIST", &index]);
    ask::<()>(
        &server,
        &[
            "SET",
            &format!("session:{{0000}}:{}", "A".repeat(43)),
            "no record",
            "EX",
            "60",
        ],
    );
    assert_eq!(store.list("alice".into()).await.unwrap().len(), 1);

    let before = server.dump().len();
    let dry = on(&server, &["cleanup", "--dry-run", "--json"]).json();
    assert_eq!(server.dump().len(), before);
    assert_eq!(store.list("alice".into()).await.unwrap().len(), 1);
    let json = on(&server, &["cleanup", "--yes", "--json"]).json();
    for (count, expected) in [
        ("records", 4),
        ("lists", 2),
        ("listed", 1),
        ("ended", 0),
        ("unlisted", 1),
        ("expiries", 2),
        ("malformed", 1),
    ] {
        assert_eq!(json[count], expected, "{count}: {json}");
        assert_eq!(dry[count], expected, "{count}: {dry}");
    }
    let handles = |list: Vec<Record>| list.len();
    assert_eq!(handles(store.list("alice".into()).await.unwrap()), 2);
    assert!(
        server.dump().iter().all(|entry| entry.ttl.is_some()),
        "inv11"
    );
    let _ = kept;
    let json = on(&server, &["cleanup", "--yes", "--json"]).json();
    for count in ["listed", "unlisted", "expiries"] {
        assert_eq!(json[count], 0);
    }
}

#[tokio::test]
async fn inv02_a_session_that_is_in_no_list_and_from_before_the_end_of_all_ends() {
    let (server, store) = place().await;
    let (lost, handle) = made(&store, "alice", 1).await;
    let index = format!("user_sessions:{{{}}}:alice", lost.bucket);
    ask::<i64>(&server, &["ZREM", &index, &lost.digest.to_text()]);
    on(&server, &["end-all", "alice", "--yes"]).done();
    let json = on(&server, &["cleanup", "--yes", "--json"]).json();
    assert_eq!((&json["listed"], &json["ended"]), (&0.into(), &1.into()));
    let json = on(&server, &["show", &handle.to_string(), "--json"]).json();
    assert_eq!(json["end"]["reason"], "revoked");
    let history = store.log("alice".into()).await.unwrap().history;
    assert_eq!(history[0].handle, handle);
    let HistoryEvent::Ended { reason, .. } = &history[0].event else {
        panic!("{history:?}");
    };
    assert_eq!(*reason, EndReason::Revoked);
}
