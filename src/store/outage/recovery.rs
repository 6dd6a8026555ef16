//! Watching the store, and what is brought to it when it is back.
//!
//! In this order, and the store is not read before the third is done: it is told every end that it missed; it is told
//! again those that it may have lost; what was known without it is dropped. Then what was written and made here follows.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::runtime::Handle;

use super::away::Away;
use super::breaker::{BEAT, Continuity, PROBE};
use super::durable::Durable;
use super::journal::{PendingEnd, PendingScope};
use super::memory::Delivery;
use super::part::{Change, PartState};
use super::rule::{Rule, holds};
use crate::event;
use crate::id::{Bucket, RecordKey};
use crate::record::Op;
use crate::store::{Applied, Apply, EndScope, EndSessions, Failure, StoreError};

/// So many commands are sent at the same time.
const AT_A_TIME: usize = 64;
/// Instances come back to the store not all in the same moment, but within this.
const JITTER_MS: u32 = 200;

/// Watches a part for as long as it belongs to the store.
pub(super) fn watch_part(away: &Arc<Away>, part: &Arc<PartState>) {
    if let Ok(runtime) = Handle::try_current() {
        let watching = Watching {
            away: Arc::downgrade(away),
            has_left: false,
        };
        runtime.spawn(watch(watching, Arc::clone(part)));
    }
}

/// A task that watches, wherever it ends: by itself, or with its runtime.
struct Watching {
    away: Weak<Away>,
    has_left: bool,
}

impl Drop for Watching {
    fn drop(&mut self) {
        if let (false, Some(away)) = (self.has_left, self.away.upgrade()) {
            away.unwatched();
        }
    }
}

async fn watch(mut watching: Watching, part: Arc<PartState>) {
    loop {
        let Some(away) = watching.away.upgrade() else {
            return;
        };
        if !away.store.parts().contains(&part.part) {
            away.left(&part);
            watching.has_left = true;
            return;
        }
        check(&away, &part).await;
        drop(away);
        let seen = part.epoch();
        let pause = if seen.is_up() { BEAT } else { PROBE };
        // Whoever finds out first that it is away shortens the pause.
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = part.opened(seen) => tokio::time::sleep(PROBE).await,
        }
    }
}

/// One heartbeat, and what follows from it.
async fn check(away: &Arc<Away>, part: &Arc<PartState>) {
    let sent = part.epoch();
    let beat = match away.store.beat(part.part, part.least()).await {
        Ok(beat) => beat,
        Err(error) => return away.failed(part, sent, &error),
    };
    let (owed, change) = part.beat(beat, away.now());
    tell(change);
    let epoch = part.epoch();
    let settled = if epoch.is_up() {
        settle(away, part, owed).await
    } else {
        recover(away, part, owed).await
    };
    match settled {
        Ok(()) => {
            if let Err(error) = Durable::sync(away).await {
                // Those that are done are sent once more after a crash: that changes nothing.
                tracing::debug!(target: "sessile", %error, "the journal could not be written");
            }
            part.settled(epoch);
            tell(part.recovered(epoch, away.now()));
            bring_due(away, part);
        }
        Err(error) => away.failed(part, epoch, &error),
    }
}

/// The store was not away, and may have lost something nevertheless.
async fn settle(away: &Arc<Away>, part: &PartState, owed: Continuity) -> Result<(), StoreError> {
    send_pending(away, part).await?;
    if owed != Continuity::Unbroken {
        assert_again(away, part).await?;
    }
    if owed == Continuity::Empty {
        forget(away, part, owed);
    }
    Ok(())
}

/// What has to be done before the store is read again.
async fn recover(away: &Arc<Away>, part: &PartState, owed: Continuity) -> Result<(), StoreError> {
    if holds(Rule::EndsFirst) {
        send_pending(away, part).await?;
        if owed != Continuity::Unbroken {
            assert_again(away, part).await?;
        }
    }
    forget(away, part, owed);
    let jitter = getrandom::u32().unwrap_or_default() % JITTER_MS;
    tokio::time::sleep(Duration::from_millis(jitter.into())).await;
    // What was ended meanwhile.
    send_pending(away, part).await
}

fn forget(away: &Arc<Away>, part: &PartState, owed: Continuity) {
    let now = away.moment();
    let in_part = in_part(away, part);
    let mut lost = 0;
    for mut memory in away.memories() {
        lost += memory.recover(&in_part, owed, now);
    }
    if owed == Continuity::Empty {
        event::store_emptied(lost);
    }
}

fn in_part<'a>(away: &'a Away, part: &PartState) -> impl Fn(Bucket) -> bool + 'a {
    let part = part.part;
    move |bucket| away.store.part(bucket) == part
}

/// Sends the ends that are pending, until there are none: those first that came first.
async fn send_pending(away: &Away, part: &PartState) -> Result<(), StoreError> {
    if !away.has_journal() {
        return Ok(());
    }
    let in_part = in_part(away, part);
    let (mut after, mut passes) = (None, 3);
    loop {
        let batch = away.journal().next(after, &in_part, AT_A_TIME);
        let Some((last, _)) = batch.last() else {
            if after.is_none() {
                return Ok(());
            }
            // Those that were added meanwhile.
            if passes == 0 {
                // What the store does not take stays, and keeps nobody waiting: it holds here.
                return Ok(());
            }
            (after, passes) = (None, passes - 1);
            continue;
        };
        after = Some(*last);
        let sent = batch
            .iter()
            .map(|(_, end)| away.store.end(end_sessions(end)));
        let answers = join_all(sent).await;
        let mut failure = None;
        {
            let mut journal = away.journal();
            for ((ticket, _), answer) in batch.iter().zip(answers) {
                match answer {
                    Ok(_) => {
                        if let Some(step) = journal.acknowledged(*ticket) {
                            away.noted(step);
                        }
                    }
                    Err(error) if error.failure() == Failure::Other => {}
                    Err(error) => failure = Some(error),
                }
            }
            away.journal_changed(&journal);
        }
        if let Some(error) = failure {
            return Err(error);
        }
    }
}

fn end_sessions(pending: &PendingEnd) -> EndSessions {
    let (scope, before) = match &pending.scope {
        PendingScope::Key(key) => (EndScope::One(*key, None), None),
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

/// Sends the ends of the last minutes once more.
async fn assert_again(away: &Away, part: &PartState) -> Result<(), StoreError> {
    let in_part = in_part(away, part);
    let mut ends = Vec::new();
    for memory in away.memories() {
        ends.extend(memory.assertions(&in_part));
    }
    event::ends_asserted(ends.len());
    let mut ends = ends.into_iter();
    loop {
        let sent: Vec<_> = ends
            .by_ref()
            .take(AT_A_TIME)
            .map(|end| away.store.end(end))
            .collect();
        if sent.is_empty() {
            return Ok(());
        }
        for answer in join_all(sent).await {
            match answer {
                Ok(_) => {}
                Err(error) if error.failure() == Failure::Other => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// An end was noted while the store may have come back already: whoever is after the others may have passed it.
pub(super) fn send_ends(away: &Arc<Away>) {
    if let Ok(runtime) = Handle::try_current() {
        let away = Arc::clone(away);
        runtime.spawn(async move {
            for part in away.all_parts() {
                let epoch = part.epoch();
                if epoch.is_up()
                    && let Err(error) = send_pending(&away, &part).await
                {
                    away.failed(&part, epoch, &error);
                }
            }
        });
    }
}

/// Brings everything that is due to a part, in the background.
fn bring_due(away: &Arc<Away>, part: &Arc<PartState>) {
    if !part.epoch().is_up() {
        return;
    }
    let in_part = in_part(away, part);
    let mut due = Vec::new();
    for memory in away.memories() {
        due.extend(memory.due(&in_part));
    }
    if due.is_empty() {
        return;
    }
    let Some(bringing) = part.bringing() else {
        return;
    };
    let (away, part) = (Arc::clone(away), Arc::clone(part));
    tokio::spawn(async move {
        let _bringing = bringing;
        for some in due.chunks(AT_A_TIME) {
            if !part.epoch().is_up() {
                return;
            }
            let begun = some.iter().filter_map(|key| begin(&away, *key, &part));
            join_all(begun.collect::<Vec<_>>()).await;
        }
    });
}

/// Brings what is due of one session, in the background.
pub(super) fn bring(away: &Arc<Away>, key: RecordKey, part: &Arc<PartState>) {
    if let Some(begun) = begin(away, key, part) {
        tokio::spawn(begun);
    }
}

fn begin(
    away: &Arc<Away>,
    key: RecordKey,
    part: &Arc<PartState>,
) -> Option<impl Future<Output = ()> + Send + use<>> {
    let first = away.memory(key.bucket).begin(&key, away.moment())?;
    let busy = Busy {
        away: Arc::clone(away),
        key,
    };
    Some(carry(busy, Arc::clone(part), first))
}

/// A session that somebody is at, until this is dropped.
struct Busy {
    away: Arc<Away>,
    key: RecordKey,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.away.memory(self.key.bucket).finish(&self.key);
        self.away.brought.notify_waiters();
    }
}

/// All that is due of one session, one after the other.
async fn carry(busy: Busy, part: Arc<PartState>, first: Delivery) {
    let (away, key) = (&busy.away, &busy.key);
    let mut next = Some(first);
    while let Some(delivery) = next {
        let sent = part.epoch();
        if !sent.is_up() {
            return;
        }
        let failed = match delivery {
            Delivery::Promote(create) => match away.store.create((*create).clone()).await {
                Ok(created) => {
                    let now = away.moment();
                    away.memory(key.bucket).promoted(&create, &created, now);
                    event::promoted(&create.record, &created);
                    None
                }
                Err(error) => Some(error),
            },
            Delivery::Write(apply) => match away.store.apply((*apply).clone()).await {
                Ok(applied) => {
                    if !away.memory(key.bucket).written(&apply, &applied) {
                        event::write_lost(applied_name(&applied));
                    }
                    None
                }
                Err(error) => {
                    if is_done_at_most_once(&apply, &error) {
                        away.memory(key.bucket).written(&apply, &Applied::Conflict);
                        event::write_lost("unknown");
                    }
                    Some(error)
                }
            },
        };
        if let Some(error) = failed {
            return away.failed(&part, sent, &error);
        }
        next = away.memory(key.bucket).next(key, away.moment());
    }
}

/// Whether it must not be sent again: it adds, and may have been done.
fn is_done_at_most_once(apply: &Apply, error: &StoreError) -> bool {
    let adds = apply
        .changes
        .each
        .iter()
        .any(|change| matches!(change.op, Op::Add(_)));
    let is_undone = matches!(
        error.failure(),
        Failure::Unreachable | Failure::Refused | Failure::Full
    );
    adds && !is_undone
}

const fn applied_name(applied: &Applied) -> &'static str {
    match applied {
        Applied::Saved(_) => "saved",
        Applied::Moved => "moved",
        Applied::Ended(_) => "ended",
        Applied::Conflict => "conflict",
        Applied::NotAnInteger => "not_an_integer",
        Applied::TooLarge => "too_large",
    }
}

fn tell(change: Option<Change>) {
    if let Some(change) = change {
        event::mode_changed(change.mode, change.after, None);
    }
}
