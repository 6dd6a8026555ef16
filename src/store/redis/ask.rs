//! What a store is asked, as the arguments of a script.

use std::borrow::Cow;

use redis::Cmd;

use super::keys::Keyspace;
use super::script::{
    APPEND, BEAT, CREATE, CREATE_DEMO, DEMO, END_ONE, END_USER, LIST, RECORD, REPLACE, SPEND,
};
use super::servers::Attempt;
use crate::clock::{micros, span_micros};
use crate::id::{Bucket, Kind, RecordKey, UserId};
use crate::record::{Activity, End, EndReason, HistoryEntry, Seen, cut, wire_address, wire_agent};
use crate::store::rules::{listed_for, signed_in_at};
use crate::store::{
    Append, AtLimit, Create, EndScope, EndSessions, Limit, Renewal, Replace, Spend,
};

/// What a user may have who has no limit: every list has a bound, and a script that ends all of a user's sessions must
/// not hold up the server for long.
pub(super) const MOST_SESSIONS: u32 = 1_000;

/// How long an index outlives the absolute end of its sessions: as long as their records.
const INDEX_KEPT: u64 = 2 * 3600 * 1_000_000;

/// `record`: the one of `create`, as it will be stored.
pub(super) fn create(keys: &Keyspace, create: &Create, record: &[u8], attempt: &Attempt) -> Cmd {
    let user = listed_for(&create.key, &create.record);
    if create.key.kind == Kind::Demo {
        return create_demo(keys, create, record, attempt);
    }
    let mut command = CREATE.command(
        attempt.with_text,
        if user.is_some() { 4 } else { 1 },
        record.len(),
    );
    command.arg(keys.record(&create.key));
    if let Some(user) = &user {
        command
            .arg(keys.index(user))
            .arg(keys.since(user))
            .arg(keys.events(user));
    }
    command
        .arg(attempt.not_after)
        .arg(record)
        .arg(millis(micros(create.record.kept_until())));
    if user.is_some() {
        let (limit, refuses) = limit(create.limit);
        command
            .arg(micros(create.record.ends_at()))
            .arg(micros(signed_in_at(&create.record).min(create.began_at)))
            .arg(millis(micros(create.record.absolute_end()) + INDEX_KEPT))
            .arg(limit)
            .arg(refuses)
            .arg(HistoryEntry::signed_in(&create.record).line());
    }
    command
}

fn create_demo(keys: &Keyspace, create: &Create, record: &[u8], attempt: &Attempt) -> Cmd {
    let mut command = CREATE_DEMO.command(attempt.with_text, 2, create.record.size());
    command
        .arg(keys.record(&create.key))
        .arg(keys.messages(&create.key))
        .arg(attempt.not_after)
        .arg(record)
        .arg(millis(micros(create.record.kept_until())))
        .arg(create.record.handle().to_string());
    for text in create.record.messages() {
        command.arg(text);
    }
    command
}

/// A demo session with its conversation.
pub(super) fn demo(keys: &Keyspace, key: &RecordKey, attempt: &Attempt) -> Cmd {
    let mut command = DEMO.command(attempt.with_text, 2, 0);
    command.arg(keys.record(key)).arg(keys.messages(key));
    command
}

pub(super) fn append(keys: &Keyspace, append: &Append, attempt: &Attempt) -> Cmd {
    let body = &append.message.body;
    let mut command = APPEND.command(attempt.with_text, 2, body.len());
    command
        .arg(keys.record(&append.key))
        .arg(keys.messages(&append.key))
        .arg(attempt.not_after)
        .arg(append.message.id.to_text())
        .arg(body.strip_prefix(b"{").unwrap_or(body));
    match append.at {
        Some(at) => command.arg(micros(at)),
        None => command.arg(""),
    };
    command
        .arg(if append.again { "1" } else { "" })
        .arg(append.bounds.count)
        .arg(append.bounds.bytes)
        .arg(body.len());
    command
}

pub(super) fn spend(keys: &Keyspace, spend: &Spend, attempt: &Attempt) -> Cmd {
    let mut command = SPEND.command(attempt.with_text, 1, 0);
    command
        .arg(keys.budget(spend))
        .arg(attempt.not_after)
        .arg(spend.most)
        .arg(millis(span_micros(spend.within)));
    command
}

pub(super) fn replace(
    keys: &Keyspace,
    limit_bytes: usize,
    replace: &Replace,
    attempt: &Attempt,
) -> Cmd {
    let Replace {
        key,
        successor,
        renewal,
        seen,
    } = replace;
    let next = key.sibling(*successor);
    let converses = key.kind == Kind::Demo;
    let mut command = REPLACE.command(attempt.with_text, if converses { 4 } else { 2 }, 0);
    command.arg(keys.record(key)).arg(keys.record(&next));
    if converses {
        command.arg(keys.messages(key)).arg(keys.messages(&next));
    }
    command
        .arg(attempt.not_after)
        .arg(keys.indexes(key.kind, key.bucket))
        .arg(keys.sinces(key.bucket))
        .arg(match renewal {
            Renewal::SameSession => "same",
            Renewal::Reauthenticated { .. } => "renew",
            Renewal::SignIn(_) => "sign_in",
            Renewal::Adopted(_) => "adopt",
        });
    command.arg(seen_text(seen));
    match renewal {
        Renewal::SameSession => {}
        Renewal::Adopted(user) => {
            command.arg("").arg(user.as_str());
        }
        Renewal::Reauthenticated {
            signed_in_at,
            absolute_end,
            began_at,
        } => {
            command
                .arg(micros(*signed_in_at.min(began_at)))
                .arg(micros(*signed_in_at))
                .arg(micros(*absolute_end));
        }
        Renewal::SignIn(sign_in) => {
            let (limit, _) = limit(sign_in.limit);
            command
                .arg(micros(signed_in_at(&sign_in.record).min(sign_in.began_at)))
                .arg("")
                .arg("")
                .arg(sign_in.record.to_bytes())
                .arg(limit_bytes)
                .arg(limit);
            for name in &sign_in.keep {
                command.arg(&**name);
            }
        }
    }
    command
}

/// One session, by its key.
pub(super) fn end_one(
    keys: &Keyspace,
    key: &RecordKey,
    end: &EndSessions,
    attempt: &Attempt,
) -> Cmd {
    let (successor, unborn) = match &end.scope {
        EndScope::One(_, Some(successor)) => (successor.to_text(), ""),
        EndScope::Unborn(_) => ("-".to_owned(), "1"),
        EndScope::One(_, None) | EndScope::Handle(..) | EndScope::Others(..) | EndScope::All(_) => {
            ("-".to_owned(), "")
        }
    };
    let converses = key.kind == Kind::Demo;
    let mut command = END_ONE.command(attempt.with_text, 1 + usize::from(converses), 0);
    command.arg(keys.record(key));
    if converses {
        command.arg(keys.messages(key));
    }
    command
        .arg(attempt.not_after)
        .arg(keys.indexes(key.kind, key.bucket))
        .arg(end.reason.as_str())
        .arg(successor)
        .arg(note(end))
        .arg(unborn);
    command
}

/// Some of a user's sessions, or all.
pub(super) fn end_user(
    keys: &Keyspace,
    user: &UserId,
    end: &EndSessions,
    attempt: &Attempt,
) -> Cmd {
    let (scope, handle) = match &end.scope {
        EndScope::Handle(_, handle) => ("handle", handle.to_string()),
        EndScope::Others(_, handle) => ("others", handle.to_string()),
        EndScope::All(_) | EndScope::One(..) | EndScope::Unborn(_) => ("all", String::new()),
    };
    let mut command = END_USER.command(attempt.with_text, 3, 0);
    command
        .arg(keys.index(user))
        .arg(keys.since(user))
        .arg(keys.events(user))
        .arg(attempt.not_after)
        .arg(keys.records(Kind::User, keys.bucket(user)))
        .arg(scope)
        .arg(handle)
        .arg(end.reason.as_str())
        .arg(note(end));
    match end.before {
        Some(before) => command.arg(micros(before)),
        None => command.arg(""),
    };
    command
}

pub(super) fn list(keys: &Keyspace, user: &UserId, attempt: &Attempt) -> Cmd {
    let mut command = LIST.command(attempt.with_text, 1, 0);
    command
        .arg(keys.index(user))
        .arg(keys.records(Kind::User, keys.bucket(user)));
    command
}

/// `generation`: of a beat that is the first.
pub(super) fn beat(
    keys: &Keyspace,
    tag: Bucket,
    generation: u64,
    least: u64,
    attempt: &Attempt,
) -> Cmd {
    let mut command = BEAT.command(attempt.with_text, 1, 0);
    command
        .arg(keys.beat(tag))
        .arg(attempt.not_after)
        .arg(format!("{generation:016x}"))
        .arg(least);
    command
}

/// A line of a user's activities.
pub(super) fn record(
    keys: &Keyspace,
    user: &UserId,
    activity: &Activity,
    attempt: &Attempt,
) -> Cmd {
    let mut command = RECORD.command(attempt.with_text, 1, 0);
    command
        .arg(keys.activities(user))
        .arg(attempt.not_after)
        .arg(activity.to_text())
        .arg(Activity::MOST)
        .arg(span_micros(Activity::KEPT));
    command
}

/// The whole of a list that is bounded where it is written.
pub(super) fn lines(key: String) -> Cmd {
    let mut command = redis::cmd("LRANGE");
    command.arg(key).arg(0).arg(-1);
    command
}

/// No longer than a tombstone may have it.
fn note(end: &EndSessions) -> &str {
    cut(end.note.as_deref().unwrap_or(""), End::MAX_NOTE_BYTES)
}

/// The end of a session that may have been made, or may be yet: nobody has its cookie.
pub(super) fn take_back(keys: &Keyspace, key: &RecordKey, attempt: &Attempt) -> Cmd {
    let end = EndSessions {
        scope: EndScope::One(*key, None),
        reason: EndReason::LoggedOut,
        note: None,
        before: None,
    };
    end_one(keys, key, &end, attempt)
}

fn limit(limit: Option<Limit>) -> (u32, &'static str) {
    match limit {
        None => (MOST_SESSIONS, ""),
        Some(Limit { sessions, at_limit }) => (
            sessions.get(),
            match at_limit {
                AtLimit::EndOldest => "",
                AtLimit::Refuse => "1",
            },
        ),
    }
}

/// Instant, address and agent in one.
pub(super) fn seen_text(seen: &Seen) -> String {
    let address = seen.address.as_deref().filter(|text| !text.is_empty());
    let address = address.map_or(Cow::Borrowed("-"), wire_address);
    let agent = seen.agent.as_deref().map_or("", wire_agent);
    format!("{} {address} {agent}", micros(seen.at))
}

/// Milliseconds for an expiry: never before the instant.
pub(super) const fn millis(micros: u64) -> u64 {
    micros / 1000 + 1
}
