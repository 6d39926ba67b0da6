//! Where OpenTelemetry's collector is, as `--otlp` says.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

/// Time for a message to it.
const SEND_TIME: Duration = Duration::from_secs(10);

/// Where the collector is.
#[derive(Debug, Clone)]
pub struct Collector(Endpoint);

impl std::str::FromStr for Collector {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        if !url.starts_with("http://") {
            return Err(
                "write http://HOST:4317: a collector of this machine, which takes OTLP over gRPC and sends it on by TLS"
                    .to_owned(),
            );
        }
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| error.to_string())?;
        Ok(Self(endpoint.connect_timeout(SEND_TIME).timeout(SEND_TIME)))
    }
}

impl Collector {
    /// A connection, which is made when something is sent. Must be called in the runtime.
    pub fn channel(&self) -> Channel {
        self.0.connect_lazy()
    }
}
