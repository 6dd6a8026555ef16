//! A live session's record: whose it is, when it ends, and what it holds.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::change::{After, Change, ChangeError, Changes, Op};
use super::end::{End, EndReason};
use super::packed::{Draft, Family, Packed, Part, VERSION, at};
use crate::clock::{instant, micros, span_micros};
use crate::id::{Digest, Handle, Kind, RecordKey, UserId};
use crate::key::DataName;

/// Flag: the cookie outlives the browser's session.
const PERSISTENT: u8 = 1;
/// The part that names a demo session.
const DEMO: &[u8] = b"demo";
/// How long a user's record stays after its end, so that the reason can be told.
const KEPT_USER: Duration = Duration::from_secs(2 * 3600);
/// The same for a stranger's.
const KEPT_STRANGER: Duration = Duration::from_secs(60);

/// What is kept of one live session.
///
/// Immutable and shared: a clone is a count. Instants are to the microsecond.
#[derive(Clone)]
pub struct Record(Packed);

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Record {}

/// What a new record is made from.
#[derive(Debug, Clone)]
pub struct NewRecord {
    /// Its public name.
    pub handle: Handle,
    /// Whose it is; `None`: a stranger's.
    pub user: Option<UserId>,
    /// When it was made.
    pub created_at: SystemTime,
    /// When its user last proved who they are.
    pub signed_in_at: Option<SystemTime>,
    /// When it ends whatever happens.
    pub absolute_end: SystemTime,
    /// How long it lives without a request.
    pub idle_timeout: Duration,
    /// How far `seen` may lag behind; the idle end is later by as much, so that it is never early.
    pub touch_threshold: Duration,
    /// Whether its cookie outlives the browser's session.
    pub persistent: bool,
    /// The last request.
    pub seen: Seen,
    /// The values, as JSON text.
    pub values: Vec<(DataName, Vec<u8>)>,
}

/// What a user's session knows of the demo session that its user brought along when they signed in: its name, and under
/// which key it was then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DemoPointer {
    /// Its public name, which stays.
    pub handle: Handle,
    /// Where it was kept when its user signed in.
    pub key: RecordKey,
}

impl DemoPointer {
    /// Handle, bucket and digest, separated by a space.
    fn to_text(self) -> String {
        format!(
            "{} {} {}",
            self.handle,
            self.key.bucket,
            self.key.digest.to_text()
        )
    }

    fn from_text(text: &[u8]) -> Option<Self> {
        let mut words = str::from_utf8(text).ok()?.split(' ');
        Some(Self {
            handle: words.next()?.parse().ok()?,
            key: RecordKey {
                kind: Kind::Demo,
                bucket: u16::from_str_radix(words.next()?, 16).ok()?.into(),
                digest: Digest::from_text(words.next()?)?,
            },
        })
    }
}

/// When, from where and with what a session was last used: what a touch writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// When.
    pub at: SystemTime,
    /// From where, as the application wants it kept; at most 64 bytes. `None`: not known.
    pub address: Option<Arc<str>>,
    /// The user agent; at most 256 bytes. `None`: not given.
    pub agent: Option<Arc<str>>,
}

impl Seen {
    /// The longest address, in bytes.
    pub const MAX_ADDRESS_BYTES: usize = 64;
    /// The longest user agent, in bytes; longer ones are cut.
    pub const MAX_AGENT_BYTES: usize = 256;
}

impl Record {
    /// A new record.
    #[must_use]
    pub fn new(new: &NewRecord) -> Self {
        let draft = Draft {
            version: VERSION,
            flags: if new.persistent { PERSISTENT } else { 0 },
            handle: new.handle,
            created: micros(new.created_at),
            signed_in: new.signed_in_at.map_or(0, micros),
            absolute: micros(new.absolute_end),
            idle: span_micros(new.idle_timeout),
            touch: span_micros(new.touch_threshold),
            seen: micros(new.seen.at),
            user: new.user.as_ref().map_or("", UserId::as_str),
            address: new.seen.address.as_deref().unwrap_or(""),
            agent: new.seen.agent.as_deref().unwrap_or(""),
            meta_rest: b"",
            seen_rest: b"",
        };
        let parts = new
            .values
            .iter()
            .map(|(name, value)| Part::value(name.as_bytes(), value));
        Self(draft.write(parts))
    }

    /// Its public name.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.0.handle()
    }

    /// Whose it is; `None`: a stranger's.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        let user = self.0.text(0);
        (!user.is_empty()).then_some(user)
    }

    /// Whether it is a user's: without looking at the name.
    pub(crate) fn is_users(&self) -> bool {
        !self.0.run(0).is_empty()
    }

    /// When it was made.
    #[must_use]
    pub fn created_at(&self) -> SystemTime {
        instant(self.0.u64(at::CREATED))
    }

    /// When its user last proved who they are.
    #[must_use]
    pub fn signed_in_at(&self) -> Option<SystemTime> {
        match self.0.u64(at::SIGNED_IN) {
            0 => None,
            micros => Some(instant(micros)),
        }
    }

    /// When it ends whatever happens.
    #[must_use]
    pub fn absolute_end(&self) -> SystemTime {
        instant(self.0.u64(at::ABSOLUTE))
    }

    /// How long it lives without a request.
    #[must_use]
    pub fn idle_timeout(&self) -> Duration {
        Duration::from_micros(self.0.u64(at::IDLE))
    }

    /// How far [`seen_at`](Self::seen_at) may lag behind the last request.
    #[must_use]
    pub fn touch_threshold(&self) -> Duration {
        Duration::from_micros(self.0.u64(at::TOUCH))
    }

    /// When it ends if no request comes: last seen + idle timeout + touch threshold. Never early, late by at most
    /// the threshold.
    #[must_use]
    pub fn idle_end(&self) -> SystemTime {
        instant(self.idle_end_micros())
    }

    fn idle_end_micros(&self) -> u64 {
        let at = |at| self.0.u64(at);
        idle_end(at(at::SEEN), at(at::IDLE), at(at::TOUCH))
    }

    /// The earlier of the two ends.
    #[must_use]
    pub fn ends_at(&self) -> SystemTime {
        instant(self.idle_end_micros().min(self.0.u64(at::ABSOLUTE)))
    }

    /// Its end, if it is over at `now`. Where both ends are past, the earlier one is the reason.
    #[must_use]
    pub fn end_at(&self, now: SystemTime) -> Option<End> {
        let (idle, absolute) = (self.idle_end_micros(), self.0.u64(at::ABSOLUTE));
        let (reason, at) = if idle < absolute {
            (EndReason::Idle, idle)
        } else {
            (EndReason::Absolute, absolute)
        };
        (at <= micros(now)).then(|| End::new(reason, instant(at)))
    }

    /// Until when a store keeps it: 2 h after its end for a user's, so that the reason can be told; 1 min for a
    /// stranger's.
    #[must_use]
    pub fn kept_until(&self) -> SystemTime {
        kept_after(self.ends_at(), self.is_users())
    }

    /// The last request that was recorded.
    #[must_use]
    pub fn seen_at(&self) -> SystemTime {
        instant(self.0.u64(at::SEEN))
    }

    /// The last request that was recorded, with where it came from and with what.
    pub(crate) fn seen(&self) -> Seen {
        Seen {
            at: self.seen_at(),
            address: self.address().map(Into::into),
            agent: self.user_agent().map(Into::into),
        }
    }

    /// Where it came from.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        let address = self.0.text(1);
        (!address.is_empty()).then_some(address)
    }

    /// With what.
    #[must_use]
    pub fn user_agent(&self) -> Option<&str> {
        let agent = self.0.text(2);
        (!agent.is_empty()).then_some(agent)
    }

    /// Whether its cookie outlives the browser's session.
    #[must_use]
    pub fn is_persistent(&self) -> bool {
        self.0.flags() & PERSISTENT != 0
    }

    /// A value's JSON text.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&[u8]> {
        self.0
            .parts()
            .find(|part| part.family == Family::Value && part.name == name.as_bytes())
            .map(|part| part.value)
    }

    /// The names of all values.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0
            .parts()
            .filter(|part| part.family == Family::Value)
            .filter_map(|part| str::from_utf8(part.name).ok())
    }

    /// With the name of a demo session that its user brought along.
    #[must_use]
    pub fn with_demo(&self, demo: &DemoPointer) -> Self {
        let text = demo.to_text();
        let others = self.0.parts().filter(|part| !is_demo(part));
        let pointer = Part {
            family: Family::Unknown,
            name: DEMO,
            value: text.as_bytes(),
        };
        Self(self.0.draft().write(others.chain(std::iter::once(pointer))))
    }

    /// The demo session that its user brought along when they signed in.
    #[must_use]
    pub fn demo(&self) -> Option<DemoPointer> {
        let mut parts = self.0.parts();
        let part = parts.find(is_demo)?;
        DemoPointer::from_text(part.value)
    }

    /// How many bytes it has, with its conversation.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.size()
    }

    /// How many bytes it has without its conversation: what the record limit counts.
    #[must_use]
    pub fn limited_size(&self) -> usize {
        let messages = self.0.parts().filter(|part| part.family == Family::Message);
        self.0.size() - messages.map(Part::len).sum::<usize>()
    }

    pub(super) fn message_parts(&self) -> impl Iterator<Item = &[u8]> {
        self.0
            .parts()
            .filter(|part| part.family == Family::Message)
            .map(|part| part.value)
    }

    /// With one message more.
    pub(super) fn with_message(&self, text: &[u8]) -> Self {
        let parts = self.0.parts().chain(std::iter::once(Part::message(text)));
        Self(self.0.draft().write(parts))
    }

    /// With this conversation, in place of what it had. What its owner put behind it stays.
    pub(crate) fn with_messages(&self, texts: &[impl AsRef<[u8]>]) -> Self {
        let others = self.0.parts().filter(|part| part.family != Family::Message);
        let messages = texts.iter().map(|text| Part::message(text.as_ref()));
        Self(
            self.0
                .draft()
                .write_before(others.chain(messages), self.0.tail()),
        )
    }

    /// The same session, seen once more.
    pub(crate) fn with_seen(&self, seen: &Seen) -> Self {
        let mut draft = self.0.draft();
        draft.saw(seen);
        Self(draft.write(self.0.parts()))
    }

    /// The same session, which is this user's from now on.
    #[must_use]
    pub fn adopted(&self, user: &UserId, seen: &Seen) -> Self {
        let mut draft = self.0.draft();
        draft.user = user.as_str();
        draft.saw(seen);
        Self(draft.write(self.0.parts()))
    }

    /// The record after `changes` and `seen`, both or neither. What `seen` holds only moves forward.
    ///
    /// # Errors
    /// [`ChangeError`]: a guard failed, or something to be added to was no integer.
    pub fn changed(&self, changes: &Changes, seen: Option<&Seen>) -> Result<Self, ChangeError> {
        let mut sums = Vec::new();
        for change in &changes.each {
            let current = (!changes.clears(&change.name))
                .then(|| self.value(&change.name))
                .flatten();
            if let After::Integer(sum) = Changes::after(change, current)? {
                sums.push((change, sum.to_string()));
            }
        }
        let mut draft = self.0.draft();
        if let Some(seen) = seen {
            draft.saw(seen);
        }
        let kept = self.0.parts().filter(|part| part.survives(changes));
        let set = changes.each.iter().filter_map(|change| {
            set_by(change, &sums).map(|value| Part::value(change.name.as_bytes(), value))
        });
        Ok(Self(draft.write(kept.chain(set))))
    }

    /// What the addition among `changes` came to, if there was one and this is the record after them.
    #[must_use]
    pub fn sum(&self, changes: &Changes) -> Option<i64> {
        let added = changes
            .each
            .iter()
            .find(|change| matches!(change.op, Op::Add(_)))?;
        serde_json::from_slice(self.value(&added.name)?).ok()
    }

    /// The record after a sign-in of the same session: new ends, everything else as it was.
    #[must_use]
    pub fn renewed(&self, signed_in_at: SystemTime, absolute_end: SystemTime, seen: &Seen) -> Self {
        let mut draft = self.0.draft();
        draft.signed_in = micros(signed_in_at);
        draft.absolute = micros(absolute_end);
        draft.saw(seen);
        Self(draft.write(self.0.parts()))
    }

    /// The bytes of the record alone.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// What its owner put behind it.
    #[cfg(feature = "redis")]
    pub(crate) fn tail(&self) -> &[u8] {
        self.0.tail()
    }

    pub(super) const fn from_packed(packed: Packed) -> Self {
        Self(packed)
    }

    pub(super) const fn packed(&self) -> &Packed {
        &self.0
    }
}

/// When a session ends that was last seen then, all in microseconds.
pub(super) fn idle_end(seen: u64, idle: u64, touch: u64) -> u64 {
    let end = seen.saturating_add(idle).saturating_add(touch);
    // The year 2255: far from any clock, and still an instant on every platform.
    end.min(1 << 53)
}

/// Until when a store keeps a record that ends then.
pub(super) fn kept_after(ends_at: SystemTime, is_users: bool) -> SystemTime {
    ends_at + if is_users { KEPT_USER } else { KEPT_STRANGER }
}

fn is_demo(part: &Part<'_>) -> bool {
    part.family == Family::Unknown && part.name == DEMO
}

/// What a change leaves under its name, where it leaves something.
fn set_by<'a>(change: &'a Change, sums: &'a [(&Change, String)]) -> Option<&'a [u8]> {
    match sums.iter().find(|(added, _)| std::ptr::eq(*added, change)) {
        Some((_, sum)) => Some(sum.as_bytes()),
        None => match &change.op {
            Op::Set(json) => Some(json),
            Op::Remove | Op::Add(_) => None,
        },
    }
}

/// Shows no value: they may be anything.
impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("handle", &self.handle())
            .field("user", &self.user())
            .field("created_at", &self.created_at())
            .field("ends_at", &self.ends_at())
            .field("names", &self.names().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Guard;

    pub(crate) fn sample() -> Record {
        let now = instant(1_800_000_000_000_000);
        Record::new(&NewRecord {
            handle: Handle::random().unwrap(),
            user: Some("alice".into()),
            created_at: now,
            signed_in_at: Some(now),
            absolute_end: now + Duration::from_secs(1000),
            idle_timeout: Duration::from_secs(100),
            touch_threshold: Duration::from_secs(10),
            persistent: true,
            seen: Seen {
                at: now,
                address: Some("192.0.2.1".into()),
                agent: Some("app/1".into()),
            },
            values: vec![("a".into(), b"1".to_vec()), ("b".into(), b"\"x\"".to_vec())],
        })
    }

    #[test]
    fn a_record_shows_what_it_was_made_from() {
        let record = sample();
        let now = instant(1_800_000_000_000_000);
        assert_eq!(record.user(), Some("alice"));
        assert_eq!(record.created_at(), now);
        assert_eq!(record.signed_in_at(), Some(now));
        assert_eq!(record.idle_end(), now + Duration::from_secs(110));
        assert_eq!(record.ends_at(), record.idle_end());
        assert_eq!(record.address(), Some("192.0.2.1"));
        assert_eq!(record.user_agent(), Some("app/1"));
        assert_eq!(record.value("b"), Some(&b"\"x\""[..]));
        assert_eq!(record.value("c"), None);
        assert_eq!(record.names().collect::<Vec<_>>(), ["a", "b"]);
        assert!(record.is_persistent());
        assert_eq!(record.size(), record.bytes().len());
    }

    #[test]
    fn changes_replace_remove_and_add_and_leave_the_rest() {
        let mut changes = Changes::default();
        changes.put("a".into(), Op::Add(41));
        changes.put("b".into(), Op::Remove);
        changes.put("c".into(), Op::Set(b"[]".to_vec()));
        let after = sample().changed(&changes, None).unwrap();
        assert_eq!(after.value("a"), Some(&b"42"[..]));
        assert_eq!(after.value("b"), None);
        assert_eq!(after.value("c"), Some(&b"[]"[..]));
        assert_eq!(after.sum(&changes), Some(42));
    }

    #[test]
    fn clear_removes_all_but_what_was_written_since() {
        let mut changes = Changes::default();
        changes.clear();
        changes.clear.as_mut().unwrap().keep.push("b".into());
        changes.put("c".into(), Op::Set(b"3".to_vec()));
        let after = sample().changed(&changes, None).unwrap();
        assert_eq!(after.names().collect::<Vec<_>>(), ["b", "c"]);
    }

    #[test]
    fn one_failed_guard_changes_nothing() {
        let mut changes = Changes::guarded(
            "a".into(),
            Guard::Unchanged(Some(b"2".to_vec().into())),
            Op::Remove,
        );
        changes.put("c".into(), Op::Set(b"3".to_vec()));
        assert_eq!(sample().changed(&changes, None), Err(ChangeError::Conflict));
    }

    #[test]
    fn the_end_is_the_earlier_of_the_two_and_its_reason_goes_with_it() {
        let record = sample();
        let idle = record.idle_end();
        assert_eq!(record.end_at(idle - Duration::from_micros(1)), None);
        assert_eq!(record.end_at(idle).unwrap().reason, EndReason::Idle);
        let late = record.absolute_end() + Duration::from_secs(9999);
        assert_eq!(
            record.end_at(late).unwrap(),
            End::new(EndReason::Idle, idle)
        );
        let busy = record
            .changed(
                &Changes::default(),
                Some(&Seen {
                    at: record.absolute_end() - Duration::from_secs(1),
                    address: None,
                    agent: None,
                }),
            )
            .unwrap();
        assert_eq!(
            busy.end_at(late).unwrap(),
            End::new(EndReason::Absolute, record.absolute_end())
        );
        assert_eq!(
            busy.address(),
            Some("192.0.2.1"),
            "an unknown address leaves the stored one"
        );
    }

    #[test]
    fn seen_only_moves_forward() {
        let record = sample();
        let seen = Seen {
            at: record.seen_at() - Duration::from_secs(5),
            address: Some("198.51.100.7".into()),
            agent: None,
        };
        assert_eq!(
            record.changed(&Changes::default(), Some(&seen)).unwrap(),
            record
        );
    }
}
