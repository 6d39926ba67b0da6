//! What a client needs to connect, from files and the environment.

use std::fmt;
use std::path::Path;

use prn_proto::tls::{self, Certificate, Fingerprint, Key, TlsError};

pub use prn_proto::credentials::{
    CertificateSource, CredentialsError, KEY_FILE_VARIABLE, KEY_VARIABLE, KeySource, ends_soon,
    load_certificate, now,
};

/// What a client needs to connect: its own certificate and key, and the certificate of the one
/// server that it talks to.
#[derive(Debug)]
pub struct Credentials {
    pub(crate) certificate: Certificate,
    pub(crate) key: Key,
    pub(crate) server: Certificate,
    ending: Vec<Ending>,
}

/// A certificate that is valid and will soon not be.
#[derive(Debug, Clone)]
pub struct Ending {
    /// Which.
    pub fingerprint: Fingerprint,
    text: String,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Credentials {
    /// From values.
    ///
    /// # Errors
    /// If the key does not belong to `certificate`.
    pub fn new(certificate: Certificate, key: Key, server: Certificate) -> Result<Self, TlsError> {
        tls::check_key(&certificate, &key)?;
        Ok(Self {
            certificate,
            key,
            server,
            ending: Vec::new(),
        })
    }

    /// What to tell people of those of the two certificates, unless they are values of the caller's
    /// own, that end within 14 days.
    pub fn ending(&self) -> &[Ending] {
        &self.ending
    }

    /// From files, and the key from where `key` says.
    ///
    /// # Errors
    /// As [`Credentials::find`].
    pub fn load(
        certificate: &Path,
        key: &KeySource,
        server: &Path,
    ) -> Result<Self, CredentialsError> {
        let file = |path: &Path| CertificateSource::File(path.to_owned());
        Self::find(&file(certificate), key, &file(server))
    }

    /// From where these say.
    ///
    /// # Errors
    /// If one of them is refused, the key does not belong to `certificate`, or a certificate is outside of its validity
    /// period by this machine's clock: the handshake would fail for it, with less to say.
    pub fn find(
        certificate: &CertificateSource,
        key: &KeySource,
        server: &CertificateSource,
    ) -> Result<Self, CredentialsError> {
        let now = now();
        let mut ending = Vec::new();
        let mut valid = |source: &CertificateSource, loaded: Certificate| {
            loaded
                .check_validity(now)
                .map_err(|error| source.refused(error))?;
            ending.extend(ends_soon(&loaded, source, now).map(|text| Ending {
                fingerprint: loaded.fingerprint(),
                text,
            }));
            Ok::<_, CredentialsError>(loaded)
        };
        let own = valid(certificate, certificate.load()?)?;
        let key_of_own = key.load()?;
        let server = valid(server, server.load_trusted()?)?;
        let loaded =
            Self::new(own, key_of_own, server).map_err(|source| CredentialsError::Key {
                origin: key.clone(),
                source,
            })?;
        Ok(Self { ending, ..loaded })
    }
}
