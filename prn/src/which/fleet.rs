//! Which fleet is meant: the flags for it, and its store and hosts, not connected yet.

use std::time::Duration;

use clap::Args;
use prn_client::credentials::{CertificateSource, Credentials, KeySource, ServerSource};
use prn_fleet::etcd::{Etcd, EtcdSettings};
use prn_fleet::{Fleet, JobView, KnownHost, v1};

use crate::context::config::{self, Config, Place, Texts};
use crate::context::error::ContextError;
use crate::context::settings::own_keygen;
use crate::failure::Failure;
use crate::fleet::fault::FleetFault;
use crate::output;
use crate::which::connection::{CallTimeout, Connection, Remote};

/// The variable that names a fleet, for a flag that does not.
const FLEET_VARIABLE: &str = "PRN_FLEET";

/// For how long a store is asked that does not answer: longer than an election of etcd's takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// A command of which a fleet may be meant, instead of one server.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Fleet")]
pub struct FleetFlag {
    /// Of a fleet instead of one server: jobs by their ids. Without a name: that of PRN_FLEET, else
    /// the current one of the configuration, or its only one
    #[arg(
        long,
        value_name = "NAME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        conflicts_with_all = ["address", "context", "server_cert", "server_fingerprint", "server_ca"]
    )]
    pub fleet: Option<String>,
}

/// Which fleet, for commands that are of fleets alone.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Fleet")]
pub struct OfFleet {
    /// Which fleet [env: PRN_FLEET] [default: the current one of the configuration, or its only one]
    #[arg(long, value_name = "NAME")]
    pub fleet: Option<String>,
}

/// A fleet whose store and hosts can be talked to.
#[derive(Debug)]
pub struct OpenFleet {
    /// Its name.
    pub name: String,
    /// Its store.
    pub fleet: Fleet,
    /// All jobs are signed.
    pub signs: bool,
    own: CertificateSource,
    key: KeySource,
    authorities: Vec<CertificateSource>,
    call_timeout: CallTimeout,
}

impl FleetFlag {
    /// The fleet, if one is meant.
    ///
    /// # Errors
    /// As [`OfFleet::open`].
    pub fn open(&self, connection: &Connection) -> Result<Option<OpenFleet>, Failure> {
        let open = |name: &String| open(Some(name), connection);
        self.fleet.as_ref().map(open).transpose()
    }
}

impl OfFleet {
    /// The fleet.
    ///
    /// # Errors
    /// The configuration does not have it, or not all of it; a certificate or the key is refused.
    pub fn open(&self) -> Result<OpenFleet, Failure> {
        open(self.fleet.as_ref(), &Connection::default())
    }
}

impl OpenFleet {
    /// All jobs. What is malformed is left out, and said.
    ///
    /// # Errors
    /// etcd does not answer.
    pub async fn jobs(&self) -> Result<Vec<JobView>, FleetFault> {
        let jobs = self.fleet.jobs().await?;
        self.tell_malformed();
        Ok(jobs)
    }

    /// All hosts, likewise.
    ///
    /// # Errors
    /// etcd does not answer.
    pub async fn hosts(&self) -> Result<Vec<KnownHost>, FleetFault> {
        let hosts = self.fleet.hosts().await?;
        self.tell_malformed();
        Ok(hosts)
    }

    /// Tells of what in etcd is malformed, once of each.
    pub fn tell_malformed(&self) {
        for key in self.fleet.malformed() {
            output::notice(&format!(
                "{key:?} in etcd is not what prn writes there, or larger, and is left out: find out who has written it, and `etcdctl del` it"
            ));
        }
    }
}

fn open(name: Option<&String>, connection: &Connection) -> Result<OpenFleet, Failure> {
    let place = Place::of_environment()?;
    let config = place.load()?;
    let name = name_of(name, &config)?;
    let found = Found {
        place: &place,
        name: &name,
        fleet: config.fleet(&name)?,
    };
    let (own, key) = (found.own(connection)?, found.key(connection)?);
    let etcd = Etcd::new(EtcdSettings {
        endpoints: found.fleet.store.clone(),
        credentials: found.of_store(&own, &key)?,
        name: found.fleet.store_name.clone(),
        patience: PATIENCE,
        when_slow: Some(tell_slow),
    });
    let fleet = Fleet::new(etcd.map_err(FleetFault::from)?, &name).map_err(FleetFault::from)?;
    Ok(OpenFleet {
        fleet,
        signs: found.fleet.sign,
        own,
        key,
        authorities: found.certificates(found.fleet.server_ca.as_ref()),
        call_timeout: connection.call_timeout,
        name,
    })
}

/// Whoever waits for etcd is to know.
pub fn tell_slow(tried: &str) {
    output::notice(&format!("etcd does not answer yet: trying {tried}"));
}

/// What was typed, else what the environment says, else what the configuration does.
fn name_of(typed: Option<&String>, config: &Config) -> Result<String, ContextError> {
    let variable = || std::env::var(FLEET_VARIABLE).ok();
    let is_said = |name: &String| !name.is_empty();
    let said = typed.cloned().filter(is_said);
    match said.or_else(|| variable().filter(is_said)) {
        Some(name) => Ok(name),
        None => config.usual_fleet().map(str::to_owned),
    }
}

/// A fleet as the configuration has it.
struct Found<'a> {
    place: &'a Place,
    name: &'a str,
    fleet: &'a config::Fleet,
}

impl Found<'_> {
    fn certificates(&self, texts: Option<&Texts>) -> Vec<CertificateSource> {
        let texts = texts.map_or(&[][..], Texts::as_slice);
        let source = |text: &String| self.certificate(text, "an authority");
        texts.iter().map(source).collect()
    }

    fn certificate(&self, text: &str, whose: &str) -> CertificateSource {
        let name = format!("{whose} of fleet {}", self.name);
        self.place.certificate(text, name)
    }

    /// The user's certificate: what was typed, what the fleet says, what lies beside the
    /// configuration.
    fn own(&self, connection: &Connection) -> Result<CertificateSource, ContextError> {
        let typed = connection.client_cert.clone().map(CertificateSource::File);
        let said = self.fleet.client_cert.as_deref();
        let said = said.map(|text| self.certificate(text, "the certificate"));
        let beside = Some(self.place.own_certificate()).filter(|path| path.exists());
        let beside = beside.map(CertificateSource::File);
        typed
            .or(said)
            .or(beside)
            .ok_or_else(|| self.missing("client-cert"))
    }

    fn key(&self, connection: &Connection) -> Result<KeySource, ContextError> {
        let command = self.fleet.key_command.clone().map(KeySource::Command);
        let said = self.fleet.tls_key.as_deref();
        let said = said.map(|text| self.place.key(text));
        let beside = Some(self.place.own_key()).filter(|path| path.exists());
        let typed = connection.tls_key.clone();
        typed
            .or(command)
            .or(said)
            .or_else(KeySource::from_environment)
            .or(beside.map(KeySource::File))
            .ok_or_else(|| self.missing("tls-key"))
    }

    fn of_store(&self, own: &CertificateSource, key: &KeySource) -> Result<Credentials, Failure> {
        let authorities = self.certificates(self.fleet.store_ca.as_ref());
        let Some(first) = self.fleet.store.first() else {
            return Err(self.missing("store").into());
        };
        if authorities.is_empty() {
            return Err(self.missing("store-ca").into());
        }
        let name = self.fleet.store_name.as_deref();
        let server = ServerSource {
            authorities,
            name: name.unwrap_or(first.parts().0).to_owned(),
            ..ServerSource::default()
        };
        Ok(Credentials::find(own, key, &server)?)
    }

    fn missing(&self, what: &'static str) -> ContextError {
        let (name, path) = (self.name, self.place.path.display());
        let makes = match what {
            "client-cert" | "tls-key" => format!(", or make both: {}", own_keygen(self.place)),
            _ => String::new(),
        };
        ContextError::Setting {
            what,
            why: format!(
                "is missing in [fleet.{name}] of {path}: docs/fleet.md has all keys{makes}"
            ),
        }
    }
}

impl OpenFleet {
    /// The server of the host of this name, not connected yet: known by the fleet's authority under
    /// that name, wherever it is announced, or, without that, by what its agent announces.
    ///
    /// # Errors
    /// A certificate or the key is refused; nothing is announced that the server is known by.
    pub fn remote(&self, name: &str, host: &v1::Host) -> Result<Remote, Failure> {
        let server = if self.authorities.is_empty() {
            announced(host)
        } else {
            ServerSource {
                authorities: self.authorities.clone(),
                name: name.to_owned(),
                ..ServerSource::default()
            }
        };
        Remote::known(
            host.address.clone(),
            (&self.own, &self.key),
            &server,
            self.call_timeout,
        )
    }
}

/// What an agent says that its server is known by.
fn announced(host: &v1::Host) -> ServerSource {
    let certificate = |pem: &String| CertificateSource::Text {
        pem: pem.clone(),
        name: format!(
            "of the host at {}, as its agent announces it,",
            host.address
        ),
    };
    let fingerprints = host.fingerprints.iter();
    ServerSource {
        certificates: host.certificates.iter().map(certificate).collect(),
        fingerprints: fingerprints.filter_map(|text| text.parse().ok()).collect(),
        ..ServerSource::default()
    }
}
