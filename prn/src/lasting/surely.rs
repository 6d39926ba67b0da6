//! Starting and stopping that is tried again where it is unknown whether it has worked.

use std::time::{Duration, Instant};

use prn_client::{
    Client, ClientError, Code, ProcessId, ServerError, ServerInfo, SignedStart, StartSpec, Started,
    StopSignal, reason,
};

use crate::failure::Failure;
use crate::lasting::wait::{PAUSE, PAUSE_MAX};
use crate::output;
use crate::typed::fields;
use crate::which::connection::Remote;

/// How often a start is tried whose outcome is unknown, with pauses of ten seconds in all.
const TRIES: u32 = 8;

/// Starts a process, again if it is unknown whether that worked, and warns of limits that are not
/// enforced.
///
/// Repeating is safe within one run of the server because the spec has an id: a server that has
/// started it answers with the same process, or that it has forgotten it. Another run would start it
/// anew, so it is not asked: what its predecessor may have started ended with it.
pub async fn start_surely(
    remote: &Remote,
    first: Client,
    spec: &StartSpec,
) -> Result<(Client, Started), Failure> {
    let mut doubt = Doubt::new();
    let (mut client, mut pause) = (Some(first), PAUSE);
    let mut signed = None;
    for left in (0..TRIES).rev() {
        // What was sent is sent again; else it may be for a run of the server that is over.
        signed = signed.filter(|_| doubt.may_have_started);
        let error = match start_once(remote, client.take(), spec, &doubt, &mut signed).await {
            Ok((client, started)) => {
                warn(&started);
                return Ok((client, started));
            }
            Err(Attempt::OtherRun) => {
                return Err(spec
                    .id
                    .map_or(ClientError::ProcessLost.into(), Failure::StartLost));
            }
            Err(Attempt::Failed(error)) => error,
        };
        doubt.learn(&error);
        let is_over = left == 0 || !error.is_transient();
        // Nobody was there from the first: that is for whoever asks to try again.
        if is_over || (!doubt.may_have_started && error.refusal().is_none()) {
            return Err(match spec.id {
                Some(id) if doubt.may_have_started => Failure::StartUnknown { id, source: error },
                _ => error.into(),
            });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
    // Not reached: the last try ends it.
    Err(ClientError::ProcessLost.into())
}

/// What is known of the tries so far.
#[derive(Debug)]
struct Doubt {
    /// When the first one began.
    since: Instant,
    /// One of them may have started the process.
    may_have_started: bool,
    /// The run of the server that they reached, as far as it has answered.
    run: Option<String>,
}

impl Doubt {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            may_have_started: false,
            run: None,
        }
    }

    /// Another try has failed.
    fn learn(&mut self, error: &ClientError) {
        match error.refusal() {
            // The call was under way when a half of the server went away.
            Some(refusal) if refusal.code == Code::Unavailable => {
                self.may_have_started |= error.is_transient();
                self.run = self.run.take().or_else(|| refusal.boot_epoch.clone());
            }
            Some(refusal) => {
                self.may_have_started &= !knows(refusal);
                self.run = self.run.take().or_else(|| refusal.boot_epoch.clone());
            }
            None => {
                let is_lost = matches!(error, ClientError::Lost(_) | ClientError::NoAnswer { .. });
                self.may_have_started |= is_lost;
            }
        }
    }

    /// Whether the tries so far reached another run of the server than this, which has answered by
    /// now, or may have.
    fn is_of_another(&self, server: &ServerInfo, now: Instant) -> bool {
        if let Some(run) = &self.run {
            return *run != server.boot_epoch;
        }
        // None has answered. One that has run for longer than this was tried is the same.
        let (Some(started), Some(at)) = (server.started_at, server.now) else {
            return true;
        };
        let age = at.duration_since(started).unwrap_or_default();
        age < now.duration_since(self.since)
    }
}

/// Whether a refusal says that no earlier try has started the process: not one that the server makes
/// without a look at it.
fn knows(refusal: &ServerError) -> bool {
    let is_unseen = [reason::TOO_MANY_REQUESTS, reason::TOO_MANY_CONNECTIONS]
        .contains(&refusal.reason.as_str());
    let is_broken = matches!(
        refusal.code,
        Code::Internal | Code::Cancelled | Code::DeadlineExceeded
    );
    !is_unseen && !is_broken
}

/// Why a try failed.
enum Attempt {
    /// As the server, or what is before it, says.
    Failed(ClientError),
    /// It was not made: this is another run of the server.
    OtherRun,
}

impl From<ClientError> for Attempt {
    fn from(error: ClientError) -> Self {
        Self::Failed(error)
    }
}

async fn start_once(
    remote: &Remote,
    client: Option<Client>,
    spec: &StartSpec,
    doubt: &Doubt,
    signed: &mut Option<SignedStart>,
) -> Result<(Client, Started), Attempt> {
    let client = match client {
        Some(client) => client,
        None => remote.connect().await?,
    };
    // A connection leads to one run of the server, for as long as it lasts.
    if doubt.may_have_started {
        let server = client.server().await?;
        if doubt.is_of_another(&server, Instant::now()) {
            return Err(Attempt::OtherRun);
        }
    }
    let started = match start_or_sign(&client, spec, signed).await {
        Err(error) if doubt.may_have_started && is_unseen(&error) => {
            found(&client, spec, error).await
        }
        started => started,
    };
    Ok((client, started?))
}

/// Starts it, signed if it is to be: as it was signed for an earlier try, if there was one.
async fn start_or_sign(
    client: &Client,
    spec: &StartSpec,
    signed: &mut Option<SignedStart>,
) -> Result<Started, ClientError> {
    if !client.signs(spec) {
        return client.start(spec).await;
    }
    let signed = match signed {
        Some(signed) => signed,
        None => signed.insert(client.sign(spec).await?),
    };
    client.start_signed(signed).await
}

/// What an earlier try has started, where the server takes no more starts. That nothing is there is
/// no answer: it may be under way.
async fn found(
    client: &Client,
    spec: &StartSpec,
    refused: ClientError,
) -> Result<Started, ClientError> {
    let boot_epoch = refused
        .refusal()
        .and_then(|refusal| refusal.boot_epoch.clone());
    let (Some(id), Some(boot_epoch)) = (spec.id, boot_epoch) else {
        return Err(refused);
    };
    let process = client.status(id).await.map_err(|_| refused)?;
    Ok(Started {
        process,
        boot_epoch,
        already_running: true,
    })
}

/// Whether the server refused without a look at whether the process is there.
fn is_unseen(error: &ClientError) -> bool {
    error
        .refusal()
        .is_some_and(|refusal| refusal.code == Code::Unavailable || !knows(refusal))
}

fn warn(started: &Started) {
    let limits = &started.process.status.limits.not_enforced;
    if let Some(warning) = fields::not_enforced(limits) {
        output::notice(&warning);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn server(age: Duration) -> ServerInfo {
        let now = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let mut server = ServerInfo::default();
        (server.boot_epoch, server.now) = ("this".to_owned(), Some(now));
        server.started_at = Some(now - age);
        server
    }

    #[test]
    fn a_run_is_told_by_its_name_and_else_by_its_age() {
        let mut doubt = Doubt::new();
        let later = doubt.since + Duration::from_secs(10);
        let is_other =
            |doubt: &Doubt, age| doubt.is_of_another(&server(Duration::from_secs(age)), later);
        assert!(is_other(&doubt, 0) && is_other(&doubt, 9));
        assert!(!is_other(&doubt, 10));
        assert!(
            doubt.is_of_another(&ServerInfo::default(), later),
            "it does not say"
        );
        doubt.run = Some("this".to_owned());
        assert!(!is_other(&doubt, 0));
        doubt.run = Some("that".to_owned());
        assert!(is_other(&doubt, 1000));
    }
}
