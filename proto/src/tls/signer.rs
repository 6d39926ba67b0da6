//! Signing with the key that a client shows itself with.
//!
//! Runs in clients. What is signed begins with a line that no handshake signs: TLS 1.3 signs 64
//! spaces first (RFC 8446, section 4.4.3).

use std::fmt;

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};

use super::error::TlsError;
use super::key::Key;
use super::kind::{KeyKind, public_key_info};

/// A key that signs.
pub struct Signer {
    pair: Pair,
    public_key: Vec<u8>,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair, SystemRandom),
}

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
        let der = key.pkcs8_der();
        let refused = |_| TlsError::BadKey(kind);
        let pair = match kind {
            KeyKind::Ed25519 => {
                // Keys of other tools come without their public halves (RFC 8410, section 7).
                Pair::Ed25519(Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(refused)?)
            }
            KeyKind::P256 => {
                let random = SystemRandom::new();
                let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
                let pair = EcdsaKeyPair::from_pkcs8(algorithm, der, &random).map_err(refused)?;
                Pair::P256(pair, random)
            }
        };
        let key = match &pair {
            Pair::Ed25519(pair) => pair.public_key().as_ref(),
            Pair::P256(pair, _) => pair.public_key().as_ref(),
        };
        let public_key = public_key_info(kind, key);
        Ok(Self { pair, public_key })
    }

    /// Its public half: SubjectPublicKeyInfo (DER).
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// The signature of this: 64 bytes of Ed25519, or the DER of ECDSA with SHA-256. `None`: the
    /// kernel gives no random bytes.
    pub fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        match &self.pair {
            Pair::Ed25519(pair) => Some(pair.sign(message).as_ref().to_vec()),
            Pair::P256(pair, random) => {
                let signature = pair.sign(random, message).ok()?;
                Some(signature.as_ref().to_vec())
            }
        }
    }
}
