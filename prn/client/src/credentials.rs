//! What a client needs to connect, from files and the environment.

use std::fmt;
use std::path::Path;

pub use prn_proto::tls::KeyFingerprint;
use prn_proto::tls::{
    AuthorityCertificate, Certificate, Fingerprint, Key, NamedServer, Own, Pair, Peer, Server,
    TlsError, check_key,
};

pub use prn_proto::credentials::{
    CertificateSource, CredentialsError, KEY_FILE_VARIABLE, KEY_VARIABLE, KeySource, SourceError,
    ends_soon, load_certificate, now,
};

/// What a client needs to connect: its own certificate and key, and what the one server that it
/// talks to is known by.
#[derive(Debug)]
pub struct Credentials {
    pub(crate) pair: Pair,
    pub(crate) server: Box<Server>,
    pub(crate) signs_all: bool,
    /// The certificates, and where they are from.
    found: Vec<(CertificateSource, Certificate)>,
}

/// What the server is known by: any of these.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerSource {
    /// Its certificates: several while one follows another.
    pub certificates: Vec<CertificateSource>,
    /// Fingerprints of its keys.
    pub fingerprints: Vec<KeyFingerprint>,
    /// Authorities that sign its certificates.
    pub authorities: Vec<CertificateSource>,
    /// Its name in those, for authorities alone.
    pub name: String,
}

impl From<&CertificateSource> for ServerSource {
    fn from(certificate: &CertificateSource) -> Self {
        Self {
            certificates: vec![certificate.clone()],
            ..Self::default()
        }
    }
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
    pub fn new(own: impl Into<Own>, key: Key, server: impl Into<Server>) -> Result<Self, TlsError> {
        Ok(Self {
            pair: Pair::new(&own.into(), &key)?,
            server: Box::new(server.into()),
            signs_all: false,
            found: Vec::new(),
        })
    }

    /// The same for one who signs all that it starts, if that is so.
    #[must_use]
    pub fn signing(self, signs_all: bool) -> Self {
        Self { signs_all, ..self }
    }

    /// The same for another server: one of this name in certificates of the same authorities.
    ///
    /// # Errors
    /// [`TlsError::NoServerName`].
    pub fn named(&self, name: &str) -> Result<Self, TlsError> {
        let named = self.server.named.as_ref();
        let named = named.map(|named| NamedServer::new(named.authorities.clone(), name));
        Ok(Self {
            pair: self.pair.clone(),
            server: Box::new(Server {
                peer: self.server.peer.clone(),
                named: named.transpose()?,
            }),
            signs_all: self.signs_all,
            found: self.found.clone(),
        })
    }

    /// What to tell people of those of the two certificates, unless they are values of the caller's
    /// own, that by now end within 14 days and are in the last tenth of their time.
    pub fn ending(&self) -> Vec<Ending> {
        let now = now();
        let soon = self.found.iter().filter_map(|(source, certificate)| {
            Some(Ending {
                fingerprint: certificate.fingerprint(),
                text: ends_soon(certificate, source, now)?,
            })
        });
        soon.collect()
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
        Self::find(&file(certificate), key, &(&file(server)).into())
    }

    /// From where these say. Of a pair of files that is being replaced, which is two renames, the key
    /// is the next one first: its certificate is in `FILE.next`, or by now in its place.
    ///
    /// # Errors
    /// If one of them is refused, the key does not belong to `certificate`, or a certificate is
    /// outside of its validity period by this machine's clock: the handshake would fail for it,
    /// with less to say.
    pub fn find(
        certificate: &CertificateSource,
        key: &KeySource,
        server: &ServerSource,
    ) -> Result<Self, CredentialsError> {
        let found = Self::find_pair(certificate, key, server);
        let CertificateSource::File(path) = certificate else {
            return found;
        };
        if !found.as_ref().is_err_and(is_mismatch) {
            return found;
        }
        let mut next = path.clone().into_os_string();
        next.push(".next");
        let next = CertificateSource::File(next.into());
        Self::find_pair(&next, key, server).or_else(|_| Self::find_pair(certificate, key, server))
    }

    /// As they are now.
    fn find_pair(
        certificate: &CertificateSource,
        key: &KeySource,
        server: &ServerSource,
    ) -> Result<Self, CredentialsError> {
        let now = now();
        let mut found = Vec::new();
        let mut valid = |source: &CertificateSource, loaded: &Certificate| {
            loaded
                .check_validity(now)
                .map_err(|error| source.refused(error))?;
            found.push((source.clone(), loaded.clone()));
            Ok::<_, CredentialsError>(())
        };
        let own = certificate.load_as(Own::from_pem)?;
        valid(certificate, &own.certificate)?;
        let key_of_own = key.load()?;
        let refused = |source| CredentialsError::Key {
            origin: key.clone(),
            source,
        };
        // Whatever has it: it signs once, so that what is wrong is said now.
        if key_of_own.remote().is_some() {
            check_key(&own.certificate, &key_of_own).map_err(refused)?;
        }
        let server = known(server, &mut valid)?;
        let loaded = Self::new(own, key_of_own, server).map_err(refused)?;
        Ok(Self { found, ..loaded })
    }
}

/// Whether a key and a certificate are not of one pair.
fn is_mismatch(error: &CredentialsError) -> bool {
    let CredentialsError::Key { source, .. } = error else {
        return false;
    };
    matches!(source, TlsError::KeyMismatch(_))
}

/// The server, by what is in the files. Of several certificates one in its time is enough: the old
/// one may have ended, and the new one not have begun.
fn known(
    source: &ServerSource,
    valid: &mut impl FnMut(&CertificateSource, &Certificate) -> Result<(), CredentialsError>,
) -> Result<Server, CredentialsError> {
    let mut peer = Peer {
        keys: source.fingerprints.clone(),
        ..Peer::default()
    };
    let mut outside = None;
    for file in &source.certificates {
        let certificate = file.load_trusted(Certificate::from_pem)?;
        match valid(file, &certificate) {
            Ok(()) => peer.certificates.push(certificate),
            Err(error) => outside = Some(error),
        }
    }
    let is_alone = source.fingerprints.is_empty() && source.authorities.is_empty();
    if let Some(error) = outside
        && peer.certificates.is_empty()
        && is_alone
    {
        return Err(error);
    }
    let authorities = source.authorities.iter();
    let authorities = authorities.map(|file| file.load_trusted(AuthorityCertificate::from_pem));
    let authorities = authorities.collect::<Result<Vec<_>, _>>()?;
    let named = source.authorities.first().map(|first| {
        let named = NamedServer::new(authorities, &source.name);
        named.map_err(|error| first.refused(error))
    });
    Ok(Server {
        peer,
        named: named.transpose()?,
    })
}
