//! What Redis holds: the keys, their expiries, and nothing that opens a session.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sessile::record::{NewRecord, Record};
use sessile::store::{Applied, Create, Created, EndScope, Renewal, Replace, Replaced};
use sessile::{AtLimit, EndReason, RedisStore, SessionLayer, SessionStore, UserId};

use super::fixture::{
    HOUR, MINUTE, SECOND, add, ask, change, creation, end, index_name, is_live, made, made_as,
    new_record, record_name, regeneration, set, touch,
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
    let events = format!("user_events:{{{tag}}}:alice");
    assert_eq!(names(&server.dump()), [&*record, &*events, &*index]);
    store.end(end(EndScope::All("alice".into()))).await.unwrap();
    let since = format!("user_since:{{{tag}}}:alice");
    // The index is gone with its last session; the record's place has a tombstone.
    let dump = server.dump();
    assert_eq!(names(&dump), [&*record, &*events, &*since]);
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

/// Nobody reads it, and so nobody takes it away.
#[tokio::test]
async fn inv11_a_session_that_is_long_over_leaves_nothing_that_stays() {
    let (server, store) = started().await;
    let mut new = new_record(store.now() - 1000 * HOUR, "alice");
    new.absolute_end = new.created_at + HOUR;
    made_as(&store, &new).await;
    // But for a line in the user's history, which outlives every session, and not for ever.
    let dump = server.dump();
    let [history] = &dump[..] else {
        panic!("{dump:?}");
    };
    assert!(text(&history.key).starts_with("user_events:"), "{dump:?}");
    assert!(history.ttl.is_some(), "{dump:?}");
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
/// included, and the user's history, which outlives it, not. That is with a user agent of a few bytes; a browser's of 70
/// makes it 768.
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
        .filter(|held| !held.key.starts_with(b"user_events:"))
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
