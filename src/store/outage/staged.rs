//! What was written on leases: kept until the store can compare and set it.

mod merge;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use hashbrown::HashMap;

use merge::Place;

use crate::id::{Bucket, RecordKey};
use crate::record::{Change, Changes, Guard, Op, Record, Seen};
use crate::store::{Append, Failure};

/// So many commits of one session are kept at most, of those that are not one with another.
const COMMITS: usize = 64;
/// What a commit takes besides names and values.
const OVERHEAD: usize = 128;

/// The writes of some buckets, bounded in bytes. Each session's are in order.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Staged {
    sessions: HashMap<RecordKey, Writes>,
    bytes: usize,
    max_bytes: usize,
}

/// What is to be written into one session.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
struct Writes {
    commits: Vec<Changes>,
    seen: Option<Seen>,
    /// What was added to its conversation, in order.
    messages: VecDeque<Append>,
    bytes: usize,
    /// They are on their way: what is added from now on comes after them.
    sent: usize,
}

/// There is no room for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl Staged {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            sessions: HashMap::new(),
            bytes: 0,
            max_bytes,
        }
    }

    /// Adds a commit, whose conditions are in it, and the last activity. One that goes on from an earlier one becomes part
    /// of it: who writes the same again and again takes the room of one.
    pub(crate) fn add(
        &mut self,
        key: RecordKey,
        changes: Changes,
        seen: Option<&Seen>,
    ) -> Result<(), Full> {
        let known = self.sessions.get(&key);
        let seen_before = known.and_then(|writes| writes.seen.as_ref());
        let seen = seen.filter(|seen| seen_before.is_none_or(|known| known.at < seen.at));
        let place = match known {
            _ if changes.is_empty() => Place::Nowhere,
            Some(writes) => writes.place_of(changes)?,
            None => Place::Last(changes),
        };
        let (mut more, mut less) = match (&place, known) {
            (Place::Nowhere, _) => (0, 0),
            (Place::At(at, commit), Some(writes)) => {
                (size_of(commit), size_of(&writes.commits[*at]))
            }
            (Place::Last(commit) | Place::At(_, commit), _) => (size_of(commit), 0),
        };
        if let Some(seen) = seen {
            more += size_of_seen(seen);
            less += seen_before.map_or(0, size_of_seen);
        }
        if more > less && self.bytes - less + more > self.max_bytes {
            return Err(Full);
        }
        if more == 0 {
            return Ok(());
        }
        let writes = self.sessions.entry(key).or_default();
        match place {
            Place::Nowhere => {}
            Place::Last(commit) => writes.commits.push(commit),
            Place::At(at, commit) => writes.commits[at] = commit,
        }
        if let Some(seen) = seen {
            writes.seen = Some(seen.clone());
        }
        writes.bytes = writes.bytes - less + more;
        self.bytes = self.bytes - less + more;
        Ok(())
    }

    /// Adds a message to a conversation, with when it was said.
    pub(crate) fn append(&mut self, append: Append) -> Result<(), Full> {
        let size = append.message.body.len() + OVERHEAD;
        if self.bytes + size > self.max_bytes {
            return Err(Full);
        }
        let writes = self.sessions.entry(append.key).or_default();
        writes.messages.push_back(append);
        writes.bytes += size;
        self.bytes += size;
        Ok(())
    }

    /// The next message of a conversation, to be sent; `None`: there is none. It stays until it is
    /// [`appended`](Self::appended).
    pub(crate) fn message(&self, key: &RecordKey) -> Option<Append> {
        self.sessions.get(key)?.messages.front().cloned()
    }

    /// The message that was sent has its outcome.
    pub(crate) fn appended(&mut self, append: &Append) {
        if let Some(writes) = self.sessions.get_mut(&append.key)
            && let Some(front) = writes.messages.front()
            && front.message.id == append.message.id
        {
            let size = append.message.body.len() + OVERHEAD;
            writes.messages.pop_front();
            writes.bytes -= size;
            self.bytes -= size;
            self.forget_if_done(&append.key);
        }
    }

    /// Whether something is to be written into this session.
    pub(crate) fn has(&self, key: &RecordKey) -> bool {
        self.sessions.contains_key(key)
    }

    /// The next commit of a session, to be sent; `None`: there is none. It stays until it is [`written`](Self::written).
    pub(crate) fn next(&mut self, key: &RecordKey) -> Option<(Changes, Option<Seen>)> {
        let writes = self.sessions.get_mut(key)?;
        if writes.commits.is_empty() && writes.seen.is_none() {
            return None;
        }
        let seen = writes.seen.clone();
        let changes = writes.commits.first().cloned().unwrap_or_default();
        writes.sent = usize::from(!writes.commits.is_empty());
        Some((changes, seen))
    }

    /// The commit that was sent has its outcome. `seen` went with it.
    pub(crate) fn written(&mut self, key: &RecordKey, seen: Option<SystemTime>) {
        let Some(writes) = self.sessions.get_mut(key) else {
            return;
        };
        let sent = writes.sent.min(writes.commits.len());
        let mut less: usize = writes.commits.drain(..sent).map(|it| size_of(&it)).sum();
        writes.sent = 0;
        if writes.seen.as_ref().map(|seen| seen.at) == seen {
            less += writes.seen.take().as_ref().map_or(0, size_of_seen);
        }
        writes.bytes -= less;
        self.bytes -= less;
        self.forget_if_done(key);
    }

    fn forget_if_done(&mut self, key: &RecordKey) {
        if let Some(writes) = self.sessions.get(key)
            && writes.commits.is_empty()
            && writes.seen.is_none()
            && writes.messages.is_empty()
        {
            self.forget(key);
        }
    }

    /// The session is over: nothing of it is written.
    pub(crate) fn forget(&mut self, key: &RecordKey) {
        if let Some(writes) = self.sessions.remove(key) {
            self.bytes -= writes.bytes;
        }
    }

    /// The sessions in these buckets.
    pub(crate) fn keys(&self, in_part: impl Fn(Bucket) -> bool) -> Vec<RecordKey> {
        let keys = self.sessions.keys().copied();
        let mut keys: Vec<_> = keys.filter(|key| in_part(key.bucket)).collect();
        keys.sort_unstable();
        keys
    }

    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }
}

fn size_of_seen(seen: &Seen) -> usize {
    let text = |text: &Option<Arc<str>>| text.as_deref().map_or(0, str::len);
    text(&seen.address) + text(&seen.agent) + OVERHEAD
}

/// With what a commit takes besides.
fn size_of(changes: &Changes) -> usize {
    let each = changes.each.iter().map(|change| {
        let guard = match &change.guard {
            Guard::Any => 0,
            Guard::Unchanged(value) => value.as_ref().map_or(0, |value| value.len()),
        };
        let op = match &change.op {
            Op::Set(json) => json.len(),
            Op::Remove | Op::Add(_) => 0,
        };
        change.name.len() + guard + op + 64
    });
    each.sum::<usize>() + OVERHEAD
}

/// Whether what failed so must not be sent again: it adds, and may have been done.
pub(super) fn is_done_at_most_once(changes: &Changes, failure: Failure) -> bool {
    let adds = changes
        .each
        .iter()
        .any(|change| matches!(change.op, Op::Add(_)));
    let is_undone = matches!(
        failure,
        Failure::Unreachable | Failure::Refused | Failure::Full
    );
    adds && !is_undone
}

/// What has changed from `before` to `after`, each value to be changed only where it is what it was before; and the last
/// activity, if it is another.
pub(crate) fn since(before: &Record, after: &Record) -> (Changes, Option<Seen>) {
    let names: BTreeSet<&str> = before.names().chain(after.names()).collect();
    let changed = names.into_iter().filter_map(|name| {
        let (was, is) = (before.value(name), after.value(name));
        (was != is).then(|| Change {
            name: name.to_owned().into(),
            guard: Guard::Unchanged(was.map(Into::into)),
            op: is.map_or(Op::Remove, |is| Op::Set(is.into())),
        })
    });
    let seen = (before.seen_at() < after.seen_at()).then(|| after.seen());
    (
        Changes {
            clear: None,
            each: changed.collect(),
        },
        seen,
    )
}

/// The same changes, to be made only where each value is what it is in `read`; additions need no condition. A clear
/// becomes the removal of each value that was there: what somebody else added meanwhile was never seen.
pub(crate) fn compared(changes: &Changes, read: &Record) -> Changes {
    let unchanged = |name: &str| Guard::Unchanged(read.value(name).map(Into::into));
    let mut each: Vec<Change> = Vec::new();
    if changes.clear.is_some() {
        let cleared = read
            .names()
            .filter(|name| changes.clears(name) && changes.get(name).is_none());
        each.extend(cleared.map(|name| Change {
            name: name.to_owned().into(),
            guard: unchanged(name),
            op: Op::Remove,
        }));
    }
    each.extend(changes.each.iter().map(|change| {
        let cleared = changes.clears(&change.name);
        match &change.op {
            // Added to what was cleared: it begins at zero.
            Op::Add(by) if cleared => Change {
                guard: unchanged(&change.name),
                op: Op::Set(by.to_string().into_bytes()),
                name: change.name.clone(),
            },
            Op::Add(_) => change.clone(),
            Op::Set(_) | Op::Remove => Change {
                guard: unchanged(&change.name),
                ..change.clone()
            },
        }
    }));
    Changes { clear: None, each }
}
