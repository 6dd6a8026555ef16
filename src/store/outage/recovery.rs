//! Watching the store, and what is brought to it when it is back.
//!
//! In this order, and the store is not read before the third is done: it is told every end that it missed; it is told
//! again those that it may have lost; what was known without it is dropped. Then what was written and made here follows.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::runtime::Handle;

use super::away::Away;
use super::barrier::{AT_A_TIME, Barrier, Next, Pass};
use super::breaker::{BEAT, Continuity, PROBE};
use super::durable::Durable;
use super::memory::Delivery;
use super::part::{Change, PartState};
use super::staged::is_done_at_most_once;
use crate::id::{Bucket, RecordKey};
use crate::store::{Appended, Applied, Create, Created, EndSessions, Failure, StoreError};

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
        if tokio::time::timeout(pause, part.opened(seen)).await.is_ok() {
            tokio::time::sleep(PROBE).await;
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
    tell(away, change);
    let epoch = part.epoch();
    match tell_it(away, part, Barrier::new(!epoch.is_up(), owed), owed).await {
        Ok(is_made_good) => {
            // At once: what requests were answered from until now is gone.
            if is_made_good {
                part.settled(epoch);
            }
            tell(away, part.recovered(epoch, away.now()));
            bring_due(away, part);
            if let Err(error) = Durable::sync(away).await {
                // Those that are done are sent once more after a crash: that changes nothing.
                tracing::debug!(target: "sessile", %error, "the journal could not be written");
            }
        }
        Err(error) => away.failed(part, epoch, &error),
    }
}

/// Carries out what has to be done before the store is read again, or while it is: whether nothing is owed to it then.
async fn tell_it(
    away: &Arc<Away>,
    part: &PartState,
    mut barrier: Barrier,
    owed: Continuity,
) -> Result<bool, StoreError> {
    let began = away.now();
    let in_part = in_part(away, part);
    let is_whole = owed == Continuity::Unbroken;
    if is_whole {
        bring_kept(away, part).await?;
    }
    loop {
        // Under the lock of the journal; nobody takes that one while they hold a memory's.
        let again = |all| {
            let mut ends = Vec::new();
            for memory in away.memories() {
                ends.extend(memory.assertions(&in_part, all));
            }
            if all {
                away.events.ends_asserted(began, ends.len());
            }
            ends
        };
        let next = barrier.next(&away.journal(), &in_part, again);
        match next {
            Next::Send(ends) => {
                let (outcomes, error) = send(away, ends).await;
                let mut journal = away.journal();
                let answered = barrier.answered(&mut journal, &outcomes, |step| away.noted(step));
                away.journal_changed(&journal);
                drop(journal);
                if let (Err(_), Some(error)) = (answered, error) {
                    return Err(error);
                }
            }
            Next::Wait => {
                let jitter = getrandom::u32().unwrap_or_default() % JITTER_MS;
                tokio::time::sleep(Duration::from_millis(jitter.into())).await;
                if is_whole {
                    bring_kept(away, part).await?;
                }
            }
            Next::Forget => forget(away, part, owed),
            Next::Done => {
                let is_made_good = barrier.is_made_good();
                if is_made_good {
                    for mut memory in away.memories() {
                        memory.pursued.told(&in_part, began);
                    }
                }
                return Ok(is_made_good);
            }
        }
    }
}

/// Brings those sessions that were made here and then ended all others of their user: before that end, which keeps out
/// whoever signed in before it and is not there yet. They are let in as any other: not past what ended them elsewhere.
/// Not to a store that may have lost such ends.
async fn bring_kept(away: &Arc<Away>, part: &PartState) -> Result<(), StoreError> {
    if !away.has_journal() {
        return Ok(());
    }
    let kept = away.journal().kept(in_part(away, part));
    for (_, bucket, handle) in kept {
        let sent = away.moment();
        let (busy, key, delivery) = {
            let mut memory = away.memory(bucket);
            let Some(key) = memory.locals.named(handle) else {
                continue;
            };
            let Some(delivery) = memory.begin(&key, sent) else {
                continue;
            };
            let away = Arc::clone(away);
            (Busy { away, key }, key, delivery)
        };
        if let Delivery::Promote(create) = delivery {
            let created = match away.store.create((*create).clone()).await {
                Ok(created) => created,
                Err(error) if error.failure() == Failure::Other => continue,
                Err(error) => return Err(error),
            };
            let now = away.moment();
            let mut memory = away.memory(bucket);
            let here = memory.locals.record(&key).cloned();
            let is_whole = memory.promoted(&create, &created, now);
            if let (Created::Created(ended), Some(record)) = (&created, here) {
                // From which it is served until the store is read.
                let create = Create {
                    record,
                    ..(*create).clone()
                };
                memory.created(&create, ended, sent.here, now);
            }
            drop(memory);
            tell_promoted(away, &create, &created, is_whole);
        }
        drop(busy);
    }
    Ok(())
}

/// Sends these ends at the same time: what came of each, and one error of those that say that the store is away.
async fn send(
    away: &Away,
    ends: Vec<EndSessions>,
) -> (Vec<Result<(), Failure>>, Option<StoreError>) {
    let answers = join_all(ends.into_iter().map(|end| away.store.end(end))).await;
    let (mut outcomes, mut last) = (Vec::with_capacity(answers.len()), None);
    for answer in answers {
        outcomes.push(match answer {
            Ok(_) => Ok(()),
            Err(error) => {
                let failure = error.failure();
                if failure != Failure::Other {
                    last = Some(error);
                }
                Err(failure)
            }
        });
    }
    (outcomes, last)
}

fn forget(away: &Arc<Away>, part: &PartState, owed: Continuity) {
    let now = away.moment();
    let in_part = in_part(away, part);
    let mut lost = 0;
    for mut memory in away.memories() {
        lost += memory.recover(&in_part, owed, now);
    }
    if owed == Continuity::Empty {
        away.events.store_emptied(now.store, lost);
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
    let mut pass = Pass::default();
    loop {
        let next = pass.next(&away.journal(), &in_part);
        let Some(ends) = next else {
            return Ok(());
        };
        let (outcomes, error) = send(away, ends).await;
        let mut journal = away.journal();
        let answered = pass.answered(&mut journal, &outcomes, |step| away.noted(step));
        away.journal_changed(&journal);
        drop(journal);
        if let (Err(_), Some(error)) = (answered, error) {
            return Err(error);
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
                    let is_whole = away.memory(key.bucket).promoted(&create, &created, now);
                    tell_promoted(away, &create, &created, is_whole);
                    None
                }
                Err(error) => Some(error),
            },
            Delivery::Append(append) => match away.store.append((*append).clone()).await {
                Ok(appended) => {
                    if !away.memory(key.bucket).message_sent(&append, &appended) {
                        away.events.write_lost(away.now(), appended_name(&appended));
                    }
                    None
                }
                // Sent twice, it is there once.
                Err(error) => Some(error),
            },
            Delivery::Write(apply) => match away.store.apply((*apply).clone()).await {
                Ok(applied) => {
                    if !away.memory(key.bucket).written(&apply, &applied) {
                        away.events.write_lost(away.now(), applied_name(&applied));
                    }
                    None
                }
                Err(error) => {
                    if is_done_at_most_once(&apply.changes, error.failure()) {
                        away.memory(key.bucket).written(&apply, &Applied::Conflict);
                        away.events.write_lost(away.now(), "unknown");
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

fn tell_promoted(away: &Away, create: &Create, created: &Created, is_whole: bool) {
    let now = away.now();
    away.events.promoted(now, &create.record, created);
    if !is_whole {
        away.events.write_lost(now, "full");
    }
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

const fn appended_name(appended: &Appended) -> &'static str {
    match appended {
        Appended::Added { .. } => "saved",
        Appended::Moved => "moved",
        Appended::Ended(_) => "ended",
        Appended::Full => "too_large",
    }
}

fn tell(away: &Away, change: Option<Change>) {
    if let Some(change) = change {
        let now = away.now();
        away.events
            .mode_changed(now, change.mode, change.after, None);
    }
}
