//! `prn start`.

use clap::Args;
use prn_client::{Client, OutputPolicy, ProcessId, StandardInput, StartSpec};

use crate::connection::{Connection, Remote};
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::format::FormatFlag;
use crate::hosts::{Host, Hosts, Servers};
use crate::leftover::Leftover;
use crate::output;
use crate::spec::{Spec, of_host, with_our_terminal};
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
///
/// On several servers (--context 'web*') it prints a line for each process: the name of the context, and the
/// id.
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
    let own_id = args.spec.id;
    let mut spec = args.spec.completed(OutputPolicy::DropOldest)?;
    if args.tty {
        with_our_terminal(&mut spec);
    } else if args.stdin {
        spec.stdin = StandardInput::Pipe;
    }
    let remote = match Servers::of(&args.connection)? {
        Servers::One(remote) => remote,
        Servers::Several(hosts) => {
            leftover.settle()?;
            return everywhere(&hosts, &spec, own_id, &args.format).await;
        }
    };
    let first = remote.connect().await?;
    leftover.settle()?;
    let (_, started) = start_surely(&remote, first, &spec).await?;
    // Nobody else knows this id.
    let id = started.process.id;
    output::started(&started, &args.format)
        .map_err(|source| Failure::StartedUnsaid { id, source })?;
    Ok(exit::OK)
}

/// On each of several servers, each process under an id of its own unless one was named.
async fn everywhere(
    hosts: &Hosts,
    spec: &StartSpec,
    id: Option<ProcessId>,
    format: &FormatFlag,
) -> Result<Exit, Failure> {
    let ask = async |_: &Host, remote: &Remote, client: Client| {
        let spec = of_host(spec, id)?;
        let (_, started) = start_surely(remote, client, &spec).await?;
        Ok(started)
    };
    let answers = hosts.ask(ask).await;
    output::started_of_hosts(&answers.answers, format)?;
    Ok(answers.exit)
}
