//! What Redis holds: the keys, their expiries, and nothing that opens a session.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sessile::record::{Entry, NewRecord, Record};
use sessile::store::{Applied, Create, Created, EndScope, Limit, Renewal, Replace, Replaced};
use sessile::{AtLimit, EndReason, RedisStore, SessionLayer, SessionStore, UserId};

use super::fixture::{
    HOUR, add, change, creation, digest, end, is_live, made, new_record, reason, regeneration, set,
    touch,
};
use crate::harness::{Client, with};
use crate::support::dump::Entry as Held;
use crate::support::redis::Server;

async fn started() -> (Server, RedisStore) {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    (server, store)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn record_name(key: sessile::RecordKey) -> String {
    format!("session:{{{}}}:{}", key.bucket, key.digest.to_text())
}

fn index_name(key: sessile::RecordKey, user: &str) -> String {
    format!("user_sessions:{{{}}}:{user}", key.bucket)
}

/// Sends a command past the store.
fn ask<T: redis::FromRedisValue>(server: &Server, command: &[&str]) -> T {
    redis::cmd(command[0])
        .arg(&command[1..])
        .query(&mut server.connection())
        .unwrap()
}

/// Makes a session as it says.
async fn made_as(store: &RedisStore, new: &NewRecord) -> sessile::RecordKey {
    let user = new.user.as_ref().map_or("nobody", UserId::as_str);
    let create = Create {
        record: Record::new(new),
        ..creation(store, user)
    };
    let key = create.key;
    let created = store.create(create).await.unwrap();
    assert_eq!(created, Created::Created(Vec::new()));
    key
}

fn at_most(sessions: u32, at_limit: AtLimit) -> Option<Limit> {
    let sessions = std::num::NonZeroU32::new(sessions).unwrap();
    Some(Limit { sessions, at_limit })
}

/// The keys that begin so, with the rest of their names.
fn keys<'a>(dump: &'a [Held], prefix: &str) -> Vec<(String, &'a Held)> {
    dump.iter()
        .filter_map(|held| Some((text(&held.key).strip_prefix(prefix)?.to_owned(), held)))
        .collect()
}

#[tokio::test]
async fn the_keys_are_those_of_the_documentation() {
    let (server, store) = started().await;
    let key = made(&store, "alice").await;
    let tag = key.bucket;
    let record = format!("session:{{{tag}}}:{}", key.digest.to_text());
    let index = format!("user_sessions:{{{tag}}}:alice");
    let names = |dump: &[Held]| dump.iter().map(|held| text(&held.key)).collect::<Vec<_>>();
    assert_eq!(names(&server.dump()), [&*record, &*index]);
    store.end(end(EndScope::All("alice".into()))).await.unwrap();
    let since = format!("user_since:{{{tag}}}:alice");
    // The index is gone with its last session; the record's place has a tombstone.
    let dump = server.dump();
    assert_eq!(names(&dump), [&*record, &*since]);
    assert!(dump[0].contains(b"revoked"), "{dump:?}");
    assert!(!dump[0].contains(b"cart"), "{dump:?}");
}

#[tokio::test]
async fn inv11_r35_every_key_has_an_expiry_as_long_as_what_it_is_for() {
    let (server, store) = started().await;
    let user = UserId::from("alice");
    let key = made(&store, "alice").await;
    let stranger = Create {
        record: Record::new(&NewRecord {
            user: None,
            signed_in_at: None,
            ..new_record(store.now(), "alice")
        }),
        ..creation(&store, "nobody")
    };
    let nobody = stranger.key;
    store.create(stranger).await.unwrap();

    let ttl = |name: String| {
        let dump = server.dump();
        let held = dump.iter().find(|held| text(&held.key) == name);
        held.unwrap_or_else(|| panic!("{name} is not in {dump:?}"))
            .ttl
            .unwrap()
    };
    let record =
        |key: sessile::RecordKey| format!("session:{{{}}}:{}", key.bucket, key.digest.to_text());
    let index = format!("user_sessions:{{{}}}:alice", key.bucket);
    let near = |ttl: Duration, expected: Duration| {
        assert!(
            ttl <= expected + Duration::from_secs(2) && ttl + Duration::from_secs(60) > expected,
            "{ttl:?}, not {expected:?}"
        );
    };
    let idle = HOUR / 2 + Duration::from_secs(60);
    near(ttl(record(key)), idle + 2 * HOUR);
    near(ttl(record(nobody)), idle + Duration::from_secs(60));
    near(ttl(index.clone()), 14 * HOUR);

    store.apply(change(key, set("a", "1"))).await.unwrap();
    store.apply(touch(&store, key)).await.unwrap();
    near(ttl(record(key)), idle + 2 * HOUR);
    near(ttl(index.clone()), 14 * HOUR);

    let replace = regeneration(&store, key);
    let next = key.sibling(replace.successor);
    store.replace(replace).await.unwrap();
    near(ttl(record(key)), Duration::from_secs(15 * 60));
    near(ttl(record(next)), idle + 2 * HOUR);

    // A shorter session does not shorten the index's life, and a longer one makes it longer.
    for (hours, expected) in [(1, 14), (40, 42)] {
        let mut new = new_record(store.now(), "alice");
        new.absolute_end = store.now() + hours * HOUR;
        let create = Create {
            record: Record::new(&new),
            ..creation(&store, "alice")
        };
        store.create(create).await.unwrap();
        near(ttl(index.clone()), expected * HOUR);
    }
    store.end(end(EndScope::One(next, None))).await.unwrap();
    near(ttl(record(next)), 24 * HOUR);
    store.end(end(EndScope::All(user))).await.unwrap();
    near(
        ttl(format!("user_since:{{{}}}:alice", key.bucket)),
        Duration::from_secs(75 * 60),
    );
    for held in server.dump() {
        assert!(held.ttl.is_some(), "{held:?}");
    }
}

#[tokio::test]
async fn inv05_r05_nothing_that_redis_holds_rebuilds_a_cookie() {
    let (server, store) = started().await;
    let app = with(SessionLayer::builder(store).max_sessions_per_user(2, AtLimit::EndOldest));
    let mut ids = Vec::new();
    let mut stranger = Client::new(&app);
    stranger.post("/put/cart/pear").await.ok();
    ids.push(stranger.id().unwrap().to_owned());
    for _ in 0..3 {
        let mut client = Client::signed_in(&app, "alice").await;
        ids.push(client.id().unwrap().to_owned());
        for path in [
            "/put/cart/pear",
            "/count/n",
            "/regenerate",
            "/reauthenticate",
        ] {
            client.post(path).await.ok();
            ids.push(client.id().unwrap().to_owned());
        }
    }
    let dump = server.dump();
    assert!(dump.len() > ids.len() / 2);
    for id in &ids {
        let secret = &URL_SAFE_NO_PAD.decode(id).unwrap()[3..];
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        for held in &dump {
            for form in [id.as_bytes(), &id.as_bytes()[4..], secret, hex.as_bytes()] {
                assert!(!held.contains(form), "a secret is in {held:?}");
            }
        }
    }
    // What is held, sent as a cookie, opens nothing: the digest in a key, with its form and bucket in front.
    for (rest, _) in keys(&dump, "session:{") {
        let (tag, digest) = rest.split_once("}:").unwrap();
        let mut bytes = vec![1];
        bytes.extend(u16::from_str_radix(tag, 16).unwrap().to_be_bytes());
        bytes.extend(URL_SAFE_NO_PAD.decode(digest).unwrap());
        let mut thief = Client::holding(&app, &URL_SAFE_NO_PAD.encode(bytes));
        assert_eq!(thief.get("/who").await.ok(), "nobody");
    }
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

/// Nobody reads it, and so nobody takes it away.
#[tokio::test]
async fn inv11_a_session_that_is_long_over_leaves_nothing_that_stays() {
    let (server, store) = started().await;
    let mut new = new_record(store.now() - 1000 * HOUR, "alice");
    new.absolute_end = new.created_at + HOUR;
    made_as(&store, &new).await;
    assert_eq!(server.dump(), []);
}

/// Of a user and of a stranger, by a touch, a new id, and a new sign-in.
#[tokio::test]
async fn inv11_a_record_is_kept_from_its_last_use_and_a_list_as_long_as_its_sessions() {
    let (server, store) = started().await;
    let ttl = |name: &str| Duration::from_millis(ask(&server, &["PTTL", name]));
    let near = |ttl: Duration, expected: Duration| {
        assert!(
            ttl <= expected + SECOND && ttl + 10 * SECOND > expected,
            "{ttl:?}, not {expected:?}"
        );
    };
    let before = store.now() - 20 * MINUTE;
    let idle = 31 * MINUTE;
    for (user, kept) in [(Some("alice"), 2 * HOUR), (None, MINUTE)] {
        let new = || NewRecord {
            handle: sessile::Handle::random().unwrap(),
            user: user.map(Into::into),
            signed_in_at: user.map(|_| before),
            ..new_record(before, "alice")
        };
        let key = made_as(&store, &new()).await;
        near(ttl(&record_name(key)), idle - 20 * MINUTE + kept);
        store.apply(change(key, set("a", "1"))).await.unwrap();
        near(ttl(&record_name(key)), idle - 20 * MINUTE + kept);
        store.apply(touch(&store, key)).await.unwrap();
        near(ttl(&record_name(key)), idle + kept);
        let key = made_as(&store, &new()).await;
        let replace = regeneration(&store, key);
        let next = key.sibling(replace.successor);
        store.replace(replace).await.unwrap();
        near(ttl(&record_name(next)), idle + kept);
    }
    let key = made(&store, "bob").await;
    let now = store.now();
    let replace = Replace {
        renewal: Renewal::Reauthenticated {
            signed_in_at: now,
            absolute_end: now + 40 * HOUR,
            began_at: now,
        },
        ..regeneration(&store, key)
    };
    store.replace(replace).await.unwrap();
    near(ttl(&index_name(key, "bob")), 42 * HOUR);
}

/// A record that was made when more was allowed goes on: it is seen, it may shrink, and it does not grow.
#[tokio::test]
async fn inv11_under_a_lowered_limit_a_large_record_is_used_and_does_not_grow() {
    let (server, store) = started().await;
    let key = made(&store, "alice").await;
    let large = |bytes| format!("\"{}\"", "x".repeat(bytes));
    store
        .apply(change(key, set("a", &large(4000))))
        .await
        .unwrap();
    let lowered = RedisStore::builder(&server.url())
        .record_limit(1024)
        .connect()
        .await
        .unwrap();
    for (apply, expected) in [
        (touch(&store, key), Applied::Saved(None)),
        (change(key, set("a", &large(4001))), Applied::TooLarge),
        (change(key, set("a", &large(3000))), Applied::Saved(None)),
        (change(key, set("a", &large(3001))), Applied::TooLarge),
    ] {
        assert_eq!(lowered.apply(apply).await.unwrap(), expected);
    }
    let mut later = touch(&store, key);
    later.seen.as_mut().unwrap().agent = Some("a longer name of the agent".into());
    assert_eq!(lowered.apply(later).await.unwrap(), Applied::Saved(None));
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

#[tokio::test]
async fn inv14_r67_what_is_no_record_is_a_stranger_and_never_an_error() {
    let (server, store) = started().await;
    let other = made(&store, "alice").await;
    let good = server
        .dump()
        .into_iter()
        .find(|held| held.key.starts_with(b"session:"))
        .unwrap()
        .values[0]
        .clone();
    let (mut cut, mut longer) = (good.clone(), good.clone());
    cut.truncate(good.len() / 2);
    longer.extend(b"\x01");
    for bytes in [
        &b""[..],
        b"not msgpack",
        b"\x81\xa1x\xa3bad",
        b"\x93\x01\x02\x03",
        b"\xc0",
        b"\x80",
        b"\x82\xa1m\xa1?\xa1s\xa1?",
        &cut,
        &longer,
    ] {
        let key = super::fixture::key(&store, "alice");
        let name = format!("session:{{{}}}:{}", key.bucket, key.digest.to_text());
        let _: () = redis::cmd("SET")
            .arg(&name)
            .arg(bytes)
            .arg("EX")
            .arg(60)
            .query(&mut server.connection())
            .unwrap();
        malformed(&store, key).await;
        let there: Vec<u8> = redis::cmd("GET")
            .arg(&name)
            .query(&mut server.connection())
            .unwrap();
        assert_eq!(there, bytes, "what is not ours was changed");
    }
    let key = super::fixture::key(&store, "alice");
    let name = format!("session:{{{}}}:{}", key.bucket, key.digest.to_text());
    let _: () = redis::cmd("RPUSH")
        .arg(&name)
        .arg("a")
        .query(&mut server.connection())
        .unwrap();
    malformed(&store, key).await;
    let _: () = redis::cmd("DEL")
        .arg(&name)
        .query(&mut server.connection())
        .unwrap();
    assert!(is_live(&store, other).await);
}

async fn malformed(store: &RedisStore, key: sessile::RecordKey) {
    assert_eq!(store.load(key).await.unwrap(), None);
    assert_eq!(store.load_each(&[key, key]).await.unwrap(), [None, None]);
    let applied = store.apply(change(key, add("n", 1))).await.unwrap();
    assert!(
        matches!(&applied, Applied::Ended(end) if end.reason == EndReason::StoreLost),
        "{applied:?}"
    );
    let replaced = store.replace(regeneration(store, key)).await.unwrap();
    assert!(
        matches!(&replaced, Replaced::Ended(end) if end.reason == EndReason::StoreLost),
        "{replaced:?}"
    );
    let ended = store.end(end(EndScope::One(key, None))).await.unwrap();
    assert_eq!(ended.sessions, []);
    let create = Create {
        key,
        ..creation(store, "alice")
    };
    assert_eq!(store.create(create).await.unwrap(), Created::Exists);
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
    let later = "9000000000000000";
    let _: () = ask(&server, &["SET", &since, later, "EX", "60"]);
    for scope in [
        EndScope::Others("alice".into(), sessile::Handle::random().unwrap()),
        EndScope::All("alice".into()),
    ] {
        store.end(end(scope)).await.unwrap();
        assert_eq!(ask::<String>(&server, &["GET", &since]), later);
    }
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

#[tokio::test]
async fn two_namespaces_never_see_each_other() {
    let server = Server::start();
    let of = async |name: &str| {
        RedisStore::builder(&server.url())
            .namespace(name)
            .connect()
            .await
            .unwrap()
    };
    let (shop, blog, none) = (of("shop").await, of("blog").await, of("").await);
    let key = made(&shop, "alice").await;
    for other in [&blog, &none] {
        assert_eq!(other.load(key).await.unwrap(), None);
        assert_eq!(other.list("alice".into()).await.unwrap(), []);
        let ended = other.end(end(EndScope::All("alice".into()))).await.unwrap();
        assert_eq!(ended.sessions, []);
        assert_eq!(other.count(sessile::Kind::User).await.unwrap(), 0);
    }
    assert!(is_live(&shop, key).await);
    assert_eq!(shop.count(sessile::Kind::User).await.unwrap(), 1);
    assert_eq!(shop.list("alice".into()).await.unwrap().len(), 1);
}

/// What the design asks for: at most 650 bytes for a signed-in session with 200 bytes of data, its place in the index
/// included. That is with a user agent of a few bytes; a browser's of 70 makes it 768.
#[tokio::test]
async fn a_signed_in_session_takes_at_most_650_bytes() {
    let (server, store) = started().await;
    for n in 0..100 {
        let user = format!("user-{n:05}@example.org");
        let mut new = new_record(store.now(), &user);
        new.values = vec![(
            "cart".into(),
            format!("\"{}\"", "x".repeat(194)).into_bytes(),
        )];
        let create = Create {
            record: Record::new(&new),
            ..creation(&store, &user)
        };
        store.create(create).await.unwrap();
    }
    let mut connection = server.connection();
    let total: u64 = server
        .dump()
        .iter()
        .map(|held| -> u64 {
            redis::cmd("MEMORY")
                .arg("USAGE")
                .arg(&held.key)
                .query(&mut connection)
                .unwrap()
        })
        .sum();
    assert!(total / 100 <= 650, "{} bytes", total / 100);
}
