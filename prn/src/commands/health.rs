//! `prn health`.

use std::time::Instant;

use clap::Args;
use prn_client::Client;

use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::output::format::FormatFlag;
use crate::output::{self, Health};
use crate::which::connection::Connection;
use crate::which::hosts::Servers;

/// Show whether the server serves
///
/// Exits with 0 when it does, and with 5 when it is shutting down or cannot be reached.
#[derive(Debug, Args)]
pub struct Check {
    /// How to print the result.
    #[command(flatten)]
    pub format: FormatFlag,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

pub async fn health(args: Check) -> Result<Exit, Failure> {
    match Servers::of(&args.connection)? {
        Servers::One(remote) => {
            let health = look(&remote.connect().await?).await?;
            output::health(&health, &args.format)?;
            Ok(exit_of(&health))
        }
        Servers::Several(hosts) => {
            let answers = hosts.ask(async |_, _, client| look(&client).await).await;
            output::health_of_hosts(&answers.answers, &args.format)?;
            let exits = answers.answers.iter().map(|of| exit_of(&of.value));
            Ok(exits.fold(answers.exit, Exit::highest))
        }
    }
}

async fn look(client: &Client) -> Result<Health, Failure> {
    // The first call has the handshake's last part in it.
    client.server().await?;
    let asked = Instant::now();
    let server = client.server().await?;
    Ok(Health {
        serving: !server.draining,
        latency: asked.elapsed(),
        server,
    })
}

fn exit_of(health: &Health) -> Exit {
    if health.serving {
        exit::OK
    } else {
        exit::UNAVAILABLE
    }
}
