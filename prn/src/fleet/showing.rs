//! Jobs as they are shown: with what their hosts say of their processes, if that is wanted.

use std::time::{Duration, SystemTime};

use prn_client::{Process, Selector};
use prn_fleet::{JobView, Place, Standing};
use prn_proto::units::{Moment, When};

use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::fleet::choosing::{is_chosen, is_of_time};
use crate::fleet::fault::FleetFault;
use crate::fleet::naming::resolve;
use crate::fleet::placed::{has_run, placed};
use crate::fleet::reasons::why_it_waits;
use crate::output::format::{Format, FormatFlag};
use crate::output::{self, FleetJob};
use crate::which::fleet::OpenFleet;
use crate::which::reference::Reference;

/// So long a host has to say how the process of a job is.
const SAID_WITHIN: Duration = Duration::from_secs(5);

/// Which jobs are listed.
#[derive(Debug, Clone, Default)]
pub struct Listed {
    /// By what they are.
    pub selector: Selector,
    /// Submitted at this time or later.
    pub since: Option<Moment>,
    /// Submitted before.
    pub until: Option<Moment>,
    /// The newest so many.
    pub limit: Option<usize>,
    /// Those alone that this host has, or had last.
    pub host: Option<String>,
    /// Those alone that wait for a host.
    pub is_waiting: bool,
}

/// Lists the jobs of a fleet, in the order in which they were submitted.
pub async fn list(open: &OpenFleet, which: &Listed, format: &FormatFlag) -> Result<Exit, Failure> {
    let all = open.jobs().await?;
    let (since, until) = (which.since.and_then(instant), which.until.and_then(instant));
    let is_meant = |view: &&JobView| {
        is_chosen(&which.selector, view)
            && is_of_time(view, since, until)
            && (which.host.is_none() || view.host() == which.host.as_deref())
            && (!which.is_waiting || view.standing() == Standing::Waiting)
    };
    let mut jobs: Vec<_> = all.iter().filter(is_meant).map(FleetJob::of).collect();
    let surplus = jobs.len().saturating_sub(which.limit.unwrap_or(usize::MAX));
    jobs.drain(..surplus);
    output::fleet_jobs(&jobs, format)?;
    Ok(exit::OK)
}

/// A time, by the clock here.
fn instant(Moment(when): Moment) -> Option<SystemTime> {
    match when {
        When::At(time) => Some(time),
        When::Ago(span) => SystemTime::now().checked_sub(span),
    }
}

/// Shows one job in full, or several in one list.
pub async fn status(
    open: &OpenFleet,
    references: &[Reference],
    format: &FormatFlag,
) -> Result<Exit, Failure> {
    let is_one = references.len() == 1;
    let (mut jobs, mut exit) = (Vec::new(), exit::OK);
    for reference in references {
        match known(open, reference).await {
            Ok(job) => jobs.push(job),
            Err(failure) if is_one => return Err(failure),
            Err(failure) => {
                output::notice(&output::error_line(&failure, failure.hint().as_deref()));
                exit = exit.highest(failure.exit());
            }
        }
    }
    match jobs.as_slice() {
        [(job, process)] if is_one => one(job, process.as_ref(), format)?,
        jobs => {
            let jobs: Vec<_> = jobs.iter().map(|(job, _)| job.clone()).collect();
            output::fleet_jobs(&jobs, format)?;
        }
    }
    Ok(exit)
}

fn one(job: &FleetJob, process: Option<&Process>, format: &FormatFlag) -> Result<(), Failure> {
    output::fleet_job(job, format)?;
    let is_for_people = matches!(format.output, Format::Table | Format::Wide);
    if let Some(process) = process.filter(|_| is_for_people) {
        let host = job.host.as_deref().unwrap_or_default();
        output::print_line(&format!("\nits process on {}:", output::escaped(host)))?;
        output::process(process, format)?;
    }
    Ok(())
}

/// What the store knows of a job, and its host of its process.
async fn known(
    open: &OpenFleet,
    reference: &Reference,
) -> Result<(FleetJob, Option<Process>), Failure> {
    let id = resolve(open, reference).await?;
    let view = open.fleet.job(&id).await.map_err(FleetFault::from)?;
    let process = process(open, &view).await;
    let mut job = FleetJob::of(&view);
    job.process.clone_from(&process);
    if let Place::Waiting(waiting) = &view.place {
        let why = why_it_waits(open, waiting).await?;
        (job.reason, job.why) = (Some(why.reason), Some(why.text));
    }
    Ok((job, process))
}

/// What the host says of the process. `None` where it does not in time, or there is none.
async fn process(open: &OpenFleet, view: &JobView) -> Option<Process> {
    if !has_run(view) {
        return None;
    }
    let asked = async {
        let placed = placed(open, view).await.ok()?;
        let client = placed.remote.connect().await.ok()?;
        client.status(placed.process).await.ok()
    };
    tokio::time::timeout(SAID_WITHIN, asked)
        .await
        .ok()
        .flatten()
}
