//! GetReceipt: made and signed by the supervisor, and handed on as it is.

use prn_ipc_protocol::message::{Ask, Reply};
use prn_ipc_protocol::policy::Verb;
use prn_proto::v1;
use tonic::Status;

use crate::calls::server::Server;
use crate::clients::Client;
use crate::convert::id;
use crate::errors;
use crate::supervisor::{Answered, Unexpected};

/// The receipt of a process that has ended.
pub async fn get_receipt(
    server: &Server,
    client: &Client,
    request: v1::GetReceiptRequest,
) -> Result<v1::GetReceiptResponse, Status> {
    let raw = request.process.unwrap_or_default();
    let id = id::parsed(&raw.id, "process.id")?;
    server.process(client, id)?;
    client.access.check(Verb::List)?;
    let failed = |failure| errors::failed(&failure, id, None);
    let permit = server.permits.usage(client).await.map_err(failed)?;
    let read = |answered: Answered<'_>| match answered.reply {
        Reply::Receipt(receipt) => Ok(Ok(*receipt)),
        Reply::Done
        | Reply::Existing
        | Reply::Subscribed
        | Reply::Input { .. }
        | Reply::InputOver { .. }
        | Reply::Usage(_)
        | Reply::Startable(_)
        | Reply::Refused(_) => Err(Unexpected),
    };
    let ask = Ask::Receipt(id);
    let asked = server.supervisor.ask(client, permit, ask, read).await;
    let receipt = asked.map_err(failed)?;
    Ok(v1::GetReceiptResponse {
        body: receipt.body,
        signature: receipt.signature,
        boot_epoch: server.boot_epoch(),
    })
}
