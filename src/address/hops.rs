//! From the peer to the client, by what trusted proxies say.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;

use super::ProxyHeader;

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Walks from the peer towards the client, for as long as those who speak are trusted.
pub(super) fn behind_proxies(
    peer: IpAddr,
    headers: &HeaderMap,
    trusted: &[IpNet],
    header: ProxyHeader,
) -> IpAddr {
    let walk = |name: &HeaderName, parse: fn(&[u8]) -> Option<IpAddr>| {
        headers
            .contains_key(name)
            .then(|| behind(peer, hops(headers, name).map(parse), trusted))
    };
    let by_x = || walk(&X_FORWARDED_FOR, parse_address);
    let by_standard = || walk(&header::FORWARDED, parse_element);
    let client = match header {
        ProxyHeader::XForwardedFor => by_x(),
        ProxyHeader::Forwarded => by_standard(),
        ProxyHeader::Either => match (by_x(), by_standard()) {
            // One of the two is the client's own, and nobody can tell which.
            (Some(a), Some(b)) if a != b => None,
            (a, b) => a.or(b),
        },
    };
    client.unwrap_or(peer)
}

/// From the right: what stands further left was written by whoever was there first, and that may be the client.
fn behind(
    peer: IpAddr,
    mut hops: impl Iterator<Item = Option<IpAddr>>,
    trusted: &[IpNet],
) -> IpAddr {
    let mut client = peer;
    while trusted.iter().any(|net| net.contains(&client)) {
        match hops.next() {
            Some(Some(hop)) => client = hop,
            // A hop that is no address ends the walk: what is left of it cannot be trusted.
            Some(None) | None => break,
        }
    }
    client
}

/// What stands between the commas of all headers of a name, from the right.
fn hops<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let lines: Vec<_> = headers.get_all(name).iter().collect();
    lines
        .into_iter()
        .rev()
        .flat_map(|line| split(line.as_bytes()))
}

/// Splits at the commas that stand in no quotes, from the right. Where the quotes do not pair up it is one piece, that
/// no address will be read from.
fn split(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    line.rsplit(move |&byte| {
        quoted ^= byte == b'"';
        byte == b',' && !quoted
    })
}

/// An address, with or without a port.
fn parse_address(hop: &[u8]) -> Option<IpAddr> {
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

/// The `for` of an element of `Forwarded`: `for=192.0.2.43;proto=https`, `for="[2001:db8::1]:4711"`. `unknown`, and names
/// that hide an address, are none.
fn parse_element(element: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    for pair in element.split(|&byte| byte == b';') {
        let at = pair.iter().position(|&byte| byte == b'=')?;
        let (name, value) = (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii());
        if !name.eq_ignore_ascii_case(b"for") {
            continue;
        }
        let value = match value {
            [b'"', inner @ .., b'"'] => inner,
            token => token,
        };
        // Twice is malformed (RFC 7239, 4): nobody knows which one counts.
        if found.replace(parse_address(value)?).is_some() {
            return None;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn ask(peer: &str, lines: &[(&'static str, &'static str)], header: ProxyHeader) -> String {
        let mut headers = HeaderMap::new();
        for (name, line) in lines {
            headers.append(*name, HeaderValue::from_static(line));
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        behind_proxies(peer.parse().unwrap(), &headers, &trusted, header).to_string()
    }

    fn x(peer: &str, forwarded: &[&'static str]) -> String {
        let lines: Vec<_> = forwarded.iter().map(|l| ("x-forwarded-for", *l)).collect();
        ask(peer, &lines, ProxyHeader::default())
    }

    fn standard(peer: &str, forwarded: &[&'static str]) -> String {
        let lines: Vec<_> = forwarded.iter().map(|l| ("forwarded", *l)).collect();
        ask(peer, &lines, ProxyHeader::default())
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        assert_eq!(x("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(x("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        let through_two = ["1.1.1.1, 198.51.100.7, 10.0.0.2"];
        assert_eq!(x("10.0.0.1", &through_two), "198.51.100.7");
        let two_lines = ["1.1.1.1", "198.51.100.7:4711"];
        assert_eq!(x("10.0.0.1", &two_lines), "198.51.100.7");
        assert_eq!(x("10.0.0.1", &["1.1.1.1, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(x("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(x("fd00::1", &["[2001:db8::7]:80"]), "2001:db8::7");
    }

    #[test]
    fn the_standard_header_says_it_in_its_own_way() {
        assert_eq!(standard("192.0.2.1", &["for=198.51.100.7"]), "192.0.2.1");
        let one = "proto=https;For=198.51.100.7 ; by=10.0.0.1";
        assert_eq!(standard("10.0.0.1", &[one]), "198.51.100.7");
        let two = "for=1.1.1.1, for=198.51.100.7;host=\"a,b\", for=10.0.0.2";
        assert_eq!(standard("10.0.0.1", &[two]), "198.51.100.7");
        let six = "for=1.1.1.1, for=\"[2001:db8::7]:4711\"";
        assert_eq!(standard("fd00::1", &[six]), "2001:db8::7");
        for hidden in [
            "for=unknown",
            "for=_hidden",
            "for=\"_x,_y\"",
            "proto=http",
            "for=1.1.1.1;for=2.2.2.2",
            "\"for=1.1.1.1",
            "",
        ] {
            assert_eq!(standard("10.0.0.1", &[hidden]), "10.0.0.1", "{hidden}");
        }
    }

    #[test]
    fn of_two_headers_that_do_not_agree_neither_is_believed_unless_one_is_named() {
        let both = [("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=2.2.2.2")];
        assert_eq!(ask("10.0.0.1", &both, ProxyHeader::Either), "10.0.0.1");
        assert_eq!(
            ask("10.0.0.1", &both, ProxyHeader::XForwardedFor),
            "1.1.1.1"
        );
        assert_eq!(ask("10.0.0.1", &both, ProxyHeader::Forwarded), "2.2.2.2");
        let same = [("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=1.1.1.1")];
        assert_eq!(ask("10.0.0.1", &same, ProxyHeader::Either), "1.1.1.1");
    }
}
