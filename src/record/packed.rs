//! The record as one run of bytes.
//!
//! A head of fixed width, then the texts, then the parts. Reading needs no parsing and no allocation; changing writes
//! a new run in one allocation.

use std::sync::Arc;

use uuid::Uuid;

use super::change::Changes;
use super::end::cut;
use super::live::Seen;
use crate::clock::micros;
use crate::id::Handle;

/// The version that this build writes into new records.
pub(super) const VERSION: u8 = 1;
/// Offsets of the fixed head.
pub(super) mod at {
    pub(in crate::record) const VERSION: usize = 0;
    pub(in crate::record) const FLAGS: usize = 1;
    pub(in crate::record) const HANDLE: usize = 2;
    pub(in crate::record) const CREATED: usize = 18;
    pub(in crate::record) const SIGNED_IN: usize = 26;
    pub(in crate::record) const ABSOLUTE: usize = 34;
    pub(in crate::record) const IDLE: usize = 42;
    pub(in crate::record) const TOUCH: usize = 50;
    pub(in crate::record) const SEEN: usize = 58;
    pub(in crate::record) const USER_LEN: usize = 66;
    pub(in crate::record) const ADDRESS_LEN: usize = 68;
    pub(in crate::record) const AGENT_LEN: usize = 70;
    pub(in crate::record) const META_REST_LEN: usize = 72;
    pub(in crate::record) const SEEN_REST_LEN: usize = 74;
    pub(in crate::record) const PARTS_LEN: usize = 76;
    pub(in crate::record) const END: usize = 80;
}

/// Before each part: its family, the length of its name (2 bytes), of its value (4).
const PART_HEAD: usize = 7;

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

/// What a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// A value of the session.
    Value = 0,
    /// Something that is not the application's, or that a newer version knows.
    Unknown = 1,
    /// A message of the conversation; they stand in its order, and have no names.
    Message = 2,
}

/// A record's bytes. What stands behind them in the same allocation is the owner's.
#[derive(Clone)]
pub(super) struct Packed(Arc<[u8]>);

impl Packed {
    /// A record at the front of `bytes`, in the form of this module; what follows it is the owner's.
    pub(super) const fn from_shared(bytes: Arc<[u8]>) -> Self {
        Self(bytes)
    }

    pub(super) fn size(&self) -> usize {
        self.fixed_and_texts() + self.u32(at::PARTS_LEN)
    }

    pub(super) fn handle(&self) -> Handle {
        let bytes = self.0[at::HANDLE..at::CREATED]
            .try_into()
            .expect("sixteen bytes");
        Handle::from(Uuid::from_bytes(bytes))
    }

    pub(super) fn version(&self) -> u8 {
        self.0[at::VERSION]
    }

    pub(super) fn flags(&self) -> u8 {
        self.0[at::FLAGS]
    }

    /// The bytes of the record alone.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0[..self.size()]
    }

    /// What its owner put behind it.
    pub(super) fn tail(&self) -> &[u8] {
        &self.0[self.size()..]
    }

    /// All of it, to be changed and written anew.
    pub(super) fn draft(&self) -> Draft<'_> {
        Draft {
            version: self.version(),
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
    pub(super) fn run(&self, n: usize) -> &[u8] {
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

    pub(super) fn text(&self, n: usize) -> &str {
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

    pub(super) fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.0[at..at + 8].try_into().expect("eight bytes"))
    }

    fn u32(&self, at: usize) -> usize {
        u32::from_le_bytes(self.0[at..at + 4].try_into().expect("four bytes")) as usize
    }

    pub(super) fn u16(&self, at: usize) -> usize {
        usize::from(u16::from_le_bytes(
            self.0[at..at + 2].try_into().expect("two bytes"),
        ))
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
        let family = match head[0] {
            0 => Family::Value,
            2 => Family::Message,
            _ => Family::Unknown,
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

    pub(super) const fn message(text: &'a [u8]) -> Self {
        Self {
            family: Family::Message,
            name: b"",
            value: text,
        }
    }

    /// Whether no change names it and no clear removes it.
    pub(super) fn survives(&self, changes: &Changes) -> bool {
        match self.family {
            Family::Message => true,
            // A value whose name nobody here could have given: scripts clear it too.
            Family::Unknown => changes.clear.is_none() || !self.name.starts_with(b"d:"),
            Family::Value => str::from_utf8(self.name)
                .is_ok_and(|name| changes.get(name).is_none() && !changes.clears(name)),
        }
    }

    pub(super) const fn len(self) -> usize {
        PART_HEAD + self.name.len() + self.value.len()
    }
}

impl<'a> Draft<'a> {
    /// Takes over what is newer; a clock that went back changes nothing.
    pub(super) fn saw(&mut self, seen: &'a Seen) {
        let at = micros(seen.at);
        if at < self.seen {
            return;
        }
        self.seen = at;
        self.address = seen.address.as_deref().unwrap_or(self.address);
        self.agent = seen.agent.as_deref().unwrap_or(self.agent);
    }

    /// Writes the run of bytes, in one allocation.
    pub(super) fn write(&self, parts: impl Iterator<Item = Part<'a>> + Clone) -> Packed {
        self.write_before(parts, &[])
    }

    /// The same, with the owner's `tail` behind them.
    pub(super) fn write_before(
        &self,
        parts: impl Iterator<Item = Part<'a>> + Clone,
        tail: &[u8],
    ) -> Packed {
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
        let len =
            at::END + texts.iter().map(|text| text.len()).sum::<usize>() + parts_len + tail.len();

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
            push(&mut rest, &[part.family as u8]);
            push(&mut rest, &short(part.name.len()).to_le_bytes());
            push(&mut rest, &long(part.value.len()).to_le_bytes());
            push(&mut rest, part.name);
            push(&mut rest, part.value);
        }
        push(&mut rest, tail);
        Packed(shared)
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
