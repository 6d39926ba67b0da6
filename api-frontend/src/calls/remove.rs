//! RemoveProcess.

use prn_ipc_protocol::message::{Ask, ProcessInfo, Refusal};
use prn_ipc_protocol::policy::Verb;
use prn_ipc_protocol::types::ProcessId;
use prn_proto::v1;
use tonic::Status;

use crate::calls::server::Server;
use crate::clients::Client;
use crate::convert::several::{Several, several};
use crate::errors;
use crate::failure::Failure;
use crate::selector::Selector;
use crate::supervisor::Answered;

/// Forgets finished processes.
pub async fn remove_process(
    server: &Server,
    client: &Client,
    request: v1::RemoveProcessRequest,
) -> Result<v1::RemoveProcessResponse, Status> {
    let mut removed = Removed::default();
    match several(request.processes, request.selector, client.access.scope())? {
        Several::Named(ids) => named(server, client, &ids, &mut removed).await?,
        Several::Selected(selector) => selected(server, client, &selector, &mut removed).await?,
    }
    Ok(v1::RemoveProcessResponse {
        removed: removed.ids,
        output_bytes: removed.output_bytes,
        boot_epoch: server.boot_epoch(),
    })
}

/// What is forgotten.
#[derive(Debug, Default)]
struct Removed {
    ids: Vec<v1::ProcessIdentifier>,
    output_bytes: u64,
}

impl Removed {
    fn add(&mut self, info: &ProcessInfo) {
        let id = info.id.to_string();
        self.ids.push(v1::ProcessIdentifier { id });
        let output = info.end.as_ref().map(|end| end.output);
        let bytes = output.map_or(0, |output| output.end.saturating_sub(output.first));
        self.output_bytes = self.output_bytes.saturating_add(bytes);
    }
}

/// All of these. None is, if one of them is not there or is alive at the time of the call.
async fn named(
    server: &Server,
    client: &Client,
    ids: &[ProcessId],
    removed: &mut Removed,
) -> Result<(), Status> {
    let mut infos = Vec::new();
    for id in ids {
        let info = server.process(client, *id)?.info();
        client.access.check(Verb::Stop)?;
        if info.end.is_none() {
            return Err(errors::process_running(*id));
        }
        infos.push(info);
    }
    for info in infos {
        remove(server, client, info.id).await.map_err(|failure| {
            errors::removed_before(removed.ids.len(), errors::failed(&failure, info.id, None))
        })?;
        removed.add(&info);
    }
    Ok(())
}

/// Those of them that have ended.
async fn selected(
    server: &Server,
    client: &Client,
    selector: &Selector,
    removed: &mut Removed,
) -> Result<(), Status> {
    client.access.check(Verb::List)?;
    client.access.check(Verb::Stop)?;
    let mut infos = Vec::new();
    for process in server.mirror.selected(selector) {
        tokio::task::coop::consume_budget().await;
        let info = process.info();
        if info.end.is_some() {
            infos.push(info);
        }
    }
    for info in infos {
        match remove(server, client, info.id).await {
            Ok(()) => removed.add(&info),
            // It went by itself meanwhile.
            Err(Failure::Refused(Refusal::UnknownProcess)) => {}
            Err(failure) => {
                let status = errors::failed(&failure, info.id, None);
                return Err(errors::removed_before(removed.ids.len(), status));
            }
        }
    }
    Ok(())
}

/// Asks for one.
pub async fn remove(server: &Server, client: &Client, id: ProcessId) -> Result<(), Failure> {
    let permit = server.permits.forgetting(client).await?;
    let done = |answered: Answered<'_>| answered.done();
    server
        .supervisor
        .ask(client, permit, Ask::Remove(id), done)
        .await
}
