//! The cookie: reading without an allocation, writing with every attribute.

use std::fmt;
use std::time::Duration;

use ::cookie::{Cookie, SameSite};
use http::{HeaderMap, HeaderValue, header};

use crate::error::ConfigError;
use crate::id::{Digest, MAX_ID_CHARS, SessionId};

/// So many cookies of one name are looked up at most.
const MAX_TWINS: usize = 4;
/// Browsers cut `Max-Age` at 400 days (RFC 6265bis, 5.5).
const MAX_AGE: Duration = Duration::from_secs(400 * 24 * 3600);
/// Name and value together (RFC 6265bis, 5.6): what is longer is ignored by browsers.
const MAX_NAME_VALUE: usize = 4096;
/// A single attribute (RFC 6265bis, 5.6).
const MAX_ATTRIBUTE: usize = 1024;

/// The ids that a request carries under the cookie's name, in order, malformed ones left out.
#[derive(Debug, Default)]
pub(crate) struct Presented {
    first: Option<Shown>,
    /// Nearly everybody has none.
    twins: Vec<Shown>,
}

/// An id that a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    Id(SessionId),
    /// What stands for an id of another system.
    Old(Digest),
}

/// The `Cookie` headers of a request, as they came. They are looked through once somebody asks: most requests do not.
#[derive(Default, Clone)]
pub(crate) struct CookieHeaders {
    first: Option<HeaderValue>,
    /// HTTP/2 may send each cookie in a header of its own (RFC 9113, 8.2.3).
    more: Vec<HeaderValue>,
}

impl CookieHeaders {
    /// Shares the values: no copy, and no allocation where there is one header.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(header::COOKIE).iter().cloned();
        Self {
            first: values.next(),
            more: values.collect(),
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The ids under this name. No allocation but for twins, whatever the headers hold.
    pub(crate) fn ids(&self, name: &str) -> Presented {
        let mut presented = Presented::default();
        self.each(|pair| {
            if let Some(id) = id_of(pair, name) {
                presented.push(Shown::Id(id));
            }
        });
        presented
    }

    /// The ids of another system under the cookie's name, or under the one that it had there: those that are accepted.
    pub(crate) fn old_ids(
        &self,
        name: &str,
        there: Option<&str>,
        accept: impl Fn(&[u8]) -> Option<Digest>,
    ) -> Presented {
        let mut presented = Presented::default();
        self.each(|pair| {
            let value = value_of(pair, name).or_else(|| value_of(pair, there?));
            if let Some(digest) = value.and_then(&accept) {
                presented.push(Shown::Old(digest));
            }
        });
        presented
    }

    /// Looks at every cookie, as `name=value`. Not an iterator: one that flattens takes longer than the looking.
    fn each(&self, mut look: impl FnMut(&[u8])) {
        for header in self.first.iter().chain(&self.more) {
            let mut rest = header.as_bytes();
            while let Some(at) = memchr::memchr(b';', rest) {
                look(rest[..at].trim_ascii());
                rest = &rest[at + 1..];
            }
            look(rest.trim_ascii());
        }
    }
}

/// Without their values: these open sessions.
impl fmt::Debug for CookieHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = usize::from(self.first.is_some()) + self.more.len();
        f.debug_tuple("CookieHeaders").field(&count).finish()
    }
}

impl Presented {
    /// Those that are too many are not looked at.
    fn push(&mut self, id: Shown) {
        if self.first.is_none() {
            self.first = Some(id);
        } else if self.twins.len() + 1 < MAX_TWINS {
            self.twins.push(id);
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The first one, and whether there are more.
    pub(crate) fn first(&self) -> Option<(Shown, bool)> {
        self.first.map(|first| (first, !self.twins.is_empty()))
    }
}

impl IntoIterator for Presented {
    type Item = Shown;
    type IntoIter = std::iter::Chain<std::option::IntoIter<Shown>, std::vec::IntoIter<Shown>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.twins)
    }
}

/// What a cookie of that name holds.
fn value_of<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

/// The id in a cookie of that name.
fn id_of(pair: &[u8], name: &str) -> Option<SessionId> {
    SessionId::parse(value_of(pair, name)?)
}

/// The cookie's name and attributes.
#[derive(Debug, Clone)]
pub(crate) struct CookieConfig {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) domain: Option<String>,
    pub(crate) same_site: SameSite,
    pub(crate) secure: bool,
    pub(crate) partitioned: bool,
    /// What stands behind the value, written down once by [`settle`](Self::settle).
    pub(crate) attributes: String,
}

impl CookieConfig {
    /// The cookie that opens the session. `max_age` only where it outlives the browser's session.
    pub(crate) fn set(&self, id: &SessionId, max_age: Option<Duration>) -> Cookie<'static> {
        let mut cookie = self.cookie(id.encode());
        if let Some(age) = max_age {
            // Whole seconds, rounded down: the browser forgets it no later than the server.
            let seconds = age.min(MAX_AGE).as_secs();
            cookie.set_max_age(::cookie::time::Duration::seconds(
                seconds.try_into().unwrap_or(i64::MAX),
            ));
        }
        cookie
    }

    /// The same as the `Set-Cookie` header, in one allocation.
    pub(crate) fn set_header(&self, id: &SessionId, max_age: Option<Duration>) -> HeaderValue {
        let age = max_age.map(|age| format!("; Max-Age={}", age.min(MAX_AGE).as_secs()));
        let mut chars = [0; MAX_ID_CHARS];
        let parts = [
            self.name.as_bytes(),
            b"=",
            id.encode_into(&mut chars),
            self.attributes.as_bytes(),
            age.as_deref().unwrap_or_default().as_bytes(),
        ];
        HeaderValue::try_from(parts.concat())
            .expect("name and attributes were checked, the id is base64")
    }

    /// The cookie that removes it: an empty value and the same attributes, without which browsers keep the old one.
    pub(crate) fn removal(&self) -> Cookie<'static> {
        let mut cookie = self.cookie(String::new());
        cookie.set_max_age(::cookie::time::Duration::ZERO);
        cookie
    }

    /// The same as the `Set-Cookie` header.
    pub(crate) fn removal_header(&self) -> HeaderValue {
        HeaderValue::try_from(self.removal().to_string()).expect("name and attributes were checked")
    }

    fn cookie(&self, value: String) -> Cookie<'static> {
        let mut cookie = Cookie::new(self.name.clone(), value);
        cookie.set_path(self.path.clone());
        cookie.set_http_only(true);
        cookie.set_same_site(self.same_site);
        if self.secure {
            cookie.set_secure(true);
        }
        if self.partitioned {
            cookie.set_partitioned(true);
        }
        if let Some(domain) = &self.domain {
            cookie.set_domain(domain.clone());
        }
        cookie
    }

    /// Checks the settings, which are final from here on.
    pub(crate) fn settle(&mut self) -> Result<(), ConfigError> {
        self.check()?;
        let nameless = self.cookie(String::new()).to_string();
        self.attributes = nameless[self.name.len() + "=".len()..].to_owned();
        Ok(())
    }

    /// Refuses what browsers would drop or what contradicts itself.
    fn check(&self) -> Result<(), ConfigError> {
        let refuse = |sentence: String| Err(ConfigError::new(sentence));
        if self.name.is_empty() || !self.name.bytes().all(is_token) {
            return refuse(format!(
                "the cookie name {:?} is not a token: use letters, digits and any of !#$%&'*+-.^_`|~",
                self.name
            ));
        }
        if self.name.len() + MAX_ID_CHARS > MAX_NAME_VALUE {
            return refuse(
                "the cookie name is too long: name and value together may have 4096 bytes".into(),
            );
        }
        if !self.path.starts_with('/') || !is_attribute(&self.path) {
            return refuse(format!(
                "the cookie path {:?} must start with / and be at most 1024 plain characters without ;",
                self.path
            ));
        }
        if let Some(domain) = &self.domain
            && !is_domain(domain)
        {
            return refuse(format!(
                "the cookie domain {domain:?} must be a host name such as example.com, without scheme and port; leave it out \
                 for this host alone"
            ));
        }
        // Without regard to case: that is how browsers compare prefixes (RFC 6265bis, 5.7).
        let name = self.name.to_ascii_lowercase();
        let prefixed = |prefix: &str| name.starts_with(prefix);
        if ["__secure-", "__host-", "__http-"]
            .iter()
            .any(|prefix| prefixed(prefix))
            && !self.secure
        {
            return refuse(format!(
                "browsers refuse the cookie {} without Secure: keep cookies secure, or choose a name without the prefix",
                self.name
            ));
        }
        if prefixed("__host-") && self.domain.is_some() {
            return refuse(format!(
                "browsers refuse the cookie {} with a domain: drop the domain, or choose a name without __Host-",
                self.name
            ));
        }
        if prefixed("__host-") && self.path != "/" {
            return refuse(format!(
                "browsers refuse the cookie {} with the path {}: use /, or choose a name without __Host-",
                self.name, self.path
            ));
        }
        if self.same_site == SameSite::None && !self.secure {
            return refuse(
                "browsers refuse SameSite=None without Secure: keep cookies secure, or use Lax"
                    .into(),
            );
        }
        if self.partitioned && !self.secure {
            return refuse(
                "browsers refuse Partitioned without Secure: keep cookies secure".into(),
            );
        }
        Ok(())
    }
}

/// RFC 9110, 5.6.2.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

/// A host name: labels of letters, digits and hyphens with dots between them (RFC 1123, 2.1), of at most 253 characters. A dot
/// before it changes nothing (RFC 6265, 5.2.3).
fn is_domain(domain: &str) -> bool {
    let host = domain.strip_prefix('.').unwrap_or(domain);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    host.len() <= 253 && host.split('.').all(is_label)
}

fn is_attribute(value: &str) -> bool {
    value.len() <= MAX_ATTRIBUTE
        && value
            .bytes()
            .all(|byte| matches!(byte, 0x20..=0x7e) && byte != b';')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Fresh;
    use proptest::prelude::*;

    fn id() -> SessionId {
        Fresh::draw().unwrap().id(7.into())
    }

    fn scan(cookies: &[&[u8]]) -> Vec<SessionId> {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(header::COOKIE, HeaderValue::from_bytes(cookie).unwrap());
        }
        CookieHeaders::of(&headers)
            .ids("session")
            .into_iter()
            .map(|shown| match shown {
                Shown::Id(id) => id,
                Shown::Old(_) => panic!("no old one was asked for"),
            })
            .collect()
    }

    #[test]
    fn ids_are_found_among_other_cookies_in_any_header() {
        let (a, b) = (id(), id());
        let first = format!("x=1; session={};y=\"2\"", a.encode());
        let second = format!("sessions={}; session={}", b.encode(), b.encode());
        assert_eq!(scan(&[first.as_bytes(), second.as_bytes()]), [a, b]);
    }

    #[test]
    fn r18_at_most_four_twins_count_and_malformed_ones_take_no_place() {
        let ids: Vec<_> = (0..6).map(|_| id()).collect();
        let header = ids
            .iter()
            .map(|id| format!("session=bad; session={}; ", id.encode()))
            .collect::<String>();
        assert_eq!(scan(&[header.as_bytes()]), ids[..4]);
    }

    #[test]
    fn a_bad_byte_beside_it_hides_nothing() {
        let a = id();
        let header = [b"x=\xff; session=", a.encode().as_bytes()].concat();
        assert_eq!(scan(&[&header]), [a]);
    }

    #[test]
    fn inv04_only_old_ids_that_are_accepted_are_seen() {
        let digest = Digest::from_bytes([7; 32]);
        let accept = |value: &[u8]| (value == b"old").then_some(digest);
        let scan = |cookie: &str, there| {
            let mut headers = HeaderMap::new();
            headers.append(header::COOKIE, HeaderValue::from_str(cookie).unwrap());
            let shown = CookieHeaders::of(&headers).old_ids("session", there, accept);
            let old = shown.into_iter().filter(|id| *id == Shown::Old(digest));
            old.count()
        };
        assert_eq!(scan("session=old; sid=old", None), 1);
        assert_eq!(scan("session=old; sid=old", Some("sid")), 2);
        assert_eq!(scan("session=other; sid=older", Some("sid")), 0);
        assert_eq!(scan(&"session=old; ".repeat(9), None), MAX_TWINS);
    }

    #[test]
    fn the_header_is_what_the_jar_would_send() {
        for (domain, same_site, secure, partitioned) in [
            (None, SameSite::Lax, true, false),
            (Some("example.org"), SameSite::None, true, true),
            (None, SameSite::Strict, false, false),
        ] {
            let mut config = CookieConfig {
                name: "session".into(),
                path: "/app".into(),
                domain: domain.map(Into::into),
                same_site,
                secure,
                partitioned,
                attributes: String::new(),
            };
            config.settle().unwrap();
            let id = id();
            // `Cookie` has its own order of attributes, which browsers do not mind.
            let sorted = |text: &str| {
                let mut parts: Vec<_> = text.split("; ").map(str::to_owned).collect();
                parts[1..].sort_unstable();
                parts
            };
            for age in [None, Some(Duration::from_secs(90)), Some(Duration::MAX)] {
                let header = config.set_header(&id, age);
                assert_eq!(
                    sorted(header.to_str().unwrap()),
                    sorted(&config.set(&id, age).to_string())
                );
            }
        }
    }

    #[test]
    fn what_opens_a_session_is_not_in_the_debug_text() {
        let mut headers = HeaderMap::new();
        assert!(CookieHeaders::of(&headers).is_empty());
        let id = id().encode();
        for _ in 0..2 {
            let cookie = HeaderValue::try_from(format!("session={id}")).unwrap();
            headers.append(header::COOKIE, cookie);
        }
        let cookies = CookieHeaders::of(&headers);
        assert_eq!(format!("{cookies:?}"), "CookieHeaders(2)");
        assert_eq!(cookies.ids("session").into_iter().count(), 2);
    }

    #[test]
    fn the_name_counts_to_the_letter() {
        let text = id().encode();
        for name in ["Session", "session2", "asession", "session "] {
            assert_eq!(scan(&[format!("{name}={text}").as_bytes()]), []);
        }
    }

    proptest! {
        #[test]
        fn r04_any_header_is_read_without_a_panic(bytes in proptest::collection::vec(0x20u8.., 0..300)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let mut headers = HeaderMap::new();
                headers.append(header::COOKIE, value);
                let ids = CookieHeaders::of(&headers).ids("session");
                prop_assert_eq!(ids.into_iter().count(), 0);
            }
        }

        #[test]
        fn r04_any_value_of_any_length_is_an_id_or_nothing(value in "[A-Za-z0-9_-]{40,54}") {
            if let Some(id) = SessionId::parse(value.as_bytes()) {
                prop_assert_eq!(id.encode(), value);
            }
        }
    }
}
