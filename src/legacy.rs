//! Ids that another system made, and that are still in browsers after a move.
//!
//! 1. Such an id opens a session once, and only one that `sessile migrate` has brought here: that request gives the
//!    session an id of this crate's.
//! 2. What stands in a store is the SHA-256 of the old id, with words in front that no secret of this crate's begins
//!    with: an old id that is dressed up as one of ours opens nothing.
//! 3. An id that can be guessed opens nothing, unless the application names its form.

use std::borrow::Cow;
use std::time::SystemTime;

use uuid::Uuid;

#[cfg(feature = "redis")]
use crate::id::RecordKey;
use crate::id::{Bucket, Digest, Kind, sha256};

/// No id of another system is longer.
pub(crate) const MAX_LEGACY_BYTES: usize = 512;
/// `{user}_{ms}`: milliseconds since 1970 have 13 digits, from 2001 to 2286.
const MILLIS_DIGITS: usize = 13;

/// Which ids of another system still open the session that was migrated from it, and until when
/// ([`SessionLayerBuilder::accept_legacy`](crate::SessionLayerBuilder::accept_legacy)).
///
/// Ids that cannot be guessed are accepted: UUIDs, `sess_` with 32 hex digits or with a word and 16 hex digits, and 22 or
/// 43 characters of URL-safe base64. All others have to be named, one by one, by
/// [`insecure_guessable`](Self::insecure_guessable).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyIds {
    until: SystemTime,
    guessable: Vec<GuessableId>,
    cookie_name: Option<Cow<'static, str>>,
    demo_cookie_name: Option<Cow<'static, str>>,
}

/// A form of ids that somebody else can guess: whoever does has the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GuessableId {
    /// `{user}_{13 digits}`: whoever knows the user and about when they signed in needs some thousand tries.
    UserAndMillis,
    /// `demo-{13 digits}`: every one of them is found within a day of trying.
    DemoAndMillis,
    /// `session_{user}`: whoever knows the user has the session.
    SessionOfUser,
    /// Any other text: nothing is known of how it was made.
    AnyOther,
}

impl LegacyIds {
    /// Ids that cannot be guessed, until this instant by the store's clock; from then on their holders are strangers.
    ///
    /// Choose the latest end of any session that was migrated: a day after the move.
    #[must_use]
    pub const fn until(instant: SystemTime) -> Self {
        Self {
            until: instant,
            guessable: Vec::new(),
            cookie_name: None,
            demo_cookie_name: None,
        }
    }

    /// The cookie that the other system used, where it is not this layer's own. Default: none, old ids come in the
    /// layer's cookie. It is read and never set; it stays in browsers until it ends there, and opens nothing more.
    #[must_use]
    pub fn cookie_name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.cookie_name = Some(name.into());
        self
    }

    /// The same for demo sessions. Default: none, old ids come in the layer's demo cookie.
    #[must_use]
    pub fn demo_cookie_name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.demo_cookie_name = Some(name.into());
        self
    }

    /// Danger: accepts ids of this form too. Until the instant, anybody who guesses one takes over the session that was
    /// migrated from it and was not used since. Leave it out, and those users sign in again.
    #[must_use]
    pub fn insecure_guessable(mut self, form: GuessableId) -> Self {
        if !self.guessable.contains(&form) {
            self.guessable.push(form);
        }
        self
    }

    /// The cookie of the other system.
    pub(crate) fn cookie(&self, kind: Kind) -> Option<&str> {
        match kind {
            Kind::User => self.cookie_name.as_deref(),
            Kind::Demo => self.demo_cookie_name.as_deref(),
        }
    }

    /// What stands for a cookie's value in the store; `None` where it is not to be looked up.
    pub(crate) fn accept(&self, now: SystemTime, kind: Kind, value: &[u8]) -> Option<Digest> {
        if now >= self.until {
            return None;
        }
        // Python puts values in quotes that hold an @.
        let value = value
            .strip_prefix(b"\"")
            .and_then(|value| value.strip_suffix(b"\""))
            .unwrap_or(value);
        let accepted = match Form::of(value)? {
            Form::Random => true,
            Form::Guessable(form) => self.guessable.contains(&form),
        };
        accepted.then(|| digest(kind, value))
    }
}

/// What an id looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Random,
    Guessable(GuessableId),
}

impl Form {
    /// `None` for what no id can be. The guessable forms come first: a user may be called so that the whole has the
    /// length of a random one.
    fn of(value: &[u8]) -> Option<Self> {
        if value.is_empty() || value.len() > MAX_LEGACY_BYTES {
            return None;
        }
        let text = str::from_utf8(value).ok()?;
        let is_millis =
            |text: &str| text.len() == MILLIS_DIGITS && text.bytes().all(|c| c.is_ascii_digit());
        if text.strip_prefix("demo-").is_some_and(is_millis) {
            return Some(Self::Guessable(GuessableId::DemoAndMillis));
        }
        if text.rsplit_once('_').is_some_and(|(_, end)| is_millis(end)) {
            return Some(Self::Guessable(GuessableId::UserAndMillis));
        }
        if text.starts_with("session_") {
            return Some(Self::Guessable(GuessableId::SessionOfUser));
        }
        Some(if is_random(text) {
            Self::Random
        } else {
            Self::Guessable(GuessableId::AnyOther)
        })
    }
}

fn is_random(text: &str) -> bool {
    let is_hex = |text: &str, len: usize| {
        text.len() == len
            && text
                .bytes()
                .all(|c| c.is_ascii_digit() || matches!(c, b'a'..=b'f'))
    };
    if let Some(rest) = text.strip_prefix("sess_") {
        return is_hex(rest, 32)
            || rest
                .rsplit_once('_')
                .is_some_and(|(word, end)| !word.is_empty() && is_hex(end, 16));
    }
    let is_base64 = || {
        text.bytes()
            .all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
    };
    (text.len() == 36 && Uuid::try_parse(text).is_ok())
        || (matches!(text.len(), 22 | 43) && is_base64())
}

/// What stands for an old id.
pub(crate) fn digest(kind: Kind, id: &[u8]) -> Digest {
    // Longer than a secret by themselves: no secret of ours, which is 32 bytes, has the same digest.
    let words: &[u8] = match kind {
        Kind::User => b"sessile: the id that a user session had in another system\0",
        Kind::Demo => b"sessile: the id that a demo session had in another system\0",
    };
    Digest::from_bytes(sha256(&[words, id]))
}

/// Where the pointer stands: an old id does not tell a bucket, so it is in the one that its digest begins with.
pub(crate) fn pointer_bucket(digest: &Digest) -> Bucket {
    let bytes = digest.as_bytes();
    Bucket::from(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// What stands under the pointer's key: where the migrated session is, and what it was made from.
#[cfg(feature = "redis")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pointer {
    pub(crate) target: RecordKey,
}

#[cfg(feature = "redis")]
impl Pointer {
    /// `user 0a3f <digest> <what it was made from>`; the last is for whoever migrates.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;

        let mut words = str::from_utf8(bytes).ok()?.split(' ');
        let kind = match words.next()? {
            "user" => Kind::User,
            "demo" => Kind::Demo,
            _ => return None,
        };
        let bucket = words.next().filter(|tag| tag.len() == 4)?;
        let bucket = u16::from_str_radix(bucket, 16).ok()?;
        let mut digest = [0u8; 32];
        match URL_SAFE_NO_PAD.decode_slice(words.next()?, &mut digest) {
            Ok(32) => {}
            _ => return None,
        }
        Some(Self {
            target: RecordKey {
                kind,
                bucket: bucket.into(),
                digest: Digest::from_bytes(digest),
            },
        })
    }

    #[cfg(feature = "admin")]
    pub(crate) fn write(target: &RecordKey, made_from: &[u8]) -> String {
        let kind = match target.kind {
            Kind::User => "user",
            Kind::Demo => "demo",
        };
        let from = Digest::from_bytes(sha256(&[b"sessile: what was migrated\0", made_from]));
        format!(
            "{kind} {} {} {}",
            target.bucket,
            target.digest.to_text(),
            &from.to_text()[..16]
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn form(text: &str) -> Option<Form> {
        Form::of(text.as_bytes())
    }

    #[test]
    fn every_form_of_an_old_id_is_told() {
        use GuessableId::{AnyOther, DemoAndMillis, SessionOfUser, UserAndMillis};
        for random in [
            "7b1f5c54-0d3b-4d47-9a57-3d3c5c8f7f10",
            "sess_0123456789abcdef0123456789abcdef",
            "sess_1795455942_0123456789abcdef",
            "qL8J7mZ2kq3x0v9Yx4R-1tT_6wN5sB8dE2fG7hJ9kLm",
            "q83vEjRWeJCrze8SNFZ4kA",
        ] {
            assert_eq!(form(random), Some(Form::Random), "{random}");
        }
        for (guessable, expected) in [
            ("user_42_1795455942886", UserAndMillis),
            ("a@b:c-d_1795455942886", UserAndMillis),
            // As long as a random one, and of the same characters.
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaa_1795455942886", UserAndMillis),
            ("sess_1795455942886", UserAndMillis),
            ("demo-1795455942886", DemoAndMillis),
            ("session_alice", SessionOfUser),
            ("session_7b1f5c54-0d3b-4d47-9a57-3d3c5c8f7f1", SessionOfUser),
            ("alice", AnyOther),
            ("sess_12345", AnyOther),
            ("demo-179545594288", AnyOther),
            ("7b1f5c540d3b4d479a573d3c5c8f7f10", AnyOther),
        ] {
            assert_eq!(
                form(guessable),
                Some(Form::Guessable(expected)),
                "{guessable}"
            );
        }
        assert_eq!(form(""), None);
        assert_eq!(form(&"x".repeat(MAX_LEGACY_BYTES + 1)), None);
        assert_eq!(Form::of(b"\xff\xfe"), None);
    }

    #[test]
    fn what_can_be_guessed_is_accepted_only_when_its_form_is_named_and_nothing_after_the_instant() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let ids = LegacyIds::until(now + Duration::from_secs(1));
        let accepts =
            |ids: &LegacyIds, at, id: &str| ids.accept(at, Kind::User, id.as_bytes()).is_some();
        let (random, guessable) = (
            "7b1f5c54-0d3b-4d47-9a57-3d3c5c8f7f10",
            "user_42_1795455942886",
        );
        assert!(accepts(&ids, now, random));
        assert!(!accepts(&ids, now, guessable));
        assert!(!accepts(&ids, now + Duration::from_secs(1), random));
        let ids = ids.insecure_guessable(GuessableId::SessionOfUser);
        assert!(!accepts(&ids, now, guessable), "another form was named");
        let ids = ids.insecure_guessable(GuessableId::UserAndMillis);
        assert!(accepts(&ids, now, guessable));
        assert!(!accepts(&ids, now + Duration::from_secs(1), guessable));
    }

    #[test]
    fn inv04_an_old_id_that_is_dressed_up_as_a_secret_has_another_digest() {
        // 32 bytes: as long as a secret of ours, whose digest is its plain SHA-256.
        let id = b"0123456789abcdef0123456789abcdef";
        for kind in [Kind::User, Kind::Demo] {
            assert_ne!(digest(kind, id).as_bytes(), &sha256(&[id]));
        }
        assert_ne!(digest(Kind::User, id), digest(Kind::Demo, id));
    }

    #[cfg(feature = "admin")]
    #[test]
    fn a_pointer_reads_back() {
        let target = RecordKey {
            kind: Kind::Demo,
            bucket: 0x0a3f.into(),
            digest: digest(Kind::Demo, b"x"),
        };
        let text = Pointer::write(&target, b"{}");
        assert_eq!(Pointer::read(text.as_bytes()), Some(Pointer { target }));
        assert_eq!(Pointer::read(b"demo 0a3f short"), None);
        assert_ne!(text, Pointer::write(&target, b"{ }"));
    }
}
