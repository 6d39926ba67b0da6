//! CreateWorkspace, ListWorkspaces and RemoveWorkspace. Lists are answered from the mirror.

use prn_ipc_protocol::message::{Ask, Reply, StopHow, WorkspaceSpec};
use prn_ipc_protocol::policy::Verb;
use prn_ipc_protocol::types::WorkspaceName;
use prn_proto::v1;
use tonic::Status;

use crate::calls::server::Server;
use crate::clients::Client;
use crate::convert::workspace::{self, Removal, shown};
use crate::errors;
use crate::failure::Failure;
use crate::supervisor::{Answered, Unexpected};
use crate::workspaces::Workspace;

/// Makes a workspace.
pub async fn create_workspace(
    server: &Server,
    client: &Client,
    request: v1::CreateWorkspaceRequest,
) -> Result<v1::CreateWorkspaceResponse, Status> {
    client.access.check(Verb::Workspace)?;
    let spec = workspace::create(request)?;
    if server.mirror.draining() {
        return Err(errors::draining());
    }
    let name = spec.name.clone();
    let created = create(server, client, spec)
        .await
        .map_err(|failure| failed(server, client, &failure, &name))?;
    Ok(v1::CreateWorkspaceResponse {
        workspace: Some(shown(&created)),
        boot_epoch: server.boot_epoch(),
    })
}

async fn create(
    server: &Server,
    client: &Client,
    spec: WorkspaceSpec,
) -> Result<Workspace, Failure> {
    // It is as quick as a start, and counts as one.
    let permit = server.permits.start(client)?;
    let name = spec.name.clone();
    let read = move |answered: Answered<'_>| {
        let mirror = answered.mirror;
        match answered.reply {
            Reply::Done => Ok(Ok(mirror.workspace(&name).ok_or(Unexpected)?)),
            Reply::Existing
            | Reply::Subscribed
            | Reply::Input { .. }
            | Reply::InputOver { .. }
            | Reply::Usage(_)
            | Reply::Receipt(_)
            | Reply::Startable(_)
            | Reply::Refused(_) => Err(Unexpected),
        }
    };
    let ask = Ask::CreateWorkspace(spec);
    server.supervisor.ask(client, permit, ask, read).await
}

/// Lists all workspaces that the client gets to see.
pub fn list_workspaces(
    server: &Server,
    client: &Client,
) -> Result<v1::ListWorkspacesResponse, Status> {
    client.access.check(Verb::List)?;
    let workspaces = server.mirror.workspaces();
    let seen = workspaces.iter().filter(|one| client.sees(one));
    Ok(v1::ListWorkspacesResponse {
        workspaces: seen.map(shown).collect(),
        boot_epoch: server.boot_epoch(),
    })
}

/// Removes a workspace.
pub async fn remove_workspace(
    server: &Server,
    client: &Client,
    request: v1::RemoveWorkspaceRequest,
) -> Result<v1::RemoveWorkspaceResponse, Status> {
    let Removal { name, how } = workspace::remove(request)?;
    if server.workspace(client, &name).is_none() {
        return Err(errors::workspace_not_found(&name));
    }
    client.access.check(Verb::Workspace)?;
    let leaving = remove(server, client, name.clone(), how)
        .await
        .map_err(|failure| failed(server, client, &failure, &name))?;
    Ok(v1::RemoveWorkspaceResponse {
        leaving,
        boot_epoch: server.boot_epoch(),
    })
}

/// Whether something of it is left. Looked at when the answer comes: later there may be a new one of
/// the same name.
async fn remove(
    server: &Server,
    client: &Client,
    name: WorkspaceName,
    how: Option<StopHow>,
) -> Result<bool, Failure> {
    let how = match how {
        Some(StopHow::Graceful(Some(grace))) if grace.duration().is_zero() => Some(StopHow::Kill),
        Some(StopHow::Graceful(_) | StopHow::Kill) | None => how,
    };
    let permit = match how {
        Some(StopHow::Graceful(_)) => server.permits.graceful_stop(client)?,
        Some(StopHow::Kill) | None => server.permits.removal(client)?,
    };
    let ask = Ask::RemoveWorkspace(name.clone(), how);
    let read = move |answered: Answered<'_>| {
        let mirror = answered.mirror;
        let done = answered.done()?;
        Ok(done.map(|()| mirror.workspace(&name).is_some()))
    };
    server.supervisor.ask(client, permit, ask, read).await
}

fn failed(server: &Server, client: &Client, failure: &Failure, name: &WorkspaceName) -> Status {
    let known = server.workspace(client, name);
    errors::workspace_failed(failure, name, known.as_ref())
}
