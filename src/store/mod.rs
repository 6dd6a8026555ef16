//! Where sessions are kept: the contract, and what carries it out.
//!
//! A store knows records, users and time; it knows nothing of cookies, requests or responses. [`SessionStore`] is
//! the contract, [`rules`] is the same contract as pure code, [`MemoryStore`] keeps it in this process, `RedisStore`
//! (feature `redis`) in Redis.

mod allowance;
mod beat;
mod command;
#[cfg(feature = "test-util")]
pub mod conformance;
mod counts;
mod ends;
mod erased;
mod error;
mod growth;
mod hearing;
mod late;
mod memory;
mod near;
mod outage;
#[cfg(feature = "redis")]
pub(crate) mod redis;
pub mod rules;
#[cfg(feature = "test-util")]
pub mod wrappers;

use std::future::Future;
use std::time::{Duration, SystemTime};

pub use beat::{Beat, Part};
pub use command::{
    Append, Appended, Applied, Apply, AtLimit, Create, Created, EndScope, EndSessions,
    EndedSession, EndedSessions, Limit, Renewal, Replace, Replaced, SignIn, Spend, Spent,
};
pub use counts::{Connections, Counts, NearCounts};
pub use ends::Ends;
pub(crate) use ends::Watch;
pub(crate) use erased::{ErasedStore, StoreFuture};
pub use error::{Failure, StoreError};
pub use hearing::{Heard, Hearing};
pub use memory::{MemoryStore, MemoryStoreBuilder};
pub use near::Near;
pub(crate) use outage::{Budget, Settings, Shield, Told, UNBOUNDED};
pub use outage::{Health, Mode, Outage};
#[cfg(feature = "redis")]
pub use redis::{RedisStore, RedisStoreBuilder};

use crate::id::{Bucket, Digest, Kind, RecordKey, UserId};
use crate::record::{Activity, Entry, Record, UserLog};

/// A place that keeps sessions.
///
/// Implement it to keep them somewhere new; `store_conformance!` (feature `test-util`) runs one list of cases, one or
/// more for each rule below, against it. The pure functions in [`rules`] carry out every rule over anything that can
/// get and put entries, so that an implementation is mostly about where bytes go.
///
/// # The rules
///
/// 1. **Only `create` creates.** `apply`, `replace` and `end` never bring a record into being, nor back.
/// 2. **Each operation is atomic** over everything it touches: the record, the other records of the same user, the
///    user's index and `since`. All of these share one bucket. Another operation on the bucket comes wholly before
///    or wholly after.
/// 3. **Ended is ended.** An end leaves a [`Tombstone`](crate::record::Tombstone) in the record's place until
///    [`Entry::kept_until`]; whoever loads it is told why.
/// 4. **`create` is idempotent** by digest and handle: sent twice, it made one session. Over a tombstone it is refused.
/// 5. **`load` never returns a record past its ends** by this store's clock; it returns the end instead
///    ([`Entry::at`]). Absent and malformed are `Ok(None)`. `load_now`, where it answers, answers the same.
/// 6. **`apply` applies all or nothing**, and only to a record that exists, is not over, and, if it has a user, is in
///    that user's index. Values that it does not name stay as they are, and so do parts it does not know.
/// 7. **`seen` only moves forward.**
/// 8. **`replace` is one step**: at no instant do both ids open the session, nor neither. The old digest gets a
///    tombstone `regenerated` that names the successor. Sent twice, it is done once.
/// 9. **The index is the truth**: `list` is exactly the user's sessions that are live now, newest first.
/// 10. **A limit holds.** `create` counts live sessions only. At the limit it ends the oldest, or refuses and changes
///     nothing. `replace` does not count the session that it replaces.
/// 11. **`since`.** Ending all, or others, forbids from then on to create or sign in where the sign-in or its request
///     began before. Whoever began after the end was acknowledged, by this store's [`now`](Self::now), is let in. An
///     end of what was [`before`](EndSessions::before) some instant spares who signed in from then on, and forbids what
///     began before it. `since` never moves back.
/// 12. **Ending terminates**, in one step, however many sign in meanwhile.
/// 13. **Ending what is not there is `Ok`**, and ends nothing: an unknown key, an unknown handle, another user's. But
///     [`EndScope::Unborn`] leaves a tombstone, of the nil handle, where nothing stands: what is created there later is
///     refused for as long as the tombstone is kept.
/// 14. **A record limit.** What would be larger than the store allows is `TooLarge`, and nothing changes.
/// 15. **Nothing grows for ever**: an entry is dropped after [`Entry::kept_until`], and so are indexes and `since`.
/// 16. **`Err` means that the store failed**, and nothing else. It is then unknown whether the operation happened.
/// 17. **A conversation is added to**, in order, by `append` alone: parallel messages are lost by none, one that is sent
///     [again](Append::again) is there once, and what would go over the [bounds](Append::bounds) changes nothing. The
///     instants are the store's, and never go back. A `create` brings a conversation along; sent twice, it adds what is
///     not there yet. `replace` keeps it, an end drops it, and the record limit does not count it.
///
/// 18. **A user has a history**, which outlives their sessions: each sign-in, proof, new id and end of one of them stands
///     in it once, written by the very step that made it so, and by no other; an end by the clocks does not. What the
///     application [recorded](Self::record) stands beside it. Both are bounded in number and age, and gone once they are
///     [erased](Self::erase).
///
/// # Cancel safety
///
/// A future that is dropped has happened wholly or not at all. The layer drops none of those that matter: it lets
/// them finish in the background.
pub trait SessionStore: Send + Sync + 'static {
    /// The store's own clock. Every end is judged by it.
    ///
    /// That of a remote store is known but from its last answers: it may be behind by a round trip, and is never ahead,
    /// so that whoever begins before the store ended something is never taken for somebody who began after it.
    fn now(&self) -> SystemTime;

    /// The most bytes that a record may have: rule 14. Default: no limit.
    fn record_limit(&self) -> usize {
        usize::MAX
    }

    /// The longest that an operation takes before it fails. A request waits no longer for all of its calls together:
    /// what it has waited for one is not there for the next, which is dropped when the rest is over.
    ///
    /// Default: none, for a store that answers from this process.
    fn deadline(&self) -> Option<Duration> {
        None
    }

    /// Where a user's sessions are kept. The same user has the same bucket on every instance.
    fn bucket(&self, user: &UserId) -> Bucket {
        Bucket::of("", user)
    }

    /// The parts that can each be away by itself, as far as is known now.
    ///
    /// Default: none. Such a store is in this process and never away; nobody asks it for a heartbeat.
    fn parts(&self) -> Vec<Part> {
        Vec::new()
    }

    /// The part that has a bucket, as far as is known now. It is asked with every request, and so answers at once.
    ///
    /// Default: the one there is.
    fn part(&self, _bucket: Bucket) -> Part {
        Part::default()
    }

    /// A heartbeat: a write to a part, that shows whether it takes writes, and whether it is what it was. One attempt,
    /// with a short deadline: it is asked again soon.
    ///
    /// `least`: the greatest value that was seen of this part; what is written is more.
    ///
    /// Default: zeros, for a store that is never away.
    ///
    /// # Errors
    /// [`StoreError`] if the part does not take writes now, or gave no answer.
    ///
    /// # Cancel safety
    /// One that is dropped may have been written.
    fn beat(
        &self,
        _part: Part,
        _least: u64,
    ) -> impl Future<Output = Result<Beat, StoreError>> + Send {
        std::future::ready(Ok(Beat {
            server: 0,
            generation: 0,
            before: None,
            value: 0,
        }))
    }

    /// Where this store tells of ends as they happen, if it is in this process and does so.
    ///
    /// Default: none; whoever waits for the end of a session asks, with [`load_each`](Self::load_each), once a second for
    /// all of them.
    fn ends(&self) -> Option<Ends> {
        None
    }

    /// Ends of a kind of sessions as another instance makes them, if this store is a remote one that tells of them. It is
    /// listened to while somebody waits for the end of a session, and need not tell of all: whoever waits asks as well.
    /// Ends by the clock, and new ids, need not be told of.
    ///
    /// Default: none.
    fn hear(&self, _kind: Kind) -> Option<Hearing> {
        None
    }

    /// Makes a session.
    ///
    /// A store whose replies can get lost has to end what it may have made without anybody knowing, here and in
    /// [`replace`](Self::replace): nobody has its cookie, and it takes a place of its user's limit.
    fn create(&self, create: Create) -> impl Future<Output = Result<Created, StoreError>> + Send;

    /// Reads what stands under a key.
    fn load(
        &self,
        key: RecordKey,
    ) -> impl Future<Output = Result<Option<Entry>, StoreError>> + Send;

    /// The same at once, for a store in this process that waits for nobody: reading takes no future then. `None`: it has to be
    /// [loaded](Self::load).
    ///
    /// Default: none.
    fn load_now(&self, _key: &RecordKey) -> Option<Option<Entry>> {
        None
    }

    /// What is known here of a session that was read before, where the store keeps such copies true: a near cache. At once,
    /// and without asking anybody. For requests that only read; what must have it from the store itself
    /// [loads](Self::load) it.
    ///
    /// Default: nothing.
    fn near(&self, _key: &RecordKey) -> Option<Near> {
        None
    }

    /// A layer says how much memory there is for such copies, in bytes, beside its leases. Whether there is such a cache.
    ///
    /// Default: none.
    fn near_memory(&self, _most: usize) -> bool {
        false
    }

    /// Figures of that cache, if there is one.
    ///
    /// Default: none.
    fn near_counts(&self) -> Option<NearCounts> {
        None
    }

    /// Reads what stands under several keys: twin cookies, at most four; and the sessions whose end somebody waits for, a
    /// thousand at most. A remote store sends one pipeline to each part.
    fn load_each(
        &self,
        keys: &[RecordKey],
    ) -> impl Future<Output = Result<Vec<Option<Entry>>, StoreError>> + Send {
        async move {
            let mut entries = Vec::with_capacity(keys.len());
            for key in keys {
                entries.push(self.load(*key).await?);
            }
            Ok(entries)
        }
    }

    /// Changes values, and what a touch changes, of a live session.
    fn apply(&self, apply: Apply) -> impl Future<Output = Result<Applied, StoreError>> + Send;

    /// The same, for a request that has waited for its store before: it waits no longer than what is `left` to it, and then
    /// it is not known whether the change was made. `None`: no longer than the store's [`deadline`](Self::deadline).
    ///
    /// Default: [`apply`](Self::apply), dropped when the time is over. A store that has a timer for its deadline anyway
    /// needs no second one.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed, or the time was over.
    fn apply_within(
        &self,
        apply: &Apply,
        left: Option<Duration>,
    ) -> impl Future<Output = Result<Applied, StoreError>> + Send {
        outage::within(left, self.apply(apply.clone()))
    }

    /// Adds a message to a live session's conversation.
    fn append(&self, append: Append) -> impl Future<Output = Result<Appended, StoreError>> + Send;

    /// Takes one of a number of things that somebody may have within a span of time, on all instances together. The
    /// span begins with the first; the count is dropped after it.
    ///
    /// Default: an error, for a store that counts nothing.
    fn spend(&self, _spend: Spend) -> impl Future<Output = Result<Spent, StoreError>> + Send {
        std::future::ready(Err(StoreError::new(
            "this store counts nothing: implement SessionStore::spend, or set no demo_budget",
        )))
    }

    /// Gives a live session a new id.
    fn replace(
        &self,
        replace: Replace,
    ) -> impl Future<Output = Result<Replaced, StoreError>> + Send;

    /// Ends one session, or several of a user.
    fn end(
        &self,
        end: EndSessions,
    ) -> impl Future<Output = Result<EndedSessions, StoreError>> + Send;

    /// A user's live sessions, newest first.
    fn list(&self, user: UserId) -> impl Future<Output = Result<Vec<Record>, StoreError>> + Send;

    /// Where the session is that was migrated from an id of another system, by what stands for that id. It may be over
    /// since, and is under another id once it was used.
    ///
    /// Default: nowhere, for a store that nothing is migrated to.
    fn migrated(
        &self,
        _old: Digest,
    ) -> impl Future<Output = Result<Option<RecordKey>, StoreError>> + Send {
        std::future::ready(Ok(None))
    }

    /// Writes down what a user did, as the application says.
    fn record(
        &self,
        user: UserId,
        activity: Activity,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// A user's history and activities, newest first: rule 18.
    fn log(&self, user: UserId) -> impl Future<Output = Result<UserLog, StoreError>> + Send;

    /// Drops both.
    fn erase(&self, user: UserId) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// How many connections there are. Default: none, for a store in this process.
    fn connections(&self) -> Option<Connections> {
        None
    }

    /// How many sessions of each kind there are, as they were counted within the time `oldest`, or within twenty times
    /// what that took; by whichever instance. `None`: somebody is at the first count. For statistics, never in a request.
    ///
    /// Default: they are [counted](Self::count) now.
    fn counts(
        &self,
        _oldest: Duration,
    ) -> impl Future<Output = Result<Option<Counts>, StoreError>> + Send {
        async move {
            Ok(Some(Counts {
                user: self.count(Kind::User).await?,
                demo: self.count(Kind::Demo).await?,
                at: self.now(),
                took: Duration::ZERO,
            }))
        }
    }

    /// How many sessions of a kind are kept that are neither ended nor over. It may look at each of them.
    fn count(&self, kind: Kind) -> impl Future<Output = Result<u64, StoreError>> + Send;
}
