//! Starting and stopping that is tried again where it is unknown whether it has worked.

use std::time::Duration;

use prn_client::{Client, ClientError, Code, ProcessId, StartSpec, Started, StopSignal};

use crate::connection::Remote;
use crate::failure::Failure;
use crate::wait::{PAUSE, PAUSE_MAX};
use crate::{fields, output};

/// How often a start is tried whose outcome is unknown.
const TRIES: u32 = 3;

/// Time between two tries: a frontend that is replaced takes less.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Starts a process, again if it is unknown whether that worked, and warns of limits that are not
/// enforced.
///
/// Repeating is safe because the spec has an id: a server that has started it answers with the same
/// process. Only a server that was itself restarted in between would start it anew, and its
/// predecessor's processes are dead by then.
pub async fn start_surely(
    remote: &Remote,
    first: Client,
    spec: &StartSpec,
) -> Result<(Client, Started), Failure> {
    let mut client = Some(first);
    let mut unknown = false;
    let mut tries = 0;
    loop {
        tries += 1;
        let error = match start_once(remote, client.take(), spec).await {
            Ok((client, started)) => {
                warn(&started);
                return Ok((client, started));
            }
            Err(error) => error,
        };
        match error.refusal() {
            // The call was under way when a half of the server went away.
            Some(refusal) if refusal.code == Code::Unavailable => unknown |= error.is_transient(),
            // The server has answered, and knows.
            Some(_) => unknown = false,
            None => {
                unknown |= matches!(error, ClientError::Lost(_) | ClientError::NoAnswer { .. });
            }
        }
        if tries == TRIES || !error.is_transient() || (!unknown && error.refusal().is_none()) {
            return Err(match spec.id {
                Some(id) if unknown => Failure::StartUnknown { id, source: error },
                _ => error.into(),
            });
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

async fn start_once(
    remote: &Remote,
    client: Option<Client>,
    spec: &StartSpec,
) -> Result<(Client, Started), ClientError> {
    let client = match client {
        Some(client) => client,
        None => remote.connect().await?,
    };
    let started = client.start(spec).await?;
    Ok((client, started))
}

fn warn(started: &Started) {
    let not_enforced = &started.process.status.limits.not_enforced;
    if !not_enforced.is_empty() {
        output::notice(&format!(
            "warning: the server's host does NOT enforce {}",
            not_enforced
                .iter()
                .map(|name| fields::limit(name))
                .collect::<Vec<_>>()
                .join(", ")
        ));
    }
}

/// Stops a process, again on a new connection after each failure that may pass, `tries` times at
/// most. `grace` is what it was started with, which the server knows and the client waits for.
pub async fn stop_surely(
    remote: &Remote,
    mut client: Option<Client>,
    id: ProcessId,
    grace: Option<Duration>,
    tries: usize,
) -> Result<(), ClientError> {
    let (mut failures, mut pause) = (0, PAUSE);
    loop {
        let error = match stop_once(remote, client.take(), id, grace).await {
            Ok(()) => return Ok(()),
            Err(ClientError::Refused(refusal)) if refusal.code == Code::NotFound => return Ok(()),
            Err(error) => error,
        };
        failures += 1;
        if failures >= tries || !error.is_transient() {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn stop_once(
    remote: &Remote,
    client: Option<Client>,
    id: ProcessId,
    grace: Option<Duration>,
) -> Result<(), ClientError> {
    let client = match client {
        Some(client) => client,
        None => remote.connect().await?,
    };
    client.stop(id, StopSignal::Term, grace).await.map(|_| ())
}
