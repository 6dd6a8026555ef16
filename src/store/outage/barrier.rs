//! In which order a store that answers again is told what it missed.
//!
//! Pure: the shell ([`recovery`](super::recovery)) and the simulation carry out what this says, and nothing else.

use super::breaker::Continuity;
use super::journal::{Journal, PendingEnd, PendingScope, Step, Ticket};
use super::rule::{Rule, holds};
use crate::id::Bucket;
use crate::store::{EndScope, EndSessions, Failure};

/// So many commands are sent at the same time.
pub(super) const AT_A_TIME: usize = 64;
/// So often the journal is gone through once more for what was added meanwhile.
const PASSES: u8 = 3;

/// What is to be done next.
#[derive(Debug)]
pub(super) enum Next {
    /// These ends are sent at the same time; their outcomes go to [`Barrier::answered`].
    Send(Vec<EndSessions>),
    /// For a moment, so that not all instances come back in the same one.
    Wait,
    /// What was known without the store is dropped. It comes last: until then it is what requests are answered from.
    Forget,
    /// The store may be read.
    Done,
}

/// What is left to be told.
#[derive(Debug, Clone)]
pub(super) struct Barrier {
    stage: Stage,
    away: bool,
    owed: Continuity,
    pass: Pass,
    again: Option<Vec<EndSessions>>,
    /// The store did not take an end.
    missed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Stage {
    /// The ends that it missed.
    Ends,
    /// Those that it may have lost.
    Again,
    Wait,
    /// What was ended meanwhile.
    Meanwhile,
    /// What was known without it is dropped.
    Forget,
    Done,
}

impl Barrier {
    /// `away`: whether the store was not read until now. Otherwise it is told what it is owed while it is read.
    pub(super) fn new(away: bool, owed: Continuity) -> Self {
        let stage = if away && !holds(Rule::EndsFirst) {
            Stage::Again
        } else {
            Stage::Ends
        };
        Self {
            stage,
            away,
            owed,
            pass: Pass::default(),
            again: None,
            missed: false,
        }
    }

    /// The next step. `assertions`: what is said again, all of the last minutes or only what must be in any case.
    pub(super) fn next(
        &mut self,
        journal: &Journal,
        in_part: impl Fn(Bucket) -> bool,
        assertions: impl FnOnce(bool) -> Vec<EndSessions>,
    ) -> Next {
        if self.stage == Stage::Ends {
            if let Some(ends) = self.pass.next(journal, &in_part) {
                return Next::Send(ends);
            }
            self.stage = Stage::Again;
        }
        if self.stage == Stage::Again {
            if holds(Rule::Barrier) {
                let all = self.owed != Continuity::Unbroken;
                let again = self.again.get_or_insert_with(|| assertions(all));
                if !again.is_empty() {
                    let rest = again.split_off(again.len().min(AT_A_TIME));
                    return Next::Send(std::mem::replace(again, rest));
                }
            }
            self.stage = if self.away {
                Stage::Wait
            } else {
                Stage::Forget
            };
        }
        if self.stage == Stage::Wait {
            self.pass = Pass::default();
            self.stage = Stage::Meanwhile;
            return Next::Wait;
        }
        if self.stage == Stage::Meanwhile {
            if holds(Rule::EndsFirst)
                && let Some(ends) = self.pass.next(journal, &in_part)
            {
                return Next::Send(ends);
            }
            self.stage = Stage::Forget;
        }
        if self.stage == Stage::Forget {
            self.stage = Stage::Done;
            if self.away || self.owed == Continuity::Empty {
                return Next::Forget;
            }
        }
        Next::Done
    }

    /// What came of those that were sent, in their order. `noted` gets what changed in the journal.
    ///
    /// # Errors
    /// The failure with which the store went away again: there is nothing next.
    pub(super) fn answered(
        &mut self,
        journal: &mut Journal,
        outcomes: &[Result<(), Failure>],
        noted: impl FnMut(Step),
    ) -> Result<(), Failure> {
        self.missed |= outcomes.iter().any(Result::is_err);
        match self.stage {
            Stage::Ends | Stage::Meanwhile => self.pass.answered(journal, outcomes, noted),
            Stage::Again | Stage::Wait | Stage::Forget | Stage::Done => failure(outcomes),
        }
    }

    /// Whether nothing is owed to the store any more: else it is told once more with the next heartbeat.
    pub(super) const fn is_made_good(&self) -> bool {
        !self.missed
    }
}

/// One walk through the journal, those first that came first.
#[derive(Debug, Clone, Default)]
pub(super) struct Pass {
    after: Option<Ticket>,
    passes: u8,
    sent: Vec<Ticket>,
}

impl Pass {
    /// What is to be sent next; `None`: nothing is left. What the store does not take stays, and keeps nobody waiting:
    /// it holds here.
    pub(super) fn next(
        &mut self,
        journal: &Journal,
        in_part: impl Fn(Bucket) -> bool,
    ) -> Option<Vec<EndSessions>> {
        loop {
            let batch = journal.next(self.after, &in_part, AT_A_TIME);
            if let Some((last, _)) = batch.last() {
                self.after = Some(*last);
                self.sent = batch.iter().map(|(ticket, _)| *ticket).collect();
                return Some(batch.iter().map(|(_, end)| end_sessions(end)).collect());
            }
            if self.after.is_none() || self.passes == PASSES {
                return None;
            }
            // Those that were added meanwhile.
            self.after = None;
            self.passes += 1;
        }
    }

    /// What came of them, in their order.
    pub(super) fn answered(
        &mut self,
        journal: &mut Journal,
        outcomes: &[Result<(), Failure>],
        noted: impl FnMut(Step),
    ) -> Result<(), Failure> {
        let tickets = self.sent.drain(..).zip(outcomes);
        tickets
            .filter(|(_, outcome)| outcome.is_ok())
            .filter_map(|(ticket, _)| journal.acknowledged(ticket))
            .for_each(noted);
        failure(outcomes)
    }
}

/// What the store does not take is no sign that it is away.
fn failure(outcomes: &[Result<(), Failure>]) -> Result<(), Failure> {
    let mut failures = outcomes.iter().filter_map(|outcome| outcome.err());
    failures
        .find(|failure| *failure != Failure::Other)
        .map_or(Ok(()), Err)
}

fn end_sessions(pending: &PendingEnd) -> EndSessions {
    let (scope, before) = match &pending.scope {
        // Whatever it was, it may not be there yet: another instance may have it, and be on its way.
        PendingScope::Key(key) => (EndScope::Unborn(*key), None),
        PendingScope::Handle { user, handle, .. } => {
            (EndScope::Handle(user.clone(), *handle), None)
        }
        PendingScope::User {
            user, keep, before, ..
        } => {
            let scope = match keep {
                Some(keep) => EndScope::Others(user.clone(), *keep),
                None => EndScope::All(user.clone()),
            };
            (scope, Some(*before))
        }
    };
    EndSessions {
        scope,
        reason: pending.reason,
        note: pending.note.clone(),
        before,
    }
}
