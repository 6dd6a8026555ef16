//! What happens to sessions, as `tracing` events.
//!
//! All have the target `sessile`, the level info, and a field `event`; the others are `handle`, `user`, `reason`,
//! `address` and `count`, where they are known. None holds an id or a digest.
//!
//! | event | when |
//! |---|---|
//! | `created` | a stranger's session was made, by a first write |
//! | `signed_in` | a user's session was made |
//! | `reauthenticated` | a user proved again who they are |
//! | `regenerated` | a session got a new id |
//! | `ended` | a session ended, with the `reason` |
//! | `refused` | well-formed ids that name no session were presented: at once, then at most one line a minute, with the `count` since |

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::clock::{micros, span_micros};
use crate::id::{Handle, UserId};
use crate::record::{EndReason, Record};

/// One line about refused ids a minute is enough: a flood of them must not become a flood of lines.
const REFUSED_EVERY: Duration = Duration::from_secs(60);

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

/// Counts ids that name no session, and says so now and then.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    unsaid: AtomicU64,
    said_at: AtomicU64,
}

impl Refusals {
    pub(crate) fn add(&self, now: SystemTime) {
        self.unsaid.fetch_add(1, Ordering::Relaxed);
        let (now, said) = (micros(now), self.said_at.load(Ordering::Relaxed));
        if now.saturating_sub(said) >= span_micros(REFUSED_EVERY)
            && self
                .said_at
                .compare_exchange(said, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            let count = self.unsaid.swap(0, Ordering::Relaxed);
            tracing::info!(target: "sessile", event = "refused", count);
        }
    }
}
