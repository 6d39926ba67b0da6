//! GetUsage: the supervisor is asked for what is alive, and what has ended is in the mirror.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use prn_ipc_protocol::kernel::tree_usage;
use prn_ipc_protocol::message::{Ask, LiveUsage, Refusal, Reply};
use prn_ipc_protocol::policy::Verb;
use prn_ipc_protocol::types::{ProcessId, UnixMicros};
use prn_proto::v1;
use prost::encoding::message::encoded_len;
use tonic::Status;

use crate::calls::list::ANSWER_MAX;
use crate::calls::server::Server;
use crate::clients::{Client, USAGES_AT_ONCE};
use crate::convert::several::{Several, several};
use crate::convert::time::timestamp;
use crate::convert::usage;
use crate::errors;
use crate::failure::Failure;
use crate::mirror::{Order, Process};
use crate::selector::Selector;
use crate::supervisor::{Answered, Unexpected};

/// Field number of [`v1::GetUsageResponse::usages`].
const USAGES: u32 = 1;

/// Most processes of an answer that a selector selects.
const SELECTED_MAX: usize = 1000;

/// Between the last of a tree and the word of its end the supervisor reads what is left of its
/// output. For so long that is waited for.
const END_TIME: Duration = Duration::from_secs(1);

/// Says what processes take of the machine.
pub async fn get_usage(
    server: &Server,
    client: &Client,
    request: v1::GetUsageRequest,
) -> Result<v1::GetUsageResponse, Status> {
    let with_tasks = request.with_tasks;
    let sampled_at = UnixMicros::now();
    client.access.check(Verb::List)?;
    let scope = client.access.scope();
    let usages = match several(request.processes, request.selector, scope)? {
        Several::Named(ids) => {
            let processes = ids.into_iter().map(|id| server.process(client, id));
            let processes = processes.collect::<Result<Vec<_>, _>>()?;
            all(server, client, processes, with_tasks).await
        }
        Several::Selected(selector) => {
            let processes = newest(server, &selector).await;
            let usages = all(server, client, processes, with_tasks).await;
            usages
                .into_iter()
                .filter(|(_, usage)| !is_gone(usage))
                .collect()
        }
    };
    let usages = usages
        .into_iter()
        .map(|(id, usage)| usage.map_err(|failure| errors::failed(&failure, id, None)));
    Ok(v1::GetUsageResponse {
        usages: fitted(usages.collect::<Result<_, _>>()?),
        sampled_at: Some(timestamp(sampled_at)),
        boot_epoch: server.boot_epoch(),
    })
}

type Usage = Result<v1::ProcessUsage, Failure>;

/// The newest that this selects, by their starts.
async fn newest(server: &Server, selector: &Selector) -> Vec<Arc<Process>> {
    let mut newest = VecDeque::new();
    for process in server.mirror.candidates(selector, Order::NewestFirst, None) {
        tokio::task::coop::consume_budget().await;
        if newest.len() >= SELECTED_MAX {
            break;
        }
        if selector.has(&process.info()) {
            newest.push_front(process);
        }
    }
    newest.into()
}

/// It was forgotten meanwhile.
fn is_gone(usage: &Usage) -> bool {
    matches!(usage, Err(Failure::Refused(Refusal::UnknownProcess)))
}

/// As many at a time as a client may ask for.
async fn all(
    server: &Server,
    client: &Client,
    processes: Vec<Arc<Process>>,
    with_tasks: bool,
) -> Vec<(ProcessId, Usage)> {
    let usages = processes.into_iter().map(|process| async move {
        let usage = one(server, client, &process, with_tasks).await;
        (process.hub.id(), usage)
    });
    stream::iter(usages)
        .buffered(USAGES_AT_ONCE)
        .collect()
        .await
}

async fn one(server: &Server, client: &Client, process: &Arc<Process>, with_tasks: bool) -> Usage {
    let id = process.hub.id();
    if let Some(ended) = ended(process) {
        return Ok(ended);
    }
    match ask(server, client, id, with_tasks).await {
        Ok(live) => Ok(usage::live(id, &live)),
        Err(Failure::Refused(Refusal::Ended | Refusal::UnknownProcess)) => {
            let mut changes = process.changes();
            let end = changes.wait_for(|info| info.end.is_some());
            // Its sender is the process's, which this holds.
            drop(tokio::time::timeout(END_TIME, end).await);
            ended(process).ok_or(Failure::Refused(Refusal::UnknownProcess))
        }
        Err(failure) => Err(failure),
    }
}

/// What it took, if it has ended.
fn ended(process: &Process) -> Option<v1::ProcessUsage> {
    let info = process.info();
    let end = info.end.as_ref()?;
    Some(usage::ended(info.id, &tree_usage(&end.usage)))
}

async fn ask(
    server: &Server,
    client: &Client,
    id: ProcessId,
    with_tasks: bool,
) -> Result<LiveUsage, Failure> {
    let permit = server.permits.usage(client).await?;
    let read = |answered: Answered<'_>| match answered.reply {
        Reply::Usage(usage) => Ok(Ok(*usage)),
        Reply::Done
        | Reply::Existing
        | Reply::Subscribed
        | Reply::Input { .. }
        | Reply::InputOver { .. }
        | Reply::Startable(_)
        | Reply::Receipt(_)
        | Reply::Refused(_) => Err(Unexpected),
    };
    let ask = Ask::Usage { id, with_tasks };
    server.supervisor.ask(client, permit, ask, read).await
}

/// Without the tasks of those for which an answer has no room: without them, it has room for all.
fn fitted(mut usages: Vec<v1::ProcessUsage>) -> Vec<v1::ProcessUsage> {
    let whole: usize = usages.iter().map(|usage| encoded_len(USAGES, usage)).sum();
    let mut above = whole.saturating_sub(ANSWER_MAX);
    for usage in usages.iter_mut().rev() {
        if above == 0 {
            break;
        }
        let before = encoded_len(USAGES, usage);
        usage.tasks.clear();
        above = above.saturating_sub(before - encoded_len(USAGES, usage));
    }
    usages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_room_for_all_tasks_has_those_of_the_first() {
        let task = v1::StuckTask {
            name: "x".repeat(60),
            state: "R".to_owned(),
        };
        let usage = v1::ProcessUsage {
            tasks: vec![task; 128],
            ..Default::default()
        };
        let fitting = fitted(vec![usage.clone(); 10]);
        assert!(fitting.iter().all(|usage| usage.tasks.len() == 128));
        let many = fitted(vec![usage; 1000]);
        assert_eq!(many.len(), 1000);
        assert!(!many[0].tasks.is_empty() && many[999].tasks.is_empty());
        let length: usize = many.iter().map(|usage| encoded_len(USAGES, usage)).sum();
        assert!(
            (ANSWER_MAX - 10_000..=ANSWER_MAX).contains(&length),
            "{length}"
        );
    }
}
