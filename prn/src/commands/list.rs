//! `prn list`.

use prn_client::{ListRequest, Pages, Process, State};

use super::{Failure, Remote};
use crate::cli::Format;
use crate::exit::{self, Exit};
use crate::{cli, output};

pub async fn list(args: cli::List) -> Result<Exit, Failure> {
    let format = args.output.output;
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

fn request(args: &cli::List) -> ListRequest {
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
    request.with_argv = args.output.output == Format::Json;
    request
}
