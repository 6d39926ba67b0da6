//! SignalProcess.

use prn_ipc_protocol::message::{Ask, Refusal, Whom};
use prn_ipc_protocol::policy::Verb;
use prn_proto::v1;
use tonic::Status;

use crate::calls::server::Server;
use crate::clients::Client;
use crate::convert::signal::{Signal, signal};
use crate::errors;
use crate::failure::Failure;
use crate::supervisor::Answered;

/// Sends a signal to a process.
pub async fn signal_process(
    server: &Server,
    client: &Client,
    request: v1::SignalProcessRequest,
) -> Result<v1::SignalProcessResponse, Status> {
    let signal = signal(request)?;
    let process = server.allowed(client, Verb::Signal, signal.id)?;
    if process.info().end.is_some() {
        return Err(errors::process_ended(signal.id));
    }
    send(server, client, signal).await.map_err(|failure| {
        let is_of_main = matches!(failure, Failure::Refused(Refusal::Ended))
            && signal.whom == Whom::Main
            && process.info().end.is_none();
        if is_of_main {
            errors::main_process_ended(signal.id)
        } else {
            errors::failed(&failure, signal.id, None)
        }
    })?;
    Ok(v1::SignalProcessResponse {
        boot_epoch: server.boot_epoch(),
    })
}

async fn send(server: &Server, client: &Client, signal: Signal) -> Result<(), Failure> {
    let permit = server.permits.change(client).await?;
    let ask = Ask::Signal(signal.id, signal.number, signal.whom);
    let done = |answered: Answered<'_>| answered.done();
    server.supervisor.ask(client, permit, ask, done).await
}
