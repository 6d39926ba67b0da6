//! `prn inspect`.

use clap::Args;
use prn_client::Process;

use crate::commands::status::usage;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::output;
use crate::output::format::WholeFormatFlag;
use crate::which::connection::{Connection, Remote};
use crate::which::targets::{Target, Targets};

/// Show all that is known of processes, as JSON
///
/// An array, also of one: what `prn status -o json` has of each, and below `live_usage` what it takes of
/// the machine now.
#[derive(Debug, Args)]
pub struct Inspect {
    /// Which processes.
    #[command(flatten)]
    pub targets: Targets,
    /// How to print the result.
    #[command(flatten)]
    pub format: WholeFormatFlag,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

pub async fn inspect(args: Inspect) -> Result<Exit, Failure> {
    let client = Remote::new(args.connection)?.connect().await?;
    let found = args.targets.find(&client, None).await?;
    let look = |target: Target| {
        let client = client.clone();
        async move {
            let id = target.id;
            let (process, usage): (Result<Process, _>, _) =
                tokio::join!(client.status(id), usage(&client, id));
            Ok((process?, usage?))
        }
    };
    let mut all = Vec::new();
    let exit = found
        .each(look, |_, (process, usage)| {
            all.push(output::Inspected::new(process, usage));
            Ok(exit::OK)
        })
        .await?;
    output::inspected(&all, &args.format.into())?;
    Ok(exit)
}
