//! What can go wrong with a fleet.

use crate::etcd::EtcdError;

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FleetError {
    /// etcd has not done it.
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    /// Another job has the id.
    #[error("job {0} is there already, and asks for something else: submit it under a new id")]
    OtherJob(String),
    /// No job has the id.
    #[error("no job has the id {0}: it was never submitted here, or has ended and was pruned")]
    NoJob(String),
    /// The job is not one that can be submitted.
    #[error("{0}")]
    Invalid(&'static str),
    /// A name is none.
    #[error(
        "{0:?} is no name: write 1 to 63 lower-case letters, digits, '-' and '.', first a letter or a digit"
    )]
    Name(String),
    /// What is in etcd was written by something else, or by another version, or is larger than it
    /// may be.
    #[error("{key} in etcd is not what prn writes there, or larger")]
    Malformed {
        /// Where.
        key: String,
    },
    /// What was to be changed has changed meanwhile.
    #[error("job {0} has changed meanwhile: look at it again")]
    Changed(String),
}
