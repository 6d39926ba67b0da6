//! `prn rm`.

use clap::Args;
use prn_client::{State, StopSignal};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;
use crate::which::connection::{Connection, Remote};
use crate::which::targets::{Target, Targets};

/// Forget finished processes, with their output
///
/// It is refused for a process that runs, unless --force stops it first. Of several, all are tried.
#[derive(Debug, Args)]
pub struct Rm {
    /// Which processes.
    #[command(flatten)]
    pub targets: Targets,
    /// Stop those that run first, as `prn stop` does. With -l: those too
    #[arg(short, long)]
    pub force: bool,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

pub async fn rm(args: Rm) -> Result<Exit, Failure> {
    let client = Remote::new(args.connection)?.connect().await?;
    let state = (!args.force).then_some(State::Stopped);
    let found = args.targets.find(&client, state).await?;
    let remove = |target: Target| {
        let client = client.clone();
        async move {
            if args.force {
                // One that has ended stays as it is.
                client.stop(target.id, StopSignal::Term, None).await?;
            }
            Ok(client.remove_processes(target.id).await?)
        }
    };
    found
        .each(remove, |target, _| output::told(&target.shown))
        .await
}
