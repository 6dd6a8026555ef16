//! What the cases are written with: a user of their own, records, and calls that must be answered.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::clock::{instant, micros};
use crate::id::{Bucket, Digest, Handle, Kind, RecordKey, UserId};
use crate::record::{Changes, EndReason, Entry, NewRecord, Op, Record, Seen, Tombstone};
use crate::store::{
    Applied, Apply, Create, Created, EndScope, EndSessions, EndedSessions, Limit, Renewal, Replace,
    Replaced, SessionStore, SignIn, StoreError,
};

pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
/// How long sessions of the suite live without a request.
pub(super) const IDLE: Duration = Duration::from_secs(30 * 60);
/// How far `seen` may lag behind in them.
pub(super) const THRESHOLD: Duration = MINUTE;

/// How far a store's clock, as this instance knows it, may be behind the instant of something that has happened: that of
/// a remote store is behind by a round trip.
pub(super) const LAG: Duration = Duration::from_secs(1);

/// A store and a user whom nobody else in it has: cases do not meet, also where they share a server.
pub(super) struct Case<S> {
    pub(super) store: Arc<S>,
    pub(super) user: UserId,
}

/// A session that was made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Made {
    pub(super) key: RecordKey,
    pub(super) handle: Handle,
}

impl<S> Clone for Case<S> {
    fn clone(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            user: self.user.clone(),
        }
    }
}

impl<S: SessionStore> Case<S> {
    pub(super) fn new(store: Arc<S>) -> Self {
        Self {
            store,
            user: UserId::from(format!("user-{}", handle())),
        }
    }

    /// The same store, another user.
    pub(super) fn somebody_else(&self) -> Self {
        Self::new(Arc::clone(&self.store))
    }

    /// The store's clock, as exact as records are.
    pub(super) fn now(&self) -> SystemTime {
        instant(micros(self.store.now()))
    }

    pub(super) fn bucket(&self) -> Bucket {
        self.store.bucket(&self.user)
    }

    /// A key in the user's bucket under which nothing is.
    pub(super) fn key(&self) -> RecordKey {
        RecordKey {
            kind: Kind::User,
            bucket: self.bucket(),
            digest: digest(),
        }
    }

    /// A live session of the user, that began now.
    pub(super) fn new_record(&self) -> NewRecord {
        let now = self.now();
        NewRecord {
            handle: handle(),
            user: Some(self.user.clone()),
            created_at: now,
            signed_in_at: Some(now),
            absolute_end: now + 12 * HOUR,
            idle_timeout: IDLE,
            touch_threshold: THRESHOLD,
            persistent: false,
            seen: seen(now),
            values: vec![("cart".into(), br#"{"n":1}"#.to_vec())],
        }
    }

    /// A live session of nobody.
    pub(super) fn stranger(&self) -> NewRecord {
        NewRecord {
            user: None,
            signed_in_at: None,
            ..self.new_record()
        }
    }

    /// A session of the user that signed in so long ago.
    pub(super) fn signed_in_before(&self, ago: Duration) -> NewRecord {
        let at = self.now() - ago;
        NewRecord {
            created_at: at,
            signed_in_at: Some(at),
            ..self.new_record()
        }
    }

    /// A session of the user whose idle end passed a minute ago.
    pub(super) fn idle_out(&self) -> NewRecord {
        let at = self.now() - IDLE - THRESHOLD - MINUTE;
        NewRecord {
            created_at: at,
            signed_in_at: Some(at),
            seen: seen(at),
            ..self.new_record()
        }
    }

    pub(super) async fn create_with(
        &self,
        key: RecordKey,
        new: &NewRecord,
        began_at: SystemTime,
        limit: Option<Limit>,
    ) -> Created {
        let create = Create {
            key,
            record: Record::new(new),
            began_at,
            limit,
            held: false,
        };
        ok(self.store.create(create).await)
    }

    pub(super) async fn create(&self, key: RecordKey, new: &NewRecord) -> Created {
        self.create_with(key, new, self.store.now(), None).await
    }

    /// Makes this session under a new key; it must go well, and end nobody.
    pub(super) async fn made_from(&self, new: &NewRecord) -> Made {
        let key = self.key();
        assert_eq!(self.create(key, new).await, Created::Created(Vec::new()));
        Made {
            key,
            handle: new.handle,
        }
    }

    /// Makes a live session of the user.
    pub(super) async fn made(&self) -> Made {
        self.made_from(&self.new_record()).await
    }

    pub(super) async fn load(&self, key: RecordKey) -> Option<Entry> {
        ok(self.store.load(key).await)
    }

    /// The live record there; anything else is a failure of the case.
    pub(super) async fn live(&self, key: RecordKey) -> Record {
        match self.load(key).await {
            Some(Entry::Live(record)) => record,
            other => panic!("a live session was expected, and there is {other:?}"),
        }
    }

    /// The tombstone there; anything else is a failure of the case.
    pub(super) async fn ended(&self, key: RecordKey) -> Tombstone {
        match self.load(key).await {
            Some(Entry::Ended(tombstone)) => tombstone,
            other => panic!("an ended session was expected, and there is {other:?}"),
        }
    }

    pub(super) async fn is_live(&self, key: RecordKey) -> bool {
        matches!(self.load(key).await, Some(Entry::Live(_)))
    }

    pub(super) async fn apply(&self, key: RecordKey, changes: Changes) -> Applied {
        let apply = Apply {
            read: None,
            key,
            changes,
            seen: None,
        };
        ok(self.store.apply(apply).await)
    }

    pub(super) async fn touch(&self, key: RecordKey, seen: Seen) -> Applied {
        let apply = Apply {
            read: None,
            key,
            changes: Changes::default(),
            seen: Some(seen),
        };
        ok(self.store.apply(apply).await)
    }

    pub(super) async fn replace(
        &self,
        key: RecordKey,
        successor: Digest,
        renewal: Renewal,
    ) -> Replaced {
        let replace = Replace {
            key,
            successor,
            renewal,
            seen: seen(self.now()),
        };
        ok(self.store.replace(replace).await)
    }

    /// Gives the session a new id; it must go well.
    pub(super) async fn regenerated(&self, key: RecordKey) -> (RecordKey, Record) {
        let successor = digest();
        let replaced = self.replace(key, successor, Renewal::SameSession).await;
        let Replaced::Replaced { record, ended } = replaced else {
            panic!("a live session was not replaced: {replaced:?}");
        };
        assert_eq!(ended, [], "a new id ends nobody");
        (key.sibling(successor), record)
    }

    pub(super) async fn end(&self, scope: EndScope, reason: EndReason) -> EndedSessions {
        let end = EndSessions {
            scope,
            reason,
            note: None,
            before: None,
        };
        ok(self.store.end(end).await)
    }

    pub(super) async fn end_one(&self, key: RecordKey) -> EndedSessions {
        self.end(EndScope::One(key, None), EndReason::LoggedOut)
            .await
    }

    pub(super) async fn end_all(&self) -> EndedSessions {
        let all = EndScope::All(self.user.clone());
        self.end(all, EndReason::Revoked).await
    }

    /// The user's list, as handles.
    pub(super) async fn listed(&self) -> Vec<Handle> {
        let records = ok(self.store.list(self.user.clone()).await);
        records.iter().map(Record::handle).collect()
    }
}

/// The answer. A store that fails in the middle of the suite fails the case.
#[track_caller]
pub(super) fn ok<T>(answer: Result<T, StoreError>) -> T {
    match answer {
        Ok(answer) => answer,
        Err(error) => panic!("the store failed where it had an answer to give (rule 16): {error}"),
    }
}

pub(super) fn handle() -> Handle {
    Handle::random().expect("the operating system has randomness to give")
}

pub(super) fn digest() -> Digest {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the operating system has randomness to give");
    Digest::from_bytes(bytes)
}

pub(super) fn seen(at: SystemTime) -> Seen {
    Seen {
        at,
        address: Some("192.0.2.1".into()),
        agent: Some("conformance/1".into()),
    }
}

pub(super) fn set(name: &'static str, json: &str) -> Changes {
    Changes::one(name.into(), Op::Set(json.into()))
}

pub(super) fn add(name: &'static str, by: i64) -> Changes {
    Changes::one(name.into(), Op::Add(by))
}

/// A JSON text of a mebibyte: more than any store of the suite takes in one session.
pub(super) fn too_large() -> Vec<u8> {
    format!("\"{}\"", "x".repeat(1 << 20)).into_bytes()
}

pub(super) fn sign_in(new: &NewRecord, began_at: SystemTime) -> SignIn {
    SignIn {
        record: Record::new(new),
        keep: Vec::new(),
        began_at,
        limit: None,
    }
}

pub(super) fn signing_in(sign_in: SignIn) -> Renewal {
    Renewal::SignIn(Box::new(sign_in))
}

/// Runs all of these at the same time, each in a task of its own, and gives their answers in order.
pub(super) async fn together<F>(tasks: impl IntoIterator<Item = F>) -> Vec<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let tasks: Vec<F> = tasks.into_iter().collect();
    let start = Arc::new(Barrier::new(tasks.len()));
    let mut running = JoinSet::new();
    for (n, task) in tasks.into_iter().enumerate() {
        let start = Arc::clone(&start);
        running.spawn(async move {
            start.wait().await;
            (n, task.await)
        });
    }
    let mut answers = Vec::with_capacity(running.len());
    while let Some(done) = running.join_next().await {
        match done {
            Ok(answer) => answers.push(answer),
            // A failed assertion inside is this case's own. The other tasks end with the set, also those that wait
            // for what will never happen.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    answers.sort_by_key(|(n, _)| *n);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// Two futures of different types side by side.
pub(super) fn boxed<T>(
    future: impl Future<Output = T> + Send + 'static,
) -> Pin<Box<dyn Future<Output = T> + Send>> {
    Box::pin(future)
}
