//! A record's bytes after a change, cut together from those that it was read from.
//!
//! What a change leaves alone is copied as it stands: taking it apart and writing it anew is most of what a change costs.
//! It comes to what [`Record::changed`] comes to.

use std::borrow::Cow;

use rmp::decode::read_map_len;

use super::change::{After, Changes};
use super::live::Record;
use super::wire::{begin_map, put, read_run};

/// What stands before a name, and before a value, takes no more.
const ROOM: usize = 16;

/// A record after a change.
#[derive(Debug)]
pub(crate) struct Spliced {
    /// As a store keeps it.
    pub(crate) bytes: Vec<u8>,
    /// What an addition came to.
    pub(crate) sum: Option<i64>,
}

impl Record {
    /// The record after `changes`, from the bytes [behind it](Self::tail). `None`: the change cannot be made to it, or
    /// these are not a record's without a conversation.
    pub(crate) fn spliced(&self, changes: &Changes) -> Option<Spliced> {
        let (mut set, mut sum) = (Vec::with_capacity(changes.each.len()), None);
        let mut len = self.tail().len() + ROOM;
        for change in &changes.each {
            let current = (!changes.clears(&change.name))
                .then(|| self.value(&change.name))
                .flatten();
            let value = match Changes::after(change, current).ok()? {
                After::Bytes(json) => Cow::Borrowed(json),
                After::Integer(integer) => {
                    sum = sum.or(Some(integer));
                    Cow::Owned(integer.to_string().into_bytes())
                }
                After::Absent => continue,
            };
            len += ROOM + change.name.len() + value.len();
            set.push((change.name.as_bytes(), value));
        }
        let mut bytes = Vec::with_capacity(len);
        let mut parts = set.len();
        each_part(self.tail(), |name, whole| {
            if stays(name, changes) {
                bytes.extend_from_slice(whole);
                parts += 1;
            }
            !name.starts_with(b"g:")
        })?;
        for (name, value) in set {
            put(&mut bytes, b"d:", name, &value);
        }
        // Only now is it known how many there are: that goes before them.
        let parts_len = bytes.len();
        begin_map(&mut bytes, parts);
        let head = bytes.len() - parts_len;
        bytes.rotate_right(head);
        Some(Spliced { bytes, sum })
    }
}

/// Shows every part of a map: its name, and all of it. `None`: it is none, or one is not as it must be.
fn each_part<'a>(
    mut map: &'a [u8],
    mut is_fit: impl FnMut(&'a [u8], &'a [u8]) -> bool,
) -> Option<()> {
    for _ in 0..read_map_len(&mut map).ok()? {
        let from = map;
        let name = read_run(&mut map).ok()?;
        read_run(&mut map).ok()?;
        if !is_fit(name, &from[..from.len() - map.len()]) {
            return None;
        }
    }
    map.is_empty().then_some(())
}

/// Whether a part is there afterwards as it was: it is no value, or no change names it and no clear removes it.
fn stays(part: &[u8], changes: &Changes) -> bool {
    match part.strip_prefix(b"d:").map(str::from_utf8) {
        Some(Ok(name)) => changes.get(name).is_none() && !changes.clears(name),
        // No value's name, but what a clear is there for all the same.
        Some(Err(_)) => changes.clear.is_none(),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::instant;
    use crate::id::Handle;
    use crate::record::{Change, Entry, Guard, NewRecord, Op, Seen};
    use std::time::Duration;

    const VALUES: [(&str, &str); 4] = [("a", "1"), ("b", "\"x\""), ("long", "[]"), ("n", "41")];

    /// A record as it was read, with parts that a newer version wrote, first and last.
    fn read(values: &[(&str, &str)]) -> Record {
        let now = instant(1_800_000_000_000_000);
        let record = Record::new(&NewRecord {
            handle: Handle::random().unwrap(),
            user: Some("alice".into()),
            created_at: now,
            signed_in_at: Some(now),
            absolute_end: now + Duration::from_secs(1000),
            idle_timeout: Duration::from_secs(100),
            touch_threshold: Duration::from_secs(10),
            persistent: false,
            seen: Seen {
                at: now,
                address: Some("192.0.2.1".into()),
                agent: Some("app/1".into()),
            },
            values: values
                .iter()
                .map(|(name, json)| ((*name).to_owned().into(), json.as_bytes().to_vec()))
                .collect(),
        });
        let mut bytes = Vec::new();
        let written = record.to_bytes();
        let mut parts = 2;
        each_part(&written, |_, _| {
            parts += 1;
            true
        })
        .unwrap();
        begin_map(&mut bytes, parts);
        put(&mut bytes, b"", b"newer", b"1");
        each_part(&written, |_, whole| {
            bytes.extend_from_slice(whole);
            true
        })
        .unwrap();
        // Which is no value's name.
        put(&mut bytes, b"d:", b"\xff", b"2");
        match Entry::from_bytes_kept(&bytes) {
            Ok(Entry::Live(record)) => record,
            other => panic!("a record was expected, and there is {other:?}"),
        }
    }

    fn changed(op: Op, guard: Guard, name: &'static str) -> Change {
        Change {
            name: name.into(),
            guard,
            op,
        }
    }

    /// Some that can be made and some that cannot, alone and together.
    fn all_changes() -> Vec<Changes> {
        let set = || Op::Set(b"{\"y\":[2]}".to_vec());
        let is = |json: &str| Guard::Unchanged(Some(json.as_bytes().into()));
        let each = [
            vec![],
            vec![changed(set(), Guard::Any, "a")],
            vec![changed(set(), Guard::Any, "new")],
            vec![changed(Op::Set(vec![b'1'; 70_000]), Guard::Any, "n")],
            vec![changed(Op::Remove, Guard::Any, "b")],
            vec![changed(Op::Remove, Guard::Any, "absent")],
            vec![changed(Op::Add(-50), Guard::Any, "n")],
            vec![changed(Op::Add(7), Guard::Any, "absent")],
            vec![changed(Op::Add(1), Guard::Any, "b")],
            vec![changed(Op::Add(i64::MAX), Guard::Any, "n")],
            vec![changed(set(), is("1"), "a")],
            vec![changed(set(), is("2"), "a")],
            vec![changed(set(), Guard::Unchanged(None), "a")],
            vec![changed(set(), Guard::Unchanged(None), "new")],
            vec![
                changed(Op::Add(1), Guard::Any, "n"),
                changed(set(), Guard::Any, "new"),
                changed(Op::Remove, Guard::Any, "long"),
            ],
            vec![
                changed(set(), Guard::Any, "new"),
                changed(set(), is("0"), "n"),
            ],
        ];
        let clears = [None, Some(vec![]), Some(vec!["a".into(), "n".into()])];
        let mut all = Vec::new();
        for keep in clears {
            for each in &each {
                let clear = keep.clone().map(|keep| crate::record::Clear { keep });
                let each = each.clone();
                all.push(Changes { clear, each });
            }
        }
        all
    }

    #[test]
    fn it_comes_to_what_a_change_comes_to() {
        let (mut made, mut not) = (0, 0);
        let many: Vec<_> = (0..40).map(|n| (format!("m{n}"), "0")).collect();
        let many: Vec<_> = many.iter().map(|(name, json)| (&**name, *json)).collect();
        for record in [read(&[]), read(&VALUES), read(&many)] {
            for changes in all_changes() {
                match (record.changed(&changes, None), record.spliced(&changes)) {
                    (Ok(expected), Some(spliced)) => {
                        made += 1;
                        let read = Entry::from_bytes(&spliced.bytes).unwrap();
                        assert_eq!(read, Entry::Live(expected.clone()), "{changes:?}");
                        assert_eq!(spliced.sum, expected.sum(&changes), "{changes:?}");
                    }
                    (Err(_), None) => not += 1,
                    (expected, spliced) => panic!("{expected:?}, {spliced:?}: {changes:?}"),
                }
            }
        }
        assert!(made > 80 && not > 15, "{made}, {not}");
    }

    #[test]
    fn inv14_what_a_newer_version_wrote_stays_byte_for_byte() {
        let mut changes = Changes::default();
        changes.clear();
        changes.put("c".into(), Op::Set(b"3".to_vec()));
        let bytes = read(&VALUES).spliced(&changes).unwrap().bytes;
        let mut names = Vec::new();
        each_part(&bytes, |name, _| {
            names.push(name);
            true
        })
        .unwrap();
        assert_eq!(names, [&b"newer"[..], b"m", b"s", b"d:c"]);
    }

    #[test]
    fn without_the_bytes_that_it_was_read_from_or_with_a_conversation_there_is_nothing() {
        let record = read(&VALUES);
        let bytes = record.to_bytes();
        let Ok(Entry::Live(bare)) = Entry::from_bytes(&bytes) else {
            panic!("a record")
        };
        assert!(bare.spliced(&Changes::default()).is_none());
        let mut bytes = Entry::Live(bare.with_messages(&["{}"])).to_bytes();
        bytes = match Entry::from_bytes_kept(&bytes) {
            Ok(Entry::Live(record)) => {
                assert!(record.spliced(&Changes::default()).is_none());
                record.to_bytes()
            }
            other => panic!("a record was expected, and there is {other:?}"),
        };
        assert!(!bytes.is_empty());
    }
}
