//! Where a layer's events go: to `tracing`, to the figures, and to whoever listens.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::broadcast;

use super::lines::Line;
use super::stream::{self, Events};
use super::tally::Tally;
use super::{Event, EventKind};
use crate::id::{Handle, Kind, UserId};
use crate::record::{EndReason, Record};
use crate::risk::{Risk, RiskAction};
use crate::store::{Created, EndedSession, Mode, StoreError};

/// The events of one layer. Each is told once, here.
pub(crate) struct Hub {
    /// Made when somebody listens for the first time.
    stream: OnceLock<broadcast::Sender<Event>>,
    counts: [AtomicU64; EventKind::COUNT],
    ends: [AtomicU64; EndReason::ALL.len()],
    refused: Tally,
    reused: Tally,
    failed: Tally,
}

impl Hub {
    pub(crate) fn new() -> Self {
        Self {
            stream: OnceLock::new(),
            counts: Default::default(),
            ends: Default::default(),
            refused: Tally::default(),
            reused: Tally::default(),
            failed: Tally::default(),
        }
    }

    /// All events from now on.
    pub(crate) fn listen(&self) -> Events {
        let sender = self.stream.get_or_init(stream::channel);
        Events::new(sender.subscribe())
    }

    /// How often each happened, by name; floods with those that were not told yet.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.counts.iter().map(|n| n.load(Ordering::Relaxed));
        let told = EventKind::NAMES.into_iter().zip(counts);
        told.map(|(name, count)| {
            let untold = match name {
                "refused" => self.refused.untold(),
                "reused" => self.reused.untold(),
                "store_failed" => self.failed.untold(),
                _ => 0,
            };
            (name, count + untold)
        })
    }

    /// How often one happened, by name.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.counts()
            .find(|(known, _)| *known == name)
            .map_or(0, |(_, count)| count)
    }

    /// How many sessions, demos aside, ended for each reason.
    pub(crate) fn ends(&self) -> impl Iterator<Item = (EndReason, u64)> {
        let ends = self.ends.iter().map(|n| n.load(Ordering::Relaxed));
        EndReason::ALL.into_iter().zip(ends)
    }

    fn tell(&self, line: Line<'_>) {
        line.trace();
        let count = line.kind.count();
        self.counts[line.kind.number()].fetch_add(count, Ordering::Relaxed);
        if let EventKind::Ended(reason) = line.kind {
            self.ends[reason as usize].fetch_add(1, Ordering::Relaxed);
        }
        #[cfg(feature = "metrics")]
        crate::stats::meter::event(&line.kind, count);
        // Nobody listens any more: that is no failure.
        if let Some(stream) = self.stream.get() {
            let _ = stream.send(line.into_event());
        }
    }

    fn of_nobody(&self, at: SystemTime, kind: EventKind) {
        self.tell(Line {
            at,
            kind,
            handle: None,
            user: None,
            address: None,
        });
    }

    fn of_record(&self, at: SystemTime, kind: EventKind, record: &Record) {
        self.tell(Line {
            at,
            kind,
            handle: Some(record.handle()),
            user: record.user(),
            address: record.address(),
        });
    }

    pub(crate) fn created(&self, at: SystemTime, record: &Record) {
        let kind = match record.user() {
            Some(_) => EventKind::SignedIn,
            None => EventKind::Created,
        };
        self.of_record(at, kind, record);
    }

    pub(crate) fn reauthenticated(&self, at: SystemTime, record: &Record) {
        self.of_record(at, EventKind::Reauthenticated, record);
    }

    pub(crate) fn regenerated(&self, at: SystemTime, record: &Record) {
        self.of_record(at, EventKind::Regenerated, record);
    }

    pub(crate) fn demo_started(&self, at: SystemTime, record: &Record) {
        self.of_record(at, EventKind::DemoStarted, record);
    }

    pub(crate) fn demo_completed(&self, at: SystemTime, record: &Record) {
        self.of_record(at, EventKind::DemoCompleted, record);
    }

    pub(crate) fn demo_adopted(&self, at: SystemTime, record: &Record) {
        self.of_record(at, EventKind::DemoAdopted, record);
    }

    pub(crate) fn demo_refused(&self, at: SystemTime) {
        self.of_nobody(at, EventKind::DemoRefused);
    }

    /// Of a session of this kind.
    pub(crate) fn ended(
        &self,
        at: SystemTime,
        (kind, session): (Kind, &EndedSession),
        reason: EndReason,
        address: Option<&str>,
    ) {
        let kind = match kind {
            Kind::User => EventKind::Ended(reason),
            Kind::Demo => EventKind::DemoEnded(reason),
        };
        self.tell(Line {
            at,
            kind,
            handle: Some(session.handle),
            user: session.user.as_ref().map(UserId::as_str),
            address,
        });
    }

    /// An id that names no session was presented.
    pub(crate) fn refused(&self, now: SystemTime) {
        if let Some(count) = self.refused.add(now) {
            self.of_nobody(now, EventKind::Refused { count });
        }
    }

    /// An id was presented that had long been superseded.
    pub(crate) fn reused(&self, now: SystemTime, handle: Handle, address: Option<&str>) {
        if let Some(count) = self.reused.add(now) {
            self.tell(Line {
                at: now,
                kind: EventKind::Reused { count },
                handle: Some(handle),
                user: None,
                address,
            });
        }
    }

    pub(crate) fn store_failed(&self, now: SystemTime, error: &StoreError) {
        if let Some(count) = self.failed.add(now) {
            let error = error.to_string().into();
            self.of_nobody(now, EventKind::StoreFailed { count, error });
        }
    }

    pub(crate) fn risk(
        &self,
        at: SystemTime,
        (risk, action): (&Risk, RiskAction),
        handle: Option<Handle>,
        user: &UserId,
        address: Option<&str>,
    ) {
        let risk = risk.clone();
        self.tell(Line {
            at,
            kind: EventKind::Risk { risk, action },
            handle,
            user: Some(user.as_str()),
            address,
        });
    }

    /// The store of the layer went away, answers again, or is back.
    pub(crate) fn mode_changed(
        &self,
        at: SystemTime,
        mode: Mode,
        after: Duration,
        error: Option<&StoreError>,
    ) {
        let error = error
            .filter(|_| mode == Mode::Degraded)
            .map(|error| error.to_string().into());
        self.of_nobody(at, EventKind::Mode { mode, after, error });
    }

    /// Ends did not fit: all sessions of their users end with them.
    pub(crate) fn journal_collapsed(&self, at: SystemTime) {
        self.of_nobody(at, EventKind::JournalCollapsed);
    }

    /// The store came back empty.
    pub(crate) fn store_emptied(&self, at: SystemTime, count: usize) {
        self.of_nobody(at, EventKind::StoreEmptied { count });
    }

    /// The store may have lost ends: they were sent once more.
    pub(crate) fn ends_asserted(&self, at: SystemTime, count: usize) {
        if count > 0 {
            self.of_nobody(at, EventKind::EndsAsserted { count });
        }
    }

    /// A session that was made while the store was away was brought to it.
    pub(crate) fn promoted(&self, at: SystemTime, record: &Record, created: &Created) {
        let reason = match created {
            Created::Created(_) => return self.of_record(at, EventKind::Promoted, record),
            Created::AtLimit => EndReason::Limit.as_str(),
            Created::Refused(reason) => reason.as_str(),
            Created::Exists | Created::TooLarge => "refused",
        };
        self.of_record(at, EventKind::NotPromoted { reason }, record);
    }

    /// What was written while the store was away was not written there.
    pub(crate) fn write_lost(&self, at: SystemTime, reason: &'static str) {
        self.of_nobody(at, EventKind::WriteLost { reason });
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}
