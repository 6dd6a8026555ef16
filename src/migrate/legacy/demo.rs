//! Demo sessions in the two shapes that stand under `demo:session:{id}`.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::value::RawValue;
use time::UtcOffset;

use crate::demo::Industry;
use crate::migrate::json::{self, Members, Mended};
use crate::migrate::old::{self, Around, Message, Old, Times, Unread};
use crate::migrate::report::Shape;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// What a demo is about that does not say it.
const GENERAL: &str = "general";

const STARTED: &str = "`started_at` is no time";
const CREATED: &str = "`created_at` is no time";

pub(super) fn read<'a>(
    members: Members<'a>,
    mended: Mended,
    around: &Around<'_>,
) -> Result<Old<'a>, Unread> {
    let is_demo = ["industry", "started_at", "messages", "session_type"]
        .into_iter()
        .any(|name| members.has(name));
    if !is_demo && (members.has("config") || members.has("created_at")) {
        status(members, mended, around)
    } else {
        demo(members, mended, around)
    }
}

/// `{"industry", "user_id", "started_at", "messages": […], "session_type": "demo"}`: a day from its start.
fn demo<'a>(
    mut members: Members<'a>,
    mended: Mended,
    around: &Around<'_>,
) -> Result<Old<'a>, Unread> {
    members.take("session_id");
    if members
        .take("session_type")
        .is_some_and(|kind| kind.get() != "\"demo\"")
    {
        return Err(Unread::invalid(
            "it says that it is a session of another type",
        ));
    }
    let user = old::user(members.take("user_id"), mended)?;
    let industry = industry(members.take("industry"))?;
    let started = old::time(members.take("started_at"), STARTED)?
        .map(|at| at.at(UtcOffset::UTC))
        // The server drops it a day after.
        .or_else(|| around.expires_at?.checked_sub(DAY));
    let messages = match members.take("messages") {
        None => Vec::new(),
        Some(list) => messages(list)?,
    };
    let last = messages.iter().filter_map(|message| message.at).max();
    let times = Times::settle(around, started, last, None, DAY)?;
    Ok(Old {
        shape: Shape::Demo,
        user,
        times,
        address: None,
        agent: None,
        values: old::rest(members, around.id),
        industry: Some(industry),
        messages,
        mended,
    })
}

/// `{"session_id", "user_id", "created_at", "config", "status"[, "updated_at"][, "ended_at"]}`: an hour.
fn status<'a>(
    mut members: Members<'a>,
    mended: Mended,
    around: &Around<'_>,
) -> Result<Old<'a>, Unread> {
    members.take("session_id");
    let user = old::user(members.take("user_id"), mended)?;
    let created = old::time(members.take("created_at"), CREATED)?;
    let times = Times::settle(
        around,
        created.map(|at| at.at(UtcOffset::UTC)),
        None,
        None,
        HOUR,
    )?;
    Ok(Old {
        shape: Shape::DemoStatus,
        user,
        times,
        address: None,
        agent: None,
        values: old::rest(members, around.id),
        industry: Some(Cow::Borrowed(GENERAL)),
        messages: Vec::new(),
        mended,
    })
}

/// Display names as the constants that they stand for; any other as it was, without what surrounds it.
fn industry(value: Option<&RawValue>) -> Result<Cow<'_, str>, Unread> {
    let Some(value) = value else {
        return Ok(Cow::Borrowed(GENERAL));
    };
    let Some(name) = json::text(value) else {
        return Err(Unread::invalid("its industry is no text"));
    };
    match Industry::new(&name) {
        Ok(industry) => Ok(Cow::Owned(industry.as_str().to_owned())),
        Err(_) => Err(Unread::invalid(
            "its industry's name is longer than 64 bytes",
        )),
    }
}

fn messages(list: &RawValue) -> Result<Vec<Message<'_>>, Unread> {
    let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(list.get()) else {
        return Err(Unread::invalid("its messages are no list"));
    };
    let read = |(n, value): (usize, _)| {
        message(value).map_err(|why| Unread::Invalid(format!("message {} {why}", n + 1).into()))
    };
    list.into_iter().enumerate().map(read).collect()
}

fn message(value: &RawValue) -> Result<Message<'_>, &'static str> {
    let mut members = Members::of(value).ok_or("is no object")?;
    let role = members
        .take("role")
        .and_then(json::text)
        .ok_or("has no role")?;
    let content = members
        .take("content")
        .and_then(json::text)
        .ok_or("has no content")?;
    let at = old::time(members.take("timestamp"), "").map_err(|_| "has a time that is none")?;
    Ok(Message {
        role,
        content,
        at: at.map(|at| at.at(UtcOffset::UTC)),
        metadata: members.0,
    })
}
