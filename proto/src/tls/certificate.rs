//! Certificates that prn can use or pin.
//!
//! Runs at both ends, and in `prn server start`. A certificate is parsed here once, strictly: what
//! the handshake would stumble over later is refused now.

use std::net::IpAddr;
use std::time::Duration;

use rustls::CertificateError;
use rustls::pki_types::pem::SectionKind;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use x509_parser::prelude::{ASN1Time, FromDer, GeneralName, X509Certificate, X509Version};

use super::error::{Outside, TlsError};
use super::fingerprint::KeyFingerprint;
use super::hash::Fingerprint;
use super::kind::{KeyKind, KeyKinds, PublicKey};
use super::pem::sole_section;

/// How long a certificate is still valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remaining {
    /// Time to its last instant.
    pub left: Duration,
    /// That instant, UTC.
    pub until: String,
}

/// A certificate that prn can use or pin: X.509 v3, Ed25519 or P-256, allowed to sign.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    pub(super) der: CertificateDer<'static>,
    kind: KeyKind,
    fingerprints: [KeyFingerprint; 2],
    validity: Validity,
}

impl Certificate {
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
        let info = parsed.public_key().raw;
        let key = PublicKey::of(info).ok_or(TlsError::NotEd25519)?;
        let fingerprints = KeyFingerprint::both(info).ok_or(TlsError::NotEd25519)?;
        if let Ok(Some(usage)) = parsed.key_usage()
            && !usage.value.digital_signature()
        {
            return Err(TlsError::NoDigitalSignature);
        }
        let (kind, validity) = (key.kind, Validity::of(&parsed));
        let der = CertificateDer::from(der);
        // What the handshake's signature check will parse must be parsable now, not at the first
        // connection.
        ParsedCertificate::try_from(&der).map_err(|_| TlsError::Malformed)?;
        Ok(Self {
            der,
            kind,
            fingerprints,
            validity,
        })
    }

    /// Its DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of its DER.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.der)
    }

    /// Its key: SubjectPublicKeyInfo (DER).
    pub(super) fn public_key(&self) -> Result<Vec<u8>, TlsError> {
        let (_, parsed) = X509Certificate::from_der(&self.der).map_err(|_| TlsError::Malformed)?;
        Ok(parsed.public_key().raw.to_vec())
    }

    /// The kind of its key.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Checks that its key is of one of these kinds.
    pub fn check_kind(&self, kinds: KeyKinds) -> Result<(), TlsError> {
        match (kinds.takes(self.kind), self.kind) {
            (true, _) => Ok(()),
            (false, KeyKind::P256) => Err(TlsError::P256NotAllowed),
            (false, KeyKind::Ed25519) => Err(TlsError::NotP256),
        }
    }

    /// The fingerprints of its key: as ssh prints it, and as curl takes it.
    pub fn key_fingerprints(&self) -> [KeyFingerprint; 2] {
        self.fingerprints
    }

    /// Checks that `now` (since the Unix epoch) lies in its validity period, both ends included
    /// (RFC 5280, 4.1.2.5).
    pub fn check_validity(&self, now: Duration) -> Result<(), TlsError> {
        self.validity.check(now)
    }

    /// The period itself.
    pub(super) fn validity(&self) -> Validity {
        self.validity
    }

    /// Until when it is valid, since the Unix epoch. `None` if that lies before it, or is no time.
    pub fn not_after(&self) -> Option<Duration> {
        self.validity.end()
    }

    /// How long it is valid in all.
    pub fn lifetime(&self) -> Duration {
        let Validity {
            not_before,
            not_after,
        } = self.validity;
        let seconds = not_after.timestamp().saturating_sub(not_before.timestamp());
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }

    /// The name of who has issued it, for people; `None` if that is itself.
    pub fn issuer(&self) -> Option<String> {
        let (_, parsed) = X509Certificate::from_der(&self.der).ok()?;
        let is_own = parsed.issuer().as_raw() == parsed.subject().as_raw();
        let name = parsed.issuer().to_string();
        let shown = |letter: &char| !letter.is_control();
        (!is_own).then(|| name.chars().filter(shown).collect())
    }

    /// The names in it that people and other languages' clients look at: prn goes by none of these.
    pub fn names(&self) -> Names {
        let Ok((_, parsed)) = X509Certificate::from_der(&self.der) else {
            return Names::default();
        };
        let mut common = parsed.subject().iter_common_name();
        let common = common.find_map(|name| name.as_str().ok());
        let extension = parsed.subject_alternative_name().ok().flatten();
        let alternative = extension.map_or(&[][..], |found| found.value.general_names.as_slice());
        Names {
            common: common.map(str::to_owned),
            hosts: alternative.iter().filter_map(host).collect(),
        }
    }

    /// How long it is valid from `now` (since the Unix epoch) on. `None` if it no longer is.
    pub fn remaining(&self, now: Duration) -> Option<Remaining> {
        Some(Remaining {
            left: self.not_after()?.checked_sub(now)?,
            until: self.validity.not_after.to_string(),
        })
    }
}

/// Names in a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Its common name.
    pub common: Option<String>,
    /// Its alternative names that are host names or addresses, as text.
    pub hosts: Vec<String>,
}

fn host(name: &GeneralName<'_>) -> Option<String> {
    // An address has 4 or 16 bytes (RFC 5280, 4.2.1.6).
    if let GeneralName::DNSName(name) = name {
        Some((*name).to_owned())
    } else if let GeneralName::IPAddress(bytes) = name {
        let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
        let address = four.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
        address.ok().map(|address| address.to_string())
    } else {
        None
    }
}

/// When a certificate is valid: both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    not_before: ASN1Time,
    not_after: ASN1Time,
}

impl Validity {
    pub fn of(certificate: &X509Certificate<'_>) -> Self {
        let validity = certificate.validity();
        Self {
            not_before: validity.not_before,
            not_after: validity.not_after,
        }
    }

    /// Its last instant, since the Unix epoch. `None` if that lies before it, or is no time.
    pub fn end(&self) -> Option<Duration> {
        let end = u64::try_from(self.not_after.timestamp()).ok()?;
        Some(Duration::from_secs(end))
    }

    /// Where a time since the Unix epoch lies that is outside of it.
    fn outside(&self, now: Duration) -> Option<Outside> {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if now < self.not_before.timestamp() {
            Some(Outside::Before)
        } else if now > self.not_after.timestamp() {
            Some(Outside::After)
        } else {
            None
        }
    }

    pub fn check(&self, now: Duration) -> Result<(), TlsError> {
        match self.outside(now) {
            None => Ok(()),
            Some(outside) => Err(TlsError::NotValidNow {
                from: self.not_before.to_string(),
                until: self.not_after.to_string(),
                now: shown_time(now),
                outside,
            }),
        }
    }

    /// The same as rustls says it.
    pub fn check_for_rustls(&self, time: UnixTime) -> Result<(), CertificateError> {
        match self.outside(Duration::from_secs(time.as_secs())) {
            None => Ok(()),
            // With both times: a clock that is wrong is seen in them.
            Some(Outside::Before) => Err(CertificateError::NotValidYetContext {
                time,
                not_before: instant(self.not_before),
            }),
            Some(Outside::After) => Err(CertificateError::ExpiredContext {
                time,
                not_after: instant(self.not_after),
            }),
        }
    }
}

/// For rustls, which knows no time before 1970.
fn instant(time: ASN1Time) -> UnixTime {
    let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

/// An instant as those of a certificate are shown; empty for one so far off that X.509 has no form
/// for it.
pub fn shown_time(since_epoch: Duration) -> String {
    i64::try_from(since_epoch.as_secs())
        .ok()
        .and_then(|seconds| ASN1Time::from_timestamp(seconds).ok())
        .map(|time| time.to_string())
        .unwrap_or_default()
}
