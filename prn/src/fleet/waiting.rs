//! Waiting for the ends of jobs.

use std::cell::Cell;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use prn_fleet::{JobView, Standing};

use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::fleet::attempts::Telling;
use crate::fleet::job_watch::JobWatch;
use crate::fleet::placed::not_run;
use crate::fleet::reasons::WaitTelling;
use crate::output;
use crate::which::fleet::OpenFleet;

/// A job that is waited for.
#[derive(Debug, Clone)]
pub struct Awaited {
    /// As it was named.
    pub shown: String,
    /// Its id.
    pub id: String,
}

/// Waits until a job is over.
///
/// # Errors
/// As [`JobWatch::next`].
pub async fn end_of(open: &OpenFleet, id: &str) -> Result<JobView, Failure> {
    let mut watch = JobWatch::new(open, id);
    let (mut telling, mut waits) = (Telling::default(), WaitTelling::default());
    let mut before = None;
    loop {
        let view = waits.next(&mut watch, before.as_ref()).await?;
        telling.tell(&view);
        if view.is_over() || view.standing() == Standing::Gone {
            return Ok(view);
        }
        before = Some(view);
    }
}

/// The exit code of a job that is over, as its last process ended.
///
/// # Errors
/// It has not run, or nobody knows how it ended.
pub fn exit_of(view: &JobView) -> Result<Exit, Failure> {
    let known = view
        .outcome()
        .filter(|_| view.standing() == Standing::Ended);
    let known = known.ok_or_else(|| not_run(view))?;
    let exit = known.exit_cause.clone().map(prn_client::Exit::from);
    Ok(Exit::of_process(exit.as_ref(), None).unwrap_or(exit::RUN_FAILED))
}

/// Waits for all of them, or for the first one, and tells of each as it ends. The first code that is not
/// 0. `left` has those that have not ended.
///
/// # Errors
/// Of one alone: as [`end_of`] and [`exit_of`].
pub async fn ends(
    open: &OpenFleet,
    jobs: &[Awaited],
    is_any: bool,
    left: &Cell<Vec<String>>,
) -> Result<Exit, Failure> {
    let is_one = jobs.len() == 1;
    let each = jobs
        .iter()
        .map(async |job| (job, end_of(open, &job.id).await));
    let mut each: FuturesUnordered<_> = each.collect();
    let mut first = exit::OK;
    while let Some((job, ended)) = each.next().await {
        let exit = match ended.and_then(|view| exit_of(&view)) {
            Ok(exit) => exit,
            Err(failure) if is_one => return Err(failure),
            Err(failure) => {
                let line = output::error_line(&failure, failure.hint().as_deref());
                output::notice(&format!("{}: {line}", job.shown));
                Failure::Run(Box::new(failure)).exit()
            }
        };
        let mut names = left.take();
        names.retain(|name| *name != job.shown);
        left.set(names);
        match is_one {
            true => output::print_line(&exit.0.to_string())?,
            false => output::print_line(&format!("{} {}", job.shown, exit.0))?,
        }
        if first == exit::OK {
            first = exit;
        }
        if is_any {
            break;
        }
    }
    Ok(first)
}
