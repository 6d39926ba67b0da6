//! `prn server start`, `prn server reload` and `prn server check`: what is found and what goes wrong is printed here,
//! done in [`prn_launch`].

use clap::{Args, Subcommand};
use prn_launch::Outcome;
use prn_launch::options::{self, Reload, Start};

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
    /// Exits 0 if it is in force, else 1, with what is wrong and where: then nothing has changed.
    Reload(Reload),
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

pub fn reload(flags: Reload) -> Result<Exit, Failure> {
    let warn = |warning: prn_launch::Warning| output::notice(&warning.to_string());
    let reloaded = prn_launch::reload(flags, &warn)?;
    for fixed in &reloaded.fixed {
        output::notice(&fixed.to_string());
    }
    let changes = reloaded.changes;
    let line = match reloaded.outcome {
        Outcome::InForce(number) => format!("configuration {number} is in force: {changes}"),
        Outcome::Same => "nothing is new: the server has this configuration".to_owned(),
        Outcome::Checked => format!("this configuration can be reloaded: {changes}"),
    };
    output::print_line(&line).map_err(Failure::Print)?;
    Ok(exit::OK)
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
