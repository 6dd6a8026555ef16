//! Why and when a session ended.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Its holder signed out.
    LoggedOut,
    /// Nothing came from it for the idle timeout.
    Idle,
    /// It reached its absolute end.
    Absolute,
    /// Its id was replaced, by a login or a regeneration; the session goes on under another id.
    Regenerated,
    /// The user signed in elsewhere and had as many sessions as allowed.
    Limit,
    /// It was ended from outside: from the user's list of sessions, or by the application.
    Revoked,
    /// The store no longer has it.
    StoreLost,
}

impl EndReason {
    /// Every reason, for tables and tests.
    pub const ALL: [Self; 7] = [
        Self::LoggedOut,
        Self::Idle,
        Self::Absolute,
        Self::Regenerated,
        Self::Limit,
        Self::Revoked,
        Self::StoreLost,
    ];

    /// The reason's name in records, logs and responses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LoggedOut => "logged_out",
            Self::Idle => "idle",
            Self::Absolute => "absolute",
            Self::Regenerated => "regenerated",
            Self::Limit => "limit",
            Self::Revoked => "revoked",
            Self::StoreLost => "store_lost",
        }
    }

    /// Whether somebody ended it: not its clocks, nor a store that lost it.
    pub(crate) const fn is_of_somebody(self) -> bool {
        match self {
            Self::LoggedOut | Self::Regenerated | Self::Limit | Self::Revoked => true,
            Self::Idle | Self::Absolute | Self::StoreLost => false,
        }
    }

    /// The reason of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The end of a session: what its holder is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Why.
    pub reason: EndReason,
    /// When.
    pub at: SystemTime,
    /// What the application said when it revoked the session, at most 256 bytes.
    pub note: Option<Arc<str>>,
}

impl End {
    /// The longest note, in bytes; longer ones are cut at a character.
    pub const MAX_NOTE_BYTES: usize = 256;

    /// An end without a note.
    #[must_use]
    pub const fn new(reason: EndReason, at: SystemTime) -> Self {
        Self {
            reason,
            at,
            note: None,
        }
    }

    /// With a note; an empty one is none.
    #[must_use]
    pub fn with_note(mut self, note: &str) -> Self {
        let note = cut(note, Self::MAX_NOTE_BYTES);
        self.note = (!note.is_empty()).then(|| note.into());
        self
    }
}

/// The longest beginning of `text` that has at most `bytes` bytes and ends between characters.
pub(crate) fn cut(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_reads_back_by_its_name() {
        for reason in EndReason::ALL {
            assert_eq!(EndReason::from_name(reason.as_str()), Some(reason));
        }
        assert_eq!(EndReason::from_name("bored"), None);
    }

    #[test]
    fn a_note_is_cut_between_characters() {
        let end = End::new(EndReason::Revoked, SystemTime::UNIX_EPOCH).with_note(&"é".repeat(200));
        assert_eq!(end.note.unwrap().len(), 256);
        assert_eq!(cut("aé", 2), "a");
    }
}
