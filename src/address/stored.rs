//! What of an address is kept: all of it, its network, or something that only tells whether it is the same.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// What is kept of clients' addresses: in sessions, in the history, in events.
///
/// Whatever it is, whether two addresses are of one network (/24, or /48 of IPv6, what one household or office tends to
/// have) can be told of it, and that is all that the judgement of [risk](crate::risk) needs.
#[derive(Debug, Clone, Default)]
pub enum StoredAddress {
    /// The address: what a user's list of sessions shows best. The default.
    #[default]
    Full,
    /// Its network alone, such as `192.0.2.0/24` or `2001:db8:1::/48`: no longer a person's, in most cases.
    Network,
    /// A keyed hash of its network, such as `#5bVbVSqVBpQP`: it tells whether two are the same, and to nobody without the
    /// key which they are.
    Hashed(AddressKey),
    /// Nothing.
    Nothing,
}

/// The key of [`StoredAddress::Hashed`]. All instances need the same one; keep it as you keep a password.
#[derive(Clone)]
pub struct AddressKey(ring::hmac::Key);

impl AddressKey {
    /// From secret bytes, 32 of them at best.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self(ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret))
    }
}

/// Nothing of it is shown.
impl fmt::Debug for AddressKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddressKey").finish_non_exhaustive()
    }
}

/// So many bytes of the hash: two networks in a thousand million have the same by chance as good as never.
const HASH_BYTES: usize = 9;

impl StoredAddress {
    /// What is kept of this one.
    pub(crate) fn text(&self, address: IpAddr) -> Option<Arc<str>> {
        Some(match self {
            Self::Full => address.to_string().into(),
            Self::Network => Network::of(address).to_string().into(),
            Self::Hashed(AddressKey(key)) => {
                let network = Network::of(address).to_string();
                let hash = ring::hmac::sign(key, network.as_bytes());
                let short = URL_SAFE_NO_PAD.encode(&hash.as_ref()[..HASH_BYTES]);
                format!("#{short}").into()
            }
            Self::Nothing => return None,
        })
    }

    /// Whether an address is of another network than one that was kept.
    pub(crate) fn is_elsewhere(&self, stored: Option<&str>, address: IpAddr) -> bool {
        // Nearly always, and without an allocation.
        if let (Self::Full, Some(Ok(stored))) = (self, stored.map(str::parse)) {
            return Prefix::of(stored) != Prefix::of(address);
        }
        let Some(now) = self.text(address) else {
            return false;
        };
        match stored {
            Some(stored) => network_of(stored) != network_of(&now),
            None => true,
        }
    }
}

/// The network of an address: /24 or /48.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Prefix(IpAddr);

/// A network, as far as it can be told from what was kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Network(Box<str>);

impl Network {
    pub(crate) fn of(address: IpAddr) -> Self {
        Self(Prefix::of(address).to_string().into())
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The network of what was kept of an address, in whichever way: also where the way has changed since.
pub(crate) fn network_of(stored: &str) -> Network {
    let address = stored
        .parse::<IpAddr>()
        .ok()
        .or_else(|| stored.split_once('/')?.0.parse().ok());
    match address {
        Some(address) => Network::of(address),
        None => Network(stored.into()),
    }
}

impl Prefix {
    fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                Ipv4Addr::new(a, b, c, 0).into()
            }
            IpAddr::V6(v6) => {
                let [a, b, c, ..] = v6.segments();
                Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).into()
            }
        })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = if self.0.is_ipv4() { 24 } else { 48 };
        write!(f, "{}/{bits}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn kept(how: &StoredAddress, text: &str) -> Option<String> {
        how.text(address(text)).map(|text| text.to_string())
    }

    #[test]
    fn what_is_kept_is_as_was_asked() {
        let full = StoredAddress::Full;
        assert_eq!(kept(&full, "192.0.2.7").as_deref(), Some("192.0.2.7"));
        let network = StoredAddress::Network;
        assert_eq!(kept(&network, "192.0.2.7").as_deref(), Some("192.0.2.0/24"));
        assert_eq!(
            kept(&network, "2001:db8:1:9::2").as_deref(),
            Some("2001:db8:1::/48")
        );
        assert_eq!(
            kept(&network, "::ffff:192.0.2.7").as_deref(),
            Some("192.0.2.0/24")
        );
        assert_eq!(kept(&StoredAddress::Nothing, "192.0.2.7"), None);

        let hashed = StoredAddress::Hashed(AddressKey::new(b"key"));
        let other = StoredAddress::Hashed(AddressKey::new(b"another"));
        let text = kept(&hashed, "192.0.2.7").unwrap();
        assert_eq!((text.len(), &text[..1]), (13, "#"));
        assert!(!text.contains("192") && !format!("{hashed:?}").contains("key\""));
        assert_eq!(kept(&hashed, "192.0.2.8"), Some(text.clone()));
        assert_ne!(kept(&hashed, "192.0.3.7"), Some(text.clone()));
        assert_ne!(kept(&other, "192.0.2.7"), Some(text));
    }

    #[test]
    fn a_network_is_24_or_48_bits_however_it_was_kept() {
        for how in [
            StoredAddress::Full,
            StoredAddress::Network,
            StoredAddress::Hashed(AddressKey::new(b"key")),
        ] {
            for (a, b, elsewhere) in [
                ("192.0.2.1", "192.0.2.200", false),
                ("192.0.2.1", "192.0.3.1", true),
                ("2001:db8:1::1", "2001:db8:1:9::2", false),
                ("2001:db8:1::1", "2001:db8:2::1", true),
                ("192.0.2.1", "::1", true),
            ] {
                let stored = kept(&how, a);
                assert_eq!(
                    how.is_elsewhere(stored.as_deref(), address(b)),
                    elsewhere,
                    "{how:?} {a} {b}"
                );
            }
            assert!(how.is_elsewhere(None, address("192.0.2.1")));
        }
        assert!(!StoredAddress::Nothing.is_elsewhere(Some("192.0.2.1"), address("10.0.0.1")));
        // The way was changed: what was kept in full is of the network that is kept now.
        assert!(!StoredAddress::Network.is_elsewhere(Some("192.0.2.9"), address("192.0.2.1")));
    }
}
