//! A record in fewer bytes, for a store that keeps very many in this process.
//!
//! What many sessions have in common (their times, their user agent) is left out, to be kept once: [`Common`]. What is
//! [`Own`] stands in the order in which the record has it, so that reading it back is a few copies:
//!
//! ```text
//! form 1 | handle 16 | created 8 | absolute end 8 | seen 8 | signed in 8, if it is
//!   | lengths of the texts that are there, 2 each | user, address | what a newer version wrote, parts
//! ```

use std::sync::Arc;
use std::time::SystemTime;

use super::live::{Record, idle_end, kept_after};
use super::packed::{Packed, at};
use crate::clock::instant;

/// The form: which texts are there, in their order.
const TEXTS: [(u8, usize); 4] = [
    (1, at::USER_LEN),
    (2, at::ADDRESS_LEN),
    (4, at::META_REST_LEN),
    (8, at::SEEN_REST_LEN),
];
const ANY_TEXT: u8 = 15;
const HAS_USER: u8 = 1;
const IS_SIGNED_IN: u8 = 16;

/// What is always there: form, handle, three instants.
const FIXED: usize = 1 + 16 + 3 * 8;
const CREATED: usize = 17;
const ABSOLUTE: usize = 25;
const SEEN: usize = 33;

/// What very many sessions have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Common<'a> {
    pub(crate) version: u8,
    pub(crate) flags: u8,
    pub(crate) idle: u64,
    pub(crate) touch: u64,
    pub(crate) agent: &'a str,
}

/// The rest of a record, as [`Record::write_own`] wrote it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Own<'a> {
    fixed: &'a [u8; FIXED],
    rest: &'a [u8],
}

impl Record {
    /// What it has in common with others.
    pub(crate) fn common(&self) -> Common<'_> {
        let packed = self.packed();
        Common {
            version: packed.version(),
            flags: packed.flags(),
            idle: packed.u64(at::IDLE),
            touch: packed.u64(at::TOUCH),
            agent: packed.text(2),
        }
    }

    /// How many bytes [`write_own`](Self::write_own) takes.
    pub(crate) fn own_len(&self) -> usize {
        let packed = self.packed();
        let texts = TEXTS.iter().filter(|(_, at)| packed.u16(*at) > 0);
        let signed_in = if packed.u64(at::SIGNED_IN) == 0 { 0 } else { 8 };
        let others = packed.size() - at::END - packed.u16(at::AGENT_LEN);
        FIXED + signed_in + 2 * texts.count() + others
    }

    /// Writes what it does not have in common with others.
    pub(crate) fn write_own(&self, mut room: &mut [u8]) {
        let packed = self.packed();
        let bytes = self.bytes();
        let mut put = |bytes: &[u8]| {
            let (here, rest) = std::mem::take(&mut room).split_at_mut(bytes.len());
            here.copy_from_slice(bytes);
            room = rest;
        };
        let is_signed_in = packed.u64(at::SIGNED_IN) != 0;
        let mut form = if is_signed_in { IS_SIGNED_IN } else { 0 };
        for (bit, at) in TEXTS {
            if packed.u16(at) > 0 {
                form |= bit;
            }
        }
        put(&[form]);
        put(&bytes[at::HANDLE..at::SIGNED_IN]);
        put(&bytes[at::ABSOLUTE..at::ABSOLUTE + 8]);
        put(&bytes[at::SEEN..at::SEEN + 8]);
        if is_signed_in {
            put(&bytes[at::SIGNED_IN..at::SIGNED_IN + 8]);
        }
        for (bit, at) in TEXTS {
            if form & bit != 0 {
                put(&bytes[at..at + 2]);
            }
        }
        let agent = at::END + packed.u16(at::USER_LEN) + packed.u16(at::ADDRESS_LEN);
        put(&bytes[at::END..agent]);
        put(&bytes[agent + packed.u16(at::AGENT_LEN)..]);
    }
}

impl<'a> Own<'a> {
    /// Reads what [`Record::write_own`] wrote.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (fixed, rest) = bytes.split_first_chunk()?;
        Some(Self { fixed, rest })
    }

    /// The record of which this and that are written down.
    pub(crate) fn with(&self, common: &Common<'_>) -> Option<Record> {
        let (form, mut rest) = (self.fixed[0], self.rest);
        let mut head = [0; at::END];
        head[at::VERSION] = common.version;
        head[at::FLAGS] = common.flags;
        head[at::HANDLE..at::SIGNED_IN].copy_from_slice(&self.fixed[1..ABSOLUTE]);
        head[at::ABSOLUTE..at::IDLE].copy_from_slice(&self.fixed[ABSOLUTE..SEEN]);
        head[at::IDLE..at::TOUCH].copy_from_slice(&common.idle.to_le_bytes());
        head[at::TOUCH..at::SEEN].copy_from_slice(&common.touch.to_le_bytes());
        head[at::SEEN..at::USER_LEN].copy_from_slice(&self.fixed[SEEN..]);
        let agent = common.agent.as_bytes();
        let agent_len = u16::try_from(agent.len()).ok()?;
        head[at::AGENT_LEN..at::META_REST_LEN].copy_from_slice(&agent_len.to_le_bytes());
        if form & IS_SIGNED_IN != 0 {
            let (signed_in, after) = rest.split_first_chunk::<8>()?;
            head[at::SIGNED_IN..at::ABSOLUTE].copy_from_slice(signed_in);
            rest = after;
        }
        // Those before the user agent, and those behind it.
        let mut texts = [0; 4];
        if form & ANY_TEXT != 0 {
            for (text, (bit, at)) in texts.iter_mut().zip(TEXTS) {
                if form & bit != 0 {
                    let (len, after) = rest.split_first_chunk::<2>()?;
                    head[at..at + 2].copy_from_slice(len);
                    *text = usize::from(u16::from_le_bytes(*len));
                    rest = after;
                }
            }
        }
        let (before, after) = rest.split_at_checked(texts[0] + texts[1])?;
        let parts_len = after.len().checked_sub(texts[2] + texts[3])?;
        head[at::PARTS_LEN..].copy_from_slice(&u32::try_from(parts_len).ok()?.to_le_bytes());
        let len = at::END + agent.len() + rest.len();
        let mut shared: Arc<[u8]> = std::iter::repeat_n(0, len).collect();
        let room = Arc::get_mut(&mut shared)?;
        let (room_of_head, room) = room.split_first_chunk_mut::<{ at::END }>()?;
        *room_of_head = head;
        let (room_before, room) = room.split_at_mut(before.len());
        let (room_of_agent, room_after) = room.split_at_mut(agent.len());
        if !before.is_empty() {
            room_before.copy_from_slice(before);
        }
        room_of_agent.copy_from_slice(agent);
        room_after.copy_from_slice(after);
        Some(Record::from_packed(Packed::from_shared(shared)))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.fixed[at..at + 8].try_into().expect("eight bytes"))
    }

    /// Whether it is of a user.
    pub(crate) const fn is_of_user(&self) -> bool {
        self.fixed[0] & HAS_USER != 0
    }

    /// Whose it is.
    pub(crate) fn user(&self) -> Option<&'a str> {
        let form = self.fixed[0];
        if form & HAS_USER == 0 {
            return None;
        }
        let signed_in = if form & IS_SIGNED_IN == 0 { 0 } else { 8 };
        let (len, _) = self.rest.get(signed_in..)?.split_first_chunk::<2>()?;
        let start = signed_in + 2 * (form & ANY_TEXT).count_ones() as usize;
        let end = start + usize::from(u16::from_le_bytes(*len));
        str::from_utf8(self.rest.get(start..end)?).ok()
    }

    /// Whether it was used since it was made.
    pub(crate) fn was_used(&self) -> bool {
        self.u64(SEEN) != self.u64(CREATED)
    }

    /// As [`Record::ends_at`], in microseconds since 1970.
    pub(crate) fn ends_at(&self, common: &Common<'_>) -> u64 {
        let idle = idle_end(self.u64(SEEN), common.idle, common.touch);
        idle.min(self.u64(ABSOLUTE))
    }

    /// As [`Record::kept_until`].
    pub(crate) fn kept_until(&self, common: &Common<'_>) -> SystemTime {
        kept_after(instant(self.ends_at(common)), self.is_of_user())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Handle;
    use crate::record::{NewRecord, Seen};
    use proptest::prelude::*;
    use std::time::Duration;

    fn text() -> impl Strategy<Value = Option<Arc<str>>> {
        prop_oneof![
            Just(None),
            "[ -~é]{1,60}".prop_map(|text| Some(text.into()))
        ]
    }

    proptest! {
        #[test]
        fn inv14_a_record_reads_back_as_it_was_written(
            user in text(), address in text(), agent in text(), signed_in: bool, persistent: bool,
            created in 0u64..1 << 53, absolute in 0u64..1 << 53, seen in 0u64..1 << 53, idle in 0u64..1 << 50,
            rests in (prop::collection::vec(any::<u8>(), 0..9), prop::collection::vec(any::<u8>(), 0..9)),
            values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..3),
        ) {
            let record = Record::new(&NewRecord {
                handle: Handle::random().unwrap(),
                user: user.map(|user| (&*user).into()),
                created_at: instant(created),
                signed_in_at: signed_in.then(|| instant(created + 1)),
                absolute_end: instant(absolute),
                idle_timeout: Duration::from_micros(idle),
                touch_threshold: Duration::from_micros(idle / 7),
                persistent,
                seen: Seen { at: instant(seen), address, agent },
                values: ["a", "b", "c"].into_iter().map(Into::into).zip(values).collect(),
            });
            let mut draft = record.packed().draft();
            (draft.meta_rest, draft.seen_rest) = (&rests.0, &rests.1);
            let record = Record::from_packed(draft.write(record.packed().parts()));
            let mut bytes = vec![7; record.own_len()];
            record.write_own(&mut bytes);
            let (own, common) = (Own::read(&bytes).unwrap(), record.common());
            let read = own.with(&common).unwrap();
            prop_assert_eq!(read.bytes(), record.bytes());
            prop_assert_eq!(own.user(), record.user());
            prop_assert_eq!(own.is_of_user(), record.user().is_some());
            prop_assert_eq!(own.was_used(), record.seen_at() != record.created_at());
            prop_assert_eq!(instant(own.ends_at(&common)), record.ends_at());
            prop_assert_eq!(own.kept_until(&common), record.kept_until());
        }
    }
}
