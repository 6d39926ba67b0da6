//! `prn fleet enable`: users and roles, in an etcd that runs.

use clap::Args;
use prn_fleet::Keep;
use prn_proto::units::Time;

use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::fleet::fault::FleetFault;
use crate::fleet::folder::OfFolder;
use crate::output;

/// Set a fleet's etcd up: who may do what there, and how long jobs are kept that have ended
///
/// From then on etcd does for each certificate what its user's role says, and nothing for others. It can
/// be repeated: what is there already is fine.
#[derive(Debug, Args)]
pub struct Enable {
    /// Most jobs that are kept after their end; the oldest go first [default: 10000]
    #[arg(long, value_name = "NUMBER")]
    pub keep: Option<u64>,
    /// For how long they are kept at most [default: 168h]
    #[arg(long, value_name = "TIME")]
    pub keep_for: Option<Time>,
    /// Which fleet.
    #[command(flatten)]
    pub of: OfFolder,
}

pub async fn enable(args: Enable) -> Result<Exit, Failure> {
    let folder = args.of.open()?;
    let fleet = folder.as_root()?;
    let is_said = args.keep.is_some() || args.keep_for.is_some();
    // What is not given stays as it is.
    let usual = fleet.keep().await.map_err(FleetFault::from)?;
    let keep = Keep {
        count: args.keep.unwrap_or(usual.count),
        age: args.keep_for.map_or(usual.age, |time| time.0),
    };
    let set_up = fleet.set_up(is_said.then_some(keep)).await;
    set_up.map_err(FleetFault::from)?;
    for (name, _) in folder.clients().map_err(FleetFault::from)? {
        fleet.admit_client(&name).await.map_err(FleetFault::from)?;
    }
    let keep = fleet.keep().await.map_err(FleetFault::from)?;
    let hours = keep.age.as_secs() / 3600;
    output::print_line(&format!(
        "fleet {}: etcd is set up; {} jobs that have ended are kept, for {hours} h at most",
        folder.name, keep.count
    ))?;
    output::notice("for each host: `prn fleet invite HOST`");
    Ok(exit::OK)
}
