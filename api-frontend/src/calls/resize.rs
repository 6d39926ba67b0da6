//! ResizeTerminal.

use prn_ipc_protocol::message::{Ask, TerminalSize};
use prn_ipc_protocol::policy::Verb;
use prn_ipc_protocol::types::ProcessId;
use prn_proto::v1;
use tonic::Status;

use crate::calls::server::Server;
use crate::clients::Client;
use crate::convert::terminal;
use crate::errors;
use crate::failure::Failure;
use crate::supervisor::Answered;

/// Says how large a process's terminal is.
pub async fn resize_terminal(
    server: &Server,
    client: &Client,
    request: v1::ResizeTerminalRequest,
) -> Result<v1::ResizeTerminalResponse, Status> {
    let (id, size) = terminal::resize(request)?;
    server.allowed(client, Verb::Input, id)?;
    resize(server, client, id, size)
        .await
        .map_err(|failure| errors::failed(&failure, id, None))?;
    Ok(v1::ResizeTerminalResponse {
        boot_epoch: server.boot_epoch(),
    })
}

/// Asks for it, and returns when it is so.
pub async fn resize(
    server: &Server,
    client: &Client,
    id: ProcessId,
    size: TerminalSize,
) -> Result<(), Failure> {
    let permit = server.permits.input(client).await?;
    let ask = Ask::ResizeTerminal(id, size);
    let done = |answered: Answered<'_>| answered.done();
    server.supervisor.ask(client, permit, ask, done).await
}
