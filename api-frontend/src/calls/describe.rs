//! GetServer: answered from the mirror, and from what is always so.

use prn_ipc_protocol::types::UnixMicros;
use prn_proto::{API_REVISION, v1};

use crate::calls::server::Server;
use crate::clients::Client;
use crate::convert::limits;
use crate::convert::time::timestamp;

/// Says what the server is, what it allows and how full it is.
pub fn get_server(server: &Server, client: &Client) -> v1::GetServerResponse {
    let counts = server.mirror.counts();
    let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
    let about = &server.about;
    v1::GetServerResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api_revision: API_REVISION,
        started_at: Some(timestamp(about.started)),
        now: Some(timestamp(UnixMicros::now())),
        draining: server.mirror.draining(),
        processes_running: count(counts.running),
        processes_finished: count(counts.finished),
        processes_max: about.processes_max,
        workspaces: count(server.mirror.workspaces().len()),
        certificate_not_after: about.not_after.map(timestamp),
        client_certificate_not_after: client.not_after.map(timestamp),
        default_limits: Some(limits::shown(&server.defaults.limits)),
        kernel: about.machine.kernel.clone(),
        hostname: about.machine.hostname.clone(),
        boot_epoch: server.boot_epoch(),
        principal: client.principal.to_string(),
        role: server.role_of(client),
    }
}
