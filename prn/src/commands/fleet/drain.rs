//! `prn fleet drain` and `prn fleet undrain`.

use clap::Args;

use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::fleet::fault::FleetFault;
use crate::fleet::user::own_name;
use crate::output;
use crate::which::fleet::OfFleet;

/// Let hosts take no more jobs
///
/// What runs there goes on. `prn fleet hosts` shows who wanted it and why; it lasts until `prn fleet
/// undrain`, also for a host that is away or unknown.
#[derive(Debug, Args)]
pub struct Drain {
    /// Which
    #[arg(required = true, value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Why, for others
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub why: String,
    /// Which fleet.
    #[command(flatten)]
    pub fleet: OfFleet,
}

/// Let hosts take jobs again
#[derive(Debug, Args)]
pub struct Undrain {
    /// Which
    #[arg(required = true, value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Which fleet.
    #[command(flatten)]
    pub fleet: OfFleet,
}

pub async fn drain(args: Drain) -> Result<Exit, Failure> {
    let open = args.fleet.open()?;
    let who = own_name();
    for host in &args.hosts {
        let drained = open.fleet.drain(host, &who, &args.why).await;
        drained.map_err(FleetFault::from)?;
        output::print_line(&output::escaped(host))?;
    }
    Ok(exit::OK)
}

pub async fn undrain(args: Undrain) -> Result<Exit, Failure> {
    let open = args.fleet.open()?;
    for host in &args.hosts {
        open.fleet.undrain(host).await.map_err(FleetFault::from)?;
        output::print_line(&output::escaped(host))?;
    }
    Ok(exit::OK)
}
