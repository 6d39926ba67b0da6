//! A connection to a gRPC service that is none of prn's, in prn's TLS profile.

use std::sync::Arc;
use std::time::Duration;

use prn_proto::tls::{self, Server};
use tonic::Status;
use tonic::transport::Channel;

use crate::credentials::Credentials;
use crate::error::ClientError;
use crate::transport::{self, Health};

/// One connection to one server, for code that tonic has generated. It is made once: when it is lost
/// every further call fails. Cheap to clone; the clones share it.
#[derive(Debug, Clone)]
pub struct SecureChannel {
    channel: Channel,
    health: Arc<Health>,
}

impl SecureChannel {
    /// Connects to `address`, "HOST:PORT", in at most this time, TLS handshake included.
    ///
    /// # Errors
    /// As [`Client::connect`](crate::Client::connect).
    pub async fn connect(
        address: &str,
        credentials: &Credentials,
        limit: Duration,
    ) -> Result<Self, ClientError> {
        let server = Server::clone(&credentials.server);
        let config = tls::client_config_of(&credentials.pair, server)?;
        let health = Arc::new(Health::default());
        let connecting = transport::connect(address, config, &health);
        let connected = tokio::time::timeout(limit, connecting).await;
        let (channel, _) = connected.map_err(|_| ClientError::Timeout {
            address: address.to_owned(),
            after: limit,
        })??;
        Ok(Self { channel, health })
    }

    /// What generated code calls.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The error that a status of this connection stands for.
    pub fn explain(&self, status: Status) -> ClientError {
        self.health.explain(status)
    }
}
