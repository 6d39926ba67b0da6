//! What a client signs with, and the key of the server that it talks to.

use prn_proto::tls::{Certificate, KeyFingerprint, Signer};
use rustls::pki_types::CertificateDer;

/// What a client signs with, and for whom.
#[derive(Debug)]
pub(crate) struct Signing {
    pub(crate) signer: Signer,
    /// SHA-256 of the SubjectPublicKeyInfo of the certificate that the server has shown. `None`:
    /// it is of no kind that is known.
    pub(crate) server: Option<[u8; 32]>,
    /// All that is started is signed.
    pub(crate) signs_all: bool,
}

/// The key of the certificate that a server has shown.
pub(crate) fn key_of(shown: &CertificateDer<'_>) -> Option<[u8; 32]> {
    let certificate = Certificate::from_der(shown.to_vec()).ok()?;
    let mut prints = certificate.key_fingerprints().into_iter();
    prints.find_map(|print| match print {
        KeyFingerprint::Info(hash) => Some(hash),
        KeyFingerprint::Ssh(_) => None,
    })
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
