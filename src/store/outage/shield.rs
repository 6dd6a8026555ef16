//! The store as a layer sees it: itself while it is there, and what this instance may answer while it is away.
//!
//! A thin shell: [`Memory`], [`Journal`](super::journal::Journal) and [`Breaker`](super::breaker::Breaker) decide, this
//! asks. No lock is held across an await.

mod look;
mod read;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::away::{Away, Settings};
use super::budget::Budget;
use super::memory::{Course, Here};
use super::part::Epoch;
use super::policy::{Health, Outage};
use crate::error::ConfigError;
use crate::id::{Born, Bucket, Digest, Kind, RecordKey, UserId};
use crate::record::{Activity, Record, UserLog};
use crate::session::{Freshness, Outcome};
use crate::store::{
    Append, Appended, Applied, Apply, Connections, Counts, Create, Created, EndScope, EndSessions,
    EndedSessions, ErasedStore, Failure, NearCounts, Replace, Replaced, Spend, Spent, StoreError,
};

/// A store, and what is done while it is away. Without the latter, every call is the store's own.
#[derive(Clone)]
pub(crate) struct Shield {
    store: Arc<dyn ErasedStore>,
    away: Option<Arc<Away>>,
    /// How long a request waits for the store.
    deadline: Option<Duration>,
}

/// What an operation came to, and on what that rests.
#[derive(Debug)]
pub(crate) struct Told<T> {
    pub(crate) value: T,
    pub(crate) freshness: Freshness,
    /// It is of a near cache: what must have it from the store itself asks again.
    pub(crate) is_near: bool,
}

impl<T> Told<T> {
    pub(crate) const fn live(value: T) -> Self {
        Self {
            value,
            freshness: Freshness::Live,
            is_near: false,
        }
    }

    const fn here(value: T, here: Here) -> Self {
        Self {
            value,
            freshness: match here {
                Here::Local => Freshness::Local,
                Here::Lease => Freshness::Stale,
            },
            is_near: false,
        }
    }

    /// Whether the store has it.
    pub(crate) const fn outcome(&self) -> Outcome {
        match self.freshness {
            Freshness::Live => Outcome::Committed,
            Freshness::Stale | Freshness::Local => Outcome::Pending,
        }
    }
}

impl Shield {
    /// One around this store. A store that is never away needs none.
    pub(crate) fn around(
        store: Arc<dyn ErasedStore>,
        settings: &Settings,
    ) -> Result<Self, ConfigError> {
        settings.check()?;
        let away = Away::over(&store, settings)?;
        Ok(Self {
            deadline: store.deadline(),
            store,
            away: away.map(Arc::new),
        })
    }

    /// Begins to watch the store, where there is a runtime to do it in.
    pub(crate) fn watch(&self) {
        if let Some(away) = &self.away {
            away.watch();
        }
    }

    pub(crate) fn now(&self) -> SystemTime {
        match &self.away {
            Some(away) => away.now(),
            None => self.store.now(),
        }
    }

    /// What a request may wait.
    pub(crate) const fn budget(&self) -> Budget {
        Budget::of(self.deadline)
    }

    /// The store itself, where nothing stands before it: it is never away, and nobody's time is counted.
    pub(crate) fn direct(&self, budget: &Budget) -> Option<&dyn ErasedStore> {
        (self.away.is_none() && budget.is_unbounded()).then_some(&*self.store)
    }

    pub(crate) fn bucket(&self, user: &UserId) -> Bucket {
        self.store.bucket(user)
    }

    /// Where and when a session is born that is made here now.
    pub(crate) fn birth(&self, freshness: Freshness) -> Option<Born> {
        match freshness {
            Freshness::Local => self.away.as_ref().map(|away| away.birth()),
            Freshness::Live | Freshness::Stale => None,
        }
    }

    /// What is done while the store is away; `None`: it never is.
    pub(crate) fn outage(&self, kind: Kind) -> Option<Outage> {
        self.away.as_ref().map(|away| away.outage(kind))
    }

    /// `None`: a store that is never away.
    pub(crate) fn health(&self) -> Option<Health> {
        self.away.as_ref().map(|away| away.health())
    }

    pub(crate) async fn create(
        &self,
        create: Create,
        budget: &Budget,
    ) -> Result<Told<Created>, StoreError> {
        let Some(away) = &self.away else {
            return budget.wait(self.store.create(create)).await.map(Told::live);
        };
        away.watch();
        let part = away.part(create.key.bucket);
        let mut sent = part.epoch();
        loop {
            let now = away.moment();
            let course = away
                .memory(create.key.bucket)
                .create(&create, sent.is_up(), now);
            match course {
                Course::Here(created, here) => return Ok(Told::here(created, here)),
                Course::First | Course::Away => return Err(away.error()),
                Course::Ask => {}
            }
            match budget.wait(self.store.create(create.clone())).await {
                Ok(created) => {
                    part.answered(sent);
                    if let Created::Created(ended) = &created {
                        let then = away.moment();
                        away.memory(create.key.bucket)
                            .created(&create, ended, now.here, then);
                    }
                    return Ok(Told::live(created));
                }
                Err(error) => {
                    away.failed(&part, sent, &error);
                    sent = again(&part.epoch(), &error).ok_or(error)?;
                }
            }
        }
    }

    /// `read`: on what the changes rest.
    pub(crate) async fn apply(
        &self,
        mut apply: Apply,
        read: Freshness,
        budget: &Budget,
    ) -> Result<Told<Applied>, StoreError> {
        let Some(away) = &self.away else {
            return budget.wait(self.store.apply(apply)).await.map(Told::live);
        };
        let bucket = apply.key.bucket;
        let part = away.part(bucket);
        let mut sent = part.epoch();
        // What was decided on a lease must not go over what was written since.
        if let (Freshness::Stale, Some(record), true) = (read, &apply.read, sent.is_up()) {
            apply.changes = super::staged::compared(&apply.changes, record);
        }
        for _ in 0..3 {
            let now = away.moment();
            let (course, mark) = {
                let mut memory = away.memory(bucket);
                (memory.apply(&apply, sent.is_up(), now), memory.mark())
            };
            match course {
                Course::Here(applied, here) => {
                    let stale = matches!(applied, Applied::Saved(_)).then_some(here);
                    return Ok(match stale {
                        Some(here) => Told::here(applied, here),
                        None => Told::live(applied),
                    });
                }
                Course::First => {
                    sent = Box::pin(away.bring(&apply.key, &part, budget)).await;
                    continue;
                }
                Course::Away => return Err(away.error()),
                Course::Ask => {}
            }
            let asked = budget.give(|left| self.store.apply_within(&apply, left));
            match asked.await {
                Ok(applied) => {
                    part.answered(sent);
                    if let (Applied::Saved(sum), false) = (&applied, away.refuses(apply.key.kind)) {
                        // By when it was sent: a lease that has run out since is written to as well, and lasts no longer
                        // for it.
                        away.memory(bucket).applied(&apply, *sum, mark, now);
                    }
                    return Ok(Told::live(applied));
                }
                Err(error) => {
                    away.failed(&part, sent, &error);
                    sent = again(&part.epoch(), &error).ok_or(error)?;
                }
            }
        }
        Err(away.error())
    }

    /// Adds to a conversation. What was not answered is not sent again, and not said here: it may be there.
    pub(crate) async fn append(
        &self,
        append: Append,
        budget: &Budget,
    ) -> Result<Told<Appended>, StoreError> {
        let Some(away) = &self.away else {
            return budget.wait(self.store.append(append)).await.map(Told::live);
        };
        let bucket = append.key.bucket;
        let part = away.part(bucket);
        let mut sent = part.epoch();
        for _ in 0..3 {
            let now = away.moment();
            let course = away.memory(bucket).append(&append, sent.is_up(), now);
            match course {
                Course::Here(appended @ Appended::Added { .. }, here) => {
                    return Ok(Told::here(appended, here));
                }
                Course::Here(appended, _) => return Ok(Told::live(appended)),
                Course::First => {
                    sent = Box::pin(away.bring(&append.key, &part, budget)).await;
                    continue;
                }
                Course::Away => return Err(away.error()),
                Course::Ask => {}
            }
            match budget.wait(self.store.append(append.clone())).await {
                Ok(appended) => {
                    part.answered(sent);
                    if let Appended::Added { at, count } = appended {
                        let then = away.moment();
                        away.memory(bucket).appended(&append, at, count, then);
                    }
                    return Ok(Told::live(appended));
                }
                Err(error) => {
                    away.failed(&part, sent, &error);
                    sent = again(&part.epoch(), &error).ok_or(error)?;
                }
            }
        }
        Err(away.error())
    }

    /// Takes one of a number of things; while the store is away, of as many as this instance alone may give.
    pub(crate) async fn spend(&self, spend: Spend, budget: &Budget) -> Result<Spent, StoreError> {
        let Some(away) = &self.away else {
            return budget.wait(self.store.spend(spend)).await;
        };
        // Any part will do: it is nobody's.
        let part = away.part(spend.bucket());
        let sent = part.epoch();
        if sent.is_up() {
            match budget.wait(self.store.spend(spend)).await {
                Ok(spent) => {
                    part.answered(sent);
                    return Ok(spent);
                }
                Err(error) => {
                    away.failed(&part, sent, &error);
                    again(&part.epoch(), &error).ok_or(error)?;
                }
            }
        }
        if away.refuses(Kind::Demo) {
            return Err(away.error());
        }
        Ok(away.allowances.spend(&spend, away.now()))
    }

    pub(crate) async fn replace(
        &self,
        replace: Replace,
        budget: &Budget,
    ) -> Result<Told<Replaced>, StoreError> {
        let Some(away) = &self.away else {
            return budget
                .wait(self.store.replace(replace))
                .await
                .map(Told::live);
        };
        let bucket = replace.key.bucket;
        let part = away.part(bucket);
        let mut sent = part.epoch();
        for _ in 0..3 {
            let now = away.moment();
            let course = away.memory(bucket).replace(&replace, sent.is_up(), now);
            match course {
                Course::Here(replaced, here) => {
                    return Ok(Told::here(replaced, here));
                }
                Course::First => {
                    sent = Box::pin(away.bring(&replace.key, &part, budget)).await;
                    continue;
                }
                Course::Away => return Err(away.error()),
                Course::Ask => {}
            }
            match budget.wait(self.store.replace(replace.clone())).await {
                Ok(replaced) => {
                    part.answered(sent);
                    if let Replaced::Replaced { record, ended } = &replaced {
                        let then = away.moment();
                        away.memory(bucket)
                            .replaced(&replace, record, ended, now.here, then);
                    }
                    return Ok(Told::live(replaced));
                }
                Err(error) => {
                    away.failed(&part, sent, &error);
                    sent = again(&part.epoch(), &error).ok_or(error)?;
                }
            }
        }
        Err(away.error())
    }

    /// Ends sessions: in the store, or here at once and in the store later. `known`: the record under the key, where one
    /// ends that the caller has read.
    pub(crate) async fn end(
        &self,
        end: EndSessions,
        known: Option<Record>,
        budget: &Budget,
    ) -> Result<Told<EndedSessions>, StoreError> {
        let Some(away) = &self.away else {
            return budget.wait(self.store.end(end)).await.map(Told::live);
        };
        away.watch();
        let bucket = self.bucket_of(&end.scope);
        let kind = match &end.scope {
            EndScope::One(key, _) | EndScope::Unborn(key) => key.kind,
            EndScope::Handle(..) | EndScope::Others(..) | EndScope::All(_) => Kind::User,
        };
        let part = away.part(bucket);
        let mut sent = part.epoch();
        if sent.is_up() {
            // What is not in the store yet cannot be ended there.
            sent = Box::pin(away.bring_all(bucket, &part, budget)).await;
        }
        if sent.is_up() {
            match budget.wait(self.store.end(end.clone())).await {
                Ok(ended) => {
                    part.answered(sent);
                    let now = away.moment();
                    let since = ended.since.unwrap_or(now.store);
                    away.memory(bucket)
                        .end(bucket, &end, ended.last.as_ref(), since, true, now);
                    return Ok(Told::live(ended));
                }
                Err(error) => {
                    away.failed(&part, sent, &error);
                    if away.refuses(kind) {
                        return Err(error);
                    }
                }
            }
        } else if away.refuses(kind) {
            return Err(away.error());
        }
        away.end_later(bucket, end, known).await.map(|value| Told {
            value,
            freshness: Freshness::Stale,
            is_near: false,
        })
    }

    pub(crate) async fn list(
        &self,
        user: UserId,
        budget: &Budget,
    ) -> Result<Vec<Record>, StoreError> {
        let Some(away) = &self.away else {
            return budget.wait(self.store.list(user)).await;
        };
        let bucket = self.bucket(&user);
        let part = away.part(bucket);
        let sent = Box::pin(away.bring_all(bucket, &part, budget)).await;
        if !sent.is_up() {
            return Err(away.error());
        }
        let answer = budget.wait(self.store.list(user)).await;
        match answer {
            Ok(records) => {
                part.answered(sent);
                Ok(away.not_ended(records))
            }
            Err(error) => {
                away.failed(&part, sent, &error);
                Err(error)
            }
        }
    }

    /// Where the session is that was migrated from an old id. Nothing of it is kept here: while the store is away, nobody
    /// can tell.
    pub(crate) async fn migrated(
        &self,
        old: Digest,
        budget: &Budget,
    ) -> Result<Option<RecordKey>, StoreError> {
        let bucket = crate::legacy::pointer_bucket(&old);
        let asked = budget.wait(self.store.migrated(old));
        self.if_up(bucket, asked).await
    }

    /// What a user did.
    pub(crate) async fn record(&self, user: UserId, activity: Activity) -> Result<(), StoreError> {
        let bucket = self.bucket(&user);
        self.if_up(bucket, self.store.record(user, activity)).await
    }

    /// A user's history and activities.
    pub(crate) async fn log(&self, user: UserId) -> Result<UserLog, StoreError> {
        let bucket = self.bucket(&user);
        self.if_up(bucket, self.store.log(user)).await
    }

    /// Drops both.
    pub(crate) async fn erase(&self, user: UserId) -> Result<(), StoreError> {
        let bucket = self.bucket(&user);
        self.if_up(bucket, self.store.erase(user)).await
    }

    /// How many live sessions there are: not for any one part.
    pub(crate) async fn counts(&self, oldest: Duration) -> Result<Option<Counts>, StoreError> {
        self.store.counts(oldest).await
    }

    pub(crate) fn near_counts(&self) -> Option<NearCounts> {
        self.store.near_counts()
    }

    pub(crate) fn connections(&self) -> Option<Connections> {
        self.store.connections()
    }

    /// What the store alone can answer.
    async fn if_up<T>(
        &self,
        bucket: Bucket,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let Some(away) = &self.away else {
            return call.await;
        };
        away.watch();
        let part = away.part(bucket);
        let sent = part.epoch();
        if !sent.is_up() {
            return Err(away.error());
        }
        let answer = call.await;
        match &answer {
            Ok(_) => part.answered(sent),
            Err(error) => away.failed(&part, sent, error),
        }
        answer
    }

    fn bucket_of(&self, scope: &EndScope) -> Bucket {
        match scope {
            EndScope::One(key, _) | EndScope::Unborn(key) => key.bucket,
            EndScope::Handle(user, _) | EndScope::Others(user, _) | EndScope::All(user) => {
                self.bucket(user)
            }
        }
    }
}

/// Whether an operation that failed may be done here instead: nothing of it has happened, and the store is away now.
fn again(now: &Epoch, error: &StoreError) -> Option<Epoch> {
    let undone = match error.failure() {
        Failure::Unreachable | Failure::Refused => true,
        Failure::Full | Failure::Silent | Failure::Other => false,
    };
    (undone && !now.is_up()).then_some(*now)
}

/// Nothing of a store's is shown.
impl std::fmt::Debug for Shield {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shield").finish_non_exhaustive()
    }
}
