//! An end that waits for the store.

use std::sync::Arc;
use std::time::SystemTime;

use crate::clock::{instant, micros};
use crate::id::{Bucket, Handle, RecordKey, UserId};
use crate::record::{End, EndReason, cut};
use crate::store::rules;

/// The last instant that is kept, in microseconds: the year 2255, and still an instant on every platform.
pub(in crate::store::outage) const LAST_MICROS: u64 = 1 << 53;

/// An end that must reach the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PendingEnd {
    /// What ends.
    pub(crate) scope: PendingScope,
    /// Why.
    pub(crate) reason: EndReason,
    /// What the application says about it.
    pub(crate) note: Option<Arc<str>>,
    /// When it was ended here.
    pub(crate) at: SystemTime,
}

/// What a [`PendingEnd`] ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PendingScope {
    /// The session under this key: a stranger's, a demo session, or one of which the id alone is known.
    Key(RecordKey),
    /// The user's session of that name.
    Handle {
        user: UserId,
        bucket: Bucket,
        handle: Handle,
    },
    /// The user's sessions that signed in before an instant, all or all but one. No other may be made that signed in
    /// before it.
    User {
        user: UserId,
        bucket: Bucket,
        keep: Option<Handle>,
        before: SystemTime,
    },
}

impl PendingScope {
    /// Where it is carried out.
    pub(crate) const fn bucket(&self) -> Bucket {
        match self {
            Self::Key(key) => key.bucket,
            Self::Handle { bucket, .. } | Self::User { bucket, .. } => *bucket,
        }
    }

    /// Whether both are of the same session, or of the sessions of the same user.
    pub(super) fn is_alike(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Key(key), Self::Key(other)) => key == other,
            (
                Self::Handle { user, handle, .. },
                Self::Handle {
                    user: other,
                    handle: also,
                    ..
                },
            ) => user == other && handle == also,
            (Self::User { user, .. }, Self::User { user: other, .. }) => user == other,
            (Self::Key(_) | Self::Handle { .. } | Self::User { .. }, _) => false,
        }
    }
}

impl PendingEnd {
    /// As a file keeps it. Nothing escapes by the rounding: an instant before which sessions end is rounded up, and
    /// records have theirs rounded down.
    pub(super) fn rounded(self) -> Self {
        let Self {
            mut scope,
            reason,
            note,
            at,
        } = self;
        if let PendingScope::User { before, .. } = &mut scope {
            let down = floor(*before);
            *before = if down < *before {
                floor(rules::after(down))
            } else {
                down
            };
        }
        let note = note.and_then(|note| match cut(&note, End::MAX_NOTE_BYTES) {
            "" => None,
            short if short.len() < note.len() => Some(short.into()),
            _ => Some(note),
        });
        Self {
            scope,
            reason,
            note,
            at: floor(at),
        }
    }

    /// Whether this end of a user's sessions ends that one.
    pub(super) fn ends(&self, handle: Handle, signed_in_at: SystemTime) -> bool {
        match &self.scope {
            PendingScope::User { keep, before, .. } => {
                signed_in_at < *before && *keep != Some(handle)
            }
            PendingScope::Key(_) | PendingScope::Handle { .. } => false,
        }
    }

    /// Before when a user's sessions end, and which is kept.
    pub(super) fn extent(&self) -> Option<(SystemTime, Option<Handle>)> {
        match &self.scope {
            PendingScope::User { keep, before, .. } => Some((*before, *keep)),
            PendingScope::Key(_) | PendingScope::Handle { .. } => None,
        }
    }

    pub(in crate::store::outage) fn end(&self) -> End {
        End {
            reason: self.reason,
            at: self.at,
            note: self.note.clone(),
        }
    }

    /// The same session ended once more: what it was ended for first stays. Of the instants the later one, for the
    /// session may have been signed in to anew in between, and what ends by [`at`](Self::at) must reach that far.
    pub(super) fn again_at(self, at: SystemTime) -> Self {
        Self {
            at: self.at.max(at),
            ..self
        }
    }

    /// The same without an exception.
    pub(super) fn keeping_none(mut self) -> Self {
        if let PendingScope::User { keep, .. } = &mut self.scope {
            *keep = None;
        }
        self
    }
}

fn floor(at: SystemTime) -> SystemTime {
    instant(micros(at).min(LAST_MICROS))
}
