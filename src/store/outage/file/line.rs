//! A line of the journal's file: 16 hex digits of a checksum, a space, one JSON object, a line feed.
//!
//! ```text
//! c0ffee0123456789 {"add":{"number":17,"end":{"handle":{"user":"alice","bucket":"4a1f","handle":"0f3c…"}},"reason":"revoked","at":1800000000000000}}
//! 0123456789c0ffee {"done":"s17"}
//! ```
//!
//! JSON has no line feed inside, so a line that was damaged takes at most its neighbour with it. Instants are
//! microseconds since 1970.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::clock::{instant, micros};
use crate::id::{Bucket, Digest, Handle, Kind, RecordKey, UserId};
use crate::record::EndReason;
use crate::store::outage::journal::{Class, LAST_MICROS, PendingEnd, PendingScope, Step, Ticket};

/// Longer than any line: 256 bytes of a user's id and 256 of a note, where each may be six as JSON, and the rest.
pub(super) const MAX_LINE: u64 = 8 << 10;

/// Hex digits of the checksum: 8 bytes, so that one damaged line in 10^19 passes.
const SUM: usize = 16;

/// What a line says.
#[derive(Debug, PartialEq)]
pub(super) enum Line {
    Step(Step),
    /// Not as it was written.
    Damaged,
    /// As it was written, by something else than this version.
    Unknown(String),
}

/// Adds a step's line.
pub(super) fn write(step: &Step, to: &mut Vec<u8>) {
    let text = match step {
        Step::Add { number, end } => Text::Add(AddText {
            number: *number,
            end: scope_text(&end.scope),
            reason: end.reason,
            note: end.note.clone(),
            at: micros(end.at),
        }),
        Step::Done(ticket) => Text::Done(ticket_text(*ticket)),
    };
    let json = serde_json::to_vec(&text).expect("it has neither maps nor anything that fails");
    to.extend_from_slice(checksum(&json).as_bytes());
    to.push(b' ');
    to.extend_from_slice(&json);
    to.push(b'\n');
}

/// Reads one, with its line feed.
pub(super) fn read(line: &[u8]) -> Line {
    let Some(json) = whole(line) else {
        return Line::Damaged;
    };
    match serde_json::from_slice(json) {
        Ok(text) => step(text).map_or_else(|why| Line::Unknown(why.to_owned()), Line::Step),
        Err(error) => Line::Unknown(error.to_string()),
    }
}

/// The JSON of a line that is as it was written.
fn whole(line: &[u8]) -> Option<&[u8]> {
    let (sum, rest) = line.strip_suffix(b"\n")?.split_at_checked(SUM)?;
    let json = rest.strip_prefix(b" ")?;
    (sum == checksum(json).as_bytes()).then_some(json)
}

fn checksum(json: &[u8]) -> String {
    let hash = digest(&SHA256, json);
    let first = hash
        .as_ref()
        .first_chunk()
        .map_or(0, |first| u64::from_be_bytes(*first));
    format!("{first:016x}")
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Text {
    Add(AddText),
    Done(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AddText {
    number: u64,
    end: ScopeText,
    reason: EndReason,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<Arc<str>>,
    at: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum ScopeText {
    Session {
        bucket: String,
        digest: String,
    },
    Demo {
        bucket: String,
        digest: String,
    },
    Handle {
        user: UserId,
        bucket: String,
        handle: Handle,
    },
    User {
        user: UserId,
        bucket: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        keep: Option<Handle>,
        before: u64,
    },
}

fn scope_text(scope: &PendingScope) -> ScopeText {
    let bucket = scope.bucket().to_string();
    match scope {
        PendingScope::Key(key) => {
            let digest = key.digest.to_text();
            match key.kind {
                Kind::User => ScopeText::Session { bucket, digest },
                Kind::Demo => ScopeText::Demo { bucket, digest },
            }
        }
        PendingScope::Handle { user, handle, .. } => ScopeText::Handle {
            user: user.clone(),
            bucket,
            handle: *handle,
        },
        PendingScope::User {
            user, keep, before, ..
        } => ScopeText::User {
            user: user.clone(),
            bucket,
            keep: *keep,
            before: micros(*before),
        },
    }
}

fn step(text: Text) -> Result<Step, &'static str> {
    match text {
        Text::Add(add) => {
            // So that the next number is always one more.
            if add.number > LAST_MICROS || add.at > LAST_MICROS {
                return Err("a number is too large");
            }
            Ok(Step::Add {
                number: add.number,
                end: PendingEnd {
                    scope: scope(add.end)?,
                    reason: add.reason,
                    note: add.note,
                    at: instant(add.at),
                },
            })
        }
        Text::Done(ticket) => read_ticket(&ticket).ok_or("no such ticket").map(Step::Done),
    }
}

fn scope(text: ScopeText) -> Result<PendingScope, &'static str> {
    Ok(match text {
        ScopeText::Session { bucket, digest } => {
            PendingScope::Key(read_key(Kind::User, &bucket, &digest)?)
        }
        ScopeText::Demo { bucket, digest } => {
            PendingScope::Key(read_key(Kind::Demo, &bucket, &digest)?)
        }
        ScopeText::Handle {
            user,
            bucket,
            handle,
        } => PendingScope::Handle {
            user,
            bucket: read_bucket(&bucket)?,
            handle,
        },
        ScopeText::User { before, .. } if before > LAST_MICROS => {
            return Err("an instant is too late");
        }
        ScopeText::User {
            user,
            bucket,
            keep,
            before,
        } => PendingScope::User {
            user,
            bucket: read_bucket(&bucket)?,
            keep,
            before: instant(before),
        },
    })
}

fn read_key(kind: Kind, bucket: &str, digest: &str) -> Result<RecordKey, &'static str> {
    let bytes = URL_SAFE_NO_PAD.decode(digest).ok();
    let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    Ok(RecordKey {
        kind,
        bucket: read_bucket(bucket)?,
        digest: Digest::from_bytes(bytes.ok_or("no digest")?),
    })
}

fn read_bucket(text: &str) -> Result<Bucket, &'static str> {
    let tag = u16::from_str_radix(text, 16).map_err(|_| "no bucket")?;
    Ok(tag.into())
}

/// The class's letter and the number.
fn ticket_text(ticket: Ticket) -> String {
    let class = match ticket.class {
        Class::All => 'a',
        Class::Others => 'o',
        Class::Single => 's',
    };
    format!("{class}{}", ticket.number)
}

fn read_ticket(text: &str) -> Option<Ticket> {
    let class = match text.as_bytes().first()? {
        b'a' => Class::All,
        b'o' => Class::Others,
        b's' => Class::Single,
        _ => return None,
    };
    let number = text[1..]
        .parse()
        .ok()
        .filter(|number| *number <= LAST_MICROS)?;
    Some(Ticket { class, number })
}
