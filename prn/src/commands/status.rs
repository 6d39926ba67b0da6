//! `prn status`.

use clap::Args;
use prn_client::{Client, ClientError, Process, ProcessId, ProcessUsage};

use crate::commands::workspace::tell_of_bound;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::fleet::showing;
use crate::output::format::{Format, FormatFlag};
use crate::output::{self, Layout, OfHost};
use crate::which::connection::{Connection, Remote};
use crate::which::fleet::FleetFlag;
use crate::which::hosts::{Host, Hosts, Servers};
use crate::which::reference::{Reference, resolve};
use crate::which::targets::{Found, Target};

/// Show one process, or several
///
/// The state says how a process ended: `Stopped (exit 3)`, `Stopped (SIGSEGV)`, `Stopped (timed
/// out)`, `Stopped (out of memory)`, `Stopped (output limit)`, `Stopped (disk limit)`; `Stopped`
/// alone means that it was stopped on request. `-o wide` says what a process takes of the machine now,
/// and what may make it slow. On a terminal a table is cut to the terminal's width, which COLUMNS can
/// set; in a pipe or a file, and as JSON, it is whole. Of several servers (--context
/// 'web*') it is shown which one has the process.
#[derive(Debug, Args)]
pub struct Status {
    /// Which process: its id, the beginning of its id, or its name. Of several there is a list
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<Reference>,
    /// How to print the result.
    #[command(flatten)]
    pub format: FormatFlag,
    /// Of a fleet.
    #[command(flatten)]
    pub fleet: FleetFlag,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

pub async fn status(args: Status) -> Result<Exit, Failure> {
    if let Some(open) = args.fleet.open(&args.connection)? {
        return showing::status(&open, &args.ids, &args.format).await;
    }
    let remote = match Servers::of(&args.connection)? {
        Servers::One(remote) => remote,
        Servers::Several(hosts) => {
            let [id] = args.ids.as_slice() else {
                let why = "of several servers, `prn status` shows one process";
                return Err(Failure::Usage(why.to_owned()));
            };
            return somewhere(&hosts, id, &args.format).await;
        }
    };
    let client = remote.connect().await?;
    match args.ids.as_slice() {
        [id] => {
            let id = resolve(&client, id).await?;
            one(&client, id, &args.format).await?;
            Ok(exit::OK)
        }
        ids => several(&client, ids, &args.format).await,
    }
}

async fn one(client: &Client, id: ProcessId, format: &FormatFlag) -> Result<(), Failure> {
    let process = if format.output == Format::Wide {
        // At once: it takes no longer.
        let (process, usage) = tokio::join!(client.status(id), usage(client, id));
        let process = process?;
        output::process_with_usage(&process, usage?.as_ref(), format)?;
        process
    } else {
        let process = client.status(id).await?;
        output::process(&process, format)?;
        process
    };
    if !format.output.is_whole() {
        tell_of_bound(client, &process.status).await;
    }
    Ok(())
}

/// Each in full one after the other, or all in one list.
async fn several(client: &Client, ids: &[Reference], format: &FormatFlag) -> Result<Exit, Failure> {
    let found = Found::named(client, ids).await?;
    if format.output == Format::Wide {
        let mut highest = found.exit;
        for target in &found.targets {
            if let Err(failure) = one(client, target.id, format).await {
                highest = highest.highest(found.failed(Some(target), failure)?);
            }
        }
        return Ok(highest);
    }
    let look = |target: Target| async move { Ok(client.status(target.id).await?) };
    let mut all = Vec::new();
    let exit = found
        .each(look, |_, process| {
            all.push(process);
            Ok(exit::OK)
        })
        .await?;
    if !all.is_empty() || format.output.is_whole() {
        output::processes(&all, format, &Layout::default())?;
    }
    Ok(exit)
}

/// Of several servers: those that know the process, of which there is one in general.
async fn somewhere(hosts: &Hosts, id: &Reference, format: &FormatFlag) -> Result<Exit, Failure> {
    let ask = async |_: &Host, _: &Remote, client: Client| match look(&client, id).await {
        Ok(process) => Ok(Ok(process)),
        Err(failure) if failure.exit() == exit::NO_SUCH_PROCESS => Ok(Err(failure)),
        Err(failure) => Err(failure),
    };
    let answers = hosts.ask(ask).await;
    let mut known = Vec::new();
    let mut unknown = None;
    for OfHost { host, value } in answers.answers {
        match value {
            Ok(value) => known.push(OfHost { host, value }),
            Err(failure) => unknown = Some(failure),
        }
    }
    match unknown {
        // Where one has failed, that one may know it.
        Some(failure) if known.is_empty() && answers.exit == exit::OK => return Err(failure),
        _ => {}
    }
    if !known.is_empty() {
        output::processes_of_hosts(&known, format, &Layout::default())?;
    }
    Ok(answers.exit)
}

async fn look(client: &Client, id: &Reference) -> Result<Process, Failure> {
    let id = resolve(client, id).await?;
    Ok(client.status(id).await?)
}

/// What it takes of the machine. `None` from a server of before there was this call, and of what is not
/// there, which the other call says.
pub async fn usage(client: &Client, id: ProcessId) -> Result<Option<ProcessUsage>, ClientError> {
    match client.usage(id, false).await {
        Ok(usages) => Ok(usages.usages.into_iter().next()),
        Err(error) if error.refusal().is_some() => Ok(None),
        Err(error) => Err(error),
    }
}
