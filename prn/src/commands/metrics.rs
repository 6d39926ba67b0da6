//! `prn metrics`.

use clap::Args;

use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::output;
use crate::output::format::FormatFlag;
use crate::which::connection::{Connection, Remote};

/// Print the server's metrics: what it does and has done, in numbers
///
/// As OpenMetrics text, which Prometheus reads, or with -o json as data. Who sees the processes of
/// some alone is told how many of these there are, and not what all clients do. `prn exporter`
/// serves them to Prometheus, with what each process takes.
#[derive(Debug, Args)]
pub struct Metrics {
    /// How to print the result.
    #[command(flatten)]
    pub format: FormatFlag,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

pub async fn metrics(args: Metrics) -> Result<Exit, Failure> {
    let client = Remote::new(args.connection)?.connect().await?;
    let metrics = client.metrics().await?;
    output::metrics(&metrics, &args.format)?;
    Ok(exit::OK)
}
