//! `prn status`.

use clap::Args;
use prn_client::ProcessId;

use crate::connection::{Connection, Remote};
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::format::FormatFlag;
use crate::output;

/// Show one process
///
/// The state says how a process ended: `Stopped (exit 3)`, `Stopped (SIGSEGV)`, `Stopped (timed
/// out)`, `Stopped (out of memory)`, `Stopped (output limit)`; `Stopped` alone means that it was
/// stopped on request. On a terminal a table is cut to the terminal's width, which COLUMNS can
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
    let process = Remote::new(args.connection)?
        .connect()
        .await?
        .status(args.id)
        .await?;
    output::process(&process, args.format.output)?;
    Ok(exit::OK)
}
