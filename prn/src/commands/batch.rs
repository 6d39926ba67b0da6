//! `prn batch`.

use clap::Args;
use tokio::io::BufReader;

use crate::batch::answer_all;
use crate::calls::session::Session;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::which::connection::{Connection, Remote};

/// Make many calls over one connection, as lines of JSON
///
/// Reads a request from each line of standard input and prints an answer for each, as they are done:
/// {"id":1,"call":"start","spec":{"argv":["make"]}} is answered by {"id":1,"result":{…}}, or by
/// {"id":1,"line":1,"error":{"reason":"…","message":"…"}}. The calls are start, run, status, list,
/// wait, stop, signal, output and remove; docs/agents.md has their fields. What is started goes on when
/// prn ends. Exits with 1 if a call has failed; how a process ended is in its answer.
#[derive(Debug, Args)]
pub struct Batch {
    /// Make so many calls at a time
    #[arg(short, long, value_name = "NUMBER", default_value = "16", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: u16,
    /// Do all in this workspace: what is not in it does not exist
    #[arg(short = 'w', long, value_name = "NAME")]
    pub workspace: Option<String>,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

pub async fn batch(args: Batch) -> Result<Exit, Failure> {
    let remote = Remote::new(args.connection)?;
    let client = remote.connect().await?;
    let session = Session::new(remote, client, args.workspace);
    let input = BufReader::new(tokio::io::stdin());
    let is_well = answer_all(&session, input, args.jobs.into()).await?;
    Ok(if is_well { exit::OK } else { exit::ERROR })
}
