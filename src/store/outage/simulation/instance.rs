//! One instance: the same parts as in a process, and in the order of the shell ([`shield`](super::super::shield),
//! [`recovery`](super::super::recovery)) what they are asked.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::calls::{Answer, Call};
use super::server::{Command, Reply};
use crate::clock::instant;
use crate::id::RecordKey;
use crate::record::{Entry, Tombstone};
use crate::store::outage::barrier::{Barrier, Next, Pass};
use crate::store::outage::breaker::{BEAT, Breaker, Continuity, Mode, PROBE};
use crate::store::outage::journal::{Journal, JournalLimits};
use crate::store::outage::memory::{Delivery, Limits, Memory, Moment};
use crate::store::outage::staged::is_done_at_most_once;
use crate::store::outage::stamp::Stamp;
use crate::store::{Applied, EndScope, EndSessions, Failure, Outage};

pub(super) const LEASE: Duration = Duration::from_secs(20);
pub(super) const LOCAL_TTL: Duration = Duration::from_secs(600);
/// So long a command is waited for.
pub(super) const DEADLINE: u64 = 150_000;

/// How commands get to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Link {
    Whole,
    /// Nothing connects.
    Cut,
    /// Nothing arrives, and nobody says so.
    Mute,
}

/// Who asked for what a reply answers; of several at the same time, which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Asker {
    Call(u64),
    Beat,
    Check(usize),
    Sweep(u64, usize),
    Carry(RecordKey),
}

/// The state of the part when something was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Epoch {
    pub(super) number: u64,
    pub(super) up: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Instance {
    /// Another after each restart.
    pub(super) number: u32,
    pub(super) link: Link,
    pub(super) memory: Memory,
    pub(super) journal: Journal,
    pub(super) breaker: Breaker,
    pub(super) clocks: Clocks,
    pub(super) calls: BTreeMap<u64, Call>,
    pub(super) carries: BTreeMap<RecordKey, Carry>,
    pub(super) check: Check,
    next_check: u64,
    pub(super) sweeps: BTreeMap<u64, Sweep>,
    next_sweep: u64,
    /// What is to be sent, what was answered, and what happened else.
    pub(super) out: Vec<(Asker, Command)>,
    pub(super) done: Vec<(u64, Call, Answer)>,
    pub(super) news: Vec<News>,
}

/// What the reference is told.
#[derive(Debug, Clone)]
pub(super) enum News {
    /// It has told the store everything; and whether it did not read it until now. The beat was sent at that instant.
    Told { sent: u64, was_away: bool },
    /// A staged write is done with: what it added.
    Written(Vec<i64>),
    /// The store does not take a session that was made here.
    NotTaken(RecordKey),
    /// The store had lost everything.
    Emptied,
}

#[derive(Debug, Clone)]
pub(super) struct Clocks {
    /// The true time, which nobody knows.
    pub(super) now: u64,
    /// For so long the steady one has stood still.
    pub(super) slept: u64,
    /// The one on the wall is so far off.
    pub(super) off: i64,
    /// A reading of the store's, and when it was made.
    pub(super) read: (u64, u64),
    /// For so long the steady one had stood still then.
    pub(super) slept_before: u64,
    /// No earlier instant of the store is shown than this.
    pub(super) floor: SystemTime,
}

impl Clocks {
    pub(super) const fn steady(&self) -> u64 {
        self.now - self.slept
    }

    pub(super) fn reading(&self) -> SystemTime {
        instant(self.read.0 + (self.steady() - self.read.1))
    }

    pub(super) fn store(&self) -> SystemTime {
        self.reading().max(self.floor)
    }

    /// Whether the machine has slept since it heard of the store's clock: what it ends now is dated too early.
    pub(super) const fn is_behind(&self) -> bool {
        self.slept > self.slept_before
    }

    pub(super) const fn wall(&self) -> u64 {
        self.now.saturating_add_signed(self.off)
    }

    pub(super) fn moment(&self) -> Moment {
        Moment {
            here: Stamp::new(self.steady(), self.wall()),
            store: self.store(),
        }
    }
}

/// What is being brought to the store.
#[derive(Debug, Clone)]
pub(super) struct Carry {
    delivery: Delivery,
    epoch: Epoch,
}

#[derive(Debug, Clone)]
pub(super) enum Check {
    Idle,
    Beating {
        epoch: Epoch,
        sent: u64,
    },
    Telling {
        barrier: Barrier,
        epoch: Epoch,
        sent: u64,
        owed: Continuity,
        batch: Batch,
        /// When the telling began.
        began: SystemTime,
        /// Until then it waits, not to come back together with the others.
        pause: u64,
    },
}

/// Ends that were sent together.
#[derive(Debug, Clone, Default)]
pub(super) struct Batch(Vec<Option<Result<(), Failure>>>);

impl Batch {
    fn of(len: usize) -> Self {
        Self(vec![None; len])
    }

    /// The outcomes, once all are there.
    fn with(
        &mut self,
        at: usize,
        outcome: Result<(), Failure>,
    ) -> Option<Vec<Result<(), Failure>>> {
        self.0[at] = Some(outcome);
        self.0.iter().copied().collect()
    }
}

/// Somebody sends what was added to the journal while the store may have been back already.
#[derive(Debug, Clone)]
pub(super) struct Sweep {
    pass: Pass,
    epoch: Epoch,
    batch: Batch,
}

impl Instance {
    pub(super) fn new(number: u32, clocks: Clocks) -> Self {
        Self {
            number,
            link: Link::Whole,
            memory: Memory::new(Limits {
                outages: [Outage::Local { lease: LEASE }; 2],
                lease_bytes: 1 << 20,
                local_ttl: LOCAL_TTL,
                local_bytes: 1 << 20,
                staged_bytes: 1 << 20,
                ends: 4096,
                record_bytes: 64 << 10,
            }),
            journal: Journal::new(JournalLimits {
                sessions: 64,
                users: 64,
            }),
            breaker: Breaker::closed(clocks.store()),
            next_check: clocks.steady(),
            clocks,
            calls: BTreeMap::new(),
            carries: BTreeMap::new(),
            check: Check::Idle,
            sweeps: BTreeMap::new(),
            next_sweep: 0,
            out: Vec::new(),
            done: Vec::new(),
            news: Vec::new(),
        }
    }

    pub(super) fn moment(&self) -> Moment {
        self.clocks.moment()
    }

    pub(super) fn epoch(&self) -> Epoch {
        Epoch {
            number: self.breaker.epoch(),
            up: self.breaker.mode() == Mode::Healthy,
        }
    }

    /// Whether it does nothing at the moment.
    pub(super) fn is_idle(&self) -> bool {
        self.calls.is_empty() && self.carries.is_empty() && self.sweeps.is_empty()
    }

    pub(super) fn send(&mut self, asker: Asker, command: Command) {
        self.out.push((asker, command));
    }

    pub(super) fn failed(&mut self, epoch: Epoch, failure: Failure) {
        let now = self.clocks.store();
        if self.breaker.failed(epoch.number, failure, now) {
            let soon = self.clocks.steady() + micros(PROBE);
            self.next_check = self.next_check.min(soon);
            self.opened();
        }
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, jitter: u64) {
        let steady = self.clocks.steady();
        if matches!(self.check, Check::Idle) && steady >= self.next_check {
            let least = self.breaker.least();
            self.check = Check::Beating {
                epoch: self.epoch(),
                sent: self.clocks.now,
            };
            self.send(Asker::Beat, Command::Beat { least });
        }
        if let Check::Telling { pause, .. } = &mut self.check
            && *pause > 0
            && steady >= *pause
        {
            *pause = 0;
            self.tell(jitter);
        }
        self.wake();
    }

    /// When it has something to do by itself, by its steady clock.
    pub(super) fn due(&self) -> u64 {
        match &self.check {
            Check::Idle => self.next_check,
            Check::Telling { pause, .. } if *pause > 0 => *pause,
            Check::Beating { .. } | Check::Telling { .. } => u64::MAX,
        }
    }

    /// A command has its answer, or has none. `jitter` is at hand for who needs chance.
    pub(super) fn replied(&mut self, asker: Asker, reply: Result<Reply, Failure>, jitter: u64) {
        let reply = match reply {
            Ok(Reply::Late(at)) => {
                // A heartbeat brings the clock along.
                if asker == Asker::Beat {
                    (self.clocks.read, self.clocks.slept_before) =
                        ((at, self.clocks.steady()), self.clocks.slept);
                }
                Err(Failure::Other)
            }
            Ok(Reply::Refused) => Err(Failure::Refused),
            reply => reply,
        };
        match asker {
            Asker::Call(id) => self.call_replied(id, reply),
            Asker::Beat => self.beaten(reply, jitter),
            Asker::Check(at) => {
                let Check::Telling {
                    batch,
                    barrier,
                    epoch,
                    ..
                } = &mut self.check
                else {
                    return;
                };
                let Some(outcomes) = batch.with(at, reply.map(drop)) else {
                    return;
                };
                let epoch = *epoch;
                match barrier.answered(&mut self.journal, &outcomes, drop) {
                    Ok(()) => self.tell(jitter),
                    Err(failure) => {
                        self.failed(epoch, failure);
                        self.checked();
                    }
                }
            }
            Asker::Sweep(id, at) => {
                let Some(sweep) = self.sweeps.get_mut(&id) else {
                    return;
                };
                let Some(outcomes) = sweep.batch.with(at, reply.map(drop)) else {
                    return;
                };
                let epoch = sweep.epoch;
                match sweep.pass.answered(&mut self.journal, &outcomes, drop) {
                    Ok(()) => self.sweep(id),
                    Err(failure) => {
                        self.sweeps.remove(&id);
                        self.failed(epoch, failure);
                    }
                }
            }
            Asker::Carry(key) => self.carried(key, reply),
        }
        self.wake();
    }
}

/// The heartbeat, and what follows from it: `recovery.rs`.
impl Instance {
    fn beaten(&mut self, reply: Result<Reply, Failure>, jitter: u64) {
        let Check::Beating { epoch, sent } = self.check else {
            return;
        };
        match reply {
            Ok(Reply::Beat(beat, at)) => {
                (self.clocks.read, self.clocks.slept_before) =
                    ((at, self.clocks.steady()), self.clocks.slept);
                let owed = self.breaker.beat(beat, self.clocks.store());
                let epoch = self.epoch();
                self.check = Check::Telling {
                    barrier: Barrier::new(!epoch.up, owed),
                    epoch,
                    sent,
                    owed,
                    batch: Batch::default(),
                    began: self.clocks.store(),
                    pause: 0,
                };
                self.tell(jitter);
            }
            Ok(_) => unreachable!("a beat is answered by a beat"),
            Err(failure) => {
                self.failed(epoch, failure);
                self.checked();
            }
        }
    }

    fn tell(&mut self, jitter: u64) {
        loop {
            let Check::Telling {
                barrier,
                epoch,
                sent,
                owed,
                batch,
                began,
                pause,
            } = &mut self.check
            else {
                return;
            };
            let memory = &self.memory;
            let again = |all| {
                let mut ends = memory.assertions(|_| true, all);
                ends.sort_by_cached_key(|end| order(&end.scope));
                ends
            };
            match barrier.next(&self.journal, |_| true, again) {
                Next::Send(ends) => {
                    *batch = Batch::of(ends.len());
                    for (at, end) in ends.into_iter().enumerate() {
                        self.out.push((Asker::Check(at), command(end)));
                    }
                    return;
                }
                Next::Forget => {
                    let now = self.clocks.moment();
                    self.memory.recover(|_| true, *owed, now);
                    if *owed == Continuity::Empty {
                        self.news.push(News::Emptied);
                    }
                }
                Next::Wait => {
                    *pause = self.clocks.steady() + 1 + jitter % 200_000;
                    return;
                }
                Next::Done => {
                    let (epoch, sent) = (*epoch, *sent);
                    let is_made_good = barrier.is_made_good();
                    if is_made_good {
                        self.memory.pursued.told(|_| true, *began);
                        self.breaker.settled(epoch.number);
                    }
                    let now = self.clocks.store();
                    let was_away = self.breaker.recovered(epoch.number, now);
                    if self.epoch().up && is_made_good {
                        self.news.push(News::Told { sent, was_away });
                    }
                    self.bring_due();
                    self.checked();
                    return;
                }
            }
        }
    }

    fn checked(&mut self) {
        self.check = Check::Idle;
        let pause = if self.epoch().up { BEAT } else { PROBE };
        self.next_check = self.clocks.steady() + micros(pause);
    }

    pub(super) fn send_ends(&mut self) {
        let epoch = self.epoch();
        if epoch.up {
            let id = self.next_sweep;
            self.next_sweep += 1;
            let sweep = Sweep {
                pass: Pass::default(),
                epoch,
                batch: Batch::default(),
            };
            self.sweeps.insert(id, sweep);
            self.sweep(id);
        }
    }

    fn sweep(&mut self, id: u64) {
        let Some(sweep) = self.sweeps.get_mut(&id) else {
            return;
        };
        match sweep.pass.next(&self.journal, |_| true) {
            Some(ends) => {
                sweep.batch = Batch::of(ends.len());
                for (at, end) in ends.into_iter().enumerate() {
                    self.out.push((Asker::Sweep(id, at), command(end)));
                }
            }
            None => {
                self.sweeps.remove(&id);
            }
        }
    }

    fn bring_due(&mut self) {
        if self.epoch().up {
            for key in self.memory.due(|_| true) {
                self.bring(&key);
            }
        }
    }

    pub(super) fn bring(&mut self, key: &RecordKey) {
        let now = self.moment();
        if let Some(first) = self.memory.begin(key, now) {
            self.carry(*key, Some(first));
        }
    }

    fn carry(&mut self, key: RecordKey, next: Option<Delivery>) {
        let epoch = self.epoch();
        let Some(delivery) = next.filter(|_| epoch.up) else {
            self.carries.remove(&key);
            self.memory.finish(&key);
            return;
        };
        let command = match &delivery {
            Delivery::Promote(create) => Command::Create((**create).clone()),
            Delivery::Write(apply) => Command::Apply((**apply).clone()),
            Delivery::Append(_) => unreachable!("nobody here converses"),
        };
        self.carries.insert(key, Carry { delivery, epoch });
        self.send(Asker::Carry(key), command);
    }

    fn carried(&mut self, key: RecordKey, reply: Result<Reply, Failure>) {
        let Some(Carry { delivery, epoch }) = self.carries.remove(&key) else {
            return;
        };
        let now = self.moment();
        let failed = match (delivery, reply) {
            (Delivery::Promote(create), Ok(Reply::Created(created))) => {
                self.memory.promoted(&create, &created, now);
                if !matches!(created, crate::store::Created::Created(_)) {
                    self.news.push(News::NotTaken(key));
                }
                None
            }
            (Delivery::Write(apply), Ok(Reply::Applied(applied))) => {
                self.memory.written(&apply, &applied);
                self.news.push(News::Written(added(&apply.changes)));
                None
            }
            (Delivery::Write(apply), Err(failure)) => {
                if is_done_at_most_once(&apply.changes, failure) {
                    self.memory.written(&apply, &Applied::Conflict);
                    self.news.push(News::Written(added(&apply.changes)));
                }
                Some(failure)
            }
            (Delivery::Promote(_) | Delivery::Append(_), Err(failure)) => Some(failure),
            (_, Ok(_)) => unreachable!("each command has its kind of answer"),
        };
        if let Some(failure) = failed {
            self.memory.finish(&key);
            return self.failed(epoch, failure);
        }
        let next = self.memory.next(&key, now);
        self.carry(key, next);
    }

    /// Not that it is live, if its end has still to reach the store.
    pub(super) fn told(&self, key: &RecordKey, entry: Option<Entry>) -> Option<Entry> {
        match entry {
            Some(Entry::Live(record)) => Some(match self.journal.covers(key, &record) {
                Some(end) => Entry::Ended(Tombstone {
                    handle: record.handle(),
                    end,
                    successor: None,
                }),
                None => Entry::Live(record),
            }),
            entry => entry,
        }
    }
}

/// What is added by these changes: each addition has its own amount, by which it is known.
pub(super) fn added(changes: &crate::record::Changes) -> Vec<i64> {
    let each = changes.each.iter();
    each.filter_map(|change| match change.op {
        crate::record::Op::Add(by) => Some(by),
        crate::record::Op::Set(_) | crate::record::Op::Remove => None,
    })
    .collect()
}

/// Tables give what they hold in any order; a history must come out the same each time.
fn order(scope: &EndScope) -> (u8, String, Vec<u8>) {
    match scope {
        EndScope::All(user) => (0, user.to_string(), Vec::new()),
        EndScope::Others(user, kept) => (1, user.to_string(), kept.as_uuid().as_bytes().to_vec()),
        EndScope::Handle(user, handle) => {
            (2, user.to_string(), handle.as_uuid().as_bytes().to_vec())
        }
        EndScope::One(key, _) | EndScope::Unborn(key) => {
            (3, String::new(), key.digest.as_bytes().to_vec())
        }
    }
}

pub(super) fn command(end: EndSessions) -> Command {
    let bucket = super::calls::bucket_of(&end.scope);
    Command::End(bucket, end)
}

pub(super) const fn micros(span: Duration) -> u64 {
    span.as_micros() as u64
}
