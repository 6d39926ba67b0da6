//! `prn rotate server`: on the server's machine, as root.

use std::path::{Path, PathBuf};

use clap::Args;
use nix::unistd::Uid;
use prn_launch::options::{self, Options, Reload};
use prn_launch::{ANOTHER_IDENTITY, ControlError, NOTHING_NEW, Reloaded, ServerError};
use prn_proto::credentials::KeySource;
use prn_proto::units::Address;

use super::pair::{Pair, Stage};
use super::step::{Step, locked_pair, quoted};
use crate::commands::pin::CONFIG;
use crate::commands::server::invitation;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::output;

/// Replace the server's key and certificate
///
/// Three steps. Alone it makes the next ones, and prints a line by which clients know the server by
/// both certificates: `prn context add --force NAME LINE` takes it. Then each client does that, or
/// is given the next certificate or fingerprint. Then --finish puts the next ones in their places
/// and reloads the server: who knows it by the old certificate alone is refused from then on, and
/// whoever has both notices nothing. Processes and streams go on.
#[derive(Debug, Args)]
pub struct RotateServer {
    /// Which step.
    #[command(flatten)]
    pub step: Step,
    /// The server's configuration, which names its certificate
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
    /// The server's private key [default: tls-key of the configuration, else the file beside its
    /// certificate that ends in .key]
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Where clients find the server [default: the configuration's address]
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["finish", "abort"])]
    pub address: Option<Address>,
    /// Leave the server that runs alone: it takes them with its next reload or start
    #[arg(long, requires = "finish")]
    pub no_reload: bool,
}

pub fn rotate(args: &RotateServer) -> Result<Exit, Failure> {
    if !Uid::effective().is_root() {
        let what = "prn rotate server must run as root: use sudo";
        return Err(ServerError::Host(what.to_owned()).into());
    }
    let pair = files(args)?;
    let _lock = locked_pair(&pair)?;
    if args.step.abort {
        return abort(&pair);
    }
    let stage = pair.stage()?;
    if args.step.finish {
        finish(args, &pair, &stage)
    } else {
        begin(args, &pair, stage)
    }
}

/// Those that the configuration and the flags name.
fn files(args: &RotateServer) -> Result<Pair, Failure> {
    let warn = |warning: prn_launch::Warning| output::notice(&warning.to_string());
    let options = options::merged(Options::default(), Some(&args.config), &warn)
        .map_err(ServerError::from)?;
    let certificate = options.server_cert.ok_or_else(|| {
        Failure::Usage(format!(
            "{}: it names no certificate of the server: write server-cert in it",
            args.config.display()
        ))
    })?;
    let key = match (&args.tls_key, options.tls_key) {
        (Some(key), _) => key.clone(),
        (None, Some(KeySource::File(key))) => key,
        (None, Some(other)) => {
            return Err(Failure::Usage(format!(
                "the server's key is in {other}, where nothing can be put in its place: make the next one there, and reload (docs/operate/keys.md)"
            )));
        }
        (None, None) => certificate.with_extension("key"),
    };
    Ok(Pair::new(&certificate, &key)?)
}

fn again(args: &RotateServer, step: &str) -> String {
    let mut words = "prn rotate server".to_owned();
    if args.config != Path::new(CONFIG) {
        words.push_str(&format!(" --config {}", quoted(&args.config)));
    }
    if let Some(key) = &args.tls_key {
        words.push_str(&format!(" --tls-key {}", quoted(key)));
    }
    format!("`{words} {step}`")
}

fn begin(args: &RotateServer, pair: &Pair, stage: Stage) -> Result<Exit, Failure> {
    check_taken(args, pair)?;
    let next = pair.next();
    let certificate = match stage {
        Stage::Between => {
            return Err(Failure::Usage(format!(
                "the next key is in its place already, and its certificate is not: {} goes on, {} goes back",
                again(args, "--finish"),
                again(args, "--abort")
            )));
        }
        Stage::Begun(certificate) => {
            output::notice(&format!(
                "{} was made before, and is still to come",
                next.certificate.display()
            ));
            certificate
        }
        Stage::Idle => {
            let made = pair.begin(args.step.days)?;
            let (certificate, key) = (next.certificate.display(), next.key.display());
            output::notice(&format!(
                "made {certificate} and {key}; the server goes on with the present ones"
            ));
            made
        }
    };
    match invitation(&args.config, args.address.as_ref()) {
        Ok(line) => output::print_line(&line.to_string())?,
        // The address is not needed for the rest.
        Err(Failure::Usage(why)) => output::notice(&format!(
            "no line for clients: {why}; `prn server invite` prints it as well"
        )),
        Err(error) => return Err(error),
    }
    let [fingerprint, _] = certificate.key_fingerprints();
    output::notice(&format!(
        "next, on each client's machine: `prn context add --force NAME LINE`, or, where there are no contexts, \
         a second --server-cert with {}, or a second --server-fingerprint {fingerprint}",
        next.certificate.display()
    ));
    output::notice(
        "what a client has begun before it has it (`prn logs -f`) ends with --finish: begin it again",
    );
    output::notice(&format!(
        "when all have it: {}; who knows the present certificate alone is refused from then on",
        again(args, "--finish")
    ));
    Ok(exit::OK)
}

fn finish(args: &RotateServer, pair: &Pair, stage: &Stage) -> Result<Exit, Failure> {
    // It was interrupted before the reload, or is asked for again.
    let is_swapped = matches!(stage, Stage::Idle);
    if is_swapped && !pair.has_old() {
        return Ok(pair.finish(stage).map(|()| exit::OK)?);
    }
    if matches!(stage, Stage::Begun(_)) {
        check_taken(args, pair)?;
    }
    let runs = !args.no_reload && {
        let key = match stage {
            Stage::Begun(_) => pair.next().key,
            Stage::Idle | Stage::Between => pair.key.clone(),
        };
        let certificate = match stage {
            Stage::Idle => pair.certificate.clone(),
            Stage::Begun(_) | Stage::Between => pair.next().certificate,
        };
        would_take(args, Pair { certificate, key })?
    };
    if !is_swapped {
        pair.finish(stage)?;
    }
    if runs {
        reload(with(args, pair.clone())).inspect_err(|_| {
            output::notice(&format!(
                "the next key and certificate are in their places, and the server has not taken them: {} tries again",
                again(args, "--finish")
            ));
        })?;
        output::print_line("the server has its next key and certificate")?;
    } else {
        output::print_line("the next key and certificate are in their places")?;
        output::notice(if args.no_reload {
            "the server has them after its next reload: `systemctl reload prn`, or `prn server reload` with what it was started with"
        } else {
            "no server runs with this configuration: it has them when it starts"
        });
    }
    let old = pair.old();
    output::notice(&format!(
        "next, on each client's machine: `prn context add --force NAME LINE` with what `prn server invite` prints now. \
         What was before is in {} and {}: remove both when nobody misses them",
        old.certificate.display(),
        old.key.display()
    ));
    Ok(exit::OK)
}

/// The last ones are in force: what the server that runs still has is beside them, and the next step
/// would write over it.
fn check_taken(args: &RotateServer, pair: &Pair) -> Result<(), Failure> {
    if !pair.has_old() {
        return Ok(());
    }
    let check = Reload {
        check: true,
        ..with(args, pair.clone())
    };
    // Without an answer there is none that runs with them, or what is wrong is told by the next step.
    if reload(check).is_ok_and(|found| found.changes.contains(ANOTHER_IDENTITY)) {
        return Err(Failure::Usage(format!(
            "the server that runs has not taken the last certificate and key yet: reload it first, with {} or `prn server reload`",
            again(args, "--finish")
        )));
    }
    Ok(())
}

/// Whether a server runs, which then would take these and has nothing else to take.
fn would_take(args: &RotateServer, pair: Pair) -> Result<bool, Failure> {
    let check = Reload {
        check: true,
        ..with(args, pair)
    };
    let reloaded = match reload(check) {
        Ok(reloaded) => reloaded,
        Err(ServerError::Control(ControlError::NoServer(_))) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    if [ANOTHER_IDENTITY, NOTHING_NEW].contains(&reloaded.changes.as_str()) {
        return Ok(true);
    }
    Err(Failure::Usage(format!(
        "more than the certificate would change in the server that runs ({}): reload that first, or use --no-reload and reload it as it was started",
        reloaded.changes
    )))
}

/// A reload with these.
fn with(args: &RotateServer, pair: Pair) -> Reload {
    Reload {
        config: Some(args.config.clone()),
        check: false,
        options: Box::new(Options {
            server_cert: Some(pair.certificate),
            tls_key: Some(KeySource::File(pair.key)),
            ..Options::default()
        }),
    }
}

/// What the configuration has that is odd was said when it was read.
fn reload(flags: Reload) -> Result<Reloaded, ServerError> {
    prn_launch::reload(flags, &|_| {})
}

fn abort(pair: &Pair) -> Result<Exit, Failure> {
    if pair.abort()? {
        output::print_line("the next key and certificate are removed")?;
        output::notice(
            "who knows the server by both certificates goes on; `prn server invite` prints the line with the one that it has",
        );
    } else {
        output::print_line("nothing was to come")?;
    }
    Ok(exit::OK)
}
