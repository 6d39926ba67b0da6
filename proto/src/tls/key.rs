//! Private keys.
//!
//! Runs at both ends, and in `prn server start`. A key is wiped from memory when it is dropped, and
//! is never shown; or it is elsewhere, and another process signs with it.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::ring::sign::{any_ecdsa_type, any_eddsa_type};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::SectionKind;
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use webpki::EndEntityCert;
use webpki::ring::{ECDSA_P256_SHA256, ED25519};
use zeroize::Zeroizing;

use super::authority::AuthorityCertificate;
use super::certificate::Certificate;
use super::error::TlsError;
use super::kind::KeyKind;
use super::pem::{sections, sole_section};
use super::remote::RemoteKey;
use crate::signer::Remote;

/// A private key, wiped from memory when dropped, or what signs with one.
pub struct Key(Held);

enum Held {
    /// PKCS#8 DER.
    Here(Zeroizing<Vec<u8>>),
    Elsewhere(Arc<Remote>),
}

impl Key {
    /// From PEM text that holds exactly one unencrypted PKCS#8 private key (RFC 5958).
    pub fn from_pem(pem: &[u8]) -> Result<Self, TlsError> {
        let der = sole_section(pem, SectionKind::PrivateKey, "PRIVATE KEY")?;
        Ok(Self::from_pkcs8_der(der))
    }

    /// From PKCS#8 DER.
    pub fn from_pkcs8_der(der: Zeroizing<Vec<u8>>) -> Self {
        Self(Held::Here(der))
    }

    /// One that another process signs with.
    pub fn of_signer(remote: Remote) -> Self {
        Self(Held::Elsewhere(Arc::new(remote)))
    }

    /// Its PKCS#8 DER, if it is here.
    pub fn pkcs8_der(&self) -> Option<&[u8]> {
        match &self.0 {
            Held::Here(der) => Some(der),
            Held::Elsewhere(_) => None,
        }
    }

    /// What signs with it, if it is elsewhere.
    pub fn remote(&self) -> Option<&Arc<Remote>> {
        match &self.0 {
            Held::Here(_) => None,
            Held::Elsewhere(remote) => Some(remote),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// What a side shows of itself: its certificate, and those between it and an authority of the other
/// side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// Its certificate.
    pub certificate: Certificate,
    /// The others, from its issuer upwards. A side that is pinned has none: it shows its
    /// certificate alone.
    pub issuers: Vec<AuthorityCertificate>,
}

impl Own {
    /// From PEM text that holds the certificate first, and then those of its issuers, if there are
    /// any.
    ///
    /// # Errors
    /// If there is anything else in it, or one of them cannot be used.
    pub fn from_pem(pem: &[u8]) -> Result<Self, TlsError> {
        let mut sections = sections(pem, SectionKind::Certificate, CERTIFICATE)?.into_iter();
        let first = sections.next().ok_or(TlsError::Missing(CERTIFICATE))?;
        let certificate = Certificate::from_der(first.to_vec())?;
        let issuers: Vec<_> = sections
            .map(|der| AuthorityCertificate::from_der(der.to_vec()))
            .collect();
        let count = issuers.len() + 1;
        let issuers: Result<_, TlsError> = issuers.into_iter().collect();
        match issuers {
            Ok(issuers) => Ok(Self {
                certificate,
                issuers,
            }),
            // A certificate beside it that is no authority's is most often somebody else's.
            Err(TlsError::NoAuthority) => Err(TlsError::Unexpected {
                expected: CERTIFICATE,
                found: vec![CERTIFICATE; count].join(" and "),
            }),
            Err(error) => Err(error),
        }
    }
}

impl From<&Certificate> for Own {
    fn from(certificate: &Certificate) -> Self {
        Self {
            certificate: certificate.clone(),
            issuers: Vec::new(),
        }
    }
}

impl From<Certificate> for Own {
    fn from(certificate: Certificate) -> Self {
        Self::from(&certificate)
    }
}

impl From<&Own> for Own {
    fn from(own: &Own) -> Self {
        own.clone()
    }
}

/// What a side shows of itself, and the key that belongs to it: found to once, for all connections.
#[derive(Debug, Clone)]
pub struct Pair {
    pub(super) certified: CertifiedKey,
    pub(super) resolver: Arc<SingleCertAndKey>,
}

impl Pair {
    /// Of these two.
    ///
    /// # Errors
    /// If the key is none that is taken, or does not belong to the certificate.
    pub fn new(own: &Own, key: &Key) -> Result<Self, TlsError> {
        let certified = certified_key(own, key)?;
        Ok(Self {
            resolver: Arc::new(SingleCertAndKey::from(certified.clone())),
            certified,
        })
    }
}

/// The label of certificates.
const CERTIFICATE: &str = "CERTIFICATE";

/// Checks that `key` belongs to `certificate`. One that is elsewhere signs once for it.
///
/// # Errors
/// It does not, or nothing signs.
pub fn check_key(certificate: &Certificate, key: &Key) -> Result<(), TlsError> {
    if let Held::Elsewhere(remote) = &key.0 {
        return check_remote(certificate, remote);
    }
    certified_key(&certificate.into(), key).map(drop)
}

fn check_remote(certificate: &Certificate, remote: &Remote) -> Result<(), TlsError> {
    let message = remote.role().trial();
    let signature = remote.sign(&message)?;
    let algorithm = match certificate.kind() {
        KeyKind::Ed25519 => ED25519,
        KeyKind::P256 => ECDSA_P256_SHA256,
    };
    let parsed = EndEntityCert::try_from(&certificate.der).map_err(|_| TlsError::Malformed)?;
    parsed
        .verify_signature(algorithm, &message, &signature)
        .map_err(|_| TlsError::KeyMismatch(certificate.fingerprint()))
}

/// What signs with a key of this kind.
pub(super) fn signing_key(kind: KeyKind, key: &Key) -> Result<Arc<dyn SigningKey>, TlsError> {
    let Held::Here(der) = &key.0 else {
        return Err(TlsError::BadKey(kind));
    };
    let pkcs8 = PrivatePkcs8KeyDer::from(der.as_slice());
    let signer = match kind {
        KeyKind::Ed25519 => any_eddsa_type(&pkcs8),
        KeyKind::P256 => any_ecdsa_type(&pkcs8.into()),
    };
    signer.map_err(|_| TlsError::BadKey(kind))
}

/// A key that is elsewhere is taken for the certificate's: [`check_key`] asks it.
fn certified_key(own: &Own, key: &Key) -> Result<CertifiedKey, TlsError> {
    let signer: Arc<dyn SigningKey> = match &key.0 {
        Held::Here(_) => signing_key(own.certificate.kind(), key)?,
        Held::Elsewhere(remote) => Arc::new(RemoteKey {
            remote: Arc::clone(remote),
            kind: own.certificate.kind(),
            public: own.certificate.public_key()?,
        }),
    };
    let issuers = own.issuers.iter().map(|issuer| issuer.der.clone());
    let shown = std::iter::once(own.certificate.der.clone()).chain(issuers);
    let certified = CertifiedKey::new(shown.collect(), signer);
    // "Unknown" is a mismatch too: a key that can't be shown to belong is not taken.
    certified
        .keys_match()
        .map_err(|_| TlsError::KeyMismatch(own.certificate.fingerprint()))?;
    Ok(certified)
}
