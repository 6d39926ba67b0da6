//! `prn top`.

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;
use prn_proto::units::Time;

use crate::commands::stats::{self, Stats, parse_interval};
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::output::format::{Format, FormatFlag};
use crate::output::{self, Palette};
use crate::top::{self, Place, Sort, View};
use crate::which::connection::{Connection, Remote};
use crate::which::hosts::Servers;
use crate::which::reference::Reference;
use crate::which::selection::Selection;
use crate::which::targets::Found;

/// Between two samples, if nobody says it.
const INTERVAL: Duration = Duration::from_secs(1);

/// Show all processes and what they take, on all of the screen, as it changes
///
/// Keys: Up and Down select a process, Enter shows its output, s stops it, k sends it a signal, p
/// pauses it, / filters, f shows those that have ended too, c m i a n sort by CPU, memory, I/O, age and
/// name, ? says more, q ends. Of several servers (--context 'web*') all are shown, each row with its
/// server. With ids: the tasks of these processes, once. Where standard input or output is no
/// terminal: what `prn stats --no-stream` prints, with --batch or --interval again and again.
#[derive(Debug, Args)]
pub struct Top {
    /// Show the tasks of these, once: ids, beginnings of ids, or names
    #[arg(value_name = "ID", conflicts_with_all = ["batch", "running", "finished", "failed", "succeeded", "name", "workspace", "started_by", "selector"])]
    pub ids: Vec<Reference>,
    /// Print samples, one after the other, instead of taking the screen
    #[arg(short, long)]
    pub batch: bool,
    /// Time between two samples [default: 1s]
    #[arg(short = 'd', long, visible_alias = "delay", value_name = "TIME", value_parser = parse_interval)]
    pub interval: Option<Time>,
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

pub async fn top(args: Top) -> Result<Exit, Failure> {
    if !args.ids.is_empty() {
        return tasks(args).await;
    }
    let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    if args.batch || !is_terminal || args.format.output != Format::Table {
        return lines(args).await;
    }
    let (places, missing) = places(Servers::of(&args.connection)?);
    if places.is_empty() {
        return Ok(missing);
    }
    let exit = top::top(top::Top {
        places,
        selector: args.selection.of_users(),
        view: View {
            sort: Sort::Cpu,
            is_reversed: false,
            filter: String::new(),
            shows_finished: shows_finished(&args.selection),
        },
        interval: interval(&args).0,
        has_colors: Palette::new(args.format.color).has_colors(),
    })
    .await?;
    Ok(exit.highest(missing))
}

/// How to reach the servers. Of several, one without its certificate or key is said and left out.
fn places(servers: Servers) -> (Vec<Place>, Exit) {
    let hosts = match servers {
        Servers::One(remote) => return (vec![Place { name: None, remote }], exit::OK),
        Servers::Several(hosts) => hosts,
    };
    let mut places = Vec::new();
    let mut missing = exit::OK;
    for host in hosts.all() {
        match host.remote() {
            Ok(remote) => places.push(Place {
                name: Some(host.name.clone()),
                remote,
            }),
            Err(failure) => {
                output::notice(&host.line(&failure));
                missing = missing.highest(failure.exit());
            }
        }
    }
    (places, missing)
}

fn shows_finished(selection: &Selection) -> bool {
    selection.finished || selection.failed || selection.succeeded
}

fn interval(args: &Top) -> Time {
    args.interval.unwrap_or(Time(INTERVAL))
}

/// As `prn stats`.
async fn lines(args: Top) -> Result<Exit, Failure> {
    stats::stats(Stats {
        ids: Vec::new(),
        no_stream: !args.batch && args.interval.is_none(),
        interval: interval(&args),
        is_for_top: true,
        selection: args.selection,
        format: args.format,
        connection: args.connection,
    })
    .await
}

/// What is inside of processes.
async fn tasks(args: Top) -> Result<Exit, Failure> {
    let client = Remote::new(args.connection)?.connect().await?;
    let found = Found::named(&client, &args.ids).await?;
    let ids: Vec<_> = found.targets.iter().map(|target| target.id).collect();
    if ids.is_empty() {
        return Ok(found.exit);
    }
    let usages = client.usage(ids.as_slice(), true).await?;
    output::tasks(&usages.usages, &args.format)?;
    Ok(found.exit)
}
