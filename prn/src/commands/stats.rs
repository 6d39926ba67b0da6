//! `prn stats`.

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;
use prn_client::{Client, ClientError, ListRequest, Process, ProcessId, Selector, State};
use prn_proto::units::Time;
use tokio::time::Instant;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::lasting::several::{Feed, Heard, Left, Manner, Several, Tell, Tries};
use crate::output::format::{Format, FormatFlag};
use crate::output::{self, OfHost, Sample, Screen};
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
/// have ended. Of several servers (--context 'web*') it is one table with the name of each one's context;
/// one that is not there is tried again.
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

/// Of several servers: what is selected.
async fn everywhere(args: &Stats, hosts: &Hosts) -> Result<Exit, Failure> {
    if !args.ids.is_empty() {
        let why =
            "a process is one server's: name that with --context, or select with --name or -l";
        return Err(Failure::Usage(why.to_owned()));
    }
    let selector = selector(args, &[]);
    if !args.no_stream {
        return stream_all(args, hosts, &selector).await;
    }
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

/// The same again and again. All servers are sampled at the same instants; a sample is shown when all
/// that are there have answered, or else at the next instant, without those that have not.
async fn stream_all(args: &Stats, hosts: &Hosts, selector: &Selector) -> Result<Exit, Failure> {
    let instants = Instants::from_now(args.interval.0);
    let is_drawn = is_drawn(args);
    let manner = if is_drawn {
        Manner::Drawn
    } else {
        Manner::Said
    };
    let feed = || Sampling { selector, instants };
    let mut several = Several::new(hosts, manner, Tries::Always, feed);
    let mut round = Round::new(hosts);
    let mut screen = is_drawn.then(Screen::default);
    let reader = output::Reader::of_stdout()?;
    let mut end = instants.after(Instant::now());
    loop {
        let is_whole = tokio::select! {
            biased;
            error = reader.left() => return Err(error.into()),
            () = tokio::time::sleep_until(end) => {
                end = instants.after(Instant::now());
                round.has_any()
            }
            heard = several.next() => match heard {
                None => return Ok(several.exit()),
                Some(Heard::Piece { host, piece }) => {
                    round.put(host, piece);
                    round.has_all(|host| several.is_there(host))
                }
                Some(Heard::Link { host }) => {
                    round.forget(host);
                    false
                }
            },
        };
        if is_whole {
            round.end();
        }
        match &mut screen {
            Some(screen) => {
                let text = output::stats_of_hosts_text(
                    &round.shown(hosts),
                    &several.below(),
                    &args.format,
                );
                screen.show(&text)?;
            }
            None if is_whole => output::stats_of_hosts(&round.shown(hosts), &args.format)?,
            None => {}
        }
    }
}

/// The instants at which all servers are sampled.
#[derive(Debug, Clone, Copy)]
struct Instants {
    began: Instant,
    first: Duration,
    interval: Duration,
}

impl Instants {
    fn from_now(interval: Duration) -> Self {
        Self {
            began: Instant::now(),
            first: FIRST.min(interval),
            interval,
        }
    }

    /// The first one that is later.
    fn after(self, now: Instant) -> Instant {
        self.began + next(self.first, self.interval, now - self.began)
    }

    /// The first one that is far enough from a sample for another one to say how much a second.
    fn after_sample(self, now: Instant) -> Instant {
        self.after(now + self.first / 2)
    }
}

/// The first of `first`, `first + interval`, … that is later than `now`.
fn next(first: Duration, interval: Duration, now: Duration) -> Duration {
    let Some(past) = now.checked_sub(first) else {
        return first;
    };
    let whole = past.as_nanos() / interval.as_nanos().max(1);
    let whole = u32::try_from(whole).unwrap_or(u32::MAX);
    first + interval.saturating_mul(whole.saturating_add(1))
}

/// What the processes of one server take, sample by sample.
struct Sampling<'a> {
    selector: &'a Selector,
    instants: Instants,
}

impl Feed for Sampling<'_> {
    type Piece = Vec<output::Stats>;

    async fn tell(&mut self, client: &Client, to: &mut Tell<Self::Piece>) -> Result<(), Left> {
        let (mut before, _) = sample(client, &[], self.selector).await?;
        to.connected().await?;
        let mut at = self.instants.after_sample(Instant::now());
        loop {
            tokio::time::sleep_until(at).await;
            let (now, known) = sample(client, &[], self.selector).await?;
            to.told(now.since(&before, &known)).await?;
            before = now;
            at = self.instants.after(Instant::now());
        }
    }
}

/// The samples of all servers at one instant.
#[derive(Debug)]
struct Round {
    /// Those that have come since the last one was shown.
    new: Vec<Option<Vec<output::Stats>>>,
    /// Those that are shown.
    shown: Vec<Option<Vec<output::Stats>>>,
}

impl Round {
    fn new(hosts: &Hosts) -> Self {
        let none = || hosts.all().iter().map(|_| None).collect();
        Self {
            new: none(),
            shown: none(),
        }
    }

    fn put(&mut self, host: usize, sample: Vec<output::Stats>) {
        if let Some(new) = self.new.get_mut(host) {
            *new = Some(sample);
        }
    }

    /// It is not known what its processes take: it is not there, or has only come back.
    fn forget(&mut self, host: usize) {
        for all in [&mut self.new, &mut self.shown] {
            if let Some(sample) = all.get_mut(host) {
                *sample = None;
            }
        }
    }

    fn has_any(&self) -> bool {
        self.new.iter().any(Option::is_some)
    }

    fn has_all(&self, is_there: impl Fn(usize) -> bool) -> bool {
        let mut each = self.new.iter().enumerate();
        each.all(|(host, new)| new.is_some() || !is_there(host))
    }

    /// What is new is what is shown.
    fn end(&mut self) {
        let none = self.new.iter().map(|_| None).collect();
        self.shown = std::mem::replace(&mut self.new, none);
    }

    fn shown(&self, hosts: &Hosts) -> Vec<OfHost<output::Stats>> {
        let each = hosts.all().iter().zip(&self.shown);
        each.flat_map(|(host, stats)| {
            let stats = stats.iter().flatten().cloned();
            stats.map(|value| OfHost {
                host: host.name.clone(),
                value,
            })
        })
        .collect()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_servers_are_sampled_at_the_same_instants() {
        let next = |first, interval, now| {
            let next = super::next(
                Duration::from_millis(first),
                Duration::from_millis(interval),
                Duration::from_millis(now),
            );
            next.as_millis()
        };
        assert_eq!(next(1000, 5000, 0), 1000);
        assert_eq!(next(1000, 5000, 999), 1000);
        assert_eq!(next(1000, 5000, 1000), 6000, "that one is now");
        assert_eq!(next(1000, 5000, 5999), 6000);
        assert_eq!(next(100, 100, 86_400_000), 86_400_100);
    }
}
