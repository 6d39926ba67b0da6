//! Signing with the key that a client shows itself with.
//!
//! Runs in clients. What is signed begins with a line that no handshake signs: TLS 1.3 signs 64
//! spaces first (RFC 8446, section 4.4.3).

use std::fmt;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::sign::SigningKey;

use super::error::TlsError;
use super::key::{Key, Pair, signing_key};
use super::kind::KeyKind;

/// A key that signs.
#[derive(Clone)]
pub struct Signer(Arc<dyn SigningKey>);

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(…)")
    }
}

impl Signer {
    /// Of a key of this kind.
    ///
    /// # Errors
    /// It is none, or not whole.
    pub fn new(kind: KeyKind, key: &Key) -> Result<Self, TlsError> {
        signing_key(kind, key).map(Self)
    }

    /// Of the key of these two.
    pub fn of(pair: &Pair) -> Self {
        Self(Arc::clone(&pair.certified.key))
    }

    /// Its public half: SubjectPublicKeyInfo (DER). Empty: nobody knows.
    pub fn public_key(&self) -> Vec<u8> {
        let key = self.0.public_key();
        key.map_or_else(Vec::new, |key| key.to_vec())
    }

    /// The signature of this: 64 bytes of Ed25519, or the DER of ECDSA with SHA-256. `None`: the
    /// kernel gives no random bytes, or who has the key does not sign.
    pub fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let schemes = [
            SignatureScheme::ED25519,
            SignatureScheme::ECDSA_NISTP256_SHA256,
        ];
        self.0.choose_scheme(&schemes)?.sign(message).ok()
    }
}
