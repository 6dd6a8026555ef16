//! What a script answered, as the store's outcomes.

use redis::{RedisError, Value};

use crate::clock::instant;
use crate::id::{Handle, Kind, UserId};
use crate::record::{End, EndReason, Entry, Record};
use crate::store::rules::NotLive;
use crate::store::{
    Appended, Applied, Beat, Create, Created, EndedSession, EndedSessions, Replaced, Spent,
    StoreError,
};

/// A script's answer: a word, and what belongs to it.
pub(super) struct Answer(Vec<Value>);

/// An answer that no script of this version gives, or none at all.
#[derive(Debug)]
pub(super) enum Unusable {
    /// The command arrived after its not-after instant; nothing changed.
    Late,
    /// What stands there is no record; nothing changed.
    Malformed,
    /// Another session is where a new one was to be; nothing changed.
    Taken,
    /// Something else.
    Unknown,
}

impl From<Unusable> for StoreError {
    fn from(unusable: Unusable) -> Self {
        Self::new(match unusable {
            Unusable::Late => {
                "a command reached Redis more than five seconds after it was sent, or the clock of Redis was moved; \
                 nothing was changed"
            }
            Unusable::Taken => "Redis has a session under a digest just drawn",
            Unusable::Malformed => "what stands in Redis where a session should is no record",
            Unusable::Unknown => "Redis gave an answer that none of this version's scripts gives",
        })
    }
}

impl Answer {
    pub(super) fn new(value: Value) -> Result<Self, Unusable> {
        match value {
            Value::Array(items) => Ok(Self(items)),
            _ => Err(Unusable::Unknown),
        }
    }

    fn word(&self) -> Result<&str, Unusable> {
        self.text(0)
    }

    fn bytes(&self, n: usize) -> Result<&[u8], Unusable> {
        match self.0.get(n) {
            Some(Value::BulkString(bytes)) => Ok(bytes),
            _ => Err(Unusable::Unknown),
        }
    }

    fn text(&self, n: usize) -> Result<&str, Unusable> {
        str::from_utf8(self.bytes(n)?).map_err(|_| Unusable::Unknown)
    }

    fn number(&self, n: usize) -> Result<u64, Unusable> {
        self.text(n)?.parse().map_err(|_| Unusable::Unknown)
    }

    /// The entry that stands at `n`, as it is at the instant at `now`.
    fn entry(&self, now: usize, n: usize) -> Result<Entry, Unusable> {
        let entry = Entry::from_bytes(self.bytes(n)?).map_err(|_| Unusable::Malformed)?;
        Ok(entry.at(instant(self.number(now)?)))
    }

    fn record(&self, n: usize) -> Result<Record, Unusable> {
        match Entry::from_bytes(self.bytes(n)?) {
            Ok(Entry::Live(record)) => Ok(record),
            Ok(Entry::Ended(_)) | Err(_) => Err(Unusable::Malformed),
        }
    }

    /// The messages from `n` on.
    fn messages(&self, n: usize) -> Vec<&[u8]> {
        let items = self.0.iter().skip(n);
        items
            .filter_map(|item| match item {
                Value::BulkString(text) => Some(text.as_slice()),
                _ => None,
            })
            .collect()
    }

    /// The handles from `n` on. One that cannot be read was of a damaged record; what was done is done all the same.
    fn ended(&self, n: usize, user: Option<&UserId>) -> Vec<EndedSession> {
        let handles = (n..self.0.len()).filter_map(|n| self.text(n).ok()?.parse::<Handle>().ok());
        handles
            .map(|handle| EndedSession {
                handle,
                user: user.cloned(),
            })
            .collect()
    }

    /// Whether what stands there is no record.
    pub(super) fn is_malformed(&self) -> bool {
        matches!(self.word(), Ok("malformed"))
    }

    fn unusable(&self) -> Unusable {
        match self.word() {
            Ok("late") => Unusable::Late,
            Ok("malformed") => Unusable::Malformed,
            Ok("exists") => Unusable::Taken,
            _ => Unusable::Unknown,
        }
    }
}

pub(super) fn created(answer: &Answer, create: &Create) -> Result<Created, Unusable> {
    Ok(match answer.word()? {
        "created" => {
            let user = create.record.user().map(UserId::from);
            Created::Created(answer.ended(1, user.as_ref()))
        }
        "there" => match Entry::from_bytes(answer.bytes(1)?) {
            Ok(Entry::Live(there)) if there.handle() == create.record.handle() => {
                Created::Created(Vec::new())
            }
            Ok(Entry::Ended(tombstone)) => Created::Refused(tombstone.end.reason),
            Ok(Entry::Live(_)) | Err(_) => Created::Exists,
        },
        "refused" => Created::Refused(EndReason::Revoked),
        "at_limit" => Created::AtLimit,
        _ => return Err(answer.unusable()),
    })
}

/// `lost`: the end of what is not there.
pub(super) fn applied(answer: &Answer, lost: End) -> Result<Applied, Unusable> {
    Ok(match answer.word()? {
        "saved" => Applied::Saved(match answer.text(1)? {
            "" => None,
            sum => Some(sum.parse().map_err(|_| Unusable::Unknown)?),
        }),
        "over" => match not_live(answer.entry(1, 2)?, lost) {
            NotLive::Moved(_) => Applied::Moved,
            NotLive::Ended(end) => Applied::Ended(end),
        },
        "absent" => Applied::Ended(lost),
        "conflict" => Applied::Conflict,
        "no_integer" => Applied::NotAnInteger,
        "too_large" => Applied::TooLarge,
        _ => return Err(answer.unusable()),
    })
}

/// `lost`: the end of what is not there.
pub(super) fn appended(answer: &Answer, lost: End) -> Result<Appended, Unusable> {
    Ok(match answer.word()? {
        "added" => Appended::Added {
            at: instant(answer.number(1)?),
            count: usize::try_from(answer.number(2)?).map_err(|_| Unusable::Unknown)?,
        },
        "full" => Appended::Full,
        "over" => match not_live(answer.entry(1, 2)?, lost) {
            NotLive::Moved(_) => Appended::Moved,
            NotLive::Ended(end) => Appended::Ended(end),
        },
        "absent" => Appended::Ended(lost),
        _ => return Err(answer.unusable()),
    })
}

pub(super) fn spent(answer: &Answer) -> Result<Spent, Unusable> {
    Ok(match answer.word()? {
        "granted" => Spent::Granted,
        "exhausted" => Spent::Exhausted(instant(answer.number(1)?.saturating_mul(1000))),
        _ => return Err(answer.unusable()),
    })
}

/// `lost`: the end of what is not there.
pub(super) fn replaced(answer: &Answer, kind: Kind, lost: End) -> Result<Replaced, Unusable> {
    let dead = |entry| match not_live(entry, lost.clone()) {
        NotLive::Moved(_) => Replaced::Moved,
        NotLive::Ended(end) => Replaced::Ended(end),
    };
    Ok(match answer.word()? {
        "replaced" => {
            let record = answer.record(1)?;
            match kind {
                Kind::User => {
                    let user = record.user().map(UserId::from);
                    let ended = answer.ended(2, user.as_ref());
                    Replaced::Replaced { record, ended }
                }
                Kind::Demo => Replaced::Replaced {
                    record: record.with_messages(&answer.messages(2)),
                    ended: Vec::new(),
                },
            }
        }
        "done" if answer.bytes(2)?.is_empty() => Replaced::Ended(lost),
        "done" => match answer.entry(1, 2)? {
            Entry::Live(record) => Replaced::Replaced {
                record: match kind {
                    Kind::User => record,
                    Kind::Demo => record.with_messages(&answer.messages(3)),
                },
                ended: Vec::new(),
            },
            entry @ Entry::Ended(_) => dead(entry),
        },
        "over" => dead(answer.entry(1, 2)?),
        "absent" => Replaced::Ended(lost),
        "refused" => Replaced::Refused(EndReason::Revoked),
        "too_large" => Replaced::TooLarge,
        _ => return Err(answer.unusable()),
    })
}

/// With the server's clock when it looked.
pub(super) fn ended_one(answer: &Answer) -> Result<(EndedSessions, u64), Unusable> {
    let ended = match answer.word()? {
        "ended" => {
            let last = answer.record(2)?;
            EndedSessions {
                sessions: vec![EndedSession {
                    handle: last.handle(),
                    user: last.user().map(UserId::from),
                }],
                last: Some(last),
                since: None,
            }
        }
        "nothing" | "malformed" => EndedSessions::default(),
        _ => return Err(answer.unusable()),
    };
    Ok((ended, answer.number(1)?))
}

pub(super) fn ended_of_user(answer: &Answer, user: &UserId) -> Result<EndedSessions, Unusable> {
    if answer.word()? != "ended" {
        return Err(answer.unusable());
    }
    let since = match answer.text(1)? {
        "" => None,
        _ => Some(instant(answer.number(1)?)),
    };
    Ok(EndedSessions {
        sessions: answer.ended(2, Some(user)),
        last: None,
        since,
    })
}

/// A heartbeat of this server.
pub(super) fn beat(answer: &Answer, server: u64) -> Result<Beat, Unusable> {
    if answer.word()? != "beat" {
        return Err(answer.unusable());
    }
    Ok(Beat {
        server,
        generation: u64::from_str_radix(answer.text(1)?, 16).map_err(|_| Unusable::Unknown)?,
        before: match answer.text(2)? {
            "" => None,
            _ => Some(answer.number(2)?),
        },
        value: answer.number(3)?,
    })
}

fn not_live(entry: Entry, lost: End) -> NotLive {
    match entry {
        Entry::Ended(tombstone) => tombstone.into(),
        // The script took it for over, and it is not: its instants cannot be read in the same way there and here.
        Entry::Live(_) => NotLive::Ended(lost),
    }
}

/// A list's records. One that this version cannot read is in no list, as it is a stranger's to whoever presents it.
pub(super) fn listed(value: Value) -> Result<(Vec<Record>, usize), Unusable> {
    let Answer(items) = Answer::new(value)?;
    let all = items.len();
    let records: Vec<Record> = Answer(items).0.iter().filter_map(record_of).collect();
    let malformed = all - records.len();
    Ok((records, malformed))
}

fn record_of(value: &Value) -> Option<Record> {
    match value {
        Value::BulkString(bytes) => match Entry::from_bytes(bytes) {
            Ok(Entry::Live(record)) => Some(record),
            Ok(Entry::Ended(_)) | Err(_) => None,
        },
        _ => None,
    }
}

/// What there is of a list, and how many of its lines, or it itself, cannot be read.
pub(super) fn lines<T>(
    value: Result<Value, RedisError>,
    read: impl Fn(&str) -> Option<T>,
) -> Result<(Vec<T>, usize), RedisError> {
    let items = match value {
        Ok(Value::Array(items)) => items,
        Ok(_) => return Ok((Vec::new(), 1)),
        Err(error) if error.code() == Some("WRONGTYPE") => return Ok((Vec::new(), 1)),
        Err(error) => return Err(error),
    };
    let line = |value: &Value| match value {
        Value::BulkString(bytes) => read(str::from_utf8(bytes).ok()?),
        _ => None,
    };
    // The newest is the last that was written.
    let lines: Vec<T> = items.iter().rev().filter_map(line).collect();
    let unread = items.len() - lines.len();
    Ok((lines, unread))
}

/// Whether a line was written down.
pub(super) fn recorded(answer: &Answer) -> Result<(), Unusable> {
    match answer.word()? {
        "recorded" => Ok(()),
        _ => Err(answer.unusable()),
    }
}

/// What a `GET` gave.
pub(super) fn loaded(value: Result<Value, RedisError>) -> Result<Option<Entry>, Loading> {
    match value {
        Ok(Value::Nil) => Ok(None),
        // With its bytes, so that a change can be worked out here.
        Ok(Value::BulkString(bytes)) => match Entry::from_bytes_kept(&bytes) {
            Ok(entry) => Ok(Some(entry)),
            Err(_) => Err(Loading::Malformed),
        },
        Ok(_) => Err(Loading::Malformed),
        Err(error) if error.code() == Some("WRONGTYPE") => Err(Loading::Malformed),
        Err(error) => Err(Loading::Failed(error)),
    }
}

/// A demo session with its conversation.
pub(super) fn loaded_demo(value: Result<Value, RedisError>) -> Result<Option<Entry>, Loading> {
    let items = match value {
        Ok(Value::Array(items)) => items,
        Ok(_) => return Err(Loading::Malformed),
        // Of another type, seen within a script.
        Err(error) if error.code() == Some("WRONGTYPE") => return Err(Loading::Malformed),
        Err(error) => return Err(Loading::Failed(error)),
    };
    let answer = Answer(items);
    let Some(first) = answer.0.first() else {
        return Ok(None);
    };
    Ok(match loaded(Ok(first.clone()))? {
        Some(Entry::Live(record)) => Some(Entry::Live(record.with_messages(&answer.messages(1)))),
        other => other,
    })
}

/// Why there is no entry to be had.
pub(super) enum Loading {
    /// What stands there is no record.
    Malformed,
    /// The server refused.
    Failed(RedisError),
}
