//! The names of keys.
//!
//! All of one bucket carry its tag in braces, so that they are in one slot of a cluster. A digest and a user come last:
//! what a user is called can name no other key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::name::{Name, tag};
use crate::error::ConfigError;
#[cfg(feature = "admin")]
use crate::id::Handle;
use crate::id::{Bucket, Digest, Kind, RecordKey, UserId};
use crate::store::Spend;

/// How long a digest is in a key.
const DIGEST_CHARS: usize = 43;
/// The family of users' lists.
const LISTS: &str = "user_sessions:";
/// No namespace, kind and bucket together are longer: `namespace:demo:session:{0123}:`.
const LONGEST_PREFIX: usize = 33 + 13 + 7;

/// Where a store's keys are: services that share one Redis have one each.
#[derive(Debug, Clone, Default)]
pub(super) struct Keyspace {
    namespace: String,
    /// The namespace with its colon, or nothing.
    prefix: String,
}

impl Keyspace {
    /// No record's key is longer.
    pub(super) const LONGEST_RECORD: usize = LONGEST_PREFIX + DIGEST_CHARS;

    /// The tag of what is of no user.
    pub(super) const HOUSEKEEPING: Bucket = Bucket::ZERO;

    /// `""`: no namespace.
    pub(super) fn new(namespace: &str) -> Result<Self, ConfigError> {
        let is_fit = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_' || c == b'-';
        if namespace.len() > 32 || !namespace.bytes().all(is_fit) {
            return Err(ConfigError::new(format!(
                "the namespace {namespace:?} is not 1 to 32 of the characters a-z, 0-9, - and _: choose another"
            )));
        }
        if namespace == "demo" {
            return Err(ConfigError::new(
                "the namespace \"demo\" would have the keys of demo sessions: choose another",
            ));
        }
        Ok(Self {
            namespace: namespace.to_owned(),
            prefix: match namespace {
                "" => String::new(),
                _ => format!("{namespace}:"),
            },
        })
    }

    pub(super) fn bucket(&self, user: &UserId) -> Bucket {
        Bucket::of(&self.namespace, user)
    }

    /// What the keys of a bucket's records begin with.
    pub(super) fn records(&self, kind: Kind, bucket: Bucket) -> String {
        Name::of(&self.prefix, family(kind), bucket).to_string()
    }

    pub(super) fn record(&self, key: &RecordKey) -> String {
        self.record_name(key).to_string()
    }

    /// The same, for a command that is sent in most requests.
    pub(super) fn record_name(&self, key: &RecordKey) -> Name {
        Name::of(&self.prefix, family(key.kind), key.bucket).with(&key.digest)
    }

    /// What the keys of a bucket's indexes begin with: of the users' sessions alone.
    pub(super) fn indexes_name(&self, kind: Kind, bucket: Bucket) -> Option<Name> {
        match kind {
            Kind::User => Some(Name::of(&self.prefix, LISTS, bucket)),
            Kind::Demo => None,
        }
    }

    /// Where it is written which session was migrated from an old id.
    pub(super) fn pointer(&self, digest: &Digest) -> String {
        let mut key = self.prefixed("legacy:", crate::legacy::pointer_bucket(digest), "");
        push_digest(&mut key, digest);
        key
    }

    /// The channel on which the scripts tell of ends: see `bury.lua`.
    pub(super) fn ends(&self, kind: Kind) -> String {
        format!("{}{}_ends", self.prefix, family(kind).trim_end_matches(':'))
    }

    /// Where messages wait for the session that one attempt to migrate makes of an old id.
    #[cfg(feature = "admin")]
    pub(super) fn staged(&self, digest: &Digest, handle: Handle) -> String {
        format!("{}:{handle}", self.pointer(digest))
    }

    /// The messages of a demo session's conversation.
    pub(super) fn messages(&self, key: &RecordKey) -> String {
        self.record(key) + ":messages"
    }

    /// Of a key that is a conversation's: the key of the demo that it is of.
    #[cfg(feature = "admin")]
    pub(super) fn of_messages<'a>(&self, key: &'a [u8]) -> Option<&'a [u8]> {
        let record = key.strip_suffix(b":messages")?;
        self.parse(Kind::Demo, record).map(|_| record)
    }

    /// What every list's key looks like.
    #[cfg(feature = "admin")]
    pub(super) fn index_pattern(&self) -> String {
        format!("{}user_sessions:{{????}}:*", self.prefix)
    }

    /// What every history's key looks like.
    #[cfg(feature = "admin")]
    pub(super) fn events_pattern(&self) -> String {
        format!("{}user_events:{{????}}:*", self.prefix)
    }

    /// Whose history a key is.
    #[cfg(feature = "admin")]
    pub(super) fn events_user(&self, key: &[u8]) -> Option<UserId> {
        let rest = key
            .strip_prefix(self.prefix.as_bytes())?
            .strip_prefix(b"user_events:")?;
        let (bucket, user) = split_tag(rest)?;
        let user = UserId::from(str::from_utf8(user).ok()?);
        (self.bucket(&user) == bucket).then_some(user)
    }

    /// The bucket of a list.
    #[cfg(feature = "admin")]
    pub(super) fn index_bucket(&self, key: &[u8]) -> Option<Bucket> {
        let rest = key
            .strip_prefix(self.prefix.as_bytes())?
            .strip_prefix(b"user_sessions:")?;
        split_tag(rest).map(|(bucket, _)| bucket)
    }

    /// The record that a key is the name of.
    pub(super) fn parse(&self, kind: Kind, key: &[u8]) -> Option<RecordKey> {
        let rest = key
            .strip_prefix(self.prefix.as_bytes())?
            .strip_prefix(family(kind).as_bytes())?;
        let (bucket, digest) = split_tag(rest)?;
        let mut bytes = [0u8; 32];
        match URL_SAFE_NO_PAD.decode_slice(digest, &mut bytes) {
            Ok(32) => Some(RecordKey {
                kind,
                bucket,
                digest: Digest::from_bytes(bytes),
            }),
            _ => None,
        }
    }

    /// What every key begins with.
    #[cfg(feature = "admin")]
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What somebody has had of what is counted.
    pub(super) fn budget(&self, spend: &Spend) -> String {
        let mut key = self.prefixed("demo_budget:", spend.bucket(), "");
        push_digest(&mut key, &spend.whose);
        key
    }

    /// What every record's key of a kind looks like, for a count.
    pub(super) fn pattern(&self, kind: Kind) -> String {
        format!("{}{}{{????}}:*", self.prefix, family(kind))
    }

    /// The same as text; `""`: none.
    pub(super) fn indexes(&self, kind: Kind, bucket: Bucket) -> String {
        let name = self.indexes_name(kind, bucket);
        name.map_or_else(String::new, |name| name.to_string())
    }

    pub(super) fn index(&self, user: &UserId) -> String {
        self.prefixed(LISTS, self.bucket(user), user.as_str())
    }

    /// What the keys of a bucket's `since`s begin with.
    pub(super) fn sinces(&self, bucket: Bucket) -> String {
        self.prefixed("user_since:", bucket, "")
    }

    pub(super) fn since(&self, user: &UserId) -> String {
        self.prefixed("user_since:", self.bucket(user), user.as_str())
    }

    /// What happened to a user's sessions.
    pub(super) fn events(&self, user: &UserId) -> String {
        self.prefixed("user_events:", self.bucket(user), user.as_str())
    }

    /// What the application recorded of a user.
    pub(super) fn activities(&self, user: &UserId) -> String {
        self.prefixed("user_activity:", self.bucket(user), user.as_str())
    }

    /// How many sessions there were when they were last counted.
    pub(super) fn counts(&self) -> String {
        let mut key = self.prefixed("count:", Self::HOUSEKEEPING, "");
        key.pop();
        key
    }

    /// That somebody is counting.
    pub(super) fn counting(&self) -> String {
        self.prefixed("count:", Self::HOUSEKEEPING, "counting")
    }

    /// The key of a heartbeat in the slot of this tag.
    pub(super) fn beat(&self, tag: Bucket) -> String {
        let mut key = self.prefixed("beat:", tag, "");
        // It is of nobody: nothing comes behind the tag.
        key.pop();
        key
    }

    fn prefixed(&self, family: &str, bucket: Bucket, rest: &str) -> String {
        let mut key =
            String::with_capacity(self.prefix.len() + family.len() + "{0123}:".len() + rest.len());
        key.push_str(&self.prefix);
        key.push_str(family);
        push_tag(&mut key, bucket);
        key.push_str(rest);
        key
    }
}

const fn family(kind: Kind) -> &'static str {
    match kind {
        Kind::User => "session:",
        Kind::Demo => "demo:session:",
    }
}

/// A tag, and what comes behind it.
fn split_tag(text: &[u8]) -> Option<(Bucket, &[u8])> {
    let (tag, rest) = text.split_first_chunk::<7>()?;
    let [b'{', digits @ .., b'}', b':'] = tag else {
        return None;
    };
    let digits = str::from_utf8(digits).ok()?;
    let is_tag = digits
        .bytes()
        .all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    let tag = u16::from_str_radix(digits, 16).ok().filter(|_| is_tag)?;
    Some((Bucket::from(tag), rest))
}

fn push_tag(key: &mut String, bucket: Bucket) {
    key.extend(tag(bucket).map(char::from));
}

fn push_digest(key: &mut String, digest: &Digest) {
    URL_SAFE_NO_PAD.encode_string(digest.as_bytes(), key);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: Kind) -> RecordKey {
        RecordKey {
            kind,
            bucket: Bucket::from(0x0a3f),
            digest: Digest::from_bytes([0xff; 32]),
        }
    }

    #[test]
    fn keys_are_as_the_documentation_says() {
        let digest = "_".repeat(42) + "8";
        let plain = Keyspace::new("").unwrap();
        assert_eq!(
            plain.record(&key(Kind::User)),
            format!("session:{{0a3f}}:{digest}")
        );
        assert_eq!(
            plain.record(&key(Kind::Demo)),
            format!("demo:session:{{0a3f}}:{digest}")
        );
        let shop = Keyspace::new("shop").unwrap();
        assert_eq!(
            plain.messages(&key(Kind::Demo)),
            format!("demo:session:{{0a3f}}:{digest}:messages")
        );
        let spend = Spend {
            whose: Digest::from_bytes([0xff; 32]),
            most: 1,
            within: std::time::Duration::from_secs(1),
        };
        assert_eq!(
            plain.budget(&spend),
            format!("demo_budget:{{ffff}}:{digest}")
        );
        assert_eq!(
            shop.record(&key(Kind::User)),
            format!("shop:session:{{0a3f}}:{digest}")
        );
        let alice = UserId::from("alice");
        let tag = shop.bucket(&alice);
        assert_eq!(
            shop.index(&alice),
            format!("shop:user_sessions:{{{tag}}}:alice")
        );
        assert_eq!(
            shop.since(&alice),
            format!("shop:user_since:{{{tag}}}:alice")
        );
        assert_eq!(
            shop.events(&alice),
            format!("shop:user_events:{{{tag}}}:alice")
        );
        assert_eq!(
            shop.activities(&alice),
            format!("shop:user_activity:{{{tag}}}:alice")
        );
        assert_eq!(shop.counts(), "shop:count:{0000}");
        assert_eq!(shop.counting(), "shop:count:{0000}:counting");
        assert_eq!(shop.beat(Bucket::from(0x0a3f)), "shop:beat:{0a3f}");
        assert_eq!(plain.beat(Bucket::from(0)), "beat:{0000}");
        assert_eq!(shop.indexes(Kind::User, tag) + "alice", shop.index(&alice));
        assert_eq!(shop.sinces(tag) + "alice", shop.since(&alice));
        assert_ne!(shop.bucket(&alice), plain.bucket(&alice));
    }

    #[cfg(feature = "admin")]
    #[test]
    fn a_key_is_read_back_and_that_of_another_namespace_is_not() {
        let (plain, shop) = (Keyspace::new("").unwrap(), Keyspace::new("shop").unwrap());
        for kind in [Kind::User, Kind::Demo] {
            let name = shop.record(&key(kind));
            assert_eq!(shop.parse(kind, name.as_bytes()), Some(key(kind)));
            assert_eq!(plain.parse(kind, name.as_bytes()), None);
            assert_eq!(shop.parse(kind, (name + ":messages").as_bytes()), None);
        }
        let record = shop.record(&key(Kind::Demo));
        let messages = shop.messages(&key(Kind::Demo));
        assert_eq!(
            shop.of_messages(messages.as_bytes()),
            Some(record.as_bytes())
        );
        assert_eq!(plain.of_messages(messages.as_bytes()), None);
        let not = shop.record(&key(Kind::User)) + ":messages";
        assert_eq!(shop.of_messages(not.as_bytes()), None);
        let alice = UserId::from("alice");
        let index = shop.index(&alice);
        assert_eq!(
            shop.index_bucket(index.as_bytes()),
            Some(shop.bucket(&alice))
        );
        assert_eq!(shop.index_bucket(b"shop:user_sessions:alice"), None);
        let events = shop.events(&alice);
        assert_eq!(shop.events_user(events.as_bytes()), Some(alice));
        assert_eq!(plain.events_user(events.as_bytes()), None);
        assert_eq!(shop.events_user(b"shop:user_events:{0000}:alice"), None);
    }

    #[test]
    fn no_prefix_is_longer_than_is_kept_room_for() {
        let longest = Keyspace::new(&"n".repeat(32)).unwrap();
        assert_eq!(
            longest.records(Kind::Demo, Bucket::from(0)).len(),
            LONGEST_PREFIX
        );
    }

    #[test]
    fn a_namespace_that_would_be_mixed_up_is_refused() {
        for bad in ["demo", "Shop", "a:b", "a b", "{x}", "*", &"n".repeat(33)] {
            assert!(Keyspace::new(bad).is_err(), "{bad}");
        }
        for good in ["", "shop", "shop-2_b", "demo2"] {
            assert!(Keyspace::new(good).is_ok(), "{good}");
        }
    }
}
