//! The heartbeat: what a part is asked, and what its answer says of it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use redis::{RedisError, ServerErrorKind, Value};

use super::failure::CallError;
use super::reply::{self, Answer, Unusable};
use super::{Failure, Inner, StoreError, ask};
use crate::id::{Bucket, sha256};
use crate::store::{Beat, Part};

/// A script's numbers are exact up to 15 digits.
const MOST: u64 = 999_999_999_999_998;
/// So many slots of a server that have just moved elsewhere are passed over in one beat.
const TRIES: usize = 3;

/// Where each part beats, and what it said of itself the last time.
#[derive(Debug, Default)]
pub(super) struct Hearts(Mutex<HashMap<Part, Heart>>);

#[derive(Debug, Clone, Copy)]
struct Heart {
    /// The tag of its key.
    tag: Bucket,
    server: u64,
    /// What this instance was told for its generation.
    told: u64,
    /// What there is between that and the one under the key: a key in whose place another came, for its slot has moved,
    /// says nothing of a store that is empty.
    veil: u64,
}

impl Hearts {
    fn lock(&self) -> MutexGuard<'_, HashMap<Part, Heart>> {
        // Nothing panics under it; each statement leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tag(&self, part: Part) -> Option<Bucket> {
        self.lock().get(&part).map(|heart| heart.tag)
    }

    /// Notes what a part said of itself. Its generation, as this instance knows it.
    fn heard(&self, part: Part, tag: Bucket, server: u64, generation: u64) -> u64 {
        let mut hearts = self.lock();
        let veil = match hearts.get(&part) {
            Some(heart) if heart.tag == tag => heart.veil,
            Some(heart) if heart.server == server => heart.told ^ generation,
            Some(_) | None => 0,
        };
        let told = generation ^ veil;
        let heart = Heart {
            tag,
            server,
            told,
            veil,
        };
        hearts.insert(part, heart);
        told
    }

    /// Forgets the parts that are no more.
    fn retain(&self, parts: &[Part]) {
        self.lock().retain(|part, _| parts.contains(part));
    }

    fn len(&self) -> usize {
        self.lock().len()
    }
}

/// One heartbeat of one part, within the time for a command.
pub(super) async fn beat(store: &Inner, part: Part, least: u64) -> Result<Beat, StoreError> {
    if least > MOST {
        return Err(StoreError::new(format!(
            "a heartbeat of more than {least} is beyond what Redis counts to: {MOST}"
        )));
    }
    let mut drawn = [0; 8];
    getrandom::fill(&mut drawn).map_err(|error| {
        StoreError::new("the operating system has no randomness to give").with_source(error)
    })?;
    let generation = u64::from_be_bytes(drawn);
    let until = Instant::now() + store.servers.command();
    let result = beat_until(store, part, least, generation, until).await;
    if result.is_err() {
        store.servers.missed_beat();
    }
    let parts = store.servers.parts();
    if store.hearts.len() > parts.len() {
        store.hearts.retain(&parts);
    }
    result
}

async fn beat_until(
    store: &Inner,
    part: Part,
    least: u64,
    generation: u64,
    until: Instant,
) -> Result<Beat, StoreError> {
    let mut passed: Vec<Bucket> = Vec::new();
    let mut is_late = false;
    let is_alone = store.servers.is_alone();
    loop {
        let known = store.hearts.tag(part);
        let (node, tag) = store.servers.place(part, known, &passed).await?;
        let build = |attempt: &_| ask::beat(&store.keys, tag, generation, least, attempt);
        let pulse = match store.servers.pulse(&node, until, &build).await {
            Ok(pulse) => pulse,
            Err(CallError::Refused(error)) if !is_alone && is_elsewhere(&error) => {
                passed.push(tag);
                if passed.len() < TRIES {
                    continue;
                }
                // A server that has none of its slots any more is a replica by now.
                return Err(
                    StoreError::from(CallError::Refused(error)).with_failure(Failure::Refused)
                );
            }
            Err(error) => return Err(error.into()),
        };
        let server = pulse.server;
        match Answer::new(pulse.reply).and_then(|answer| reply::beat(&answer, server)) {
            Ok(beat) => {
                let generation = store.hearts.heard(part, tag, server, beat.generation);
                return Ok(Beat { generation, ..beat });
            }
            // The server's clock was put right; it was read with this very answer.
            Err(Unusable::Late) if !is_late => is_late = true,
            Err(unusable) => return Err(unusable.into()),
        }
    }
}

/// Whether the slot is not, or not only, with the server that was asked. That says nothing against the server.
fn is_elsewhere(error: &RedisError) -> bool {
    [
        ServerErrorKind::Moved,
        ServerErrorKind::Ask,
        ServerErrorKind::TryAgain,
    ]
    .into_iter()
    .any(|kind| error.kind() == kind.into())
}

/// Who a server is, by two sections of its `INFO`: the run of its process, and whose data it has.
pub(super) fn server(info: &[Value]) -> Option<u64> {
    let field = |name: &str| {
        info.iter().find_map(|section| {
            let text: String = redis::from_redis_value_ref(section).ok()?;
            let mut lines = text.lines();
            lines.find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.to_owned()))
        })
    };
    let (run, data) = (field("run_id")?, field("master_replid")?);
    Some(short(&[run.as_bytes(), b" ", data.as_bytes()]))
}

/// Who a server is that says nothing of itself: whoever is at the end of this connection.
pub(super) fn unnamed(node: u64, generation: u64) -> u64 {
    short(&[
        b"connection",
        &node.to_be_bytes(),
        &generation.to_be_bytes(),
    ])
}

fn short(parts: &[&[u8]]) -> u64 {
    let hash = sha256(parts);
    hash[..8]
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}
