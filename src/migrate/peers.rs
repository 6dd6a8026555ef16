//! The records of other crates in Redis.
//!
//! | crate | key | value |
//! |---|---|---|
//! | tower-sessions 0.14 to 0.15, Redis store 0.15 to 0.16 | `{id}`: 22 characters of URL-safe base64 | MessagePack: id, values, end |
//! | axum_session 0.22, Redis pool 0.13 | `sessions:{id}`, or the name of the table that was chosen | JSON: `{"data": {name: JSON as text}, "longterm"}` |
//! | actix-session 0.11 | `{id}`: 64 letters and digits, behind what the application's own function puts there | JSON: `{name: JSON as text}` |
//!
//! None of them knows when a session was made or last used, nor its user; the login crates beside them keep that in a
//! value.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use time::{Date, OffsetDateTime, Time, UtcOffset};

use super::json::{self, Members, Mended};
use super::old::{self, Around, Old, Times, Unread};
use super::report::Shape;
use super::source::Source;
use crate::id::UserId;

/// Two weeks: what a session of theirs that never expires lives on.
const LIFETIME: Duration = Duration::from_secs(14 * 24 * 3600);

/// Whether a session of that source can have this id.
pub(super) fn is_id(source: Source, id: &[u8]) -> bool {
    let all = |is: fn(&u8) -> bool| id.iter().all(is);
    match source {
        Source::TowerSessions => {
            id.len() == 22 && all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'))
        }
        Source::ActixSession => id.len() == 64 && all(u8::is_ascii_alphanumeric),
        // The application may make its own.
        Source::AxumSession | Source::Legacy => !id.is_empty(),
    }
}

/// What the keys of a source begin with, unless the application has chosen something else.
pub(super) const fn prefix(source: Source) -> &'static str {
    match source {
        Source::AxumSession => "sessions:",
        Source::Legacy | Source::TowerSessions | Source::ActixSession => "",
    }
}

/// Year, day of the year, hour, minute, second, nanosecond, and the offset's hours, minutes and seconds.
type Packed = (i32, u16, u8, u8, u8, u32, i8, i8, i8);

pub(super) fn tower_sessions<'a>(bytes: &[u8], around: &Around<'_>) -> Result<Old<'a>, Unread> {
    let (_, data, end): (IgnoredAny, BTreeMap<String, Value>, Packed) =
        rmp_serde::from_slice(bytes)
            .map_err(|_| Unread::invalid("it is no record of tower-sessions"))?;
    let end = instant(end).ok_or(Unread::invalid("its end is no time"))?;
    let values = data
        .into_iter()
        .map(|(name, value)| (name.into(), value.to_string().into()))
        .collect();
    finish(
        Shape::TowerSessions,
        "axum-login.data",
        values,
        Some(end),
        Mended::default(),
        around,
    )
}

fn instant(packed: Packed) -> Option<SystemTime> {
    let (year, day, hour, minute, second, nanosecond, hours, minutes, seconds) = packed;
    let date = Date::from_ordinal_date(year, day).ok()?;
    let time = Time::from_hms_nano(hour, minute, second, nanosecond).ok()?;
    let offset = UtcOffset::from_hms(hours, minutes, seconds).ok()?;
    let at = OffsetDateTime::new_in_offset(date, time, offset);
    (at.unix_timestamp() >= 0).then(|| at.into())
}

/// What axum_session writes.
#[derive(Deserialize)]
struct AxumSession<'a> {
    #[serde(borrow)]
    data: Members<'a>,
    #[serde(rename = "longterm")]
    _longterm: bool,
}

pub(super) fn axum_session<'a>(
    text: &'a [u8],
    mended: Mended,
    around: &Around<'_>,
) -> Result<Old<'a>, Unread> {
    let AxumSession { data, .. } = serde_json::from_slice(text).map_err(|_| {
        Unread::invalid(
            "it is no record of axum_session, or is encrypted with the application's key",
        )
    })?;
    let values = quoted(data)?;
    finish(
        Shape::AxumSession,
        "user_auth_session_id",
        values,
        None,
        mended,
        around,
    )
}

pub(super) fn actix_session<'a>(
    text: &'a [u8],
    mended: Mended,
    around: &Around<'_>,
) -> Result<Old<'a>, Unread> {
    let data = Members::read(text).ok_or(Unread::invalid("it is no record of actix-session"))?;
    let values = quoted(data)?;
    finish(
        Shape::ActixSession,
        "actix_identity.user_id",
        values,
        None,
        mended,
        around,
    )
}

type Values<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// Values that are JSON in a text.
fn quoted(data: Members<'_>) -> Result<Values<'_>, Unread> {
    let mut values = Vec::with_capacity(data.0.len());
    for (name, value) in data.0 {
        let text = json::text(value).ok_or(Unread::invalid("a value of it is no text"))?;
        if serde_json::from_str::<IgnoredAny>(&text).is_err() {
            return Err(Unread::invalid("a value of it is no JSON"));
        }
        values.push((name, text));
    }
    Ok(values)
}

fn finish<'a>(
    shape: Shape,
    login: &'static str,
    values: Values<'a>,
    says: Option<SystemTime>,
    mended: Mended,
    around: &Around<'_>,
) -> Result<Old<'a>, Unread> {
    let name = around.user_key.unwrap_or(login);
    let user = match values.iter().find(|(key, _)| key == name) {
        Some((_, json)) => user(json, mended)?,
        None => None,
    };
    let times = Times::settle(around, None, None, says, LIFETIME)?;
    Ok(Old {
        shape,
        user,
        times,
        address: None,
        agent: None,
        values,
        industry: None,
        messages: Vec::new(),
        mended,
    })
}

/// The user, or the user in an object.
fn user(json: &str, mended: Mended) -> Result<Option<UserId>, Unread> {
    let value: &RawValue =
        serde_json::from_str(json).map_err(|_| Unread::invalid("its user is no JSON"))?;
    match Members::of(value) {
        Some(mut members) => old::user(members.take("user_id"), mended),
        None if value.get() == "null" => Ok(None),
        None => old::user(Some(value), mended),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_is_packed_reads_back() {
        // 2026-11-23 is the 327th day.
        let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_435_200);
        assert_eq!(instant((2026, 327, 12, 0, 0, 0, 0, 0, 0)), Some(noon));
        assert_eq!(instant((2026, 327, 14, 0, 0, 0, 2, 0, 0)), Some(noon));
        assert_eq!(instant((2026, 400, 12, 0, 0, 0, 0, 0, 0)), None);
    }
}
