//! Ends that must reach the server: of sessions that may have been made, and whose cookie nobody has.
//!
//! A creation whose reply is lost may have happened, or may happen yet: the server runs a command until its not-after
//! instant. So its end is sent at once, and again until it was acknowledged after that instant.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::join_all;

use super::reply::{self, Answer};
use super::servers::{Again, Term};
use super::{Failure, Inner, StoreError, ask};
use crate::clock::micros;
use crate::event;
use crate::id::RecordKey;
use crate::record::EndReason;

/// So many are pursued at most; with more, nothing is made any more of which the outcome might be unknown.
const MOST: usize = 65_536;
/// So many ends are sent at the same time.
const AT_A_TIME: usize = 64;
/// How soon a round follows another, first and at most.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Longer than any command that was sent until now may still run.
const PURSUED_FOR: Duration = Duration::from_secs(10);

/// The sessions that are to be ended.
#[derive(Debug, Default)]
pub(super) struct Pursuit(Mutex<Pursued>);

#[derive(Debug, Default)]
struct Pursued {
    /// Each with the last instant, by the server's clock, at which it may still be made.
    sessions: HashMap<RecordKey, u64>,
    /// Whether a task is after them.
    running: bool,
}

impl Pursuit {
    fn lock(&self) -> MutexGuard<'_, Pursued> {
        // Nothing panics under it; each statement leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails when there are too many already.
    pub(super) fn has_room(&self) -> Result<(), StoreError> {
        if self.lock().sessions.len() < MOST {
            return Ok(());
        }
        Err(StoreError::new(
            "too many sessions were made of which it is not known whether Redis has them; they are being ended first",
        )
        .with_failure(Failure::Full))
    }

    /// Takes one off the list; of one that was added again meanwhile, the later instant counts.
    fn done(&self, key: &RecordKey, at: u64) {
        let mut pursued = self.lock();
        if pursued
            .sessions
            .get(key)
            .is_some_and(|not_after| *not_after < at)
        {
            pursued.sessions.remove(key);
        }
    }

    /// Sees to it that somebody is after those that are left: a task ends with its runtime.
    pub(super) fn go_on(&self, store: &Arc<Inner>) {
        let mut pursued = self.lock();
        if pursued.sessions.is_empty() || pursued.running {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            pursued.running = true;
            drop(pursued);
            runtime.spawn(run(Running {
                store: Arc::downgrade(store),
                is_over: false,
            }));
        }
    }
}

/// Ends whatever is, or will be, under `key`, until the server has said so after `not_after`.
pub(super) fn pursue(store: &Arc<Inner>, key: RecordKey, not_after: u64) {
    {
        let mut pursued = store.pursuit.lock();
        let known = pursued.sessions.entry(key).or_insert(not_after);
        *known = not_after.max(*known);
    }
    store.pursuit.go_on(store);
}

/// The task that is after them, wherever it ends: by itself, or with its runtime.
struct Running {
    store: Weak<Inner>,
    /// It has said so itself.
    is_over: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let (false, Some(store)) = (self.is_over, self.store.upgrade()) {
            store.pursuit.lock().running = false;
        }
    }
}

/// Until there is none left, or the store is gone.
async fn run(mut running: Running) {
    let mut pause = PAUSE;
    loop {
        let Some(store) = running.store.upgrade() else {
            return;
        };
        let pursued: Vec<_> = {
            let mut pursued = store.pursuit.lock();
            if pursued.sessions.is_empty() {
                // Under the lock: whoever adds one from here on begins another task.
                pursued.running = false;
                running.is_over = true;
                return;
            }
            pursued.sessions.keys().copied().collect()
        };
        // One that gets no answer, for its server is away, holds up none of the others.
        let mut answered = false;
        for some in pursued.chunks(AT_A_TIME) {
            let ended = join_all(some.iter().map(|key| end(&store, key))).await;
            answered |= ended.contains(&true);
        }
        pause = if answered {
            PAUSE
        } else {
            (pause * 2).min(LONGEST_PAUSE)
        };
        drop(store);
        tokio::time::sleep(pause).await;
    }
}

/// Whether the server answered.
async fn end(store: &Inner, key: &RecordKey) -> bool {
    let term = Term::of(store.budget);
    let sent = store
        .servers
        .send(key.bucket, term, Again::Once, |attempt| {
            ask::take_back(&store.keys, key, attempt)
        });
    let Ok(reply) = sent.await else { return false };
    let Ok((ended, now)) = Answer::new(reply.value).and_then(|answer| reply::ended_one(&answer))
    else {
        return false;
    };
    for session in &ended.sessions {
        let user = session.user.as_ref();
        event::ended(key.kind, session.handle, user, EndReason::LoggedOut);
    }
    store.pursuit.done(key, now);
    true
}

/// A change that was dropped before its outcome was known: whoever asked for it will not have its cookie.
pub(super) struct Unfinished<'a> {
    pub(super) store: &'a Arc<Inner>,
    pub(super) made: Option<RecordKey>,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(made) = self.made {
            let soon = self.store.clock.now() + PURSUED_FOR;
            pursue(self.store, made, micros(soon));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::RedisStore;
    use super::*;
    use crate::id::{Bucket, Digest, Kind};
    use crate::record::{NewRecord, Record, Seen};
    use crate::store::{Create, SessionStore};

    fn key(n: usize) -> RecordKey {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&n.to_be_bytes());
        RecordKey {
            kind: Kind::User,
            bucket: Bucket::from(0),
            digest: Digest::from_bytes(digest),
        }
    }

    #[tokio::test]
    async fn inv11_nothing_is_made_while_too_many_are_to_be_ended() {
        let store = RedisStore::connect("redis://127.0.0.1:1/").await.unwrap();
        let now = store.now();
        let create = Create {
            key: key(0),
            record: Record::new(&NewRecord {
                handle: crate::Handle::random().unwrap(),
                user: None,
                created_at: now,
                signed_in_at: None,
                absolute_end: now + Duration::from_secs(60),
                idle_timeout: Duration::from_secs(60),
                touch_threshold: Duration::ZERO,
                persistent: false,
                seen: Seen {
                    at: now,
                    address: None,
                    agent: None,
                },
                values: Vec::new(),
            }),
            began_at: now,
            limit: None,
            held: false,
        };
        for (pursued, is_refused) in [(MOST - 1, false), (MOST, true)] {
            let all = (0..pursued).map(|n| (key(n), u64::MAX));
            store.0.pursuit.lock().sessions = all.collect();
            assert_eq!(store.0.pursuit.has_room().is_err(), is_refused);
            // Nobody answers at that address: what is sent fails otherwise.
            let error = store.create(create.clone()).await.unwrap_err().to_string();
            assert_eq!(error.contains("too many"), is_refused, "{error}");
        }
    }
}
