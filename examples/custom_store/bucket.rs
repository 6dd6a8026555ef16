//! The contents of a bucket: a [`Shelf`] for the rules, and a file.

use std::collections::HashMap;
use std::path::Path;
use std::time::SystemTime;
use std::{fs, io};

use sessile::record::Entry;
use sessile::store::rules::{SINCE_KEPT, Shelf};
use sessile::{Bucket, Digest, Kind, RecordKey, UserId};

/// Bytes of one session.
const RECORD_LIMIT: usize = 64 << 10;

/// The contents of a bucket.
#[derive(Debug)]
pub(crate) struct BucketFile {
    pub(crate) entries: HashMap<RecordKey, Entry>,
    pub(crate) sinces: HashMap<UserId, SystemTime>,
    pub(crate) is_changed: bool,
}

/// What is in a file: whether it is a demo session, digest and entry; then users with their `since`. As JSON, which is
/// short in a model and long on a disk.
type Content = (Vec<(bool, [u8; 32], Vec<u8>)>, Vec<(UserId, SystemTime)>);

impl BucketFile {
    /// Reads what is not over; the rest is gone with the next write.
    pub(crate) fn read(path: &Path, bucket: Bucket, now: SystemTime) -> io::Result<Self> {
        let (entries, sinces): Content = match fs::read(path) {
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
        Ok(Self {
            entries: keyed.filter(|(_, e)| e.kept_until() > now).collect(),
            sinces: sinces.filter(|(_, at)| *at + SINCE_KEPT > now).collect(),
            is_changed: false,
        })
    }

    pub(crate) fn live(&self, kind: Kind, now: SystemTime) -> u64 {
        let is_live = |entry: &Entry| matches!(entry.clone().at(now), Entry::Live(_));
        let live = self
            .entries
            .iter()
            .filter(|(key, entry)| key.kind == kind && is_live(entry));
        live.count() as u64
    }

    /// What [`read`](Self::read) reads. A bucket with nothing in it has no bytes.
    pub(crate) fn to_bytes(&self) -> io::Result<Vec<u8>> {
        if self.entries.is_empty() && self.sinces.is_empty() {
            return Ok(Vec::new());
        }
        let entries = self.entries.iter().map(|(key, entry)| {
            let is_demo = key.kind == Kind::Demo;
            (is_demo, *key.digest.as_bytes(), entry.to_bytes())
        });
        let content: Content = (entries.collect(), self.sinces.clone().into_iter().collect());
        Ok(serde_json::to_vec(&content)?)
    }
}

/// Replaces the file in one step: a crash leaves the old one or the new one. It may leave the old one although the new
/// one was acknowledged; who cannot bear that calls `File::sync_all` before renaming.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
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

    fn record_limit(&self) -> usize {
        RECORD_LIMIT
    }
}
