//! A change of a session's values, as the arguments of its script.

use std::borrow::Cow;
use std::io::Write;

use redis::{Cmd, RedisWrite as _};
use rmp::encode::{write_array_len, write_bool, write_str_len, write_uint};

use super::ask::{millis, seen_text};
use super::keys::Keyspace;
use super::name::Name;
use super::script::APPLY;
use super::servers::Attempt;
use crate::clock::micros;
use crate::id::Kind;
use crate::record::{Change, Changes, Guard, Op, Record, Seen};
use crate::store::Apply;

/// What a number takes, and what stands around a word.
const NUMBER: usize = 20;
const MEMORY: &str = "writing to memory does not fail";

/// What a record becomes if it is still as it was read, worked out here, so that the server need not take it apart.
pub(super) struct Unchanged<'a> {
    read: &'a Record,
    bytes: Vec<u8>,
    /// Where its end moves: until when it is kept, in milliseconds, and its end.
    moved: Option<(u64, u64)>,
    /// What an addition came to.
    pub(super) sum: Option<i64>,
}

impl<'a> Unchanged<'a> {
    /// A record that is larger is not sent twice for this.
    const LARGEST: usize = 4096;

    /// `None` where it was not read from here, or what is to be done cannot be done to it: the server decides then.
    pub(super) fn of(apply: &'a Apply, limit: usize) -> Option<Self> {
        let read = apply.read.as_ref()?;
        if read.tail().is_empty() || read.tail().len() > Self::LARGEST {
            return None;
        }
        let unchanged = match &apply.seen {
            None => {
                let spliced = read.spliced(&apply.changes)?;
                Self {
                    read,
                    bytes: spliced.bytes,
                    moved: None,
                    sum: spliced.sum,
                }
            }
            seen @ Some(_) => {
                let after = read.changed(&apply.changes, seen.as_ref()).ok()?;
                let moved = (after.ends_at() != read.ends_at())
                    .then(|| (millis(micros(after.kept_until())), micros(after.ends_at())));
                Self {
                    read,
                    bytes: after.to_bytes(),
                    moved,
                    sum: after.sum(&apply.changes),
                }
            }
        };
        (unchanged.bytes.len() <= limit).then_some(unchanged)
    }
}

pub(super) fn apply(
    keys: &Keyspace,
    limit: usize,
    apply: &Apply,
    unchanged: Option<&Unchanged<'_>>,
    attempt: &Attempt,
) -> Cmd {
    let user = unchanged.and_then(|unchanged| match apply.key.kind {
        Kind::User => unchanged.read.user(),
        Kind::Demo => None,
    });
    let record = keys.record_name(&apply.key);
    let indexes = keys.indexes_name(apply.key.kind, apply.key.bucket);
    let indexes = indexes.as_ref().map_or(&b""[..], Name::as_bytes);
    let bytes = unchanged.map_or(0, |unchanged| {
        let numbers = 3 * NUMBER;
        numbers + unchanged.bytes.len() + unchanged.read.tail().len()
    });
    let bytes = bytes
        + record.as_bytes().len()
        + user.map_or(0, |user| indexes.len() + user.len())
        + asked_len(apply, indexes);
    let keys_count = 1 + usize::from(user.is_some());
    let mut command = APPLY.sized(attempt.with_text, keys_count, keys_count + 6, bytes);
    command.arg(record.as_bytes());
    if let Some(user) = user {
        let mut list = command.writer_for_next_arg();
        list.write_all(indexes).expect(MEMORY);
        list.write_all(user.as_bytes()).expect(MEMORY);
    }
    push_asked(
        &mut command.writer_for_next_arg(),
        apply,
        indexes,
        limit,
        attempt,
    );
    if let Some(unchanged) = unchanged {
        // Both are checked at once: the script tells only where this fails which of them it was.
        let before = (attempt.not_after + 1).min(micros(unchanged.read.ends_at()));
        command
            .arg(before)
            .arg(unchanged.read.tail())
            .arg(&unchanged.bytes);
        if let Some((kept, ends)) = unchanged.moved {
            command.arg(kept).arg(ends);
        }
    }
    command
}

/// All that the script wants to know where something has changed, as one argument: each costs it time, also where it is not
/// looked at.
fn push_asked(
    out: &mut impl Write,
    apply: &Apply,
    indexes: &[u8],
    limit: usize,
    attempt: &Attempt,
) {
    let changes = &apply.changes;
    let seen = apply.seen.as_ref().map_or_else(String::new, seen_text);
    array(out, 5 + 4 * changes.each.len());
    write_uint(out, attempt.not_after).expect(MEMORY);
    run(out, indexes);
    write_uint(out, limit as u64).expect(MEMORY);
    run(out, seen.as_bytes());
    push_changes(out, changes);
}

/// About as many bytes as that takes.
fn asked_len(apply: &Apply, indexes: &[u8]) -> usize {
    let seen = apply.seen.as_ref().map_or(0, |_| Seen::MAX_AGENT_BYTES);
    let each = apply.changes.each.iter().map(|change| {
        let with = match &change.op {
            Op::Set(json) => json.len(),
            Op::Remove | Op::Add(_) => NUMBER,
        };
        let read = match &change.guard {
            Guard::Any | Guard::Unchanged(None) => 0,
            Guard::Unchanged(Some(read)) => read.len(),
        };
        2 * NUMBER + change.name.len() + with + read
    });
    3 * NUMBER + indexes.len() + seen + each.sum::<usize>()
}

fn push_changes(out: &mut impl Write, changes: &Changes) {
    match &changes.clear {
        None => write_bool(out, false).expect(MEMORY),
        Some(clear) => {
            array(out, clear.keep.len());
            for name in &clear.keep {
                run(out, name.as_bytes());
            }
        }
    }
    for Change { name, guard, op } in &changes.each {
        let (words, read): ([&str; 3], &[u8]) = match guard {
            Guard::Any => (["set", "remove", "add"], b""),
            Guard::Unchanged(None) => (["set-", "remove-", "add-"], b""),
            Guard::Unchanged(Some(read)) => (["set=", "remove=", "add="], read),
        };
        let (word, with): (&str, Cow<'_, [u8]>) = match op {
            Op::Set(json) => (words[0], json.into()),
            Op::Remove => (words[1], b"".into()),
            Op::Add(by) => (words[2], by.to_string().into_bytes().into()),
        };
        run(out, name.as_bytes());
        run(out, word.as_bytes());
        run(out, &with);
        run(out, read);
    }
}

fn array(out: &mut impl Write, len: usize) {
    let len = u32::try_from(len).expect("changes are far fewer than fit 32 bits");
    write_array_len(out, len).expect(MEMORY);
}

/// In the older of MessagePack's two forms of byte strings, which every unpacker knows.
fn run(out: &mut impl Write, bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).expect("what Redis takes is far below 4 GiB");
    write_str_len(out, len).expect(MEMORY);
    out.write_all(bytes).expect(MEMORY);
}
