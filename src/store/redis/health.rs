//! What is known of a server's connections: which of them are given up, and why the last one could not be made.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::RedisError;

/// The health of the connections of one pool.
///
/// Connections come in generations. Who finds one broken gives up its whole generation: what has cut one connection, a
/// restart or a demotion, has cut the others too, and whoever sends a command a second time needs one that is new for
/// certain.
#[derive(Debug, Default)]
pub(super) struct Health {
    generation: AtomicU64,
    /// How many connections were ever begun, and how many are being made.
    begun: AtomicU64,
    connecting: AtomicU64,
    failed: Mutex<Option<(Instant, RedisError)>>,
}

impl Health {
    /// What a connection that is made now belongs to.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Gives up a generation. Given up twice it is given up once: the connections in its place stay.
    pub(super) fn give_up(&self, generation: u64) {
        // Who comes second finds it gone, which is all that is wanted.
        let _ = self.generation.compare_exchange(
            generation,
            generation + 1,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
    }

    pub(super) fn is_given_up(&self, generation: u64) -> bool {
        generation != self.generation.load(Ordering::Acquire)
    }

    /// A connection is being made, until what this gives is dropped: also when its runtime ends.
    pub(super) fn connecting(&self) -> impl Drop {
        self.begun.fetch_add(1, Ordering::AcqRel);
        self.connecting.fetch_add(1, Ordering::AcqRel);
        Connecting(&self.connecting)
    }

    /// How many connections were ever begun.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Acquire)
    }

    /// Whether none was begun since there were so many, and none is being made.
    pub(super) fn is_idle_since(&self, begun: u64) -> bool {
        self.begun() == begun && self.connecting.load(Ordering::Acquire) == 0
    }

    /// Notes whether a connection could be made.
    pub(super) fn connected(&self, now: Instant, error: Option<&RedisError>) {
        *self.failed() = error.map(|error| (now, error.clone()));
    }

    /// Why the last one could not be made, if none was made since.
    pub(super) fn cause(&self) -> Option<RedisError> {
        self.failed().as_ref().map(|(_, error)| error.clone())
    }

    /// Whether one could not be made since.
    pub(super) fn has_failed_since(&self, since: Instant) -> bool {
        self.failed().as_ref().is_some_and(|(at, _)| *at >= since)
    }

    /// How long to wait before the next is made.
    pub(super) fn pause(&self, now: Instant, pace: Duration) -> Option<Duration> {
        let failed = self.failed().as_ref().map(|(at, _)| *at)?;
        pace.checked_sub(now.saturating_duration_since(failed))
            .filter(|pause| !pause.is_zero())
    }

    fn failed(&self) -> MutexGuard<'_, Option<(Instant, RedisError)>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Connecting<'a>(&'a AtomicU64);

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_generation_is_given_up_once() {
        let health = Health::default();
        let old = health.generation();
        assert!(!health.is_given_up(old));
        health.give_up(old);
        let new = health.generation();
        assert!(health.is_given_up(old));
        // The late failures of the old connections leave the new ones alone.
        health.give_up(old);
        assert!(!health.is_given_up(new));
    }

    #[test]
    fn connections_are_not_made_in_a_hurry() {
        let health = Health::default();
        let now = Instant::now();
        assert_eq!(health.pause(now, 20 * MS), None);
        let refused = RedisError::from(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
        health.connected(now, Some(&refused));
        assert_eq!(health.pause(now + 5 * MS, 20 * MS), Some(15 * MS));
        assert_eq!(health.pause(now + 20 * MS, 20 * MS), None);
        assert!(health.cause().is_some());
        health.connected(now, None);
        assert_eq!(health.pause(now, 20 * MS), None);
        assert!(health.cause().is_none());
    }
}
