//! What ends the agent.

use std::io;

use prn_client::credentials::CredentialsError;
use prn_fleet::FleetError;
use prn_fleet::etcd::EtcdError;

/// Why the agent ends.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// A certificate or the key is refused.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// etcd cannot be used.
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    /// The fleet cannot be used.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// The runtime or a signal handler cannot be made.
    #[error("a local operation failed")]
    Local(#[from] io::Error),
}
