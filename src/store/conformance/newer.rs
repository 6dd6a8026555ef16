//! A record as a newer version would write it: a part that this one does not know, and fields behind those it knows.

use rmp::encode::{write_bin, write_map_len, write_str};

use crate::clock::{micros, span_micros};
use crate::record::{Entry, NewRecord, Record};

/// A part of an unknown name, that holds what is no text.
const PART: (&str, &[u8]) = ("future", b"\xff\x00kept\xc1");
/// Behind the last field of `m`.
const META: &str = " device:7";
/// Behind the last field of `s`.
const SEEN: &str = " tls:1.3";

/// Written by hand, for this version cannot.
pub(super) fn record(new: &NewRecord) -> Record {
    let user = new.user.as_ref().map_or("", |user| user.as_str());
    let after = |at| micros(at) - micros(new.created_at);
    let meta = format!(
        "1 {} {} {} {} {} {} 0 {} {user}{META}",
        new.handle,
        micros(new.created_at),
        new.signed_in_at
            .map_or("-".to_owned(), |at| after(at).to_string()),
        after(new.absolute_end),
        span_micros(new.idle_timeout),
        span_micros(new.touch_threshold),
        user.len(),
    );
    let seen = format!("{} - 0 {SEEN}", micros(new.seen.at));
    let mut bytes = Vec::new();
    write_map_len(&mut bytes, 3).expect("writing to memory does not fail");
    for (name, part) in [("m", meta.as_bytes()), PART, ("s", seen.as_bytes())] {
        write_str(&mut bytes, name).expect("writing to memory does not fail");
        write_bin(&mut bytes, part).expect("writing to memory does not fail");
    }
    match Entry::from_bytes(&bytes) {
        Ok(Entry::Live(record)) => record,
        other => panic!("a newer record is a record: {other:?}"),
    }
}

/// Fails the case unless all of it is there.
#[track_caller]
pub(super) fn assert_kept(record: &Record) {
    let bytes = Entry::Live(record.clone()).to_bytes();
    for kept in [PART.0.as_bytes(), PART.1, META.as_bytes(), SEEN.as_bytes()] {
        assert!(
            bytes.windows(kept.len()).any(|run| run == kept),
            "what a newer version wrote was lost: {:?}",
            String::from_utf8_lossy(kept)
        );
    }
}
