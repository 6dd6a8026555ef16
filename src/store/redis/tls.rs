//! TLS: whom to trust, and who we are.

use redis::{Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, TlsCertificates};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::error::ConfigError;

/// Certificates for connections with TLS, in PEM.
#[derive(Clone, Default)]
pub(super) struct Certificates {
    /// Who signs the servers' certificates, in place of those whom the system trusts.
    pub(super) authority: Option<Vec<u8>>,
    /// Our own certificate, and its key.
    pub(super) identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Certificates {
    /// Gives them to the connections to an address.
    ///
    /// # Errors
    ///
    /// The address is one without TLS, or a certificate or key cannot be read.
    pub(super) fn apply(&self, info: ConnectionInfo) -> Result<ConnectionInfo, ConfigError> {
        if !is_encrypted(&info) {
            return Err(ConfigError::new(
                "certificates are of use only for an address with TLS (`rediss://`)",
            ));
        }
        if let Some(authority) = &self.authority
            && !CertificateDer::pem_slice_iter(authority).any(|read| read.is_ok())
        {
            // The client library would take it, and trust nobody.
            return Err(ConfigError::new(
                "the authority's certificate for Redis holds no certificate in PEM",
            ));
        }
        let certificates = TlsCertificates {
            client_tls: self
                .identity
                .clone()
                .map(|(client_cert, client_key)| ClientTlsConfig {
                    client_cert,
                    client_key,
                }),
            root_cert: self.authority.clone(),
        };
        let client = Client::build_with_tls(info, certificates).map_err(|error| {
            ConfigError::new(format!("a certificate for Redis cannot be read: {error}"))
        })?;
        Ok(client.get_connection_info().clone())
    }
}

/// The key shows nothing.
impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates")
            .field("authority", &self.authority.is_some())
            .field("identity", &self.identity.is_some())
            .finish()
    }
}

/// Whether an address is one with TLS.
pub(super) fn is_encrypted(info: &ConnectionInfo) -> bool {
    matches!(info.addr(), ConnectionAddr::TcpTls { .. })
}

/// Sees to it that rustls has somebody to encrypt.
///
/// The client library takes the default of the process. Where an application brings several providers along and has
/// chosen none, rustls would panic; then it is ring. As late as possible, for an application may choose while it starts.
pub(super) fn provide() {
    if CryptoProvider::get_default().is_none() {
        // Who comes first has chosen.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::target::parse;
    use super::*;

    #[test]
    fn certificates_that_cannot_be_read_are_refused() {
        let apply = |address: &str, certificates: Certificates| {
            certificates
                .apply(parse(address).unwrap())
                .unwrap_err()
                .to_string()
        };
        let nothing = Certificates {
            authority: Some(b"no certificate".to_vec()),
            identity: None,
        };
        let error = apply("rediss://host/", nothing.clone());
        assert!(error.contains("authority"), "{error}");
        let error = apply("redis://host/", nothing);
        assert!(error.contains("rediss://"), "{error}");
        let error = apply(
            "rediss://host/",
            Certificates {
                authority: None,
                identity: Some((b"me".to_vec(), b"secret".to_vec())),
            },
        );
        assert!(!error.contains("secret"), "{error}");
    }
}
