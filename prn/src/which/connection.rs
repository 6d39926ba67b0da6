//! How to reach the server: the flags for it, and connecting.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use prn_client::credentials::{
    CertificateSource, Credentials, CredentialsError, KeyFingerprint, KeySource, ServerSource,
};
use prn_client::{CONNECT_TIMEOUT, Client, ClientError};
use prn_proto::units::{Address, InvalidUnit, Time};

use crate::context::error::ContextError;
use crate::context::settings::{Given, GivenServer, Settings, Target, target};
use crate::failure::Failure;
use crate::reminders;

/// How to reach the server.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// The context of the server (see `prn context`) [env: PRN_CONTEXT] [default: that of `prn
    /// context use`]. A pattern ('web*'), a list (web1,web2) or the flag given again means several
    /// servers, for the commands that say so
    #[arg(long, value_name = "NAME")]
    pub context: Vec<String>,
    /// Your own certificate (PEM) [env: PRN_CLIENT_CERT]
    #[arg(long, value_name = "FILE")]
    pub client_cert: Option<PathBuf>,
    /// The server's certificate (PEM): the one server that is talked to. Repeatable, while a new
    /// one follows an old one [env: PRN_SERVER_CERT]
    #[arg(long, value_name = "FILE")]
    pub server_cert: Vec<PathBuf>,
    /// Or its key's fingerprint, as ssh-keygen -l prints it (SHA256:…) or curl takes it
    /// (sha256//…). Repeatable
    #[arg(long, value_name = "FINGERPRINT")]
    pub server_fingerprint: Vec<KeyFingerprint>,
    /// Or the certificate (PEM) of an authority that signs the server's. Repeatable
    #[arg(long, value_name = "FILE")]
    pub server_ca: Vec<PathBuf>,
    /// The server's name in a certificate that --server-ca has signed [default: the host of the
    /// address]
    #[arg(long, value_name = "NAME", requires = "server_ca")]
    pub server_name: Option<String>,
    /// Your private key (PKCS#8, PEM): a file that you alone can read; keyring:NAME, of the
    /// kernel's; credential:NAME, of the service manager's; or pkcs11:URI, in a token. Without it:
    /// the text in PRN_TLS_KEY, else what PRN_TLS_KEY_FILE names
    #[arg(long, value_name = "FILE", value_parser = key_source())]
    pub tls_key: Option<KeySource>,
    /// Where the server listens [env: PRN_ADDRESS] [default: 127.0.0.1:50051]
    #[arg(long, value_name = "HOST:PORT")]
    pub address: Option<Address>,
    /// Most time that the server has for an answer. A stop has its grace time beside it (10s where
    /// it is not given); output that is followed has no end
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_call_timeout)]
    pub call_timeout: CallTimeout,
}

/// Where a key is, as a flag says it.
pub fn key_source() -> impl TypedValueParser<Value = KeySource> {
    OsStringValueParser::new().try_map(KeySource::try_from)
}

/// Most time that the server has for an answer.
#[derive(Debug, Clone, Copy)]
pub struct CallTimeout(pub Duration);

impl Default for CallTimeout {
    fn default() -> Self {
        Self(prn_client::CALL_TIMEOUT)
    }
}

fn parse_call_timeout(text: &str) -> Result<CallTimeout, String> {
    let time: Time = text
        .parse()
        .map_err(|error: InvalidUnit| error.to_string())?;
    if time.0.is_zero() {
        return Err("no answer comes in no time: write 500ms, 10s, 5m or 2h".to_owned());
    }
    Ok(CallTimeout(time.0))
}

impl Connection {
    /// The servers that are meant.
    ///
    /// # Errors
    /// If a context is not there, or flags contradict each other.
    pub fn target(&self) -> Result<Target, ContextError> {
        let flags = Given {
            address: self.address.as_ref().map(|address| address.0.clone()),
            server: GivenServer {
                certificates: self.server_cert.clone(),
                fingerprints: self.server_fingerprint.clone(),
                authorities: self.server_ca.clone(),
                name: self.server_name.clone(),
            },
            client_cert: self.client_cert.clone(),
            key: self.tls_key.clone(),
        };
        target(&self.context, &flags)
    }
}

/// The server that a command talks to, for as many connections as it takes.
#[derive(Debug)]
pub struct Remote {
    address: String,
    credentials: Credentials,
    call_timeout: Duration,
}

impl Remote {
    /// The one server that is meant: loads certificates and key, and says which certificates will
    /// soon end.
    ///
    /// # Errors
    /// If several are meant; as [`Remote::of`].
    pub fn new(connection: Connection) -> Result<Self, Failure> {
        let remote = Self::silent(connection)?;
        reminders::of_endings(&remote.credentials.ending());
        Ok(remote)
    }

    /// The same without a word.
    ///
    /// # Errors
    /// As [`Remote::new`].
    pub fn silent(connection: Connection) -> Result<Self, Failure> {
        let settings = match connection.target()? {
            Target::One(settings) => *settings,
            Target::Several(several) => sole(several)?,
        };
        Self::loaded(&settings, connection.call_timeout)
    }

    /// A server by its settings.
    ///
    /// # Errors
    /// If something is missing, or a certificate or the key is refused.
    pub fn of(settings: &Settings, call_timeout: CallTimeout) -> Result<Self, Failure> {
        let remote = Self::loaded(settings, call_timeout)?;
        reminders::of_endings(&remote.credentials.ending());
        Ok(remote)
    }

    fn loaded(settings: &Settings, call_timeout: CallTimeout) -> Result<Self, Failure> {
        let (server, own) = (settings.server()?, settings.client_cert()?);
        let credentials = Credentials::find(own, settings.key()?, server)
            .map_err(|error| of_certificate(error, server))?
            .signing(settings.signs);
        Ok(Self {
            address: settings.address.value.clone(),
            credentials,
            call_timeout: call_timeout.0,
        })
    }

    /// A server of a fleet, which is known by what its agent announces or by the fleet's authority.
    ///
    /// # Errors
    /// If a certificate or the key is refused.
    pub fn known(
        address: String,
        own: (&CertificateSource, &KeySource),
        server: &ServerSource,
        call_timeout: CallTimeout,
    ) -> Result<Self, Failure> {
        let (certificate, key) = own;
        let credentials = Credentials::find(certificate, key, server)
            .map_err(|error| of_certificate(error, server))?;
        Ok(Self {
            address,
            credentials,
            call_timeout: call_timeout.0,
        })
    }

    /// Connects.
    pub async fn connect(&self) -> Result<Client, ClientError> {
        let limit = CONNECT_TIMEOUT.min(self.call_timeout);
        let client = Client::connect_within(&self.address, &self.credentials, limit).await?;
        Ok(client.asking_twice().with_call_timeout(self.call_timeout))
    }
}

/// What failed with a certificate or the key, and whether it is that the server's is not there.
pub fn of_certificate(error: CredentialsError, server: &ServerSource) -> Failure {
    if let CredentialsError::Read { path, source } = &error
        && source.kind() == io::ErrorKind::NotFound
        && (server.certificates.iter())
            .any(|known| matches!(known, CertificateSource::File(file) if file == path))
    {
        return Failure::ServerCertificate(error);
    }
    // An authority's, which no command of ours makes.
    let is_authority = |path: &Path| {
        let mut known = server.authorities.iter();
        known.any(|known| matches!(known, CertificateSource::File(file) if file == path))
    };
    match error {
        CredentialsError::Read { path, source } if is_authority(&path) => {
            Failure::Unread { path, source }
        }
        CredentialsError::Read { .. }
        | CredentialsError::Certificate { .. }
        | CredentialsError::NoKey
        | CredentialsError::EmptyKey(_)
        | CredentialsError::OpenKey { .. }
        | CredentialsError::OpenOther { .. }
        | CredentialsError::NoFile(_)
        | CredentialsError::OpenCertificate { .. }
        | CredentialsError::Key { .. }
        | CredentialsError::Source { .. }
        | _ => error.into(),
    }
}

/// The only one of them.
///
/// # Errors
/// [`ContextError::Several`].
pub fn sole(mut several: Vec<Settings>) -> Result<Settings, ContextError> {
    match (several.pop(), several.is_empty()) {
        (Some(one), true) => Ok(one),
        (one, _) => {
            several.extend(one);
            let names = several.into_iter().filter_map(|settings| settings.context);
            Err(ContextError::Several {
                names: names.collect(),
            })
        }
    }
}
