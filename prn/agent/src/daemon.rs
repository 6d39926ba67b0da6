//! The server beside the agent: a connection, and the run that it is to.
//!
//! A connection does not outlive a run of the server. So what is asked for on one is asked of the run
//! whose epoch was heard on it.

use prn_client::credentials::{Credentials, Ending};
use prn_client::{Client, ClientError};

/// Where the server is.
#[derive(Debug)]
pub struct Daemon {
    address: String,
    credentials: Credentials,
}

/// A connection to it.
#[derive(Debug, Clone)]
pub struct Session {
    /// It.
    pub client: Client,
    /// The run of the server.
    pub epoch: String,
}

impl Daemon {
    /// Not connected yet.
    pub fn new(address: String, credentials: Credentials) -> Self {
        Self {
            address,
            credentials,
        }
    }

    /// Certificates that end soon: the agent's own, the server's.
    pub fn ending(&self) -> Vec<Ending> {
        self.credentials.ending()
    }

    /// Connects.
    ///
    /// # Errors
    /// As [`Client::connect`] and [`Client::server`].
    pub async fn connect(&self) -> Result<Session, ClientError> {
        let client = Client::connect(&self.address, &self.credentials).await?;
        let epoch = client.server().await?.boot_epoch;
        Ok(Session { client, epoch })
    }
}
