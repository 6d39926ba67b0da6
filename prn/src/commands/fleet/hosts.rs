//! `prn fleet hosts`.

use clap::Args;

use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::output;
use crate::output::format::FormatFlag;
use crate::which::fleet::OfFleet;

/// List the hosts of a fleet: those that are announced, and those that are drained
#[derive(Debug, Args)]
pub struct Hosts {
    /// How to print the result.
    #[command(flatten)]
    pub format: FormatFlag,
    /// Which fleet.
    #[command(flatten)]
    pub fleet: OfFleet,
}

pub async fn hosts(args: Hosts) -> Result<Exit, Failure> {
    let open = args.fleet.open()?;
    let hosts = open.hosts().await?;
    let shown: Vec<_> = hosts.iter().map(output::FleetHost::of).collect();
    if hosts.is_empty() {
        output::notice(
            "no host is announced: `prn fleet invite HOST`, then `prn fleet join` there",
        );
    }
    output::fleet_hosts(&shown, &args.format)?;
    Ok(exit::OK)
}
