//! What a client needs to connect, from files and the environment.

use std::fmt;
use std::path::Path;

use prn_proto::tls::{self, Certificate, Fingerprint, Key, TlsError};

pub use prn_proto::credentials::{
    CertificateSource, CredentialsError, KEY_FILE_VARIABLE, KEY_VARIABLE, KeySource, ends_soon,
    load_certificate, now,
};

/// What a client needs to connect: its own certificate and key, and the certificate of the one
/// server that it talks to, or two of them while it is to get another.
#[derive(Debug)]
pub struct Credentials {
    pub(crate) certificate: Certificate,
    pub(crate) key: Key,
    pub(crate) servers: Vec<Certificate>,
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
            servers: vec![server],
            ending: Vec::new(),
        })
    }

    /// The server may as well have this certificate: it is to get it, or had it before.
    #[must_use]
    pub fn or_server(mut self, other: Certificate) -> Self {
        self.servers.push(other);
        self
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
        // Of two, one that is over or still to come does no harm.
        let servers = server.load_trusted()?.into_iter();
        let servers: Vec<_> = servers.map(|loaded| valid(server, loaded)).collect();
        let (valid, mut refused): (Vec<_>, Vec<_>) = servers.into_iter().partition(Result::is_ok);
        let servers: Vec<_> = valid.into_iter().flatten().collect();
        if servers.is_empty()
            && let Some(Err(error)) = refused.pop()
        {
            return Err(error);
        }
        tls::check_key(&own, &key_of_own).map_err(|source| CredentialsError::Key {
            origin: key.clone(),
            source,
        })?;
        Ok(Self {
            certificate: own,
            key: key_of_own,
            servers,
            ending,
        })
    }
}
