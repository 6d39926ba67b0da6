//! A key that another process signs with, as rustls takes one.
//!
//! Runs where handshakes are made. What it waits for is bounded by [`crate::signer`].

use std::sync::Arc;

use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::sign::{Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};

use super::kind::KeyKind;
use crate::signer::Remote;

/// The key of a certificate.
#[derive(Debug, Clone)]
pub(super) struct RemoteKey {
    pub remote: Arc<Remote>,
    pub kind: KeyKind,
    /// SubjectPublicKeyInfo (DER) of the certificate.
    pub public: Vec<u8>,
}

impl RemoteKey {
    fn its_scheme(&self) -> SignatureScheme {
        match self.kind {
            KeyKind::Ed25519 => SignatureScheme::ED25519,
            KeyKind::P256 => SignatureScheme::ECDSA_NISTP256_SHA256,
        }
    }
}

impl SigningKey for RemoteKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let is_offered = offered.contains(&self.its_scheme());
        let signer: Box<dyn Signer> = Box::new(self.clone());
        is_offered.then_some(signer)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(self.public.as_slice().into())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.kind {
            KeyKind::Ed25519 => SignatureAlgorithm::ED25519,
            KeyKind::P256 => SignatureAlgorithm::ECDSA,
        }
    }
}

impl Signer for RemoteKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let signed = self.remote.sign(message);
        signed.map_err(|error| rustls::Error::General(error.said_to(self.remote.role())))
    }

    fn scheme(&self) -> SignatureScheme {
        self.its_scheme()
    }
}
