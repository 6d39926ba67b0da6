//! `prn fleet jobs`.

use clap::Args;
use prn_proto::units::Moment;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet::showing::{Listed, list};
use crate::output::format::{Format, FormatFlag};
use crate::which::fleet::OfFleet;
use crate::which::selection::Selection;

/// List the jobs of a fleet, in the order in which they were submitted
///
/// States: waiting, starting, running, ended; away, where the agent of its host was ended on purpose, and
/// unknown, where the host that has it is gone; lost, where
/// nobody will know how it ended; refused, expired (its time to start was over), withdrawn, and
/// needs-signing (what was signed counts no longer).
#[derive(Debug, Args)]
pub struct Jobs {
    /// Which.
    #[command(flatten)]
    pub selection: Selection,
    /// Those alone that wait for a host
    #[arg(long, help_heading = "Selection", conflicts_with_all = ["finished", "failed", "succeeded"])]
    pub waiting: bool,
    /// Those alone that this host has, or had last
    #[arg(long, value_name = "NAME", help_heading = "Selection")]
    pub host: Option<String>,
    /// Those alone that were submitted at this time or later: 2030-01-31T12:00:00Z, or 10m for ten
    /// minutes ago
    #[arg(long, value_name = "WHEN", help_heading = "Selection")]
    pub since: Option<Moment>,
    /// Those alone that were submitted before this time
    #[arg(long, value_name = "WHEN", help_heading = "Selection")]
    pub until: Option<Moment>,
    /// The newest so many of them
    #[arg(short = 'n', long, value_name = "COUNT", help_heading = "Selection")]
    pub limit: Option<usize>,
    /// Whole ids alone, one a line
    #[arg(short, long, conflicts_with = "output")]
    pub quiet: bool,
    /// How to print the result.
    #[command(flatten)]
    pub format: FormatFlag,
    /// Which fleet.
    #[command(flatten)]
    pub fleet: OfFleet,
}

pub async fn jobs(mut args: Jobs) -> Result<Exit, Failure> {
    if args.quiet {
        args.format.output = Format::Name;
    }
    let which = Listed {
        selector: args.selection.selector(),
        since: args.since,
        until: args.until,
        limit: args.limit,
        host: args.host,
        is_waiting: args.waiting,
    };
    list(&args.fleet.open()?, &which, &args.format).await
}
