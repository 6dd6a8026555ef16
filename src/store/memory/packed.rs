//! An entry of the memory as a run of bytes: its key, its mark, and what it is.

use std::time::SystemTime;

use super::commons::{Commons, Number};
use crate::clock::{instant, micros};
use crate::id::{Bucket, Digest, Kind, RecordKey};
use crate::record::{Common, End, EndReason, Entry, Own, Record, Tombstone};

/// Where the parts of the head begin: the digest is the first.
const BUCKET: usize = 32;
const MARK: usize = 34;
const LENGTH: usize = 35;
const HEAD: usize = 39;

/// What an entry is worth when there is no room, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Stranger = 0,
    Tombstone = 1,
    User = 2,
}

/// An entry that is to be written.
pub(super) enum Body<'a> {
    Live(Number, &'a Record),
    Ended(&'a Tombstone),
}

/// An entry that is looked at in its place.
pub(super) enum View<'a> {
    Live(Common<'a>, Own<'a>),
    Ended(Tombstone),
}

impl Body<'_> {
    pub(super) fn class(&self) -> Class {
        match self {
            Self::Live(_, record) if record.is_users() => Class::User,
            Self::Live(..) => Class::Stranger,
            Self::Ended(_) => Class::Tombstone,
        }
    }

    /// How many bytes it takes with its key.
    pub(super) fn len(&self) -> usize {
        let body = match self {
            Self::Live(_, record) => size_of::<Number>() + record.own_len(),
            Self::Ended(tombstone) => {
                let note = tombstone.end.note.as_deref().unwrap_or_default();
                let successor = if tombstone.successor.is_some() { 32 } else { 0 };
                TOMBSTONE + successor + note.len()
            }
        };
        HEAD + body
    }

    pub(super) fn write(&self, key: &RecordKey, place: &mut [u8]) {
        let len = self.len();
        place[..BUCKET].copy_from_slice(key.digest.as_bytes());
        place[BUCKET..MARK].copy_from_slice(&key.bucket.get().to_be_bytes());
        place[MARK] = (key.kind as u8) | (self.class() as u8) << 1;
        let length = u32::try_from(len).expect("a store's record limit is far below 4 GiB");
        place[LENGTH..HEAD].copy_from_slice(&length.to_le_bytes());
        let body = &mut place[HEAD..len];
        match self {
            Self::Live(common, record) => {
                let (number, rest) = body.split_at_mut(size_of::<Number>());
                number.copy_from_slice(&common.to_le_bytes());
                record.write_own(rest);
            }
            Self::Ended(tombstone) => write_tombstone(tombstone, body),
        }
    }
}

impl View<'_> {
    pub(super) fn entry(self) -> Option<Entry> {
        match self {
            Self::Live(common, own) => own.with(&common).map(Entry::Live),
            Self::Ended(tombstone) => Some(Entry::Ended(tombstone)),
        }
    }

    /// As [`Entry::kept_until`].
    pub(super) fn kept_until(&self) -> SystemTime {
        match self {
            Self::Live(common, own) => own.kept_until(common),
            Self::Ended(tombstone) => tombstone.kept_until(),
        }
    }

    /// Whether it is a session that goes on at that time.
    pub(super) fn is_live(&self, now: SystemTime) -> bool {
        match self {
            Self::Live(common, own) => own.ends_at(common) > micros(now),
            Self::Ended(_) => false,
        }
    }
}

/// What is in a place.
pub(super) fn view<'a>(place: &'a [u8], commons: &'a Commons) -> Option<View<'a>> {
    let length = place[LENGTH..].first_chunk()?;
    let body = place.get(HEAD..u32::from_le_bytes(*length) as usize)?;
    match class_of(place) {
        Class::Stranger | Class::User => {
            let (number, own) = body.split_first_chunk()?;
            Some(View::Live(
                commons.get(Number::from_le_bytes(*number)),
                Own::read(own)?,
            ))
        }
        Class::Tombstone => read_tombstone(body).map(View::Ended),
    }
}

/// Which of the common things the session in a place has.
pub(super) fn common_of(place: &[u8]) -> Option<Number> {
    match class_of(place) {
        Class::Stranger | Class::User => {
            let (number, _) = place[HEAD..].split_first_chunk()?;
            Some(Number::from_le_bytes(*number))
        }
        Class::Tombstone => None,
    }
}

/// Reason, instant, handle, whether there is a successor; then which, and the note.
const TOMBSTONE: usize = 1 + 8 + 16 + 1;

fn write_tombstone(tombstone: &Tombstone, room: &mut [u8]) {
    let (head, mut rest) = room.split_at_mut(TOMBSTONE);
    let reason = EndReason::ALL
        .iter()
        .position(|reason| *reason == tombstone.end.reason);
    head[0] = reason
        .and_then(|at| at.try_into().ok())
        .expect("all reasons are in ALL");
    head[1..9].copy_from_slice(&micros(tombstone.end.at).to_le_bytes());
    head[9..25].copy_from_slice(tombstone.handle.as_uuid().as_bytes());
    head[25] = u8::from(tombstone.successor.is_some());
    if let Some(successor) = &tombstone.successor {
        let (here, after) = rest.split_at_mut(32);
        here.copy_from_slice(successor.as_bytes());
        rest = after;
    }
    rest.copy_from_slice(tombstone.end.note.as_deref().unwrap_or_default().as_bytes());
}

fn read_tombstone(bytes: &[u8]) -> Option<Tombstone> {
    let (head, mut note) = bytes.split_first_chunk::<TOMBSTONE>()?;
    let at = u64::from_le_bytes(head[1..9].try_into().ok()?);
    let handle: [u8; 16] = head[9..25].try_into().ok()?;
    let mut successor = None;
    if head[25] == 1 {
        let (digest, rest) = note.split_first_chunk::<32>()?;
        successor = Some(Digest::from_bytes(*digest));
        note = rest;
    }
    let end = End::new(*EndReason::ALL.get(usize::from(head[0]))?, instant(at));
    Some(Tombstone {
        handle: uuid::Uuid::from_bytes(handle).into(),
        end: end.with_note(str::from_utf8(note).ok()?),
        successor,
    })
}

pub(super) fn class_of(place: &[u8]) -> Class {
    match place[MARK] >> 1 {
        0 => Class::Stranger,
        1 => Class::Tombstone,
        _ => Class::User,
    }
}

pub(super) fn key_of(place: &[u8]) -> RecordKey {
    let digest = place.first_chunk::<32>().expect("a place has a head");
    RecordKey {
        kind: if place[MARK] & 1 == 0 {
            Kind::User
        } else {
            Kind::Demo
        },
        bucket: Bucket::from(u16::from_be_bytes([place[BUCKET], place[BUCKET + 1]])),
        digest: Digest::from_bytes(*digest),
    }
}

/// Whether an entry stands under that key: digest, bucket and kind, whatever its class.
pub(super) fn is_at(place: &[u8], key: &RecordKey) -> bool {
    place[..BUCKET] == *key.digest.as_bytes()
        && place[BUCKET..MARK] == key.bucket.get().to_be_bytes()
        && place[MARK] & 1 == key.kind as u8
}

/// A digest is as random as a hash gets: eight bytes of it are one.
pub(super) fn hash_key(key: &RecordKey) -> u64 {
    hash_of(key.digest.as_bytes())
}

pub(super) fn hash_of(place: &[u8]) -> u64 {
    let first = place.first_chunk().expect("a digest is longer");
    u64::from_le_bytes(*first)
}
