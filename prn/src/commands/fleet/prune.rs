//! `prn fleet prune`.

use std::time::Duration;

use clap::Args;
use prn_fleet::Keep;
use prn_proto::units::Time;

use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::fleet::fault::FleetFault;
use crate::output;
use crate::which::fleet::OfFleet;

/// Most jobs that are pruned before etcd is asked again which are left.
const AT_A_TIME: u64 = 500;

/// Forget jobs that have ended: the oldest ones
///
/// What runs or waits stays. How many were forgotten is printed. A host's process and its output are not
/// touched: `prn prune` is for those.
#[derive(Debug, Args)]
pub struct Prune {
    /// Keep so many that have ended at most
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    pub keep: u64,
    /// Forget those that ended longer ago than this
    #[arg(long, value_name = "TIME", default_value = "168h")]
    pub older_than: Time,
    /// Which fleet.
    #[command(flatten)]
    pub fleet: OfFleet,
}

pub async fn prune(args: Prune) -> Result<Exit, Failure> {
    let open = args.fleet.open()?;
    let Time(age) = args.older_than;
    let keep = Keep {
        count: args.keep,
        age: age.max(Duration::ZERO),
    };
    let mut all = 0;
    loop {
        let pruned = open.fleet.prune(keep, AT_A_TIME).await;
        let pruned = pruned.map_err(FleetFault::from)?;
        all += pruned;
        if pruned < AT_A_TIME {
            break;
        }
    }
    output::print_line(&all.to_string())?;
    Ok(exit::OK)
}
