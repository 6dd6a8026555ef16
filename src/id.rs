//! The names of things: what a cookie holds, what a store sees, what lists and logs show.
//!
//! Three names that must not be mixed up, so each is a type:
//! - [`SessionId`], the secret. It exists in the cookie and for the length of a request, nowhere else.
//! - [`Digest`], its SHA-256. The only form a store ever sees; sent as a cookie it opens nothing.
//! - [`Handle`], a UUID with no power at all: for lists, logs and revocations. It survives regeneration.

use std::borrow::Borrow;
use std::cell::RefCell;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{self, SHA256};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The form byte of an id that a store holds, version 1.
const FORM_STORED: u8 = 0x01;
/// The form byte of an id that was made while the store was away: behind the secret stands where and when.
const FORM_LOCAL: u8 = 0x02;
/// Form byte, bucket, secret.
const ID_BYTES: usize = 1 + 2 + SECRET_BYTES;
/// 256 bits. ASVS 5.0, 7.2.3 asks for at least 128.
const SECRET_BYTES: usize = 32;
/// And with the instance and the instant of its birth.
const LOCAL_ID_BYTES: usize = ID_BYTES + 4 + 4;
/// How long an id is as text: 35 bytes in base64 without padding.
const ID_CHARS: usize = 47;
/// The longest id as text: 43 bytes.
pub(crate) const MAX_ID_CHARS: usize = 58;

/// The value of the cookie: a form byte, the bucket, and 256 random bits.
///
/// It has no `Display`, and its `Debug` shows nothing, so that it cannot end up in a log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionId {
    bucket: Bucket,
    secret: [u8; SECRET_BYTES],
    born: Option<Born>,
}

/// Where and when a session was made while its store was away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Born {
    /// Which instance made it: a random number that each draws for itself.
    pub(crate) instance: u32,
    /// When, in seconds since 1970: until 2106.
    pub(crate) at: u32,
}

/// Randomness for one new session.
pub(crate) struct Fresh {
    secret: [u8; SECRET_BYTES],
    handle: [u8; 16],
    bucket: [u8; 2],
}

/// What a new session needs of it.
const FRESH_BYTES: usize = SECRET_BYTES + 16 + 2;
/// For so many sessions it is fetched at once: the call costs far more than the bytes.
const FETCHED: usize = 32;

/// Bytes from the operating system's generator that nobody has used yet. One for each thread; each byte is handed out
/// once and wiped.
struct Unused {
    bytes: [u8; FRESH_BYTES * FETCHED],
    left: usize,
    /// Whose they are: after a fork, two processes would hand out the same ones.
    process: u32,
}

thread_local! {
    static UNUSED: RefCell<Unused> = const {
        RefCell::new(Unused { bytes: [0; FRESH_BYTES * FETCHED], left: 0, process: 0 })
    };
}

impl Unused {
    fn take(&mut self) -> Result<[u8; FRESH_BYTES], getrandom::Error> {
        let process = std::process::id();
        if self.left == 0 || self.process != process {
            self.left = 0;
            getrandom::fill(&mut self.bytes)?;
            (self.left, self.process) = (FETCHED, process);
        }
        self.left -= 1;
        let start = self.left * FRESH_BYTES;
        let place = &mut self.bytes[start..start + FRESH_BYTES];
        let mut taken = [0; FRESH_BYTES];
        taken.swap_with_slice(place);
        Ok(taken)
    }
}

impl Fresh {
    /// Draws from the operating system's generator.
    pub(crate) fn draw() -> Result<Self, getrandom::Error> {
        let bytes = UNUSED.with_borrow_mut(Unused::take)?;
        let (secret, rest) = bytes.split_at(SECRET_BYTES);
        let (handle, bucket) = rest.split_at(16);
        Ok(Self {
            secret: secret.try_into().expect("split at its length"),
            handle: handle.try_into().expect("split at its length"),
            bucket: bucket.try_into().expect("what is left is two bytes"),
        })
    }

    /// A random bucket: for sessions that belong to nobody, so that they spread over a cluster.
    pub(crate) fn bucket(&self) -> Bucket {
        Bucket(u16::from_be_bytes(self.bucket))
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle(uuid::Builder::from_random_bytes(self.handle).into_uuid())
    }

    pub(crate) fn id(&self, bucket: Bucket) -> SessionId {
        SessionId {
            bucket,
            secret: self.secret,
            born: None,
        }
    }
}

impl SessionId {
    /// Reads a cookie's value. Whatever is not exactly what [`encode`](Self::encode) writes is `None`.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        // Not decoded first and measured after: a value of a megabyte must cost nothing.
        if value.len() != ID_CHARS && value.len() != MAX_ID_CHARS {
            return None;
        }
        let mut bytes = [0u8; LOCAL_ID_BYTES];
        let read = URL_SAFE_NO_PAD.decode_slice(value, &mut bytes).ok()?;
        let (&form, rest) = bytes[..read].split_first()?;
        let (bucket, rest) = rest.split_first_chunk::<2>()?;
        let (secret, rest) = rest.split_first_chunk::<SECRET_BYTES>()?;
        let born = match (form, rest) {
            (FORM_STORED, []) => None,
            (FORM_LOCAL, rest) => {
                let (instance, rest) = rest.split_first_chunk::<4>()?;
                Some(Born {
                    instance: u32::from_be_bytes(*instance),
                    at: u32::from_be_bytes(rest.try_into().ok()?),
                })
            }
            _ => return None,
        };
        Some(Self {
            bucket: Bucket(u16::from_be_bytes(*bucket)),
            secret: *secret,
            born,
        })
    }

    /// The same secret, as the id of a session that was made here while the store was away. `None`: as any other.
    pub(crate) const fn born(self, born: Option<Born>) -> Self {
        Self { born, ..self }
    }

    /// Where and when it was made, if the store was away then.
    pub(crate) const fn birth(&self) -> Option<Born> {
        self.born
    }

    /// The cookie's value: 47 characters of URL-safe base64, 58 where it was made while the store was away.
    pub(crate) fn encode(&self) -> String {
        let mut chars = [0; MAX_ID_CHARS];
        str::from_utf8(self.encode_into(&mut chars))
            .expect("base64 is ASCII")
            .to_owned()
    }

    /// The same, without an allocation.
    pub(crate) fn encode_into<'a>(&self, chars: &'a mut [u8; MAX_ID_CHARS]) -> &'a [u8] {
        let mut bytes = [0; LOCAL_ID_BYTES];
        bytes[0] = FORM_STORED;
        bytes[1..3].copy_from_slice(&self.bucket.0.to_be_bytes());
        bytes[3..ID_BYTES].copy_from_slice(&self.secret);
        let bytes = match self.born {
            None => &bytes[..ID_BYTES],
            Some(born) => {
                bytes[0] = FORM_LOCAL;
                bytes[ID_BYTES..ID_BYTES + 4].copy_from_slice(&born.instance.to_be_bytes());
                bytes[ID_BYTES + 4..].copy_from_slice(&born.at.to_be_bytes());
                &bytes[..]
            }
        };
        let written = URL_SAFE_NO_PAD
            .encode_slice(bytes, chars)
            .expect("43 bytes are 58 characters");
        &chars[..written]
    }

    /// What the store knows this session by.
    pub(crate) fn key(&self, kind: Kind) -> RecordKey {
        RecordKey {
            kind,
            bucket: self.bucket,
            digest: Digest(sha256(&[&self.secret])),
        }
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(…)")
    }
}

/// Which of the two families of sessions a record belongs to. They have separate keys and separate cookies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Sessions of users, and of strangers who have written something.
    User,
    /// Demo sessions.
    Demo,
}

/// The SHA-256 of a session's secret: the form in which a store knows it.
///
/// `Debug` shows nothing of it: a digest opens no session, but it links a log to a store.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// A digest from its bytes, for stores that read it back from where they put it.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads what [`to_text`](Self::to_text) wrote. `None`: it did not write this.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let read = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        (read == bytes.len()).then_some(Self(bytes))
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Base64url without padding, 43 characters: the form in a key of a store.
    #[must_use]
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(…)")
    }
}

/// A 16-bit tag that keeps everything of one user together: one slot of a Redis Cluster, one shard of a memory.
///
/// For a signed-in session it comes from the user, for a stranger's it is random. It travels in the cookie, so
/// that the place is known before the record is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bucket(u16);

impl Bucket {
    /// That of what is of no user.
    #[cfg(feature = "redis")]
    pub(crate) const ZERO: Self = Self(0);

    /// The bucket of a user: the first two bytes of SHA-256(namespace ‖ 0 ‖ user).
    #[must_use]
    pub fn of(namespace: &str, user: &UserId) -> Self {
        let hash = sha256(&[namespace.as_bytes(), &[0], user.as_str().as_bytes()]);
        Self(u16::from_be_bytes([hash[0], hash[1]]))
    }

    /// The tag as a number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl From<u16> for Bucket {
    fn from(tag: u16) -> Self {
        Self(tag)
    }
}

/// Four hex digits.
impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}", self.0)
    }
}

/// SHA-256 over the parts, one behind the other. By the library that TLS brings along, so that there is but one.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let hash = context.finish();
    hash.as_ref().try_into().expect("256 bits are 32 bytes")
}

/// What a store finds a record by: kind, bucket and digest together.
///
/// All three count. A digest under a wrong bucket, or of the other kind, is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordKey {
    /// The family of sessions.
    pub kind: Kind,
    /// Where it is kept.
    pub bucket: Bucket,
    /// Which one it is.
    pub digest: Digest,
}

impl RecordKey {
    /// The key of another record in the same bucket and of the same kind.
    #[must_use]
    pub const fn sibling(&self, digest: Digest) -> Self {
        Self { digest, ..*self }
    }
}

/// The public name of a session: for lists, logs and revocations.
///
/// A random UUID. It is neither the secret nor a key of a store, opens nothing, and stays when the id is regenerated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Handle(Uuid);

impl Handle {
    /// A new random handle.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        Ok(Fresh::draw()?.handle())
    }

    /// The UUID.
    #[must_use]
    pub const fn as_uuid(&self) -> &Uuid {
        &self.0
    }
}

impl From<Uuid> for Handle {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl From<Handle> for Uuid {
    fn from(handle: Handle) -> Self {
        handle.0
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Handle {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// The application's name for a user: 1 to 256 bytes of text that never change for that user.
///
/// Anything that an application identifies users by turns into one: text, numbers, UUIDs. The length is checked
/// when it is used to sign in. Clones are cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(Arc<str>);

impl UserId {
    /// The longest user id, in bytes.
    pub const MAX_BYTES: usize = 256;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the length is from 1 to [`MAX_BYTES`](Self::MAX_BYTES).
    #[must_use]
    pub fn is_valid(&self) -> bool {
        (1..=Self::MAX_BYTES).contains(&self.0.len())
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// So that maps by user are looked up by text.
impl Borrow<str> for UserId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for UserId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<&Self> for UserId {
    fn from(user: &Self) -> Self {
        user.clone()
    }
}

impl From<&str> for UserId {
    fn from(user: &str) -> Self {
        Self(user.into())
    }
}

impl From<&String> for UserId {
    fn from(user: &String) -> Self {
        Self(user.as_str().into())
    }
}

impl From<String> for UserId {
    fn from(user: String) -> Self {
        Self(user.into())
    }
}

impl From<Uuid> for UserId {
    fn from(user: Uuid) -> Self {
        Self(user.to_string().into())
    }
}

macro_rules! user_id_from_integer {
    ($($integer:ty),*) => {$(
        impl From<$integer> for UserId {
            fn from(user: $integer) -> Self {
                Self(user.to_string().into())
            }
        }
    )*};
}
user_id_from_integer!(i32, i64, u32, u64);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn r01_ten_thousand_ids_do_not_repeat_and_every_bit_is_fair() {
        const N: usize = 10_000;
        let mut seen = HashSet::new();
        let mut ones = [0u32; SECRET_BYTES * 8];
        for _ in 0..N {
            let id = Fresh::draw().unwrap().id(Bucket(7));
            assert!(seen.insert(id.encode()));
            for (n, count) in ones.iter_mut().enumerate() {
                *count += u32::from(id.secret[n / 8] >> (n % 8) & 1);
            }
        }
        for count in ones {
            let share = f64::from(count) / N as f64;
            assert!((0.48..=0.52).contains(&share), "{share}");
        }
    }

    #[test]
    fn r01_what_was_handed_out_is_wiped_and_another_process_gets_its_own() {
        let taken = |unused: &mut Unused| unused.take().unwrap();
        UNUSED.with_borrow_mut(|unused| {
            let first = taken(unused);
            let left = unused.left;
            assert!(
                !unused
                    .bytes
                    .windows(8)
                    .any(|run| first.windows(8).any(|part| part == run))
            );
            let next = unused.bytes[(left - 1) * FRESH_BYTES..left * FRESH_BYTES].to_vec();
            unused.process ^= 1;
            assert_ne!(taken(unused)[..], next[..], "as after a fork");
        });
    }

    #[test]
    fn r02_an_id_holds_nothing_but_form_bucket_and_randomness() {
        let user = UserId::from("alice");
        let bucket = Bucket::of("", &user);
        let a = URL_SAFE_NO_PAD
            .decode(Fresh::draw().unwrap().id(bucket).encode())
            .unwrap();
        let b = URL_SAFE_NO_PAD
            .decode(Fresh::draw().unwrap().id(bucket).encode())
            .unwrap();
        assert_eq!(a.len(), 35);
        assert_eq!(a[..3], b[..3], "form and bucket");
        let same = a[3..].iter().zip(&b[3..]).filter(|(x, y)| x == y).count();
        assert!(same < 8, "{same} of 32 bytes alike");
    }

    #[test]
    fn an_id_reads_back_and_nothing_else_reads() {
        let id = Fresh::draw().unwrap().id(Bucket(0xBEEF));
        let text = id.encode();
        assert_eq!(text.len(), ID_CHARS);
        assert_eq!(SessionId::parse(text.as_bytes()), Some(id));
        assert_eq!(SessionId::parse(&text.as_bytes()[1..]), None);
        assert_eq!(SessionId::parse(format!("{text}A").as_bytes()), None);
        assert_eq!(SessionId::parse(format!("{text}=").as_bytes()), None);
        // Two spellings of one id would be two cookies for one session: the spare bits must be zero.
        let mut spare = text.clone().into_bytes();
        let last = spare.last_mut().unwrap();
        *last = if *last == b'A' {
            b'B'
        } else {
            last.wrapping_add(1)
        };
        assert_ne!(SessionId::parse(&spare), Some(id));
        let other_form = URL_SAFE_NO_PAD.encode([9u8; ID_BYTES]);
        assert_eq!(SessionId::parse(other_form.as_bytes()), None);
    }

    #[test]
    fn r07_debug_shows_no_secret_and_no_digest() {
        let id = Fresh::draw().unwrap().id(Bucket(1));
        assert_eq!(format!("{id:?}"), "SessionId(…)");
        let key = id.key(Kind::User);
        assert!(!format!("{key:?}").contains(&key.digest.to_text()));
    }

    #[test]
    fn the_bucket_is_the_hash_of_namespace_and_user() {
        let user = UserId::from("alice");
        let hash = sha256(&[b"shop\0alice"]);
        assert_eq!(
            Bucket::of("shop", &user).get(),
            u16::from_be_bytes([hash[0], hash[1]])
        );
        assert_ne!(Bucket::of("shop", &user), Bucket::of("", &user));
        assert_eq!(Bucket(0x0a0b).to_string(), "0a0b");
    }
}
