//! `prn status`.

use clap::Args;
use prn_client::{Client, ClientError, ProcessId, reason};

use crate::commands::workspace::tell_of_bound;
use crate::connection::{Connection, Remote};
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::format::FormatFlag;
use crate::hosts::{Host, Hosts, Servers};
use crate::output::{self, Layout, OfHost};

/// Show one process
///
/// The state says how a process ended: `Stopped (exit 3)`, `Stopped (SIGSEGV)`, `Stopped (timed
/// out)`, `Stopped (out of memory)`, `Stopped (output limit)`, `Stopped (disk limit)`; `Stopped`
/// alone means that it was stopped on request. On a terminal a table is cut to the terminal's width, which COLUMNS can
/// set; in a pipe or a file, and as JSON, it is whole. Of several servers (--context 'web*') it is
/// shown which one has the process.
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
    let remote = match Servers::of(&args.connection)? {
        Servers::One(remote) => remote,
        Servers::Several(hosts) => return somewhere(&hosts, args.id, &args.format).await,
    };
    let client = remote.connect().await?;
    let process = client.status(args.id).await?;
    output::process(&process, &args.format)?;
    if !args.format.output.is_whole() {
        tell_of_bound(&client, &process.status).await;
    }
    Ok(exit::OK)
}

/// Of several servers: those that know the process, of which there is one in general.
async fn somewhere(hosts: &Hosts, id: ProcessId, format: &FormatFlag) -> Result<Exit, Failure> {
    let ask = async |_: &Host, _: &Remote, client: Client| match client.status(id).await {
        Ok(process) => Ok(Ok(process)),
        Err(error) if is_unknown(&error) => Ok(Err(error)),
        Err(error) => Err(error.into()),
    };
    let answers = hosts.ask(ask).await;
    let mut known = Vec::new();
    let mut unknown = None;
    for OfHost { host, value } in answers.answers {
        match value {
            Ok(value) => known.push(OfHost { host, value }),
            Err(error) => unknown = Some(error),
        }
    }
    match unknown {
        // Where one has failed, that one may know it.
        Some(error) if known.is_empty() && answers.exit == exit::OK => return Err(error.into()),
        _ => {}
    }
    if !known.is_empty() {
        output::processes_of_hosts(&known, format, &Layout::default())?;
    }
    Ok(answers.exit)
}

fn is_unknown(error: &ClientError) -> bool {
    let refusal = error.refusal();
    refusal.is_some_and(|refusal| refusal.reason == reason::PROCESS_NOT_FOUND)
}
