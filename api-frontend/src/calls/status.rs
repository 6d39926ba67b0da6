//! Status: answered from the mirror.

use prn_proto::v1;
use tonic::Status;

use crate::calls::server::Server;
use crate::clients::Client;
use crate::convert::id;
use crate::convert::process::process_status;

/// Says what is known of a process.
pub fn status(
    server: &Server,
    client: &Client,
    request: v1::StatusRequest,
) -> Result<v1::StatusResponse, Status> {
    let id = id::named(request.process_identifier)?;
    let process = server.process(client, id)?;
    Ok(v1::StatusResponse {
        process_status: Some(process_status(&process.info())),
        boot_epoch: server.boot_epoch(),
    })
}
