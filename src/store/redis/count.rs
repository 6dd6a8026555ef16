//! How many sessions there are: by looking at each key, in small steps.

use std::time::{Duration, Instant};

use redis::{Cmd, Value};

use super::keys::Keyspace;
use super::reply::Unusable;
use super::servers::{Again, Primary};
use super::{Inner, StoreError};
use crate::id::{Bucket, Kind};
use crate::store::Counts;

/// How many keys the server looks at in one step: well below a millisecond.
const STEP: u32 = 200;
/// The first bytes of a tombstone: a map of one part, `x`.
const TOMBSTONE: &[u8] = b"\x81\xa1x";

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
    let until = Instant::now() + store.budget;
    let sent = store
        .servers
        .send(Keyspace::HOUSEKEEPING, until, Again::Freely, |_| {
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
        let heads = keys
            .iter()
            .filter_map(|key| Some((bucket(key)?, head(key))));
        let until = Instant::now() + store.budget;
        // A key that has become something else meanwhile is none of them.
        count += store
            .servers
            .send_each(until, heads.collect())
            .await?
            .iter()
            .filter(|head| matches!(head, Ok(Value::BulkString(head)) if is_live(head)))
            .count() as u64;
        if next == b"0" {
            return Ok(count);
        }
        tokio::time::sleep(PAUSE).await;
        cursor = next;
    }
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

fn is_live(head: &[u8]) -> bool {
    !head.is_empty() && head != TOMBSTONE
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
