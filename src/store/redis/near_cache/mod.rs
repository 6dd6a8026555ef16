//! Sessions that this instance has read, served from memory until Redis says that they changed.
//!
//! 1. One connection of its own reads, is told of changes (`CLIENT TRACKING`, pushes of RESP3), and has a heartbeat. The
//!    library hands a push over before any reply behind it, in the task that reads the connection: nothing is between
//!    that could fall behind or overflow.
//! 2. So an answer over this connection vouches for every copy as of when its command was sent. Nothing is served later
//!    than a heartbeat and a deadline after that, and nothing without the connection.
//! 3. What this instance changes itself it drops here before whoever asked for the change is told of it.
//!
//! [`copies`] decides what may be kept, and is pure; this has the locks and the clocks; [`line`] has the connection.

mod copies;
pub(super) mod line;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;

use self::copies::{Copies, Read};
use self::line::Line;
use super::keys::Keyspace;
use crate::id::{Bucket, Kind, RecordKey};
use crate::record::Record;
use crate::store::outage::Stamp;
use crate::store::{Near, NearCounts};

/// A heartbeat of the connection that tells of changes comes so often.
const BEAT: Duration = Duration::from_millis(500);
/// So long after a sign of life the next is waited for, and a deadline longer: one that comes late costs no copies.
const VOUCHES_FOR: Duration = Duration::from_secs(1);
/// Copies are kept in at most so many pieces, each under its own lock.
const SHARDS: usize = 16;
/// A piece is for so many copies at least: below, how evenly keys fall would count.
const SHARD: usize = 64;
/// What copies take at most in bytes where no layer says otherwise: half of its default.
const MEMORY: usize = 32 << 20;

/// See the [module](self).
pub(crate) struct NearCache {
    keys: Keyspace,
    /// How to connect.
    client: redis::Client,
    #[cfg(feature = "tls")]
    encrypted: bool,
    shards: Box<[Mutex<Copies>]>,
    /// Copies take at most so many bytes, all together.
    most_bytes: AtomicUsize,
    /// The connection, if there is one.
    line: Mutex<Option<Arc<Line>>>,
    /// The generation of the others when it was made, and one more; 0: there is none, and nothing is served.
    serves: AtomicU64,
    lines: AtomicU64,
    /// The one that is there was lost.
    lost: Notify,
    /// Whether somebody keeps the connection.
    kept: AtomicBool,
    zero: Instant,
    /// When a command was sent, the last that was answered: by both clocks, in microseconds.
    vouched: [AtomicU64; 2],
    /// So long after it copies are served.
    vouches_for: Duration,
    hits: AtomicU64,
    misses: AtomicU64,
    invalidations: AtomicU64,
}

/// A read over the connection, that hears of what changes before its reply comes.
pub(super) struct Reading<'a> {
    cache: &'a NearCache,
    pub(super) line: Arc<Line>,
    key: RecordKey,
    /// `None`: its reply is not kept.
    read: Option<Read>,
    sent: Stamp,
}

/// A change by this instance: when this is dropped, it was answered, or given up.
pub(super) struct Changing<'a> {
    cache: Option<&'a NearCache>,
    what: What,
}

/// What a change is of.
#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    Key(RecordKey),
    /// Several sessions of a user, and of others in the same bucket.
    Bucket(Bucket),
}

impl NearCache {
    /// Needs no runtime, and connects to nothing. `entries` is not 0.
    pub(super) fn new(
        keys: Keyspace,
        client: redis::Client,
        entries: usize,
        deadline: Duration,
    ) -> Self {
        let shards = (entries / SHARD).clamp(1, SHARDS);
        Self {
            keys,
            #[cfg(feature = "tls")]
            encrypted: super::tls::is_encrypted(client.get_connection_info()),
            client,
            shards: (0..shards)
                .map(|_| Mutex::new(Copies::new(entries / shards)))
                .collect(),
            most_bytes: AtomicUsize::new(MEMORY),
            line: Mutex::new(None),
            serves: AtomicU64::new(0),
            lines: AtomicU64::new(0),
            lost: Notify::new(),
            kept: AtomicBool::new(false),
            zero: Instant::now(),
            vouched: [const { AtomicU64::new(0) }; 2],
            vouches_for: VOUCHES_FOR + deadline,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            invalidations: AtomicU64::new(0),
        }
    }

    /// Copies take no more than this: the smallest of what the layers over the store say.
    pub(super) fn limit_memory(&self, bytes: usize) {
        self.most_bytes.fetch_min(bytes, Ordering::Relaxed);
    }

    /// What is known of a session, if it can still be vouched for. `generation`: that of the other connections, `now`:
    /// the store's clock.
    pub(super) fn get(&self, key: &RecordKey, generation: u64, now: SystemTime) -> Option<Near> {
        let near = self.find(key, generation, now);
        let count = if near.is_some() {
            &self.hits
        } else {
            &self.misses
        };
        count.fetch_add(1, Ordering::Relaxed);
        near
    }

    fn find(&self, key: &RecordKey, generation: u64, now: SystemTime) -> Option<Near> {
        let age = self.vouched().age(self.now());
        if age > self.vouches_for {
            return None;
        }
        let record = self.shard(key.bucket).get(key).cloned()?;
        // Looked at last: a connection that is lost is lost before what it vouched for is dropped.
        if !self.serves(generation) {
            return None;
        }
        // Whoever asks Redis is told why it is over.
        if record.end_at(now).is_some() {
            return None;
        }
        Some(Near { record, age })
    }

    /// Begins a read over the connection; `None`: there is none.
    pub(super) fn begin(&self, key: &RecordKey) -> Option<Reading<'_>> {
        let line = self.line().clone()?;
        // Invariant: registered first, sent then.
        let read = self.shard(key.bucket).begin(key, line.number());
        Some(Reading {
            cache: self,
            key: *key,
            read,
            sent: self.now(),
            line,
        })
    }

    /// A change by this instance begins. What is known of it is dropped when it was answered, with what this returns, and
    /// before whoever asked for it is told: nobody here reads what was before it.
    pub(super) const fn changing(cache: Option<&Self>, what: What) -> Changing<'_> {
        Changing { cache, what }
    }

    /// Another connection was answered this: what is known differently here has changed, though nothing was told of it yet.
    pub(super) fn seen_elsewhere(&self, key: &RecordKey, record: Option<&Record>) {
        let mut copies = self.shard(key.bucket);
        if copies.peek(key) != record && copies.changed(key) {
            drop(copies);
            self.invalidated(1);
        }
    }

    /// The connection is there, and was answered a command that was sent then.
    fn opened(&self, line: Line, sent: Stamp) {
        let mut held = self.line();
        self.start(line.number(), line.generation(), sent);
        *held = Some(Arc::new(line));
    }

    /// Nothing that was known before counts.
    fn start(&self, number: u64, generation: u64, sent: Stamp) {
        for shard in &self.shards {
            lock(shard).start(number);
        }
        self.vouch(sent);
        self.serves.store(generation + 1, Ordering::Release);
    }

    /// A connection can be relied on no more: nor can anything that it vouched for.
    pub(super) fn lose(&self, number: u64) {
        let mut line = self.line();
        if line.as_ref().is_none_or(|line| line.number() != number) {
            return;
        }
        *line = None;
        self.stop();
        drop(line);
        self.lost.notify_one();
    }

    fn stop(&self) {
        self.serves.store(0, Ordering::Release);
        for shard in &self.shards {
            lock(shard).start(0);
        }
    }

    /// What a connection says without being asked. It never waits: it runs in the task that reads the connection.
    fn pushed(&self, number: u64, push: &PushInfo) {
        match push.kind {
            PushKind::Invalidate => match push.data.first() {
                Some(Value::Array(keys)) => keys.iter().for_each(|key| self.changed_there(key)),
                // `FLUSHALL`, and whatever else it may mean.
                _ => {
                    for shard in &self.shards {
                        self.invalidated(lock(shard).drop_all());
                    }
                }
            },
            PushKind::Disconnection => self.lose(number),
            _ => {}
        }
    }

    fn changed_there(&self, name: &Value) {
        let Value::BulkString(name) = name else {
            return;
        };
        // The connection reads no other keys; what another program reads over it, none does.
        if let Some(key) = self.keys.parse(Kind::User, name) {
            let known = self.shard(key.bucket).changed(&key);
            self.invalidated(usize::from(known));
        }
    }

    /// A command was answered that was sent then.
    fn vouch(&self, sent: Stamp) {
        // One of two that are answered at once may be lost, or half of it: what stands here is never later than what is
        // known.
        let (steady, wall) = sent.clocks();
        self.vouched[0].store(steady, Ordering::Relaxed);
        self.vouched[1].store(wall, Ordering::Relaxed);
    }

    fn vouched(&self) -> Stamp {
        let [steady, wall] = &self.vouched;
        Stamp::new(steady.load(Ordering::Relaxed), wall.load(Ordering::Relaxed))
    }

    fn now(&self) -> Stamp {
        Stamp::now(self.zero, SystemTime::now())
    }

    /// Whether the connection is there, and as old as the others are. Where those are given up, because one was cut or
    /// its server takes no writes any more, this one may lead to a server that is no longer the store.
    fn serves(&self, generation: u64) -> bool {
        let serves = self.serves.load(Ordering::Acquire);
        if serves != 0 && serves != generation + 1 {
            let number = self.line().as_ref().map(|line| line.number());
            number.into_iter().for_each(|number| self.lose(number));
        }
        serves == generation + 1
    }

    pub(super) fn counts(&self) -> NearCounts {
        let (mut entries, mut bytes) = (0, 0);
        for shard in &self.shards {
            let copies = lock(shard);
            entries += copies.len();
            bytes += copies.bytes();
        }
        NearCounts {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            invalidations: self.invalidations.load(Ordering::Relaxed),
            entries,
            bytes,
        }
    }

    /// Whether there is a connection now.
    pub(super) fn is_connected(&self) -> bool {
        self.line().is_some()
    }

    fn invalidated(&self, copies: usize) {
        if copies > 0 {
            self.invalidations
                .fetch_add(copies as u64, Ordering::Relaxed);
        }
    }

    fn shard(&self, bucket: Bucket) -> MutexGuard<'_, Copies> {
        lock(&self.shards[usize::from(bucket.get()) % self.shards.len()])
    }

    fn line(&self) -> MutexGuard<'_, Option<Arc<Line>>> {
        lock(&self.line)
    }
}

impl Reading<'_> {
    /// The reply came: whatever was kept is as good as of when this was sent. The record, where there is one, is kept if
    /// nothing was told of it meanwhile.
    pub(super) fn answered(mut self, record: Option<Record>) {
        self.cache.vouch(self.sent);
        self.end(record);
    }

    fn end(&mut self, record: Option<Record>) {
        if let Some(read) = self.read.take() {
            let most = self.cache.most_bytes.load(Ordering::Relaxed) / self.cache.shards.len();
            let mut copies = self.cache.shard(self.key.bucket);
            copies.end(&self.key, read, record, most);
        }
    }
}

/// One that failed, or that nobody waits for any more.
impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.end(None);
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        let Some(cache) = self.cache else { return };
        let known = match &self.what {
            What::Key(key) => usize::from(cache.shard(key.bucket).changed(key)),
            What::Bucket(bucket) => cache.shard(*bucket).bucket_changed(*bucket),
        };
        cache.invalidated(known);
    }
}

/// Nothing of a session is shown.
impl fmt::Debug for NearCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NearCache")
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics under them but a bug; each statement leaves what it holds whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
