//! `prn submit`.

use clap::Args;
use prn_client::OutputPolicy;

use crate::commands::can_i::dry_run;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::fleet::fault::FleetFault;
use crate::fleet::reasons::tell_unplaceable;
use crate::fleet::submitting::{Placing, job, submit as submit_job, tidy, to_be_asked};
use crate::input::leftover::Leftover;
use crate::interrupts::Interrupts;
use crate::output;
use crate::output::format::FormatFlag;
use crate::typed::spec::Spec;
use crate::which::fleet::OfFleet;
use crate::which::hosts::Servers;

/// Leave a job for a fleet, and print its id
///
/// A host that fits and has room takes it and starts it, once; what becomes of it is told by `prn status
/// --fleet ID`, `wait`, `logs` and the others with --fleet. All flags of `prn start` do here, but for
/// standard input, which no job has. Where no host is announced, none fits, or none that fits is
/// ever large enough, that is said on standard error, and the job waits for one. With --id it is
/// safe to repeat: the same job under the same id is the same job.
///
/// A job that is signed (--sign, or `sign = true` of the fleet) is started by no host that would make
/// anything else of it, and counts for a while: what waits for longer is
/// `needs-signing`, and the same line with --id ID signs it anew.
#[derive(Debug, Args)]
pub struct Submit {
    /// What to start.
    #[command(flatten)]
    pub spec: Spec,
    /// Where, and how often.
    #[command(flatten)]
    pub placing: Placing,
    /// How to print the result.
    #[command(flatten)]
    pub format: FormatFlag,
    /// Which fleet.
    #[command(flatten)]
    pub fleet: OfFleet,
}

pub async fn submit(args: Submit) -> Result<Exit, Failure> {
    let leftover = Leftover::look(args.spec.no_stdin).map_err(of_input)?;
    let is_dry = args.spec.dry_run;
    let spec = args.spec.completed(OutputPolicy::DropOldest)?;
    let open = args.fleet.open()?;
    if is_dry {
        let first = to_be_asked(&open, &args.placing, &spec).await?;
        return dry_run(&Servers::One(first), &spec, &args.format).await;
    }
    let job = job(&open, &spec, &args.placing).await?;
    leftover.settle().map_err(of_input)?;
    let id = spec.id.map(|id| id.to_string()).unwrap_or_default();
    let mut interrupts = Interrupts::take()?;
    let submitted = interrupts.unless(submit_job(&open, job.clone())).await;
    let submitted = submitted.ok_or_else(|| FleetFault::SubmitLeft(id.clone()))??;
    output::submitted(&submitted.id, &args.format)
        .map_err(|source| FleetFault::SubmittedUnsaid { id, source })?;
    // Whoever has the id needs nothing more: a signal ends it, whatever etcd does.
    let rest = async {
        if !submitted.was_there {
            tell_unplaceable(&open, &job).await;
        }
        tidy(&open, &submitted.id).await;
    };
    let _done = interrupts.unless(rest).await;
    Ok(exit::OK)
}

/// Bytes wait on standard input, which no job gets.
fn of_input(failure: Failure) -> Failure {
    if let Failure::Input = failure {
        let why = "there is data on standard input, which no job of a fleet gets: -n leaves it alone, and nothing was submitted";
        return Failure::Usage(why.to_owned());
    }
    failure
}
