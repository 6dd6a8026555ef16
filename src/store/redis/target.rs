//! Where Redis is, and how long to wait for it.

use std::fmt;
use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

use crate::error::ConfigError;

/// What a store talks to.
#[derive(Clone)]
pub(super) enum Target {
    /// One server.
    Server(ConnectionInfo),
    /// A Redis Cluster: some of its servers. User, password and TLS of the first hold for all that it names.
    #[cfg(feature = "cluster")]
    Cluster(Vec<ConnectionInfo>),
    /// One primary, and the sentinels that know which server it is.
    #[cfg(feature = "sentinel")]
    Sentinel {
        sentinels: Vec<ConnectionInfo>,
        /// The name that the sentinels know the primary by.
        master: String,
        /// User, password, database and TLS of the primary; its host and port say nothing.
        node: ConnectionInfo,
    },
}

/// What a store talks to, and how.
#[derive(Debug, Clone)]
pub(super) struct Reach {
    pub(super) target: Target,
    pub(super) connections: u32,
    pub(super) checkout: Duration,
    pub(super) command: Duration,
    pub(super) connect: Duration,
}

/// Shows hosts and ports: no user, no password, no key.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(info) => f.debug_tuple("Server").field(&name(info)).finish(),
            #[cfg(feature = "cluster")]
            Self::Cluster(seeds) => f.debug_list().entries(seeds.iter().map(name)).finish(),
            #[cfg(feature = "sentinel")]
            Self::Sentinel {
                sentinels, master, ..
            } => f
                .debug_struct("Sentinel")
                .field("sentinels", &sentinels.iter().map(name).collect::<Vec<_>>())
                .field("master", master)
                .finish_non_exhaustive(),
        }
    }
}

/// How to talk to a server, whichever it is.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    /// Connections to one server.
    pub(super) connections: u32,
    /// How long to wait for a connection.
    pub(super) checkout: Duration,
    /// How long to wait for a reply.
    pub(super) command: Duration,
    /// How long making a connection may take.
    pub(super) connect: Duration,
}

/// Reads an address: `redis://user:password@host:port/db`, `rediss://…` with TLS, `unix:///path`.
///
/// # Errors
///
/// It says what is wrong, and never the address: a password may be in it.
pub(super) fn parse(address: &str) -> Result<ConnectionInfo, ConfigError> {
    let tls = ["rediss://", "valkeys://"]
        .iter()
        .any(|scheme| address.starts_with(scheme));
    if tls && !cfg!(feature = "tls") {
        return Err(ConfigError::new(
            "an address with TLS (`rediss://`) needs the feature `tls` of this crate",
        ));
    }
    let info = address.into_connection_info().map_err(|error| {
        ConfigError::new(format!(
            "the address of Redis cannot be read ({}); it is of the form \
             `redis://user:password@host:port/db`",
            error.category()
        ))
    })?;
    checked(info)
}

/// Refuses what is not safe, and sets what every connection needs.
pub(super) fn checked(info: ConnectionInfo) -> Result<ConnectionInfo, ConfigError> {
    if let ConnectionAddr::TcpTls { insecure: true, .. } = info.addr() {
        return Err(ConfigError::new(
            "an address with `#insecure` would trust any server; give the certificate of its authority instead",
        ));
    }
    // Requests share a connection, and none waits for the bytes of the next.
    let settings = info.tcp_settings().clone().set_nodelay(true);
    Ok(info.set_tcp_settings(settings))
}

/// The same way to talk to another server.
#[cfg(any(feature = "cluster", feature = "sentinel"))]
pub(super) fn at_place(info: &ConnectionInfo, host: &str, port: u16) -> ConnectionInfo {
    let addr = match info.addr() {
        ConnectionAddr::TcpTls {
            insecure,
            tls_params,
            ..
        } => ConnectionAddr::TcpTls {
            host: host.to_owned(),
            port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        },
        _ => ConnectionAddr::Tcp(host.to_owned(), port),
    };
    info.clone().set_addr(addr)
}

/// What an operator knows a server by.
pub(super) fn name(info: &ConnectionInfo) -> Box<str> {
    info.addr().to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_read_is_not_repeated() {
        for wrong in [
            "http://user:secret@host/",
            "redis://user:secret@host:port/",
            "redis://user:secret@host/zero",
            "secret",
        ] {
            let error = parse(wrong).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn an_address_that_trusts_any_server_is_refused() {
        let error = parse("rediss://host/#insecure").unwrap_err().to_string();
        let expected = if cfg!(feature = "tls") {
            "#insecure"
        } else {
            "feature `tls`"
        };
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn a_password_is_not_shown() {
        let target = Target::Server(parse("redis://user:secret@host:7000/2").unwrap());
        let shown = format!("{target:?}");
        assert!(
            shown.contains("7000") && !shown.contains("secret"),
            "{shown}"
        );
    }
}
