//! `prn list`.

use std::io::{self, IsTerminal};

use clap::Args;
use prn_client::{Client, ListRequest, Pages, Process, WatchRequest};
use prn_proto::units::Moment;
use tokio::time::Instant;

use crate::commands::events;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::fleet::fault::FleetFault;
use crate::fleet::showing::{self, Listed};
use crate::lasting::changes::Changes;
use crate::lasting::known::Known;
use crate::lasting::several::{Heard, Manner, Several, TOGETHER, Tries, due};
use crate::lasting::watching::Watching;
use crate::output::format::{Format, FormatFlag};
use crate::output::{self, Layout, Names, OfHost, Screen};
use crate::which::connection::{Connection, Remote};
use crate::which::fleet::{FleetFlag, OpenFleet};
use crate::which::hosts::{Host, Hosts, Servers};
use crate::which::selection::Selection;

/// List processes, running and finished, oldest first
///
/// States are those of `prn status`, and so are the widths of tables. Columns: id, name, state, exit,
/// started, age, ended, workspace, labels, uid, memory-limit, memory-peak, profile, directory,
/// command. Processes that prn itself starts for a moment, to copy files, are left out without
/// --all. Of several servers (--context 'web*'), a first column has the name of each one's context;
/// with --watch, one that is not there is tried again.
#[derive(Debug, Args)]
pub struct List {
    /// Those of prn itself too
    #[arg(short, long)]
    pub all: bool,
    /// Which.
    #[command(flatten)]
    pub selection: Selection,
    /// Those alone that started at this time or later: 2030-01-31T12:00:00Z, or 10m for ten minutes
    /// ago
    #[arg(long, value_name = "WHEN", help_heading = "Selection")]
    pub since: Option<Moment>,
    /// Those alone that started before this time
    #[arg(long, value_name = "WHEN", help_heading = "Selection")]
    pub until: Option<Moment>,
    /// The newest so many of them
    #[arg(short = 'n', long, visible_alias = "last", value_name = "COUNT", value_parser = parse_count, help_heading = "Selection")]
    pub limit: Option<usize>,
    /// Sort by these columns, by one with - before it the other way round: -started,name
    #[arg(long, value_name = "COLUMNS", allow_hyphen_values = true)]
    pub sort: Option<Names>,
    /// Whole ids alone, one a line
    #[arg(short, long, conflicts_with_all = ["output", "columns"])]
    pub quiet: bool,
    /// A table of these columns
    #[arg(long, value_name = "COLUMNS")]
    pub columns: Option<Names>,
    /// Lines as long as they are, on a terminal too
    #[arg(long)]
    pub no_trunc: bool,
    /// Go on showing what changes: on a terminal the table as it is, else each change on a line, as
    /// `prn events` has them
    #[arg(short, long, conflicts_with_all = ["quiet", "since", "until"])]
    pub watch: bool,
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

fn parse_count(text: &str) -> Result<usize, &'static str> {
    match text.parse() {
        Ok(0) | Err(_) => Err("not a count: write a number from 1 up"),
        Ok(count) => Ok(count),
    }
}

pub async fn list(mut args: List) -> Result<Exit, Failure> {
    if args.quiet {
        args.format.output = Format::Name;
    }
    if let Some(open) = args.fleet.open(&args.connection)? {
        return of_fleet(args, &open).await;
    }
    let layout = layout(&args)?;
    if let Some(names) = &args.sort {
        sort(names, &mut [])?;
    }
    let remote = match Servers::of(&args.connection)? {
        Servers::One(remote) => remote,
        Servers::Several(hosts) => return everywhere(&args, &layout, &hosts).await,
    };
    let client = remote.connect().await?;
    if args.watch {
        return watch(&args, &layout, &remote, &client).await;
    }
    let pages = client.pages(request(&args));
    let comes_in_order = args.limit.is_none() && args.sort.is_none();
    if comes_in_order && args.format.output.is_whole() {
        print_pages(pages, &args.format.output).await?;
        return Ok(exit::OK);
    }
    // A table is as wide as its widest row, so all rows come first.
    let mut all = collected(pages, args.limit.unwrap_or(usize::MAX)).await?;
    if args.limit.is_some() {
        all.reverse();
    }
    if let Some(names) = &args.sort {
        sort(names, &mut all)?;
    }
    output::processes(&all, &args.format, &layout)?;
    Ok(exit::OK)
}

/// The jobs of a fleet.
async fn of_fleet(args: List, open: &OpenFleet) -> Result<Exit, Failure> {
    if args.watch || args.sort.is_some() || args.columns.is_some() {
        let why = "--watch, --sort and --columns are of processes: `prn events --fleet` and `prn fleet top` go on, and -o 'template={{id}} {{state}}' picks fields";
        return Err(FleetFault::NotOfFleets(why).into());
    }
    let which = Listed {
        selector: args.selection.selector(),
        since: args.since,
        until: args.until,
        limit: args.limit,
        host: None,
        is_waiting: false,
    };
    showing::list(open, &which, &args.format).await
}

/// Of several servers: each one's processes after those of the one before, or in the order that is
/// asked for.
async fn everywhere(args: &List, layout: &Layout, hosts: &Hosts) -> Result<Exit, Failure> {
    if args.watch {
        return watch_everywhere(args, layout, hosts).await;
    }
    let most = args.limit.unwrap_or(usize::MAX);
    let ask = async |_: &Host, _: &Remote, client: Client| {
        collected(client.pages(request(args)), most).await
    };
    let answers = hosts.ask(ask).await.flat();
    let all = arranged(args, answers.answers)?;
    output::processes_of_hosts(&all, &args.format, layout)?;
    Ok(answers.exit)
}

/// As many as are asked for, in the order that is.
fn arranged(args: &List, mut all: Vec<OfHost<Process>>) -> Result<Vec<OfHost<Process>>, Failure> {
    if let Some(most) = args.limit {
        all.sort_by_key(|of| of.value.status.started_at);
        all.drain(..all.len().saturating_sub(most));
    }
    if let Some(names) = &args.sort {
        names
            .sort_by(&mut all, |of| &of.value, output::PROCESS_COLUMNS)
            .map_err(|why| Failure::Usage(format!("--sort: {why}")))?;
    }
    Ok(all)
}

fn layout(args: &List) -> Result<Layout, Failure> {
    let columns = args.columns.as_ref();
    if columns.is_some() && !matches!(args.format.output, Format::Table | Format::Wide) {
        let why = "--columns is for tables: with other formats, `-o 'template={{id}} {{command}}'` picks fields";
        return Err(Failure::Usage(why.to_owned()));
    }
    let columns = columns.map(|names| names.columns(output::PROCESS_COLUMNS));
    let columns = columns.transpose();
    Ok(Layout {
        columns: columns.map_err(|why| Failure::Usage(format!("--columns: {why}")))?,
        is_whole: args.no_trunc,
    })
}

fn sort(names: &Names, processes: &mut [Process]) -> Result<(), Failure> {
    names
        .sort(processes, output::PROCESS_COLUMNS)
        .map_err(|why| Failure::Usage(format!("--sort: {why}")))
}

/// The first `most` of them.
async fn collected(mut pages: Pages, most: usize) -> Result<Vec<Process>, Failure> {
    let mut all = Vec::new();
    while all.len() < most
        && let Some(page) = pages.next().await?
    {
        all.extend(page);
    }
    all.truncate(most);
    Ok(all)
}

async fn print_pages(mut pages: Pages, format: &Format) -> Result<(), Failure> {
    let mut list = output::List::new("processes", format);
    while let Some(page) = pages.next().await? {
        list.add(&page)?;
    }
    list.end()?;
    Ok(())
}

fn request(args: &List) -> ListRequest {
    let mut request = ListRequest::default();
    request.selector = Some(selector(args));
    request.started_since = args.since.map(|since| since.0);
    request.started_before = args.until.map(|until| until.0);
    request.newest_first = args.limit.is_some();
    request.page_size = args
        .limit
        .map(|limit| u32::try_from(limit).unwrap_or(u32::MAX));
    request.with_argv = args.format.output.is_whole();
    request
}

fn selector(args: &List) -> prn_client::Selector {
    if args.all {
        args.selection.selector()
    } else {
        args.selection.of_users()
    }
}

async fn watch(
    args: &List,
    layout: &Layout,
    remote: &Remote,
    client: &Client,
) -> Result<Exit, Failure> {
    let mut request = WatchRequest::default();
    request.selector = selector(args);
    if is_drawn(args) {
        let watching = Watching::begin(remote, client, &request).await?;
        return draw(args, layout, watching).await;
    }
    request.with_argv = args.format.output.is_whole();
    let watching = Watching::begin(remote, client, &request).await?;
    events::print(watching, &args.format.output, events::Existing::Shown).await
}

fn is_drawn(args: &List) -> bool {
    let is_table = matches!(args.format.output, Format::Table | Format::Wide);
    is_table && io::stdout().is_terminal()
}

/// Draws the table again whenever something has changed.
async fn draw(args: &List, layout: &Layout, mut watching: Watching<'_>) -> Result<Exit, Failure> {
    let mut known = Known::default();
    let mut screen = Screen::default();
    while let Some(change) = watching.next().await? {
        if known.take(change) {
            let mut all = known.in_order();
            if let Some(limit) = args.limit {
                all.drain(..all.len().saturating_sub(limit));
            }
            if let Some(names) = &args.sort {
                sort(names, &mut all)?;
            }
            screen.show(&output::processes_text(&all, &args.format, layout))?;
        }
    }
    Ok(exit::OK)
}

async fn watch_everywhere(args: &List, layout: &Layout, hosts: &Hosts) -> Result<Exit, Failure> {
    let mut request = WatchRequest::default();
    request.selector = selector(args);
    if is_drawn(args) {
        return draw_all(args, layout, hosts, &request).await;
    }
    request.with_argv = args.format.output.is_whole();
    let format = &args.format.output;
    events::print_all(hosts, &request, format, events::Existing::Shown).await
}

/// Draws one table of all servers. What a server said last stays in it while that is not there, which a
/// line below says.
async fn draw_all(
    args: &List,
    layout: &Layout,
    hosts: &Hosts,
    request: &WatchRequest,
) -> Result<Exit, Failure> {
    let mut known: Vec<_> = hosts.all().iter().map(|_| Known::default()).collect();
    let mut several = Several::new(hosts, Manner::Drawn, Tries::Always, || {
        Changes::new(request)
    });
    let mut screen = Screen::default();
    let mut draw_at = None;
    let reader = output::Reader::of_stdout()?;
    loop {
        tokio::select! {
            biased;
            error = reader.left() => return Err(error.into()),
            () = due(draw_at) => {
                draw_at = None;
                let all = arranged(args, in_order(hosts, &known))?;
                let below = several.below();
                screen.show(&output::processes_of_hosts_text(&all, &below, &args.format, layout))?;
            }
            heard = several.next() => {
                match heard {
                    None => return Ok(several.exit()),
                    Some(Heard::Link { .. }) => {}
                    Some(Heard::Piece { host, piece }) => {
                        if let Some(known) = known.get_mut(host) {
                            known.take(piece.change);
                        }
                    }
                }
                // All that comes at one time is drawn at once.
                draw_at.get_or_insert_with(|| Instant::now() + TOGETHER);
            }
        }
    }
}

/// Those of each server after those of the one before, oldest first.
fn in_order(hosts: &Hosts, known: &[Known]) -> Vec<OfHost<Process>> {
    let each = hosts.all().iter().zip(known);
    each.flat_map(|(host, known)| {
        known.in_order().into_iter().map(|value| OfHost {
            host: host.name.clone(),
            value,
        })
    })
    .collect()
}
