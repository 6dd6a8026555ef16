//! Carries out what was staged, and the operations that read and then write.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Outcome;
use super::area::Area;
use super::context::{Context, lock};
use super::finish::Finish;
use super::info::Freshness;
use super::login::Renewed;
use super::state::{Identity, Live, Phase, Plan, Step, View};
use crate::error::Error;
use crate::id::{Fresh, Kind, RecordKey, UserId};
use crate::key::DataName;
use crate::problem::ErrorKind;
use crate::record::{
    Changes, DemoPointer, End, EndReason, Entry, Guard, NewRecord, Op, Record, Seen,
};
use crate::store::{Applied, Apply, Create, Created, Renewal, UNBOUNDED};

/// How long an update may contend with others for its value.
const UPDATE_BOUND: Duration = Duration::from_secs(2);

/// Everything that a new session is made from, but the id.
#[derive(Clone, Default)]
pub(crate) struct NewSession {
    pub(crate) user: Option<UserId>,
    pub(crate) persistent: bool,
    pub(crate) values: Vec<(DataName, Vec<u8>)>,
    /// The demo that its user brought along.
    pub(crate) demo: Option<DemoPointer>,
}

impl Context {
    /// Stores what is staged. The outcome is for the handler, or, once it has returned, for the response: that commit
    /// is the last, and takes a due touch along. `keep`: whether somebody may still read, or try again.
    pub(super) async fn commit(self: &Arc<Self>, last: bool, keep: bool) -> Result<Outcome, Error> {
        let plan = self.state().plan(last);
        match plan {
            Plan::Nothing => Ok(Outcome::Nothing),
            Plan::Moved => Err(Error::new(ErrorKind::SessionMoved)),
            Plan::Ended(end) => Err(Error::ended(&end)),
            Plan::Unknown(error) => Err(error),
            Plan::Create(values) => {
                let copy = keep.then(|| values.clone());
                let mut new = NewSession {
                    values,
                    ..NewSession::default()
                };
                match self.create(&mut new).await {
                    Ok((_, outcome)) => Ok(outcome),
                    Err(error) => {
                        if let (Some(copy), ErrorKind::StoreUnavailable) = (copy, error.kind()) {
                            self.state().restage(Changes::setting(copy));
                        }
                        Err(error)
                    }
                }
            }
            Plan::Apply {
                key,
                changes,
                seen,
                read,
                freshness,
            } => {
                let apply = Apply {
                    key,
                    changes,
                    seen,
                    read: Some(read),
                };
                self.apply(apply, freshness, keep).await
            }
        }
    }

    async fn apply(
        self: &Arc<Self>,
        apply: Apply,
        read: Freshness,
        keep: bool,
    ) -> Result<Outcome, Error> {
        let key = apply.key;
        let staged = !apply.changes.is_empty();
        let copy = (staged && keep).then(|| apply.changes.clone());
        let shown = self.area.config.remaining_header.as_ref();
        let seen = shown.and(apply.seen.clone());
        let applied = self.store().apply(apply, read).await;
        let applied = applied.map(|told| (told.outcome(), told.value));
        match applied {
            Ok((stored, Applied::Saved(_))) => {
                if let Some(seen) = seen {
                    self.state().touched(&key, &seen);
                }
                if let Some(copy) = copy {
                    self.state().saved(&key, copy);
                }
                Ok(if staged { stored } else { Outcome::Nothing })
            }
            Ok((_, outcome)) => {
                let error = self.refused(&key, outcome);
                // A touch that comes too late changes nothing for a response that wrote nothing.
                if staged {
                    Err(error)
                } else {
                    Ok(Outcome::Nothing)
                }
            }
            Err(error) if staged => {
                if let Some(copy) = copy {
                    self.state().restage(copy);
                }
                Err(error.into())
            }
            Err(error) => {
                tracing::debug!(target: "sessile", %error, "activity could not be written down");
                Ok(Outcome::Nothing)
            }
        }
    }

    /// What it means that a change was not made; the state follows.
    pub(crate) fn refused(&self, key: &RecordKey, outcome: Applied) -> Error {
        let died = |end: End| {
            let mut state = self.state();
            if state.live().is_some_and(|live| live.key == *key) {
                state.died(end);
            }
        };
        match outcome {
            Applied::Moved => {
                died(End::new(EndReason::Regenerated, self.area.store.now()));
                Error::new(ErrorKind::SessionMoved)
            }
            Applied::Ended(end) => {
                let error = Error::ended(&end);
                died(end);
                error
            }
            Applied::TooLarge => Error::new(ErrorKind::TooLarge),
            Applied::NotAnInteger => {
                Error::new(ErrorKind::InvalidValue).with_detail("increment met no integer")
            }
            Applied::Conflict | Applied::Saved(_) => {
                Error::new(ErrorKind::Contended).with_retry_after(Duration::from_secs(1))
            }
        }
    }

    /// Makes a session and makes it this request's. If no cookie can go out for it any more, it is ended again. `new` is
    /// taken: what is handed on by value has room in the future of each that does.
    pub(crate) async fn create(
        self: &Arc<Self>,
        new: &mut NewSession,
    ) -> Result<(RecordKey, Outcome), Error> {
        let fresh = Fresh::draw()?;
        let kind = self.area.kind;
        let bucket = match (&new.user, kind) {
            (Some(user), Kind::User) => self.area.store.bucket(user),
            (None, _) | (_, Kind::Demo) => fresh.bucket(),
        };
        let id = fresh.id(bucket);
        let key = id.key(kind);
        let limit = new
            .user
            .as_ref()
            .and_then(|user| self.area.config.limit(user));
        let began_at = match &new.user {
            Some(user) => self.sign_in_began_at(user, Step::OfNone),
            None => self.began_at,
        };
        let record = self
            .area
            .new_record(&fresh, std::mem::take(new), self.seen());
        let create = Create {
            key,
            record: record.clone(),
            began_at,
            limit,
            held: false,
        };
        let created = self.store().create(create).await?;
        let (freshness, outcome) = (created.freshness, created.outcome());
        let ended = self.area.created(created.value)?;
        let id = id.born(self.area.store.birth(freshness));
        match kind {
            Kind::User => self.area.events.created(record.created_at(), &record),
            Kind::Demo => self.area.events.demo_started(record.created_at(), &record),
        }
        self.area
            .tell_ended(&ended, EndReason::Limit, record.address());
        let adopted = self.state().adopt(id, key, record, freshness);
        match adopted {
            Ok(()) => Ok((key, outcome)),
            Err(()) => {
                self.area.end_unsent(key).await;
                Err(Error::new(ErrorKind::ResponseSent))
            }
        }
    }

    /// The response's own commit: its session, if it makes one, goes out with the response that waits for it.
    /// `shared`: whether anything but the request itself still has the session: a stream, or a task. The demo of the same
    /// request is committed after it, by itself.
    pub(crate) async fn commit_for_response(
        self: Arc<Self>,
        failed: bool,
        shared: bool,
    ) -> Result<(), Error> {
        self.commit_last(failed, shared).await?;
        match self.asked_demo() {
            Some(demo) => Box::pin(demo.commit_last(failed, Arc::strong_count(demo) > 1)).await,
            None => Ok(()),
        }
    }

    async fn commit_last(self: &Arc<Self>, failed: bool, shared: bool) -> Result<(), Error> {
        let would_create = {
            let mut state = self.state();
            if failed {
                state.staged = Changes::default();
            }
            state.would_create()
        };
        // It must not be made beside one that this request is just getting by a login or an update.
        let _turn = match would_create {
            true => Some(self.turn().await),
            false => None,
        };
        self.commit(true, shared).await?;
        let promoted = self
            .state()
            .live()
            .filter(|live| live.is_promoted())
            .cloned();
        if let Some(live) = promoted {
            // Boxed, for it is rare, and the future of every commit would have room for it.
            Box::pin(self.settle_id(live)).await;
        }
        Ok(())
    }

    /// A session that was made while the store was away, and is in the store now, gets an id as any other: the old one
    /// says that it is none of the store's, and which instance made it. So does one that came from another system.
    async fn settle_id(self: &Arc<Self>, live: Live) {
        let Ok(fresh) = Fresh::draw() else { return };
        // Where this fails, the next request does it. Where another one was faster, its cookie counts.
        if let Ok(Renewed::Done(record)) = self.renew(&live, &fresh, Renewal::SameSession).await {
            self.area.events.regenerated(self.area.store.now(), &record);
        }
    }
}

impl Area {
    pub(super) fn new_record(&self, fresh: &Fresh, new: NewSession, seen: Seen) -> Record {
        let timeouts = self.config.timeouts(new.persistent);
        let now = self.store.now();
        let is_sign_in = self.kind == Kind::User && new.user.is_some();
        let record = Record::new(&NewRecord {
            handle: fresh.handle(),
            created_at: now,
            signed_in_at: is_sign_in.then_some(now),
            user: new.user,
            absolute_end: now + timeouts.absolute,
            idle_timeout: timeouts.idle,
            touch_threshold: self.config.touch_threshold(timeouts.idle),
            persistent: new.persistent,
            // Its first request is this one, and it was seen when it was made: slow handlers do not cost it idle time.
            seen: Seen { at: now, ..seen },
            values: new.values,
        });
        match new.demo {
            Some(demo) => record.with_demo(&demo),
            None => record,
        }
    }

    /// A record without values, for a session that is made outside of any request.
    pub(crate) fn new_users_record(&self, fresh: &Fresh, user: UserId, seen: Seen) -> Record {
        let new = NewSession {
            user: Some(user),
            persistent: false,
            values: Vec::new(),
            demo: None,
        };
        self.new_record(fresh, new, seen)
    }

    /// Which sessions a creation ended, or why there is none.
    pub(crate) fn created(
        &self,
        created: Created,
    ) -> Result<Vec<crate::store::EndedSession>, Error> {
        match created {
            Created::Created(ended) => Ok(ended),
            Created::AtLimit => Err(Error::new(ErrorKind::TooManySessions)),
            Created::Refused(reason) => Err(Error::ended(&End::new(reason, self.store.now()))),
            Created::TooLarge => Err(Error::new(ErrorKind::TooLarge)),
            Created::Exists => Err(Error::new(ErrorKind::StoreUnavailable)
                .with_detail("the store has a session under a digest just drawn")),
        }
    }
}

/// One read-modify-write of one value, until it holds.
pub(super) async fn update<T, F>(
    context: &Arc<Context>,
    name: DataName,
    mut edit: F,
) -> Result<T, Error>
where
    F: FnMut(Option<&[u8]>) -> Result<(Vec<u8>, T), Error>,
{
    let began = Instant::now();
    let _turn = context.turn().await;
    context.read_copy_again().await;
    loop {
        let (base, staged) = base(context, &name)?;
        let (json, value) = edit(base.as_deref())?;
        let guard = match staged {
            true => Guard::Any,
            false => Guard::Unchanged(base.map(Into::into)),
        };
        let change = Changes::guarded(name.clone(), guard, Op::Set(json));
        match write_now(context, change, Wait::AsUpdates).await? {
            Written::Saved(_) => return Ok(value),
            Written::Conflict if began.elapsed() < UPDATE_BOUND => reload(context).await?,
            Written::Conflict => {
                return Err(
                    Error::new(ErrorKind::Contended).with_retry_after(Duration::from_secs(1))
                );
            }
        }
    }
}

/// Adds to an integer, in the store.
pub(super) async fn increment(
    context: &Arc<Context>,
    name: DataName,
    by: i64,
) -> Result<i64, Error> {
    let _turn = context.turn().await;
    let (base, staged) = base(context, &name)?;
    let has_session = context.state().live().is_some();
    if has_session && !staged {
        return match write_now(context, Changes::one(name, Op::Add(by)), Wait::AsAll).await? {
            Written::Saved(Some(sum)) => Ok(sum),
            Written::Saved(None) | Written::Conflict => {
                Err(Error::new(ErrorKind::StoreUnavailable)
                    .with_detail("the store added without saying what it came to"))
            }
        };
    }
    // What is staged, or will be a new session's, is nobody else's yet: it is added to here.
    let sum = base
        .map_or(Ok(0), |json| serde_json::from_slice::<i64>(&json))
        .ok()
        .and_then(|value| value.checked_add(by))
        .ok_or_else(|| {
            Error::new(ErrorKind::InvalidValue).with_detail("increment met no integer")
        })?;
    let set = Changes::one(name, Op::Set(sum.to_string().into_bytes()));
    write_now(context, set, Wait::AsAll).await.map(|_| sum)
}

/// The value as this request sees it, and whether it sees what it staged itself.
fn base(context: &Context, name: &str) -> Result<(Option<Vec<u8>>, bool), Error> {
    let state = context.state();
    let staged = state.staged.get(name).is_some() || state.staged.clears(name);
    let base = match state.view(name) {
        View::Staged(json) => Some(json),
        View::Stored(record) => record.value(name).map(<[u8]>::to_vec),
        View::Absent => None,
        View::Unknown(error) => return Err(error),
    };
    Ok((base, staged))
}

/// How long something is waited for.
#[derive(Debug, Clone, Copy)]
enum Wait {
    /// No longer than what is left of the request's budget.
    AsAll,
    /// Updates of one value wait for each other: that has [a bound of its own](UPDATE_BOUND).
    AsUpdates,
}

enum Written {
    Saved(Option<i64>),
    Conflict,
}

/// Stores one change at once, in a session that is made if there is none. It happens also if the caller goes away.
async fn write_now(context: &Arc<Context>, changes: Changes, wait: Wait) -> Result<Written, Error> {
    let context = Arc::clone(context);
    Finish::new(async move {
        let _writing = lock(&context.writing).await;
        let live = {
            let state = context.state();
            match &state.identity {
                Identity::Live(live) => Some((live.key, live.record.clone(), live.freshness)),
                Identity::Dead(dead) if dead.moved => {
                    return Err(Error::new(ErrorKind::SessionMoved));
                }
                Identity::Dead(dead) if dead.lost && !state.staged.is_empty() => {
                    return Err(Error::ended(&dead.end));
                }
                Identity::Unknown(unknown) => return Err(unknown.error()),
                Identity::Dead(_) | Identity::Stranger => {
                    if state.phase != Phase::Open {
                        return Err(Error::new(ErrorKind::ResponseSent));
                    }
                    None
                }
            }
        };
        let outcome = match live {
            Some((key, read, freshness)) => {
                let apply = Apply {
                    key,
                    changes: changes.clone(),
                    seen: None,
                    read: Some(read),
                };
                let store = match wait {
                    Wait::AsAll => context.store(),
                    Wait::AsUpdates => context.area.store.within(&UNBOUNDED),
                };
                match store.apply(apply, freshness).await?.value {
                    Applied::Saved(sum) => {
                        context.state().saved(&key, changes.clone());
                        Written::Saved(sum)
                    }
                    Applied::Conflict => return Ok(Written::Conflict),
                    outcome => return Err(context.refused(&key, outcome)),
                }
            }
            None => {
                let values = changes.each.iter().filter_map(|change| match &change.op {
                    Op::Set(json) => Some((change.name.clone(), json.clone())),
                    Op::Remove | Op::Add(_) => None,
                });
                let mut new = NewSession {
                    values: values.collect(),
                    ..NewSession::default()
                };
                context.create(&mut new).await?;
                Written::Saved(None)
            }
        };
        // It is stored: what was staged for it is done, and a clear that was staged before must spare it.
        let mut state = context.state();
        for change in &changes.each {
            state.staged.forget(&change.name);
            if let Some(clear) = &mut state.staged.clear
                && !clear.keep.contains(&change.name)
            {
                clear.keep.push(change.name.clone());
            }
        }
        Ok(outcome)
    })
    .await
}

/// Reads the session again: another request was faster.
async fn reload(context: &Arc<Context>) -> Result<(), Error> {
    let Some(key) = context.state().live().map(|live| live.key) else {
        return Ok(());
    };
    let store = context.area.store.within(&UNBOUNDED);
    let told = store.load(key, None).await?;
    let end = match told.value {
        Some(Entry::Live(record)) => {
            if let Identity::Live(live) = &mut context.state().identity
                && live.key == key
            {
                live.record = record;
                live.freshness = told.freshness;
                live.is_copy = false;
            }
            return Ok(());
        }
        Some(Entry::Ended(tombstone)) => tombstone.end,
        None => End::new(EndReason::StoreLost, context.area.store.now()),
    };
    Err(match end.reason {
        EndReason::Regenerated => context.refused(&key, Applied::Moved),
        _ => context.refused(&key, Applied::Ended(end)),
    })
}
