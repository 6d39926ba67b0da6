//! What ends the agent.

use std::io;
use std::path::PathBuf;

use prn_client::credentials::CredentialsError;
use prn_fleet::FleetError;
use prn_fleet::etcd::EtcdError;
use tokio::task::JoinError;

/// Why the agent ends.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// It is not known what to do.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// A certificate or the key is refused.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// etcd cannot be used.
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    /// The fleet cannot be used.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// A task has ended that lasts as long as the agent does: without it the agent only looks
    /// alive.
    #[error("a task of the agent has ended, and it is of no use without that")]
    Task(#[source] Option<JoinError>),
    /// The runtime or a signal handler cannot be made.
    #[error("a local operation failed")]
    Local(#[from] io::Error),
}

/// Why it is not known what the agent is to do.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// The file cannot be read.
    #[error("cannot read {}: `prn fleet join` makes one", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not one of this form.
    #[error("{} line {line}: {what}", path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// Where.
        line: usize,
        /// What is wrong there.
        what: String,
    },
    /// Nothing says it.
    #[error("--{0} is missing: give it, or write {0} in the file that --config names")]
    Missing(&'static str),
}
