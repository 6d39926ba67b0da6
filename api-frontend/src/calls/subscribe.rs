//! GetOutput: a subscription to a process's output.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use futures_util::stream::unfold;
use prn_ipc_protocol::message::{Ask, Reply};
use prn_ipc_protocol::output::Reader;
use prn_ipc_protocol::types::{ProcessId, UnixMicros};
use prn_proto::v1;
use tonic::Status;

use crate::calls::server::Server;
use crate::clients::Client;
use crate::convert::subscribe::wanted;
use crate::errors;
use crate::failure::Failure;
use crate::mirror::Process;
use crate::permits::Permit;
use crate::subscribe::body::Frames;
use crate::subscribe::subscription::{Source, Subscription, unreadable};
use crate::supervisor::{Answered, Supervisor, Unexpected};

/// Opens a stream of a process's output.
pub async fn subscribe(
    server: &Server,
    client: &Client,
    request: &v1::GetOutputRequest,
) -> Result<Frames, Status> {
    let (id, wanted) = wanted(request, UnixMicros::now())?;
    let process = server.process(id)?;
    // For as long as the stream lasts: a client that takes nothing holds a chunk of output here.
    let slot = server
        .subscribers
        .enter(id, client.fingerprint)
        .map_err(|full| errors::too_many_subscribers(full, id))?;
    let source = Source {
        reader: reader(server, client, &process).await?,
        process,
        supervisor: server.supervisor.clone(),
        chunks: Arc::clone(&server.chunks),
        epoch: Arc::clone(&server.epoch),
    };
    let subscription = Subscription::open(source, wanted).await?;
    Ok(Box::pin(unfold(
        (subscription, slot),
        |(mut subscription, slot)| async {
            let frame = subscription.next().await?;
            Some((frame, (subscription, slot)))
        },
    )))
}

/// The process's output, opened if nobody reads it yet; `None` if it ended without a byte, and has
/// nothing to be opened.
async fn reader(
    server: &Server,
    client: &Client,
    process: &Process,
) -> Result<Option<Arc<Reader>>, Status> {
    let info = process.info();
    if info.end.as_ref().is_some_and(|end| end.output.end == 0) {
        return Ok(None);
    }
    if let Some(reader) = process.hub.reader() {
        return Ok(Some(reader));
    }
    let opened = async {
        // Before the lock: who has it waits for the supervisor, and never for other calls of its
        // own client.
        let permit = server.permits.subscription(client).await?;
        let open = ask(&server.supervisor, permit, info.id);
        process.hub.reader_or(open).await
    };
    opened.await.map(Some).map_err(|failure| {
        if let Failure::Output(error) = &failure {
            return unreadable(info.id, error);
        }
        errors::failed(&failure, info.id, None)
    })
}

async fn ask(supervisor: &Supervisor, permit: Permit, id: ProcessId) -> Result<Reader, Failure> {
    let read = |answered: Answered<'_>| {
        if answered.reply != Reply::Subscribed {
            return Err(Unexpected);
        }
        let [data, page]: [OwnedFd; 2] = answered.descriptors.try_into().map_err(|_| Unexpected)?;
        Ok(Reader::new(File::from(data), File::from(page)).map_err(Failure::Output))
    };
    supervisor.ask(permit, Ask::Subscribe(id), read).await
}
