//! What was ended of late: so that it is not served again, whatever the store says.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use hashbrown::HashMap;

use super::rule::{Rule, holds};
use super::stamp::Stamp;
use crate::id::{Bucket, Digest, Handle, Kind, RecordKey, UserId};
use crate::record::{End, EndReason, Record, Tombstone};
use crate::store::rules::signed_in_at;
use crate::store::{EndScope, EndSessions};

/// For so long an end is remembered here: longer than a replica lags behind, and than any read takes that was sent
/// before it.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(600);

/// The ends that this instance made or met within the last ten minutes, of some buckets. Bounded: of more than that the
/// oldest are forgotten.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Ended {
    keys: HashMap<RecordKey, (Stamp, Tombstone)>,
    handles: HashMap<Handle, (Stamp, Bucket, EndedHandle)>,
    users: HashMap<UserId, (Stamp, Bucket, Vec<EndedUser>)>,
    /// In the order in which they were noted. One that was noted again stands here twice.
    order: VecDeque<(Stamp, Name)>,
    most: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    Key(RecordKey),
    Handle(Handle),
    User(UserId),
}

#[derive(Debug, Clone)]
struct EndedHandle {
    user: UserId,
    end: End,
}

/// All of a user's sessions that signed in before an instant, but for one.
#[derive(Debug, Clone)]
struct EndedUser {
    before: SystemTime,
    kept: Option<Handle>,
    end: End,
}

impl Ended {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            keys: HashMap::new(),
            handles: HashMap::new(),
            users: HashMap::new(),
            order: VecDeque::new(),
            most,
        }
    }

    /// What stands under this key is over.
    pub(crate) fn key(&mut self, key: RecordKey, tombstone: Tombstone, now: Stamp) {
        self.tidy(now);
        // What is known of an end already is not replaced by what came later; and whoever presents a dead id again and
        // again fills nothing.
        match self.keys.get_mut(&key) {
            Some((noted, _)) if noted.age(now) < REMEMBERED / 2 => return,
            Some((noted, _)) => *noted = now,
            None => {
                self.keys.insert(key, (now, tombstone));
            }
        }
        self.order.push_back((now, Name::Key(key)));
    }

    /// What stands under this key is over, whatever it is: its name is not known.
    pub(crate) fn unknown(
        &mut self,
        key: RecordKey,
        end: End,
        successor: Option<Digest>,
        now: Stamp,
    ) {
        let tombstone = Tombstone {
            handle: Handle::from(uuid::Uuid::nil()),
            end,
            successor,
        };
        self.key(key, tombstone, now);
    }

    /// The user's session of that name is over.
    pub(crate) fn handle(
        &mut self,
        bucket: Bucket,
        user: &UserId,
        handle: Handle,
        end: End,
        now: Stamp,
    ) {
        self.tidy(now);
        let user = user.clone();
        self.handles
            .entry(handle)
            .or_insert((now, bucket, EndedHandle { user, end }))
            .0 = now;
        self.order.push_back((now, Name::Handle(handle)));
    }

    /// All of the user's sessions that signed in before that instant are over, but for one.
    pub(crate) fn user(
        &mut self,
        bucket: Bucket,
        user: &UserId,
        before: SystemTime,
        kept: Option<Handle>,
        end: End,
        now: Stamp,
    ) {
        self.tidy(now);
        let (noted, _, ends) = self
            .users
            .entry_ref(user)
            .or_insert_with(|| (now, bucket, Vec::new()));
        *noted = now;
        match ends.iter_mut().find(|known| known.kept == kept) {
            Some(known) if known.before < before => {
                *known = EndedUser { before, kept, end };
            }
            Some(_) => {}
            None => ends.push(EndedUser { before, kept, end }),
        }
        self.order.push_back((now, Name::User(user.clone())));
    }

    /// Why the session is over, if it was ended.
    pub(crate) fn covers(&self, key: &RecordKey, record: &Record) -> Option<Tombstone> {
        if !holds(Rule::Remembered) || self.order.is_empty() {
            return None;
        }
        if let Some((_, tombstone)) = self.keys.get(key) {
            return Some(tombstone.clone());
        }
        // As in `rules`: demo sessions are in nobody's list.
        let end = match key.kind {
            Kind::User => self.end_by_name(record)?,
            Kind::Demo => return None,
        };
        Some(Tombstone {
            handle: record.handle(),
            end: end.clone(),
            successor: None,
        })
    }

    /// Whether all of the user's sessions were ended after a sign-in began: it comes too late then.
    pub(crate) fn refuses_sign_in(&self, user: &str, began_at: SystemTime) -> bool {
        holds(Rule::Since)
            && self
                .users
                .get(user)
                .is_some_and(|(_, _, ends)| ends.iter().any(|ended| began_at < ended.before))
    }

    fn end_by_name(&self, record: &Record) -> Option<&End> {
        if let Some((_, _, ended)) = self.handles.get(&record.handle()) {
            return Some(&ended.end);
        }
        let (_, _, ends) = self.users.get(record.user()?)?;
        let signed_in_at = signed_in_at(record);
        ends.iter()
            .find(|ended| signed_in_at < ended.before && ended.kept != Some(record.handle()))
            .map(|ended| &ended.end)
    }

    /// Why what stands under this key is over, if it is known to be.
    pub(crate) fn covers_key(&self, key: &RecordKey) -> Option<&Tombstone> {
        self.keys.get(key).map(|(_, tombstone)| tombstone)
    }

    /// The same ends once more, for a store that may have lost them.
    pub(crate) fn assertions(&self, in_part: impl Fn(Bucket) -> bool) -> Vec<EndSessions> {
        let again = |scope, end: &End, before| EndSessions {
            scope,
            reason: end.reason,
            note: end.note.clone(),
            before,
        };
        let users = self
            .users
            .iter()
            .filter(|(_, (_, bucket, _))| in_part(*bucket));
        let users = users.flat_map(|(user, (_, _, ends))| {
            ends.iter().map(move |ended| {
                let scope = match ended.kept {
                    Some(kept) => EndScope::Others(user.clone(), kept),
                    None => EndScope::All(user.clone()),
                };
                again(scope, &ended.end, Some(ended.before))
            })
        });
        let handles = self
            .handles
            .iter()
            .filter(|(_, (_, bucket, _))| in_part(*bucket));
        let handles = handles.map(|(handle, (_, _, ended))| {
            let scope = EndScope::Handle(ended.user.clone(), *handle);
            again(scope, &ended.end, None)
        });
        let keys = self.keys.iter().filter(|(key, (_, tombstone))| {
            // What its own clocks ended is over by itself.
            let by_clock = matches!(
                tombstone.end.reason,
                EndReason::Idle | EndReason::Absolute | EndReason::StoreLost
            );
            in_part(key.bucket) && !by_clock
        });
        let keys = keys.map(|(key, (_, tombstone))| {
            let scope = match tombstone.successor {
                None if tombstone.is_of_nobody() => EndScope::Unborn(*key),
                successor => EndScope::One(*key, successor),
            };
            again(scope, &tombstone.end, None)
        });
        users.chain(handles).chain(keys).collect()
    }

    /// Forgets what is long ago, and the oldest of what is too much.
    fn tidy(&mut self, now: Stamp) {
        while let Some((noted, _)) = self.order.front()
            && (noted.age(now) > REMEMBERED || self.order.len() > self.most)
        {
            let Some((noted, name)) = self.order.pop_front() else {
                return;
            };
            // What was noted again since stays.
            match name {
                Name::Key(key) => {
                    if self.keys.get(&key).is_some_and(|known| known.0 == noted) {
                        self.keys.remove(&key);
                    }
                }
                Name::Handle(handle) => {
                    if self
                        .handles
                        .get(&handle)
                        .is_some_and(|known| known.0 == noted)
                    {
                        self.handles.remove(&handle);
                    }
                }
                Name::User(user) => {
                    if self.users.get(&user).is_some_and(|known| known.0 == noted) {
                        self.users.remove(&user);
                    }
                }
            }
        }
    }
}
