//! `prn workspace`.

use std::collections::HashSet;

use clap::{Args, Subcommand};
use futures_util::{StreamExt, stream};
use prn_client::{
    Client, ClientError, ExitKind, ProcessStatus, Removed, StopProcesses, StopSignal,
    Workspace as Known, reason,
};
use prn_proto::units::{Size, Time, Workspace as Name, show_duration, show_size};

use crate::exit::{self, Exit};
use crate::failure::{Failure, Outcome};
use crate::lasting::wait::patiently;
use crate::output;
use crate::output::format::{Format, FormatFlag};
use crate::which::connection::{Connection, Remote};
use crate::which::hosts::{Host, Servers};

/// Most removals that are asked for at one time. Others wait: a server takes so many.
const AT_A_TIME: usize = 4;

/// Directories on the server that processes share
///
/// A workspace is a directory, a temporary directory and a user id for the processes that are
/// started in it, with `prn run -w NAME` or `prn start -w NAME`, one after another or at once. What
/// they write stays until the workspace is removed, or the server stops.
#[derive(Debug, Args)]
pub struct Workspace {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What is done with workspaces.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Create(Create),
    #[command(visible_alias = "ls")]
    List(List),
    #[command(visible_alias = "rm")]
    Remove(Remove),
}

/// Make a workspace, and print its name
#[derive(Debug, Args)]
pub struct Create {
    /// Its name: up to 63 lower-case letters, digits, - and _, first a letter or a digit
    pub name: Name,
    /// Most of the server's disk that it may take, at least 1M [default: the most that the server
    /// allows]
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    pub disk: Option<Size>,
    /// If there is one of that name, take it, unless --disk asks for another bound than it has
    #[arg(long)]
    pub exist_ok: bool,
    /// How to print the result.
    #[command(flatten)]
    pub format: FormatFlag,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

/// List all workspaces, by name
///
/// A workspace in the state `Leaving` is being removed: nothing starts in it, and its name is free
/// when all that was in it is deleted.
#[derive(Debug, Args)]
pub struct List {
    /// Print names alone, one a line
    #[arg(short, long, conflicts_with = "output")]
    pub quiet: bool,
    /// How to print the result.
    #[command(flatten)]
    pub format: FormatFlag,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

/// Remove workspaces with all that is in them
///
/// It is refused while processes live in a workspace, unless they are to be stopped. Of several, all
/// are tried, and the exit code is the highest of what each alone would give. It is 1 where something
/// is still left when the server answers: it is deleted nevertheless.
#[derive(Debug, Args)]
pub struct Remove {
    /// Which
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<Name>,
    /// Stop the processes that live in them first
    #[arg(short, long)]
    pub force: bool,
    /// Stop them by SIGKILL, at once
    #[arg(long, conflicts_with = "grace")]
    pub kill: bool,
    /// Stop them with this time between SIGTERM and SIGKILL, instead of what each was started with
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    pub grace: Option<Time>,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

pub async fn workspace(args: Workspace) -> Result<Exit, Failure> {
    match args.verb {
        Verb::Create(args) => create(args).await,
        Verb::List(args) => list(args).await,
        Verb::Remove(args) => remove(args).await,
    }
}

async fn create(args: Create) -> Result<Exit, Failure> {
    let Name(name) = args.name;
    let disk = args.disk.map(|Size(bytes)| bytes);
    let client = Remote::new(args.connection)?.connect().await?;
    let workspace = match client.create_workspace(&name, disk).await {
        Ok(created) => created,
        Err(error) if args.exist_ok && is_there(&error) => {
            taken(&client, &name, disk, error).await?
        }
        Err(error) => return Err(unknown(&name, Outcome::Created, error)),
    };
    output::workspace(&workspace, &args.format)?;
    Ok(exit::OK)
}

fn is_there(error: &ClientError) -> bool {
    let refusal = error.refusal();
    refusal.is_some_and(|refusal| refusal.reason == reason::WORKSPACE_EXISTS)
}

/// The one that there is, if it is what was asked for.
async fn taken(
    client: &Client,
    name: &str,
    disk: Option<u64>,
    error: ClientError,
) -> Result<Known, Failure> {
    let all = client.list_workspaces().await?;
    let known = all.into_iter().find(|known| known.name == name);
    match known.filter(|known| !known.leaving) {
        Some(known) if disk.is_some() && disk != known.disk_max_bytes => {
            Err(Failure::OtherWorkspace {
                name: known.name,
                disk: known.disk_max_bytes,
            })
        }
        Some(known) => Ok(known),
        // It is on its way.
        None => Err(error.into()),
    }
}

async fn list(mut args: List) -> Result<Exit, Failure> {
    let remote = match Servers::of(&args.connection)? {
        Servers::One(remote) => remote,
        Servers::Several(hosts) => {
            if args.quiet {
                args.format.output = Format::Name;
            }
            let ask =
                async |_: &Host, _: &Remote, client: Client| Ok(client.list_workspaces().await?);
            let answers = hosts.ask(ask).await.flat();
            output::workspaces_of_hosts(&answers.answers, &args.format)?;
            return Ok(answers.exit);
        }
    };
    let client = remote.connect().await?;
    let all = client.list_workspaces().await?;
    if args.quiet {
        output::workspace_names(&all)?;
    } else {
        output::workspaces(&all, &args.format)?;
    }
    Ok(exit::OK)
}

async fn remove(args: Remove) -> Result<Exit, Failure> {
    let stop = args.stopping();
    let client = Remote::new(args.connection)?.connect().await?;
    let mut names = args.names;
    let mut seen = HashSet::new();
    names.retain(|Name(name)| seen.insert(name.clone()));
    if let [Name(name)] = names.as_slice() {
        return remove_one(&client, name, stop).await;
    }
    let each = stream::iter(&names).map(|Name(name)| remove_one(&client, name, stop));
    let mut removed = each.buffered(AT_A_TIME);
    let mut highest = exit::OK;
    while let Some(one) = removed.next().await {
        let exit = one.unwrap_or_else(|failure| {
            output::error(&failure, failure.hint().as_deref());
            failure.exit()
        });
        highest = Exit(highest.0.max(exit.0));
    }
    Ok(highest)
}

impl Remove {
    /// How to stop the processes. `None`: they are in the way.
    fn stopping(&self) -> Option<StopProcesses> {
        let grace = self.grace.map(|Time(grace)| grace);
        let signal = if self.kill {
            StopSignal::Kill
        } else {
            StopSignal::Term
        };
        (self.force || self.kill || grace.is_some()).then_some(StopProcesses { signal, grace })
    }
}

async fn remove_one(
    client: &Client,
    name: &str,
    stop: Option<StopProcesses>,
) -> Result<Exit, Failure> {
    let removing = client.remove_workspace(name, stop);
    let removed = patiently(|| waiting(name, stop), removing)
        .await
        .map_err(|error| unknown(name, Outcome::Removed, error))?;
    match removed {
        Removed::Gone => Ok(exit::OK),
        Removed::Leaving => {
            output::notice(&format!(
                "workspace {name} is still being removed, and nothing starts in it any more; `prn workspace list` shows \
                 it until it is gone"
            ));
            Ok(exit::ERROR)
        }
    }
}

/// What a removal waits for that takes long.
fn waiting(name: &str, stop: Option<StopProcesses>) -> String {
    let what = match stop {
        None => "all that is in it to be deleted".to_owned(),
        Some(StopProcesses {
            signal: StopSignal::Kill,
            ..
        }) => {
            "its processes to end, which SIGKILL was sent to, and all that is in it to be deleted"
                .to_owned()
        }
        Some(StopProcesses { grace, .. }) => format!(
            "its processes to end ({} after SIGTERM they are killed), and all that is in it to be deleted",
            grace.map_or_else(|| "the grace time of each".to_owned(), show_duration)
        ),
    };
    format!("removing workspace {name}: waiting for {what}")
}

/// What was asked for and not answered may have worked.
fn unknown(name: &str, outcome: Outcome, error: ClientError) -> Failure {
    let may_have_worked = matches!(error, ClientError::NoAnswer { .. } | ClientError::Lost(_));
    if may_have_worked {
        Failure::WorkspaceUnknown {
            name: name.to_owned(),
            outcome,
            source: error,
        }
    } else {
        error.into()
    }
}

/// Says what to do about a process that was ended because its workspace took too much of the disk;
/// nothing of another one.
pub async fn tell_of_bound(client: &Client, status: &ProcessStatus) {
    let kind = status.exit.as_ref().map(|exit| exit.kind);
    let Some(name) = (status.workspace.as_ref()).filter(|_| kind == Some(ExitKind::DiskLimit))
    else {
        return;
    };
    // What has become of the process was said: the bound is no reason to fail.
    let all = client.list_workspaces().await.unwrap_or_default();
    let known = all.iter().find(|known| known.name == *name);
    output::notice(&over_its_bound(name, known));
}

/// `known` is that workspace, if it is still there.
fn over_its_bound(name: &str, known: Option<&Known>) -> String {
    let bound = known.and_then(|known| known.disk_max_bytes);
    let bound = bound.map_or_else(String::new, |bound| {
        format!(
            "workspace {name} may take {} of the disk: ",
            show_size(bound)
        )
    });
    format!(
        "{bound}delete what it does not need (prn run -w {name} -- rm …), or make one that may take more (prn workspace \
         create --disk)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_removal_says_what_it_waits_for() {
        let stop = |signal, seconds: Option<u64>| {
            let grace = seconds.map(Duration::from_secs);
            waiting("w", Some(StopProcesses { signal, grace }))
        };
        assert!(!waiting("w", None).contains("SIG"));
        assert!(stop(StopSignal::Kill, None).contains("SIGKILL was sent"));
        assert!(stop(StopSignal::Term, Some(5)).contains("5s after SIGTERM"));
        assert!(stop(StopSignal::Term, None).contains("grace time of each after SIGTERM"));
    }

    #[test]
    fn a_call_without_an_answer_may_have_worked_and_another_one_has_not() {
        let after = Duration::from_secs(1);
        let lost = ClientError::NoAnswer { after };
        assert!(matches!(
            unknown("w", Outcome::Removed, lost),
            Failure::WorkspaceUnknown { .. }
        ));
        let no = ClientError::Protocol("no");
        assert!(matches!(
            unknown("w", Outcome::Created, no),
            Failure::Client(_)
        ));
    }
}
