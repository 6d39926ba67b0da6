//! What a client needs to connect, from files and the environment.

use std::path::Path;

use prn_proto::tls::{self, Certificate, Key, TlsError};

pub use prn_proto::credentials::{
    CredentialsError, KEY_FILE_VARIABLE, KEY_VARIABLE, KeySource, ends_soon, load_certificate, now,
};

/// What a client needs to connect: its own certificate and key, and the certificate of the one
/// server that it talks to.
#[derive(Debug)]
pub struct Credentials {
    pub(crate) certificate: Certificate,
    pub(crate) key: Key,
    pub(crate) server: Certificate,
    ending: Vec<String>,
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

    /// What to tell people of those of the two certificates, if they came from files, that end
    /// within 14 days.
    pub fn ending(&self) -> &[String] {
        &self.ending
    }

    /// From files, and the key from where `key` says.
    ///
    /// # Errors
    /// If one of them is refused, the key does not belong to `certificate`, or a certificate is outside of its validity
    /// period by this machine's clock: the handshake would fail for it, with less to say.
    pub fn load(
        certificate: &Path,
        key: &KeySource,
        server: &Path,
    ) -> Result<Self, CredentialsError> {
        let now = now();
        let mut ending = Vec::new();
        let mut valid = |path: &Path| {
            let loaded = load_certificate(path)?;
            match loaded.check_validity(now) {
                Ok(()) => {
                    ending.extend(ends_soon(&loaded, path, now));
                    Ok(loaded)
                }
                Err(source) => Err(CredentialsError::Certificate {
                    path: path.to_owned(),
                    source,
                }),
            }
        };
        let (own, key_of_own, server) = (valid(certificate)?, key.load()?, valid(server)?);
        let loaded =
            Self::new(own, key_of_own, server).map_err(|source| CredentialsError::Key {
                origin: key.clone(),
                source,
            })?;
        Ok(Self { ending, ..loaded })
    }
}
