//! How many sessions there are: by looking at each key, in small steps.

use std::time::{Duration, Instant};

use redis::{Cmd, Value};

use super::keys::Keyspace;
use super::reply::Unusable;
use super::servers::{Again, Primary, Term};
use super::{Inner, StoreError};
use crate::id::{Bucket, Kind};
use crate::record::Entry;
use crate::store::Counts;

/// How many keys the server looks at in one step: well below a millisecond.
const STEP: u32 = 200;
/// The first bytes of a tombstone: a map of one part, `x`.
const TOMBSTONE: &[u8] = b"\x81\xa1x";

/// No session is kept longer beyond its end. What is kept for longer than this from now is not over, and need not be read.
const LONGEST_AFTER_MS: i64 = 7_200_000;

/// Whoever counts must be done within this, or somebody else begins as well.
const COUNTING_MS: u32 = 300_000;
/// How long a count is kept.
const KEPT_MS: u32 = 86_400_000;
/// After each step others have their turn.
const PAUSE: Duration = Duration::from_millis(1);

/// The last count, of whichever instance. One that is too old is made anew, by one instance at a time. `None`: somebody
/// is at the first.
pub(super) async fn counts(store: &Inner, oldest: Duration) -> Result<Option<Counts>, StoreError> {
    let last = last(store).await?;
    if last.is_some_and(|last| last.is_fresh(store.clock.now(), oldest)) {
        return Ok(last);
    }
    let mut claim = redis::cmd("SET");
    claim
        .arg(store.keys.counting())
        .arg("1")
        .arg("NX")
        .arg("PX")
        .arg(COUNTING_MS);
    if !matches!(ask(store, claim).await?, Value::Okay) {
        return Ok(last);
    }
    let began = Instant::now();
    let (user, demo) = (
        count(store, Kind::User).await,
        count(store, Kind::Demo).await,
    );
    let counts = match (user, demo) {
        (Ok(user), Ok(demo)) => Ok(Counts {
            user,
            demo,
            at: store.clock.now(),
            took: began.elapsed(),
        }),
        (Err(error), _) | (_, Err(error)) => Err(error),
    };
    if let Ok(counts) = &counts {
        let mut keep = redis::cmd("SET");
        keep.arg(store.keys.counts())
            .arg(counts.to_text())
            .arg("PX")
            .arg(KEPT_MS);
        ask(store, keep).await?;
    }
    let mut done = redis::cmd("DEL");
    done.arg(store.keys.counting());
    ask(store, done).await?;
    counts.map(Some)
}

/// The last count, if it is kept.
pub(super) async fn last(store: &Inner) -> Result<Option<Counts>, StoreError> {
    let mut get = redis::cmd("GET");
    get.arg(store.keys.counts());
    Ok(match ask(store, get).await? {
        Value::BulkString(bytes) => str::from_utf8(&bytes).ok().and_then(Counts::from_text),
        _ => None,
    })
}

async fn ask(store: &Inner, command: Cmd) -> Result<Value, StoreError> {
    let term = Term::of(store.budget);
    let sent = store
        .servers
        .send(Keyspace::HOUSEKEEPING, term, Again::Freely, |_| {
            command.clone()
        });
    Ok(sent.await?.value)
}

/// Of all primaries. What changes meanwhile may be counted or not, and what the server's own table or another server
/// takes over meanwhile may be counted twice.
pub(super) async fn count(store: &Inner, kind: Kind) -> Result<u64, StoreError> {
    let mut count = 0;
    for primary in store.servers.primaries().await? {
        count += of_one(store, &primary, &store.keys.pattern(kind)).await?;
    }
    Ok(count)
}

async fn of_one(store: &Inner, primary: &Primary, pattern: &str) -> Result<u64, StoreError> {
    let mut count = 0;
    let mut cursor = b"0".to_vec();
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(&cursor)
            .arg("MATCH")
            .arg(pattern)
            .arg("COUNT")
            .arg(STEP)
            .arg("TYPE")
            .arg("string");
        let (next, keys) = step(primary.send(Instant::now() + store.budget, &scan).await?)?;
        count += live(store, keys).await?;
        if next == b"0" {
            return Ok(count);
        }
        tokio::time::sleep(PAUSE).await;
        cursor = next;
    }
}

/// How many of these are sessions, and live. A key that has become something else meanwhile is none.
async fn live(store: &Inner, keys: Vec<Vec<u8>>) -> Result<u64, StoreError> {
    let keys: Vec<_> = keys
        .into_iter()
        .filter_map(|key| Some((bucket(&key)?, key)))
        .collect();
    let heads = keys.iter().flat_map(|(bucket, key)| {
        let mut left = redis::cmd("PTTL");
        left.arg(key);
        [(*bucket, head(key)), (*bucket, left)]
    });
    let until = Instant::now() + store.budget;
    let heads = store.servers.send_each(until, heads.collect()).await?;
    let (mut count, mut doubtful) = (0, Vec::new());
    for ((bucket, key), about) in keys.into_iter().zip(heads.chunks_exact(2)) {
        match about {
            [Ok(Value::BulkString(head)), _] if head.is_empty() || head == TOMBSTONE => {}
            [Ok(Value::BulkString(_)), Ok(Value::Int(left))] if *left > LONGEST_AFTER_MS => {
                count += 1;
            }
            [Ok(Value::BulkString(_)), _] => {
                let mut get = redis::cmd("GET");
                get.arg(key);
                doubtful.push((bucket, get));
            }
            _ => {}
        }
    }
    if doubtful.is_empty() {
        return Ok(count);
    }
    let until = Instant::now() + store.budget;
    let values = store.servers.send_each(until, doubtful).await?;
    let now = store.clock.now();
    let is_live = |value: &Value| match value {
        Value::BulkString(bytes) => {
            matches!(Entry::from_bytes(bytes), Ok(Entry::Live(record)) if record.end_at(now).is_none())
        }
        _ => false,
    };
    let live = values.iter().flatten().filter(|value| is_live(value));
    Ok(count + live.count() as u64)
}

/// The bucket in a key's name.
fn bucket(key: &[u8]) -> Option<Bucket> {
    let tag = key.splitn(2, |byte| *byte == b'{').nth(1)?.get(..4)?;
    let tag = u16::from_str_radix(str::from_utf8(tag).ok()?, 16).ok()?;
    Some(Bucket::from(tag))
}

/// Reads enough of it to tell a session from a tombstone.
fn head(key: &[u8]) -> Cmd {
    let mut command = redis::cmd("GETRANGE");
    command.arg(key).arg(0).arg(TOMBSTONE.len() - 1);
    command
}

/// The cursor of the next step, and the keys of this one.
fn step(reply: Value) -> Result<(Vec<u8>, Vec<Vec<u8>>), Unusable> {
    let bytes = |value| match value {
        Value::BulkString(bytes) => Ok(bytes),
        _ => Err(Unusable::Unknown),
    };
    match reply {
        Value::Array(items) => match <[Value; 2]>::try_from(items) {
            Ok([cursor, Value::Array(keys)]) => Ok((
                bytes(cursor)?,
                keys.into_iter().map(bytes).collect::<Result<_, _>>()?,
            )),
            _ => Err(Unusable::Unknown),
        },
        _ => Err(Unusable::Unknown),
    }
}
