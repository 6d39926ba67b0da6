//! The TLS profile of both ends: TLS 1.3 alone, Ed25519 alone, one self-signed certificate a side,
//! pinned by the other.
//!
//! Runs in the frontend and in clients; `prn server start` uses it to check what it was given
//! before anything listens. It trusts the pins and nothing that a peer says of itself. A peer is
//! accepted when its certificate equals a pin byte for byte, is inside its validity period, and the
//! handshake is signed by that certificate's key. Names, issuer and the CA flag are not looked at:
//! the pin is the identity (RFC 7469 speaks of pins; here the whole DER is one).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::{cipher_suite, default_provider};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, PeerIncompatible,
    ServerConfig, SignatureScheme,
};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate, X509Version};
use zeroize::{Zeroize, Zeroizing};

/// The only application protocol: HTTP/2, as gRPC needs it (RFC 9113, section 3.2).
pub const ALPN: &[u8] = b"h2";

/// DER of an Ed25519 SubjectPublicKeyInfo up to the 32 bytes of the key (RFC 8410, section 4).
const ED25519_KEY: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Why a certificate or a key was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// No PEM section of that kind is there.
    #[error("no \"-----BEGIN {0}-----\" section in it")]
    Missing(&'static str),
    /// There is more than one PEM section, or one of another kind.
    #[error("it must hold one {expected} and nothing else, but has {found}")]
    Unexpected {
        /// The section that belongs there.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// The bytes are no X.509 certificate.
    #[error("not a valid X.509 certificate")]
    Malformed,
    /// Bytes follow the certificate.
    #[error("bytes follow the certificate's DER")]
    TrailingBytes,
    /// It is an X.509 version 1 or 2 certificate.
    #[error("not an X.509 version 3 certificate")]
    NotVersion3,
    /// Its public key is not an Ed25519 one.
    #[error("its key is not Ed25519: make one with `prn keygen`")]
    NotEd25519,
    /// Its key usage extension leaves out digitalSignature.
    #[error("its key usage does not allow signatures")]
    NoDigitalSignature,
    /// It is outside its validity period.
    #[error("it is valid from {from} to {until}, and this machine's clock says {now}: {outside}")]
    NotValidNow {
        /// First valid instant, UTC.
        from: String,
        /// Last valid instant, UTC.
        until: String,
        /// What the time was taken to be, UTC.
        now: String,
        /// On which side of the period.
        outside: Outside,
    },
    /// The key is not a PKCS#8 Ed25519 private key.
    #[error("not an Ed25519 private key in PKCS#8 form: make one with `prn keygen`")]
    BadKey,
    /// The private key belongs to another certificate.
    #[error("the private key does not belong to the certificate {0}")]
    KeyMismatch(Fingerprint),
    /// Nobody would be let in.
    #[error("no client certificate is pinned, so nobody could connect")]
    NoPins,
    /// rustls refused the configuration.
    #[error("TLS configuration refused")]
    Rustls(#[from] rustls::Error),
}

/// Where a time lies that is outside a validity period. Shown as what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// Before its first instant. Certificates are made to be valid at once, so it is a clock that
    /// is wrong: the one it was made by, or this one.
    Before,
    /// After its last instant.
    After,
}

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Before => {
                "clock skew? Set the clocks of this machine and of the one that made it, or wait"
            }
            Self::After => "make a new one with `prn keygen`, or set this clock if it is wrong",
        })
    }
}

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
    der: CertificateDer<'static>,
}

impl Certificate {
    /// From PEM text that holds exactly one certificate.
    pub fn from_pem(pem: &[u8]) -> Result<Self, TlsError> {
        let der = sole_section(pem, SectionKind::Certificate, "CERTIFICATE")?;
        Self::from_der(der.to_vec())
    }

    /// One or two from PEM text: a server's, and the one that it is to get or had before.
    ///
    /// # Errors
    /// As [`Certificate::from_pem`].
    pub fn one_or_two_from_pem(pem: &[u8]) -> Result<Vec<Self>, TlsError> {
        const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
        let mut begins = pem.windows(BEGIN.len()).enumerate();
        let mut begins = begins.by_ref().filter(|(_, text)| *text == BEGIN);
        let second = begins.nth(1).map_or(pem.len(), |(at, _)| at);
        let (first, second) = pem.split_at_checked(second).unwrap_or((pem, &[]));
        let parts = [first, second].into_iter().filter(|part| !part.is_empty());
        let parts: Vec<_> = parts.collect();
        match parts.as_slice() {
            // Nothing is there: that is told of the whole.
            [] => Self::from_pem(pem).map(|only| vec![only]),
            parts => parts.iter().map(|part| Self::from_pem(part)).collect(),
        }
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

/// The server's side: `pins` are the clients that are let in.
pub fn server_config(
    certificate: &Certificate,
    key: &Key,
    pins: Vec<Certificate>,
) -> Result<ServerConfig, TlsError> {
    watched_server_config(certificate, key, pins, |_| {})
}

/// The same; `shown` hears of each certificate that a client shows, pinned or not, before it is
/// judged, in the same poll: after a handshake that failed, rustls does not tell whose it was.
pub fn watched_server_config(
    certificate: &Certificate,
    key: &Key,
    pins: Vec<Certificate>,
    shown: fn(Fingerprint),
) -> Result<ServerConfig, TlsError> {
    if pins.is_empty() {
        return Err(TlsError::NoPins);
    }
    let provider = provider();
    let verifier = PinnedPeers {
        shown,
        pins,
        algorithms: provider.signature_verification_algorithms,
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified_key(
            certificate,
            key,
        )?)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    // On resumption rustls takes the peer's identity from the session and asks no verifier (compare
    // CVE-2025-23419), so a pin removed would go on opening the door. Nothing is resumable.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    Ok(config)
}

/// The client's side: `servers` are the certificates of the one server that is talked to, more than one
/// while it is to get another.
pub fn client_config(
    certificate: &Certificate,
    key: &Key,
    servers: Vec<Certificate>,
) -> Result<ClientConfig, TlsError> {
    let provider = provider();
    let verifier = PinnedPeers {
        shown: |_| {},
        pins: servers,
        algorithms: provider.signature_verification_algorithms,
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified_key(
            certificate,
            key,
        )?)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    // The pin is the name.
    config.enable_sni = false;
    Ok(config)
}

/// The error that a pinning client returns for a server with another certificate: both
/// fingerprints, for the user.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the server's certificate is {found}, but {pinned} is pinned")]
pub struct WrongServer {
    /// What the server showed.
    pub found: Fingerprint,
    /// What was pinned.
    pub pinned: Fingerprint,
}

/// Accepts exactly the pinned certificates, of either side.
#[derive(Debug)]
struct PinnedPeers {
    shown: fn(Fingerprint),
    pins: Vec<Certificate>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PinnedPeers {
    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        unpinned: impl FnOnce(&[u8]) -> CertificateError,
    ) -> Result<(), rustls::Error> {
        // A pin is one certificate, so a chain is never right: refusing it leaves nothing unpinned
        // to parse.
        if !intermediates.is_empty() {
            return Err(CertificateError::UnknownIssuer.into());
        }
        let Some(pin) = self.pins.iter().find(|pin| pin.der == *end_entity) else {
            return Err(unpinned(end_entity).into());
        };
        // Parsed from the pin, not from what the peer sent.
        let (_, parsed) =
            X509Certificate::from_der(&pin.der).map_err(|_| CertificateError::BadEncoding)?;
        match period(&parsed, Duration::from_secs(now.as_secs())) {
            Period::Inside => Ok(()),
            // With both times: a clock that is wrong is seen in them.
            Period::Before => Err(CertificateError::NotValidYetContext {
                time: now,
                not_before: instant(parsed.validity().not_before),
            }
            .into()),
            Period::After => Err(CertificateError::ExpiredContext {
                time: now,
                not_after: instant(parsed.validity().not_after),
            }
            .into()),
        }
    }

    fn verify_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // Without this the certificate alone, which is public, would be the password.
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }
}

impl ClientCertVerifier for PinnedPeers {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Names of pinned certificates are nobody's business before authentication.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        (self.shown)(Fingerprint::of(end_entity));
        self.verify(end_entity, intermediates, now, |_| {
            CertificateError::ApplicationVerificationFailure
        })?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ServerCertVerifier for PinnedPeers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let wrong_server = |found: &[u8]| match self.pins.as_slice() {
            // The one that has been there for longest.
            [pinned, ..] => {
                let wrong = WrongServer {
                    found: Fingerprint::of(found),
                    pinned: pinned.fingerprint(),
                };
                CertificateError::Other(rustls::OtherError(Arc::new(wrong)))
            }
            [] => CertificateError::ApplicationVerificationFailure,
        };
        self.verify(end_entity, intermediates, now, wrong_server)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// ring, with the suite first that is fastest on machines with AES instructions.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = default_provider();
    provider.cipher_suites = vec![
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    Arc::new(provider)
}

fn certified_key(certificate: &Certificate, key: &Key) -> Result<CertifiedKey, TlsError> {
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

enum Period {
    Before,
    Inside,
    After,
}

fn period(certificate: &X509Certificate<'_>, now: Duration) -> Period {
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

fn sole_section(
    pem: &[u8],
    kind: SectionKind,
    label: &'static str,
) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    // The library passes over sections that it does not know, so it is the "BEGIN" lines that are
    // counted.
    let text = String::from_utf8_lossy(pem);
    // To the library a carriage return alone ends a line too. Only up to the dashes: of a key whose
    // line breaks were lost, all of it stands on the "BEGIN" line.
    let found: Vec<&str> = text
        .split(['\n', '\r'])
        .filter_map(|line| {
            Some(
                line.trim()
                    .strip_prefix("-----BEGIN ")?
                    .split_once("-----")?
                    .0,
            )
        })
        .collect();
    match found.as_slice() {
        [] => return Err(TlsError::Missing(label)),
        [only] if *only == label => {}
        other => {
            // Where dashes were lost as well, a label is not one, and may hold the key; no label
            // has small letters.
            let is_label = |text: &str| {
                text.bytes()
                    .all(|byte| byte.is_ascii_uppercase() || b"0123456789 ".contains(&byte))
            };
            let shown = |text| {
                if is_label(text) {
                    text
                } else {
                    "something else"
                }
            };
            let found: Vec<_> = other.iter().copied().map(shown).collect();
            return Err(TlsError::Unexpected {
                expected: label,
                found: found.join(" and "),
            });
        }
    }
    let (read, mut der) =
        <(SectionKind, Vec<u8>)>::from_pem_slice(pem).map_err(|_| TlsError::Missing(label))?;
    if read != kind {
        der.zeroize();
        return Err(TlsError::Missing(label));
    }
    Ok(Zeroizing::new(der))
}
