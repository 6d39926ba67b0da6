//! `prn version` and `prn health`.

use std::time::Instant;

use clap::Args;
use prn_client::{ClientError, Code, ServerInfo};

use crate::connection::{Connection, Remote};
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::format::FormatFlag;
use crate::output::{self, Health, Version};

/// Commands by the revision of the API that they need, behind the first.
const NEEDS: &[(u32, &[&str])] = &[(
    1,
    &[
        "wait",
        "kill",
        "rm",
        "prune",
        "pause",
        "resume",
        "update",
        "renew",
        "stats",
        "events",
        "health",
        "names and labels",
        "leases and deadlines",
    ],
)];

/// Show the version of prn, and of the server
///
/// A server that is as new or newer does all that this prn asks for. Of an older one it is said which
/// commands it does not know.
#[derive(Debug, Args)]
pub struct Show {
    /// Of this prn alone; no server is asked
    #[arg(short, long)]
    pub client: bool,
    /// How to print the result.
    #[command(flatten)]
    pub format: FormatFlag,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

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

pub async fn version(args: Show) -> Result<Exit, Failure> {
    let mut version = Version::of_client();
    if args.client {
        output::version(&version, &args.format)?;
        return Ok(exit::OK);
    }
    let asked = server(args.connection).await;
    version.server = match &asked {
        Ok(server) => server.clone(),
        Err(_) => None,
    };
    output::version(&version, &args.format)?;
    let revision = asked?.map_or(0, |server| server.api_revision);
    let missing = missing(revision);
    if !missing.is_empty() {
        output::notice(&format!(
            "the server is older than this prn, and does not know: {}",
            missing.join(", ")
        ));
    }
    Ok(exit::OK)
}

/// `None`: it is of before there was this call.
async fn server(connection: Connection) -> Result<Option<ServerInfo>, Failure> {
    let client = Remote::new(connection)?.connect().await?;
    match client.server().await {
        Ok(server) => Ok(Some(server)),
        Err(error) if is_unknown(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_unknown(error: &ClientError) -> bool {
    let refusal = error.refusal();
    refusal.is_some_and(|refusal| refusal.code == Code::Unimplemented)
}

/// What a server of this revision does not know.
fn missing(revision: u32) -> Vec<&'static str> {
    let newer = NEEDS.iter().filter(|(needed, _)| *needed > revision);
    newer
        .flat_map(|(_, commands)| commands.iter().copied())
        .collect()
}

pub async fn health(args: Check) -> Result<Exit, Failure> {
    let client = Remote::new(args.connection)?.connect().await?;
    // The first call has the handshake's last part in it.
    client.server().await?;
    let asked = Instant::now();
    let server = client.server().await?;
    let health = Health {
        serving: !server.draining,
        latency: asked.elapsed(),
        server,
    };
    output::health(&health, &args.format)?;
    Ok(if health.serving {
        exit::OK
    } else {
        exit::UNAVAILABLE
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use prn_proto::API_REVISION;

    #[test]
    fn a_server_as_new_as_the_client_knows_all() {
        assert!(missing(API_REVISION).is_empty() && missing(API_REVISION + 1).is_empty());
        assert!(missing(0).contains(&"wait"));
    }
}
