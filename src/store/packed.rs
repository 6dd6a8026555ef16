//! An entry of the memory: its bytes, and behind them its key and its mark, in one allocation.

use std::sync::Arc;

use crate::clock::{instant, micros};
use crate::id::{Bucket, Digest, Kind, RecordKey};
use crate::record::{End, EndReason, Entry, Record, Tombstone};

/// Behind the bytes of an entry stand its digest, its bucket and its mark.
pub(super) const KEY_BYTES: usize = 32 + 2 + 1;

/// An entry with its key, in one allocation: eight bytes of a table instead of fifty.
pub(super) type Packed = Arc<[u8]>;

/// What an entry is worth when there is no room, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Stranger = 0,
    Tombstone = 1,
    User = 2,
}

fn mark(kind: Kind, class: Class) -> u8 {
    (kind as u8) | (class as u8) << 1
}

/// What stands behind the entry's bytes.
pub(super) fn tail(key: &RecordKey, mark: u8) -> [u8; KEY_BYTES] {
    let mut tail = [0; KEY_BYTES];
    tail[..32].copy_from_slice(key.digest.as_bytes());
    tail[32..34].copy_from_slice(&key.bucket.get().to_be_bytes());
    tail[34] = mark | (key.kind as u8);
    tail
}

pub(super) fn pack(key: &RecordKey, entry: &Entry) -> Packed {
    let tombstone: [u8; TOMBSTONE_HEAD];
    let (body, note, class): (&[u8], &[u8], _) = match entry {
        Entry::Live(record) if record.is_users() => (record.bytes(), b"", Class::User),
        Entry::Live(record) => (record.bytes(), b"", Class::Stranger),
        Entry::Ended(ended) => {
            tombstone = tombstone_head(ended);
            let note = ended.end.note.as_deref().unwrap_or_default().as_bytes();
            (&tombstone, note, Class::Tombstone)
        }
    };
    let tail = tail(key, mark(key.kind, class));
    let len = body.len() + note.len() + KEY_BYTES;
    let mut packed: Packed = std::iter::repeat_n(0, len).collect();
    let bytes = Arc::get_mut(&mut packed).expect("nobody else has it yet");
    let (front, back) = bytes.split_at_mut(body.len());
    front.copy_from_slice(body);
    let (middle, end) = back.split_at_mut(note.len());
    middle.copy_from_slice(note);
    end.copy_from_slice(&tail);
    packed
}

pub(super) fn unpack(packed: &Packed) -> Option<Entry> {
    match class_of(packed) {
        Class::Stranger | Class::User => Some(Entry::Live(Record::from_shared(Arc::clone(packed)))),
        Class::Tombstone => read_tombstone(&packed[..packed.len() - KEY_BYTES]).map(Entry::Ended),
    }
}

/// Reason, instant, handle, whether there is a successor, and which; the note stands behind.
const TOMBSTONE_HEAD: usize = 1 + 8 + 16 + 1 + 32;

fn tombstone_head(tombstone: &Tombstone) -> [u8; TOMBSTONE_HEAD] {
    let mut head = [0; TOMBSTONE_HEAD];
    let reason = EndReason::ALL
        .iter()
        .position(|reason| *reason == tombstone.end.reason);
    head[0] = reason
        .and_then(|at| at.try_into().ok())
        .expect("all reasons are in ALL");
    head[1..9].copy_from_slice(&micros(tombstone.end.at).to_le_bytes());
    head[9..25].copy_from_slice(tombstone.handle.as_uuid().as_bytes());
    if let Some(successor) = &tombstone.successor {
        head[25] = 1;
        head[26..].copy_from_slice(successor.as_bytes());
    }
    head
}

fn read_tombstone(bytes: &[u8]) -> Option<Tombstone> {
    let (head, note) = bytes.split_first_chunk::<TOMBSTONE_HEAD>()?;
    let at = u64::from_le_bytes(head[1..9].try_into().ok()?);
    let handle: [u8; 16] = head[9..25].try_into().ok()?;
    let successor: [u8; 32] = head[26..].try_into().ok()?;
    let end = End::new(*EndReason::ALL.get(usize::from(head[0]))?, instant(at));
    Some(Tombstone {
        handle: uuid::Uuid::from_bytes(handle).into(),
        end: end.with_note(str::from_utf8(note).ok()?),
        successor: (head[25] == 1).then(|| Digest::from_bytes(successor)),
    })
}

pub(super) fn class_of(packed: &Packed) -> Class {
    match packed[packed.len() - 1] >> 1 {
        0 => Class::Stranger,
        1 => Class::Tombstone,
        _ => Class::User,
    }
}

pub(super) fn key_of(packed: &Packed) -> RecordKey {
    let tail = &packed[packed.len() - KEY_BYTES..];
    let mut digest = [0; 32];
    digest.copy_from_slice(&tail[..32]);
    RecordKey {
        kind: if tail[34] & 1 == 0 {
            Kind::User
        } else {
            Kind::Demo
        },
        bucket: Bucket::from(u16::from_be_bytes([tail[32], tail[33]])),
        digest: Digest::from_bytes(digest),
    }
}

/// Whether an entry stands under the key that `tail` was made from: digest, bucket and kind, whatever its class.
pub(super) fn is_at(packed: &Packed, tail: &[u8; KEY_BYTES]) -> bool {
    let (own, mark) = (&packed[packed.len() - KEY_BYTES..], KEY_BYTES - 1);
    own[..mark] == tail[..mark] && own[mark] & 1 == tail[mark] & 1
}

/// A digest is as random as a hash gets: eight bytes of it are one.
pub(super) fn hash_key(key: &RecordKey) -> u64 {
    let (first, _) = key
        .digest
        .as_bytes()
        .split_first_chunk::<8>()
        .expect("a digest has 32 bytes");
    u64::from_le_bytes(*first)
}

pub(super) fn hash_of(packed: &Packed) -> u64 {
    let digest = &packed[packed.len() - KEY_BYTES..];
    let (first, _) = digest
        .split_first_chunk::<8>()
        .expect("a digest has 32 bytes");
    u64::from_le_bytes(*first)
}
