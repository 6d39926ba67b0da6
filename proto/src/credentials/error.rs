//! Why a certificate or a key was not taken.

use std::io;
use std::path::PathBuf;

use super::place::{KEY_FILE_VARIABLE, KEY_VARIABLE, KeySource, SourceError};
use crate::tls::TlsError;

/// Why a certificate or key was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// It is not a certificate that prn can use.
    #[error("the certificate {origin} is refused")]
    Certificate {
        /// Where it is, as a source of certificates is shown.
        origin: String,
        /// Why.
        #[source]
        source: TlsError,
    },
    /// Nothing says where the key is.
    #[error(
        "no TLS key: set {KEY_VARIABLE} to the key's PEM text, or name its file with --tls-key or {KEY_FILE_VARIABLE}"
    )]
    NoKey,
    /// There is nothing in it.
    #[error("{0} is empty: it must hold a PKCS#8 key in PEM form")]
    EmptyKey(KeySource),
    /// Others than its owner can read or change the key.
    #[error("the key file {} is open to others (mode {mode:04o}): run `chmod 600` on it", path.display())]
    OpenKey {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others than its owner can read or change it, and no key is in it: another file is meant, or
    /// a PIN.
    #[error("{} is open to others (mode {mode:04o}) and has no PRIVATE KEY in it: name the file of the key, which its owner alone can read", path.display())]
    OpenOther {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is a directory, a device, or a pipe that nobody may ever write to.
    #[error("{} is no regular file: name the file that the key or certificate is in", .0.display())]
    NoFile(PathBuf),
    /// Others can change whom prn talks to.
    #[error("the server's certificate {} can be changed by others (mode {mode:04o}): run `chmod go-w {}`", path.display(), path.display())]
    OpenCertificate {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is not to be had from where it is.
    #[error("the key in {origin} is not to be had")]
    Source {
        /// Where it is.
        origin: KeySource,
        /// Why.
        #[source]
        source: SourceError,
    },
    /// It is not a key that prn can use.
    #[error("the key in {origin} is refused")]
    Key {
        /// Where it is.
        origin: KeySource,
        /// Why.
        #[source]
        source: TlsError,
    },
}
