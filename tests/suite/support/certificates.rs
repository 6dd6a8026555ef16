//! A server that speaks TLS, with a certificate that was made for it.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::Server;

/// What to write where: the certificate's and the key's file.
const CERTIFICATE: &str = "server.pem";
const KEY: &str = "server.key";

impl Server {
    /// A server that speaks nothing but TLS, and asks clients for no certificate. With it goes the PEM of the
    /// authority that signed its own, which is new, and which nobody else trusts.
    pub(crate) fn start_tls() -> (Self, String) {
        let (pem, issuer) = authority();
        let server = Self::launch("rediss", false, |folder, port| {
            sign(&issuer, folder);
            format!(
                "port 0\ntls-port {port}\ntls-auth-clients no\ntls-cert-file {}\ntls-key-file {}\n\
                 tls-ca-cert-dir {}",
                folder.join(CERTIFICATE).display(),
                folder.join(KEY).display(),
                folder.display(),
            )
        });
        (server, pem)
    }
}

fn authority() -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
        .distinguished_name
        .push(DnType::CommonName, "an authority of a test");
    let key = KeyPair::generate().expect("a key can be made");
    let certificate = params.self_signed(&key).expect("the parameters are valid");
    (certificate.pem(), Issuer::new(params, key))
}

/// Writes a key, and a certificate for this machine, as a client calls it.
fn sign(issuer: &Issuer<'_, KeyPair>, folder: &Path) {
    let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let key = KeyPair::generate().expect("a key can be made");
    let certificate = CertificateParams::new(names)
        .and_then(|params| params.signed_by(&key, issuer))
        .expect("the names are valid");
    for (name, pem) in [(CERTIFICATE, certificate.pem()), (KEY, key.serialize_pem())] {
        fs::write(folder.join(name), pem).expect("the temporary folder can be written to");
    }
}
