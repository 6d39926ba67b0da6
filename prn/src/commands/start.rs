//! `prn start`.

use clap::Args;
use prn_client::{OutputPolicy, StandardInput};

use crate::connection::{Connection, Remote};
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::format::FormatFlag;
use crate::leftover::Leftover;
use crate::output;
use crate::spec::{Spec, with_our_terminal};
use crate::surely::start_surely;

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
    output::started(&started, &args.format)
        .map_err(|source| Failure::StartedUnsaid { id, source })?;
    Ok(exit::OK)
}
