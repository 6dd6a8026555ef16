//! The record outside of this process: a flat MessagePack map of byte strings.
//!
//! | part | holds |
//! |---|---|
//! | `m` | what rarely changes: version, handle, created, signed in (`-`: never) and absolute end as the time since then, idle timeout, touch threshold, flags, length of the user, user |
//! | `s` | what a touch changes: seen, address (`-`: none), length of the agent, agent |
//! | `d:<name>` | a value, JSON |
//! | `demo` | of the demo session that a user brought along: handle, bucket, digest |
//! | `g:<n>` | the n-th message of a conversation, JSON, for stores that do not keep those apart |
//! | `x` | the tombstone, alone: reason, at, handle, successor (`-`: none), length of the note, note |
//!
//! Fields are separated by one space, instants and durations are microseconds. What stands behind the last known
//! field, and parts of other names, come from a newer version and are kept as they are.

mod fields;

use std::borrow::Cow;
use std::fmt;

use rmp::decode::{read_map_len, read_str_len};
use rmp::encode::{write_map_len, write_str_len};

use self::fields::{Fields, at};
use super::end::{End, EndReason, cut};
use super::entry::{Entry, Tombstone};
use super::live::Record;
use super::packed::{Draft, Family, Part};
use super::text::Text as _;
use crate::clock::{instant, micros};
use crate::id::Digest;

/// Bytes that are no record: somebody else's, damaged, or cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MalformedRecord(());

impl fmt::Display for MalformedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("these bytes are not a session record")
    }
}

impl std::error::Error for MalformedRecord {}

/// The text of a tombstone without its note is no longer: reason, instant, handle, successor, length, spaces.
const TOMBSTONE_TEXT: usize = 11 + 16 + 36 + 43 + 3 + 5;

/// Instants are before the year 2255, so that adding to one never overflows, and a Lua number holds it exactly.
const LATEST: u64 = 1 << 53;

/// What the numbers of a record take as text, beyond what they take packed.
const ROOM: usize = 64;

const MEMORY: &str = "writing to memory does not fail";

const MALFORMED: MalformedRecord = MalformedRecord(());

impl Entry {
    /// The entry as a flat MessagePack map, for stores that keep bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Live(record) => write_record(record, true),
            Self::Ended(tombstone) => write_tombstone(tombstone),
        }
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote, in this version, an older or a newer one.
    ///
    /// # Errors
    /// [`MalformedRecord`] for anything else; it never panics, and allocates no more than the input is long.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MalformedRecord> {
        Self::read(bytes, &[])
    }

    /// The same, and a record has the bytes that it was read from as its [tail](Record::tail).
    #[cfg(feature = "redis")]
    pub(crate) fn from_bytes_kept(bytes: &[u8]) -> Result<Self, MalformedRecord> {
        Self::read(bytes, bytes)
    }

    fn read(bytes: &[u8], tail: &[u8]) -> Result<Self, MalformedRecord> {
        let parts = read_parts(bytes)?;
        let part = |name: &[u8]| {
            parts
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, value)| *value)
        };
        if let Some(tombstone) = part(b"x") {
            return read_tombstone(tombstone).map(Self::Ended);
        }
        let (meta, seen) = (part(b"m").ok_or(MALFORMED)?, part(b"s").ok_or(MALFORMED)?);
        read_record(meta, seen, &parts, bytes.len(), tail).map(Self::Live)
    }
}

impl Record {
    /// How many bytes it has as it is written, without its conversation: what a store counts that keeps it so.
    pub(crate) fn written_size(&self) -> usize {
        write_record(self, false).len()
    }

    /// The same map without its conversation, for a store that keeps that apart.
    #[cfg(feature = "redis")]
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        write_record(self, false)
    }
}

fn write_record(record: &Record, with_messages: bool) -> Vec<u8> {
    let draft = record.packed().draft();
    let parts = record.packed().parts();
    let parts = parts.filter(|part| with_messages || part.family != Family::Message);
    let mut out = Vec::with_capacity(record.size() + ROOM);
    begin_map(&mut out, 2 + parts.clone().count());

    // One after the other in the same place: they are short, and their lengths go before them.
    let mut text = Vec::with_capacity(record.size() + ROOM);
    text.number_field(draft.version);
    text.handle_field(draft.handle);
    text.number_field(draft.created);
    match draft.signed_in {
        0 => text.field("-"),
        at => text.number_field(after(draft.created, at)),
    }
    text.number_field(after(draft.created, draft.absolute));
    text.number_field(draft.idle);
    text.number_field(draft.touch);
    text.number_field(draft.flags);
    text.number_field(draft.user.len());
    text.word(draft.user);
    text.extend_from_slice(draft.meta_rest);
    put(&mut out, b"", b"m", &text);

    text.clear();
    let address = match draft.address {
        "" => Cow::Borrowed("-"),
        address => wire_address(address),
    };
    text.number_field(draft.seen);
    text.field(&address);
    text.number_field(draft.agent.len());
    text.word(draft.agent);
    text.extend_from_slice(draft.seen_rest);
    put(&mut out, b"", b"s", &text);

    let mut messages = 0_u32;
    for part in parts {
        match part.family {
            Family::Value => put(&mut out, b"d:", part.name, part.value),
            Family::Unknown => put(&mut out, b"", part.name, part.value),
            Family::Message => {
                put(&mut out, b"g:", messages.to_string().as_bytes(), part.value);
                messages += 1;
            }
        }
    }
    out
}

/// An address as it stands in a record: no longer than it may be, and without the spaces that end it.
pub(crate) fn wire_address(address: &str) -> Cow<'_, str> {
    let address = cut(address, super::Seen::MAX_ADDRESS_BYTES);
    if address
        .bytes()
        .any(|byte| byte.is_ascii_whitespace() || byte == 0x0b)
    {
        address
            .replace(|c: char| c.is_ascii_whitespace() || c == '\u{b}', "_")
            .into()
    } else {
        address.into()
    }
}

/// A user agent as it stands in a record.
pub(crate) fn wire_agent(agent: &str) -> &str {
    cut(agent, super::Seen::MAX_AGENT_BYTES)
}

fn write_tombstone(tombstone: &Tombstone) -> Vec<u8> {
    let note = cut(
        tombstone.end.note.as_deref().unwrap_or(""),
        End::MAX_NOTE_BYTES,
    );
    let mut text = Vec::with_capacity(TOMBSTONE_TEXT + note.len());
    let successor = tombstone.successor.map(|digest| digest.to_text());
    text.field(tombstone.end.reason.as_str());
    text.number_field(micros(tombstone.end.at));
    text.handle_field(tombstone.handle);
    text.field(successor.as_deref().unwrap_or("-"));
    text.number_field(note.len());
    text.word(note);
    let mut out = Vec::with_capacity(text.len() + 8);
    begin_map(&mut out, 1);
    put(&mut out, b"", b"x", &text);
    out
}

pub(super) fn begin_map(out: &mut Vec<u8>, parts: usize) {
    let parts =
        u32::try_from(parts).expect("fewer parts than bytes, and those are counted in 32 bits");
    write_map_len(out, parts).expect(MEMORY);
}

/// A name behind its prefix, and a value, both in the older of MessagePack's two forms of byte strings: the unpackers of
/// some stores know no other.
pub(super) fn put(out: &mut Vec<u8>, prefix: &[u8], name: &[u8], value: &[u8]) {
    begin_run(out, prefix.len() + name.len());
    out.extend_from_slice(prefix);
    out.extend_from_slice(name);
    begin_run(out, value.len());
    out.extend_from_slice(value);
}

fn begin_run(out: &mut Vec<u8>, len: usize) {
    let len = u32::try_from(len).expect("a store's record limit is far below 4 GiB");
    write_str_len(out, len).expect(MEMORY);
}

/// A part's name and value.
type NamedPart<'a> = (&'a [u8], &'a [u8]);

fn read_parts(mut bytes: &[u8]) -> Result<Vec<NamedPart<'_>>, MalformedRecord> {
    let count = read_map_len(&mut bytes).map_err(|_| MALFORMED)? as usize;
    // A part has two bytes at least: a length that lies must not reserve memory.
    if count > bytes.len() / 2 {
        return Err(MALFORMED);
    }
    let mut parts = Vec::with_capacity(count);
    for _ in 0..count {
        let name = read_run(&mut bytes)?;
        parts.push((name, read_run(&mut bytes)?));
    }
    if bytes.is_empty() {
        Ok(parts)
    } else {
        Err(MALFORMED)
    }
}

/// A run in the older form of byte strings, and in no other: what one reader of a record takes and another does not would
/// open for the one and could not be ended by the other.
pub(super) fn read_run<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], MalformedRecord> {
    let len = read_str_len(bytes).map_err(|_| MALFORMED)?;
    let (run, rest) = bytes.split_at_checked(len as usize).ok_or(MALFORMED)?;
    *bytes = rest;
    Ok(run)
}

/// `len`: of all that was read.
fn read_record(
    meta: &[u8],
    seen: &[u8],
    parts: &[NamedPart<'_>],
    len: usize,
    tail: &[u8],
) -> Result<Record, MalformedRecord> {
    let mut meta = Fields(meta);
    let mut seen = Fields(seen);
    let (version, handle, created) = (meta.number()?, meta.handle()?, meta.micros()?);
    let draft = Draft {
        version,
        handle,
        created,
        signed_in: match meta.bytes() {
            b"-" => 0,
            since => at(created, since)?,
        },
        absolute: at(created, meta.bytes())?,
        idle: meta.number()?,
        touch: meta.number()?,
        flags: meta.number()?,
        user: meta.sized(crate::id::UserId::MAX_BYTES)?,
        seen: seen.micros()?,
        address: match seen.word()? {
            "-" => "",
            address if address.len() <= super::Seen::MAX_ADDRESS_BYTES => address,
            _ => return Err(MALFORMED),
        },
        agent: seen.sized(super::Seen::MAX_AGENT_BYTES)?,
        meta_rest: meta.rest()?,
        seen_rest: seen.rest()?,
    };
    let parts = parts
        .iter()
        .filter(|(name, _)| *name != b"m" && *name != b"s")
        .map(|&(name, value)| match name.strip_prefix(b"d:") {
            Some(name) if str::from_utf8(name).is_ok() => Part::value(name, value),
            _ if name.starts_with(b"g:") => Part::message(value),
            _ => Part {
                family: Family::Unknown,
                name,
                value,
            },
        });
    // No name is longer than what it stands in.
    let longest = usize::from(u16::MAX);
    if len > longest && parts.clone().any(|part| part.name.len() > longest) {
        return Err(MALFORMED);
    }
    Ok(Record::from_packed(draft.write_before(parts, tail)))
}

fn read_tombstone(text: &[u8]) -> Result<Tombstone, MalformedRecord> {
    let mut fields = Fields(text);
    let reason = EndReason::from_name(fields.word()?).ok_or(MALFORMED)?;
    let at = instant(fields.micros()?);
    let handle = fields.handle()?;
    let successor = match fields.word()? {
        "-" => None,
        text => Some(Digest::from_text(text).ok_or(MALFORMED)?),
    };
    let note = fields.sized(End::MAX_NOTE_BYTES)?;
    Ok(Tombstone {
        handle,
        end: End::new(reason, at).with_note(note),
        successor,
    })
}

/// How long after `created` it is: shorter than the instant itself, and these are in every record.
fn after(created: u64, instant: u64) -> i64 {
    // Both are below 2^53.
    instant.cast_signed() - created.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Handle;
    use crate::record::{Changes, NewRecord, Op, Seen};
    use proptest::prelude::*;
    use std::time::Duration;

    fn sample(user: Option<&str>, agent: &str) -> Record {
        Record::new(&new_record(user, agent))
    }

    fn new_record(user: Option<&str>, agent: &str) -> NewRecord {
        let now = instant(1_800_000_000_000_000);
        NewRecord {
            handle: Handle::random().unwrap(),
            user: user.map(Into::into),
            created_at: now,
            signed_in_at: user.map(|_| now),
            absolute_end: now + Duration::from_secs(1000),
            idle_timeout: Duration::from_secs(100),
            touch_threshold: Duration::from_secs(10),
            persistent: false,
            seen: Seen {
                at: now,
                address: None,
                agent: Some(agent.into()),
            },
            values: vec![("cart".into(), b"{}".to_vec())],
        }
    }

    /// The map with one more part, and with more behind `m` and `s`, as a newer version would write it.
    fn newer(record: &Record) -> Vec<u8> {
        let bytes = Entry::Live(record.clone()).to_bytes();
        let parts = read_parts(&bytes).unwrap();
        let mut out = Vec::new();
        begin_map(&mut out, parts.len() + 1);
        put(&mut out, b"", b"future", b"\xff\x00kept");
        for (name, value) in parts {
            let more: &[u8] = match name {
                b"m" => b" device:7",
                b"s" => b" tls:1.3",
                _ => b"",
            };
            put(&mut out, b"", name, &[value, more].concat());
        }
        out
    }

    #[test]
    fn a_record_reads_back_as_it_was() {
        for record in [
            sample(Some("a user with spaces é"), "Agent 1.0 (x y)"),
            sample(None, ""),
        ] {
            let entry = Entry::Live(record);
            assert_eq!(Entry::from_bytes(&entry.to_bytes()), Ok(entry));
        }
    }

    #[test]
    fn the_newer_form_of_byte_strings_is_no_record() {
        let mut bytes = Entry::Live(sample(None, "")).to_bytes();
        bytes[0] += 1;
        bytes.extend_from_slice(b"\xa1z\xc4\x01Q");
        assert_eq!(Entry::from_bytes(&bytes), Err(MALFORMED));
    }

    #[test]
    fn a_note_that_is_too_long_is_cut() {
        let mut end = End::new(EndReason::Revoked, instant(5));
        end.note = Some("é".repeat(200).into());
        let entry = Entry::Ended(Tombstone {
            handle: Handle::random().unwrap(),
            end,
            successor: None,
        });
        let Ok(Entry::Ended(read)) = Entry::from_bytes(&entry.to_bytes()) else {
            panic!("not read");
        };
        assert_eq!(read.end.note, Some("é".repeat(128).into()));
    }

    #[test]
    fn a_tombstone_reads_back_as_it_was() {
        for (note, successor) in [
            ("", None),
            ("by an admin, twice", Some(Digest::from_bytes([7; 32]))),
        ] {
            let entry = Entry::Ended(Tombstone {
                handle: Handle::random().unwrap(),
                end: End::new(EndReason::Revoked, instant(5)).with_note(note),
                successor,
            });
            assert_eq!(Entry::from_bytes(&entry.to_bytes()), Ok(entry));
        }
    }

    #[test]
    fn an_address_with_spaces_is_written_without_them() {
        let now = instant(1_800_000_000_000_000);
        let record = Record::new(&NewRecord {
            seen: Seen {
                at: now,
                address: Some("unix socket\t1".into()),
                agent: None,
            },
            ..new_record(Some("alice"), "")
        });
        let Ok(Entry::Live(read)) = Entry::from_bytes(&Entry::Live(record).to_bytes()) else {
            panic!("not read");
        };
        assert_eq!(read.address(), Some("unix_socket_1"));
    }

    #[test]
    fn the_user_is_readable_in_the_plain_text() {
        let bytes = Entry::Live(sample(Some("alice"), "app/1")).to_bytes();
        assert!(bytes.windows(7).any(|run| run == b"5 alice"));
    }

    #[test]
    fn inv14_r67_what_a_newer_version_wrote_is_kept_through_a_change() {
        let Ok(Entry::Live(read)) = Entry::from_bytes(&newer(&sample(Some("alice"), "app/1")))
        else {
            panic!("not read");
        };
        assert_eq!(read.user(), Some("alice"));
        let changed = read
            .changed(&Changes::one("n".into(), Op::Add(1)), None)
            .unwrap();
        let bytes = Entry::Live(changed).to_bytes();
        let parts = read_parts(&bytes).unwrap();
        let part = |name: &[u8]| parts.iter().find(|(n, _)| *n == name).unwrap().1;
        assert_eq!(part(b"future"), b"\xff\x00kept");
        assert!(part(b"m").ends_with(b"5 alice device:7"));
        assert!(part(b"s").ends_with(b"5 app/1 tls:1.3"));
        assert_eq!(part(b"d:n"), b"1");
    }

    proptest! {
        #[test]
        fn inv14_r67_the_decoder_takes_any_bytes_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(entry) = Entry::from_bytes(&bytes) {
                let _ = (entry.kept_until(), format!("{entry:?}"));
            }
        }

        #[test]
        fn inv14_r67_a_damaged_record_is_refused_or_read_but_never_a_panic(
            at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()
        ) {
            let mut bytes = newer(&sample(Some("alice"), "app/1"));
            let place = at.index(bytes.len());
            bytes[place] = byte;
            bytes.truncate(cut.index(bytes.len()) + 1);
            if let Ok(Entry::Live(record)) = Entry::from_bytes(&bytes) {
                let again = Entry::Live(record.clone());
                prop_assert_eq!(Entry::from_bytes(&again.to_bytes()), Ok(again));
                let _ = (record.end_at(record.seen_at()), record.kept_until(), record.names().count());
            }
        }

        #[test]
        fn any_values_read_back(names in proptest::collection::vec("[a-zé:]{1,20}", 0..8), value in "\\PC{0,40}") {
            let mut changes = Changes::default();
            for name in names {
                changes.put(name.into(), Op::Set(serde_json::to_vec(&value).unwrap()));
            }
            let entry = Entry::Live(sample(None, "").changed(&changes, None).unwrap());
            prop_assert_eq!(Entry::from_bytes(&entry.to_bytes()), Ok(entry));
        }
    }
}
