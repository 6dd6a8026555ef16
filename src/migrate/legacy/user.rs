//! User sessions in the three shapes that stand under `session:{id}`.

use std::borrow::Cow;
use std::time::Duration;

use time::UtcOffset;

use crate::migrate::json::{self, Members, Mended};
use crate::migrate::old::{self, Around, Old, Times, Unread};
use crate::migrate::report::Shape;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

const CREATED: &str = "`created_at` is no time";
const ACCESSED: &str = "`last_accessed` is no time";
const ACTIVITY: &str = "`last_activity` is no time";
const EXPIRES: &str = "`expires_at` is no time";

/// `{"session_id", "user_id", "created_at", "last_accessed", "data": {…}}`: naive local times, 3600 s from each read.
pub(super) fn platform<'a>(
    mut members: Members<'a>,
    mended: Mended,
    around: &Around<'_>,
) -> Result<Old<'a>, Unread> {
    members.take("session_id");
    let user = old::user(members.take("user_id"), mended)?;
    let created = old::time(members.take("created_at"), CREATED)?;
    let seen = old::time(members.take("last_accessed"), ACCESSED)?;
    let offset = old::found_offset(around, created, seen, HOUR);
    let times = Times::settle(
        around,
        created.map(|at| at.at(offset)),
        seen.map(|at| at.at(offset)),
        None,
        HOUR,
    )?;
    let mut values = inner(&mut members, "data", around);
    // Behind them, for a name that both have is that of the data.
    values.extend(old::rest(members, around.id));
    Ok(Old {
        shape: Shape::Platform,
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

/// Flat: `{"user_id", "created_at", "last_activity", "client_ip", "user_agent", …}`: times in UTC, said or not.
pub(super) fn auth<'a>(
    mut members: Members<'a>,
    mended: Mended,
    around: &Around<'_>,
) -> Result<Old<'a>, Unread> {
    members.take("session_id");
    let user = old::user(members.take("user_id"), mended)?;
    let created = old::time(members.take("created_at"), CREATED)?;
    let seen = old::time(members.take("last_activity"), ACTIVITY)?;
    let hours = members
        .0
        .iter()
        .find(|(name, _)| name == "session_timeout")
        .and_then(|(_, value)| json::integer(value)?.parse::<u32>().ok())
        .filter(|hours| (1..=10_000).contains(hours));
    let times = Times::settle(
        around,
        created.map(|at| at.at(UtcOffset::UTC)),
        seen.map(|at| at.at(UtcOffset::UTC)),
        None,
        hours.map_or(DAY, |hours| HOUR * hours),
    )?;
    Ok(Old {
        shape: Shape::Auth,
        user,
        times,
        address: old::text(members.take("client_ip")),
        agent: old::text(members.take("user_agent")),
        values: old::rest(members, around.id),
        industry: None,
        messages: Vec::new(),
        mended,
    })
}

/// `{"session_id", …, "timeout_seconds", "is_valid", "session_data": {…}, "metadata": {…}, "migrated_to"}`.
pub(super) fn service<'a>(
    mut members: Members<'a>,
    mended: Mended,
    around: &Around<'_>,
) -> Result<Old<'a>, Unread> {
    let mut is = |name, text| members.take(name).is_some_and(|value| value.get() == text);
    if is("is_valid", "false") {
        return Err(Unread::Over("it says that it is not valid"));
    }
    if is("is_expired", "true") {
        return Err(Unread::Over("it says that it has expired"));
    }
    if members.take("migrated_to").is_some() {
        return Err(Unread::Over("another session has taken its place"));
    }
    // Both are ids.
    members.take("session_id");
    members.take("migrated_from");
    let user = old::user(members.take("user_id"), mended)?;
    let created = old::time(members.take("created_at"), CREATED)?;
    let seen = old::time(members.take("last_activity"), ACTIVITY)?;
    let says = old::time(members.take("expires_at"), EXPIRES)?;
    let seconds = members
        .take("timeout_seconds")
        .and_then(|value| json::integer(value)?.parse::<u32>().ok())
        .filter(|seconds| *seconds > 0);
    let times = Times::settle(
        around,
        created.map(|at| at.at(UtcOffset::UTC)),
        seen.map(|at| at.at(UtcOffset::UTC)),
        says.map(|at| at.at(UtcOffset::UTC)),
        seconds.map_or(HOUR, |seconds| Duration::from_secs(seconds.into())),
    )?;
    let address = old::text(members.take("ip_address"));
    let agent = old::text(members.take("user_agent"));
    let mut values = inner(&mut members, "session_data", around);
    for name in ["device_id", "metadata"] {
        // Every record has them, and nearly all have nothing in them.
        if let Some(value) = members.take(name).filter(|value| value.get() != "{}") {
            values.push((Cow::Borrowed(name), Cow::Borrowed(value.get())));
        }
    }
    values.extend(old::rest(members, around.id));
    Ok(Old {
        shape: Shape::Service,
        user,
        times,
        address,
        agent,
        values,
        industry: None,
        messages: Vec::new(),
        mended,
    })
}

/// The members of an object in a member; whatever else it is stays under its own name.
fn inner<'a>(
    members: &mut Members<'a>,
    name: &'static str,
    around: &Around<'_>,
) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
    let Some(value) = members.take(name) else {
        return Vec::new();
    };
    match Members::of(value) {
        Some(inner) => old::rest(inner, around.id),
        None => vec![(Cow::Borrowed(name), Cow::Borrowed(value.get()))],
    }
}
