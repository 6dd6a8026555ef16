//! Ends: what they do to what is here, and what the store has to be told of them.

use std::time::SystemTime;

use super::{Memory, Moment, name_of, session};
use crate::id::{Bucket, Handle, UserId};
use crate::record::{End, EndReason, Record, Tombstone};
use crate::store::outage::journal::{PendingEnd, PendingScope};
use crate::store::outage::stamp::Stamp;
use crate::store::rules::{listed_for, signed_in_at};
use crate::store::{EndScope, EndSessions, EndedSession, EndedSessions};

impl Memory {
    /// Notes that an end takes effect here, and carries it out on what is here. `since` is from when on sign-ins are let
    /// in after an end of all. Gives what was ended, as far as it is known here: of a user's leases only where the store,
    /// who knows them all, is not asked. `known`: the record under the key, where one ends.
    pub(crate) fn end(
        &mut self,
        bucket: Bucket,
        end: &EndSessions,
        known: Option<&Record>,
        since: SystemTime,
        up: bool,
        now: Moment,
    ) -> EndedSessions {
        let over = End {
            reason: end.reason,
            at: now.store,
            note: end.note.clone(),
        };
        let here = match &end.scope {
            EndScope::One(key, _) | EndScope::Unborn(key) => Some(*key),
            EndScope::Handle(_, handle) => self.locals.named(*handle),
            // None of those is made any more, once the store knows of it.
            EndScope::Others(..) | EndScope::All(_) => None,
        };
        if let Some(key) = here
            && let Some(sent) = self.locals.sent_at(&key)
        {
            let name = self.name(&key, now);
            self.pursued.add(key, name, &over, sent);
        }
        let mut ended = self.locals.end(bucket, end, now.store);
        match &end.scope {
            // The store found nothing live under the key: what is there, it says to whoever asks.
            EndScope::One(key, _) if up && known.is_none() && ended.last.is_none() => {
                self.leases.remove(key);
                self.staged.forget(key);
            }
            EndScope::One(key, _) | EndScope::Unborn(key) => {
                let successor = match &end.scope {
                    EndScope::One(_, successor) => *successor,
                    _ => None,
                };
                let leased = self.live_lease(key, now);
                let known = ended.last.as_ref().or(known).or(leased.as_ref());
                if let Some(record) = known {
                    // Also under the keys that it had before: there may be leases of those.
                    if let (Some(user), None) = (listed_for(key, record), &successor) {
                        self.ended
                            .handle(bucket, &user, record.handle(), over.clone(), now.here);
                    }
                    let tombstone = Tombstone {
                        handle: record.handle(),
                        end: over,
                        successor,
                    };
                    self.ended.key(*key, tombstone, now.here);
                } else {
                    self.ended.unknown(*key, over, successor, now.here);
                }
                self.leases.remove(key);
                self.staged.forget(key);
                if let (None, Some(record)) = (&ended.last, leased) {
                    ended.sessions.push(session(&record));
                    ended.last = Some(record);
                }
            }
            EndScope::Handle(user, handle) => {
                if !up {
                    self.leased(user, now, &mut ended, |record| record.handle() == *handle);
                }
                self.ended.handle(bucket, user, *handle, over, now.here);
            }
            EndScope::Others(user, kept) => {
                if !up {
                    self.leased(user, now, &mut ended, |record| {
                        record.handle() != *kept && signed_in_at(record) < since
                    });
                }
                self.ended
                    .user(bucket, user, since, Some(*kept), over, now.here);
            }
            EndScope::All(user) => {
                if !up {
                    self.leased(user, now, &mut ended, |record| signed_in_at(record) < since);
                }
                self.ended.user(bucket, user, since, None, over, now.here);
            }
        }
        ended
    }

    /// The same while the store is away: and what it has to be told, if it can have what ends. `known`: the record under
    /// the key, where one ends that the caller has read.
    pub(crate) fn end_later(
        &mut self,
        bucket: Bucket,
        end: EndSessions,
        known: Option<&Record>,
        since: SystemTime,
        now: Moment,
    ) -> (EndedSessions, Option<PendingEnd>) {
        let (name, is_needless) = match &end.scope {
            // By its name, since its key may have changed meanwhile.
            EndScope::One(key, _) | EndScope::Unborn(key) => {
                let name = known.map_or_else(|| self.name(key, now), |record| name_of(key, record));
                (name, self.is_only_here(key))
            }
            EndScope::Handle(..) | EndScope::Others(..) | EndScope::All(_) => (None, false),
        };
        // The journal goes by it: a clock that is behind must not make it earlier than the sign-in of what ends.
        let at = known.map_or(now.store, |record| now.store.max(signed_in_at(record)));
        let ended = self.end(bucket, &end, known, since, false, now);
        let pending = (!is_needless).then(|| PendingEnd {
            scope: pending_scope(&end.scope, bucket, name, since),
            reason: end.reason,
            note: end.note,
            at,
        });
        (ended, pending)
    }

    /// An end that a journal has from before: it holds here as any other.
    pub(crate) fn recall(&mut self, pending: &PendingEnd, now: Stamp) {
        let over = pending.end();
        let bucket = pending.scope.bucket();
        // It may be of one that was on its way to the store when this was written down.
        let scope = match &pending.scope {
            PendingScope::Key(key) => {
                self.ended.unknown(*key, over.clone(), None, now);
                EndScope::One(*key, None)
            }
            PendingScope::Handle { user, handle, .. } => {
                self.ended.handle(bucket, user, *handle, over.clone(), now);
                EndScope::Handle(user.clone(), *handle)
            }
            PendingScope::User {
                user, keep, before, ..
            } => return self.ended.user(bucket, user, *before, *keep, over, now),
        };
        self.pursued.end(bucket, scope, &over, pending.at);
    }

    /// Adds those of a user's leases that end.
    fn leased(
        &self,
        user: &UserId,
        now: Moment,
        ended: &mut EndedSessions,
        which: impl Fn(&Record) -> bool,
    ) {
        for (key, record) in self.leases.of(user, now.here) {
            if which(record)
                && record.end_at(now.store).is_none()
                && self.ended.covers(key, record).is_none()
            {
                ended.sessions.push(session(record));
            }
        }
    }

    /// These went over the limit.
    pub(super) fn limited(&mut self, bucket: Bucket, ended: &[EndedSession], now: Moment) {
        let end = End::new(EndReason::Limit, now.store);
        for session in ended {
            if let Some(user) = &session.user {
                self.ended
                    .handle(bucket, user, session.handle, end.clone(), now.here);
            }
        }
    }
}

fn pending_scope(
    scope: &EndScope,
    bucket: Bucket,
    name: Option<(UserId, Handle)>,
    before: SystemTime,
) -> PendingScope {
    match (scope, name) {
        (EndScope::One(key, _) | EndScope::Unborn(key), None) => PendingScope::Key(*key),
        (EndScope::One(..) | EndScope::Unborn(_), Some((user, handle))) => PendingScope::Handle {
            user,
            bucket,
            handle,
        },
        (EndScope::Handle(user, handle), _) => PendingScope::Handle {
            user: user.clone(),
            bucket,
            handle: *handle,
        },
        (EndScope::Others(user, kept), _) => PendingScope::User {
            user: user.clone(),
            bucket,
            keep: Some(*kept),
            before,
        },
        (EndScope::All(user), _) => PendingScope::User {
            user: user.clone(),
            bucket,
            keep: None,
            before,
        },
    }
}
