//! Where the process of a job is.

use prn_client::{Client, ClientError, ProcessId};
use prn_fleet::v1::outcome::State;
use prn_fleet::{JobView, Place, Standing, record, v1};

use crate::failure::Failure;
use crate::fleet::fault::FleetFault;
use crate::lasting::wait::PAUSE;
use crate::output::standing_word;
use crate::which::connection::Remote;
use crate::which::fleet::OpenFleet;

/// A process of a job, and the server that has it.
#[derive(Debug)]
pub struct Placed {
    /// The host's name.
    pub host: String,
    /// The process.
    pub process: ProcessId,
    /// Which attempt it is, from 0.
    pub attempt: u32,
    /// Another attempt may follow.
    pub may_follow: bool,
    /// The job.
    pub job: String,
    /// The workspace that it runs in.
    pub workspace: Option<String>,
    /// The server.
    pub remote: Remote,
}

/// How often a host is connected to that does not answer.
const TRIES: u32 = 6;

impl Placed {
    /// A connection to the host, which may be between two frontends.
    ///
    /// # Errors
    /// It does not answer; it is another one.
    pub async fn connect(&self) -> Result<Client, ClientError> {
        let mut pause = PAUSE;
        for _ in 1..TRIES {
            match self.remote.connect().await {
                Err(error) if error.is_transient() => {}
                connected => return connected,
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        self.remote.connect().await
    }

    /// What failed there, with the host's name where it does not let this client in.
    pub fn explained(&self, failure: Failure) -> Failure {
        let Failure::Client(source) = failure else {
            return failure;
        };
        if !is_not_let_in(&source) {
            return Failure::Client(source);
        }
        let fault = FleetFault::NotLetIn {
            job: self.job.clone(),
            host: self.host.clone(),
            source: Box::new(source),
        };
        fault.into()
    }
}

/// Whether the server does not accept the certificate: that may be known with the first answer
/// alone.
fn is_not_let_in(error: &ClientError) -> bool {
    if let ClientError::CutOff { source, .. } = error {
        return source.as_deref().is_some_and(is_not_let_in);
    }
    matches!(error, ClientError::NotAuthorised(_))
}

/// What waits of a job, or what was claimed of it.
pub fn waiting_of(view: &JobView) -> Option<&v1::Waiting> {
    match &view.place {
        Place::Waiting(waiting) => Some(waiting),
        Place::Claimed { claim, .. } => claim.waiting.as_ref(),
        Place::Nowhere => None,
    }
}

/// Which attempt of a job it is, from 0.
pub fn attempt_of(view: &JobView) -> u32 {
    let waiting = waiting_of(view);
    waiting.map(|waiting| waiting.attempt).unwrap_or_default()
}

/// Whether the newest claim has a process, which its host can be asked for: its agent may be away.
pub fn has_run(view: &JobView) -> bool {
    let known = view.outcome().map(v1::Outcome::state);
    let has_begun = matches!(known, Some(State::Running | State::Ended));
    has_begun && view.standing() != Standing::Unknown
}

/// Where the process of the job's newest claim is.
///
/// # Errors
/// No host has it, or the host is not announced.
pub async fn placed(open: &OpenFleet, view: &JobView) -> Result<Placed, Failure> {
    match view.host() {
        Some(host) => placed_at(open, view, host, attempt_of(view)).await,
        None => Err(not_run(view).into()),
    }
}

/// Where the process of this attempt is, which this host has or had.
///
/// # Errors
/// The host is not announced; the job has no such attempt.
pub async fn placed_at(
    open: &OpenFleet,
    view: &JobView,
    host: &str,
    attempt: u32,
) -> Result<Placed, Failure> {
    let place = usize::try_from(attempt).unwrap_or(usize::MAX);
    let start = view.job.attempts.get(place);
    let process = start.and_then(|start| start.id.parse().ok());
    let (Some(process), Some(start)) = (process, start) else {
        return Err(not_run(view).into());
    };
    let key = open.fleet.keys().host(host);
    let found = open.fleet.etcd().read(&key).await;
    let (found, _) = found.map_err(FleetFault::from)?;
    let gone = || FleetFault::HostGone {
        host: host.to_owned(),
        job: view.id.clone(),
    };
    let found = record::<v1::Host>(&found.ok_or_else(gone)?).map_err(FleetFault::from)?;
    let job = &view.job;
    let has_another = place.saturating_add(1) < job.attempts.len();
    Ok(Placed {
        host: host.to_owned(),
        process,
        job: view.id.clone(),
        attempt,
        may_follow: has_another && (attempt < job.retries || job.may_run_twice),
        workspace: Some(start.workspace.clone()).filter(|name| !name.is_empty()),
        remote: open.remote(host, &found.value)?,
    })
}

/// That a job has not run, or that nobody knows how it ended.
pub fn not_run(view: &JobView) -> FleetFault {
    let known = view.outcome();
    FleetFault::NotRun {
        id: view.id.clone(),
        state: standing_word(view.standing()),
        reason: known.map(|known| known.reason.clone()).unwrap_or_default(),
        why: known.map(|known| known.why.clone()).unwrap_or_default(),
    }
}
