use redis::{PushInfo, PushKind, Value};

use super::*;
use crate::id::Digest;
use crate::record::{NewRecord, Seen};

const SECOND: Duration = Duration::from_secs(1);
/// Of the connections beside it.
const GENERATION: u64 = 7;

fn cache() -> NearCache {
    let client = redis::Client::open("redis://127.0.0.1/").unwrap();
    NearCache::new(Keyspace::default(), client, 100, SECOND)
}

fn key() -> RecordKey {
    RecordKey {
        kind: Kind::User,
        bucket: Bucket::from(0x0a3f),
        digest: Digest::from_bytes([3; 32]),
    }
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + 1_800_000_000 * SECOND
}

/// With a session that is idle after ten minutes and one, and over after an hour.
fn serving(age: Duration) -> NearCache {
    let cache = cache();
    cache.start(1, GENERATION, cache.now().before(age));
    let read = cache.shard(key().bucket).begin(&key(), 1).unwrap();
    let record = Record::new(&NewRecord {
        handle: uuid::Uuid::nil().into(),
        user: Some("alice".into()),
        created_at: now(),
        signed_in_at: Some(now()),
        absolute_end: now() + 3600 * SECOND,
        idle_timeout: 600 * SECOND,
        touch_threshold: 60 * SECOND,
        persistent: false,
        seen: Seen {
            at: now(),
            address: None,
            agent: None,
        },
        values: Vec::new(),
    });
    let most = cache.most_bytes.load(Ordering::Relaxed);
    assert!(
        cache
            .shard(key().bucket)
            .end(&key(), read, Some(record), most)
    );
    cache
}

fn is_served(cache: &NearCache) -> bool {
    cache.get(&key(), GENERATION, now()).is_some()
}

const fn push(kind: PushKind, data: Vec<Value>) -> PushInfo {
    PushInfo { kind, data }
}

#[test]
fn nothing_is_served_that_was_not_vouched_for_within_a_second_and_a_deadline() {
    assert!(is_served(&serving(Duration::ZERO)));
    assert!(is_served(&serving(SECOND)));
    let cache = serving(VOUCHES_FOR + 2 * SECOND);
    assert!(!is_served(&cache));
    // It is kept: a sign of life vouches for it again, for whatever changed was told before that.
    cache.vouch(cache.now().before(SECOND / 2));
    let near = cache.get(&key(), GENERATION, now()).unwrap();
    assert!(near.age >= SECOND / 2);
}

#[test]
fn by_whichever_clock_is_further() {
    let cache = serving(Duration::ZERO);
    let (steady, wall) = cache.now().clocks();
    // The machine slept for an hour, and its steady clock stood still.
    cache.vouch(Stamp::new(steady, wall - 3_600_000_000));
    assert!(!is_served(&cache));
    cache.vouch(Stamp::new(steady, wall));
    assert!(is_served(&cache));
}

#[test]
fn inv06_a_session_past_its_ends_is_not_served() {
    let cache = serving(Duration::ZERO);
    let at = |seconds: u32| cache.get(&key(), GENERATION, now() + seconds * SECOND);
    assert!(at(659).is_some());
    assert!(at(661).is_none(), "idle");
    assert!(at(3601).is_none(), "over");
}

#[test]
fn nothing_is_served_beside_connections_that_were_given_up() {
    let cache = serving(Duration::ZERO);
    assert!(cache.get(&key(), GENERATION + 1, now()).is_none());
}

#[test]
fn nothing_is_served_without_a_connection() {
    let cache = serving(Duration::ZERO);
    cache.stop();
    assert!(!is_served(&cache));
    // Nor what was there before it, with the next.
    cache.start(2, GENERATION, cache.now());
    assert!(!is_served(&cache));
}

#[test]
fn a_push_drops_what_it_names_and_one_that_names_nothing_drops_all() {
    let name = |n: u8| {
        let other = RecordKey {
            digest: Digest::from_bytes([n; 32]),
            ..key()
        };
        Value::BulkString(Keyspace::default().record(&other).into_bytes())
    };
    let cache = serving(Duration::ZERO);
    let names = |names: Vec<Value>| push(PushKind::Invalidate, vec![Value::Array(names)]);
    cache.pushed(1, &names(vec![name(4), Value::BulkString(b"any".to_vec())]));
    cache.pushed(1, &push(PushKind::Message, vec![Value::Nil]));
    assert!(is_served(&cache));
    cache.pushed(1, &names(vec![name(4), name(3)]));
    assert!(!is_served(&cache));
    assert_eq!(cache.counts().invalidations, 1);

    let cache = serving(Duration::ZERO);
    cache.pushed(1, &push(PushKind::Invalidate, vec![Value::Nil]));
    assert!(!is_served(&cache));
}

#[test]
fn what_another_connection_saw_differently_is_not_served() {
    let cache = serving(Duration::ZERO);
    let record = cache.get(&key(), GENERATION, now()).unwrap().record;
    cache.seen_elsewhere(&key(), Some(&record));
    assert!(is_served(&cache));
    cache.seen_elsewhere(&key(), None);
    assert!(!is_served(&cache));
}

#[test]
fn hits_misses_and_copies_are_counted() {
    let cache = serving(Duration::ZERO);
    assert!(is_served(&cache) && is_served(&cache));
    let what = What::Key(key());
    drop(NearCache::changing(Some(&cache), what));
    assert!(!is_served(&cache));
    let counts = cache.counts();
    assert_eq!((counts.hits, counts.misses), (2, 1));
    assert_eq!(
        (counts.invalidations, counts.entries, counts.bytes),
        (1, 0, 0)
    );
}
