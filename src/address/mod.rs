//! Where a request comes from, and what of that is kept.

mod hops;
mod stored;

use std::net::IpAddr;

use http::{Extensions, HeaderMap};
use ipnet::IpNet;

pub use stored::{AddressKey, StoredAddress};
pub(crate) use stored::{Network, network_of};

/// The client's address, as the application found it out: put it into a request's extensions, outside of the layer,
/// and it counts before anything else.
///
/// Without it, the address is the peer's (axum's `ConnectInfo`), or, where the peer is a trusted proxy, the right-most
/// hop of its header that is not one: see [`ProxyHeader`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// In which header trusted proxies say whom they speak for.
///
/// A proxy writes one of the two, and hands the other one on as the client wrote it. So the one that yours writes should
/// be named, unless it removes the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProxyHeader {
    /// Whichever of the two is there. Where both are and do not agree, neither is believed, and the address is that of
    /// the proxy.
    #[default]
    Either,
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The client's address, if it can be known.
pub(crate) fn client_address(
    extensions: &Extensions,
    headers: &HeaderMap,
    trusted: &[IpNet],
    header: ProxyHeader,
) -> Option<IpAddr> {
    if let Some(ClientAddress(address)) = extensions.get() {
        return Some(address.to_canonical());
    }
    let peer = peer(extensions)?.to_canonical();
    if trusted.is_empty() {
        return Some(peer);
    }
    Some(hops::behind_proxies(peer, headers, trusted, header))
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
