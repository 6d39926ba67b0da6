//! `prn status`.

use clap::Args;
use prn_client::ProcessId;

use crate::commands::workspace::tell_of_bound;
use crate::connection::{Connection, Remote};
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::format::FormatFlag;
use crate::output;

/// Show one process
///
/// The state says how a process ended: `Stopped (exit 3)`, `Stopped (SIGSEGV)`, `Stopped (timed
/// out)`, `Stopped (out of memory)`, `Stopped (output limit)`, `Stopped (disk limit)`; `Stopped`
/// alone means that it was stopped on request. On a terminal a table is cut to the terminal's width, which COLUMNS can
/// set; in a pipe or a file, and as JSON, it is whole.
#[derive(Debug, Args)]
pub struct Status {
    /// Id of the process
    pub id: ProcessId,
    /// How to print the result.
    #[command(flatten)]
    pub format: FormatFlag,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

pub async fn status(args: Status) -> Result<Exit, Failure> {
    let client = Remote::new(args.connection)?.connect().await?;
    let process = client.status(args.id).await?;
    output::process(&process, &args.format)?;
    if !args.format.output.is_whole() {
        tell_of_bound(&client, &process.status).await;
    }
    Ok(exit::OK)
}
