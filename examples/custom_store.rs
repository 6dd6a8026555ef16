//! A store of your own: sessions in files, one for each bucket. For one process: several would need to share the lock.
//!
//! `cargo run --example custom_store`, then <http://localhost:3000>; `cargo test --example custom_store` runs the suite.
//!
//! All that a store has to get right is in `sessile::store::rules`, as pure functions. What is left is a lock and
//! bytes: read a bucket ([`BucketFile`]), let a rule work on it, write it back.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fs, io};

use sessile::record::{Activity, Entry, HistoryEntry, Record, UserLog};
use sessile::store::rules::{self, SINCE_KEPT, Shelf};
use sessile::store::{
    Append, Appended, Applied, Apply, Create, Created, EndScope, EndSessions, EndedSessions,
    Replace, Replaced,
};
use sessile::{Bucket, Digest, Error, Key, Kind, RecordKey, Session, SessionLayer, SessionStore};
use sessile::{StoreError, UserId};

/// The most that all files may take: whoever floods the store with sessions fills this, and not the disk.
const MAX_BYTES: u64 = 1 << 30;
/// How often everything is searched for what is over.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone)]
struct FileStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    /// How many bytes the files have. Whoever holds the lock has them for itself: that makes each operation one step
    /// (rule 2).
    bytes: Mutex<u64>,
    /// The latest `since` there was. The clock is never behind it, so that a login which begins after an "end all" was
    /// acknowledged is never taken for one from before (rule 11). A lock of its own: reading it must not wait for files.
    floor: Mutex<SystemTime>,
}

impl FileStore {
    /// Opens a folder, or makes it.
    fn open(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder)?;
        let sizes = fs::read_dir(&folder)?.map(|file| Ok(file?.metadata()?.len()));
        Ok(Self(Arc::new(Inner {
            bytes: Mutex::new(sizes.sum::<io::Result<u64>>()?),
            folder,
            floor: Mutex::new(UNIX_EPOCH),
        })))
    }

    /// Drops what is over, every now and then: also that of users who never come back (rule 15).
    async fn keep_swept(self) {
        loop {
            let swept = self.on_files(Inner::sweep).await;
            // A disk that fails now may work in an hour; requests tell of it meanwhile.
            swept.unwrap_or_default();
            tokio::time::sleep(SWEEP_EVERY).await;
        }
    }

    /// On a thread that may block, for files do. What began there is finished also when its caller is gone: it happens
    /// wholly or not at all.
    async fn on_files<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || work(&inner)).await;
        done.map_err(io::Error::other)
            .flatten()
            .map_err(|error| StoreError::new("the files of the sessions failed").with_source(error))
    }
}

impl Inner {
    fn now(&self) -> SystemTime {
        let floor = self.floor.lock().unwrap_or_else(PoisonError::into_inner);
        SystemTime::now().max(*floor)
    }

    /// Runs one rule over one bucket.
    fn on<T>(
        &self,
        bucket: Bucket,
        rule: impl FnOnce(&mut BucketFile, SystemTime) -> T,
    ) -> io::Result<T> {
        self.within(u64::MAX, bucket, rule)
    }

    /// The same, if the files have no more than `most` bytes then.
    fn within<T>(
        &self,
        most: u64,
        bucket: Bucket,
        rule: impl FnOnce(&mut BucketFile, SystemTime) -> T,
    ) -> io::Result<T> {
        // A panic leaves whole files behind, so poison says nothing.
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: operations see the time in the order in which they happen.
        let now = self.now();
        let path = self.folder.join(bucket.to_string());
        let mut file = BucketFile::read(&path, bucket, now)?;
        let outcome = rule(&mut file, now);
        if file.is_changed {
            let before = fs::metadata(&path).map_or(0, |file| file.len());
            let content = file.to_bytes()?;
            let after = bytes.saturating_sub(before) + content.len() as u64;
            if after > most {
                // The rule worked on a copy: not to write that undoes it.
                return Err(io::ErrorKind::StorageFull.into());
            }
            replace_file(&path, &content)?;
            *bytes = after;
            // Before anybody is told.
            let mut floor = self.floor.lock().unwrap_or_else(PoisonError::into_inner);
            *floor = file.sinces.values().fold(*floor, |a, b| a.max(*b));
        }
        Ok(outcome)
    }

    fn sweep(&self) -> io::Result<()> {
        let mut buckets = self.buckets()?.into_iter();
        // Reading leaves out what is over.
        buckets.try_for_each(|bucket| self.on(bucket, |file, _| file.is_changed = true))
    }

    fn buckets(&self) -> io::Result<Vec<Bucket>> {
        let names = fs::read_dir(&self.folder)?.map(|file| Ok(file?.file_name()));
        let names: Vec<_> = names.collect::<io::Result<_>>()?;
        let tags = names.iter().filter_map(|name| name.to_str());
        let tags = tags.filter_map(|name| u16::from_str_radix(name, 16).ok());
        Ok(tags.map(Bucket::from).collect())
    }
}

#[rustfmt::skip] // One rule a line.
impl SessionStore for FileStore {
    fn now(&self) -> SystemTime {
        self.0.now()
    }

    async fn create(&self, create: Create) -> Result<Created, StoreError> {
        self.on_files(move |files| files.within(MAX_BYTES, create.key.bucket, |file, now| rules::create(file, now, &create))).await
    }

    async fn load(&self, key: RecordKey) -> Result<Option<Entry>, StoreError> {
        self.on_files(move |files| files.on(key.bucket, |file, now| rules::load(file, now, &key))).await
    }

    async fn apply(&self, apply: Apply) -> Result<Applied, StoreError> {
        self.on_files(move |files| files.within(MAX_BYTES, apply.key.bucket, |file, now| rules::apply(file, now, &apply))).await
    }

    async fn append(&self, append: Append) -> Result<Appended, StoreError> {
        self.on_files(move |files| files.within(MAX_BYTES, append.key.bucket, |file, now| rules::append(file, now, &append))).await
    }

    async fn replace(&self, replace: Replace) -> Result<Replaced, StoreError> {
        self.on_files(move |files| files.within(MAX_BYTES, replace.key.bucket, |file, now| rules::replace(file, now, &replace))).await
    }

    async fn end(&self, end: EndSessions) -> Result<EndedSessions, StoreError> {
        let bucket = match &end.scope {
            EndScope::One(key, _) | EndScope::Unborn(key) => key.bucket,
            EndScope::Handle(user, _) | EndScope::Others(user, _) | EndScope::All(user) => self.bucket(user),
        };
        // However full it is: signing out has to work.
        self.on_files(move |files| files.on(bucket, |file, now| rules::end(file, now, bucket, &end))).await
    }

    async fn list(&self, user: UserId) -> Result<Vec<Record>, StoreError> {
        let bucket = self.bucket(&user);
        self.on_files(move |files| files.on(bucket, |file, now| rules::list(file, now, bucket, &user))).await
    }

    async fn record(&self, user: UserId, activity: Activity) -> Result<(), StoreError> {
        let bucket = self.bucket(&user);
        self.on_files(move |files| files.within(MAX_BYTES, bucket, |file, now| rules::record(file, now, &user, activity))).await
    }

    async fn log(&self, user: UserId) -> Result<UserLog, StoreError> {
        let bucket = self.bucket(&user);
        self.on_files(move |files| files.on(bucket, |file, now| rules::log(file, now, &user))).await
    }

    async fn erase(&self, user: UserId) -> Result<(), StoreError> {
        let bucket = self.bucket(&user);
        self.on_files(move |files| files.on(bucket, |file, _| file.erase(&user))).await
    }

    /// Reads everything: statistics ask for it, requests never do.
    async fn count(&self, kind: Kind) -> Result<u64, StoreError> {
        self.on_files(move |files| {
            let each = files.buckets()?.into_iter();
            each.map(|bucket| files.on(bucket, |file, now| file.live(kind, now))).sum()
        })
        .await
    }
}

/// Bytes of one session.
const RECORD_LIMIT: usize = 64 << 10;

/// The contents of a bucket.
#[derive(Debug)]
struct BucketFile {
    entries: HashMap<RecordKey, Entry>,
    sinces: HashMap<UserId, SystemTime>,
    logs: HashMap<UserId, UserLog>,
    is_changed: bool,
}

/// What is in a file: whether it is a demo session, digest and entry; users with their `since`; users with their history
/// and activities. As JSON, which is short in a model and long on a disk.
type Content = (
    Vec<(bool, [u8; 32], Vec<u8>)>,
    Vec<(UserId, SystemTime)>,
    Vec<(UserId, Vec<String>, Vec<String>)>,
);

impl BucketFile {
    /// Reads what is not over; the rest is gone with the next write.
    fn read(path: &Path, bucket: Bucket, now: SystemTime) -> io::Result<Self> {
        let (entries, sinces, logs): Content = match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Content::default(),
            Err(error) => return Err(error),
        };
        let keyed = entries.into_iter().filter_map(|(is_demo, digest, bytes)| {
            let key = RecordKey {
                kind: if is_demo { Kind::Demo } else { Kind::User },
                bucket,
                digest: Digest::from_bytes(digest),
            };
            // One that cannot be read is absent (rule 5): nobody else is to suffer for it.
            Some((key, Entry::from_bytes(&bytes).ok()?))
        });
        let sinces = sinces.into_iter();
        let logs = logs.into_iter().map(|(user, history, activities)| {
            let mut log = UserLog {
                history: history
                    .iter()
                    .filter_map(|line| HistoryEntry::from_text(line))
                    .collect(),
                activities: activities
                    .iter()
                    .filter_map(|line| Activity::from_text(line))
                    .collect(),
            };
            log.forget(now);
            (user, log)
        });
        Ok(Self {
            entries: keyed.filter(|(_, e)| e.kept_until() > now).collect(),
            sinces: sinces.filter(|(_, at)| *at + SINCE_KEPT > now).collect(),
            logs: logs.filter(|(_, log)| *log != UserLog::default()).collect(),
            is_changed: false,
        })
    }

    fn live(&self, kind: Kind, now: SystemTime) -> u64 {
        let is_live = |entry: &Entry| matches!(entry.clone().at(now), Entry::Live(_));
        let live = self
            .entries
            .iter()
            .filter(|(key, entry)| key.kind == kind && is_live(entry));
        live.count() as u64
    }

    /// What [`read`](Self::read) reads. A bucket with nothing in it has no bytes.
    fn to_bytes(&self) -> io::Result<Vec<u8>> {
        if self.entries.is_empty() && self.sinces.is_empty() && self.logs.is_empty() {
            return Ok(Vec::new());
        }
        let entries = self.entries.iter().map(|(key, entry)| {
            let is_demo = key.kind == Kind::Demo;
            (is_demo, *key.digest.as_bytes(), entry.to_bytes())
        });
        let logs = self.logs.iter().map(|(user, log)| {
            let history = log.history.iter().map(HistoryEntry::to_text);
            let activities = log.activities.iter().map(Activity::to_text);
            (user.clone(), history.collect(), activities.collect())
        });
        let content: Content = (
            entries.collect(),
            self.sinces.clone().into_iter().collect(),
            logs.collect(),
        );
        Ok(serde_json::to_vec(&content)?)
    }
}

/// Replaces the file in one step: a crash leaves the old one or the new one. It may leave the old one although the new
/// one was acknowledged; who cannot bear that calls `File::sync_all` before renaming.
fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return fs::remove_file(path);
    }
    let new = path.with_extension("new");
    fs::write(&new, bytes)?;
    fs::rename(new, path)
}

impl Shelf for BucketFile {
    fn get(&self, key: &RecordKey) -> Option<Entry> {
        self.entries.get(key).cloned()
    }

    fn put(&mut self, key: &RecordKey, entry: Entry) {
        self.entries.insert(*key, entry);
        self.is_changed = true;
    }

    /// All of a user's sessions are in this bucket, so an index need not be kept: it is what the records say, and thus
    /// always the truth (rule 9). A store that has no bucket at hand keeps a set for each user.
    fn members(&self, user: &UserId) -> Vec<Digest> {
        let theirs = self.entries.iter().filter(|(key, entry)| match entry {
            Entry::Live(record) => key.kind == Kind::User && record.user() == Some(user.as_str()),
            Entry::Ended(_) => false,
        });
        theirs.map(|(key, _)| key.digest).collect()
    }

    fn add_member(&mut self, _: &UserId, _: Digest) {}

    fn remove_member(&mut self, _: &UserId, _: &Digest) {}

    fn since(&self, user: &UserId) -> Option<SystemTime> {
        self.sinces.get(user).copied()
    }

    fn set_since(&mut self, user: &UserId, since: SystemTime) {
        self.sinces.insert(user.clone(), since);
        self.is_changed = true;
    }

    fn note(&mut self, user: &UserId, entry: HistoryEntry) {
        let history = &mut self.logs.entry(user.clone()).or_default().history;
        history.insert(0, entry);
        history.truncate(HistoryEntry::MOST);
        self.is_changed = true;
    }

    fn record(&mut self, user: &UserId, activity: Activity) {
        let activities = &mut self.logs.entry(user.clone()).or_default().activities;
        activities.insert(0, activity);
        activities.truncate(Activity::MOST);
        self.is_changed = true;
    }

    fn log(&self, user: &UserId) -> UserLog {
        self.logs.get(user).cloned().unwrap_or_default()
    }

    fn erase(&mut self, user: &UserId) {
        self.is_changed |= self.logs.remove(user).is_some();
    }

    fn record_limit(&self) -> usize {
        RECORD_LIMIT
    }
}

const VISITS: Key<i64> = Key::new("visits");

async fn visit(session: Session) -> Result<String, Error> {
    let visits = session.increment(VISITS, 1).await?;
    Ok(format!("visit number {visits}\n"))
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let store = FileStore::open(std::env::temp_dir().join("sessile-custom-store"))?;
    tokio::spawn(store.clone().keep_swept());
    let visits = axum::routing::get(visit);
    let app = axum::Router::new()
        .route("/", visits)
        .layer(SessionLayer::new(store));
    axum::serve(tokio::net::TcpListener::bind("127.0.0.1:3000").await?, app).await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fresh() -> FileStore {
        let handle = sessile::Handle::random().unwrap();
        FileStore::open(std::env::temp_dir().join(format!("sessile-{handle}"))).unwrap()
    }

    // The one list of cases that every store has to pass.
    sessile::store_conformance!(conformance, fresh);

    impl Drop for Inner {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.folder).unwrap();
        }
    }
}
