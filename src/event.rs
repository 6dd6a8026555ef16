//! What happens to sessions, as `tracing` events.
//!
//! All have the target `sessile`, the level info where nothing else is said, and a field `event`; the others are `handle`, `user`, `reason`,
//! `address` and `count`, where they are known. None holds an id or a digest.
//!
//! | event | when |
//! |---|---|
//! | `created` | a stranger's session was made, by a first write |
//! | `signed_in` | a user's session was made |
//! | `reauthenticated` | a user proved again who they are |
//! | `regenerated` | a session got a new id |
//! | `ended` | a session was ended, with the `reason`; not by its clocks, which nobody watches |
//! | `refused` | well-formed ids that name no session were presented: at once, then at most one line a minute, with the `count` since |
//! | `store_failed` | the store failed, with the `error`; likewise counted. This one is a warning |
//! | `evicting` | a Redis was connected to that may drop sessions for want of memory, with its `policy`: a warning |
//! | `mode` | the store went away (a warning, with the `error`), answers again, or is back: `mode`, and `after_ms`, how long the one before lasted |
//! | `demo_started`, `demo_completed`, `demo_adopted` | a demo began, came to 100 %, was brought along by a user who signed in |
//! | `demo_refused` | a client's address had started as many demos as the layer allows |
//! | `promoted`, `not_promoted` | a session that was made while the store was away was brought to it, or not, with the `reason` |
//! | `write_lost` | what was written while the store was away met another value there, which stays: a warning, with the `reason` |
//! | `ends_asserted` | the store may have lost its last writes: the ends of the last minutes were sent again, `count` of them |
//! | `store_emptied` | the store came back empty: `count` sessions that were made meanwhile ended with it. A warning |
//! | `journal_collapsed` | more ends wait for the store than there is room for: all of a user's sessions end with one. A warning |
//! | `journal_damaged` | lines of the journal's file cannot be read: ends may be missing; `count` of them. A warning |
//! | `malformed_record` | what stands where a session should is no record: it is a stranger; likewise counted, a warning |

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::clock::{micros, span_micros};
use crate::id::{Handle, UserId};
use crate::record::{EndReason, Record};
use crate::store::{Created, Mode, StoreError};

/// One line of a kind a minute is enough: a flood of bad ids or failures must not become a flood of lines.
const TOLD_EVERY: Duration = Duration::from_secs(60);

pub(crate) fn created(record: &Record) {
    let name = match record.user() {
        Some(_) => "signed_in",
        None => "created",
    };
    of_record(name, record);
}

pub(crate) fn reauthenticated(record: &Record) {
    of_record("reauthenticated", record);
}

pub(crate) fn regenerated(record: &Record) {
    of_record("regenerated", record);
}

pub(crate) fn demo_started(record: &Record) {
    of_record("demo_started", record);
}

pub(crate) fn demo_completed(record: &Record) {
    of_record("demo_completed", record);
}

pub(crate) fn demo_adopted(record: &Record) {
    of_record("demo_adopted", record);
}

pub(crate) fn demo_refused() {
    tracing::info!(target: "sessile", event = "demo_refused");
}

fn of_record(event: &'static str, record: &Record) {
    tracing::info!(
        target: "sessile",
        event,
        handle = %record.handle(),
        user = record.user(),
        address = record.address(),
    );
}

pub(crate) fn ended(
    handle: Handle,
    user: Option<&UserId>,
    reason: EndReason,
    address: Option<&str>,
) {
    tracing::info!(
        target: "sessile",
        event = "ended",
        %handle,
        user = user.map(UserId::as_str),
        reason = reason.as_str(),
        address,
    );
}

pub(crate) fn refused(count: u64) {
    tracing::info!(target: "sessile", event = "refused", count);
}

pub(crate) fn store_failed(error: &StoreError, count: u64) {
    tracing::warn!(target: "sessile", event = "store_failed", %error, count);
}

/// The store of a layer went away, answers again, or is back.
pub(crate) fn mode_changed(mode: Mode, after: Duration, error: Option<&StoreError>) {
    let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
    match (mode, error) {
        (Mode::Degraded, Some(error)) => {
            tracing::warn!(target: "sessile", event = "mode", mode = mode.as_str(), after_ms, %error);
        }
        _ => tracing::info!(target: "sessile", event = "mode", mode = mode.as_str(), after_ms),
    }
}

/// Ends did not fit: all sessions of their users end with them.
pub(crate) fn journal_collapsed() {
    tracing::warn!(target: "sessile", event = "journal_collapsed");
}

/// The journal's file was changed by somebody else, or by its disk.
pub(crate) fn journal_damaged(count: usize) {
    tracing::warn!(target: "sessile", event = "journal_damaged", count);
}

/// The store came back empty.
pub(crate) fn store_emptied(count: usize) {
    tracing::warn!(target: "sessile", event = "store_emptied", count);
}

/// The store may have lost ends: they were sent once more.
pub(crate) fn ends_asserted(count: usize) {
    if count == 0 {
        return;
    }
    tracing::info!(target: "sessile", event = "ends_asserted", count);
}

/// A session that was made while the store was away was brought to it.
pub(crate) fn promoted(record: &Record, created: &Created) {
    let reason = match created {
        Created::Created(_) => None,
        Created::AtLimit => Some(EndReason::Limit.as_str()),
        Created::Refused(reason) => Some(reason.as_str()),
        Created::Exists | Created::TooLarge => Some("refused"),
    };
    let event = if reason.is_none() {
        "promoted"
    } else {
        "not_promoted"
    };
    tracing::info!(
        target: "sessile",
        event,
        handle = %record.handle(),
        user = record.user(),
        reason,
    );
}

/// What was written while the store was away was not written there.
pub(crate) fn write_lost(reason: &'static str) {
    tracing::warn!(target: "sessile", event = "write_lost", reason);
}

#[cfg(feature = "redis")]
pub(crate) fn malformed_record(count: u64) {
    tracing::warn!(target: "sessile", event = "malformed_record", count);
}

/// Counts what may come in floods, and says when it is time to tell how many there were.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    untold: AtomicU64,
    told_at: AtomicU64,
}

impl Tally {
    /// One more; with how many there were since it was last told, if it is time to tell.
    pub(crate) fn add(&self, now: SystemTime) -> Option<u64> {
        self.untold.fetch_add(1, Ordering::Relaxed);
        let (now, told) = (micros(now), self.told_at.load(Ordering::Relaxed));
        let is_time = now.saturating_sub(told) >= span_micros(TOLD_EVERY)
            && self
                .told_at
                .compare_exchange(told, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        is_time.then(|| self.untold.swap(0, Ordering::Relaxed))
    }
}
