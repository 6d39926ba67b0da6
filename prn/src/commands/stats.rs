//! `prn stats`.

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;
use prn_client::{Client, ClientError, ListRequest, Process, ProcessId, Selector, State};
use prn_proto::units::Time;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::format::{Format, FormatFlag};
use crate::output::{self, Sample, Screen};
use crate::which::connection::Connection;
use crate::which::hosts::{Hosts, Servers};
use crate::which::reference::Reference;
use crate::which::selection::Selection;
use crate::which::targets::Found;

/// Before the first sample that says how much a second.
const FIRST: Duration = Duration::from_secs(1);

/// Show what processes take of the machine, as it changes
///
/// Without ids, of all that run. CPU % is of one CPU; HELD % is how much of the time the CPU limit held
/// a process back. -o wide says how long it waited for CPUs, memory and disks in the last ten seconds.
/// Below the table it is said why a process is slow. On a terminal the table is drawn again and again;
/// else each sample is printed, with -o jsonl an object for each process. Ends when all that are named
/// have ended.
#[derive(Debug, Args)]
pub struct Stats {
    /// Which: ids, beginnings of ids, or names. Without any, and without a selection: all that run
    #[arg(value_name = "ID", conflicts_with_all = ["running", "finished", "failed", "succeeded", "name", "workspace", "started_by", "selector"])]
    pub ids: Vec<Reference>,
    /// Print one sample and end: it takes a second
    #[arg(long)]
    pub no_stream: bool,
    /// Time between two samples
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_interval)]
    pub interval: Time,
    /// It is for `prn top`: each sample stands below the one before, on a terminal too.
    #[arg(skip)]
    pub is_for_top: bool,
    /// Which.
    #[command(flatten)]
    pub selection: Selection,
    /// How to print the result.
    #[command(flatten)]
    pub format: FormatFlag,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

pub fn parse_interval(text: &str) -> Result<Time, String> {
    let time: Time = text.parse().map_err(|error| format!("{error}"))?;
    if time.0 < Duration::from_millis(100) {
        return Err("nothing is to be seen in less than 100ms".to_owned());
    }
    Ok(time)
}

pub async fn stats(args: Stats) -> Result<Exit, Failure> {
    let remote = match Servers::of(&args.connection)? {
        Servers::One(remote) => remote,
        Servers::Several(hosts) => return everywhere(&args, &hosts).await,
    };
    let client = remote.connect().await?;
    let found = Found::named(&client, &args.ids).await?;
    let ids: Vec<_> = found.targets.iter().map(|target| target.id).collect();
    if ids.is_empty() && !args.ids.is_empty() {
        return Ok(found.exit);
    }
    let selector = selector(&args, &ids);
    let reader = output::Reader::of_stdout()?;
    let mut screen = is_drawn(&args).then(Screen::default);
    let (mut before, mut processes) = sample(&client, &ids, &selector).await?;
    let mut pause = FIRST.min(args.interval.0);
    if args.no_stream {
        pause = FIRST;
    }
    loop {
        if has_ended(&ids, &processes) {
            pause = Duration::ZERO;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            error = reader.left() => return Err(error.into()),
        }
        let (now, known) = sample(&client, &ids, &selector).await?;
        let stats = now.since(&before, &known);
        match &mut screen {
            Some(screen) => screen.show(&output::stats_text(&stats, &args.format))?,
            None => output::stats(&stats, &args.format)?,
        }
        if args.no_stream || has_ended(&ids, &known) {
            return Ok(found.exit);
        }
        (before, processes) = (now, known);
        pause = args.interval.0;
    }
}

/// Of several servers: one sample of what is selected.
async fn everywhere(args: &Stats, hosts: &Hosts) -> Result<Exit, Failure> {
    let why = match (args.no_stream, args.ids.is_empty()) {
        (false, _) if args.is_for_top => {
            "of several servers one sample is printed: leave out --batch and --interval, or take `prn stats --no-stream`"
        }
        (false, _) => "of several servers there is one sample: add --no-stream",
        (true, false) => "a process is one server's: name that with --context, or select with -l",
        (true, true) => "",
    };
    if !why.is_empty() {
        return Err(Failure::Usage(why.to_owned()));
    }
    let selector = selector(args, &[]);
    let answers = hosts
        .ask(async |_, _, client| {
            let (before, _) = sample(&client, &[], &selector).await?;
            tokio::time::sleep(FIRST).await;
            let (now, known) = sample(&client, &[], &selector).await?;
            Ok(now.since(&before, &known))
        })
        .await
        .flat();
    output::stats_of_hosts(&answers.answers, &args.format)?;
    Ok(answers.exit)
}

fn is_drawn(args: &Stats) -> bool {
    let is_table = matches!(args.format.output, Format::Table | Format::Wide);
    is_table && !args.no_stream && !args.is_for_top && io::stdout().is_terminal()
}

/// Those that are named; else those that are selected, and run unless it is said otherwise.
fn selector(args: &Stats, ids: &[ProcessId]) -> Selector {
    let mut selector = args.selection.of_users();
    if ids.is_empty() {
        let says_state = selector.state.is_some() || selector.outcome.is_some();
        if !says_state {
            selector.state = Some(State::Running);
        }
    } else {
        selector = Selector::default();
        selector.processes = ids.to_vec();
    }
    selector
}

/// Nothing changes any more of those that are named.
fn has_ended(ids: &[ProcessId], known: &[Process]) -> bool {
    let ended = |process: &Process| process.status.state == State::Stopped;
    !ids.is_empty() && known.iter().all(ended)
}

/// What they take, and what they are.
async fn sample(
    client: &Client,
    ids: &[ProcessId],
    selector: &Selector,
) -> Result<(Sample, Vec<Process>), ClientError> {
    let usages = async {
        if ids.is_empty() {
            client.usage(selector.clone(), false).await
        } else {
            client.usage(ids, false).await
        }
    };
    let processes = async {
        let mut request = ListRequest::default();
        request.selector = Some(selector.clone());
        let mut pages = client.pages(request);
        let mut all = Vec::new();
        while let Some(page) = pages.next().await? {
            all.extend(page);
        }
        Ok(all)
    };
    let (usages, processes) = tokio::try_join!(usages, processes)?;
    Ok((Sample::new(usages), processes))
}
