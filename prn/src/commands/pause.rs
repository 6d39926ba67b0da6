//! `prn pause` and `prn resume`.

use clap::Args;
use prn_client::{State, Update};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;
use crate::which::connection::{Connection, Remote};
use crate::which::targets::{Target, Targets};

/// Hold processes: none of their tree runs until `prn resume`
///
/// They keep their memory, and time goes on for them: timeouts, leases and deadlines end them as
/// otherwise, and a stop lets them go on, to end.
#[derive(Debug, Args)]
pub struct Pause {
    /// Which processes.
    #[command(flatten)]
    pub targets: Targets,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

/// Let processes go on that were held with `prn pause`
#[derive(Debug, Args)]
pub struct Resume {
    /// Which processes.
    #[command(flatten)]
    pub targets: Targets,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

pub async fn pause(args: Pause) -> Result<Exit, Failure> {
    set_paused(&args.targets, args.connection, true).await
}

pub async fn resume(args: Resume) -> Result<Exit, Failure> {
    set_paused(&args.targets, args.connection, false).await
}

async fn set_paused(
    targets: &Targets,
    connection: Connection,
    paused: bool,
) -> Result<Exit, Failure> {
    let client = Remote::new(connection)?.connect().await?;
    let found = targets.find(&client, Some(State::Running)).await?;
    let update = Update {
        paused: Some(paused),
        ..Update::default()
    };
    let set = |target: Target| {
        let (client, update) = (client.clone(), update.clone());
        async move { Ok(client.update_process(target.id, &update).await?) }
    };
    found
        .each(set, |target, _| output::told(&target.shown))
        .await
}
