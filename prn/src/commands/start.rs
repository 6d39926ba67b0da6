//! `prn start`, and starting for `prn run`.

use std::time::Duration;

use clap::Args;
use prn_client::{Client, ClientError, Code, OutputPolicy, StandardInput, StartSpec, Started};

use crate::connection::{Connection, Remote};
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::format::FormatFlag;
use crate::leftover::Leftover;
use crate::spec::{Spec, with_our_terminal};
use crate::{fields, output};

/// How often a start is tried whose outcome is unknown.
const TRIES: u32 = 3;

/// Time between two tries: a frontend that is replaced takes less.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Start a process and print its id
///
/// The id names the process for its whole life and after; it is not a PID. `prn start "ping
/// google.com"` splits the string into words as a shell would, without running a shell; `prn
/// start -- ping google.com` takes the words as they are. For pipes, variables and the like name
/// a shell: `prn start -- sh -c 'ls | wc -l'`.
///
/// `prn start` never reads its standard input: where bytes wait there on a pipe or in a file,
/// nothing is started without -n. `prn attach` feeds what was started with --stdin or -t.
#[derive(Debug, Args)]
pub struct Start {
    /// What to start.
    #[command(flatten)]
    pub spec: Spec,
    /// Give the process a pipe as its standard input, which stays open until `prn attach` ends it
    #[arg(long, conflicts_with_all = ["no_stdin", "tty"])]
    pub stdin: bool,
    /// Give the process a terminal, as large as this one, for `prn attach`
    #[arg(short, long, conflicts_with = "no_stdin")]
    pub tty: bool,
    /// How to print the result.
    #[command(flatten)]
    pub format: FormatFlag,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

pub async fn start(args: Start) -> Result<Exit, Failure> {
    let is_fed_later = args.stdin || args.tty;
    let leftover = Leftover::look(args.spec.no_stdin || is_fed_later)?;
    let mut spec = args.spec.completed(OutputPolicy::DropOldest)?;
    if args.tty {
        with_our_terminal(&mut spec);
    } else if args.stdin {
        spec.stdin = StandardInput::Pipe;
    }
    let remote = Remote::new(args.connection)?;
    let first = remote.connect().await?;
    leftover.settle()?;
    let (_, started) = start_surely(&remote, first, &spec).await?;
    // Nobody else knows this id.
    let id = started.process.id;
    output::started(&started, args.format.output)
        .map_err(|source| Failure::StartedUnsaid { id, source })?;
    Ok(exit::OK)
}

/// Starts a process, again if it is unknown whether that worked, and warns of limits that are not
/// enforced.
///
/// Repeating is safe because the spec has an id: a server that has started it answers with the same
/// process. Only a server that was itself restarted in between would start it anew, and its
/// predecessor's processes are dead by then.
pub async fn start_surely(
    remote: &Remote,
    first: Client,
    spec: &StartSpec,
) -> Result<(Client, Started), Failure> {
    let mut client = Some(first);
    let mut unknown = false;
    let mut tries = 0;
    loop {
        tries += 1;
        let error = match start_once(remote, client.take(), spec).await {
            Ok((client, started)) => {
                warn(&started);
                return Ok((client, started));
            }
            Err(error) => error,
        };
        match error.refusal() {
            // The call was under way when a half of the server went away.
            Some(refusal) if refusal.code == Code::Unavailable => unknown |= error.is_transient(),
            // The server has answered, and knows.
            Some(_) => unknown = false,
            None => {
                unknown |= matches!(error, ClientError::Lost(_) | ClientError::NoAnswer { .. });
            }
        }
        if tries == TRIES || !error.is_transient() || (!unknown && error.refusal().is_none()) {
            return Err(match spec.id {
                Some(id) if unknown => Failure::StartUnknown { id, source: error },
                _ => error.into(),
            });
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

async fn start_once(
    remote: &Remote,
    client: Option<Client>,
    spec: &StartSpec,
) -> Result<(Client, Started), ClientError> {
    let client = match client {
        Some(client) => client,
        None => remote.connect().await?,
    };
    let started = client.start(spec).await?;
    Ok((client, started))
}

fn warn(started: &Started) {
    let not_enforced = &started.process.status.limits.not_enforced;
    if !not_enforced.is_empty() {
        output::notice(&format!(
            "warning: the server's host does NOT enforce {}",
            not_enforced
                .iter()
                .map(|name| fields::limit(name))
                .collect::<Vec<_>>()
                .join(", ")
        ));
    }
}
