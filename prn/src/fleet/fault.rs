//! What goes wrong with a fleet, and what to do about it.

use prn_client::ClientError;
use prn_fleet::FleetError;
use prn_fleet::etcd::EtcdError;

use super::error::SetupError;
use crate::exit::{self, Exit};

/// Why something of a fleet was not done.
#[derive(Debug, thiserror::Error)]
pub enum FleetFault {
    /// The store has not done it, or does not have it.
    #[error(transparent)]
    Store(#[from] FleetError),
    /// Nobody knows whether a job is there.
    #[error("it is unknown whether job {id} was submitted")]
    SubmitUnknown {
        /// Its id.
        id: String,
        /// What failed.
        #[source]
        source: FleetError,
    },
    /// The same, where a signal has ended prn before there was an answer.
    #[error("it is not known whether job {0} was submitted: prn was to end before etcd answered")]
    SubmitLeft(String),
    /// A job was submitted, and its id could not be printed.
    #[error("job {id} was submitted")]
    SubmittedUnsaid {
        /// Its id.
        id: String,
        /// What failed.
        #[source]
        source: std::io::Error,
    },
    /// `run` was left by a signal before a host had started its job.
    #[error("left job {0}, which a host may start")]
    Left(String),
    /// A beginning of an id is that of several jobs.
    #[error("the ids of several jobs begin with {0}")]
    Ambiguous(String),
    /// A name is that of several jobs that are not over.
    #[error("several jobs that are not over are called {name}: {}", ids.join(", "))]
    SameName {
        /// The name.
        name: String,
        /// Their ids.
        ids: Vec<String>,
    },
    /// No job is called that, but a fleet is.
    #[error("no job of the fleet is called {0}, and no id begins with it")]
    NoJobButFleet(String),
    /// No job is called that.
    #[error("no job of the fleet is called {0}, and no id begins with it")]
    NoJob(String),
    /// A job has no output yet, and none is waited for.
    #[error("job {0} waits for a host: it has no output yet")]
    Waiting(String),
    /// A job did not run, or nobody knows how it ended.
    #[error("job {id} is {state}{}", because(why))]
    NotRun {
        /// Its id.
        id: String,
        /// How it is, in one word.
        state: &'static str,
        /// Stable name of why.
        reason: String,
        /// Why, for people.
        why: String,
    },
    /// The host that has it is not announced.
    #[error("host {host} is not there any more: its agent has not been heard of")]
    HostGone {
        /// The host.
        host: String,
        /// The job that it has.
        job: String,
    },
    /// The host that has a job does not let the client in.
    #[error("job {job} is on host {host}, which does not let this client in: the job goes on")]
    NotLetIn {
        /// The job.
        job: String,
        /// The host.
        host: String,
        /// What it has said.
        #[source]
        source: Box<ClientError>,
    },
    /// A job that is to be signed needs a host that says what it would fill in.
    #[error("no host that fits is there to say what it would fill in, and a signed job needs one")]
    NoSigningHost,
    /// A job has no workspace, which copies are to and from.
    #[error("job {0} has no workspace: files are copied to and from that of a job")]
    NoWorkspace(String),
    /// What one server's command can do, and a fleet's cannot.
    #[error("{0}")]
    NotOfFleets(&'static str),
    /// It was not set up.
    #[error(transparent)]
    Setup(#[from] SetupError),
}

fn because(why: &str) -> String {
    match why {
        "" => String::new(),
        why => format!(": {why}"),
    }
}

impl From<EtcdError> for FleetFault {
    fn from(error: EtcdError) -> Self {
        Self::Store(error.into())
    }
}

impl FleetFault {
    /// The exit code that stands for it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Store(error) | Self::SubmitUnknown { source: error, .. } => exit_of_store(error),
            Self::SubmitLeft(_) | Self::HostGone { .. } | Self::NoSigningHost => exit::UNAVAILABLE,
            Self::NoJob(_) | Self::NoJobButFleet(_) => exit::NO_SUCH_PROCESS,
            Self::Setup(SetupError::NoFolder(_) | SetupError::Known(_)) => exit::USAGE,
            Self::Setup(_) => exit::ERROR,
            Self::Ambiguous(_)
            | Self::SameName { .. }
            | Self::NotOfFleets(_)
            | Self::NoWorkspace(_) => exit::USAGE,
            Self::NotLetIn { .. } => exit::NOT_AUTHORISED,
            Self::NotRun { state: "lost", .. } => exit::LOST,
            Self::SubmittedUnsaid { source, .. }
                if source.kind() == std::io::ErrorKind::BrokenPipe =>
            {
                exit::OUTPUT_CLOSED
            }
            Self::Left(_) => exit::RUN_FAILED,
            Self::SubmittedUnsaid { .. } | Self::Waiting(_) | Self::NotRun { .. } => exit::ERROR,
        }
    }

    /// Stable name of why a job was not started.
    pub fn reason(&self) -> Option<&str> {
        if let Self::NotRun { reason, .. } = self {
            return Some(reason);
        }
        None
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Store(error) => return hint_of_store(error).map(str::to_owned),
            Self::SubmitUnknown { id, .. } | Self::SubmitLeft(id) => format!(
                "it is safe to submit it again with --id {id}, which submits nothing twice; `prn status --fleet {id}` tells"
            ),
            Self::SubmittedUnsaid { id, .. } | Self::Left(id) => {
                format!("`prn status --fleet {id}` tells, `prn stop --fleet {id}` ends it")
            }
            Self::Ambiguous(_) => "write more of the id".to_owned(),
            Self::SameName { .. } => "name it by its id".to_owned(),
            Self::NoJobButFleet(name) => format!("a fleet is: write --fleet={name}"),
            Self::NoJob(_) => "`prn fleet jobs` shows all that there are".to_owned(),
            Self::Waiting(id) => {
                format!("`prn status --fleet {id}` says why; without --no-follow it is waited for")
            }
            Self::NotRun {
                id,
                state: "needs-signing",
                ..
            } => format!(
                "what was signed counts no longer: `prn submit --id {id}` with the same words signs it anew"
            ),
            Self::NotRun { id, .. } => format!("`prn status --fleet {id}` shows all of it"),
            Self::HostGone { job, .. } => format!(
                "how the job is, is unknown until the host is back; `prn status --fleet {job}` tells, and `prn fleet hosts` shows who is there"
            ),
            Self::NotLetIn { job, host, .. } => format!(
                "on {host}, `prn pin add NAME SHA256:…` lets in whose key that is (`prn keygen --show CERT` prints yours), or joining the fleet again; `prn status --fleet {job}` tells how the job is, `prn stop --fleet {job}` needs that, too"
            ),
            Self::NoSigningHost => {
                "`prn fleet hosts` shows who is there; --on and --host say where it may run"
                    .to_owned()
            }
            Self::NoWorkspace(_) => "`prn submit -w NAME` runs it in one".to_owned(),
            Self::Setup(_) => return None,
            Self::NotOfFleets(_) => "see --help".to_owned(),
        };
        Some(hint)
    }
}

fn exit_of_store(error: &FleetError) -> Exit {
    match error {
        FleetError::Etcd(EtcdError::Unreachable { .. }) => exit::UNAVAILABLE,
        FleetError::Etcd(EtcdError::Denied(_)) => exit::NOT_AUTHORISED,
        FleetError::NoJob(_) => exit::NO_SUCH_PROCESS,
        FleetError::Invalid(_) | FleetError::Name(_) => exit::USAGE,
        FleetError::Etcd(_)
        | FleetError::OtherJob(_)
        | FleetError::Malformed { .. }
        | FleetError::Changed(_)
        | _ => exit::ERROR,
    }
}

fn hint_of_store(error: &FleetError) -> Option<&'static str> {
    if let FleetError::Etcd(EtcdError::Unreachable { .. }) = error {
        return Some("is etcd running there? `store` of the fleet in the configuration says where");
    }
    if let FleetError::NoJob(_) = error {
        return Some("`prn fleet jobs` shows all that there are");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn not_run(state: &'static str) -> FleetFault {
        FleetFault::NotRun {
            id: "0".repeat(32),
            state,
            reason: "HOST_LOST".to_owned(),
            why: "no".to_owned(),
        }
    }

    #[test]
    fn a_lost_job_has_the_exit_code_of_a_lost_process() {
        assert_eq!(not_run("lost").exit(), exit::LOST);
        assert_eq!(not_run("refused").exit(), exit::ERROR);
        assert_eq!(not_run("refused").reason(), Some("HOST_LOST"));
        let hint = not_run("needs-signing").hint().unwrap_or_default();
        assert!(hint.contains("signs it anew"), "{hint}");
    }
}
