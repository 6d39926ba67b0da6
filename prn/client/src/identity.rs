//! What a client signs with, and the key of the server that it talks to.

use prn_proto::tls::{Certificate, KeyFingerprint, Signer};
use rustls::pki_types::CertificateDer;

/// What a client signs with, and for whom.
#[derive(Debug)]
pub(crate) struct Signing {
    pub(crate) signer: Signer,
    /// The certificate that the server has shown.
    pub(crate) server: Option<CertificateDer<'static>>,
    /// All that is started is signed.
    pub(crate) signs_all: bool,
}

impl Signing {
    /// SHA-256 of the SubjectPublicKeyInfo of the server's certificate. `None`: it is of no kind
    /// that is known. Only what signs asks for it: a certificate is parsed, and hashed twice.
    pub(crate) fn server_key(&self) -> Option<[u8; 32]> {
        let shown = self.server.as_ref()?;
        let certificate = Certificate::from_der(shown.to_vec()).ok()?;
        let mut prints = certificate.key_fingerprints().into_iter();
        prints.find_map(|print| match print {
            KeyFingerprint::Info(hash) => Some(hash),
            KeyFingerprint::Ssh(_) => None,
        })
    }
}

#[cfg(test)]
impl Signing {
    /// With a new key, of no server.
    pub(crate) fn of_nobody() -> Self {
        use prn_proto::tls::{Key, KeyKind};
        let random = ring::rand::SystemRandom::new();
        let pkcs8 = ring::signature::Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let key = Key::from_pkcs8_der(pkcs8.as_ref().to_vec().into());
        Self {
            signer: Signer::new(KeyKind::Ed25519, &key).unwrap(),
            server: None,
            signs_all: false,
        }
    }
}
