//! What Redis holds: the keys, their expiries, and nothing that opens a session.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sessile::store::{Applied, Created, EndScope, Limit, Replaced};
use sessile::{AtLimit, EndReason, RedisStore, SessionLayer, SessionStore, UserId};

use super::fixture::{
    HOUR, add, change, creation, end, is_live, made, new_record, reason, regeneration, set, touch,
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
    let stranger = sessile::store::Create {
        record: sessile::record::Record::new(&sessile::record::NewRecord {
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
        let create = sessile::store::Create {
            record: sessile::record::Record::new(&new),
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
    for _ in 0..5 {
        let ago = store.now() - HOUR;
        let create = sessile::store::Create {
            record: sessile::record::Record::new(&new_record(ago, "alice")),
            ..creation(&store, "alice")
        };
        assert_eq!(
            store.create(create).await.unwrap(),
            Created::Created(Vec::new())
        );
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
    let create = sessile::store::Create {
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
    let create = sessile::store::Create {
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
        let create = sessile::store::Create {
            record: sessile::record::Record::new(&new),
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
