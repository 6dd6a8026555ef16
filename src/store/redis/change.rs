//! A change of a session's values, as the arguments of its script.

use std::borrow::Cow;

use redis::Cmd;
use rmp::encode::{write_array_len, write_bool, write_str_len, write_uint};

use super::ask::{millis, seen_text};
use super::keys::Keyspace;
use super::script::APPLY;
use super::servers::Attempt;
use crate::clock::micros;
use crate::id::Kind;
use crate::record::{Change, Changes, Guard, Op, Record};
use crate::store::Apply;

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
    let indexes = keys.indexes(apply.key.kind, apply.key.bucket);
    let asked = asked(apply, &indexes, limit, attempt);
    let bytes = unchanged.map_or(0, |unchanged| {
        unchanged.bytes.len() + unchanged.read.tail().len()
    });
    let keys_count = 1 + usize::from(user.is_some());
    let mut command = APPLY.command(attempt.with_text, keys_count, asked.len() + bytes);
    command.arg(keys.record(&apply.key));
    if let Some(user) = user {
        let mut list = String::with_capacity(indexes.len() + user.len());
        list.push_str(&indexes);
        list.push_str(user);
        command.arg(list);
    }
    command.arg(asked);
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
fn asked(apply: &Apply, indexes: &str, limit: usize, attempt: &Attempt) -> Vec<u8> {
    let changes = &apply.changes;
    let seen = apply.seen.as_ref().map_or_else(String::new, seen_text);
    let mut out = Vec::with_capacity(128);
    array(&mut out, 5 + 4 * changes.each.len());
    write_uint(&mut out, attempt.not_after).expect(MEMORY);
    run(&mut out, indexes.as_bytes());
    write_uint(&mut out, limit as u64).expect(MEMORY);
    run(&mut out, seen.as_bytes());
    push_changes(&mut out, changes);
    out
}

fn push_changes(out: &mut Vec<u8>, changes: &Changes) {
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

fn array(out: &mut Vec<u8>, len: usize) {
    let len = u32::try_from(len).expect("changes are far fewer than fit 32 bits");
    write_array_len(out, len).expect(MEMORY);
}

/// In the older of MessagePack's two forms of byte strings, which every unpacker knows.
fn run(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).expect("what Redis takes is far below 4 GiB");
    write_str_len(out, len).expect(MEMORY);
    out.extend_from_slice(bytes);
}
