//! JSON as Python writes it, made into JSON as everybody reads it.
//!
//! `json.dumps` writes `NaN` and `Infinity`, which are no JSON, and halves of surrogate pairs, which no text is made of.
//! The former become `null`, as in JavaScript, the latter the replacement character. Both are counted, so that a report
//! says so; everything else stays to the letter, numbers of any length too.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// What had to be changed to make it JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mended {
    /// `NaN`, `Infinity`, `-Infinity`: now `null`.
    pub(super) numbers: u32,
    /// Lone halves of a surrogate pair: now the replacement character.
    pub(super) surrogates: u32,
}

/// The same text as JSON. What is wrong with it otherwise is for the parser to say.
pub(super) fn mend(bytes: &[u8]) -> (Cow<'_, [u8]>, Mended) {
    let mut mended = Mended::default();
    let mut out: Vec<u8> = Vec::new();
    // Up to where `bytes` was copied.
    let mut copied = 0;
    let mut at = 0;
    let mut in_string = false;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let (len, instead): (usize, Option<&[u8]>) = match (in_string, rest[0]) {
            (_, b'"') => {
                in_string = !in_string;
                (1, None)
            }
            (true, b'\\') => match surrogate(rest) {
                Some(Surrogate::Pair) => (12, None),
                Some(Surrogate::Lone) => {
                    mended.surrogates += 1;
                    (6, Some(b"\\ufffd"))
                }
                None => (2.min(rest.len()), None),
            },
            (false, b'N' | b'I' | b'-') => match number(rest) {
                Some(len) => {
                    mended.numbers += 1;
                    (len, Some(b"null"))
                }
                None => (1, None),
            },
            _ => (1, None),
        };
        if let Some(instead) = instead {
            out.extend_from_slice(&bytes[copied..at]);
            out.extend_from_slice(instead);
            copied = at + len;
        }
        at += len;
    }
    if mended == Mended::default() {
        return (Cow::Borrowed(bytes), mended);
    }
    out.extend_from_slice(&bytes[copied..]);
    (Cow::Owned(out), mended)
}

/// How long a number is that is none.
fn number(rest: &[u8]) -> Option<usize> {
    [&b"NaN"[..], b"Infinity", b"-Infinity"]
        .into_iter()
        .find(|word| rest.starts_with(word))
        .map(<[u8]>::len)
}

enum Surrogate {
    Pair,
    Lone,
}

/// What an escape is that begins here, if it is about surrogates.
fn surrogate(rest: &[u8]) -> Option<Surrogate> {
    match escaped(rest)? {
        0xd800..=0xdbff => match rest.get(6..).and_then(escaped) {
            Some(0xdc00..=0xdfff) => Some(Surrogate::Pair),
            _ => Some(Surrogate::Lone),
        },
        0xdc00..=0xdfff => Some(Surrogate::Lone),
        _ => None,
    }
}

fn escaped(rest: &[u8]) -> Option<u16> {
    let digits = rest.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

/// An object's members in their order, each value as it was written. Of two with one name the later counts, as in
/// Python.
#[derive(Debug, Default)]
pub(super) struct Members<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// The members of an object; `None` for anything else.
    pub(super) fn read(text: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    pub(super) fn of(value: &'a RawValue) -> Option<Self> {
        Self::read(value.get().as_bytes())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(member, _)| member == name)
    }

    /// Takes a member out. `null` is none.
    pub(super) fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let at = self.0.iter().position(|(member, _)| member == name)?;
        let (_, value) = self.0.remove(at);
        (value.get() != "null").then_some(value)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
                // Not a search among them: an object of a megabyte has a hundred thousand.
                let mut places: HashMap<Cow<'de, str>, usize> = HashMap::new();
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &RawValue>()? {
                    match places.entry(name.clone()) {
                        Entry::Occupied(place) => members[*place.get()].1 = value,
                        Entry::Vacant(place) => {
                            place.insert(members.len());
                            members.push((name, value));
                        }
                    }
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

/// A name, borrowed where it holds no escapes.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The text of a value that is one.
pub(super) fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Name<'_>>(value.get())
        .ok()
        .map(|name| name.0)
}

/// The digits of a value that is an integer, of any length.
pub(super) fn integer(value: &RawValue) -> Option<&str> {
    let digits = value.get();
    let plain = digits.strip_prefix('-').unwrap_or(digits);
    (!plain.is_empty() && plain.bytes().all(|c| c.is_ascii_digit())).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(text: &str) -> (String, u32, u32) {
        let (out, mended) = mend(text.as_bytes());
        let out = String::from_utf8(out.into_owned()).unwrap();
        (out, mended.numbers, mended.surrogates)
    }

    #[test]
    fn what_is_json_stays_to_the_letter() {
        for text in [
            r#"{"a": 1, "n": 123456789012345678901234567890, "s": "NaN \\ \" Infinity \ud83d\ude00", "m": -1}"#,
            r#"{"path": "C:\\u\\ud800", "é": "é"}"#,
            "",
            r#"{"cut": "\"#,
            r#"{"cut": "\ud8"#,
        ] {
            assert_eq!(mended(text), (text.to_owned(), 0, 0));
        }
    }

    #[test]
    fn what_is_none_is_replaced_and_counted() {
        assert_eq!(
            mended(r#"{"a": NaN, "b": [Infinity, -Infinity], "c": "NaN"}"#),
            (r#"{"a": null, "b": [null, null], "c": "NaN"}"#.into(), 3, 0)
        );
        assert_eq!(
            mended(r#"["\ud800", "\udc00x", "\ud83d\ud83d\ude00", "\\ud800"]"#),
            (
                r#"["\ufffd", "\ufffdx", "\ufffd\ud83d\ude00", "\\ud800"]"#.into(),
                0,
                3
            )
        );
    }

    #[test]
    fn members_keep_their_order_and_their_letters_and_the_later_of_two_counts() {
        let text = r#"{"b": 1.50, "a": {"x": [1,  2]}, "b": 99999999999999999999, "\u00e9": null}"#;
        let mut members = Members::read(text.as_bytes()).unwrap();
        let seen: Vec<_> = members
            .0
            .iter()
            .map(|(name, value)| (&**name, value.get()))
            .collect();
        assert_eq!(
            seen,
            [
                ("b", "99999999999999999999"),
                ("a", r#"{"x": [1,  2]}"#),
                ("é", "null")
            ]
        );
        assert!(members.take("é").is_none());
        assert!(members.take("b").is_some() && !members.has("b"));
        assert!(Members::read(b"[1]").is_none());
        assert!(Members::read(br#"{"a": "#).is_none());
        assert!(Members::read(b"{} x").is_none());
    }

    #[test]
    fn nesting_is_no_danger() {
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Members::read(deep.as_bytes()).is_some());
    }
}
