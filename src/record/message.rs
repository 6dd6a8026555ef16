//! A message of a demo session's conversation, as a store keeps it.
//!
//! The text is one JSON object that begins with three fields of ours, in this order, so that whoever adds the next one
//! has to look at the last one alone:
//!
//! ```text
//! {"id":"<22 characters>","at":<microseconds since 1970>,"total":<bytes>,"role":…
//! ```
//!
//! `id` tells a message that was sent twice, `at` is the store's clock, and `total` is how many bytes the conversation
//! has with this message, its own fields not counted.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::live::Record;
use crate::clock::micros;

/// What tells one message from another: 128 random bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageId([u8; 16]);

impl MessageId {
    /// A new one.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Base64url without padding, 22 characters.
    #[must_use]
    pub fn to_text(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

/// A message that is to be added. Its instant is the store's to say.
#[derive(Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// What tells it from the others: sent twice, it is added once.
    pub id: MessageId,
    /// The JSON text of an object that is not empty and has none of the fields `id`, `at` and `total`.
    pub body: Arc<[u8]>,
}

/// Shows nothing of what it says.
impl fmt::Debug for NewMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewMessage")
            .field("id", &self.id)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// What a conversation may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageBounds {
    /// At most so many messages.
    pub count: usize,
    /// Of at most so many bytes together, their [`NewMessage::body`] alone.
    pub bytes: usize,
}

/// What the fields of ours say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MessageHead<'a> {
    pub(crate) id: &'a [u8],
    pub(crate) at: u64,
    pub(crate) total: u64,
}

impl<'a> MessageHead<'a> {
    /// `None`: the text is not one of ours.
    pub(crate) fn of(text: &'a [u8]) -> Option<Self> {
        let rest = text.strip_prefix(br#"{"id":""#)?;
        let (id, rest) = rest.split_at_checked(22)?;
        let (at, rest) = number(rest.strip_prefix(br#"","at":"#)?)?;
        let (total, _) = number(rest.strip_prefix(br#","total":"#)?)?;
        Some(Self { id, at, total })
    }
}

/// The digits at the front, and what stands behind them.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(digits);
    Some((str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

/// What came of adding a message.
pub(crate) enum Added {
    /// The record with it, and the message's instant in microseconds.
    New(Record, u64),
    /// It was there already; its instant.
    There(u64),
    /// It would be one too many, or too large.
    Full,
}

impl Record {
    /// The messages of its conversation, as JSON texts, the first one first.
    pub fn messages(&self) -> impl Iterator<Item = &[u8]> {
        self.message_parts()
    }

    /// How many there are.
    #[must_use]
    pub fn message_count(&self) -> usize {
        self.messages().count()
    }

    /// Pure: the rule for every store. The instant is `now`, or that of the last message if that is later, so that a
    /// conversation's instants stand in its order.
    pub(crate) fn added(
        &self,
        message: &NewMessage,
        bounds: MessageBounds,
        now: SystemTime,
    ) -> Added {
        let id = message.id.to_text();
        let (mut count, mut last, mut bytes) = (0, 0, 0);
        for text in self.messages() {
            count += 1;
            bytes += text.len() as u64;
            if let Some(head) = MessageHead::of(text) {
                if head.id == id.as_bytes() {
                    return Added::There(head.at);
                }
                (last, bytes) = (head.at, head.total);
            }
        }
        let total = bytes + message.body.len() as u64;
        if count >= bounds.count || total > bounds.bytes as u64 {
            return Added::Full;
        }
        let at = micros(now).max(last);
        Added::New(self.with_message(&message.text(at, total)), at)
    }

    /// With those messages of `other` that are not here yet, behind those that are.
    pub(crate) fn joined(&self, other: &Self) -> Self {
        let missing = other.messages().filter(|text| {
            let id = MessageHead::of(text).map(|head| head.id);
            let mut here = self.messages();
            here.all(|here| MessageHead::of(here).map(|head| head.id) != id)
        });
        let all: Vec<&[u8]> = self.messages().chain(missing).collect();
        self.with_messages(&all)
    }
}

impl NewMessage {
    /// The text that is kept.
    pub(crate) fn text(&self, at: u64, total: u64) -> Vec<u8> {
        let head = format!(
            r#"{{"id":"{}","at":{at},"total":{total},"#,
            self.id.to_text()
        );
        let body = self.body.strip_prefix(b"{").unwrap_or(&self.body);
        [head.as_bytes(), body].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::instant;
    use crate::record::{NewRecord, Seen};
    use std::time::Duration;

    const NOW: u64 = 1_800_000_000_000_000;
    const ROOMY: MessageBounds = MessageBounds {
        count: 3,
        bytes: 100,
    };

    fn record() -> Record {
        let now = instant(NOW);
        Record::new(&NewRecord {
            handle: crate::id::Handle::random().unwrap(),
            user: None,
            created_at: now,
            signed_in_at: None,
            absolute_end: now + Duration::from_secs(1000),
            idle_timeout: Duration::from_secs(1000),
            touch_threshold: Duration::ZERO,
            persistent: false,
            seen: Seen {
                at: now,
                address: None,
                agent: None,
            },
            values: vec![("industry".into(), b"\"media\"".to_vec())],
        })
    }

    fn message(text: &str) -> NewMessage {
        NewMessage {
            id: MessageId::random().unwrap(),
            body: format!(r#"{{"content":"{text}"}}"#).into_bytes().into(),
        }
    }

    fn add(record: &Record, message: &NewMessage, at: u64) -> Record {
        match record.added(message, ROOMY, instant(at)) {
            Added::New(record, _) => record,
            Added::There(_) | Added::Full => panic!("there is room for a new one"),
        }
    }

    #[test]
    fn messages_stand_in_order_behind_the_values() {
        let (first, second) = (message("a"), message("b"));
        let record = add(&add(&record(), &first, NOW), &second, NOW + 5);
        let texts: Vec<_> = record.messages().map(<[u8]>::to_vec).collect();
        assert_eq!(texts, [first.text(NOW, 15), second.text(NOW + 5, 30)]);
        assert_eq!(record.value("industry"), Some(&b"\"media\""[..]));
        assert_eq!(record.names().collect::<Vec<_>>(), ["industry"]);
        let json: serde_json::Value = serde_json::from_slice(&texts[1]).unwrap();
        assert_eq!(json["content"], "b");
        assert_eq!(json["at"], NOW + 5);
    }

    #[test]
    fn a_message_is_added_once_and_its_instant_never_goes_back() {
        let (first, second) = (message("a"), message("b"));
        let with = add(&record(), &first, NOW);
        assert!(matches!(
            with.added(&first, ROOMY, instant(NOW + 9)),
            Added::There(NOW)
        ));
        match with.added(&second, ROOMY, instant(NOW - 9)) {
            Added::New(_, at) => assert_eq!(at, NOW),
            Added::There(_) | Added::Full => panic!("it is new, and there is room"),
        }
    }

    #[test]
    fn inv11_a_conversation_is_bounded_in_number_and_in_bytes() {
        let mut record = record();
        for text in ["a", "b", "c"] {
            record = add(&record, &message(text), NOW);
        }
        let one_more = message("d");
        assert!(matches!(
            record.added(&one_more, ROOMY, instant(NOW)),
            Added::Full
        ));
        let bounds = |bytes| MessageBounds { count: 9, bytes };
        assert!(matches!(
            record.added(&one_more, bounds(59), instant(NOW)),
            Added::Full
        ));
        assert!(matches!(
            record.added(&one_more, bounds(60), instant(NOW)),
            Added::New(..)
        ));
    }

    #[test]
    fn changes_and_joining_keep_every_message() {
        let (shared, here, there) = (message("shared"), message("here"), message("there"));
        let base = add(&record(), &shared, NOW);
        let (ours, theirs) = (add(&base, &here, NOW), add(&base, &there, NOW));
        let mut changes = crate::record::Changes::default();
        changes.clear();
        let joined = ours.joined(&theirs).changed(&changes, None).unwrap();
        let ids: Vec<_> = joined
            .messages()
            .map(|text| MessageHead::of(text).unwrap().id.to_vec())
            .collect();
        assert_eq!(
            ids,
            [shared, here, there].map(|message| message.id.to_text().into_bytes())
        );
    }

    #[test]
    fn the_head_of_what_is_not_ours_is_none() {
        for text in [
            "",
            "{}",
            r#"{"id":"short","at":1,"total":2}"#,
            r#"{"id":"0123456789012345678901","at":x,"total":2}"#,
            r#"{"id":"0123456789012345678901","at":99999999999999999999,"total":2}"#,
        ] {
            assert_eq!(MessageHead::of(text.as_bytes()), None, "{text}");
        }
    }
}
