//! UpdateProcess.

use std::sync::Arc;

use prn_ipc_protocol::message::{Ask, ProcessInfo, Refusal, Update};
use prn_ipc_protocol::policy::verbs_of;
use prn_ipc_protocol::types::ProcessId;
use prn_proto::v1;
use tonic::Status;

use crate::calls::server::Server;
use crate::clients::Client;
use crate::convert::process::process_status;
use crate::convert::update::update;
use crate::errors;
use crate::failure::Failure;
use crate::subscribe::keeper;
use crate::supervisor::Answered;

/// Changes a process that runs.
pub async fn update_process(
    server: &Server,
    client: &Client,
    request: v1::UpdateProcessRequest,
) -> Result<v1::UpdateProcessResponse, Status> {
    let (id, update) = update(request)?;
    let process = server.process(client, id)?;
    let is_own = process.info().started_by.as_ref() == Some(client.access.principal());
    for verb in verbs_of(&update, is_own) {
        client.access.check(verb)?;
    }
    if process.info().end.is_some() {
        return Err(errors::process_ended(id));
    }
    let info = change(server, client, id, update)
        .await
        .map_err(|failure| errors::failed(&failure, id, None))?;
    Ok(v1::UpdateProcessResponse {
        process_status: Some(process_status(&info)),
        boot_epoch: server.boot_epoch(),
    })
}

async fn change(
    server: &Server,
    client: &Client,
    id: ProcessId,
    update: Update,
) -> Result<Arc<ProcessInfo>, Failure> {
    let permit = server.permits.change(client).await?;
    let supervisor = server.supervisor.clone();
    let read = move |answered: Answered<'_>| {
        // It may have ended and been forgotten by now.
        let Some(process) = answered.mirror.process(id) else {
            return Ok(Err(Failure::Refused(Refusal::UnknownProcess)));
        };
        // It may have got its first lease.
        keeper::tell(&process, &supervisor);
        answered.done().map(|done| done.map(|()| process.info()))
    };
    let ask = Ask::Update(id, Box::new(update));
    server.supervisor.ask(client, permit, ask, read).await
}
