//! Events as lines of `tracing`.

use std::time::SystemTime;

use super::{Event, EventKind};
use crate::id::{Handle, UserId};
use crate::record::EndReason;

/// An event as it is told: its texts are whoever's they are, for mostly nobody listens who would keep it.
pub(super) struct Line<'a> {
    pub(super) at: SystemTime,
    pub(super) kind: EventKind,
    pub(super) handle: Option<Handle>,
    pub(super) user: Option<&'a str>,
    pub(super) address: Option<&'a str>,
}

impl Line<'_> {
    /// To be kept.
    pub(super) fn into_event(self) -> Event {
        Event {
            at: self.at,
            kind: self.kind,
            handle: self.handle,
            user: self.user.map(UserId::from),
            address: self.address.map(Into::into),
        }
    }

    pub(super) fn trace(&self) {
        let (event, user, address) = (self.kind.as_str(), self.user, self.address);
        match &self.kind {
            EventKind::Created
            | EventKind::SignedIn
            | EventKind::Reauthenticated
            | EventKind::Regenerated
            | EventKind::DemoStarted
            | EventKind::DemoCompleted
            | EventKind::DemoAdopted => tracing::info!(
                target: "sessile",
                event,
                handle = self.handle.map(tracing::field::display),
                user,
                address,
            ),
            EventKind::Ended(reason) | EventKind::DemoEnded(reason) => {
                trace_ended(event, self.handle, (user, address), *reason);
            }
            EventKind::Refused { count } => tracing::info!(target: "sessile", event, count),
            EventKind::Reused { count } => tracing::warn!(
                target: "sessile",
                event,
                handle = self.handle.map(tracing::field::display),
                address,
                count,
            ),
            EventKind::Risk { risk, action } => {
                let reasons: Vec<_> = risk.reasons.iter().map(|reason| reason.as_str()).collect();
                tracing::warn!(
                    target: "sessile",
                    event,
                    handle = self.handle.map(tracing::field::display),
                    user,
                    address,
                    level = risk.level.as_str(),
                    reasons = reasons.join(" "),
                    action = action.as_str(),
                );
            }
            EventKind::StoreFailed { count, error } => {
                tracing::warn!(target: "sessile", event, %error, count);
            }
            EventKind::Mode { mode, after, error } => {
                let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
                match error {
                    Some(error) => tracing::warn!(
                        target: "sessile",
                        event,
                        mode = mode.as_str(),
                        after_ms,
                        %error,
                    ),
                    None => {
                        tracing::info!(target: "sessile", event, mode = mode.as_str(), after_ms);
                    }
                }
            }
            EventKind::Promoted => self.trace_promoted(user, None),
            EventKind::NotPromoted { reason } => self.trace_promoted(user, Some(reason)),
            EventKind::WriteLost { reason } => tracing::warn!(target: "sessile", event, reason),
            EventKind::EndsAsserted { count } => tracing::info!(target: "sessile", event, count),
            EventKind::StoreEmptied { count } => tracing::warn!(target: "sessile", event, count),
            EventKind::DemoRefused => tracing::info!(target: "sessile", event),
            EventKind::JournalCollapsed => tracing::warn!(target: "sessile", event),
        }
    }

    fn trace_promoted(&self, user: Option<&str>, reason: Option<&str>) {
        tracing::info!(
            target: "sessile",
            event = self.kind.as_str(),
            handle = self.handle.map(tracing::field::display),
            user,
            reason,
        );
    }
}

fn trace_ended(
    event: &'static str,
    handle: Option<Handle>,
    (user, address): (Option<&str>, Option<&str>),
    reason: EndReason,
) {
    tracing::info!(
        target: "sessile",
        event,
        handle = handle.map(tracing::field::display),
        user,
        reason = reason.as_str(),
        address,
    );
}

/// Of a session that nobody ever held: a store knows of it, and no layer does.
#[cfg(feature = "redis")]
pub(crate) fn ended(
    kind: crate::id::Kind,
    handle: Handle,
    user: Option<&UserId>,
    reason: EndReason,
) {
    let event = match kind {
        crate::id::Kind::User => "ended",
        crate::id::Kind::Demo => "demo_ended",
    };
    trace_ended(
        event,
        Some(handle),
        (user.map(UserId::as_str), None),
        reason,
    );
}

/// The journal's file was changed by somebody else, or by its disk.
pub(crate) fn journal_damaged(count: usize) {
    tracing::warn!(target: "sessile", event = "journal_damaged", count);
}

#[cfg(feature = "redis")]
pub(crate) fn malformed_record(count: u64) {
    tracing::warn!(target: "sessile", event = "malformed_record", count);
}
