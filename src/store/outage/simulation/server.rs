//! The store: the contract's own rules over a plain shelf, with what a server adds to them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use crate::clock::micros;
use crate::id::{Bucket, Digest, RecordKey, UserId};
use crate::record::{Entry, Record};
use crate::store::late;
use crate::store::rules::{self, Shelf};
use crate::store::{
    Applied, Apply, Beat, Create, Created, EndSessions, EndedSessions, Replace, Replaced,
};

/// What a server holds, and what a replica or an old snapshot of it does.
#[derive(Debug, Clone, Default)]
pub(super) struct Contents {
    pub(super) entries: BTreeMap<RecordKey, Entry>,
    pub(super) users: BTreeMap<UserId, BTreeSet<Digest>>,
    pub(super) sinces: BTreeMap<UserId, SystemTime>,
    /// Generation and number of the heartbeat.
    pub(super) beat: Option<(u64, u64)>,
}

/// Whether the server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum State {
    Up,
    /// It is asked, and does not answer until it goes on.
    Stopped,
    /// Nobody is there.
    Down,
    /// A replica, or a primary without replicas: it reads, and writes nothing.
    ReadOnly,
}

#[derive(Debug, Clone)]
pub(super) struct Server {
    /// Who it is: another after each restart.
    pub(super) name: u64,
    pub(super) state: State,
    pub(super) contents: Contents,
}

#[derive(Debug, Clone)]
pub(super) enum Command {
    Beat { least: u64 },
    Load(RecordKey),
    Create(Create),
    Apply(Apply),
    Replace(Replace),
    End(Bucket, EndSessions),
    List(Bucket, UserId),
}

#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// With the server's clock.
    Beat(Beat, u64),
    Loaded(Option<Entry>),
    Created(Created),
    Applied(Applied),
    Replaced(Replaced),
    Ended(EndedSessions),
    Listed(Vec<Record>),
    /// It came after its last instant: nothing was changed. With the server's clock.
    Late(u64),
    /// It writes nothing now.
    Refused,
}

impl Command {
    pub(super) const fn writes(&self) -> bool {
        !matches!(self, Self::Load(_) | Self::List(..))
    }
}

impl Server {
    /// Carries a command out. `draw`: what a new generation is called.
    pub(super) fn execute(
        &mut self,
        command: &Command,
        not_after: u64,
        now: SystemTime,
        draw: u64,
    ) -> Reply {
        if command.writes() {
            if self.state == State::ReadOnly {
                return Reply::Refused;
            }
            if late::is_late(micros(now), not_after) {
                return Reply::Late(micros(now));
            }
        }
        let shelf = &mut self.contents;
        match command {
            Command::Beat { least } => {
                let (generation, before) = match shelf.beat {
                    Some((generation, before)) => (generation, Some(before)),
                    None => (draw, None),
                };
                let value = before.unwrap_or(0).max(*least) + 1;
                shelf.beat = Some((generation, value));
                let beat = Beat {
                    server: self.name,
                    generation,
                    before,
                    value,
                };
                Reply::Beat(beat, micros(now))
            }
            // As it stands there: whoever asks judges it by the clock.
            Command::Load(key) => Reply::Loaded(shelf.get(key)),
            Command::Create(create) => Reply::Created(rules::create(shelf, now, create)),
            Command::Apply(apply) => Reply::Applied(rules::apply(shelf, now, apply)),
            Command::Replace(replace) => Reply::Replaced(rules::replace(shelf, now, replace)),
            Command::End(bucket, end) => Reply::Ended(rules::end(shelf, now, *bucket, end)),
            Command::List(bucket, user) => Reply::Listed(rules::list(shelf, now, *bucket, user)),
        }
    }
}

impl Contents {
    /// The live record under a key.
    pub(super) fn live(&self, key: &RecordKey, now: SystemTime) -> Option<&Record> {
        match self.entries.get(key)? {
            Entry::Live(record) if record.end_at(now).is_none() => Some(record),
            Entry::Live(_) | Entry::Ended(_) => None,
        }
    }

    pub(super) fn all_live(&self, now: SystemTime) -> impl Iterator<Item = (&RecordKey, &Record)> {
        let keys = self.entries.keys();
        keys.filter_map(move |key| Some((key, self.live(key, now)?)))
    }
}

impl Shelf for Contents {
    fn get(&self, key: &RecordKey) -> Option<Entry> {
        self.entries.get(key).cloned()
    }

    fn put(&mut self, key: &RecordKey, entry: Entry) {
        self.entries.insert(*key, entry);
    }

    fn members(&self, user: &UserId) -> Vec<Digest> {
        let members = self.users.get(user);
        members.map_or_else(Vec::new, |members| members.iter().copied().collect())
    }

    fn add_member(&mut self, user: &UserId, digest: Digest) {
        self.users.entry(user.clone()).or_default().insert(digest);
    }

    fn remove_member(&mut self, user: &UserId, digest: &Digest) {
        if let Some(members) = self.users.get_mut(user) {
            members.remove(digest);
        }
    }

    fn since(&self, user: &UserId) -> Option<SystemTime> {
        self.sinces.get(user).copied()
    }

    fn set_since(&mut self, user: &UserId, since: SystemTime) {
        self.sinces.insert(user.clone(), since);
    }

    fn record_limit(&self) -> usize {
        64 << 10
    }
}
