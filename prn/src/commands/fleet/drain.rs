//! `prn fleet drain` and `prn fleet undrain`.

use clap::Args;
use prn_fleet::KnownHost;

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
    let all = open.hosts().await?;
    for host in &args.hosts {
        let is_announced = |known: &KnownHost| known.name == *host && known.host.is_some();
        let drained = open.fleet.drain(host, &who, &args.why).await;
        drained.map_err(FleetFault::from)?;
        if !all.iter().any(is_announced) {
            output::notice(&output::escaped(&format!(
                "no host {host} is announced: it will be drained when it is (`prn fleet hosts` shows those that there are)"
            )));
        }
        output::print_line(&output::escaped(host))?;
    }
    Ok(exit::OK)
}

pub async fn undrain(args: Undrain) -> Result<Exit, Failure> {
    let open = args.fleet.open()?;
    let all = open.hosts().await?;
    for host in &args.hosts {
        let is_drained = |known: &KnownHost| known.name == *host && known.drain.is_some();
        if !all.iter().any(is_drained) {
            output::notice(&output::escaped(&format!("host {host} was not drained")));
        }
        open.fleet.undrain(host).await.map_err(FleetFault::from)?;
        output::print_line(&output::escaped(host))?;
    }
    Ok(exit::OK)
}
