//! The record as one run of bytes.
//!
//! A head of fixed width, then the texts, then the parts. Reading needs no parsing and no allocation; changing writes
//! a new run in one allocation.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::change::{After, Change, ChangeError, Changes};
use super::end::{End, EndReason, cut};
use crate::clock::{instant, micros, span_micros};
use crate::id::{Handle, UserId};
use crate::key::DataName;

/// The version that this build writes into new records.
pub(super) const VERSION: u8 = 1;
/// Flag: the cookie outlives the browser's session.
const PERSISTENT: u8 = 1;
/// How long a user's record stays after its end, so that the reason can be told.
const KEPT_USER: Duration = Duration::from_secs(2 * 3600);
/// The same for a stranger's.
const KEPT_STRANGER: Duration = Duration::from_secs(60);

/// Offsets of the fixed head.
mod at {
    pub(super) const VERSION: usize = 0;
    pub(super) const FLAGS: usize = 1;
    pub(super) const HANDLE: usize = 2;
    pub(super) const CREATED: usize = 18;
    pub(super) const SIGNED_IN: usize = 26;
    pub(super) const ABSOLUTE: usize = 34;
    pub(super) const IDLE: usize = 42;
    pub(super) const TOUCH: usize = 50;
    pub(super) const SEEN: usize = 58;
    pub(super) const USER_LEN: usize = 66;
    pub(super) const ADDRESS_LEN: usize = 68;
    pub(super) const AGENT_LEN: usize = 70;
    pub(super) const META_REST_LEN: usize = 72;
    pub(super) const SEEN_REST_LEN: usize = 74;
    pub(super) const PARTS_LEN: usize = 76;
    pub(super) const END: usize = 80;
}

/// Before each part: its family, the length of its name (2 bytes), of its value (4).
const PART_HEAD: usize = 7;

/// What is kept of one live session.
///
/// Immutable and shared: a clone is a count. Instants are to the microsecond.
#[derive(Clone)]
pub struct Record(Arc<[u8]>);

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

/// Everything of a record but its parts, borrowed: what a new run of bytes is written from.
pub(super) struct Draft<'a> {
    pub(super) version: u8,
    pub(super) flags: u8,
    pub(super) handle: Handle,
    pub(super) created: u64,
    /// 0: never.
    pub(super) signed_in: u64,
    pub(super) absolute: u64,
    pub(super) idle: u64,
    pub(super) touch: u64,
    pub(super) seen: u64,
    pub(super) user: &'a str,
    pub(super) address: &'a str,
    pub(super) agent: &'a str,
    /// Fields behind the known ones, that a newer version wrote.
    pub(super) meta_rest: &'a [u8],
    pub(super) seen_rest: &'a [u8],
}

/// One named part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part<'a> {
    pub(super) family: Family,
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
}

/// A value of the session, or something that a newer version knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Value,
    Unknown,
}

impl Record {
    /// A new record.
    #[must_use]
    pub fn new(new: &NewRecord) -> Self {
        Draft {
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
        }
        .write(
            new.values
                .iter()
                .map(|(name, value)| Part::value(name.as_bytes(), value)),
        )
    }

    /// Its public name.
    #[must_use]
    pub fn handle(&self) -> Handle {
        let bytes = self.0[at::HANDLE..at::CREATED]
            .try_into()
            .expect("sixteen bytes");
        Handle::from(Uuid::from_bytes(bytes))
    }

    /// Whose it is; `None`: a stranger's.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        let user = self.text(0);
        (!user.is_empty()).then_some(user)
    }

    /// When it was made.
    #[must_use]
    pub fn created_at(&self) -> SystemTime {
        instant(self.u64(at::CREATED))
    }

    /// When its user last proved who they are.
    #[must_use]
    pub fn signed_in_at(&self) -> Option<SystemTime> {
        match self.u64(at::SIGNED_IN) {
            0 => None,
            micros => Some(instant(micros)),
        }
    }

    /// When it ends whatever happens.
    #[must_use]
    pub fn absolute_end(&self) -> SystemTime {
        instant(self.u64(at::ABSOLUTE))
    }

    /// How long it lives without a request.
    #[must_use]
    pub fn idle_timeout(&self) -> Duration {
        Duration::from_micros(self.u64(at::IDLE))
    }

    /// How far [`seen_at`](Self::seen_at) may lag behind the last request.
    #[must_use]
    pub fn touch_threshold(&self) -> Duration {
        Duration::from_micros(self.u64(at::TOUCH))
    }

    /// When it ends if no request comes: last seen + idle timeout + touch threshold. Never early, late by at most
    /// the threshold.
    #[must_use]
    pub fn idle_end(&self) -> SystemTime {
        instant(self.idle_end_micros())
    }

    fn idle_end_micros(&self) -> u64 {
        let end = self
            .u64(at::SEEN)
            .saturating_add(self.u64(at::IDLE))
            .saturating_add(self.u64(at::TOUCH));
        // The year 2255: far from any clock, and still an instant on every platform.
        end.min(1 << 53)
    }

    /// The earlier of the two ends.
    #[must_use]
    pub fn ends_at(&self) -> SystemTime {
        instant(self.idle_end_micros().min(self.u64(at::ABSOLUTE)))
    }

    /// Its end, if it is over at `now`. Where both ends are past, the earlier one is the reason.
    #[must_use]
    pub fn end_at(&self, now: SystemTime) -> Option<End> {
        let (idle, absolute) = (self.idle_end_micros(), self.u64(at::ABSOLUTE));
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
        self.ends_at()
            + if self.user().is_some() {
                KEPT_USER
            } else {
                KEPT_STRANGER
            }
    }

    /// The last request that was recorded.
    #[must_use]
    pub fn seen_at(&self) -> SystemTime {
        instant(self.u64(at::SEEN))
    }

    /// Where it came from.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        let address = self.text(1);
        (!address.is_empty()).then_some(address)
    }

    /// With what.
    #[must_use]
    pub fn user_agent(&self) -> Option<&str> {
        let agent = self.text(2);
        (!agent.is_empty()).then_some(agent)
    }

    /// Whether its cookie outlives the browser's session.
    #[must_use]
    pub fn is_persistent(&self) -> bool {
        self.0[at::FLAGS] & PERSISTENT != 0
    }

    /// A value's JSON text.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&[u8]> {
        self.parts()
            .find(|part| part.family == Family::Value && part.name == name.as_bytes())
            .map(|part| part.value)
    }

    /// The names of all values.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts()
            .filter(|part| part.family == Family::Value)
            .filter_map(|part| str::from_utf8(part.name).ok())
    }

    /// How many bytes it has: what the record limit counts.
    #[must_use]
    pub fn size(&self) -> usize {
        self.fixed_and_texts() + self.u32(at::PARTS_LEN)
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
        let mut draft = self.draft();
        if let Some(seen) = seen {
            draft.saw(seen);
        }
        let kept = self.parts().filter(|part| part.survives(changes));
        let set = changes.each.iter().filter_map(|change| {
            set_by(change, &sums).map(|value| Part::value(change.name.as_bytes(), value))
        });
        Ok(draft.write(kept.chain(set)))
    }

    /// The record after a sign-in of the same session: new ends, everything else as it was.
    #[must_use]
    pub fn renewed(&self, signed_in_at: SystemTime, absolute_end: SystemTime, seen: &Seen) -> Self {
        let mut draft = self.draft();
        draft.signed_in = micros(signed_in_at);
        draft.absolute = micros(absolute_end);
        draft.saw(seen);
        draft.write(self.parts())
    }

    /// A record at the front of `bytes`, written by this module; what follows it is the owner's.
    pub(crate) fn from_shared(bytes: Arc<[u8]>) -> Self {
        Self(bytes)
    }

    /// The bytes of the record alone.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0[..self.size()]
    }

    pub(super) fn draft(&self) -> Draft<'_> {
        Draft {
            version: self.0[at::VERSION],
            flags: self.0[at::FLAGS],
            handle: self.handle(),
            created: self.u64(at::CREATED),
            signed_in: self.u64(at::SIGNED_IN),
            absolute: self.u64(at::ABSOLUTE),
            idle: self.u64(at::IDLE),
            touch: self.u64(at::TOUCH),
            seen: self.u64(at::SEEN),
            user: self.text(0),
            address: self.text(1),
            agent: self.text(2),
            meta_rest: self.run(3),
            seen_rest: self.run(4),
        }
    }

    pub(super) fn parts(&self) -> Parts<'_> {
        let start = self.fixed_and_texts();
        Parts(&self.0[start..start + self.u32(at::PARTS_LEN)])
    }

    /// The n-th of: user, address, agent, rest of the head, rest of what was seen.
    fn run(&self, n: usize) -> &[u8] {
        const LENGTHS: [usize; 5] = [
            at::USER_LEN,
            at::ADDRESS_LEN,
            at::AGENT_LEN,
            at::META_REST_LEN,
            at::SEEN_REST_LEN,
        ];
        let start = at::END + LENGTHS[..n].iter().map(|&at| self.u16(at)).sum::<usize>();
        &self.0[start..start + self.u16(LENGTHS[n])]
    }

    fn text(&self, n: usize) -> &str {
        str::from_utf8(self.run(n)).expect("written from text")
    }

    fn fixed_and_texts(&self) -> usize {
        at::END
            + self.u16(at::USER_LEN)
            + self.u16(at::ADDRESS_LEN)
            + self.u16(at::AGENT_LEN)
            + self.u16(at::META_REST_LEN)
            + self.u16(at::SEEN_REST_LEN)
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.0[at..at + 8].try_into().expect("eight bytes"))
    }

    fn u32(&self, at: usize) -> usize {
        u32::from_le_bytes(self.0[at..at + 4].try_into().expect("four bytes")) as usize
    }

    fn u16(&self, at: usize) -> usize {
        usize::from(u16::from_le_bytes(
            self.0[at..at + 2].try_into().expect("two bytes"),
        ))
    }
}

/// What a change leaves under its name, where it leaves something.
fn set_by<'a>(change: &'a Change, sums: &'a [(&Change, String)]) -> Option<&'a [u8]> {
    match sums.iter().find(|(added, _)| std::ptr::eq(*added, change)) {
        Some((_, sum)) => Some(sum.as_bytes()),
        None => match &change.op {
            super::Op::Set(json) => Some(json),
            super::Op::Remove | super::Op::Add(_) => None,
        },
    }
}

/// The parts that stand one behind the other in a run of bytes.
#[derive(Clone)]
pub(super) struct Parts<'a>(&'a [u8]);

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let (head, after) = self.0.split_first_chunk::<PART_HEAD>()?;
        let name_len = usize::from(u16::from_le_bytes([head[1], head[2]]));
        let value_len = u32::from_le_bytes([head[3], head[4], head[5], head[6]]) as usize;
        let (name, after) = after.split_at_checked(name_len)?;
        let (value, after) = after.split_at_checked(value_len)?;
        self.0 = after;
        let family = if head[0] == 0 {
            Family::Value
        } else {
            Family::Unknown
        };
        Some(Part {
            family,
            name,
            value,
        })
    }
}

impl<'a> Part<'a> {
    pub(super) const fn value(name: &'a [u8], value: &'a [u8]) -> Self {
        Self {
            family: Family::Value,
            name,
            value,
        }
    }

    /// Whether no change names it and no clear removes it.
    fn survives(&self, changes: &Changes) -> bool {
        match self.family {
            Family::Unknown => true,
            Family::Value => str::from_utf8(self.name)
                .is_ok_and(|name| changes.get(name).is_none() && !changes.clears(name)),
        }
    }

    const fn len(self) -> usize {
        PART_HEAD + self.name.len() + self.value.len()
    }
}

impl<'a> Draft<'a> {
    /// Takes over what is newer; a clock that went back changes nothing.
    fn saw(&mut self, seen: &'a Seen) {
        let at = micros(seen.at);
        if at < self.seen {
            return;
        }
        self.seen = at;
        self.address = seen.address.as_deref().unwrap_or(self.address);
        self.agent = seen.agent.as_deref().unwrap_or(self.agent);
    }

    /// Writes the run of bytes, in one allocation.
    pub(super) fn write(&self, parts: impl Iterator<Item = Part<'a>> + Clone) -> Record {
        let address = cut(self.address, Seen::MAX_ADDRESS_BYTES);
        let agent = cut(self.agent, Seen::MAX_AGENT_BYTES);
        let texts = [
            self.user.as_bytes(),
            address.as_bytes(),
            agent.as_bytes(),
            self.meta_rest,
            self.seen_rest,
        ];
        let parts_len: usize = parts.clone().map(Part::len).sum();
        let len = at::END + texts.iter().map(|text| text.len()).sum::<usize>() + parts_len;

        let mut shared: Arc<[u8]> = std::iter::repeat_n(0, len).collect();
        let bytes = Arc::get_mut(&mut shared).expect("nobody else has it yet");
        let (head, mut rest) = bytes.split_at_mut(at::END);
        head[at::VERSION] = self.version;
        head[at::FLAGS] = self.flags;
        head[at::HANDLE..at::CREATED].copy_from_slice(self.handle.as_uuid().as_bytes());
        for (at, value) in [
            (at::CREATED, self.created),
            (at::SIGNED_IN, self.signed_in),
            (at::ABSOLUTE, self.absolute),
            (at::IDLE, self.idle),
            (at::TOUCH, self.touch),
            (at::SEEN, self.seen),
        ] {
            head[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        let lengths = [
            at::USER_LEN,
            at::ADDRESS_LEN,
            at::AGENT_LEN,
            at::META_REST_LEN,
            at::SEEN_REST_LEN,
        ];
        for (at, text) in lengths.into_iter().zip(texts) {
            head[at..at + 2].copy_from_slice(&short(text.len()).to_le_bytes());
            push(&mut rest, text);
        }
        head[at::PARTS_LEN..at::END].copy_from_slice(&long(parts_len).to_le_bytes());
        for part in parts {
            push(&mut rest, &[u8::from(part.family == Family::Unknown)]);
            push(&mut rest, &short(part.name.len()).to_le_bytes());
            push(&mut rest, &long(part.value.len()).to_le_bytes());
            push(&mut rest, part.name);
            push(&mut rest, part.value);
        }
        Record(shared)
    }
}

/// Writes `bytes` at the front of `room` and moves it on.
fn push(room: &mut &mut [u8], bytes: &[u8]) {
    let (here, rest) = std::mem::take(room).split_at_mut(bytes.len());
    here.copy_from_slice(bytes);
    *room = rest;
}

fn short(len: usize) -> u16 {
    u16::try_from(len).expect("user ids, addresses, agents and names are all far below 64 KiB")
}

fn long(len: usize) -> u32 {
    u32::try_from(len).expect("a store's record limit is far below 4 GiB")
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
    use crate::record::{Guard, Op};

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
        assert_eq!(changes.sum(&after), Some(42));
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
