//! Why a certificate, a key or a configuration of TLS is not taken.
//!
//! Used wherever certificates are read: in the frontend, in clients and in `prn server start`. No
//! text has a byte of a key in it.

use std::fmt;

use super::hash::Fingerprint;
use super::kind::KeyKind;
use crate::signer::SignerError;

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
    /// Its public key is P-256, which nobody has allowed.
    #[error(
        "its key is not Ed25519 but P-256: make one with `prn keygen`, or allow both with allow-p256"
    )]
    P256NotAllowed,
    /// Its public key is Ed25519, and P-256 alone is taken.
    #[error("its key is Ed25519, and P-256 alone is taken here")]
    NotP256,
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
    /// The key is not a PKCS#8 private key of the certificate's kind.
    #[error(
        "not {} {_0} private key in PKCS#8 form: make one with `prn keygen`",
        article(_0)
    )]
    BadKey(KeyKind),
    /// The private key belongs to another certificate.
    #[error("the private key does not belong to the certificate {0}")]
    KeyMismatch(Fingerprint),
    /// The key is elsewhere, and nothing signs with it.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// It is no certificate of an authority.
    #[error(
        "it is no certificate authority's (CA:TRUE, and allowed to sign certificates): give that of who signs the others"
    )]
    NoAuthority,
    /// An authority does not stand for it.
    #[error("the authority has not signed it for a client")]
    NotSigned(#[source] rustls::Error),
    /// It is no list of what is revoked.
    #[error(
        "not a certificate revocation list (version 2, with a number and the time of the next one)"
    )]
    MalformedList,
    /// It is no fingerprint of a key.
    #[error(
        "{0:?} is not a key's fingerprint: write SHA256:… as `ssh-keygen -l` prints it, or sha256//… as curl takes it; `prn keygen --show CERT` prints both"
    )]
    NoFingerprint(String),
    /// It is no rule for names.
    #[error(
        "{0:?} names no certificates: write \"uri:spiffe://prod/ci\", \"uri:spiffe://prod/*\", \"dns:ci.example\" or \"dns:*.example\""
    )]
    NoNameRule(String),
    /// It is no name of a server.
    #[error("{0:?} is no name of a server: write a DNS name, or an IP address")]
    NoServerName(String),
    /// Nobody would be let in.
    #[error("no client certificate is pinned, so nobody could connect")]
    NoPins,
    /// No server is named.
    #[error("nothing says which server is talked to")]
    NoServer,
    /// rustls refused the configuration.
    #[error("TLS configuration refused")]
    Rustls(#[from] rustls::Error),
}

fn article(kind: &KeyKind) -> &'static str {
    match kind {
        KeyKind::Ed25519 => "an",
        KeyKind::P256 => "a",
    }
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
