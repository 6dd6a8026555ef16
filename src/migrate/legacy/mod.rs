//! The records of the Python platform whose session managers shared one Redis.
//!
//! | shape | key | told by |
//! |---|---|---|
//! | platform | `session:{id}` | `data` and `last_accessed` |
//! | service | `session:{id}` | `timeout_seconds` or `session_data` |
//! | auth | `session:{id}` | `last_activity` |
//! | demo-status | `demo:session:{id}` | `config`, or `created_at` without anything of a demo's |
//! | demo | `demo:session:{id}` | all others: each of its fields may be missing |

mod demo;
mod user;

use super::json::{self, Members};
use super::old::{Around, Old, Unread};
use crate::id::Kind;

/// The JSON of a record: mended, so that it can be read, and what was mended.
pub(super) fn read<'a>(
    kind: Kind,
    text: &'a [u8],
    mended: json::Mended,
    around: &Around<'_>,
) -> Result<Old<'a>, Unread> {
    let Some(members) = Members::read(text) else {
        return Err(Unread::invalid(
            match serde_json::from_slice::<serde::de::IgnoredAny>(text) {
                _ if str::from_utf8(text).is_err() => "it is no JSON, and no text",
                Ok(_) => "it is JSON, and no object",
                Err(error) if error.is_eof() => "it is cut off in the middle",
                Err(_) => "it is no JSON",
            },
        ));
    };
    match kind {
        Kind::Demo => demo::read(members, mended, around),
        Kind::User if members.has("data") && members.has("last_accessed") => {
            user::platform(members, mended, around)
        }
        Kind::User if members.has("timeout_seconds") || members.has("session_data") => {
            user::service(members, mended, around)
        }
        Kind::User if members.has("last_activity") => user::auth(members, mended, around),
        Kind::User => Err(Unread::invalid(
            "it has none of the fields by which sessions are told",
        )),
    }
}
