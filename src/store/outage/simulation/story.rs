//! A history in words, for whoever looks for what went wrong.

use super::calls::{Answer, Ask};
use super::instance::News;
use super::server::{Command, Reply};
use crate::id::RecordKey;
use crate::record::Entry;
use crate::store::{EndScope, EndSessions};

pub(super) fn key(key: &RecordKey) -> String {
    let bytes = key.digest.as_bytes();
    let number = bytes[..8]
        .iter()
        .fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
    format!("#{number}")
}

fn entry(entry: Option<&Entry>) -> String {
    match entry {
        None => "nothing".to_owned(),
        Some(Entry::Live(record)) => format!("live {}", short(record.handle())),
        Some(Entry::Ended(tombstone)) => format!("over, {:?}", tombstone.end.reason),
    }
}

fn short(handle: crate::id::Handle) -> String {
    format!("h{}", handle.as_uuid().as_u128())
}

fn end(end: &EndSessions) -> String {
    let what = match &end.scope {
        EndScope::One(one, _) => format!("of {}", key(one)),
        EndScope::Unborn(one) => format!("of {}, there or not", key(one)),
        EndScope::Handle(user, handle) => format!("of {user}'s {}", short(*handle)),
        EndScope::Others(user, kept) => format!("of {user}'s but {}", short(*kept)),
        EndScope::All(user) => format!("of all of {user}'s"),
    };
    match end.before {
        Some(before) => format!(
            "end {what} before {}",
            super::request::at(before) as i64 - super::world::EPOCH as i64
        ),
        None => format!("end {what}"),
    }
}

fn command(command: &Command) -> String {
    match command {
        Command::Beat { least } => format!("beat above {least}"),
        Command::Load(at) => format!("load {}", key(at)),
        Command::Create(create) => format!(
            "create {} {} for {:?}{}",
            key(&create.key),
            short(create.record.handle()),
            create.record.user(),
            if create.held { ", promoted" } else { "" }
        ),
        Command::Apply(apply) => format!("apply {:?} to {}", apply.changes.each, key(&apply.key)),
        Command::Replace(replace) => format!(
            "replace {} by {}",
            key(&replace.key),
            key(&replace.key.sibling(replace.successor))
        ),
        Command::End(_, ends) => end(ends),
        Command::List(_, user) => format!("list {user}"),
    }
}

fn reply(reply: &Reply) -> String {
    match reply {
        Reply::Loaded(loaded) => entry(loaded.as_ref()),
        Reply::Ended(ended) => format!("ended {}", ended.sessions.len()),
        Reply::Listed(records) => format!("{} sessions", records.len()),
        Reply::Replaced(replaced) => match replaced {
            crate::store::Replaced::Replaced { record, ended } => {
                format!(
                    "now {}, {} over the limit",
                    short(record.handle()),
                    ended.len()
                )
            }
            other => format!("{other:?}"),
        },
        other => format!("{other:?}"),
    }
}

pub(super) fn executed(from: usize, asked: &Command, answered: &Reply) -> String {
    format!(
        "store, for i{from}: {}: {}",
        command(asked),
        reply(answered)
    )
}

pub(super) fn answered(ask: &Ask, answer: &Answer) -> String {
    let asked = match ask {
        Ask::Load(at, _) => format!("load {}", key(at)),
        Ask::Create(create) => format!("create {}", key(&create.key)),
        Ask::Apply(apply, _) => format!("apply to {}", key(&apply.key)),
        Ask::Replace(replace) => format!("replace {}", key(&replace.key)),
        Ask::End(ends, _) => end(ends),
        Ask::List(_, user) => format!("list {user}"),
    };
    let said = match answer {
        Answer::Loaded(loaded, freshness) => format!("{} ({freshness:?})", entry(loaded.as_ref())),
        Answer::Created(created, freshness) => format!("{created:?} ({freshness:?})"),
        Answer::Applied(applied, freshness) => format!("{applied:?} ({freshness:?})"),
        Answer::Replaced(replaced, freshness) => format!(
            "{} ({freshness:?})",
            reply(&Reply::Replaced(replaced.clone()))
        ),
        Answer::Ended(ended, freshness) => {
            format!("{} ({freshness:?})", reply(&Reply::Ended(ended.clone())))
        }
        Answer::Listed(records) => format!("{} sessions", records.len()),
        Answer::Failed => "503".to_owned(),
    };
    format!("answers {asked}: {said}")
}

pub(super) fn news(news: &News) -> String {
    format!("{news:?}")
}
