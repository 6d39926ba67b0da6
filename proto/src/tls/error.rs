//! Why a certificate, a key or a configuration of TLS is not taken.
//!
//! Used wherever certificates are read: in the frontend, in clients and in `prn server start`. No text
//! has a byte of a key in it.

use std::fmt;

use super::certificate::Fingerprint;

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
