//! Where a request comes from.

use std::net::IpAddr;

use http::{Extensions, HeaderMap};
use ipnet::IpNet;

/// The client's address, as the application found it out: put it into a request's extensions, outside of the layer,
/// and it counts before anything else.
///
/// Without it, the address is the peer's (axum's `ConnectInfo`), or, where the peer is a trusted proxy, the right-most
/// hop of `X-Forwarded-For` that is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// The client's address, if it can be known.
pub(crate) fn client_address(
    extensions: &Extensions,
    headers: &HeaderMap,
    trusted: &[IpNet],
) -> Option<IpAddr> {
    if let Some(ClientAddress(address)) = extensions.get() {
        return Some(address.to_canonical());
    }
    let peer = peer(extensions)?.to_canonical();
    if trusted.is_empty() {
        return Some(peer);
    }
    Some(behind_proxies(peer, headers, trusted))
}

#[cfg(feature = "axum")]
fn peer(extensions: &Extensions) -> Option<IpAddr> {
    extensions
        .get::<axum::extract::ConnectInfo<std::net::SocketAddr>>()
        .map(|info| info.0.ip())
}

#[cfg(not(feature = "axum"))]
fn peer(_: &Extensions) -> Option<IpAddr> {
    None
}

/// Walks from the peer towards the client, for as long as those who speak are trusted.
///
/// From the right: what stands further left was written by whoever was there first, and that may be the client.
fn behind_proxies(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let mut client = peer;
    let lines: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
    let mut hops = lines
        .iter()
        .rev()
        .flat_map(|line| line.as_bytes().rsplit(|&byte| byte == b','));
    while is_trusted(&client) {
        match hops.next().map(parse_hop) {
            Some(Some(hop)) => client = hop,
            // A hop that is no address ends the walk: what is left of it cannot be trusted.
            Some(None) | None => break,
        }
    }
    client
}

/// An address, with or without a port.
fn parse_hop(hop: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(hop).ok()?.trim();
    text.parse()
        .ok()
        .or_else(|| {
            text.parse::<std::net::SocketAddr>()
                .ok()
                .map(|address| address.ip())
        })
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
        .map(|address: IpAddr| address.to_canonical())
}

/// Whether two addresses are of one network: /24 or /48, what one household or office tends to have.
pub(crate) fn same_network(a: IpAddr, b: IpAddr) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => a.octets()[..3] == b.octets()[..3],
        (IpAddr::V6(a), IpAddr::V6(b)) => a.octets()[..6] == b.octets()[..6],
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(peer: &str, forwarded: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", http::HeaderValue::from_static(line));
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        behind_proxies(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        assert_eq!(behind("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(behind("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(
            behind("10.0.0.1", &["1.1.1.1, 198.51.100.7, 10.0.0.2"]),
            "198.51.100.7"
        );
        assert_eq!(
            behind("10.0.0.1", &["1.1.1.1", "198.51.100.7:4711"]),
            "198.51.100.7"
        );
        assert_eq!(
            behind("10.0.0.1", &["1.1.1.1, unknown, 10.0.0.2"]),
            "10.0.0.2"
        );
        assert_eq!(behind("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(behind("fd00::1", &["[2001:db8::7]:80"]), "2001:db8::7");
    }

    #[test]
    fn a_network_is_24_or_48_bits() {
        let same = |a: &str, b: &str| same_network(a.parse().unwrap(), b.parse().unwrap());
        assert!(same("192.0.2.1", "192.0.2.200") && !same("192.0.2.1", "192.0.3.1"));
        assert!(
            same("2001:db8:1::1", "2001:db8:1:9::2") && !same("2001:db8:1::1", "2001:db8:2::1")
        );
        assert!(!same("192.0.2.1", "::1"));
    }
}
