//! `prn fleet prune`.

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
/// What runs or waits stays. Each `prn submit` forgets a few, too, as the fleet was set up. How many were forgotten is printed. A host's process and its output are not
/// touched: `prn prune` is for those.
#[derive(Debug, Args)]
pub struct Prune {
    /// Keep so many that have ended at most [default: as the fleet was set up]
    #[arg(long, value_name = "COUNT")]
    pub keep: Option<u64>,
    /// Forget those that ended longer ago than this [default: as the fleet was set up]
    #[arg(long, value_name = "TIME")]
    pub older_than: Option<Time>,
    /// Which fleet.
    #[command(flatten)]
    pub fleet: OfFleet,
}

pub async fn prune(args: Prune) -> Result<Exit, Failure> {
    let open = args.fleet.open()?;
    let usual = open.fleet.keep().await.map_err(FleetFault::from)?;
    let keep = Keep {
        count: args.keep.unwrap_or(usual.count),
        age: args.older_than.map_or(usual.age, |Time(age)| age),
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
