//! `prn logs`.

use std::cell::Cell;
use std::io;
use std::num::ParseIntError;
use std::time::SystemTime;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use futures_util::future::join_all;
use prn_client::{
    Client, ClientError, Event, LabelSelector, OutputRequest, ProcessId, Source, Tail,
};
use prn_proto::units::{Moment, SizeOrZero};

use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::fleet::attempts::Attempts;
use crate::fleet::fault::FleetFault;
use crate::fleet::naming;
use crate::fleet::placed::Placed;
use crate::lasting::excerpt::{self, Bounds, Piece};
use crate::lasting::reading::{Ending, Reading};
use crate::output::{self, Break, Chunk, Lines, Relay};
use crate::which::connection::{Connection, Remote};
use crate::which::fleet::{FleetFlag, OpenFleet};
use crate::which::hosts::{Host, Hosts, Servers};
use crate::which::reference::Reference;
use crate::which::search::Search;
use crate::which::targets::Targets;

/// Fewest digits of an id that stand before a line.
const LABEL_MIN: usize = 8;

/// Print a process's output from its first byte, then follow it to its end
///
/// The process's standard output goes to standard output and its standard error to standard
/// error, byte for byte. Of several processes, whole lines are printed, each after the first
/// digits of its process's id; a line over 64 KiB is cut, and its further parts have a + there.
/// When a connection is lost, prn goes on where it was. Of several servers (--context 'web*') lines
/// stand behind the name of the context; a process is looked for on each of them.
///
/// WHEN is a time by the server's clock: a span before now (10m, 1h30m), or an instant as
/// --timestamps prints it (2030-01-31T12:00:00Z). Times are kept to the millisecond.
#[derive(Debug, Args)]
pub struct Logs {
    /// Which process: its id, the beginning of its id, or its name; or several
    #[arg(
        value_name = "ID",
        required_unless_present = "selector",
        conflicts_with = "selector"
    )]
    pub ids: Vec<Reference>,
    /// Those whose labels match, of those that there are now: key=value, key!=value, key or !key, several with
    /// commas between; a comma of a value is \,
    #[arg(short = 'l', long)]
    pub selector: Option<LabelSelector>,
    /// Go on to the end, as it does anyway
    #[arg(short, long, conflicts_with = "no_follow")]
    pub follow: bool,
    /// Print what there is by now and end
    #[arg(long)]
    pub no_follow: bool,
    /// Begin with the last so many lines; 0 for new ones alone, `all` for all of them. Both streams' lines are counted
    /// together, in the order in which they came, unless only one is asked for
    #[arg(
        short = 'n',
        long,
        value_name = "LINES",
        conflicts_with = "tail_bytes",
        value_parser = parse_tail,
        allow_negative_numbers = true
    )]
    pub tail: Option<Lasting>,
    /// Begin with the last so many bytes (4096, 64K)
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    pub tail_bytes: Option<SizeOrZero>,
    /// Begin with what came at this time or later
    #[arg(long, value_name = "WHEN")]
    pub since: Option<Moment>,
    /// End before what came at this time or later; if it is still to come, follow until then
    #[arg(long, value_name = "WHEN")]
    pub until: Option<Moment>,
    /// Begin at this byte of the output, both streams counted together
    #[arg(long, value_name = "BYTE", allow_negative_numbers = true, visible_alias = "from", conflicts_with_all = ["tail", "tail_bytes", "since"])]
    pub offset: Option<u64>,
    /// Print so many bytes at most (4096, 64K), and where to go on as the last line of standard error:
    /// {"next_offset":4096,"truncated":true,"complete":false}. Without --no-follow, so many are waited for.
    /// Scripts take -o json: a process may print such a line itself
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    pub max_bytes: Option<SizeOrZero>,
    /// With --max-bytes: print the bytes and where to go on as one value
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        requires = "max_bytes",
        conflicts_with = "timestamps"
    )]
    pub output: Option<Whole>,
    /// Standard output alone
    #[arg(long, conflicts_with = "stderr")]
    pub stdout: bool,
    /// Standard error alone
    #[arg(long)]
    pub stderr: bool,
    /// Put the time at which the server got it before each line (UTC, microseconds)
    #[arg(short, long)]
    pub timestamps: bool,
    /// Of a fleet.
    #[command(flatten)]
    pub fleet: FleetFlag,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

/// How many lines an output begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasting {
    /// All that there are.
    All,
    /// The last ones.
    Last(u64),
}

fn parse_tail(text: &str) -> Result<Lasting, ParseIntError> {
    match text {
        "all" => Ok(Lasting::All),
        text => text.parse().map(Lasting::Last),
    }
}

/// How a part of an output is printed as one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Whole {
    /// As JSON: text as it is, other bytes as base64.
    Json,
}

pub async fn logs(args: Logs) -> Result<Exit, Failure> {
    if let Some(open) = args.fleet.open(&args.connection)? {
        return of_fleet(&args, &open).await;
    }
    let servers = Servers::of(&args.connection)?;
    let request = request(&args, matches!(servers, Servers::Several(_)))?;
    match servers {
        Servers::One(remote) => here(&args, &remote, request).await,
        Servers::Several(hosts) => everywhere(&args, &hosts, request).await,
    }
}

/// Of one server.
async fn here(args: &Logs, remote: &Remote, request: OutputRequest) -> Result<Exit, Failure> {
    let relay = match args.output {
        None => Some(start(request)?),
        Some(Whole::Json) => None,
    };
    let client = remote.connect().await?;
    let targets = Targets {
        ids: args.ids.clone(),
        selector: args.selector.clone(),
    };
    let found = targets.find(&client, None).await?;
    let ids: Vec<_> = found.targets.iter().map(|target| target.id).collect();
    let exit = match (&*ids, relay) {
        ([], _) => exit::OK,
        ([id], None) => whole(Reading::new(remote, client, *id, request)).await?,
        ([id], Some(relay)) if args.selector.is_none() => {
            let reading = Reading::new(remote, client, *id, request);
            one(reading, request, args.timestamps, relay).await?
        }
        (_, None) => exit::OK,
        (_, Some(relay)) => several(remote, &client, &ids, request, args.timestamps, relay).await?,
    };
    Ok(exit.highest(found.exit))
}

/// Of a job, from the host that has it: of the attempt that there is, and then of each that follows.
async fn of_fleet(args: &Logs, open: &OpenFleet) -> Result<Exit, Failure> {
    let request = request(args, false)?;
    let ([reference], None) = (&*args.ids, &args.selector) else {
        let why = "of a fleet, the output of one job is read: name one";
        return Err(FleetFault::NotOfFleets(why).into());
    };
    let id = naming::resolve(open, reference).await?;
    let mut attempts = Attempts::new(open, &id);
    if args.no_follow || args.output.is_some() {
        let Some(placed) = attempts.now().await? else {
            return Ok(exit::OK);
        };
        return of_attempt(args, &placed, request).await;
    }
    let mut exit = exit::OK;
    while let Some(placed) = attempts.next().await? {
        exit = exit.highest(of_attempt(args, &placed, request).await?);
        if !placed.may_follow || request.max_bytes.is_some() {
            break;
        }
    }
    Ok(exit)
}

async fn of_attempt(args: &Logs, placed: &Placed, request: OutputRequest) -> Result<Exit, Failure> {
    let read = async {
        let client = placed.connect().await?;
        let reading = Reading::new(&placed.remote, client, placed.process, request);
        match args.output {
            Some(Whole::Json) => whole(reading).await,
            None => one(reading, request, args.timestamps, start(request)?).await,
        }
    };
    read.await.map_err(|failure| placed.explained(failure))
}

fn start(request: OutputRequest) -> io::Result<Relay> {
    Relay::start(request.only.unwrap_or(Source::Stdout))
}

fn request(args: &Logs, are_several: bool) -> Result<OutputRequest, Failure> {
    let of_one = [
        ("--offset", args.offset.is_some()),
        ("--max-bytes", args.max_bytes.is_some()),
    ];
    for (flag, is_there) in of_one {
        if is_there && (args.ids.len() > 1 || args.selector.is_some()) {
            let why = format!("{flag} is of the output of one process");
            return Err(Failure::Usage(why));
        }
        if is_there && are_several {
            let why = format!(
                "{flag} is of the output of one process: name its server with --context; `prn status` tells which one has it"
            );
            return Err(Failure::Usage(why));
        }
    }
    let tail = args
        .tail
        .and_then(|lines| match lines {
            Lasting::All => None,
            Lasting::Last(lines) => Some(Tail::Lines(lines)),
        })
        .or(args.tail_bytes.map(|SizeOrZero(bytes)| Tail::Bytes(bytes)));
    let only = match (args.stdout, args.stderr) {
        (true, _) => Some(Source::Stdout),
        (false, true) => Some(Source::Stderr),
        (false, false) => None,
    };
    Ok(OutputRequest {
        from: args.offset.unwrap_or(0),
        no_follow: args.no_follow,
        since: args.since.map(|since| since.0),
        until: args.until.map(|until| until.0),
        tail,
        only,
        follower: false,
        max_bytes: args.max_bytes.map(|SizeOrZero(bytes)| bytes),
    })
}

/// Prints a part of one, with where to go on, as one value.
async fn whole(mut reading: Reading<'_>) -> Result<Exit, Failure> {
    let excerpt = excerpt::read(&mut reading, None, None).await?;
    let text = output::json_pretty(&excerpt).map_err(io::Error::from)?;
    output::text(&text)?;
    let is_gap = |piece: &Piece| matches!(piece, Piece::Dropped { .. });
    Ok(code(excerpt.output.iter().any(is_gap)))
}

async fn one(
    mut reading: Reading<'_>,
    request: OutputRequest,
    timestamps: bool,
    mut relay: Relay,
) -> Result<Exit, Failure> {
    let lines = timestamps.then(|| Lines::new(None, true));
    let told = async {
        let ended = pass_on(&mut reading, &relay, lines, None).await?;
        if request.max_bytes.is_some() {
            let is_complete = ended.end.is_some();
            tell_bounds(
                &relay,
                Bounds::of(reading.offset(), reading.truncated(), is_complete),
            )
            .await;
        }
        Ok::<_, ClientError>(ended)
    };
    let ended = tokio::select! {
        biased;
        ended = told => Some(ended),
        () = relay.failed() => None,
    };
    // What stopped the writing comes before what that made of the reading.
    relay.finish().await?;
    let Some(ended) = ended else {
        return Ok(exit::ERROR);
    };
    Ok(code(ended?.gap))
}

/// Says where to go on, for programs: after the bytes, on standard error.
async fn tell_bounds(relay: &Relay, bounds: Bounds) {
    let line = serde_json::to_string(&bounds).unwrap_or_default();
    if let Some(room) = relay.room().await {
        room.send(Chunk::Line(line));
    }
}

/// Several at once, each line with its process's label. What fails with one does not end the
/// others; the exit code is the highest of all.
async fn several(
    remote: &Remote,
    client: &Client,
    ids: &[ProcessId],
    request: OutputRequest,
    timestamps: bool,
    mut relay: Relay,
) -> Result<Exit, Failure> {
    let length = label_length(ids);
    let each = |id: ProcessId| {
        let reading = Reading::new(remote, client.clone(), id, request);
        labelled(reading, short(id, length), timestamps, &relay)
    };
    let codes = tokio::select! {
        biased;
        codes = join_all(ids.iter().copied().map(each)) => codes,
        () = relay.failed() => Vec::new(),
    };
    relay.finish().await?;
    Ok(highest(codes).unwrap_or(exit::ERROR))
}

/// Of several servers. What fails with one holds up no other one.
async fn everywhere(args: &Logs, hosts: &Hosts, request: OutputRequest) -> Result<Exit, Failure> {
    let mut relay = start(request)?;
    let search = Search::of(&args.ids, args.selector.as_ref(), None);
    let spread = Spread {
        hosts,
        search,
        request,
        timestamps: args.timestamps,
        is_one_each: args.ids.len() == 1,
        relay: &relay,
        left: Cell::new(hosts.all().len()),
        is_unsure: Cell::new(false),
    };
    let codes = tokio::select! {
        biased;
        codes = join_all(hosts.all().iter().map(|host| spread.on(host))) => codes,
        () = relay.failed() => Vec::new(),
    };
    let exit = spread.search.exit();
    relay.finish().await?;
    Ok(highest(codes).unwrap_or(exit::ERROR).highest(exit))
}

/// What is read of several servers.
struct Spread<'a> {
    hosts: &'a Hosts,
    search: Search<'a>,
    request: OutputRequest,
    timestamps: bool,
    /// There is one process of each server at most: the server's name tells it from the others.
    is_one_each: bool,
    relay: &'a Relay,
    /// Servers that have not answered yet.
    left: Cell<usize>,
    /// A server has not answered at all.
    is_unsure: Cell<bool>,
}

impl Spread<'_> {
    /// Reads what one of them has.
    async fn on(&self, host: &Host) -> Exit {
        let found = self.find(host).await;
        if found.is_err() {
            self.is_unsure.set(true);
        }
        self.left.set(self.left.get().saturating_sub(1));
        if self.left.get() == 0 && !self.is_unsure.get() {
            self.search.tell_missing();
        }
        let (remote, client, ids) = match found {
            Ok(found) => found,
            Err(failure) => {
                say(self.relay, host.line(&failure)).await;
                return failure.exit();
            }
        };
        let length = label_length(&ids);
        let each = ids.iter().map(|id| {
            let name = output::escaped(&host.name);
            let label = if self.is_one_each {
                name
            } else {
                format!("{name} {}", short(*id, length))
            };
            let reading = Reading::new(&remote, client.clone(), *id, self.request);
            labelled(reading, label, self.timestamps, self.relay)
        });
        highest(join_all(each).await).unwrap_or(exit::OK)
    }

    async fn find(&self, host: &Host) -> Result<(Remote, Client, Vec<ProcessId>), Failure> {
        let (remote, client) = self.hosts.connect(host).await?;
        let found = self.search.on(host, &client).await?;
        let ids = found.iter().map(|target| target.id).collect();
        Ok((remote, client, ids))
    }
}

/// One of several, each of its lines with a label.
async fn labelled(
    mut reading: Reading<'_>,
    label: String,
    timestamps: bool,
    relay: &Relay,
) -> Exit {
    let lines = Lines::new(Some(label.clone()), timestamps).for_terminals();
    match pass_on(&mut reading, relay, Some(lines), Some(&label)).await {
        Ok(ending) => code(ending.gap),
        Err(error) => tell(relay, &label, error).await,
    }
}

fn highest(codes: Vec<Exit>) -> Option<Exit> {
    codes.into_iter().reduce(Exit::highest)
}

/// The first digits of an id.
fn short(id: ProcessId, length: usize) -> String {
    id.to_string().chars().take(length).collect()
}

/// Says what failed with one of several, among the lines of the others.
async fn tell(relay: &Relay, label: &str, error: ClientError) -> Exit {
    let failure = Failure::from(error);
    let line = format!(
        "{label}: {}",
        output::error_line(&failure, failure.hint().as_deref())
    );
    say(relay, line).await;
    failure.exit()
}

/// A line of prn's own, in its place among those of the processes.
async fn say(relay: &Relay, line: String) {
    if let Some(room) = relay.room().await {
        room.send(Chunk::Notice(line));
    }
}

/// Without an end frame only where none was asked to be waited for; anything else is an error.
fn code(gap: bool) -> Exit {
    if gap { exit::OUTPUT_GAP } else { exit::OK }
}

/// How many digits tell the ids apart.
fn label_length(ids: &[ProcessId]) -> usize {
    let mut sorted: Vec<_> = ids.iter().map(ProcessId::to_string).collect();
    sorted.sort();
    let common = |pair: &[String]| match pair {
        [a, b] => a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count(),
        _ => 0,
    };
    sorted
        .windows(2)
        .map(|pair| common(pair) + 1)
        .fold(LABEL_MIN, usize::max)
}

/// Passes a process's output on: as it is, or as lines. A label names it in what prn itself says.
///
/// Ends early if the relay does: [`Relay::finish`] tells why.
pub async fn pass_on(
    reading: &mut Reading<'_>,
    relay: &Relay,
    lines: Option<Lines>,
    label: Option<&str>,
) -> Result<Ending, ClientError> {
    let mut ending = Ending::default();
    let mut text = Text { lines, label };
    loop {
        let (chunks, over) = match reading.next().await {
            Ok(Some(Event::Data {
                source, time, data, ..
            })) => (vec![text.data(source, time, data)], None),
            Ok(Some(Event::Gap { from, to })) => {
                ending.gap = true;
                (text.gap(from, to), None)
            }
            Ok(Some(Event::End(end))) => {
                ending.end = Some(end);
                (text.break_off(Break::End), Some(Ok(())))
            }
            Ok(None) => (text.break_off(Break::End), Some(Ok(()))),
            Err(error) => (text.break_off(Break::End), Some(Err(error))),
        };
        for chunk in chunks {
            match relay.room().await {
                Some(room) => room.send(chunk),
                None => return Ok(ending),
            }
        }
        if let Some(result) = over {
            return result.map(|()| ending);
        }
    }
}

/// A process's output as it is to be written.
#[derive(Debug)]
struct Text<'a> {
    /// `None`: byte for byte.
    lines: Option<Lines>,
    label: Option<&'a str>,
}

impl Text<'_> {
    fn data(&mut self, source: Source, time: Option<SystemTime>, data: Bytes) -> Chunk {
        let data = match &mut self.lines {
            Some(lines) => lines.feed(source, time, &data),
            None => data,
        };
        Chunk::Data(source, data)
    }

    fn gap(&mut self, from: u64, to: u64) -> Vec<Chunk> {
        let mut chunks = self.break_off(Break::Gap);
        let label = self.label.map(|label| format!("{label}: "));
        let label = label.unwrap_or_default();
        chunks.push(Chunk::Notice(format!(
            "{label}output bytes {from}..{to} were dropped"
        )));
        chunks
    }

    fn break_off(&mut self, why: Break) -> Vec<Chunk> {
        let rest = self.lines.as_mut().map(|lines| lines.break_off(why));
        let rest = rest.unwrap_or_default().into_iter();
        rest.map(|(source, rest)| Chunk::Data(source, rest))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(start: &str) -> ProcessId {
        format!("{start:0<32}").parse().unwrap()
    }

    #[test]
    fn labels_are_as_long_as_it_takes_to_tell_them_apart() {
        assert_eq!(label_length(&[id("a"), id("b")]), 8);
        assert_eq!(
            label_length(&[id("fcd2310e7b"), id("a"), id("fcd2310e7c")]),
            10
        );
        assert_eq!(
            label_length(&[id("0"), id("00000000000000000000000000000001")]),
            32
        );
    }
}
