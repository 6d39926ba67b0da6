//! Private keys.
//!
//! Runs at both ends, and in `prn server start`. A key is wiped from memory when it is dropped, and is
//! never shown.

use std::fmt;

use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::SectionKind;
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::certificate::Certificate;
use super::error::TlsError;
use super::pem::sole_section;

/// A private key, wiped from memory when dropped.
pub struct Key {
    der: Zeroizing<Vec<u8>>,
}

impl Key {
    /// From PEM text that holds exactly one unencrypted PKCS#8 private key (RFC 5958).
    pub fn from_pem(pem: &[u8]) -> Result<Self, TlsError> {
        Ok(Self {
            der: sole_section(pem, SectionKind::PrivateKey, "PRIVATE KEY")?,
        })
    }

    /// From PKCS#8 DER.
    pub fn from_pkcs8_der(der: Zeroizing<Vec<u8>>) -> Self {
        Self { der }
    }

    /// Its PKCS#8 DER.
    pub fn pkcs8_der(&self) -> &[u8] {
        &self.der
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// Checks that `key` belongs to `certificate`.
pub fn check_key(certificate: &Certificate, key: &Key) -> Result<(), TlsError> {
    certified_key(certificate, key).map(drop)
}

pub(super) fn certified_key(
    certificate: &Certificate,
    key: &Key,
) -> Result<CertifiedKey, TlsError> {
    let pkcs8 = PrivatePkcs8KeyDer::from(key.der.as_slice());
    let signer =
        rustls::crypto::ring::sign::any_eddsa_type(&pkcs8).map_err(|_| TlsError::BadKey)?;
    let certified = CertifiedKey::new(vec![certificate.der.clone()], signer);
    // "Unknown" is a mismatch too: a key that can't be shown to belong is not taken.
    certified
        .keys_match()
        .map_err(|_| TlsError::KeyMismatch(certificate.fingerprint()))?;
    Ok(certified)
}
