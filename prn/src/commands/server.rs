//! `prn server start`, `reload`, `status`, `check` and `invite`: what is found and what goes wrong
//! is printed here, done in [`prn_launch`].

mod check;
pub mod running;
pub mod status;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use prn_client::credentials::CertificateSource;
use prn_launch::lines::{Level, Style};
use prn_launch::options::{self, Options, Reload};
use prn_launch::{Outcome, ServerError, Warning};
use prn_proto::tls::Own;
use prn_proto::units::Address;

use nix::sys::stat::fstat;

use crate::commands::pin::CONFIG;
use crate::commands::rotate::pair::next_certificate;
use crate::context::line::ServerLine;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::output;
use crate::output::format::FormatFlag;

/// Run the server, or check whether it could run here
#[derive(Debug, Subcommand)]
pub enum Server {
    /// Run the server
    ///
    /// Checks everything first, then hands over to its two halves: prn-supervisor, a small program
    /// that runs as root, and prn-frontend, which talks to the network and has no privilege. Prints
    /// "Listening on ADDRESS" when clients can connect. All processes are stopped when it ends.
    ///
    /// A flag wins over an environment variable, which wins over the configuration file.
    Start(Start),
    /// Give a running server another configuration
    ///
    /// Takes what prn server start takes, checks all of it, and hands it to the server of that
    /// state folder. Clients, roles, the server's certificate and key and most limits change at
    /// once. Processes do not notice, streams go on where they were, and what clients do now waits
    /// for a moment; those that are let in no longer are cut off. What needs a restart is named,
    /// and stays as it is.
    ///
    /// Exits 0 if it is in force, else 1, with what is wrong and where: then nothing has changed,
    /// but where the server has not answered, which is said.
    Reload(Reload),
    /// Say how the running server is
    ///
    /// Asks the supervisor, as root, in the server's state folder: since when it runs, which
    /// configuration is in force, what is in use of what there may be, and why frontends were
    /// replaced, also while no frontend serves. Says that a restart is pending where other programs
    /// are installed than run.
    ///
    /// Exits 0 if the server answers, else 1. `prn health` asks as a client.
    Status(status::StatusArgs),
    /// Say what this host offers, what is missing for the server, and what will stop it some day
    ///
    /// Looks at the kernel, groups and limits, and at the clock, the ends of certificates, the key,
    /// the port, memory, the disk, descriptors and the journal's limit, as the configuration needs
    /// them. The key is had and compared with the certificate as by a start: a key-command is run,
    /// and a token asked with its PIN. Each line that is not `ok` says what to do; `BLOCKS` is what
    /// a start refuses. Changes nothing. Root sees all of it. Without a configuration it is the
    /// host alone that is looked at.
    ///
    /// Exits 0 if the server could start here, else 1.
    Check(ServerCheck),
    /// Print the server as one line for `prn context add`: address and certificate, no secret
    ///
    /// While `prn rotate server` is under way the next certificate stands in it too.
    ///
    /// Whoever can change the line chooses the server: let clients have it by a way that both
    /// trust.
    Invite(Invite),
}

/// `prn server start`.
#[derive(Debug, Args)]
pub struct Start {
    /// How lines of the log are written, on standard error: for people, or each as one object
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// What the server is to be.
    #[command(flatten)]
    pub flags: options::Start,
}

/// How lines of the server's log are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text: who, what, and name="value".
    Text,
    /// JSON.
    Json,
}

/// `prn server invite`.
#[derive(Debug, Args)]
pub struct Invite {
    /// The server's configuration
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
    /// Where clients find the server [default: the configuration's address]
    #[arg(long, value_name = "HOST:PORT")]
    pub address: Option<Address>,
}

/// `prn server check`.
#[derive(Debug, Args)]
pub struct ServerCheck {
    /// The server's configuration [default: that of the package, if it is there and no other flag
    /// says what to check for]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to check for.
    #[command(flatten)]
    pub flags: options::Check,
    /// How to print the result.
    #[command(flatten)]
    pub format: FormatFlag,
}

/// Returns only if the server does not start. What it says is part of the server's log.
pub fn start(start: Start) -> Result<Exit, Failure> {
    let style = Style {
        is_json: start.log_format == LogFormat::Json,
        has_priority: is_read_by_the_journal(),
    };
    let is_plain = style == Style::default();
    let warn = |warning: Warning| {
        let level = if matches!(warning, Warning::Layers { .. }) {
            Level::Info
        } else {
            Level::Warning
        };
        if is_plain {
            output::notice(&warning.to_string());
        } else {
            output::log(style, level, &warning.to_string());
        }
    };
    let Err(error) = prn_launch::start(start.flags, style, &warn);
    let failure = Failure::from(error);
    if is_plain {
        return Err(failure);
    }
    let hint = failure.hint();
    let line = output::error_line(&failure, hint.as_deref());
    output::log(style, Level::Error, &line);
    Ok(failure.exit())
}

/// Whether standard error is the stream that systemd says it has connected to the journal
/// (JOURNAL_STREAM, systemd.exec(5)), and not one that somebody has put in its place.
fn is_read_by_the_journal() -> bool {
    let own = fstat(std::io::stderr()).map(|file| format!("{}:{}", file.st_dev, file.st_ino));
    own.is_ok_and(|own| std::env::var("JOURNAL_STREAM").is_ok_and(|stream| stream == own))
}

/// Gives a running server what these flags say.
pub fn reload(mut flags: Reload) -> Result<Exit, Failure> {
    flags.config = configuration(&flags, Path::new(CONFIG));
    let warn = |warning: prn_launch::Warning| output::notice(&warning.to_string());
    let reloaded = prn_launch::reload(flags, &warn)?;
    for fixed in &reloaded.fixed {
        output::notice(&fixed.to_string());
    }
    let changes = reloaded.changes;
    let line = match reloaded.outcome {
        Outcome::InForce(number) => format!("configuration {number} is in force: {changes}"),
        Outcome::Same if reloaded.fixed.is_empty() => {
            "nothing is new: the server has this configuration".to_owned()
        }
        Outcome::Same => "nothing else is new".to_owned(),
        Outcome::Checked => format!("this configuration can be reloaded: {changes}"),
    };
    output::print_line(&line).map_err(Failure::Print)?;
    Ok(exit::OK)
}

/// Says what is found, of a start with these flags, or with the packaged configuration where
/// nothing is said of a server.
pub fn check(args: &ServerCheck) -> Result<Exit, Failure> {
    let flags = Options::from(&args.flags);
    let packaged = Path::new(CONFIG);
    let is_packaged = flags == Options::default() && packaged.exists();
    let config = args.config.as_deref();
    let config = config.or(is_packaged.then_some(packaged));
    let warn = |warning: prn_launch::Warning| output::notice(&warning.to_string());
    let options = options::merged(flags, config, &warn).map_err(ServerError::from)?;
    let report = prn_launch::check(&options);
    let mut findings = report.findings;
    findings.extend(check::findings(&check::Case {
        options: &options,
        config,
        memory: report.memory,
    }));
    let can_start = !findings.iter().any(|finding| finding.blocks);
    output::findings(&findings, can_start, &args.format).map_err(Failure::Print)?;
    Ok(if can_start { exit::OK } else { exit::ERROR })
}

/// The file that is named, else the packaged server's. That is not taken where anything is said of
/// a server, which may be another one.
fn configuration(flags: &Reload, packaged: &Path) -> Option<PathBuf> {
    let is_packaged = *flags.options == Options::default() && packaged.exists();
    let named = flags.config.clone();
    named.or_else(|| is_packaged.then(|| packaged.to_owned()))
}

/// Addresses that a server listens at, and that no client can connect to.
const ANYWHERE: [&str; 2] = ["0.0.0.0:", "[::]:"];

pub fn invite(args: &Invite) -> Result<Exit, Failure> {
    let line = invitation(&args.config, args.address.as_ref())?;
    output::print_line(&line.to_string())?;
    if line.certificates.len() > 1 {
        output::notice(
            "with the server's next certificate, which `prn rotate server --finish` puts in its place",
        );
    }
    output::notice("on the client's machine: `prn context add NAME LINE`");
    Ok(exit::OK)
}

/// What a client has to know of the server of a configuration, with the certificate that is to
/// follow the present one.
///
/// # Errors
/// [`Failure::Usage`] if nothing says where it is.
pub fn invitation(config: &Path, address: Option<&Address>) -> Result<ServerLine, Failure> {
    let warn = |warning: prn_launch::Warning| output::notice(&warning.to_string());
    let options =
        options::merged(Options::default(), Some(config), &warn).map_err(ServerError::from)?;
    let missing = |what: &str| Failure::Usage(format!("{}: {what}", config.display()));
    let path = options
        .server_cert
        .ok_or_else(|| missing("it names no certificate of the server: write server-cert in it"))?;
    let own = CertificateSource::File(path.clone()).load_as(Own::from_pem)?;
    let address = address.cloned().or(options.address);
    let address = address.ok_or_else(|| missing("--address has to name where clients find it"))?;
    if ANYWHERE
        .iter()
        .any(|anywhere| address.0.starts_with(anywhere))
    {
        return Err(missing(
            "the server listens at all addresses of this machine: --address has to name the one where clients find it",
        ));
    }
    let mut certificates = vec![own.certificate];
    certificates.extend(next_certificate(&path)?);
    Ok(ServerLine {
        address,
        certificates,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_takes_the_packaged_configuration_where_nothing_is_said_of_a_server() {
        let here = Path::new("/dev/null");
        let named = Path::new("/other.toml");
        let with = |config: Option<&Path>, options| Reload {
            config: config.map(Path::to_owned),
            check: false,
            options: Box::new(options),
        };
        let silent = || with(None, Options::default());
        assert_eq!(configuration(&silent(), here), Some(here.to_owned()));
        assert_eq!(configuration(&silent(), Path::new("/no/such")), None);
        let of_file = with(Some(named), Options::default());
        assert_eq!(configuration(&of_file, here), Some(named.to_owned()));
        let options = Options {
            state_dir: Some("/var/lib/other".into()),
            ..Options::default()
        };
        assert_eq!(configuration(&with(None, options), here), None);
    }
}
