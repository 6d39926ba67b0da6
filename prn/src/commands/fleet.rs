//! `prn fleet`.

mod drain;
mod enable;
mod hosts;
mod init;
mod invite;
mod jobs;
mod join;
mod prune;
mod top;

use clap::{Args, Subcommand};

use crate::exit::Exit;
use crate::failure::Failure;

/// Several servers as one: hosts that take jobs, and the jobs
///
/// A fleet is a table [fleet.NAME] of the configuration: where its etcd is, and with which certificate
/// you talk to it. docs/fleet.md has all of it. `prn submit` leaves a job there; with --fleet, `prn
/// status`, `wait`, `logs`, `stop` and others are about jobs.
#[derive(Debug, Args)]
pub struct Fleet {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What is done with fleets.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Init(init::Init),
    Enable(enable::Enable),
    Invite(invite::Invite),
    Dismiss(invite::Dismiss),
    Join(join::Join),
    Hosts(hosts::Hosts),
    Drain(drain::Drain),
    Undrain(drain::Undrain),
    Jobs(jobs::Jobs),
    Top(top::Top),
    Prune(prune::Prune),
}

pub async fn fleet(args: Fleet) -> Result<Exit, Failure> {
    match args.verb {
        Verb::Init(args) => init::init(&args),
        Verb::Enable(args) => enable::enable(args).await,
        Verb::Invite(args) => invite::invite(args).await,
        Verb::Dismiss(args) => invite::dismiss(args).await,
        Verb::Join(args) => join::join(&args),
        Verb::Hosts(args) => hosts::hosts(args).await,
        Verb::Drain(args) => drain::drain(args).await,
        Verb::Undrain(args) => drain::undrain(args).await,
        Verb::Jobs(args) => jobs::jobs(args).await,
        Verb::Top(args) => top::top(args).await,
        Verb::Prune(args) => prune::prune(args).await,
    }
}
