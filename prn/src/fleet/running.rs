//! `prn run --fleet`: submitted, followed wherever it is started, and ended as it ends.

use prn_client::{OutputRequest, STOP_GRACE, StartSpec};

use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::fleet::attempts::Attempts;
use crate::fleet::fault::FleetFault;
use crate::fleet::placed::Placed;
use crate::fleet::stopping::withdraw;
use crate::fleet::submitting::{Placing, job, submit, tidy};
use crate::interrupts::{Interrupt, Interrupts};
use crate::lasting::following::{Attached, Tie, followed};
use crate::lasting::reading::{Reading, patience};
use crate::output;
use crate::which::fleet::OpenFleet;

/// Submits a job and follows its processes, each to its end. The last one's exit code.
pub async fn run(open: &OpenFleet, spec: &StartSpec, placing: &Placing) -> Result<Exit, Failure> {
    let job = job(open, spec, placing).await?;
    let first = job.attempts.first().map(|first| first.id.clone());
    // From here on there may be a job, and a signal must not leave it behind.
    let mut interrupts = Interrupts::take()?;
    interrupts.expect_grace(spec.stop_grace.unwrap_or(STOP_GRACE));
    let Some(submitted) = interrupts.unless(submit(open, job)).await else {
        return Err(FleetFault::SubmitLeft(first.unwrap_or_default()).into());
    };
    let id = submitted?.id;
    tidy(open, &id).await;
    let mut attempts = Attempts::new(open, &id);
    let mut last = None;
    loop {
        let placed = match next(open, &id, &mut attempts, &mut interrupts).await {
            Ok(Next::Started(placed)) => placed,
            Ok(Next::None) => return Ok(last.unwrap_or(exit::RUN_FAILED)),
            Ok(Next::Withdrawn) => {
                output::notice(&format!("job {id} was withdrawn: no host had it"));
                return Ok(exit::RUN_FAILED);
            }
            Err(failure) => return Err(failure),
        };
        let exit = follow(&placed, spec, &mut interrupts).await;
        let exit = exit.map_err(|failure| unfollowed(failure, &id, &placed))?;
        if exit == exit::OK || !placed.may_follow || interrupts.have_asked() {
            return Ok(exit);
        }
        let (number, host) = (placed.attempt.saturating_add(1), &placed.host);
        let line = format!(
            "attempt {number} on {host} ended with {}: waiting for the next one",
            exit.0
        );
        output::notice(&output::escaped(&line));
        last = Some(exit);
    }
}

/// Why a process was not followed to its end.
fn unfollowed(failure: Failure, job: &str, placed: &Placed) -> Failure {
    let failure = placed.explained(failure);
    if let Failure::Fleet(_) = failure {
        return failure;
    }
    failure.after_start_of_job(placed.process, job)
}

/// What follows.
enum Next {
    Started(Box<Placed>),
    /// No other attempt.
    None,
    /// The job was taken back before a host had it.
    Withdrawn,
}

/// The next attempt. An interrupt takes a job back that waits; of one that a host has, it is kept for
/// when that runs.
async fn next(
    open: &OpenFleet,
    id: &str,
    attempts: &mut Attempts<'_>,
    interrupts: &mut Interrupts,
) -> Result<Next, Failure> {
    let mut next = std::pin::pin!(attempts.next());
    loop {
        tokio::select! {
            biased;
            interrupt = interrupts.next() => {
                if interrupt == Interrupt::Leave {
                    return Err(FleetFault::Left(id.to_owned()).into());
                }
                if withdraw(open, id).await? {
                    return Ok(Next::Withdrawn);
                }
            }
            placed = &mut next => {
                return Ok(placed?.map_or(Next::None, |placed| Next::Started(Box::new(placed))));
            }
        }
    }
}

async fn follow(
    placed: &Placed,
    spec: &StartSpec,
    interrupts: &mut Interrupts,
) -> Result<Exit, Failure> {
    let client = placed.connect().await?;
    let request = OutputRequest {
        follower: true,
        ..OutputRequest::default()
    };
    let reading = Reading::new(&placed.remote, client, placed.process, request)
        .of_known(patience(spec.output_policy, spec.follow_timeout));
    let tie = Tie::Own {
        grace: spec.stop_grace,
        lease: spec.lease,
        until_read: false,
    };
    followed(reading, Attached::default(), interrupts, tie).await
}
