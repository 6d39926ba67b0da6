//! `prn exporter`: finds the server as any command does, and becomes prn-exporter, a program of its
//! own, which links what nobody else needs.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use clap::Args;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use prn_client::credentials::{CertificateSource, KEY_VARIABLE, KeySource};
use prn_proto::programs;

use crate::context::settings::{Settings, Target};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::which::connection::{Connection, sole};

/// The program.
const PROGRAM: &str = "prn-exporter";

/// Serve the server's metrics to Prometheus
///
/// A client that only looks: give it a certificate of its own and a role that may list, and nothing
/// else. Prometheus asks for http://127.0.0.1:9464/metrics, and gets what the server does and has
/// done, and what each process that runs takes; prn_up is 0 while the server does not answer. While
/// nobody asks, nothing happens.
#[derive(Debug, Args)]
pub struct Exporter {
    /// Where Prometheus asks for /metrics [default: 127.0.0.1:9464]. unix:/PATH is a socket that
    /// this user and its group may connect to
    #[arg(long, value_name = "HOST:PORT|unix:PATH")]
    pub listen: Option<String>,
    /// Listen on an address that other machines reach, too. They are not asked who they are
    #[arg(long)]
    pub allow_remote: bool,
    /// Processes that are told apart, the newest of those that run [default: 1000]. 0: none, the
    /// server's numbers alone
    #[arg(long, value_name = "N")]
    pub processes_max: Option<u32>,
    /// A label of processes that their metrics get as well, as label_KEY. Repeatable, or a list
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    pub label_key: Vec<String>,
    /// Most time for an answer, of which the server's is a part [default: 8s]
    #[arg(long, value_name = "TIME")]
    pub scrape_timeout: Option<String>,
    /// A collector of OpenTelemetry that traces of processes and metrics are pushed to, by OTLP
    /// over gRPC without TLS: http://127.0.0.1:4317
    #[arg(long, value_name = "URL")]
    pub otlp: Option<String>,
    /// How often metrics are pushed [default: 60s]
    #[arg(long, value_name = "TIME")]
    pub otlp_interval: Option<String>,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

/// Becomes it: returns where that fails.
pub fn exporter(args: &Exporter) -> Result<Exit, Failure> {
    let settings = match args.connection.target()? {
        Target::One(settings) => *settings,
        Target::Several(several) => sole(several)?,
    };
    let handed_over = hand_over(&words_of(&settings)?)?;
    let mut command = Command::new(found()?);
    let number = handed_over.as_raw_fd().to_string();
    command.args(args.words()).arg(flag("settings-fd", number));
    for told in ["PRN_ADDRESS", "PRN_CLIENT_CERT", "PRN_SERVER_CERT"] {
        command.env_remove(told);
    }
    if !matches!(settings.key()?, KeySource::Environment) {
        command.env_remove(KEY_VARIABLE);
    }
    Err(command.exec().into())
}

/// Where the program is.
fn found() -> Result<PathBuf, Failure> {
    programs::find(PROGRAM)?.ok_or_else(|| {
        Failure::Usage(format!(
            "the program {PROGRAM} is neither beside prn nor in ../libexec/prn nor in /usr/libexec/prn: install the package prn-server, or build all of prn"
        ))
    })
}

/// Words in memory that the program inherits: anybody may read a command line. Each has a NUL byte
/// behind it.
fn hand_over(words: &[OsString]) -> Result<OwnedFd, Failure> {
    let failed = std::io::Error::from;
    let memory = memfd_create(c"settings", MFdFlags::MFD_ALLOW_SEALING).map_err(failed)?;
    let mut memory = File::from(memory);
    for word in words {
        memory.write_all(word.as_bytes())?;
        memory.write_all(b"\0")?;
    }
    memory.rewind()?;
    fcntl(&memory, FcntlArg::F_ADD_SEALS(SealFlag::all())).map_err(failed)?;
    Ok(memory.into())
}

fn flag(name: &str, value: impl AsRef<OsStr>) -> OsString {
    let mut flag = OsString::from(format!("--{name}="));
    flag.push(value);
    flag
}

impl Exporter {
    fn words(&self) -> Vec<OsString> {
        let mut words = Vec::new();
        words.extend(self.listen.iter().map(|value| flag("listen", value)));
        if self.allow_remote {
            words.push("--allow-remote".into());
        }
        let most = self.processes_max.map(|most| most.to_string());
        words.extend(most.map(|most| flag("processes-max", most)));
        words.extend(self.label_key.iter().map(|key| flag("label-key", key)));
        let within = self.scrape_timeout.iter();
        words.extend(within.map(|time| flag("scrape-timeout", time)));
        words.extend(self.otlp.iter().map(|url| flag("otlp", url)));
        let interval = self.otlp_interval.iter();
        words.extend(interval.map(|time| flag("otlp-interval", time)));
        words
    }
}

/// What a connection's settings are as flags of the program.
fn words_of(settings: &Settings) -> Result<Vec<OsString>, Failure> {
    let server = settings.server()?;
    let certificate = |name: &str, source: &CertificateSource| match source {
        CertificateSource::File(path) => flag(name, path),
        CertificateSource::Text { pem, .. } => flag(&format!("{name}-text"), pem),
    };
    let mut words = vec![
        flag("address", &settings.address.value),
        certificate("client-cert", settings.client_cert()?),
    ];
    let known = server.certificates.iter();
    words.extend(known.map(|source| certificate("server-cert", source)));
    let keys = server.fingerprints.iter();
    words.extend(keys.map(|key| flag("server-fingerprint", key.to_string())));
    if !server.authorities.is_empty() {
        let authorities = server.authorities.iter();
        words.extend(authorities.map(|source| certificate("server-ca", source)));
        words.push(flag("server-name", &server.name));
    }
    match settings.key()? {
        KeySource::Environment => {}
        KeySource::File(path) => words.push(flag("tls-key", path)),
        KeySource::Command(command) => {
            words.extend(command.iter().map(|word| flag("key-command", word)));
        }
        named @ (KeySource::Credential(_) | KeySource::Keyring(_) | KeySource::Token(_)) => {
            words.push(flag("tls-key", named.to_string()));
        }
    }
    Ok(words)
}
