//! `prn list`.

use clap::Args;
use prn_client::{ListRequest, Pages, Process, State};
use prn_proto::units::Moment;

use crate::connection::{Connection, Remote};
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::format::{Format, FormatFlag};
use crate::output;

/// List all processes, oldest first
///
/// States are those of `prn status`, and so are the widths of tables.
#[derive(Debug, Args)]
pub struct List {
    /// Those that run alone
    #[arg(long, conflicts_with = "finished")]
    pub running: bool,
    /// Those that have ended alone
    #[arg(long)]
    pub finished: bool,
    /// Those alone that started at this time or later: 2030-01-31T12:00:00Z, or 10m for ten minutes
    /// ago
    #[arg(long, value_name = "WHEN")]
    pub since: Option<Moment>,
    /// Those alone that started before this time
    #[arg(long, value_name = "WHEN")]
    pub until: Option<Moment>,
    /// The newest so many of them
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = parse_count)]
    pub limit: Option<usize>,
    /// How to print the result.
    #[command(flatten)]
    pub format: FormatFlag,
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

pub async fn list(args: List) -> Result<Exit, Failure> {
    let format = args.format.output;
    let request = request(&args);
    let client = Remote::new(args.connection)?.connect().await?;
    let pages = client.pages(request);
    match args.limit {
        Some(limit) => {
            let mut newest = collected(pages, limit).await?;
            newest.reverse();
            output::processes(&newest, format)?;
        }
        None if format == Format::Json => print_json(pages).await?,
        // A table is as wide as its widest row, so all rows come first.
        None => output::processes(&collected(pages, usize::MAX).await?, format)?,
    }
    Ok(exit::OK)
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

async fn print_json(mut pages: Pages) -> Result<(), Failure> {
    let mut list = output::JsonList::default();
    while let Some(page) = pages.next().await? {
        list.add(&page)?;
    }
    list.end()?;
    Ok(())
}

fn request(args: &List) -> ListRequest {
    let mut request = ListRequest::default();
    request.state = match (args.running, args.finished) {
        (true, _) => Some(State::Running),
        (false, true) => Some(State::Stopped),
        (false, false) => None,
    };
    request.started_since = args.since.map(|since| since.0);
    request.started_before = args.until.map(|until| until.0);
    request.newest_first = args.limit.is_some();
    request.page_size = args
        .limit
        .map(|limit| u32::try_from(limit).unwrap_or(u32::MAX));
    request.with_argv = args.format.output == Format::Json;
    request
}
