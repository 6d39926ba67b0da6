//! Certificates that prn can use or pin.
//!
//! Runs at both ends, and in `prn server start`. A certificate is parsed here once, strictly: what the
//! handshake would stumble over later is refused now.

use std::fmt;
use std::time::Duration;

use rustls::pki_types::pem::SectionKind;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate, X509Version};

use super::error::{Outside, TlsError};
use super::pem::sole_section;

/// DER of an Ed25519 SubjectPublicKeyInfo up to the 32 bytes of the key (RFC 8410, section 4).
const ED25519_KEY: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// How long a certificate is still valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remaining {
    /// Time to its last instant.
    pub left: Duration,
    /// That instant, UTC.
    pub until: String,
}

/// SHA-256 of a certificate's DER, shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of any DER.
    pub fn of(der: &[u8]) -> Self {
        let mut bytes = [0; 32];
        for (to, from) in bytes
            .iter_mut()
            .zip(ring::digest::digest(&ring::digest::SHA256, der).as_ref())
        {
            *to = *from;
        }
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A certificate that prn can use or pin: X.509 v3, Ed25519, allowed to sign.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    pub(super) der: CertificateDer<'static>,
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
        // Whole, as the handshake's signature check compares it: a pin whose key has parameters or
        // another length could never connect.
        if parsed
            .public_key()
            .raw
            .strip_prefix(&ED25519_KEY)
            .map(<[u8]>::len)
            != Some(32)
        {
            return Err(TlsError::NotEd25519);
        }
        if let Ok(Some(usage)) = parsed.key_usage()
            && !usage.value.digital_signature()
        {
            return Err(TlsError::NoDigitalSignature);
        }
        let der = CertificateDer::from(der);
        // What the handshake's signature check will parse must be parsable now, not at the first
        // connection.
        ParsedCertificate::try_from(&der).map_err(|_| TlsError::Malformed)?;
        Ok(Self { der })
    }

    /// Its DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of its DER.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.der)
    }

    /// Checks that `now` (since the Unix epoch) lies in its validity period, both ends included
    /// (RFC 5280, 4.1.2.5).
    pub fn check_validity(&self, now: Duration) -> Result<(), TlsError> {
        let (_, parsed) = X509Certificate::from_der(&self.der).map_err(|_| TlsError::Malformed)?;
        let validity = parsed.validity();
        let outside = match period(&parsed, now) {
            Period::Inside => return Ok(()),
            Period::Before => Outside::Before,
            Period::After => Outside::After,
        };
        Err(TlsError::NotValidNow {
            from: validity.not_before.to_string(),
            until: validity.not_after.to_string(),
            now: shown_time(now),
            outside,
        })
    }

    /// Until when it is valid, since the Unix epoch. `None` if that lies before it, or is no time.
    pub fn not_after(&self) -> Option<Duration> {
        let (_, parsed) = X509Certificate::from_der(&self.der).ok()?;
        let end = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
        Some(Duration::from_secs(end))
    }

    /// How long it is valid from `now` (since the Unix epoch) on. `None` if it no longer is.
    pub fn remaining(&self, now: Duration) -> Option<Remaining> {
        let (_, parsed) = X509Certificate::from_der(&self.der).ok()?;
        let until = parsed.validity().not_after;
        Some(Remaining {
            left: self.not_after()?.checked_sub(now)?,
            until: until.to_string(),
        })
    }
}

/// For rustls, which knows no time before 1970.
pub(super) fn instant(time: ASN1Time) -> UnixTime {
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

pub(super) enum Period {
    Before,
    Inside,
    After,
}

pub(super) fn period(certificate: &X509Certificate<'_>, now: Duration) -> Period {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = certificate.validity();
    if now < validity.not_before.timestamp() {
        Period::Before
    } else if now > validity.not_after.timestamp() {
        Period::After
    } else {
        Period::Inside
    }
}
