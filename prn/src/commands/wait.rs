//! `prn wait`.

use std::cell::Cell;
use std::io;
use std::time::{Duration, SystemTime};

use clap::Args;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use prn_client::{Client, ClientError, Process, ProcessId, WaitCondition, WaitRequest};
use prn_proto::units::{Time, show_duration};
use tokio::time::Instant;

use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::fleet::fault::FleetFault;
use crate::fleet::naming;
use crate::fleet::waiting::{Awaited, ends as ends_of_jobs};
use crate::lasting::waiting::Waiting;
use crate::output;
use crate::which::connection::{Connection, Remote};
use crate::which::fleet::{FleetFlag, OpenFleet};
use crate::which::hosts::{Host, Hosts, Servers};
use crate::which::search::Search;
use crate::which::targets::{Target, Targets};

/// Wait until processes have ended, and exit as they did
///
/// For one process: its exit code is printed, and is that of prn, as of `prn run`. For several: a line
/// for each as it ends, the process as it was named and its code; prn exits with 0 if all did, else with
/// the code of the first that did not. A connection that is lost is made again. On several servers
/// (--context 'web*') a process is looked for on each, and each line begins with the name of the context.
#[derive(Debug, Args)]
pub struct Wait {
    /// Which processes. With -l: those that there are now, also those that have ended.
    #[command(flatten)]
    pub targets: Targets,
    /// Wait for the first of them alone, and exit as it did
    #[arg(long)]
    pub any: bool,
    /// Give up after this time, with the exit code 124; the processes go on
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<Time>,
    /// Wait for the main process alone, not for what it has started and left
    #[arg(long)]
    pub main: bool,
    /// Of a fleet.
    #[command(flatten)]
    pub fleet: FleetFlag,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

pub async fn wait(args: Wait) -> Result<Exit, Failure> {
    let end = args
        .timeout
        .map(|Time(timeout)| (timeout, Instant::now() + timeout));
    if let Some(open) = args.fleet.open(&args.connection)? {
        return of_fleet(&args, &open, end).await;
    }
    let remote = match Servers::of(&args.connection)? {
        Servers::One(remote) => remote,
        Servers::Several(hosts) => return everywhere(&args, &hosts, end).await,
    };
    let client = remote.connect().await?;
    let found = args.targets.find(&client, None).await?;
    if found.targets.is_empty() && args.targets.selector.is_some() {
        // It was said that there are none.
        return Ok(exit::RUN_FAILED);
    }
    let first = Cell::new(exit::OK);
    let mut left = Left {
        host: None,
        targets: found.targets.clone(),
        is_one: found.targets.len() == 1 && args.targets.ids.len() == 1,
        first: &first,
    };
    if found.exit != exit::OK {
        left.note(exit::RUN_FAILED);
    }
    let mut waiting = Waiting::new(&remote, client);
    let waited = until(end, ends(&mut waiting, &mut left, &args)).await;
    match waited {
        Ok(ended) => ended.map(|_| first.get()),
        Err(timeout) => Ok(timed_out(timeout, &left.names())),
    }
}

/// For jobs of a fleet.
async fn of_fleet(
    args: &Wait,
    open: &OpenFleet,
    end: Option<(Duration, Instant)>,
) -> Result<Exit, Failure> {
    if args.main || args.targets.selector.is_some() {
        let why = "--main and -l are of processes: name each job";
        return Err(FleetFault::NotOfFleets(why).into());
    }
    let mut jobs = Vec::new();
    for reference in &args.targets.ids {
        let id = naming::resolve(open, reference).await?;
        let shown = reference.to_string();
        jobs.push(Awaited { shown, id });
    }
    let left = Cell::new(jobs.iter().map(|job| job.shown.clone()).collect());
    match until(end, ends_of_jobs(open, &jobs, args.any, &left)).await {
        Ok(ended) => ended,
        Err(timeout) => Ok(timed_out(timeout, &left.take())),
    }
}

/// Up to this instant; else the time that was given until then.
async fn until<T>(
    end: Option<(Duration, Instant)>,
    wait: impl Future<Output = T>,
) -> Result<T, Duration> {
    match end {
        None => Ok(wait.await),
        Some((timeout, end)) => (tokio::time::timeout_at(end, wait).await).map_err(|_| timeout),
    }
}

/// Waits for those of one server, and tells of each as it ends. Whether any has.
async fn ends(
    waiting: &mut Waiting<'_>,
    left: &mut Left<'_>,
    args: &Wait,
) -> Result<bool, Failure> {
    let mut has_any = false;
    while !left.targets.is_empty() {
        let mut request = WaitRequest::default();
        request.processes = left.targets.iter().map(|target| target.id).collect();
        // Each is told of as it ends.
        request.any = true;
        if args.main {
            request.condition = WaitCondition::MainExited;
        }
        let waited = waiting.wait(&request).await;
        let mut waited = waited.map_err(|error| left.lost(error))?;
        if args.any {
            waited.processes.sort_by_key(end_of);
            waited.processes.truncate(1);
        }
        has_any |= !(waited.processes.is_empty() && waited.removed.is_empty());
        for process in &waited.processes {
            left.ended(process)?;
        }
        for id in &waited.removed {
            left.removed(*id)?;
        }
        if args.any && has_any {
            break;
        }
    }
    Ok(has_any)
}

/// Waits for those of several servers. What fails with one holds up no other one.
async fn everywhere(
    args: &Wait,
    hosts: &Hosts,
    end: Option<(Duration, Instant)>,
) -> Result<Exit, Failure> {
    let first = Cell::new(exit::OK);
    let targets = &args.targets;
    let spread = Spread {
        args,
        hosts,
        search: Search::of(&targets.ids, targets.selector.as_ref(), None),
        unanswered: Cell::new(hosts.all().len()),
        is_unsure: Cell::new(false),
    };
    let of_host = |host| Left {
        host: Some(host),
        targets: Vec::new(),
        is_one: false,
        first: &first,
    };
    let mut lefts: Vec<_> = hosts.all().iter().map(of_host).collect();
    let each = hosts.all().iter().zip(&mut lefts);
    let mut each: FuturesUnordered<_> = each.map(|(host, left)| spread.on(host, left)).collect();
    let all = async {
        while let Some(ended) = each.next().await {
            if ended? && args.any {
                break;
            }
        }
        Ok(first.get())
    };
    let waited = until(end, all).await;
    drop(each);
    match waited {
        Ok(exit) => exit,
        Err(timeout) => {
            let left = lefts.iter().flat_map(Left::names);
            Ok(timed_out(timeout, &left.collect::<Vec<_>>()))
        }
    }
}

/// What is waited for on several servers.
struct Spread<'a> {
    args: &'a Wait,
    hosts: &'a Hosts,
    search: Search<'a>,
    /// Servers that have not answered yet.
    unanswered: Cell<usize>,
    /// One has not answered at all.
    is_unsure: Cell<bool>,
}

impl Spread<'_> {
    /// On one of them; whether any has ended there.
    async fn on(&self, host: &Host, left: &mut Left<'_>) -> Result<bool, Failure> {
        let ended = async {
            let (remote, client) = self.find(host, left).await?;
            ends(&mut Waiting::new(&remote, client), left, self.args).await
        };
        match ended.await {
            Err(failure) if !failure.is_silent() => {
                output::notice(&host.line(&failure));
                left.note(Failure::Run(Box::new(failure)).exit());
                Ok(false)
            }
            ended => ended,
        }
    }

    async fn find(&self, host: &Host, left: &mut Left<'_>) -> Result<(Remote, Client), Failure> {
        let found = async {
            let (remote, client) = self.hosts.connect(host).await?;
            left.targets = self.search.on(host, &client).await?;
            Ok((remote, client))
        };
        let found = found.await;
        if found.is_err() {
            self.is_unsure.set(true);
        }
        self.unanswered.set(self.unanswered.get().saturating_sub(1));
        if self.unanswered.get() == 0 {
            if !self.is_unsure.get() {
                self.search.tell_missing();
            }
            if self.search.exit() != exit::OK || !self.search.has_any() {
                left.note(exit::RUN_FAILED);
            }
        }
        found
    }
}

/// What is said at the end of the time.
fn timed_out(timeout: Duration, left: &[String]) -> Exit {
    let timeout = show_duration(timeout);
    if left.is_empty() {
        output::notice(&format!("not all servers have answered within {timeout}"));
    } else {
        let names: Vec<_> = left.iter().map(String::as_str).collect();
        output::notice(&format!(
            "not ended within {timeout}: {}",
            output::some_of(&names)
        ));
    }
    exit::RUN_TIMED_OUT
}

/// When there was no more to wait for.
fn end_of(process: &Process) -> Option<SystemTime> {
    let status = &process.status;
    status.ended_at.or(status.main_exited_at)
}

/// Those of one server that are still waited for.
struct Left<'a> {
    /// The server, if there are several.
    host: Option<&'a Host>,
    targets: Vec<Target>,
    /// It is one alone, which needs no name.
    is_one: bool,
    /// The first code that was not 0, of all servers.
    first: &'a Cell<Exit>,
}

impl Left<'_> {
    fn take(&mut self, id: ProcessId) -> Option<Target> {
        let at = self.targets.iter().position(|target| target.id == id)?;
        Some(self.targets.remove(at))
    }

    fn ended(&mut self, process: &Process) -> io::Result<()> {
        let Some(target) = self.take(process.id) else {
            return Ok(());
        };
        let status = &process.status;
        let code = Exit::of_process(status.exit.as_ref(), status.left_behind);
        match code {
            Some(code) => self.tell(&target, &code.0.to_string())?,
            None => self.tell(&target, "unknown")?,
        }
        self.note(code.unwrap_or(exit::RUN_FAILED));
        Ok(())
    }

    fn removed(&mut self, id: ProcessId) -> io::Result<()> {
        let Some(target) = self.take(id) else {
            return Ok(());
        };
        output::notice(&format!(
            "{} was removed while it was waited for: nobody knows how it ended",
            self.name(&target)
        ));
        self.tell(&target, "unknown")?;
        self.note(exit::RUN_FAILED);
        Ok(())
    }

    fn tell(&self, target: &Target, code: &str) -> io::Result<()> {
        let line = if self.is_one {
            code.to_owned()
        } else {
            format!("{} {code}", self.name(target))
        };
        output::told(&line).map(|_| ())
    }

    fn note(&self, code: Exit) {
        if self.first.get() == exit::OK {
            self.first.set(code);
        }
    }

    /// As it was named, behind its server if there are several.
    fn name(&self, target: &Target) -> String {
        match self.host {
            Some(host) => format!("{} {}", host.name, target.shown),
            None => target.shown.clone(),
        }
    }

    fn names(&self) -> Vec<String> {
        self.targets
            .iter()
            .map(|target| self.name(target))
            .collect()
    }

    /// What a wait that failed is to be called.
    fn lost(&self, error: ClientError) -> Failure {
        match (&error, self.targets.first()) {
            (ClientError::ProcessLost, Some(target)) => Failure::Lost {
                which: target.shown.clone(),
                more: self.targets.len().saturating_sub(1),
            },
            _ => error.into(),
        }
    }
}
