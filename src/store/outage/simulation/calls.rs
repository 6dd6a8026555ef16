//! What a request asks the store for, in the order of the shell: `shield.rs`, and what it uses of `away.rs`.

use super::instance::{Asker, Epoch, Instance};
use super::server::{Command, Reply};
use crate::id::{Born, Bucket, RecordKey, UserId};
use crate::record::{End, EndReason, Entry, Record, Tombstone};
use crate::session::Freshness;
use crate::store::outage::journal::Added;
use crate::store::outage::local;
use crate::store::outage::memory::{Course, Here, Moment};
use crate::store::outage::staged::compared;
use crate::store::{
    Applied, Apply, Create, Created, EndScope, EndSessions, EndedSessions, Failure, Replace,
    Replaced, rules,
};

/// So long a request waits for what must reach the store before it.
const PATIENCE: u64 = 250_000;

#[derive(Debug, Clone)]
pub(super) enum Ask {
    Load(RecordKey, Option<Born>),
    Create(Create),
    Apply(Apply, Freshness),
    Replace(Replace),
    End(EndSessions, Option<Record>),
    List(Bucket, UserId),
}

#[derive(Debug, Clone)]
pub(super) enum Answer {
    Loaded(Option<Entry>, Freshness),
    Created(Created, Freshness),
    Applied(Applied, Freshness),
    Replaced(Replaced, Freshness),
    Ended(EndedSessions, Freshness),
    Listed(Vec<Record>),
    /// 503.
    Failed,
}

/// A call under way.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) ask: Ask,
    epoch: Epoch,
    /// When it was asked, here.
    asked: Moment,
    tries: u8,
    mark: u64,
    wait: Wait,
    /// When that was, in truth.
    pub(super) sent: u64,
    /// What the store said to a read.
    pub(super) read: Option<Option<Entry>>,
}

#[derive(Debug, Clone)]
enum Wait {
    Reply,
    /// For what these sessions owe the store; how long for the first of them.
    Brought(Vec<RecordKey>, u64),
}

impl Instance {
    pub(super) fn begin(&mut self, id: u64, ask: Ask) {
        let epoch = self.epoch();
        let mut call = Call {
            ask,
            epoch,
            asked: self.moment(),
            tries: 0,
            mark: 0,
            wait: Wait::Reply,
            sent: self.clocks.now,
            read: None,
        };
        match &mut call.ask {
            // What was decided on a lease must not go over what was written since.
            Ask::Apply(apply, Freshness::Stale) if epoch.up => {
                if let Some(record) = &apply.read {
                    apply.changes = compared(&apply.changes, record);
                }
            }
            Ask::Apply(..) | Ask::Load(..) | Ask::Create(_) | Ask::Replace(_) => {}
            // What is not in the store yet cannot be ended, or listed, there.
            Ask::End(EndSessions { scope, .. }, _) if epoch.up => {
                let bucket = bucket_of(scope);
                let due = self.memory.due(|other| other == bucket);
                return self.wait(id, call, due);
            }
            Ask::End(..) => {}
            Ask::List(bucket, _) => {
                let due = self.memory.due(|other| other == *bucket);
                return self.wait(id, call, due);
            }
        }
        self.ask(id, call);
    }

    fn finish(&mut self, id: u64, call: Call, answer: Answer) {
        self.done.push((id, call, answer));
    }

    fn wait(&mut self, id: u64, mut call: Call, keys: Vec<RecordKey>) {
        if let Some(first) = keys.first()
            && call.epoch.up
        {
            self.bring(first);
        }
        let until = self.clocks.steady() + PATIENCE;
        call.wait = Wait::Brought(keys, until);
        self.calls.insert(id, call);
        self.wake();
    }

    /// Those that wait for what has been brought, or will not be, go on.
    pub(super) fn wake(&mut self) {
        loop {
            let steady = self.clocks.steady();
            let epoch = self.epoch();
            let ready = self.calls.iter().find_map(|(id, call)| match &call.wait {
                Wait::Reply => None,
                Wait::Brought(keys, until) => {
                    let first = keys.first();
                    let goes_on = !epoch.up
                        || steady > *until
                        || first.is_none_or(|key| !self.memory.is_due(key));
                    goes_on.then_some(*id)
                }
            });
            let Some(id) = ready else { return };
            let Some(mut call) = self.calls.remove(&id) else {
                return;
            };
            let Wait::Brought(mut keys, until) = std::mem::replace(&mut call.wait, Wait::Reply)
            else {
                return;
            };
            let is_late = epoch.up
                && steady > until
                && keys.first().is_some_and(|key| self.memory.is_due(key));
            call.epoch = Epoch {
                up: epoch.up && !is_late,
                ..epoch
            };
            if !keys.is_empty() {
                keys.remove(0);
            }
            if !keys.is_empty() && call.epoch.up {
                self.wait(id, call, keys);
            } else {
                self.ask(id, call);
            }
        }
    }

    /// Asks here, and then the store.
    fn ask(&mut self, id: u64, mut call: Call) {
        let now = self.moment();
        let up = call.epoch.up;
        (call.asked, call.sent) = (now, self.clocks.now);
        let is_first = call.tries == 0;
        call.tries += 1;
        let answer = match &call.ask {
            Ask::Load(key, _) => {
                let key = *key;
                match self.memory.read(&key, up, now) {
                    Course::Here(entry, here) => {
                        Answer::Loaded(self.told(&key, Some(entry)), freshness(here))
                    }
                    Course::First if is_first => return self.wait(id, call, vec![key]),
                    Course::First | Course::Away => Answer::Failed,
                    Course::Ask => return self.put(id, call, Command::Load(key)),
                }
            }
            Ask::Create(create) => match self.memory.create(create, up, now) {
                Course::Here(created, here) => Answer::Created(created, freshness(here)),
                Course::First | Course::Away => Answer::Failed,
                Course::Ask => {
                    let command = Command::Create(create.clone());
                    return self.put(id, call, command);
                }
            },
            Ask::Apply(apply, _) if call.tries <= 3 => {
                let key = apply.key;
                match self.memory.apply(apply, up, now) {
                    Course::Here(applied @ Applied::Saved(_), here) => {
                        Answer::Applied(applied, freshness(here))
                    }
                    Course::Here(applied, _) => Answer::Applied(applied, Freshness::Live),
                    Course::First => return self.wait(id, call, vec![key]),
                    Course::Away => Answer::Failed,
                    Course::Ask => {
                        let command = Command::Apply(apply.clone());
                        call.mark = self.memory.mark();
                        return self.put(id, call, command);
                    }
                }
            }
            Ask::Replace(replace) if call.tries <= 3 => {
                let key = replace.key;
                match self.memory.replace(replace, up, now) {
                    Course::Here(replaced, here) => Answer::Replaced(replaced, freshness(here)),
                    Course::First => return self.wait(id, call, vec![key]),
                    Course::Away => Answer::Failed,
                    Course::Ask => {
                        let command = Command::Replace(replace.clone());
                        return self.put(id, call, command);
                    }
                }
            }
            Ask::Apply(..) | Ask::Replace(_) => Answer::Failed,
            Ask::End(end, known) => {
                if up {
                    let command = super::instance::command(end.clone());
                    return self.put(id, call, command);
                }
                let (end, known) = (end.clone(), known.clone());
                self.end_later(end, known)
            }
            Ask::List(bucket, user) => {
                if up {
                    let command = Command::List(*bucket, user.clone());
                    return self.put(id, call, command);
                }
                Answer::Failed
            }
        };
        self.finish(id, call, answer);
    }

    fn put(&mut self, id: u64, call: Call, command: Command) {
        self.calls.insert(id, call);
        self.send(Asker::Call(id), command);
    }

    fn end_later(&mut self, end: EndSessions, known: Option<Record>) -> Answer {
        let bucket = bucket_of(&end.scope);
        let now = self.moment();
        let since = rules::after(now.store);
        self.clocks.floor = self.clocks.floor.max(since);
        let (ended, pending) = self
            .memory
            .end_later(bucket, end, known.as_ref(), since, now);
        if let Some(pending) = pending {
            match self.journal.add(pending) {
                Added::Full => return Answer::Failed,
                Added::Kept(_) | Added::Collapsed(_) => self.send_ends(),
            }
        }
        Answer::Ended(ended, Freshness::Stale)
    }

    /// The breaker opened: who only reads does not wait for the store any more.
    pub(super) fn opened(&mut self) {
        let reading: Vec<_> = self
            .calls
            .iter()
            .filter(|(_, call)| {
                matches!(call.wait, Wait::Reply)
                    && matches!(call.ask, Ask::Load(..) | Ask::List(..))
            })
            .map(|(id, _)| *id)
            .collect();
        for id in reading {
            self.call_replied(id, Err(Failure::Unreachable));
        }
    }

    pub(super) fn call_replied(&mut self, id: u64, reply: Result<Reply, Failure>) {
        let Some(mut call) = self.calls.remove(&id) else {
            return;
        };
        let reply = match reply {
            Ok(reply) => reply,
            Err(failure) => {
                self.failed(call.epoch, failure);
                return self.go_without(id, call, failure);
            }
        };
        self.breaker.answered(call.epoch.number);
        let then = self.moment();
        let sent = call.asked.here;
        let memory = &mut self.memory;
        let answer = match (&call.ask, reply) {
            (Ask::Load(key, born), Reply::Loaded(entry)) => {
                let entry = entry.map(|entry| entry.at(self.clocks.reading()));
                call.read = Some(entry.clone());
                let entry = memory.loaded(key, entry, sent, then);
                match (self.told(key, entry), born) {
                    (None, Some(born)) => self.foreign(*born),
                    (entry, _) => Answer::Loaded(entry, Freshness::Live),
                }
            }
            (Ask::Create(create), Reply::Created(created)) => {
                if let Created::Created(ended) = &created {
                    memory.created(create, ended, sent, then);
                }
                Answer::Created(created, Freshness::Live)
            }
            (Ask::Apply(apply, _), Reply::Applied(applied)) => {
                if let Applied::Saved(sum) = &applied {
                    memory.applied(apply, *sum, call.mark, then);
                }
                Answer::Applied(applied, Freshness::Live)
            }
            (Ask::Replace(replace), Reply::Replaced(replaced)) => {
                if let Replaced::Replaced { record, ended } = &replaced {
                    memory.replaced(replace, record, ended, sent, then);
                }
                Answer::Replaced(replaced, Freshness::Live)
            }
            (Ask::End(end, _), Reply::Ended(ended)) => {
                if let Some(since) = ended.since {
                    self.clocks.floor = self.clocks.floor.max(since);
                }
                let now = self.clocks.moment();
                let since = ended.since.unwrap_or(now.store);
                let last = ended.last.as_ref();
                memory.end(bucket_of(&end.scope), end, last, since, true, now);
                Answer::Ended(ended, Freshness::Live)
            }
            (Ask::List(..), Reply::Listed(mut records)) => {
                records.retain(|record| self.journal.covers_listed(record).is_none());
                Answer::Listed(records)
            }
            (ask, reply) => unreachable!("{ask:?} is not answered by {reply:?}"),
        };
        self.finish(id, call, answer);
    }

    /// The store did not answer.
    fn go_without(&mut self, id: u64, mut call: Call, failure: Failure) {
        let now = self.moment();
        match &call.ask {
            Ask::Load(key, _) => {
                let answer = match self.memory.read(key, false, now) {
                    Course::Here(entry, here) => {
                        Answer::Loaded(self.told(key, Some(entry)), freshness(here))
                    }
                    Course::Ask | Course::First | Course::Away => Answer::Failed,
                };
                self.finish(id, call, answer);
            }
            Ask::Create(_) | Ask::Apply(..) | Ask::Replace(_) => {
                // Nothing of it has happened, and the store is away now.
                let undone = matches!(failure, Failure::Unreachable | Failure::Refused);
                let epoch = self.epoch();
                if undone && !epoch.up {
                    call.epoch = epoch;
                    self.ask(id, call);
                } else {
                    self.finish(id, call, Answer::Failed);
                }
            }
            Ask::End(end, known) => {
                let (end, known) = (end.clone(), known.clone());
                let answer = self.end_later(end, known);
                self.finish(id, call, answer);
            }
            Ask::List(..) => self.finish(id, call, Answer::Failed),
        }
    }

    /// A session of another instance, that may be brought to the store yet.
    fn foreign(&self, born: Born) -> Answer {
        let seconds = self.seconds();
        if local::may_come(born, self.number, seconds, super::instance::LOCAL_TTL) {
            return Answer::Failed;
        }
        let tombstone = Tombstone {
            handle: uuid::Uuid::nil().into(),
            end: End::new(EndReason::StoreLost, self.clocks.store()),
            successor: None,
        };
        Answer::Loaded(Some(Entry::Ended(tombstone)), Freshness::Live)
    }

    pub(super) fn seconds(&self) -> u32 {
        u32::try_from(self.clocks.wall() / 1_000_000).unwrap_or(u32::MAX)
    }
}

const fn freshness(here: Here) -> Freshness {
    match here {
        Here::Local => Freshness::Local,
        Here::Lease => Freshness::Stale,
    }
}

pub(super) fn bucket_of(scope: &EndScope) -> Bucket {
    match scope {
        EndScope::One(key, _) | EndScope::Unborn(key) => key.bucket,
        EndScope::Handle(user, _) | EndScope::Others(user, _) | EndScope::All(user) => bucket(user),
    }
}

/// Where a user's sessions are: `u3` in bucket 3.
pub(super) fn bucket(user: &UserId) -> Bucket {
    user.as_str()[1..]
        .parse::<u16>()
        .map_or(0, |number| number)
        .into()
}
