//! How many sessions there are: by looking at each key, in small steps.

use std::time::Instant;

use redis::Value;

use super::failure::CallError;
use super::reply::Unusable;
use super::servers::Primary;
use super::{Inner, StoreError};
use crate::id::Kind;

/// How many keys the server looks at in one step: well below a millisecond.
const STEP: u32 = 500;
/// The first bytes of a tombstone: a map of one part, `x`.
const TOMBSTONE: &[u8] = b"\x81\xa1x";

/// Of all primaries. What changes meanwhile may be counted or not; none is counted twice that stays.
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
        for key in keys {
            let mut head = redis::cmd("GETRANGE");
            head.arg(key).arg(0).arg(TOMBSTONE.len() - 1);
            match primary.send(Instant::now() + store.budget, &head).await {
                Ok(Value::BulkString(head)) => {
                    count += u64::from(!head.is_empty() && head != TOMBSTONE);
                }
                // It moved to another server, or became something else: it is none of this one's sessions.
                Ok(_) | Err(CallError::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if next == b"0" {
            return Ok(count);
        }
        cursor = next;
    }
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
