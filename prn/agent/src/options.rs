//! The flags.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use clap::builder::{OsStringValueParser, TypedValueParser};
use prn_client::Label;
use prn_client::credentials::{
    CertificateSource, Credentials, CredentialsError, KeyFingerprint, KeySource, ServerSource,
};
use prn_fleet::etcd::{Etcd, EtcdError, EtcdSettings};
use prn_fleet::{Fleet, FleetError, is_name, v1};
use prn_proto::defaults::ADDRESS;
use prn_proto::units::{Address, InvalidUnit, Size, Time};

use crate::daemon::Daemon;
use crate::fatal::Fatal;

/// For how long one call to etcd is tried with one member after the other.
const PATIENCE: Duration = Duration::from_secs(20);

/// Let this machine's prn server run jobs of a fleet
///
/// It announces the host in etcd, claims jobs that fit, starts them on the server and says how they
/// end. Give it a certificate of its own, which the server pins (role runner) and etcd's authority
/// signs.
#[derive(Debug, Parser)]
#[command(name = "prn-agent", version, max_term_width = 100)]
pub struct Options {
    /// The fleet's name
    #[arg(long, value_name = "NAME", env = "PRN_FLEET", value_parser = parse_name)]
    fleet: String,
    /// This host's name in it
    #[arg(long, value_name = "NAME", env = "PRN_FLEET_HOST", value_parser = parse_name)]
    host: String,
    /// A member of etcd. Repeatable
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "PRN_STORE",
        required = true,
        value_delimiter = ','
    )]
    store: Vec<Address>,
    /// The certificate (PEM) of the authority that signs certificates of etcd's members. Repeatable
    #[arg(long, value_name = "FILE", env = "PRN_STORE_CA", required = true)]
    store_ca: Vec<PathBuf>,
    /// The members' name in their certificates [default: the host of each address]
    #[arg(long, value_name = "NAME")]
    store_name: Option<String>,
    /// Where this machine's server listens
    #[arg(long, value_name = "HOST:PORT", env = "PRN_ADDRESS", default_value = ADDRESS)]
    address: Address,
    /// Where clients reach it [default: the same]
    #[arg(long, value_name = "HOST:PORT")]
    announce: Option<Address>,
    /// The server's certificate (PEM), which clients are told as well. Repeatable
    #[arg(long, value_name = "FILE", env = "PRN_SERVER_CERT")]
    server_cert: Vec<PathBuf>,
    /// Or its key's fingerprint (SHA256:…). Repeatable
    #[arg(long, value_name = "FINGERPRINT")]
    server_fingerprint: Vec<KeyFingerprint>,
    /// The agent's own certificate (PEM)
    #[arg(long, value_name = "FILE", env = "PRN_CLIENT_CERT")]
    client_cert: PathBuf,
    /// The agent's private key (PKCS#8, PEM): a file, credential:NAME, keyring:NAME or pkcs11:URI.
    /// Without it: the text in PRN_TLS_KEY, else what PRN_TLS_KEY_FILE names
    #[arg(long, value_name = "FILE", value_parser = key_source())]
    tls_key: Option<KeySource>,
    /// A label of the host, for jobs that want it. Repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<Label>,
    /// Most processes of jobs at a time
    #[arg(long, value_name = "N", default_value_t = 100)]
    processes: u32,
    /// Memory for them [default: all of the machine's]
    #[arg(long, value_name = "SIZE")]
    memory: Option<Size>,
    /// CPUs for them [default: all of the machine's]
    #[arg(long, value_name = "N")]
    cpus: Option<f64>,
    /// For how long the host is believed to be there without a word of it
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = parse_time)]
    lease: Duration,
    /// How long after that its jobs that may run twice are started elsewhere
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_time)]
    lost_after: Duration,
}

/// What a host is to others.
#[derive(Debug)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// What does not change of what is announced.
    pub announced: v1::Host,
}

fn parse_name(text: &str) -> Result<String, String> {
    if is_name(text) {
        return Ok(text.to_owned());
    }
    Err(FleetError::Name(text.to_owned()).to_string())
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let time: Time = text
        .parse()
        .map_err(|error: InvalidUnit| error.to_string())?;
    Ok(time.0)
}

/// Where a key is, as a flag says it.
fn key_source() -> impl TypedValueParser<Value = KeySource> {
    OsStringValueParser::new().try_map(KeySource::try_from)
}

impl Options {
    /// For how long the host is believed to be there.
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// How long after that its jobs are another one's.
    pub fn lost_after(&self) -> Duration {
        self.lost_after
    }

    fn credentials(&self, server: &ServerSource) -> Result<Credentials, CredentialsError> {
        let own = CertificateSource::File(self.client_cert.clone());
        Credentials::find(&own, &KeySource::find(self.tls_key.clone())?, server)
    }

    /// The fleet, not connected yet.
    ///
    /// # Errors
    /// A certificate or the key is refused; a name is none.
    pub fn fleet(&self) -> Result<Fleet, Fatal> {
        let first = self.store.first().map(|address| address.parts().0);
        let authorities = self.store_ca.iter().cloned();
        let server = ServerSource {
            authorities: authorities.map(CertificateSource::File).collect(),
            name: first.unwrap_or_default().to_owned(),
            ..ServerSource::default()
        };
        let etcd: Result<Etcd, EtcdError> = Etcd::new(EtcdSettings {
            endpoints: self.store.clone(),
            credentials: self.credentials(&server)?,
            name: self.store_name.clone(),
            patience: PATIENCE,
        });
        Ok(Fleet::new(etcd?, &self.fleet)?)
    }

    /// The server, not connected yet.
    ///
    /// # Errors
    /// A certificate or the key is refused.
    pub fn daemon(&self) -> Result<Daemon, CredentialsError> {
        let certificates = self.server_cert.iter().cloned();
        let server = ServerSource {
            certificates: certificates.map(CertificateSource::File).collect(),
            fingerprints: self.server_fingerprint.clone(),
            ..ServerSource::default()
        };
        let credentials = self.credentials(&server)?;
        Ok(Daemon::new(self.address.0.clone(), credentials))
    }

    /// What is announced.
    ///
    /// # Errors
    /// A certificate cannot be read.
    pub fn host(&self) -> Result<Host, Fatal> {
        let certificates = self.server_cert.iter().map(std::fs::read_to_string);
        let fingerprints = self.server_fingerprint.iter().map(ToString::to_string);
        let labels: BTreeMap<_, _> = self
            .label
            .iter()
            .cloned()
            .map(|l| (l.key, l.value))
            .collect();
        let address = self.announce.as_ref().unwrap_or(&self.address);
        let cpus = std::thread::available_parallelism()?.get();
        let cpus = self
            .cpus
            .unwrap_or(u32::try_from(cpus).unwrap_or(u32::MAX).into());
        let cpus = Duration::try_from_secs_f64(cpus).unwrap_or_default();
        let memory = match self.memory {
            Some(memory) => memory.0,
            None => machine_memory()?,
        };
        let capacity = v1::Resources {
            processes: self.processes,
            memory_bytes: memory,
            cpu_millis: u64::try_from(cpus.as_millis()).unwrap_or(u64::MAX),
        };
        Ok(Host {
            name: self.host.clone(),
            announced: v1::Host {
                address: address.0.clone(),
                fingerprints: fingerprints.collect(),
                certificates: certificates.collect::<Result<_, _>>()?,
                labels,
                capacity: Some(capacity),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                since: Some(prn_fleet::now()),
                ..v1::Host::default()
            },
        })
    }
}

/// Bytes of memory that the machine has (MemTotal, proc_meminfo(5)).
fn machine_memory() -> std::io::Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: Option<u64> = kib.and_then(|kib| kib.trim().parse().ok());
    Ok(kib.unwrap_or_default().saturating_mul(1024))
}
