//! `prn prune`.

use clap::Args;
use prn_client::{
    Client, ClientError, LabelSelector, ListRequest, Outcome, ProcessId, RemovedProcesses,
    Selector, State, When, reason,
};
use prn_proto::units::Time;

use crate::confirm::{can_ask, confirm};
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::output;
use crate::output::format::FormatFlag;
use crate::which::connection::{Connection, Remote};
use crate::which::targets::all;

/// Most processes that one call takes.
const PER_CALL: usize = 1000;

/// Forget all finished processes, with their output, or some of them
///
/// What was started with --keep stays, unless --kept is given. It is asked first; without a
/// terminal it needs --yes.
#[derive(Debug, Args)]
pub struct Prune {
    /// Those alone that ended longer ago than this
    #[arg(long, value_name = "TIME")]
    pub older_than: Option<Time>,
    /// Those alone whose labels match: key=value, key!=value, key or !key, several with commas between; a comma of a value is \,
    #[arg(short = 'l', long)]
    pub selector: Option<LabelSelector>,
    /// Those alone that did not exit with 0 by themselves
    #[arg(long, conflicts_with = "succeeded")]
    pub failed: bool,
    /// Those alone that exited with 0 by themselves
    #[arg(long)]
    pub succeeded: bool,
    /// Those too that were started with --keep
    #[arg(long)]
    pub kept: bool,
    /// Do not ask
    #[arg(short, long, visible_short_alias = 'f', alias = "force")]
    pub yes: bool,
    /// How to print the result.
    #[command(flatten)]
    pub format: FormatFlag,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

pub async fn prune(args: Prune) -> Result<Exit, Failure> {
    if !args.yes {
        can_ask()?;
    }
    let request = args.request();
    let client = Remote::new(args.connection)?.connect().await?;
    let finished = all(&client, request).await?.into_iter();
    let ids: Vec<_> = finished
        .filter(|process| args.kept || process.status.retention.is_none_or(|kept| !kept.keep))
        .map(|process| process.id)
        .collect();
    let question = format!("Forget {}, with their output?", output::count(ids.len()));
    if !ids.is_empty() && !args.yes && !confirm(&question)? {
        output::notice("nothing was removed");
        return Ok(exit::ERROR);
    }
    let (mut removed, mut bytes) = (Vec::new(), 0u64);
    for some in ids.chunks(PER_CALL) {
        for gone in remove_those_left(&client, some).await? {
            removed.extend(gone.removed);
            bytes = bytes.saturating_add(gone.output_bytes);
        }
    }
    output::pruned(&removed, bytes, &args.format)?;
    Ok(exit::OK)
}

impl Prune {
    fn request(&self) -> ListRequest {
        let mut selector = Selector::default();
        selector.state = Some(State::Stopped);
        if let Some(LabelSelector(labels)) = &self.selector {
            selector.labels.clone_from(labels);
        }
        selector.outcome = match (self.failed, self.succeeded) {
            (true, _) => Some(Outcome::Failed),
            (false, true) => Some(Outcome::Succeeded),
            (false, false) => None,
        };
        let mut request = ListRequest::default();
        request.selector = Some(selector);
        request.ended_before = self.older_than.map(|Time(age)| When::Ago(age));
        request
    }
}

/// All of them, or those that somebody else has not removed meanwhile.
async fn remove_those_left(
    client: &Client,
    ids: &[ProcessId],
) -> Result<Vec<RemovedProcesses>, ClientError> {
    match client.remove_processes(ids).await {
        Ok(removed) => return Ok(vec![removed]),
        Err(error) if is_gone(&error) => {}
        Err(error) => return Err(error),
    }
    let mut removed = Vec::new();
    for id in ids {
        match client.remove_processes(*id).await {
            Ok(one) => removed.push(one),
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

fn is_gone(error: &ClientError) -> bool {
    let refusal = error.refusal();
    refusal.is_some_and(|refusal| refusal.reason == reason::PROCESS_NOT_FOUND)
}
