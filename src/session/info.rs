//! What people are shown of a session.

use std::time::{Duration, SystemTime};

use http::HeaderValue;

use crate::id::{Handle, UserId};
use crate::record::{Record, Seen};

/// Where what is known of a session comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Freshness {
    /// From the store itself, or from a copy of which it tells when it changes: a
    /// near cache (`RedisStoreBuilder::near_cache`).
    Live,
    /// From what this instance verified before the store went away.
    Stale,
    /// The session was made while the store is away, and lives here.
    Local,
}

impl Freshness {
    /// Its name in responses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Stale => "stale",
            Self::Local => "local",
        }
    }
}

/// How long a session has left. It is over when either is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remaining {
    /// Until its idle end, if no other request comes.
    pub idle: Duration,
    /// Until its absolute end.
    pub absolute: Duration,
}

impl Remaining {
    pub(crate) fn of(info: &SessionInfo, now: SystemTime) -> Self {
        let until = |end: SystemTime| end.duration_since(now).unwrap_or_default();
        Self {
            idle: until(info.idle_ends_at),
            absolute: until(info.ends_at),
        }
    }

    /// For a header: whole seconds, rounded down, as a dictionary of RFC 9651.
    pub(crate) fn header(self) -> HeaderValue {
        let text = format!(
            "idle={}, absolute={}",
            self.idle.as_secs(),
            self.absolute.as_secs()
        );
        HeaderValue::try_from(text).expect("words and digits")
    }
}

/// A session in a list, or this one: nothing of it is secret, and nothing opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// Its public name, by which it can be ended.
    pub handle: Handle,
    /// Whose it is; `None`: a stranger's.
    pub user: Option<UserId>,
    /// Whether it is the session of the request that asks.
    pub current: bool,
    /// When it was made.
    pub created_at: SystemTime,
    /// When its user last proved who they are.
    pub signed_in_at: Option<SystemTime>,
    /// The last request that was written down: the real one is later by at most the touch threshold.
    pub last_seen_at: SystemTime,
    /// When it ends whatever happens.
    pub ends_at: SystemTime,
    /// When it ends if no request comes.
    pub idle_ends_at: SystemTime,
    /// Where it was last used from.
    pub address: Option<String>,
    /// With what.
    pub user_agent: Option<String>,
    /// Whether its cookie outlives the browser's session.
    pub persistent: bool,
    /// Where this is known from.
    pub freshness: Freshness,
}

impl SessionInfo {
    pub(crate) fn of(record: &Record, current: bool) -> Self {
        Self {
            handle: record.handle(),
            user: record.user().map(UserId::from),
            current,
            created_at: record.created_at(),
            signed_in_at: record.signed_in_at(),
            last_seen_at: record.seen_at(),
            ends_at: record.absolute_end(),
            idle_ends_at: record.idle_end(),
            address: record.address().map(Into::into),
            user_agent: record.user_agent().map(Into::into),
            persistent: record.is_persistent(),
            freshness: Freshness::Live,
        }
    }

    /// As it will be once this request's touch is stored.
    pub(crate) fn was_seen(&mut self, seen: &Seen, record: &Record) {
        self.last_seen_at = seen.at;
        self.idle_ends_at = seen.at + record.idle_timeout() + record.touch_threshold();
        if let Some(address) = &seen.address {
            self.address = Some(address.to_string());
        }
        if let Some(agent) = &seen.agent {
            self.user_agent = Some(agent.to_string());
        }
    }
}
