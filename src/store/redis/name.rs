//! A key without an allocation: every request has one or two of them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::keys::Keyspace;
use crate::id::{Bucket, Digest};

/// A record's key, or what a bucket's keys begin with.
pub(super) struct Name {
    bytes: [u8; Keyspace::LONGEST_RECORD],
    len: usize,
}

impl Name {
    /// What the keys of a bucket begin with: the namespace with its colon, and a family with its own.
    pub(super) fn of(prefix: &str, family: &str, bucket: Bucket) -> Self {
        let mut name = Self {
            bytes: [0; Keyspace::LONGEST_RECORD],
            len: 0,
        };
        name.push(prefix.as_bytes());
        name.push(family.as_bytes());
        name.push(&tag(bucket));
        name
    }

    /// With a digest behind it.
    pub(super) fn with(mut self, digest: &Digest) -> Self {
        let written = URL_SAFE_NO_PAD
            .encode_slice(digest.as_bytes(), &mut self.bytes[self.len..])
            .expect("the longest key has room for a digest");
        self.len += written;
        self
    }

    /// For a command.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..][..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

/// A bucket in braces, for the slot, and what ends it.
pub(super) fn tag(bucket: Bucket) -> [u8; 7] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let tag = bucket.get();
    let [a, b, c, d] = [12, 8, 4, 0].map(|shift| DIGITS[usize::from(tag >> shift & 15)]);
    [b'{', a, b, c, d, b'}', b':']
}

/// All of it is ASCII.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(self.as_bytes()).map_err(|_| fmt::Error)?)
    }
}
