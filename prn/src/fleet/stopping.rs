//! Ending a job: withdrawn where it waits, stopped where it runs.

use std::time::Duration;

use prn_client::{ClientError, StopSignal, reason};
use prn_fleet::v1::outcome::State;
use prn_fleet::{JobView, Standing};

use crate::failure::Failure;
use crate::fleet::fault::FleetFault;
use crate::fleet::job_watch::JobWatch;
use crate::fleet::placed::{Placed, placed};
use crate::fleet::user::own_name;
use crate::which::fleet::OpenFleet;

/// So long the host's agent has to write that a process has ended that was stopped.
const TOLD_WITHIN: Duration = Duration::from_secs(10);

/// Takes a job out of the queue, before a host has it. False: a host has it, or it is over.
///
/// # Errors
/// etcd has not done it.
pub async fn withdraw(open: &OpenFleet, id: &str) -> Result<bool, Failure> {
    let why = format!("withdrawn by {}", own_name());
    let closed = open.fleet.close(id, State::Withdrawn, &why).await;
    Ok(closed.map_err(FleetFault::from)?)
}

/// Ends a job. What is known of it then: it may be that its host has not told yet.
///
/// # Errors
/// Its host is gone; etcd or the host has not done it.
pub async fn end(
    open: &OpenFleet,
    id: &str,
    (signal, grace): (StopSignal, Option<Duration>),
) -> Result<JobView, Failure> {
    let mut watch = JobWatch::new(open, id);
    let mut is_stopped = false;
    loop {
        let view = if is_stopped {
            match tokio::time::timeout(TOLD_WITHIN, watch.next()).await {
                Ok(view) => view?,
                Err(_) => return told(open, id).await,
            }
        } else {
            watch.next().await?
        };
        if view.is_over() || view.standing() == Standing::Gone {
            return Ok(view);
        }
        if view.standing() == Standing::Waiting {
            if withdraw(open, id).await? {
                return told(open, id).await;
            }
        } else if !is_stopped {
            let placed = placed(open, &view).await?;
            let stopped = stop_there(&placed, signal, grace).await;
            is_stopped = stopped.map_err(|failure| placed.explained(failure))?;
        }
        // Its next state comes by itself.
    }
}

async fn told(open: &OpenFleet, id: &str) -> Result<JobView, Failure> {
    Ok(open.fleet.job(id).await.map_err(FleetFault::from)?)
}

/// Stops the process. False: it is not there yet.
async fn stop_there(
    placed: &Placed,
    signal: StopSignal,
    grace: Option<Duration>,
) -> Result<bool, Failure> {
    let client = placed.remote.connect().await?;
    let unknown = |source| Failure::StopUnknown {
        id: placed.process,
        source,
    };
    match client.stop(placed.process, signal, grace).await {
        Ok(_) => Ok(true),
        Err(ClientError::Refused(refusal)) if refusal.reason == reason::PROCESS_NOT_FOUND => {
            Ok(false)
        }
        Err(error @ (ClientError::NoAnswer { .. } | ClientError::Lost(_))) => Err(unknown(error)),
        Err(error) => Err(error.into()),
    }
}
