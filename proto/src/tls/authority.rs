//! Certificate authorities, and their lists of what is revoked.
//!
//! Runs at both ends, and in `prn server start`, which reads the files. rustls-webpki checks
//! chains; here is what it checks them with, and what it does not look at: the end of the authority
//! itself.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::pem::SectionKind;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use webpki::OwnedCertRevocationList;
use x509_parser::asn1_rs::{Oid, oid};
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};
use x509_parser::revocation_list::CertificateRevocationList;

use super::certificate::Validity;
use super::error::TlsError;
use super::hash::Fingerprint;
use super::kind::{KeyKind, PublicKey};
use super::pem::sole_section;

/// The certificate of an authority: X.509 v3, of a key that prn takes, allowed to sign others.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthorityCertificate {
    pub(super) der: CertificateDer<'static>,
    kind: KeyKind,
    validity: Validity,
    path_len: Option<u32>,
}

impl AuthorityCertificate {
    /// From PEM text that holds exactly one certificate.
    pub fn from_pem(pem: &[u8]) -> Result<Self, TlsError> {
        let der = sole_section(pem, SectionKind::Certificate, "CERTIFICATE")?;
        Self::from_der(der.to_vec())
    }

    /// From DER.
    pub fn from_der(der: Vec<u8>) -> Result<Self, TlsError> {
        let (rest, parsed) = X509Certificate::from_der(&der).map_err(|_| TlsError::Malformed)?;
        if !rest.is_empty() {
            return Err(TlsError::TrailingBytes);
        }
        if parsed.version() != X509Version::V3 {
            return Err(TlsError::NotVersion3);
        }
        let key = PublicKey::of(parsed.public_key().raw).ok_or(TlsError::NotEd25519)?;
        let usage = parsed.key_usage().map_err(|_| TlsError::Malformed)?;
        if !parsed.is_ca() || usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
            return Err(TlsError::NoAuthority);
        }
        let (kind, validity) = (key.kind, Validity::of(&parsed));
        let constraints = parsed
            .basic_constraints()
            .map_err(|_| TlsError::Malformed)?;
        let path_len = constraints.and_then(|found| found.value.path_len_constraint);
        let made = Self {
            der: CertificateDer::from(der),
            kind,
            validity,
            path_len,
        };
        // What the handshake will take it for must be found now, not at the first connection.
        made.roots()?;
        Ok(made)
    }

    /// Its DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of its DER.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.der)
    }

    /// The kind of its key.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Checks that `now` (since the Unix epoch) lies in its validity period.
    pub fn check_validity(&self, now: Duration) -> Result<(), TlsError> {
        self.validity.check(now)
    }

    /// Until when it is valid, since the Unix epoch.
    pub(super) fn not_after(&self) -> Option<Duration> {
        self.validity.end()
    }

    /// Whether it allows so many authorities between it and a peer: those that the peer has shown,
    /// but for itself. webpki asks that of those alone, and not of the one that it starts at.
    pub(super) fn allows(&self, shown: &[CertificateDer<'_>]) -> bool {
        let others = shown.iter().filter(|other| self.der != **other).count();
        let Some(most) = self.path_len else {
            return true;
        };
        usize::try_from(most).is_ok_and(|most| others <= most)
    }

    /// As rustls takes it.
    pub(super) fn roots(&self) -> Result<Arc<RootCertStore>, TlsError> {
        let mut roots = RootCertStore::empty();
        roots
            .add(self.der.clone())
            .map_err(|_| TlsError::Malformed)?;
        Ok(Arc::new(roots))
    }
}

impl fmt::Debug for AuthorityCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.fingerprint(), f)
    }
}

/// A list of what an authority has revoked (RFC 5280, section 5), with its time of the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationList {
    der: Vec<u8>,
    next: Duration,
    /// Its issuer's name (DER).
    issuer: Vec<u8>,
    /// What tells keys of that name apart (RFC 5280, section 5.2.1).
    key_id: Option<Vec<u8>>,
}

/// id-ce-authorityKeyIdentifier (RFC 5280, section 4.2.1.1).
const KEY_ID: Oid<'static> = oid!(2.5.29.35);

impl RevocationList {
    /// From PEM text that holds exactly one list.
    pub fn from_pem(pem: &[u8]) -> Result<Self, TlsError> {
        let der = sole_section(pem, SectionKind::Crl, "X509 CRL")?;
        Self::from_der(der.to_vec())
    }

    /// From DER.
    pub fn from_der(der: Vec<u8>) -> Result<Self, TlsError> {
        // By the one that will use it: what it does not take would let nobody in.
        OwnedCertRevocationList::from_der(&der).map_err(|_| TlsError::MalformedList)?;
        let (rest, parsed) =
            CertificateRevocationList::from_der(&der).map_err(|_| TlsError::MalformedList)?;
        let next = parsed.next_update().ok_or(TlsError::MalformedList)?;
        if !rest.is_empty() {
            return Err(TlsError::MalformedList);
        }
        let next = Duration::from_secs(u64::try_from(next.timestamp()).unwrap_or(0));
        let issuer = parsed.issuer().as_raw().to_vec();
        let mut extensions = parsed.extensions().iter();
        let key_id = extensions.find(|extension| extension.oid == KEY_ID);
        let key_id = key_id.map(|extension| extension.value.to_vec());
        Ok(Self {
            der,
            next,
            issuer,
            key_id,
        })
    }

    /// Whether it may be of the same issuer: webpki looks into one list of an issuer, the first
    /// one.
    pub fn is_beside(&self, other: &Self) -> bool {
        let are_told_apart =
            matches!((&self.key_id, &other.key_id), (Some(own), Some(other)) if own != other);
        self.issuer == other.issuer && !are_told_apart
    }

    /// Its DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Whether it names this authority as its issuer. Who has signed it is a matter of the
    /// handshake.
    pub fn is_of(&self, authority: &AuthorityCertificate) -> bool {
        let list = CertificateRevocationList::from_der(&self.der);
        let issuer = X509Certificate::from_der(&authority.der);
        list.is_ok_and(|(_, list)| {
            issuer.is_ok_and(|(_, issuer)| list.issuer().as_raw() == issuer.subject().as_raw())
        })
    }

    /// When the next one was to come (since the Unix epoch): from then on it lets nobody in.
    pub fn next_update(&self) -> Duration {
        self.next
    }

    pub(super) fn as_der(&self) -> CertificateRevocationListDer<'static> {
        CertificateRevocationListDer::from(self.der.clone())
    }
}
