//! What the agent is to do: flags, variables, and a file that has the same by the same names.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser};
use prn_client::Label;
use prn_client::credentials::{
    CertificateSource, Credentials, KeyFingerprint, KeySource, ServerSource,
};
use prn_fleet::etcd::{Etcd, EtcdError, EtcdSettings};
use prn_fleet::{Fleet, FleetError, is_name, v1};
use prn_proto::defaults::ADDRESS;
use prn_proto::units::{Address, Size, Time};
use serde::{Deserialize, Deserializer, de};

use crate::daemon::Daemon;
use crate::fatal::{Fatal, OptionsError};

/// For how long one call to etcd is tried with one member after the other.
const PATIENCE: Duration = Duration::from_secs(20);
/// Most bytes of what is read of the fleet at a time, but for what waits: what the keeper knows of
/// the jobs of all hosts, some 100,000.
const LISTINGS_MAX: usize = 64 * 1024 * 1024;
/// For how long the host is believed to be there, where nothing else is said.
const LEASE: Duration = Duration::from_secs(15);
/// The same of how long after that its jobs are another one's.
const LOST_AFTER: Duration = Duration::from_secs(30);
/// The same of processes at a time.
const PROCESSES: u32 = 100;

/// Let this machine's prn server run jobs of a fleet
///
/// It announces the host in etcd, claims jobs that fit, starts them on the server and says how they
/// end. `prn fleet join` makes what it needs: a certificate of its own, which the server pins (role
/// fleet-agent) and etcd's authority signs, and its configuration.
///
/// A flag wins over an environment variable, which wins over the configuration file.
#[derive(Debug, Parser)]
#[command(name = "prn-agent", version, max_term_width = 100)]
struct Line {
    /// A file that says the same: each key is a flag without its dashes. Files that are named in it
    /// are meant from its folder
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

/// Everything but the configuration file's own name. Nothing: not given.
#[derive(Debug, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// The fleet's name
    #[arg(long, value_name = "NAME", env = "PRN_FLEET", value_parser = parse_name)]
    fleet: Option<String>,
    /// This host's name in it
    #[arg(long, value_name = "NAME", env = "PRN_FLEET_HOST", value_parser = parse_name)]
    host: Option<String>,
    /// A member of etcd. Repeatable
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "PRN_STORE",
        value_delimiter = ','
    )]
    store: Vec<Address>,
    /// The certificate (PEM) of the authority that signs certificates of etcd's members. Repeatable
    #[arg(long, value_name = "FILE", env = "PRN_STORE_CA")]
    store_ca: Vec<PathBuf>,
    /// The members' name in their certificates [default: the host of each address]
    #[arg(long, value_name = "NAME")]
    store_name: Option<String>,
    /// Where this machine's server listens [default: 127.0.0.1:50051]
    #[arg(long, value_name = "HOST:PORT", env = "PRN_ADDRESS")]
    address: Option<Address>,
    /// Where clients reach it [default: the same]
    #[arg(long, value_name = "HOST:PORT")]
    announce: Option<Address>,
    /// The server's certificate (PEM), which clients are told as well. Repeatable
    #[arg(long, value_name = "FILE", env = "PRN_SERVER_CERT")]
    server_cert: Vec<PathBuf>,
    /// Or its key's fingerprint (SHA256:…). Repeatable
    #[arg(long, value_name = "FINGERPRINT")]
    #[serde(deserialize_with = "parsed")]
    server_fingerprint: Vec<KeyFingerprint>,
    /// The agent's own certificate (PEM)
    #[arg(long, value_name = "FILE", env = "PRN_CLIENT_CERT")]
    client_cert: Option<PathBuf>,
    /// The agent's private key (PKCS#8, PEM): a file, credential:NAME, keyring:NAME or pkcs11:URI.
    /// Without this flag: the text in PRN_TLS_KEY, else what PRN_TLS_KEY_FILE names, else the
    /// configuration file's tls-key
    #[arg(long, value_name = "FILE", value_parser = key_source())]
    tls_key: Option<KeySource>,
    /// A label of the host, for jobs that want it. Repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    #[serde(deserialize_with = "parsed")]
    label: Vec<Label>,
    /// Most processes of jobs at a time [default: 100]
    #[arg(long, value_name = "N")]
    processes: Option<u32>,
    /// Memory for them [default: all of the machine's]
    #[arg(long, value_name = "SIZE")]
    memory: Option<Size>,
    /// CPUs for them [default: all of the machine's]
    #[arg(long, value_name = "N")]
    cpus: Option<f64>,
    /// For how long the host is believed to be there without a word of it [default: 15s]
    #[arg(long, value_name = "TIME")]
    lease: Option<Time>,
    /// How long after that its jobs that may run twice are started elsewhere [default: 30s]
    #[arg(long, value_name = "TIME")]
    lost_after: Option<Time>,
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

/// A list of what a flag would take, each as a text.
fn parsed<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
    T::Err: Display,
{
    let texts = Vec::<String>::deserialize(deserializer)?;
    let parsed = texts.iter().map(|text| text.parse());
    parsed.collect::<Result<_, _>>().map_err(de::Error::custom)
}

/// Where a key is, as a flag says it.
fn key_source() -> impl TypedValueParser<Value = KeySource> {
    OsStringValueParser::new().try_map(KeySource::try_from)
}

impl Options {
    /// Those of this process: of its command line, its environment and its file.
    ///
    /// # Errors
    /// The file is refused. With help, or a word that is none, the process ends.
    pub fn of_process() -> Result<Self, OptionsError> {
        let line = Line::parse();
        let Some(path) = &line.config else {
            return Ok(line.options);
        };
        let text = std::fs::read_to_string(path).map_err(|source| OptionsError::Read {
            path: path.clone(),
            source,
        })?;
        let mut file = Self::of_file(&text).map_err(|(line, what)| OptionsError::Parse {
            path: path.clone(),
            line,
            what,
        })?;
        file.below(path.parent().unwrap_or(Path::new("")));
        let has_key = KeySource::from_environment().is_some();
        Ok(line.options.or(file, has_key))
    }

    /// The file's values, or the line and what is wrong there.
    fn of_file(text: &str) -> Result<Self, (usize, String)> {
        let file: Self = toml::from_str(text).map_err(|error| {
            let before = text.get(..error.span().map_or(0, |span| span.start));
            let line = before.unwrap_or_default().matches('\n').count() + 1;
            (line, error.message().replace('\n', ", "))
        })?;
        for name in file.fleet.iter().chain(&file.host) {
            if !is_name(name) {
                let before = text
                    .split_once(name.as_str())
                    .map_or("", |(before, _)| before);
                let line = before.matches('\n').count() + 1;
                return Err((line, FleetError::Name(name.clone()).to_string()));
            }
        }
        Ok(file)
    }

    /// Files that are named without a folder of their own are in this one.
    fn below(&mut self, folder: &Path) {
        let files = self.store_ca.iter_mut().chain(&mut self.server_cert);
        for path in files.chain(&mut self.client_cert) {
            *path = folder.join(&path);
        }
        self.tls_key = self.tls_key.take().map(|key| key.below(folder));
    }

    /// What is not said here is as the file has it.
    fn or(self, file: Self, has_key: bool) -> Self {
        macro_rules! or {
            ($($list:ident)|*; $($field:ident),*) => {
                Self {
                    $($list: if self.$list.is_empty() { file.$list } else { self.$list },)*
                    tls_key: self.tls_key.or(file.tls_key.filter(|_| !has_key)),
                    $($field: self.$field.or(file.$field)),*
                }
            };
        }
        or!(
            store | store_ca | server_cert | server_fingerprint | label;
            fleet, host, store_name, address, announce, client_cert, processes, memory, cpus, lease,
            lost_after
        )
    }

    /// For how long the host is believed to be there.
    pub fn lease(&self) -> Duration {
        self.lease.map_or(LEASE, |time| time.0)
    }

    /// How long after that its jobs are another one's.
    pub fn lost_after(&self) -> Duration {
        self.lost_after.map_or(LOST_AFTER, |time| time.0)
    }

    fn credentials(&self, server: &ServerSource) -> Result<Credentials, Fatal> {
        let path = required("client-cert", self.client_cert.as_ref())?;
        let own = CertificateSource::File(path.clone());
        let key = KeySource::find(self.tls_key.clone())?;
        Ok(Credentials::find(&own, &key, server)?)
    }

    /// The fleet, not connected yet.
    ///
    /// # Errors
    /// A certificate or the key is refused; something is missing, or a name is none.
    pub fn fleet(&self) -> Result<Fleet, Fatal> {
        let name = required("fleet", self.fleet.as_ref())?;
        let first = required("store", self.store.first())?;
        required("store-ca", self.store_ca.first())?;
        let authorities = self.store_ca.iter().cloned();
        let server = ServerSource {
            authorities: authorities.map(CertificateSource::File).collect(),
            name: first.parts().0.to_owned(),
            ..ServerSource::default()
        };
        let etcd: Result<Etcd, EtcdError> = Etcd::new(EtcdSettings {
            endpoints: self.store.clone(),
            credentials: self.credentials(&server)?,
            name: self.store_name.clone(),
            patience: PATIENCE,
            when_slow: None,
        });
        Ok(Fleet::new(etcd?.with_room_for(LISTINGS_MAX), name)?)
    }

    /// The server, not connected yet.
    ///
    /// # Errors
    /// A certificate or the key is refused.
    pub fn daemon(&self) -> Result<Daemon, Fatal> {
        let certificates = self.server_cert.iter().cloned();
        let server = ServerSource {
            certificates: certificates.map(CertificateSource::File).collect(),
            fingerprints: self.server_fingerprint.clone(),
            ..ServerSource::default()
        };
        let credentials = self.credentials(&server)?;
        Ok(Daemon::new(self.address(), credentials))
    }

    /// Where this machine's server listens.
    fn address(&self) -> String {
        let address = self.address.as_ref();
        address.map_or(ADDRESS, |address| &address.0).to_owned()
    }

    /// What is announced.
    ///
    /// # Errors
    /// A certificate cannot be read; the host has no name.
    pub fn host(&self) -> Result<Host, Fatal> {
        let certificates = self.server_cert.iter().map(std::fs::read_to_string);
        let fingerprints = self.server_fingerprint.iter().map(ToString::to_string);
        let labels: BTreeMap<_, _> = self
            .label
            .iter()
            .cloned()
            .map(|l| (l.key, l.value))
            .collect();
        let announce = self.announce.as_ref().map(|address| address.0.clone());
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
            processes: self.processes.unwrap_or(PROCESSES),
            memory_bytes: memory,
            cpu_millis: u64::try_from(cpus.as_millis()).unwrap_or(u64::MAX),
        };
        Ok(Host {
            name: required("host", self.host.as_ref())?.clone(),
            announced: v1::Host {
                address: announce.unwrap_or_else(|| self.address()),
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

/// What has to be said, by the name of its flag.
fn required<'a, T>(name: &'static str, value: Option<&'a T>) -> Result<&'a T, OptionsError> {
    value.ok_or(OptionsError::Missing(name))
}

/// Bytes of memory that the machine has (MemTotal, proc_meminfo(5)).
fn machine_memory() -> std::io::Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: Option<u64> = kib.and_then(|kib| kib.trim().parse().ok());
    Ok(kib.unwrap_or_default().saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "fleet = \"prod\"\nstore = [\"a:1\", \"b:2\"]\nstore-ca = [\"ca.pem\"]\nlabel = [\"zone=a\"]\nlease = \"20s\"\nmemory = \"2G\"\ncpus = 2\ntls-key = \"agent.key\"\n";

    #[test]
    fn what_is_typed_wins_over_the_file() {
        let mut file = Options::of_file(TEXT).unwrap();
        file.below(Path::new("/etc/prn"));
        assert_eq!(file.store_ca, [Path::new("/etc/prn/ca.pem")]);
        let key = KeySource::File("/etc/prn/agent.key".into());
        assert_eq!(file.tls_key, Some(key));
        let words = ["prn-agent", "--fleet", "test", "--store", "c:3"];
        let line = Line::try_parse_from(words).unwrap().options;
        let both = line.or(file, true);
        assert_eq!(both.fleet.as_deref(), Some("test"));
        assert_eq!((both.store.len(), both.cpus), (1, Some(2.0)));
        assert_eq!(
            (both.lease(), both.lost_after()),
            (Duration::from_secs(20), LOST_AFTER)
        );
        assert_eq!(both.label.len(), 1);
        assert!(both.tls_key.is_none(), "the environment has another one");
        let missing = both.host().unwrap_err().to_string();
        assert!(missing.starts_with("--host is missing"), "{missing}");
    }

    #[test]
    fn a_line_that_is_wrong_is_named() {
        for (text, line, what) in [
            ("fleet = \"a\"\nno-such = 1\n", 2, "unknown field `no-such`"),
            ("\nhost = \"A\"\n", 2, "is no name"),
            ("label = [\"a\"]\n", 1, ""),
            ("lease = \"x\"\n", 1, ""),
        ] {
            let refused = Options::of_file(text).unwrap_err();
            assert_eq!(refused.0, line, "{text}");
            assert!(refused.1.contains(what), "{}", refused.1);
        }
    }
}
