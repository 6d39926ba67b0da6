//! `prn stop`.

use std::time::Duration;

use clap::Args;
use prn_client::{
    Client, ClientError, LabelSelector, Process, ProcessId, Selector, State, StopSignal,
};
use prn_proto::units::{Time, show_duration};

use crate::confirm::{can_ask, confirm};
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::fleet::fault::FleetFault;
use crate::fleet::{naming, stopping};
use crate::lasting::wait::{patiently, patiently_asking};
use crate::output;
use crate::output::format::FormatFlag;
use crate::which::connection::{Connection, Remote};
use crate::which::fleet::{FleetFlag, OpenFleet};
use crate::which::hosts::{Host, Hosts, Servers};
use crate::which::reference::Reference;
use crate::which::search::Search;
use crate::which::targets::{Found, Target, selected};

/// For so long it is asked who of a tree is still alive, before that is said.
const LOOK: Duration = Duration::from_secs(2);

/// Stop processes with everything they started
///
/// SIGTERM first, SIGKILL to what is left after the grace time. Stopping a stopped process is
/// no error. Of several, all are tried. At a terminal it is said after a second what still lives. On
/// several servers (--context 'web*') each process of that name, or with these labels, is stopped.
#[derive(Debug, Args)]
pub struct Stop {
    /// Which process: its id, the beginning of its id, or its name. Several are stopped at once
    #[arg(value_name = "ID", required_unless_present_any = ["selector", "all"], conflicts_with_all = ["selector", "all"])]
    pub ids: Vec<Reference>,
    /// Those whose labels match: key=value, key!=value, key or !key, several with commas between; a comma of a value is \,
    #[arg(short = 'l', long, conflicts_with = "all")]
    pub selector: Option<LabelSelector>,
    /// All that run. It is asked first; without a terminal it needs --yes
    #[arg(short, long)]
    pub all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// How to stop it
    #[arg(short, long, value_enum, default_value = "term", ignore_case = true)]
    pub signal: StopSignal,
    /// Time between SIGTERM and SIGKILL, instead of what it was started with
    #[arg(
        short = 't',
        long,
        value_name = "TIME",
        allow_negative_numbers = true,
        aliases = ["time", "timeout"]
    )]
    pub grace: Option<Time>,
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

pub async fn stop(args: Stop) -> Result<Exit, Failure> {
    if let Some(open) = args.fleet.open(&args.connection)? {
        return of_fleet(&args, &open).await;
    }
    let is_asked = args.all && !args.yes;
    if is_asked {
        can_ask()?;
    }
    let remote = match Servers::of(&args.connection)? {
        Servers::One(remote) => remote,
        Servers::Several(hosts) => return everywhere(&args, &hosts).await,
    };
    let client = remote.connect().await?;
    let found = if args.ids.is_empty() {
        let mut selector = Selector::default();
        selector.state = Some(State::Running);
        if let Some(LabelSelector(labels)) = args.selector {
            selector.labels = labels;
        }
        Found::selected(&client, selector).await?
    } else {
        Found::named(&client, &args.ids).await?
    };
    let question = format!("Stop {}?", output::count(found.targets.len()));
    if is_asked && !found.targets.is_empty() && !confirm(&question)? {
        output::notice("nothing was stopped");
        return Ok(exit::ERROR);
    }
    let how = (args.signal, args.grace.map(|Time(grace)| grace));
    let stop = |target: Target| stop_one(client.clone(), target.id, how);
    let is_one = args.ids.len() == 1;
    let mut stopped = Vec::new();
    let exit = found
        .each(stop, |_, process| {
            let exit = stuck(&process);
            stopped.push(process);
            Ok(exit)
        })
        .await?;
    match stopped.as_slice() {
        [process] if is_one => output::process(process, &args.format)?,
        // It was said that there are none.
        [] if !args.format.output.is_whole() => {}
        several => output::processes(several, &args.format, &output::Layout::default())?,
    }
    for process in &stopped {
        tell_stuck(process);
    }
    Ok(exit)
}

/// On several servers. What fails with one keeps no other one from it.
async fn everywhere(args: &Stop, hosts: &Hosts) -> Result<Exit, Failure> {
    let running = Some(State::Running);
    if args.all && !args.yes && !is_confirmed(hosts).await? {
        output::notice("nothing was stopped");
        return Ok(exit::ERROR);
    }
    let search = Search::of(&args.ids, args.selector.as_ref(), running);
    let how = (args.signal, args.grace.map(|Time(grace)| grace));
    let ask = async |host: &Host, _: &Remote, client: Client| {
        let stop = |target: Target| stop_one(client.clone(), target.id, how);
        search.each(host, &client, stop).await
    };
    let answers = hosts.ask(ask).await.flat();
    let stopped = answers.answers;
    if !stopped.is_empty() || args.format.output.is_whole() {
        let layout = output::Layout::default();
        output::processes_of_hosts(&stopped, &args.format, &layout)?;
    }
    let mut exit = answers.exit.highest(search.finish(answers.is_whole));
    for of in &stopped {
        exit = exit.highest(stuck(&of.value));
        tell_stuck(&of.value);
    }
    Ok(exit)
}

/// Asks whether all that run on them are to be stopped. Those that start meanwhile are, too.
async fn is_confirmed(hosts: &Hosts) -> Result<bool, Failure> {
    let ask = async |_: &Host, _: &Remote, client: Client| {
        let mut selector = Selector::default();
        selector.state = Some(State::Running);
        selected(&client, selector).await
    };
    let count = hosts.ask(ask).await.flat().answers.len();
    let servers = hosts.all().len();
    let question = format!("Stop {} on {servers} servers?", output::count(count));
    Ok(count == 0 || confirm(&question)?)
}

/// Of a fleet: a job that waits is withdrawn, the process of one that runs is stopped.
async fn of_fleet(args: &Stop, open: &OpenFleet) -> Result<Exit, Failure> {
    if args.all || args.selector.is_some() {
        let why =
            "--all and -l are of processes: name each job, as `prn fleet jobs -q --running` does";
        return Err(FleetFault::NotOfFleets(why).into());
    }
    let how = (args.signal, args.grace.map(|Time(grace)| grace));
    let (mut jobs, mut exit) = (Vec::new(), exit::OK);
    for reference in &args.ids {
        let stopped = async {
            let id = naming::resolve(open, reference).await?;
            let what = || format!("waiting for job {id} to end");
            patiently(what, stopping::end(open, &id, how)).await
        };
        match stopped.await {
            Ok(view) => {
                if !view.is_over() {
                    exit = exit.highest(exit::ERROR);
                }
                jobs.push(output::FleetJob::of(&view));
            }
            Err(failure) if args.ids.len() == 1 => return Err(failure),
            Err(failure) => {
                let line = output::error_line(&failure, failure.hint().as_deref());
                output::notice(&format!("{reference}: {line}"));
                exit = exit.highest(failure.exit());
            }
        }
    }
    match jobs.as_slice() {
        [job] if args.ids.len() == 1 => output::fleet_job(job, &args.format)?,
        jobs => output::fleet_jobs(jobs, &args.format)?,
    }
    Ok(exit)
}

async fn stop_one(
    client: Client,
    id: ProcessId,
    (signal, grace): (StopSignal, Option<Duration>),
) -> Result<Process, Failure> {
    let stopped = client.stop(id, signal, grace);
    let what = async || {
        let what = waiting(id, signal, grace);
        match living(&client, id).await {
            Some(living) => format!("{what}; still alive: {living}"),
            None => what,
        }
    };
    patiently_asking(what, stopped)
        .await
        .map_err(|error| unknown(id, error))
}

/// Who of a tree is alive, by name and state.
async fn living(client: &Client, id: ProcessId) -> Option<String> {
    let usages = tokio::time::timeout(LOOK, client.usage(id, true))
        .await
        .ok()?
        .ok()?;
    let tasks = &usages.usages.first()?.tasks;
    (!tasks.is_empty()).then(|| output::named_tasks(tasks))
}

fn stuck(process: &Process) -> Exit {
    match process.status.state {
        State::Stopped => exit::OK,
        State::Running => exit::ERROR,
    }
}

fn tell_stuck(process: &Process) {
    if process.status.state == State::Running {
        let name = format!("process {}", process.id);
        output::notice(&output::still_alive(&name, &process.status));
    }
}

/// What a stop waits for that takes long.
pub fn waiting(id: ProcessId, signal: StopSignal, grace: Option<Duration>) -> String {
    let killed = match (signal, grace) {
        (StopSignal::Kill, _) | (StopSignal::Term, Some(Duration::ZERO)) => {
            "SIGKILL was sent".to_owned()
        }
        (StopSignal::Term, Some(grace)) => {
            format!(
                "what is left {} after SIGTERM is killed",
                show_duration(grace)
            )
        }
        (StopSignal::Term, None) => {
            "what is left after its grace time, by default 10s, is killed".to_owned()
        }
    };
    format!("waiting for process {id} to end: {killed}")
}

/// A stop that was sent and not answered may have worked.
fn unknown(id: ProcessId, error: ClientError) -> Failure {
    let may_have_worked = matches!(error, ClientError::NoAnswer { .. } | ClientError::Lost(_));
    if may_have_worked {
        Failure::StopUnknown { id, source: error }
    } else {
        error.into()
    }
}
