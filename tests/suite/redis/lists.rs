//! Users' lists, and what leaves them: who is in one and with what score, what a limit ends, what ends all of it, and
//! what a list does that has in it what is no live session.

use std::time::Duration;

use sessile::record::{Entry, NewRecord, Record};
use sessile::store::{Applied, Create, Created, EndScope, EndSessions, Limit, Replace, Replaced};
use sessile::{AtLimit, EndReason, RedisStore, SessionStore};

use super::fixture::{
    HOUR, MINUTE, SECOND, ask, change, creation, digest, end, index_name, is_live, made, made_as,
    new_record, reason, record_name, regeneration, set, touch,
};
use crate::support::redis::Server;

async fn started() -> (Server, RedisStore) {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    (server, store)
}

fn at_most(sessions: u32, at_limit: AtLimit) -> Option<Limit> {
    let sessions = std::num::NonZeroU32::new(sessions).unwrap();
    Some(Limit { sessions, at_limit })
}

/// The member of the index is the digest, and its score the session's end.
#[tokio::test]
async fn inv12_the_index_holds_what_is_live_with_its_end() {
    let (server, store) = started().await;
    let scores = |name: &str| -> Vec<(String, f64)> {
        redis::cmd("ZRANGE")
            .arg(name)
            .arg(0)
            .arg(-1)
            .arg("WITHSCORES")
            .query(&mut server.connection())
            .unwrap()
    };
    let create = creation(&store, "alice");
    let (key, ends_at) = (create.key, create.record.ends_at());
    store.create(create).await.unwrap();
    let index = format!("user_sessions:{{{}}}:alice", key.bucket);
    let micros = |at: std::time::SystemTime| {
        at.duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_micros() as f64
    };
    assert_eq!(scores(&index), [(key.digest.to_text(), micros(ends_at))]);

    let touched = touch(&store, key);
    let later = touched.seen.as_ref().unwrap().at;
    store.apply(touched).await.unwrap();
    let expected = micros(later).floor() + 31.0 * 60e6;
    assert_eq!(scores(&index), [(key.digest.to_text(), expected)]);

    let replace = regeneration(&store, key);
    let next = key.sibling(replace.successor);
    store.replace(replace).await.unwrap();
    let members: Vec<_> = scores(&index)
        .into_iter()
        .map(|(member, _)| member)
        .collect();
    assert_eq!(members, [next.digest.to_text()]);
}

/// `ZADD GT` would bring it back.
#[tokio::test]
async fn inv12_a_touch_does_not_bring_back_what_was_taken_out_of_the_list() {
    let (server, store) = started().await;
    let key = made(&store, "alice").await;
    let index = format!("user_sessions:{{{}}}:alice", key.bucket);
    made(&store, "alice").await;
    let _: () = redis::cmd("ZREM")
        .arg(&index)
        .arg(key.digest.to_text())
        .query(&mut server.connection())
        .unwrap();
    for apply in [touch(&store, key), change(key, set("a", "1"))] {
        let applied = store.apply(apply).await.unwrap();
        assert!(
            matches!(&applied, Applied::Ended(end) if end.reason == EndReason::StoreLost),
            "{applied:?}"
        );
    }
    let replaced = store.replace(regeneration(&store, key)).await.unwrap();
    assert!(
        matches!(&replaced, Replaced::Ended(end) if end.reason == EndReason::StoreLost),
        "{replaced:?}"
    );
    let members: Vec<String> = redis::cmd("ZRANGE")
        .arg(&index)
        .arg(0)
        .arg(-1)
        .query(&mut server.connection())
        .unwrap();
    assert_eq!(members.len(), 1);
    assert!(!members.contains(&key.digest.to_text()));
}

/// Somebody without a limit who signs in for ever: what is over leaves the list as others come.
#[tokio::test]
async fn inv11_what_is_over_leaves_the_list_also_without_a_limit() {
    let (server, store) = started().await;
    let ago = store.now() - HOUR;
    let mut over = Vec::new();
    for _ in 0..5 {
        over.push(made_as(&store, &new_record(ago, "alice")).await);
    }
    let key = made(&store, "alice").await;
    let index = format!("user_sessions:{{{}}}:alice", key.bucket);
    let members: Vec<String> = redis::cmd("ZRANGE")
        .arg(&index)
        .arg(0)
        .arg(-1)
        .query(&mut server.connection())
        .unwrap();
    assert_eq!(members, [key.digest.to_text()]);
    // Each has its end written down.
    let tombs = server
        .dump()
        .iter()
        .filter(|held| held.contains(b"idle "))
        .count();
    assert_eq!(tombs, 5);
    // As of when it was over, not of when that was noticed.
    for key in over {
        let Some(Entry::Ended(tombstone)) = store.load(key).await.unwrap() else {
            panic!("it is over");
        };
        assert_eq!(tombstone.end.reason, EndReason::Idle);
        let after = tombstone.end.at.duration_since(ago).unwrap();
        let idle = HOUR / 2 + MINUTE;
        assert!(after <= idle && after + SECOND > idle, "{after:?}");
    }
}

/// A login does not pay for all that came before it.
#[tokio::test]
async fn inv11_what_is_over_leaves_a_long_list_a_hundred_at_a_time() {
    let (server, store) = started().await;
    let index = index_name(made(&store, "alice").await, "alice");
    for _ in 0..150 {
        let _: i64 = ask(&server, &["ZADD", &index, "1", &digest().to_text()]);
    }
    for left in [52, 3, 4] {
        made(&store, "alice").await;
        assert_eq!(ask::<i64>(&server, &["ZCARD", &index]), left);
    }
}

#[tokio::test]
async fn inv11_a_user_without_a_limit_has_at_most_a_thousand_sessions() {
    let (_server, store) = started().await;
    let mut first = None;
    for n in 0..1001 {
        let create = creation(&store, "robot");
        let key = create.key;
        let created = store.create(create).await.unwrap();
        let Created::Created(ended) = created else {
            panic!("{created:?}")
        };
        assert_eq!(ended.len(), usize::from(n == 1000), "{n}");
        first.get_or_insert(key);
    }
    assert_eq!(
        reason(store.load(first.unwrap()).await.unwrap()),
        EndReason::Limit
    );
    assert_eq!(store.list("robot".into()).await.unwrap().len(), 1000);
}

/// A member of an index whose record is no record, or of another type, keeps nobody out.
#[tokio::test]
async fn inv14_a_list_with_a_corrupt_record_in_it_goes_on() {
    let (server, store) = started().await;
    let (corrupt, foreign, good) = (
        made(&store, "alice").await,
        made(&store, "alice").await,
        made(&store, "alice").await,
    );
    let name =
        |key: sessile::RecordKey| format!("session:{{{}}}:{}", key.bucket, key.digest.to_text());
    let mut connection = server.connection();
    let _: () = redis::cmd("SET")
        .arg(name(corrupt))
        .arg("?")
        .arg("EX")
        .arg(60)
        .query(&mut connection)
        .unwrap();
    let _: () = redis::pipe()
        .cmd("DEL")
        .arg(name(foreign))
        .cmd("RPUSH")
        .arg(name(foreign))
        .arg("a")
        .cmd("EXPIRE")
        .arg(name(foreign))
        .arg(60)
        .query(&mut connection)
        .unwrap();
    assert_eq!(store.list("alice".into()).await.unwrap().len(), 1);
    let limit = Some(Limit {
        sessions: std::num::NonZeroU32::new(2).unwrap(),
        at_limit: AtLimit::Refuse,
    });
    let create = Create {
        limit,
        ..creation(&store, "alice")
    };
    assert_eq!(
        store.create(create).await.unwrap(),
        Created::Created(Vec::new())
    );
    let ended = store.end(end(EndScope::All("alice".into()))).await.unwrap();
    assert_eq!(ended.sessions.len(), 2);
    assert_eq!(reason(store.load(good).await.unwrap()), EndReason::Revoked);
}

/// A record whose handle is damaged is ended with the others, though it cannot be named.
#[tokio::test]
async fn inv12_inv14_a_damaged_handle_in_a_list_does_not_hide_what_was_ended() {
    let (server, store) = started().await;
    let (damaged, good) = (made(&store, "alice").await, made(&store, "alice").await);
    let script = r"
        local parts = cmsgpack.unpack(redis.call('GET', KEYS[1]))
        parts.m = string.gsub(parts.m, '^(%d+) %S+', '%1 damaged')
        redis.call('SET', KEYS[1], cmsgpack.pack(parts), 'KEEPTTL')";
    let _: () = ask(&server, &["EVAL", script, "1", &record_name(damaged)]);
    let ended = store.end(end(EndScope::All("alice".into()))).await.unwrap();
    assert_eq!(ended.sessions.len(), 1);
    assert_eq!(reason(store.load(good).await.unwrap()), EndReason::Revoked);
    assert_eq!(
        ask::<i64>(&server, &["ZCARD", &index_name(good, "alice")]),
        0
    );
}

/// What stands there ended already, and stays as it ended.
#[tokio::test]
async fn inv14_a_list_with_a_tombstone_in_it_goes_on() {
    for at_limit in [AtLimit::EndOldest, AtLimit::Refuse] {
        let (server, store) = started().await;
        let gone = made(&store, "alice").await;
        made(&store, "alice").await;
        let index = index_name(gone, "alice");
        let put_back = || {
            let member = gone.digest.to_text();
            ask::<i64>(&server, &["ZADD", &index, "9e15", &member])
        };
        let one = end(EndScope::One(gone, None));
        store.end(one).await.unwrap();
        assert_eq!(put_back(), 1);
        assert_eq!(store.list("alice".into()).await.unwrap().len(), 1);
        let create = Create {
            limit: at_most(2, at_limit),
            ..creation(&store, "alice")
        };
        let created = store.create(create).await.unwrap();
        assert_eq!(created, Created::Created(Vec::new()));
        assert_eq!(put_back(), 1, "what is over leaves the list");
        let ended = store.end(end(EndScope::All("alice".into()))).await.unwrap();
        assert_eq!(ended.sessions.len(), 2);
        assert!(!server.dump().iter().any(|held| held.kind == "zset"));
        let reason = reason(store.load(gone).await.unwrap());
        assert_eq!(reason, EndReason::Revoked);
    }
}

/// By sign-in, not by birth; of those that signed in together the first that was made; before all others one that says
/// nothing of it.
#[tokio::test]
async fn inv12_at_the_limit_the_one_that_signed_in_longest_ago_ends_also_if_it_is_younger() {
    let (_server, store) = started().await;
    let now = store.now();
    // How many minutes ago they were made and signed in; the first of each two has to go.
    for (n, pair) in [
        [(60, Some(60)), (120, Some(1))],
        [(120, Some(30)), (60, Some(30))],
        [(1, None), (60, Some(60))],
    ]
    .into_iter()
    .enumerate()
    {
        for turned in [false, true] {
            let user = format!("user-{n}-{turned}");
            let mut keys = Vec::new();
            for n in if turned { [1, 0] } else { [0, 1] } {
                let (made, signed_in) = pair[n];
                let new = NewRecord {
                    created_at: now - made * MINUTE,
                    signed_in_at: signed_in.map(|ago| now - ago * MINUTE),
                    ..new_record(now, &user)
                };
                keys.push((n, made_as(&store, &new).await));
            }
            let create = Create {
                limit: at_most(2, AtLimit::EndOldest),
                ..creation(&store, &user)
            };
            store.create(create).await.unwrap();
            for (n, key) in keys {
                assert_eq!(is_live(&store, key).await, n == 1, "{user}: {pair:?}");
            }
        }
    }
}

/// The instant of the end itself is before it, and the next microsecond after.
#[tokio::test]
async fn inv12_a_login_of_the_very_instant_of_an_end_of_all_is_refused() {
    let (server, store) = started().await;
    let key = made(&store, "alice").await;
    store.end(end(EndScope::All("alice".into()))).await.unwrap();
    let Some(Entry::Ended(tombstone)) = store.load(key).await.unwrap() else {
        panic!("it was ended");
    };
    let at = tombstone.end.at;
    for (began_at, expected) in [
        (at, Created::Refused(EndReason::Revoked)),
        (at + Duration::from_micros(1), Created::Created(Vec::new())),
    ] {
        let create = Create {
            record: Record::new(&new_record(at + HOUR / 2, "alice")),
            began_at,
            ..creation(&store, "alice")
        };
        assert_eq!(store.create(create).await.unwrap(), expected);
    }
    // A server's clock that goes back takes nothing of it back.
    let since = format!("user_since:{{{}}}:alice", key.bucket);
    for scope in [
        EndScope::Others("alice".into(), sessile::Handle::random().unwrap()),
        EndScope::All("alice".into()),
    ] {
        let (seconds, micros): (u64, u64) = ask(&server, &["TIME"]);
        let later = (seconds * 1_000_000 + micros + 3_000_000).to_string();
        let _: () = ask(&server, &["SET", &since, &later, "EX", "60"]);
        store.end(end(scope)).await.unwrap();
        assert_eq!(ask::<String>(&server, &["GET", &since]), later);
    }
}

/// A `since` of a clock that was put right keeps nobody out for an hour, and what it was of is not forgotten: some time
/// until now all ended.
#[tokio::test]
async fn inv12_an_end_that_comes_late_does_not_let_in_whom_a_since_of_a_wrong_clock_kept_out() {
    let (server, store) = started().await;
    let bucket = store.bucket(&"alice".into());
    let since = format!("user_since:{{{bucket}}}:alice");
    let late = EndSessions {
        before: Some(store.now() - HOUR),
        ..end(EndScope::All("alice".into()))
    };
    for (ahead, is_kept) in [(2, true), (3600, false)] {
        let (seconds, micros): (u64, u64) = ask(&server, &["TIME"]);
        let now = seconds * 1_000_000 + micros;
        let there = now + ahead * 1_000_000;
        let _: () = ask(&server, &["SET", &since, &there.to_string(), "EX", "60"]);
        let told = store.end(late.clone()).await.unwrap().since.unwrap();
        let told = told.duration_since(std::time::UNIX_EPOCH).unwrap();
        let told = u64::try_from(told.as_micros()).unwrap();
        match is_kept {
            true => assert_eq!(told, there),
            false => assert!(told > now && told < now + 60_000_000, "{told} {now}"),
        }
        assert_eq!(ask::<String>(&server, &["GET", &since]), told.to_string());
    }
    // What stands there and is no instant is none.
    let _: () = ask(&server, &["SET", &since, "?", "EX", "60"]);
    let told = store.end(late.clone()).await.unwrap().since;
    let before = late.before.unwrap();
    assert!(told <= Some(before) && told > Some(before - SECOND));
}

/// A login from a stranger's session ends that, and names the session in its place: in another slot, perhaps.
#[tokio::test]
async fn inv03_an_end_that_names_a_successor_is_not_taken_for_a_new_id() {
    let (_server, store) = started().await;
    let key = made(&store, "alice").await;
    let replace = regeneration(&store, key);
    let scope = EndScope::One(key, Some(replace.successor));
    store.end(end(scope)).await.unwrap();
    let replaced = store.replace(replace).await.unwrap();
    assert!(
        matches!(&replaced, Replaced::Ended(end) if end.reason == EndReason::Revoked),
        "{replaced:?}"
    );
}

#[tokio::test]
async fn inv01_a_new_id_takes_nobodys_place() {
    let (server, store) = started().await;
    let (key, other) = (made(&store, "alice").await, made(&store, "alice").await);
    let before = server.dump().len();
    let replace = Replace {
        successor: other.digest,
        ..regeneration(&store, key)
    };
    let handle = |entry: Option<Entry>| match entry {
        Some(Entry::Live(record)) => record.handle(),
        entry => panic!("a live session was expected, and there is {entry:?}"),
    };
    let there = handle(store.load(other).await.unwrap());
    store.replace(replace).await.unwrap_err();
    assert_eq!(handle(store.load(other).await.unwrap()), there);
    assert!(is_live(&store, key).await);
    assert_eq!(store.list("alice".into()).await.unwrap().len(), 2);
    assert_eq!(server.dump().len(), before);
}

#[tokio::test]
async fn inv12_what_was_ended_is_not_counted() {
    let (_server, store) = started().await;
    let key = made(&store, "alice").await;
    made(&store, "bob").await;
    store.replace(regeneration(&store, key)).await.unwrap();
    assert_eq!(store.count(sessile::Kind::User).await.unwrap(), 2);
    store.end(end(EndScope::All("bob".into()))).await.unwrap();
    assert_eq!(store.count(sessile::Kind::User).await.unwrap(), 1);
}
