//! A session as another system had it, whichever that was, and what becomes of it here.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use serde_json::value::RawValue;
use time::UtcOffset;

use super::json::{self, Members, Mended};
use super::report::Shape;
use super::time::{Written, offset};
use crate::clock::micros;
use crate::id::{Handle, UserId};
use crate::key::{DataName, MAX_NAME_BYTES};
use crate::record::{MessageId, NewMessage, NewRecord, Record, Seen};

/// What has no name that a value may have, or one that is taken, is kept together under this one.
const UNNAMED: &str = "legacy_fields";
/// A demo has so many steps by default.
const DEMO_STEPS: &str = "6";

/// Nothing lives longer than a cookie may (RFC 6265bis, 5.5).
const LONGEST: Duration = Duration::from_secs(400 * 24 * 3600);

/// What a reader needs to know beside the bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Around<'a> {
    /// The id, as it stands in the key.
    pub(super) id: &'a str,
    /// Now, by the server's clock.
    pub(super) now: SystemTime,
    /// When the server drops it; `None`: never.
    pub(super) expires_at: Option<SystemTime>,
    /// The offset of naive local times; `None`: to be found out.
    pub(super) offset: Option<UtcOffset>,
    /// Where the values have the user.
    pub(super) user_key: Option<&'a str>,
}

/// Why there is nothing to be made of a record: in words, without anything of what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is none of the known shapes, or says what cannot be.
    Invalid(Cow<'static, str>),
    /// It is one, and is over by what it says itself.
    Over(&'static str),
}

impl Unread {
    pub(super) const fn invalid(why: &'static str) -> Self {
        Self::Invalid(Cow::Borrowed(why))
    }
}

/// A session of another system.
#[derive(Debug)]
pub(super) struct Old<'a> {
    pub(super) shape: Shape,
    pub(super) user: Option<UserId>,
    pub(super) times: Times,
    pub(super) address: Option<Cow<'a, str>>,
    pub(super) agent: Option<Cow<'a, str>>,
    pub(super) values: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Of a demo.
    pub(super) industry: Option<Cow<'a, str>>,
    pub(super) messages: Vec<Message<'a>>,
    pub(super) mended: Mended,
}

/// A message of a demo.
#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) role: Cow<'a, str>,
    pub(super) content: Cow<'a, str>,
    /// `None`: as the demo's beginning.
    pub(super) at: Option<SystemTime>,
    pub(super) metadata: Vec<(Cow<'a, str>, &'a RawValue)>,
}

/// What is written in its place.
#[derive(Debug)]
pub(super) struct Brought {
    pub(super) record: Record,
    /// JSON, one a message.
    pub(super) messages: Vec<Vec<u8>>,
    /// When it was made, if that is known.
    pub(super) made_at: Option<SystemTime>,
}

impl Old<'_> {
    /// What it becomes here. `handle`: its public name.
    ///
    /// Its end is the old one, whatever happens: the idle timeout is as long as it has left, so that it is not ended
    /// earlier than the old system would have.
    pub(super) fn brought(self, handle: Handle) -> Result<Brought, getrandom::Error> {
        let Times {
            created_at,
            seen_at,
            ends_at,
            is_said,
        } = self.times;
        let life = ends_at
            .duration_since(seen_at)
            .unwrap_or_default()
            // So that it is the absolute end that ends it.
            + Duration::from_millis(1);
        let mut values = Named::default();
        if let Some(industry) = &self.industry {
            values.push("industry".into(), quoted(industry).into());
            values.push("steps".into(), DEMO_STEPS.into());
        }
        for (name, value) in self.values {
            values.push(name, value);
        }
        let mut messages = Vec::with_capacity(self.messages.len());
        let mut total = 0;
        for message in &self.messages {
            messages.push(message.write(MessageId::random()?, created_at, &mut total));
        }
        let record = Record::new(&NewRecord {
            handle,
            created_at,
            signed_in_at: self.user.as_ref().map(|_| created_at),
            user: self.user,
            absolute_end: ends_at,
            idle_timeout: life,
            touch_threshold: Duration::ZERO,
            persistent: false,
            seen: Seen {
                at: seen_at,
                address: self.address.map(|address| (*address).into()),
                agent: self.agent.map(|agent| (*agent).into()),
            },
            values: values.finish(),
        });
        Ok(Brought {
            record,
            messages,
            made_at: is_said.then_some(created_at),
        })
    }
}

/// Values by their names; what cannot have one of its own goes together.
#[derive(Default)]
struct Named<'a> {
    named: Vec<(DataName, Vec<u8>)>,
    taken: HashSet<String>,
    unnamed: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Named<'a> {
    fn push(&mut self, name: Cow<'a, str>, json: Cow<'a, str>) {
        let fits = (1..=MAX_NAME_BYTES).contains(&name.len()) && name != UNNAMED;
        if fits && self.taken.insert(name.to_string()) {
            self.named
                .push((name.into_owned().into(), json.into_owned().into_bytes()));
        } else {
            self.unnamed.push((name, json));
        }
    }

    fn finish(mut self) -> Vec<(DataName, Vec<u8>)> {
        if !self.unnamed.is_empty() {
            let json = object(self.unnamed.iter().map(|(name, json)| (&**name, &**json)));
            self.named.push((UNNAMED.into(), json.into_bytes()));
        }
        self.named
    }
}

impl Message<'_> {
    /// As a conversation keeps it. `at`: where it does not say when; `total`: how many bytes were said before.
    fn write(&self, id: MessageId, at: SystemTime, total: &mut u64) -> Vec<u8> {
        let mut body = format!(
            "{{\"role\":{},\"content\":{}",
            quoted(&self.role),
            quoted(&self.content)
        );
        if !self.metadata.is_empty() {
            let members = self
                .metadata
                .iter()
                .map(|(name, value)| (&**name, value.get()));
            body.push_str(",\"metadata\":");
            body.push_str(&object(members));
        }
        body.push('}');
        *total += body.len() as u64;
        let message = NewMessage {
            id,
            body: body.into_bytes().into(),
        };
        message.text(micros(self.at.unwrap_or(at)), *total)
    }
}

fn object<'a>(members: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut json = String::from("{");
    for (name, value) in members {
        if json.len() > 1 {
            json.push(',');
        }
        let _ = write!(json, "{}:{value}", quoted(name));
    }
    json.push('}');
    json
}

pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Who a record says that it belongs to: text, an integer, or nobody.
pub(super) fn user(value: Option<&RawValue>, mended: Mended) -> Result<Option<UserId>, Unread> {
    let Some(value) = value else { return Ok(None) };
    let user = match (json::text(value), json::integer(value)) {
        // Two who differ in what was replaced would be one.
        (Some(text), _) if mended.surrogates > 0 && text.contains('\u{fffd}') => {
            return Err(Unread::invalid("its user is no text"));
        }
        (Some(text), _) => UserId::from(&*text),
        (None, Some(digits)) => UserId::from(digits),
        (None, None) => return Err(Unread::invalid("its user is neither text nor an integer")),
    };
    if user.is_valid() {
        Ok(Some(user))
    } else {
        Err(Unread::invalid(
            "its user is empty or longer than 256 bytes",
        ))
    }
}

/// A text, if the member is there and is one.
pub(super) fn text<'a>(value: Option<&'a RawValue>) -> Option<Cow<'a, str>> {
    value.and_then(json::text).filter(|text| !text.is_empty())
}

/// A time that a member says; `None` where there is none.
pub(super) fn time(
    value: Option<&RawValue>,
    what: &'static str,
) -> Result<Option<Written>, Unread> {
    let Some(value) = value else { return Ok(None) };
    json::text(value)
        .and_then(|text| Written::parse(&text))
        .map(Some)
        .ok_or(Unread::Invalid(Cow::Borrowed(what)))
}

/// The instants of a session: none is later than now, and what is not said is what is nearest to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) created_at: SystemTime,
    pub(super) seen_at: SystemTime,
    pub(super) ends_at: SystemTime,
    /// When it was made is said by itself.
    pub(super) is_said: bool,
}

impl Times {
    /// `lifetime`: of one that the server never drops, from its last request on.
    pub(super) fn settle(
        around: &Around<'_>,
        created: Option<SystemTime>,
        seen: Option<SystemTime>,
        says: Option<SystemTime>,
        lifetime: Duration,
    ) -> Result<Self, Unread> {
        let now = around.now;
        let seen_at = seen.or(created).unwrap_or(now).min(now);
        let created_at = created.unwrap_or(seen_at).min(seen_at);
        let ends_at = match (around.expires_at, says) {
            (Some(expires), Some(says)) => expires.min(says),
            (Some(end), None) | (None, Some(end)) => end,
            (None, None) => seen_at + lifetime,
        };
        let ends_at = ends_at.min(now + LONGEST);
        if ends_at <= now {
            return Err(Unread::Over("its end has passed"));
        }
        Ok(Self {
            created_at,
            seen_at,
            ends_at,
            is_said: created.is_some(),
        })
    }
}

/// The offset of a wall clock, from what is known in UTC of when it was read: the instant in the id, or the expiry, which
/// every read set anew.
pub(super) fn found_offset(
    around: &Around<'_>,
    created: Option<Written>,
    seen: Option<Written>,
    lifetime: Duration,
) -> UtcOffset {
    let of_id = || {
        let Written::Naive(naive) = created? else {
            return None;
        };
        let (_, millis) = around.id.rsplit_once('_')?;
        let millis: u64 = (millis.len() == 13).then(|| millis.parse().ok())??;
        offset(
            naive,
            SystemTime::UNIX_EPOCH + Duration::from_millis(millis),
        )
    };
    let of_expiry = || {
        let Written::Naive(naive) = seen? else {
            return None;
        };
        offset(naive, around.expires_at?.checked_sub(lifetime)?)
    };
    around
        .offset
        .or_else(of_id)
        .or_else(of_expiry)
        .unwrap_or(UtcOffset::UTC)
}

/// The members that are left as values. What is the old id itself is not among them: it is a secret.
pub(super) fn rest<'a>(members: Members<'a>, id: &str) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
    members
        .0
        .into_iter()
        .filter(|(_, value)| json::text(value).is_none_or(|text| text != id))
        .map(|(name, value)| (name, Cow::Borrowed(value.get())))
        .collect()
}
