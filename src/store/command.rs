//! What a store is asked, and what it answers. Outcomes are types; they are matched without a wildcard.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::id::{Bucket, Digest, Handle, RecordKey, UserId};
use crate::key::DataName;
use crate::record::{Changes, End, EndReason, MessageBounds, NewMessage, Record, Seen};

/// What happens when a user signs in who has as many sessions as allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AtLimit {
    /// The session that was signed in longest ago ends, with the reason `limit`.
    EndOldest,
    /// The login is refused, and nothing ends.
    Refuse,
}

/// How many sessions a user may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// At most so many.
    pub sessions: NonZeroU32,
    /// What happens to one more.
    pub at_limit: AtLimit,
}

/// Make a session.
#[derive(Debug, Clone)]
pub struct Create {
    /// Under which key.
    pub key: RecordKey,
    /// What it is.
    pub record: Record,
    /// When the request that asks for it began, by the store's clock.
    pub began_at: SystemTime,
    /// The user's limit; `None`: none.
    pub limit: Option<Limit>,
    /// Its holder has the cookie already, and whoever asks goes on asking until the outcome is known: a session that
    /// was made while the store was away. A store that takes back what nobody will hold does not take back this.
    pub held: bool,
}

/// What came of [`Create`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// It is there, and these were ended for it.
    Created(Vec<EndedSession>),
    /// The user has as many as allowed; nothing changed.
    AtLimit,
    /// All of the user's sessions were ended after this one began, or it was itself ended; nothing changed.
    Refused(EndReason),
    /// Another session is there already; nothing changed.
    Exists,
    /// The record is over the store's limit; nothing changed.
    TooLarge,
}

/// Change a live session.
#[derive(Debug, Clone)]
pub struct Apply {
    /// Which.
    pub key: RecordKey,
    /// Its values.
    pub changes: Changes,
    /// When and from where it was used.
    pub seen: Option<Seen>,
    /// The record as the caller read it, if they did. What is stored decides, whatever it is: a store may use this to
    /// save work where nothing has changed since.
    pub read: Option<Record>,
}

/// What came of [`Apply`]. All but `Saved` mean that nothing changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// Saved. What an [`Op::Add`](crate::record::Op::Add) came to, if there was one.
    Saved(Option<i64>),
    /// The id was superseded.
    Moved,
    /// The session is over; one that is not there is over as `store_lost`.
    Ended(End),
    /// A guard failed.
    Conflict,
    /// Something to be added to is no integer.
    NotAnInteger,
    /// The record would be over the store's limit.
    TooLarge,
}

/// Add a message to a live session's conversation.
#[derive(Debug, Clone)]
pub struct Append {
    /// Whose.
    pub key: RecordKey,
    /// What.
    pub message: NewMessage,
    /// What the conversation may have with it.
    pub bounds: MessageBounds,
    /// For a message that was said earlier and reaches the store only now: when. `None`: it is said now.
    pub at: Option<SystemTime>,
    /// It may have been sent before: it is looked for among those that are there.
    pub again: bool,
}

/// What came of [`Append`]. All but `Added` mean that nothing changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// It is there.
    Added {
        /// The instant that it has: no message before it has a later one.
        at: SystemTime,
        /// How many there are with it.
        count: usize,
    },
    /// The id was superseded.
    Moved,
    /// The session is over; one that is not there is over as `store_lost`.
    Ended(End),
    /// It would be one more than the bounds allow, or too large.
    Full,
}

/// Take one of a number of things that somebody may have within a span of time.
#[derive(Debug, Clone, Copy)]
pub struct Spend {
    /// Whose: a digest of what they are known by.
    pub whose: Digest,
    /// How many there are.
    pub most: u32,
    /// Within how long, from the first one on.
    pub within: Duration,
}

impl Spend {
    /// Where it is counted.
    pub(crate) fn bucket(&self) -> Bucket {
        let [first, second, ..] = *self.whose.as_bytes();
        Bucket::from(u16::from_be_bytes([first, second]))
    }
}

/// What came of [`Spend`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// One is taken.
    Granted,
    /// There are none left until then.
    Exhausted(SystemTime),
}

/// Give a live session a new id.
#[derive(Debug, Clone)]
pub struct Replace {
    /// Which.
    pub key: RecordKey,
    /// Its new digest, in the same bucket.
    pub successor: Digest,
    /// What else becomes of it.
    pub renewal: Renewal,
    /// When and from where it was used.
    pub seen: Seen,
}

/// What a replaced session becomes.
#[derive(Debug, Clone)]
pub enum Renewal {
    /// The same under another id: data, handle and absolute end stay.
    SameSession,
    /// The same session, signed in anew: data and handle stay, both clocks start again.
    Reauthenticated {
        /// When its user proved who they are.
        signed_in_at: SystemTime,
        /// When it ends now.
        absolute_end: SystemTime,
        /// When the request that asks for it began.
        began_at: SystemTime,
    },
    /// Another session of the same user.
    SignIn(Box<SignIn>),
    /// The same session, of a kind that is in no user's list, which is this user's from now on: data, handle and both
    /// ends stay.
    Adopted(UserId),
}

/// A sign-in from a session of the same user.
#[derive(Debug, Clone)]
pub struct SignIn {
    /// The new session, with the values that it brings along.
    pub record: Record,
    /// Values that cross from the old one, as last stored, unless the new record has one of the name.
    pub keep: Vec<DataName>,
    /// When the request that asks for it began.
    pub began_at: SystemTime,
    /// The user's limit; the session that is replaced does not count.
    pub limit: Option<Limit>,
}

/// What came of [`Replace`]. All but `Replaced` mean that nothing changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replaced {
    /// What stands under the new digest, and what was ended for it.
    Replaced {
        /// The session as it is now.
        record: Record,
        /// Those that went over the limit.
        ended: Vec<EndedSession>,
    },
    /// The id was superseded already, by somebody else.
    Moved,
    /// The session is over.
    Ended(End),
    /// The user's sessions were ended after this sign-in began.
    Refused(EndReason),
    /// The record would be over the store's limit.
    TooLarge,
}

/// End one session or several.
#[derive(Debug, Clone)]
pub struct EndSessions {
    /// Which.
    pub scope: EndScope,
    /// Why.
    pub reason: EndReason,
    /// What the application says about it.
    pub note: Option<Arc<str>>,
    /// For an end that happened earlier and reaches the store only now: of [`EndScope::All`] and
    /// [`EndScope::Others`] only those sessions end whose sign-in is before this instant, in whole microseconds, and
    /// from this instant on sign-ins are let in. Twice is once. It has no effect on the other scopes. `None`: it
    /// happens now.
    pub before: Option<SystemTime>,
}

/// Which sessions end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndScope {
    /// The one under this key, whatever its kind; with the digest that took its place, if one did.
    One(RecordKey, Option<Digest>),
    /// The one under this key, which may not be there yet: where nothing stands, a tombstone keeps it out. For an id that
    /// was made while the store was away, and that another instance may still bring.
    Unborn(RecordKey),
    /// The user's session of that name.
    Handle(UserId, Handle),
    /// All of the user's but this one.
    Others(UserId, Handle),
    /// All of the user's.
    All(UserId),
}

/// What came of [`EndSessions`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndedSessions {
    /// Those that were live, and are over now.
    pub sessions: Vec<EndedSession>,
    /// With [`EndScope::One`] and [`EndScope::Unborn`]: the record as last stored, if it was live.
    pub last: Option<Record>,
    /// With [`EndScope::All`] and [`EndScope::Others`]: from when on sign-ins are let in.
    pub since: Option<SystemTime>,
}

/// A session that was ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedSession {
    /// Its name.
    pub handle: Handle,
    /// Whose it was.
    pub user: Option<UserId>,
}
