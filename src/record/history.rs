//! What a store keeps of a user beyond their sessions: what happened to them, and what they did.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::end::{End, EndReason, cut};
use super::live::Record;
use super::text::Text as _;
use super::wire::{wire_address, wire_agent};
use crate::clock::{instant, micros};
use crate::id::Handle;

/// What a line takes besides its texts: instant, event, reason, handle, address, length.
const LINE: usize = 16 + 16 + 12 + 37 + 65 + 5;
/// The same of an activity: instant, handle, address, two lengths, a space.
const ACTIVITY: usize = 17 + 37 + 65 + 3 + 4 + 1;

/// Something that happened to one of a user's sessions.
///
/// It outlives the session. A store keeps the last [`MOST`](Self::MOST) of each user, for [`KEPT`](Self::KEPT).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryEntry {
    /// When, by the store's clock.
    pub at: SystemTime,
    /// What.
    pub event: HistoryEvent,
    /// To which session.
    pub handle: Handle,
    /// Where the session was last used from, as far as is known and [kept](crate::StoredAddress).
    pub address: Option<Arc<str>>,
    /// With what.
    pub user_agent: Option<Arc<str>>,
}

/// What can happen to a user's session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HistoryEvent {
    /// Its user signed in, which made it.
    SignedIn,
    /// Its user proved again who they are.
    Reauthenticated,
    /// It got a new id.
    Regenerated,
    /// It ended. An end by its clocks is not written down: nobody is there when it comes.
    Ended {
        /// Why.
        reason: EndReason,
        /// What the application said about it.
        note: Option<Arc<str>>,
    },
}

/// Something that a user did, as the application recorded it.
///
/// A store keeps the last [`MOST`](Self::MOST) of each user, for [`KEPT`](Self::KEPT).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    /// When, by the store's clock as whoever recorded it knew it.
    pub at: SystemTime,
    /// Of what kind, in the application's words; at most 64 bytes.
    pub kind: Arc<str>,
    /// With what; at most 256 bytes.
    pub resource: Arc<str>,
    /// In which session, if in one.
    pub handle: Option<Handle>,
    /// From where.
    pub address: Option<Arc<str>>,
    /// With what.
    pub user_agent: Option<Arc<str>>,
}

/// What a store keeps of a user beyond their sessions: both newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserLog {
    /// What happened to their sessions.
    pub history: Vec<HistoryEntry>,
    /// What the application recorded.
    pub activities: Vec<Activity>,
}

impl UserLog {
    /// Drops what is too old by now: a store may keep a list as a whole.
    pub fn forget(&mut self, now: SystemTime) {
        self.history
            .retain(|entry| entry.at + HistoryEntry::KEPT > now);
        self.activities
            .retain(|activity| activity.at + Activity::KEPT > now);
    }
}

impl HistoryEntry {
    /// So many of a user are kept, the latest.
    pub const MOST: usize = 200;
    /// For so long: 90 days.
    pub const KEPT: Duration = Duration::from_secs(90 * 24 * 3600);

    /// That this session signed in, when it did.
    #[cfg(feature = "redis")]
    pub(crate) fn signed_in(record: &Record) -> Self {
        Self::of(record, record.created_at(), HistoryEvent::SignedIn)
    }

    /// What happened to a session, with what is known of its last request.
    pub(crate) fn of(record: &Record, at: SystemTime, event: HistoryEvent) -> Self {
        Self {
            at,
            event,
            handle: record.handle(),
            address: record.address().map(Into::into),
            user_agent: record.user_agent().map(Into::into),
        }
    }

    /// As one line of text, for stores that keep bytes.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = self.room();
        text.number_field(micros(self.at));
        self.write(&mut text);
        text
    }

    /// The same without the instant, for a script that knows it better.
    #[cfg(feature = "redis")]
    pub(crate) fn line(&self) -> String {
        let mut text = self.room();
        self.write(&mut text);
        text
    }

    fn room(&self) -> String {
        let note = match &self.event {
            HistoryEvent::Ended { note, .. } => note.as_deref().map_or(0, str::len),
            HistoryEvent::SignedIn | HistoryEvent::Reauthenticated | HistoryEvent::Regenerated => 0,
        };
        String::with_capacity(LINE + note + self.user_agent.as_deref().map_or(0, str::len))
    }

    fn write(&self, text: &mut String) {
        let (reason, note) = match &self.event {
            HistoryEvent::Ended { reason, note } => (reason.as_str(), note.as_deref()),
            HistoryEvent::SignedIn | HistoryEvent::Reauthenticated | HistoryEvent::Regenerated => {
                ("-", None)
            }
        };
        let note = cut(note.unwrap_or(""), End::MAX_NOTE_BYTES);
        text.field(self.event.as_str());
        text.field(reason);
        text.handle_field(self.handle);
        text.field(&address_text(self.address.as_deref()));
        text.number_field(note.len());
        text.field(note);
        text.word(wire_agent(self.user_agent.as_deref().unwrap_or("")));
    }

    /// Reads what [`to_text`](Self::to_text) wrote. `None` for anything else, and for what only a newer version knows.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let mut fields = text.splitn(7, ' ');
        let at = instant_of(fields.next()?)?;
        let (event, reason) = (fields.next()?, fields.next()?);
        let handle = fields.next()?.parse().ok()?;
        let address = address_of(fields.next()?);
        let note_len: usize = fields.next()?.parse().ok()?;
        let (note, agent) = fields.next()?.split_at_checked(note_len)?;
        let agent = agent.strip_prefix(' ')?;
        let event = match event {
            "signed_in" => HistoryEvent::SignedIn,
            "reauthenticated" => HistoryEvent::Reauthenticated,
            "regenerated" => HistoryEvent::Regenerated,
            "ended" => HistoryEvent::Ended {
                reason: EndReason::from_name(reason)?,
                note: some(note),
            },
            _ => return None,
        };
        Some(Self {
            at,
            event,
            handle,
            address,
            user_agent: some(agent),
        })
    }
}

impl HistoryEvent {
    /// Its name in responses: `signed_in`, `reauthenticated`, `regenerated`, `ended`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::SignedIn => "signed_in",
            Self::Reauthenticated => "reauthenticated",
            Self::Regenerated => "regenerated",
            Self::Ended { .. } => "ended",
        }
    }
}

impl Activity {
    /// So many of a user are kept, the latest.
    pub const MOST: usize = 200;
    /// For so long: 30 days.
    pub const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
    /// The longest kind, in bytes; longer ones are cut.
    pub const MAX_KIND_BYTES: usize = 64;
    /// The longest resource, in bytes; longer ones are cut.
    pub const MAX_RESOURCE_BYTES: usize = 256;

    /// As one line of text, for stores that keep bytes.
    #[must_use]
    pub fn to_text(&self) -> String {
        let kind = cut(&self.kind, Self::MAX_KIND_BYTES);
        let resource = cut(&self.resource, Self::MAX_RESOURCE_BYTES);
        let agent = wire_agent(self.user_agent.as_deref().unwrap_or(""));
        let mut text = String::with_capacity(ACTIVITY + kind.len() + resource.len() + agent.len());
        text.number_field(micros(self.at));
        match self.handle {
            Some(handle) => text.handle_field(handle),
            None => text.field("-"),
        }
        text.field(&address_text(self.address.as_deref()));
        text.number_field(kind.len());
        text.number_field(resource.len());
        text.word(kind);
        text.field(resource);
        text.word(agent);
        text
    }

    /// Reads what [`to_text`](Self::to_text) wrote. `None` for anything else.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let mut fields = text.splitn(6, ' ');
        let at = instant_of(fields.next()?)?;
        let handle = match fields.next()? {
            "-" => None,
            handle => Some(handle.parse().ok()?),
        };
        let address = address_of(fields.next()?);
        let kind_len: usize = fields.next()?.parse().ok()?;
        let resource_len: usize = fields.next()?.parse().ok()?;
        let (kind, rest) = fields.next()?.split_at_checked(kind_len)?;
        let (resource, agent) = rest.split_at_checked(resource_len)?;
        Some(Self {
            at,
            kind: kind.into(),
            resource: resource.into(),
            handle,
            address,
            user_agent: some(agent.strip_prefix(' ')?),
        })
    }
}

fn instant_of(text: &str) -> Option<SystemTime> {
    let at: u64 = text.parse().ok()?;
    (at <= 1 << 53).then(|| instant(at))
}

fn address_text(address: Option<&str>) -> Cow<'_, str> {
    match address {
        None | Some("") => "-".into(),
        Some(address) => wire_address(address),
    }
}

fn address_of(text: &str) -> Option<Arc<str>> {
    match text {
        "-" => None,
        text => some(text),
    }
}

fn some(text: &str) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts() -> impl Strategy<Value = Option<Arc<str>>> {
        prop_oneof![
            Just(None),
            "[ -~é]{1,40}".prop_map(|text: String| Some(text.into()))
        ]
    }

    proptest! {
        #[test]
        fn an_entry_reads_back_as_it_was_written(at in 0u64..1 << 53, n in 0usize..4, reason in 0usize..7, note in texts(),
                                                 address in "[0-9a-f.:/#]{1,40}", agent in texts()) {
            let event = match n {
                0 => HistoryEvent::SignedIn,
                1 => HistoryEvent::Reauthenticated,
                2 => HistoryEvent::Regenerated,
                _ => HistoryEvent::Ended { reason: EndReason::ALL[reason], note },
            };
            let entry = HistoryEntry {
                at: instant(at), event, handle: Handle::random().unwrap(), address: Some(address.into()), user_agent: agent,
            };
            prop_assert_eq!(HistoryEntry::from_text(&entry.to_text()), Some(entry));
        }

        #[test]
        fn an_activity_reads_back_as_it_was_written(at in 0u64..1 << 53, kind in "[ -~é]{0,30}", resource in "[ -~é]{0,90}",
                                                    session: bool, agent in texts()) {
            let activity = Activity {
                at: instant(at), kind: kind.into(), resource: resource.into(),
                handle: session.then(|| Handle::random().unwrap()), address: None, user_agent: agent,
            };
            prop_assert_eq!(Activity::from_text(&activity.to_text()), Some(activity));
        }

        #[test]
        fn inv14_anything_else_is_none_and_no_panic(text in "[ -~é]{0,120}", cut in 0usize..56) {
            let entry = HistoryEntry {
                at: instant(7), event: HistoryEvent::SignedIn, handle: Handle::random().unwrap(), address: None, user_agent: None,
            };
            let _ = (HistoryEntry::from_text(&text), Activity::from_text(&text));
            prop_assert_eq!(HistoryEntry::from_text(&entry.to_text()[..cut]), None);
        }
    }
}
