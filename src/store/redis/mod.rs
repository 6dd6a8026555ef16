//! Sessions in Redis.
//!
//! 1. Redis is the only authority: nothing is kept here but connections, the server's clock, and the ends that must
//!    still reach it.
//! 2. A read is one `GET`. A change is one script on one slot, that checks everything before its first write, takes the
//!    time from the server, and refuses to run when it arrives too late.
//! 3. What is not known to have happened is never told as if it had, nor done twice: see [`pursuit`].

#[cfg(feature = "admin")]
pub(crate) mod admin;
mod ask;
mod beat;
mod builder;
mod call;
mod change;
mod clock;
#[cfg(feature = "cluster")]
mod cluster;
mod connection;
mod count;
mod failure;
mod health;
mod hearing;
mod heart;
mod held;
mod keys;
mod name;
mod near_cache;
mod node;
#[cfg(feature = "cluster")]
mod parts;
mod pursuit;
mod read;
mod reply;
mod script;
#[cfg(feature = "sentinel")]
mod sentinel;
mod servers;
#[cfg(feature = "cluster")]
mod slots;
mod target;
#[cfg(feature = "tls")]
mod tls;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use builder::RedisStoreBuilder;

use self::change::Unchanged;
use self::clock::StoreClock;
use self::failure::CallError;
use self::heart::Hearts;
use self::keys::Keyspace;
use self::near_cache::{Changing, NearCache, What};
use self::pursuit::Pursuit;
use self::read::{get, live};
use self::reply::{Answer, Unusable};
use self::servers::{Again, Attempt, Servers, Term};
use super::{
    Append, Appended, Applied, Apply, Beat, Connections, Counts, Create, Created, EndScope,
    EndSessions, EndedSessions, Failure, Hearing, Near, NearCounts, Part, Replace, Replaced,
    SessionStore, Spend, Spent, StoreError,
};
use crate::clock::micros;
use crate::error::ConfigError;
use crate::event::{self, Tally};
use crate::id::{Bucket, Digest, Kind, RecordKey, UserId};
use crate::legacy::{self, Pointer};
use crate::record::{Activity, End, EndReason, Entry, HistoryEntry, Record, UserLog};

/// Sessions in Redis: one server, or with their features a cluster or what Sentinel watches (feature `redis`).
///
/// Clones share connections. What happens when Redis is away is an error here, for the layer to answer; nothing is
/// kept in memory, but for a [near cache](RedisStoreBuilder::near_cache) where there is one.
///
/// | operation | sends |
/// |---|---|
/// | [`load`](SessionStore::load) | one `GET`; of a demo session one `EVALSHA`, which gives its conversation too |
/// | [`near`](SessionStore::near) | nothing |
/// | [`load_each`](SessionStore::load_each) | as many `GET`s, in one pipeline |
/// | [`create`](SessionStore::create), [`apply`](SessionStore::apply), [`replace`](SessionStore::replace), [`end`](SessionStore::end), [`list`](SessionStore::list), [`append`](SessionStore::append), [`spend`](SessionStore::spend) | one `EVALSHA` |
/// | [`migrated`](SessionStore::migrated) | one `GET` |
/// | [`record`](SessionStore::record), [`erase`](SessionStore::erase) | one `EVALSHA`, one `DEL` |
/// | [`log`](SessionStore::log) | two `LRANGE`s, in one pipeline |
/// | [`counts`](SessionStore::counts) | one `GET`; and where the count is too old, and nobody is at it, a `SET`, a count in small steps, a `SET`, a `DEL` |
/// | [`count`](SessionStore::count) | as many `SCAN`s, `GETRANGE`s and `PTTL`s as it takes, and `GET`s of what is about to go: for administration, never in a request |
/// | [`beat`](SessionStore::beat) | one pipeline to one primary: `TIME`, one `EVALSHA`, `INFO server`, `INFO replication` |
/// | [`hear`](SessionStore::hear) | a connection outside of the pool, with one `SUBSCRIBE` |
/// | once a second | one `TIME` to each primary whose clock no `beat` has just read; with a near cache two more, over its own connection |
///
/// A user has at most 1,000 sessions, or what the layer's limit allows: one more ends the oldest. Every list has a
/// bound, and a script that ends a user's sessions must not hold up the server.
///
/// # Replies that are lost
/// A creation, or a new id, whose reply does not come is sent once more; it is the same session if both arrive. If
/// there is still no answer the operation fails, and the end of that session is sent again and again until it is
/// acknowledged: a session that nobody holds does not stay. Changes of values are sent once. An end is sent again; of
/// several that it ended, those whose reply was lost are not told of.
///
/// # Cancel safety
/// A future that is dropped has happened wholly or not at all. A creation or a new id that is dropped is taken back in
/// the same way as one whose reply was lost.
#[derive(Clone)]
pub struct RedisStore(Arc<Inner>);

/// What the clones share.
pub(crate) struct Inner {
    keys: Keyspace,
    servers: Servers,
    clock: Arc<StoreClock>,
    pursuit: Pursuit,
    hearts: Hearts,
    /// Off by default.
    near: Option<Arc<NearCache>>,
    malformed: Tally,
    budget: Duration,
    record_limit: usize,
}

impl RedisStore {
    /// The store at this address: `redis://[user:password@]host[:port][/database]`, `rediss://` with TLS
    /// (feature `tls`).
    ///
    /// It is there also while Redis is away, and every operation fails until Redis is back. Reaching it is tried once,
    /// so that the log says at the start if it cannot be.
    ///
    /// # Errors
    /// [`ConfigError`] if the address cannot be one.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn connect(url: &str) -> Result<Self, ConfigError> {
        Self::builder(url).connect().await
    }

    /// A store with other than the default settings.
    pub fn builder(url: &str) -> RedisStoreBuilder {
        RedisStoreBuilder::new(url)
    }

    /// Whether all of its servers answered when they were last asked, at most a second ago. At once, for a readiness
    /// probe.
    #[must_use]
    pub fn is_answering(&self) -> bool {
        self.0.servers.are_answering()
    }

    /// A change of these begins: see [`Changing`].
    fn changing(&self, what: What) -> Changing<'_> {
        NearCache::changing(self.0.near.as_deref(), what)
    }

    /// What an operation has that begins now.
    fn term(&self) -> Term {
        Term::of(self.0.budget)
    }

    /// The end of what is not there.
    fn lost(&self) -> End {
        End::new(EndReason::StoreLost, self.now())
    }

    fn tell_malformed(&self) {
        if let Some(count) = self.0.malformed.add(self.now()) {
            event::malformed_record(count);
        }
    }

    /// A change that is the same when it is made twice: sent once more when its reply is lost, and taken back, under
    /// `made`, if there is such a key, when it is not known to have been made, or made in time. `settled`: whether the outcome is that it was
    /// made, so that an earlier one that arrives later finds it so.
    async fn make<T>(
        &self,
        bucket: Bucket,
        made: Option<RecordKey>,
        build: impl Fn(&Attempt) -> redis::Cmd + Send + Sync,
        read: impl FnOnce(&Answer) -> Result<T, Unusable>,
        settled: impl FnOnce(&T) -> bool,
    ) -> Result<T, StoreError> {
        self.0.pursuit.has_room()?;
        self.0.pursuit.go_on(&self.0);
        let unfinished = pursuit::Unfinished {
            store: &self.0,
            made,
        };
        let sent = self
            .0
            .servers
            .send(bucket, self.term(), Again::Once, build)
            .await;
        std::mem::forget(unfinished);
        match sent {
            Ok(reply) => {
                let outcome = Answer::new(reply.value).and_then(|answer| read(&answer));
                if let Some(not_after) = reply.lost
                    && !outcome.as_ref().is_ok_and(settled)
                {
                    self.take_back(made, not_after);
                }
                outcome.map_err(Into::into)
            }
            Err(error) => {
                if let CallError::Lost { not_after, .. } = &error {
                    self.take_back(made, *not_after);
                }
                Err(error.into())
            }
        }
    }

    fn take_back(&self, made: Option<RecordKey>, not_after: u64) {
        if let Some(made) = made {
            pursuit::pursue(&self.0, made, not_after);
        }
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("keys", &self.0.keys)
            .field("budget", &self.0.budget)
            .field("record_limit", &self.0.record_limit)
            .finish_non_exhaustive()
    }
}

impl SessionStore for RedisStore {
    /// Its [`operation_timeout`](RedisStoreBuilder::operation_timeout).
    fn deadline(&self) -> Option<Duration> {
        Some(self.0.budget)
    }

    fn now(&self) -> SystemTime {
        self.0.clock.now()
    }

    fn bucket(&self, user: &UserId) -> Bucket {
        self.0.keys.bucket(user)
    }

    fn record_limit(&self) -> usize {
        self.0.record_limit
    }

    fn parts(&self) -> Vec<Part> {
        self.0.servers.parts()
    }

    fn part(&self, bucket: Bucket) -> Part {
        self.0.servers.part(bucket)
    }

    fn hear(&self, kind: Kind) -> Option<Hearing> {
        Some(hearing::hear(&self.0, kind))
    }

    async fn beat(&self, part: Part, least: u64) -> Result<Beat, StoreError> {
        heart::beat(&self.0, part, least).await
    }

    async fn create(&self, create: Create) -> Result<Created, StoreError> {
        let bytes = create.record.to_bytes();
        if bytes.len() > self.0.record_limit {
            return Ok(Created::TooLarge);
        }
        let keys = &self.0.keys;
        // A limit ends others of the user.
        let _changing = self.changing(What::Bucket(create.key.bucket));
        self.make(
            create.key.bucket,
            (!create.held).then_some(create.key),
            |attempt| ask::create(keys, &create, &bytes, attempt),
            |answer| reply::created(answer, &create),
            |created| matches!(created, Created::Created(_)),
        )
        .await
    }

    async fn load(&self, key: RecordKey) -> Result<Option<Entry>, StoreError> {
        if key.kind == Kind::Demo {
            return self.load_demo(key).await;
        }
        if let Some(loaded) = self.load_by_line(&key).await {
            return loaded;
        }
        let sent = self
            .0
            .servers
            .send(key.bucket, self.term(), Again::Freely, |_| {
                get(&self.0.keys, &key)
            });
        let value = match sent.await {
            Ok(reply) => Ok(reply.value),
            Err(CallError::Refused(error)) => Err(error),
            Err(error) => return Err(error.into()),
        };
        self.entry(reply::loaded(value))
    }

    async fn load_each(&self, keys: &[RecordKey]) -> Result<Vec<Option<Entry>>, StoreError> {
        if keys.iter().any(|key| key.kind == Kind::Demo) {
            let mut entries = Vec::with_capacity(keys.len());
            for key in keys {
                entries.push(self.load(*key).await?);
            }
            return Ok(entries);
        }
        let commands = keys
            .iter()
            .map(|key| (key.bucket, get(&self.0.keys, key)))
            .collect();
        let values = self
            .0
            .servers
            .send_each(self.term().until, commands)
            .await?;
        let entries = values.into_iter().zip(keys).map(|(value, key)| {
            let loaded = reply::loaded(value);
            if let Some(near) = &self.0.near {
                near.seen_elsewhere(key, live(&loaded));
            }
            self.entry(loaded)
        });
        entries.collect()
    }

    async fn apply(&self, apply: Apply) -> Result<Applied, StoreError> {
        self.apply_within(&apply, None).await
    }

    /// The timers of its command are those that there are anyway.
    async fn apply_within(
        &self,
        apply: &Apply,
        left: Option<Duration>,
    ) -> Result<Applied, StoreError> {
        let (keys, limit) = (&self.0.keys, self.0.record_limit);
        let unchanged = Unchanged::of(apply, limit);
        let _changing = self.changing(What::Key(apply.key));
        let term = Term::of(left.map_or(self.0.budget, |left| left.min(self.0.budget)));
        let reply = self
            .0
            .servers
            .send(apply.key.bucket, term, Again::Never, |attempt| {
                change::apply(keys, limit, apply, unchanged.as_ref(), attempt)
            })
            .await?;
        if let (redis::Value::Int(1), Some(unchanged)) = (&reply.value, &unchanged) {
            return Ok(Applied::Saved(unchanged.sum));
        }
        match Answer::new(reply.value).and_then(|answer| reply::applied(&answer, self.lost())) {
            Err(Unusable::Malformed) => {
                self.tell_malformed();
                Ok(Applied::Ended(self.lost()))
            }
            applied => applied.map_err(Into::into),
        }
    }

    async fn append(&self, append: Append) -> Result<Appended, StoreError> {
        let keys = &self.0.keys;
        // One that says who it is may be sent as often as it takes.
        let again = if append.again {
            Again::Once
        } else {
            Again::Never
        };
        let reply = self
            .0
            .servers
            .send(append.key.bucket, self.term(), again, |attempt| {
                ask::append(keys, &append, attempt)
            })
            .await?;
        match Answer::new(reply.value).and_then(|answer| reply::appended(&answer, self.lost())) {
            Err(Unusable::Malformed) => {
                self.tell_malformed();
                Ok(Appended::Ended(self.lost()))
            }
            appended => appended.map_err(Into::into),
        }
    }

    async fn spend(&self, spend: Spend) -> Result<Spent, StoreError> {
        let keys = &self.0.keys;
        let reply = self
            .0
            .servers
            .send(spend.bucket(), self.term(), Again::Never, |attempt| {
                ask::spend(keys, &spend, attempt)
            })
            .await?;
        Ok(reply::spent(&Answer::new(reply.value)?)?)
    }

    async fn replace(&self, replace: Replace) -> Result<Replaced, StoreError> {
        let (keys, limit) = (&self.0.keys, self.0.record_limit);
        let lost = self.lost();
        let read = |answer: &Answer| match reply::replaced(answer, replace.key.kind, lost.clone()) {
            Err(Unusable::Malformed) => {
                self.tell_malformed();
                Ok(Replaced::Ended(lost))
            }
            replaced => replaced,
        };
        let _changing = self.changing(What::Bucket(replace.key.bucket));
        self.make(
            replace.key.bucket,
            Some(replace.key.sibling(replace.successor)),
            |attempt| ask::replace(keys, limit, &replace, attempt),
            read,
            |replaced| matches!(replaced, Replaced::Replaced { .. }),
        )
        .await
    }

    async fn end(&self, end: EndSessions) -> Result<EndedSessions, StoreError> {
        let keys = &self.0.keys;
        let (user, key) = match &end.scope {
            EndScope::One(key, _) | EndScope::Unborn(key) => (None, Some(*key)),
            EndScope::Handle(user, _) | EndScope::Others(user, _) | EndScope::All(user) => {
                (Some(user), None)
            }
        };
        if let Some(key) = key {
            let _changing = self.changing(What::Key(key));
            let build = |attempt: &Attempt| ask::end_one(keys, &key, &end, attempt);
            let sent = self
                .0
                .servers
                .send(key.bucket, self.term(), Again::Once, build);
            let reply = sent.await?;
            let answer = Answer::new(reply.value)?;
            if answer.is_malformed() {
                self.tell_malformed();
            }
            let (ended, _) = reply::ended_one(&answer)?;
            if reply.lost.is_some() && ended.last.is_none() {
                // It may well have been ended by the one whose reply was lost, and what it held last is lost with that.
                return Err(StoreError::new(
                    "Redis did not answer to the end of a session; it is over now, and what it held is not known",
                )
                .with_failure(Failure::Silent));
            }
            return Ok(ended);
        }
        let Some(user) = user else {
            return Ok(EndedSessions::default());
        };
        let build = |attempt: &Attempt| ask::end_user(keys, user, &end, attempt);
        let bucket = keys.bucket(user);
        let _changing = self.changing(What::Bucket(bucket));
        let sent = self.0.servers.send(bucket, self.term(), Again::Once, build);
        let ended = reply::ended_of_user(&Answer::new(sent.await?.value)?, user)?;
        if let Some(since) = ended.since {
            // Whoever begins from here on began after the end.
            self.0.clock.not_before(micros(since));
        }
        Ok(ended)
    }

    async fn list(&self, user: UserId) -> Result<Vec<Record>, StoreError> {
        let keys = &self.0.keys;
        let reply = self
            .0
            .servers
            .send(keys.bucket(&user), self.term(), Again::Freely, |attempt| {
                ask::list(keys, &user, attempt)
            })
            .await?;
        let (mut records, malformed) = reply::listed(reply.value)?;
        for _ in 0..malformed {
            self.tell_malformed();
        }
        super::rules::sort_newest_first(&mut records);
        Ok(records)
    }

    async fn migrated(&self, old: Digest) -> Result<Option<RecordKey>, StoreError> {
        let key = self.0.keys.pointer(&old);
        let sent = self.0.servers.send(
            legacy::pointer_bucket(&old),
            self.term(),
            Again::Freely,
            |_| {
                let mut command = redis::cmd("GET");
                command.arg(&key);
                command
            },
        );
        Ok(match sent.await?.value {
            redis::Value::BulkString(bytes) => Pointer::read(&bytes).map(|pointer| pointer.target),
            _ => None,
        })
    }

    async fn record(&self, user: UserId, activity: Activity) -> Result<(), StoreError> {
        let keys = &self.0.keys;
        let reply = self
            .0
            .servers
            .send(keys.bucket(&user), self.term(), Again::Never, |attempt| {
                ask::record(keys, &user, &activity, attempt)
            })
            .await?;
        Ok(reply::recorded(&Answer::new(reply.value)?)?)
    }

    async fn log(&self, user: UserId) -> Result<UserLog, StoreError> {
        let keys = &self.0.keys;
        let bucket = keys.bucket(&user);
        let both = [keys.events(&user), keys.activities(&user)];
        let commands = both.map(|key| (bucket, ask::lines(key))).into();
        let values = self
            .0
            .servers
            .send_each(self.term().until, commands)
            .await?;
        let Ok([events, activities]) = <[_; 2]>::try_from(values) else {
            return Err(Unusable::Unknown.into());
        };
        let refused = |error| StoreError::from(CallError::Refused(error));
        let (history, unread) = reply::lines(events, HistoryEntry::from_text).map_err(refused)?;
        let (activities, more) = reply::lines(activities, Activity::from_text).map_err(refused)?;
        for _ in 0..unread + more {
            self.tell_malformed();
        }
        let mut log = UserLog {
            history,
            activities,
        };
        log.forget(self.now());
        Ok(log)
    }

    async fn erase(&self, user: UserId) -> Result<(), StoreError> {
        let keys = &self.0.keys;
        let mut command = redis::cmd("DEL");
        command.arg(keys.events(&user)).arg(keys.activities(&user));
        let bucket = keys.bucket(&user);
        let term = self.term();
        let servers = &self.0.servers;
        let sent = servers.send(bucket, term, Again::Freely, |_| command.clone());
        sent.await?;
        Ok(())
    }

    async fn count(&self, kind: Kind) -> Result<u64, StoreError> {
        count::count(&self.0, kind).await
    }

    async fn counts(&self, oldest: Duration) -> Result<Option<Counts>, StoreError> {
        count::counts(&self.0, oldest).await
    }

    /// That of the near cache, which carries reads, is one of them: nobody has it to himself.
    fn connections(&self) -> Option<Connections> {
        let mut connections = self.0.servers.connections();
        if let Some(near) = &self.0.near {
            let open = u32::from(near.is_connected());
            connections.open += open;
            connections.idle += open;
            connections.most += 1;
        }
        Some(connections)
    }

    /// Of users' and strangers' sessions: a demo's conversation is read with it.
    fn near(&self, key: &RecordKey) -> Option<Near> {
        let near = self.0.near.as_ref()?;
        if key.kind == Kind::Demo {
            return None;
        }
        near_cache::line::keep_open(&self.0);
        near.get(key, self.0.servers.generation(), self.0.clock.reading())
    }

    fn near_memory(&self, most: usize) -> bool {
        let Some(near) = &self.0.near else {
            return false;
        };
        near.limit_memory(most);
        true
    }

    fn near_counts(&self) -> Option<NearCounts> {
        self.0.near.as_ref().map(|near| near.counts())
    }
}
