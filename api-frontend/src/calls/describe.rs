//! GetServer: answered from the mirror, and from what is always so.

use prn_ipc_protocol::policy::Verb;
use prn_ipc_protocol::types::UnixMicros;
use prn_proto::{API_REVISION, v1};

use crate::calls::server::Server;
use crate::clients::Client;
use crate::convert::time::timestamp;
use crate::convert::{limits, signature, start};
use crate::owners::Counts;
use crate::scope::Scope;

/// Says what the server is, what it allows and how full it is.
pub fn get_server(
    server: &Server,
    client: &Client,
    certificate_not_after: Option<UnixMicros>,
) -> v1::GetServerResponse {
    let counts = counts(server, client);
    let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
    let all = server.mirror.workspaces();
    let workspaces = all.iter().filter(|one| client.sees(one)).count();
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
        workspaces: count(workspaces),
        certificate_not_after: about.not_after.map(timestamp),
        client_certificate_not_after: certificate_not_after.map(timestamp),
        default_limits: Some(limits::shown(&start::default_limits(
            &server.defaults,
            client.access.role().ok(),
        ))),
        kernel: about.machine.kernel.clone(),
        hostname: about.machine.hostname.clone(),
        boot_epoch: server.boot_epoch(),
        principal: client.access.principal().to_string(),
        role: client.access.role_name(),
        receipt_key: server.mirror.receipt_key().to_owned(),
        signed_starts: Some(signature::signed_starts(
            client.access.policy(),
            client.access.principal(),
            server.mirror.receipt_key(),
        )),
    }
}

/// Of what the client gets to see; of all, for one that administers the server.
fn counts(server: &Server, client: &Client) -> Counts {
    if client.access.may(Verb::Admin).is_ok() {
        return server.mirror.counts(&Scope::All);
    }
    match client.access.may(Verb::List) {
        Ok(_) => server.mirror.counts(client.access.scope()),
        Err(_) => Counts::default(),
    }
}
