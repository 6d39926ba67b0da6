//! Stop.

use std::sync::Arc;

use prn_ipc_protocol::message::{Ask, ProcessInfo, Refusal, Reply, StopHow};
use prn_ipc_protocol::policy::Verb;
use prn_ipc_protocol::types::ProcessId;
use prn_proto::v1;
use tonic::Status;

use crate::calls::server::Server;
use crate::clients::Client;
use crate::convert::process::process_status;
use crate::errors;
use crate::failure::Failure;
use crate::stops::Opened;
use crate::supervisor::Unexpected;
use crate::{convert, supervisor};

/// Stops a process.
pub async fn stop(
    server: &Server,
    client: &Client,
    request: v1::StopRequest,
) -> Result<v1::StopResponse, Status> {
    let (id, how) = convert::stop::stop(request)?;
    let known = server.allowed(client, Verb::Stop, id)?.info();
    // What has ended is not the supervisor's business any more, and the answer stays the same.
    let info = if known.end.is_some() {
        known
    } else {
        ask(server, client, id, how)
            .await
            .map_err(|failure| errors::failed(&failure, id, None))?
    };
    Ok(v1::StopResponse {
        process_status: Some(process_status(&info)),
        boot_epoch: server.boot_epoch(),
    })
}

/// The supervisor is asked only if no stop under way does it as soon.
async fn ask(
    server: &Server,
    client: &Client,
    id: ProcessId,
    how: StopHow,
) -> Result<Arc<ProcessInfo>, Failure> {
    let how = match how {
        StopHow::Graceful(Some(grace)) if grace.duration().is_zero() => StopHow::Kill,
        StopHow::Graceful(_) | StopHow::Kill => how,
    };
    if let Some(wait) = server.stops.join(id, how) {
        return wait.answer().await;
    }
    let permit = match how {
        StopHow::Graceful(_) => server.permits.graceful_stop(client)?,
        StopHow::Kill => server.permits.kill(client).await?,
    };
    let wait = match server.stops.open(id, how, permit)? {
        Opened::New(answer, wait) => {
            let waiting: supervisor::Waiting = Box::new(move |answered| {
                let info = match answered {
                    Ok(answered) if answered.reply == Reply::Done => {
                        // It may be forgotten by now.
                        let process = answered.mirror.process(id);
                        let info = process.map(|process| process.info());
                        info.ok_or(Failure::Refused(Refusal::UnknownProcess))
                    }
                    Ok(_) => return Err(Unexpected),
                    Err(failure) => Err(failure),
                };
                answer.give(info);
                Ok(())
            });
            server
                .supervisor
                .send(client, Ask::Stop(id, how), waiting)?;
            wait
        }
        Opened::Joined(wait) => wait,
    };
    wait.answer().await
}
