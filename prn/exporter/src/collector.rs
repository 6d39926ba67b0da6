//! Where OpenTelemetry's collector is, as `--otlp` says.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

/// Time for a message to it.
const SEND_TIME: Duration = Duration::from_secs(10);

/// The port of OTLP over gRPC (opentelemetry.io/docs/specs/otlp, "OTLP/gRPC Default Port").
const PORT: u16 = 4317;

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
        let mut endpoint =
            Endpoint::from_shared(url.to_owned()).map_err(|error| error.to_string())?;
        if endpoint.uri().port().is_none() {
            let host = endpoint.uri().host().unwrap_or_default();
            let with_port = format!("http://{host}:{PORT}");
            endpoint = Endpoint::from_shared(with_port).map_err(|error| error.to_string())?;
        }
        Ok(Self(endpoint.connect_timeout(SEND_TIME).timeout(SEND_TIME)))
    }
}

impl Collector {
    /// A connection, which is made when something is sent. Must be called in the runtime.
    pub fn channel(&self) -> Channel {
        self.0.connect_lazy()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_without_a_port_has_that_of_otlp() {
        let port = |url: &str| {
            let collector: Result<Collector, _> = url.parse();
            collector.map(|it| it.0.uri().to_string())
        };
        assert_eq!(port("http://127.0.0.1").unwrap(), "http://127.0.0.1:4317/");
        assert_eq!(port("http://[::1]/").unwrap(), "http://[::1]:4317/");
        assert_eq!(port("http://127.0.0.1:5").unwrap(), "http://127.0.0.1:5/");
        assert!(port("https://127.0.0.1").is_err());
    }
}
