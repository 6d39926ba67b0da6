//! `prn server start` and `prn server check`: what is found and what goes wrong is printed here,
//! done in [`prn_launch`].

use clap::{Args, Subcommand};
use prn_launch::options::{self, Start};

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
    /// Say what this host offers, and what is missing for the server
    ///
    /// Exits 0 if the server could start here, else 1.
    Check(ServerCheck),
}

/// `prn server check`.
#[derive(Debug, Args)]
pub struct ServerCheck {
    /// What to check for.
    #[command(flatten)]
    pub flags: options::Check,
    /// How to print the result.
    #[command(flatten)]
    pub format: FormatFlag,
}

/// Returns only if the server does not start.
pub fn start(flags: Start) -> Result<Exit, Failure> {
    let warn = |warning: prn_launch::Warning| output::notice(&warning.to_string());
    match prn_launch::start(flags, &warn)? {}
}

pub fn check(args: &ServerCheck) -> Result<Exit, Failure> {
    let report = prn_launch::check(&args.flags);
    output::findings(&report.findings, report.can_start, &args.format).map_err(Failure::Print)?;
    Ok(if report.can_start {
        exit::OK
    } else {
        exit::ERROR
    })
}
