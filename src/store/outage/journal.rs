//! The journal: ends that must reach a store that is away.
//!
//! 1. Nothing is ever dropped. An end stays until the store acknowledged it, or until another end in the journal ends
//!    the same sessions and more. What finds no place is refused, and the caller says so.
//! 2. Everything is bounded. Where single sessions find no more place, one end of all of their user's sessions takes
//!    theirs: it ends more than was asked for, never less.
//! 3. What one end asks for, no other end spares. Of one user there are at most two: of all, and of all but one.
//! 4. An acknowledgement speaks for exactly what was sent. Whatever is added gets a new [`Ticket`], also where it says
//!    what was said before: what was sent earlier may have been carried out earlier.
//! 5. No I/O and no clock. Each change is a [`Step`]; the steps of a journal, carried out again in their order, give the
//!    same journal. A file keeps them.
//!
//! Instants are the store's, to the microsecond. [`PendingEnd::at`] must not be before the sign-in of the session that
//! ends: whoever knows the record takes the later of the two. Where one end makes another needless, it is by this.

use std::collections::BTreeMap;
use std::hash::RandomState;
use std::time::SystemTime;

use hashbrown::{Equivalent, HashMap};

use crate::id::{Bucket, Handle, Kind, RecordKey, UserId};
use crate::record::{End, Record};
use crate::store::rules;

mod end;
mod pair;
#[cfg(test)]
mod tests;

pub(super) use end::LAST_MICROS;
pub(crate) use end::{PendingEnd, PendingScope};
use pair::Pair;

/// How much a journal holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JournalLimits {
    /// Ends of single sessions.
    pub(crate) sessions: usize,
    /// Ends of a user's sessions; a user has at most two.
    pub(crate) users: usize,
}

impl Default for JournalLimits {
    /// 65,536 of each: some 20 MB with short ids, some 100 MB at the worst.
    fn default() -> Self {
        Self {
            sessions: 65_536,
            users: 65_536,
        }
    }
}

/// Which end was sent, as it was then. They are ordered as they are sent: ends of users first, then by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket {
    pub(super) class: Class,
    pub(super) number: u64,
}

/// The order in which ends are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Class {
    All,
    Others,
    Single,
}

/// A change of the journal, for a file to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// This end went in, with that number.
    Add { number: u64, end: PendingEnd },
    /// The store acknowledged that one.
    Done(Ticket),
}

/// What came of [`Journal::add`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an end that was refused must not be acknowledged"]
pub(crate) enum Added {
    /// It is in the journal.
    Kept(Step),
    /// There was no place for it alone: all of the user's sessions of that time end with it.
    Collapsed(Step),
    /// There is no place for it; nothing changed.
    Full,
}

#[cfg(test)]
/// How many ends there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct JournalCounts {
    /// Of single sessions.
    pub(crate) sessions: usize,
    /// Of users.
    pub(crate) users: usize,
}

/// Ends that must reach the store.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    limits: JournalLimits,
    ends: BTreeMap<Ticket, PendingEnd>,
    // Invariant: these two name exactly the tickets in `ends`, each once, and no user without any.
    keys: HashMap<RecordKey, Ticket, RandomState>,
    users: HashMap<UserId, OfUser, RandomState>,
    /// Of those in `ends`, how many are of users.
    of_users: usize,
    /// The number of the next end: above every number that was ever given.
    next: u64,
}

/// What is pending for one user.
#[derive(Debug, Clone, Default)]
struct OfUser {
    all: Option<Ticket>,
    others: Option<Ticket>,
    sessions: HashMap<Handle, Ticket, RandomState>,
}

/// A user's id to look up by, without making one.
#[derive(Hash)]
struct Named<'a>(&'a str);

impl Equivalent<UserId> for Named<'_> {
    fn equivalent(&self, user: &UserId) -> bool {
        self.0 == user.as_str()
    }
}

impl Journal {
    pub(crate) fn new(limits: JournalLimits) -> Self {
        Self {
            limits,
            ends: BTreeMap::new(),
            keys: HashMap::default(),
            users: HashMap::default(),
            of_users: 0,
            next: 0,
        }
    }

    /// Takes an end in.
    ///
    /// A user's id that is longer than allowed is [`Added::Full`]: nobody signs in with it, and its length would be
    /// no bound.
    pub(crate) fn add(&mut self, end: PendingEnd) -> Added {
        let mut end = end.rounded();
        let mut collapsed = false;
        if let Some(whole) = self.instead_of(&end) {
            end = whole;
            collapsed = true;
        }
        match &end.scope {
            PendingScope::Key(key) => {
                if !self.keys.contains_key(key) && self.has_no_place_for_a_session() {
                    return Added::Full;
                }
            }
            PendingScope::Handle { user, .. } => {
                if user.as_str().len() > UserId::MAX_BYTES {
                    return Added::Full;
                }
            }
            PendingScope::User { user, bucket, .. } => {
                if user.as_str().len() > UserId::MAX_BYTES {
                    return Added::Full;
                }
                let now = self.of(user);
                let after = now.clone().with(&end);
                let more = after.count().saturating_sub(now.count());
                if more > 0 && self.of_users + more > self.limits.users {
                    if now.count() == 0 {
                        return Added::Full;
                    }
                    // One in place of two: the session that was to be kept ends as well.
                    let before = after.latest();
                    end.scope = PendingScope::User {
                        user: user.clone(),
                        bucket: *bucket,
                        keep: None,
                        before,
                    };
                    collapsed = true;
                }
            }
        }
        let step = Step::Add {
            number: self.next,
            end,
        };
        self.carry_out(&step);
        if collapsed {
            Added::Collapsed(step)
        } else {
            Added::Kept(step)
        }
    }

    /// What is to be sent, at most `limit` of those in some part of the store, in the order of their tickets and after
    /// that one. An end stays until it is acknowledged, so that one that the store never takes does not hold up the
    /// others.
    ///
    /// An end that was added meanwhile may come before the last ticket: a pass that began at `None` and found nothing
    /// has sent all.
    pub(crate) fn next(
        &self,
        after: Option<Ticket>,
        in_part: impl Fn(Bucket) -> bool,
        limit: usize,
    ) -> Vec<(Ticket, PendingEnd)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.ends
            .range((from, Unbounded))
            .filter(|(_, end)| in_part(end.scope.bucket()))
            .take(limit)
            .map(|(ticket, end)| (*ticket, end.clone()))
            .collect()
    }

    /// The store has carried out what was sent under this ticket. `None`: it is not here, or something was added since
    /// that must be sent as well.
    pub(crate) fn acknowledged(&mut self, ticket: Ticket) -> Option<Step> {
        self.ends.contains_key(&ticket).then(|| {
            let step = Step::Done(ticket);
            self.carry_out(&step);
            step
        })
    }

    /// All that is here.
    pub(crate) fn all(&self) -> impl Iterator<Item = &PendingEnd> {
        self.ends.values()
    }

    /// The end of this record, if one is pending.
    pub(crate) fn covers(&self, key: &RecordKey, record: &Record) -> Option<End> {
        if self.ends.is_empty() {
            return None;
        }
        if let Some(end) = self.covers_key(key) {
            return Some(end);
        }
        // As in `rules`: demo sessions are in nobody's list.
        match key.kind {
            Kind::User => self.covers_listed(record),
            Kind::Demo => None,
        }
    }

    /// The sessions that an end of all others of their user keeps.
    pub(crate) fn kept(&self, in_part: impl Fn(Bucket) -> bool) -> Vec<(UserId, Bucket, Handle)> {
        let first = |class| Ticket { class, number: 0 };
        self.ends
            .range(first(Class::Others)..first(Class::Single))
            .filter_map(|(_, end)| match &end.scope {
                PendingScope::User {
                    user,
                    bucket,
                    keep: Some(handle),
                    ..
                } if in_part(*bucket) => Some((user.clone(), *bucket, *handle)),
                PendingScope::User { .. } | PendingScope::Handle { .. } | PendingScope::Key(_) => {
                    None
                }
            })
            .collect()
    }

    /// The end of a session that is in its user's list, if one is pending by its name or for all of them.
    pub(crate) fn covers_listed(&self, record: &Record) -> Option<End> {
        let user = record.user()?;
        let of_user = self.users.get(&Named(user))?;
        let handle = record.handle();
        let single = of_user.sessions.get(&handle);
        let signed_in_at = rules::signed_in_at(record);
        let ticket = single.or_else(|| {
            [&of_user.all, &of_user.others]
                .into_iter()
                .flatten()
                .find(|ticket| self.ends[*ticket].ends(handle, signed_in_at))
        })?;
        Some(self.ends[ticket].end())
    }

    /// The end of what is under this key, if one is pending by the key alone.
    pub(crate) fn covers_key(&self, key: &RecordKey) -> Option<End> {
        self.keys.get(key).map(|ticket| self.ends[ticket].end())
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn counts(&self) -> JournalCounts {
        JournalCounts {
            sessions: self.ends.len() - self.of_users,
            users: self.of_users,
        }
    }

    /// The number of the next end.
    pub(super) const fn next_number(&self) -> u64 {
        self.next
    }

    /// The steps that give this journal.
    pub(super) fn steps(&self) -> impl Iterator<Item = Step> {
        self.ends.iter().map(|(ticket, end)| Step::Add {
            number: ticket.number,
            end: end.clone(),
        })
    }

    /// Carries a step out, whatever the limits: they were kept when it was made, and may have been others.
    ///
    /// In their order, each once: what was acknowledged before an end came must not take that end in afterwards.
    pub(super) fn carry_out(&mut self, step: &Step) {
        match step {
            Step::Add { number, end } => {
                let number = if self.is_anothers(*number, end) {
                    self.next
                } else {
                    *number
                };
                self.next = self.next.max(number.saturating_add(1));
                self.put(number, end);
            }
            Step::Done(ticket) => {
                self.next = self.next.max(ticket.number.saturating_add(1));
                self.take(*ticket);
            }
        }
    }

    /// Whether a number is taken: never by what [`add`](Self::add) made, but a file may have been put together by hand.
    fn is_anothers(&self, number: u64, end: &PendingEnd) -> bool {
        [Class::All, Class::Others, Class::Single]
            .into_iter()
            .filter_map(|class| self.ends.get(&Ticket { class, number }))
            .any(|there| !there.scope.is_alike(&end.scope))
    }

    /// The end of all sessions of the user of `end` in place of that one and of those of the user that are here, if it
    /// is of a single session and there is no place for it.
    fn instead_of(&self, end: &PendingEnd) -> Option<PendingEnd> {
        let PendingScope::Handle {
            user,
            bucket,
            handle,
        } = &end.scope
        else {
            return None;
        };
        let of_user = self.users.get(user);
        let there = of_user.is_some_and(|of_user| of_user.sessions.contains_key(handle));
        if there || !self.has_no_place_for_a_session() {
            return None;
        }
        // Whoever was ended had signed in at that instant at the latest.
        let last = of_user
            .into_iter()
            .flat_map(|of_user| of_user.sessions.values())
            .map(|ticket| self.ends[ticket].at)
            .fold(end.at, SystemTime::max);
        let scope = PendingScope::User {
            user: user.clone(),
            bucket: *bucket,
            keep: None,
            before: rules::after(last),
        };
        Some(PendingEnd {
            scope,
            ..end.clone()
        })
    }

    fn has_no_place_for_a_session(&self) -> bool {
        self.ends.len() - self.of_users >= self.limits.sessions
    }

    /// The ends of a user's sessions that are here.
    fn of(&self, user: &UserId) -> Pair {
        let of_user = self.users.get(user);
        let find = |ticket: Option<Ticket>| ticket.map(|ticket| self.ends[&ticket].clone());
        Pair {
            all: find(of_user.and_then(|of_user| of_user.all)),
            others: find(of_user.and_then(|of_user| of_user.others)),
        }
    }

    fn put(&mut self, number: u64, end: &PendingEnd) {
        let ticket = Ticket {
            class: Class::Single,
            number,
        };
        let slot = match &end.scope {
            PendingScope::Key(key) => self.keys.entry(*key).or_insert(ticket),
            PendingScope::Handle { user, handle, .. } => {
                let of_user = self.users.entry(user.clone()).or_default();
                of_user.sessions.entry(*handle).or_insert(ticket)
            }
            PendingScope::User { user, .. } => return self.put_user(number, user, end),
        };
        let there = self.ends.remove(slot);
        *slot = ticket;
        let both = match there {
            Some(first) => first.again_at(end.at),
            None => end.clone(),
        };
        self.ends.insert(*slot, both);
    }

    fn put_user(&mut self, number: u64, user: &UserId, end: &PendingEnd) {
        let pair = self.of(user).with(end);
        let of_user = self.users.entry(user.clone()).or_default();
        for old in [of_user.all.take(), of_user.others.take()]
            .into_iter()
            .flatten()
        {
            self.ends.remove(&old);
            self.of_users -= 1;
        }
        // Those that end anyway are needed no more.
        let ends = &mut self.ends;
        of_user.sessions.retain(|handle, ticket| {
            let at = ends[ticket].at;
            let needed = !pair.ends(*handle, at);
            if !needed {
                ends.remove(ticket);
            }
            needed
        });
        for (class, slot, end) in [
            (Class::All, &mut of_user.all, pair.all),
            (Class::Others, &mut of_user.others, pair.others),
        ] {
            if let Some(end) = end {
                let ticket = Ticket { class, number };
                *slot = Some(ticket);
                self.ends.insert(ticket, end);
                self.of_users += 1;
            }
        }
        // Before 1970 nobody signed in, and nothing is pending.
        if of_user.is_empty() {
            self.users.remove(user);
        }
    }

    fn take(&mut self, ticket: Ticket) {
        let Some(end) = self.ends.remove(&ticket) else {
            return;
        };
        let user = match &end.scope {
            PendingScope::Key(key) => {
                self.keys.remove(key);
                return;
            }
            PendingScope::Handle { user, .. } => user,
            PendingScope::User { user, .. } => {
                self.of_users -= 1;
                user
            }
        };
        if let Some(of_user) = self.users.get_mut(user) {
            for slot in [&mut of_user.all, &mut of_user.others] {
                if *slot == Some(ticket) {
                    *slot = None;
                }
            }
            if let PendingScope::Handle { handle, .. } = &end.scope {
                of_user.sessions.remove(handle);
            }
            if of_user.is_empty() {
                self.users.remove(user);
            }
        }
    }
}

impl OfUser {
    fn is_empty(&self) -> bool {
        self.all.is_none() && self.others.is_none() && self.sessions.is_empty()
    }
}
