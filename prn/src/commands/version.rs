//! `prn version`.

use clap::Args;
use prn_client::ServerInfo;

use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::lasting::skew;
use crate::output::format::FormatFlag;
use crate::output::{self, Version};
use crate::which::connection::{Connection, Remote};
use crate::which::hosts::Servers;

/// Commands, and what else there is, by the revision of the API that they need, behind the first.
const NEEDS: &[(u32, &[&str])] = &[
    (
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
            "top",
            "events",
            "health",
            "mcp",
            "names and labels",
            "selection (-l, --name, --failed, --succeeded)",
            "leases, deadlines and retention",
        ],
    ),
    (
        2,
        &[
            "can-i",
            "start and run --dry-run",
            "--started-by",
            "update --label",
        ],
    ),
    (3, &["receipt", "start and run --expect"]),
    (4, &["start and run --user"]),
    (5, &["metrics", "exporter"]),
];

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

pub async fn version(args: Show) -> Result<Exit, Failure> {
    let mut version = Version::of_client();
    if args.client {
        output::version(&version, &args.format)?;
        return Ok(exit::OK);
    }
    let remote = match Servers::of(&args.connection) {
        Ok(Servers::Several(hosts)) => {
            let answers = hosts
                .ask(async |_, _, client| Ok(client.server().await?))
                .await;
            output::versions_of_hosts(&answers.answers, &args.format)?;
            return Ok(answers.exit);
        }
        Ok(Servers::One(remote)) => Ok(remote),
        Err(failure) => Err(failure),
    };
    let asked = server(remote).await;
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

async fn server(remote: Result<Remote, Failure>) -> Result<Option<ServerInfo>, Failure> {
    let client = remote?.connect().await?;
    Ok(skew::server(&client).await?)
}

/// What a server of this revision does not know.
fn missing(revision: u32) -> Vec<&'static str> {
    let newer = NEEDS.iter().filter(|(needed, _)| *needed > revision);
    newer
        .flat_map(|(_, commands)| commands.iter().copied())
        .collect()
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

    #[test]
    fn of_each_command_it_is_said_what_it_needs() {
        use clap::CommandFactory;
        // What the first servers knew, and what asks none.
        let first = [
            "start",
            "status",
            "logs",
            "stop",
            "list",
            "run",
            "exec",
            "attach",
            "cp",
            "workspace",
            "batch",
            "submit",
            "fleet",
            "inspect",
            "version",
            "context",
            "keygen",
            "server",
            "policy",
            "pin",
            "rotate",
            "audit",
            "verify",
            "completion",
            "__complete",
        ];
        let needing = missing(0);
        for command in crate::cli::Cli::command().get_subcommands() {
            let name = command.get_name();
            let is_first = first.contains(&name);
            assert_ne!(is_first, needing.contains(&name), "{name}");
        }
    }
}
