//! Start.

use std::sync::Arc;

use prn_api_frontend::log;
use prn_ipc_protocol::message::{Ask, ProcessInfo, Refusal, Reply, StartSpec};
use prn_ipc_protocol::policy::Verb;
use prn_ipc_protocol::types::{LABELS_MAX, ProcessId, UnixMicros};
use prn_proto::traceparent::{TRACEPARENT, Traceparent};
use prn_proto::v1;
use ring::rand::{SecureRandom, SystemRandom};
use tonic::Status;

use crate::calls::server::Server;
use crate::clients::Client;
use crate::convert::id::parsed;
use crate::convert::names::shown;
use crate::convert::process::process;
use crate::convert::start::start_spec;
use crate::errors::{self, Asked};
use crate::failure::Failure;
use crate::scope::Scope;
use crate::supervisor::{Answered, Unexpected};

/// Starts a process.
pub async fn start(
    server: &Server,
    client: &Client,
    request: v1::StartRequest,
) -> Result<v1::StartResponse, Status> {
    // All of the request is here by now.
    let requested = UnixMicros::now();
    client.access.check(Verb::Start)?;
    let spec = StartSpec {
        requested: Some(requested),
        ..spec(server, client, request)?
    };
    if server.mirror.draining() {
        return Err(errors::draining());
    }
    let (id, asked) = (spec.id, Asked::from(&spec));
    let started = ask(server, client, spec)
        .await
        .map_err(|failure| failed(server, client, &failure, id, &asked))?;
    Ok(v1::StartResponse {
        response: Some(process(&started.info)),
        boot_epoch: server.boot_epoch(),
        already_running: started.is_existing,
    })
}

/// The same with the trace that the call belongs to, which the process then has as a label, unless
/// the client has said exactly what is to start, or there is no room for a label.
pub fn traced(
    server: &Server,
    mut request: v1::StartRequest,
    caller: Option<Traceparent>,
) -> v1::StartRequest {
    let is_fixed = request.signature.is_some() || !request.expect_digest.is_empty();
    let is_full = request.labels.len() >= LABELS_MAX;
    let Some(caller) = caller.filter(|_| !is_fixed && !is_full) else {
        return request;
    };
    // Who asks again does so within another span, and for the same process: it has the label that
    // it has, or none.
    let known = parsed(&request.id, "id").ok().and_then(|id| {
        let process = server.mirror.process(id)?;
        let mut labels = shown(&process.info().spec.labels);
        Some(labels.remove(TRACEPARENT))
    });
    if let Some(own) = known.unwrap_or_else(|| Some(caller.to_string())) {
        let label = request.labels.entry(TRACEPARENT.to_owned());
        label.or_insert(own);
    }
    request
}

/// What is asked for, as far as the client may ask for anything like it. A no counts as no try: it
/// may be a question.
pub fn spec(
    server: &Server,
    client: &Client,
    request: v1::StartRequest,
) -> Result<StartSpec, Status> {
    let role = client.access.may(Verb::Start).map_err(errors::denied)?;
    let spec = start_spec(request, &server.defaults, Some(role), mint)?;
    // Of what is signed the supervisor decides for the signer, whom it is about.
    if let (Some(name), None) = (&spec.process.workspace, &spec.signature) {
        let workspace = server.mirror.workspace(name);
        if workspace.is_some_and(|workspace| !client.sees(&workspace)) {
            return Err(errors::workspace_not_found(name));
        }
    }
    Ok(spec)
}

/// A start failed. Of a process that the client does not get to see, it is told that it has the name,
/// and no more.
pub fn failed(
    server: &Server,
    client: &Client,
    failure: &Failure,
    id: ProcessId,
    asked: &Asked,
) -> Status {
    match (failure, asked.name()) {
        (Failure::Refused(Refusal::NameTaken(other)), Some(name))
            if *client.access.scope() != Scope::All && server.process(client, *other).is_err() =>
        {
            errors::name_taken(name, None)
        }
        _ => errors::failed(failure, id, Some(asked)),
    }
}

/// The supervisor's answer.
#[derive(Debug)]
struct Started {
    info: Arc<ProcessInfo>,
    /// Nothing new was started.
    is_existing: bool,
}

async fn ask(server: &Server, client: &Client, spec: StartSpec) -> Result<Started, Failure> {
    let permit = server.permits.start(client)?;
    let id = spec.id;
    let read = move |answered: Answered<'_>| {
        let is_existing = match answered.reply {
            Reply::Done => false,
            Reply::Existing => true,
            Reply::Subscribed
            | Reply::Input { .. }
            | Reply::InputOver { .. }
            | Reply::Usage(_)
            | Reply::Receipt(_)
            | Reply::Startable(_)
            | Reply::Refused(_) => return Err(Unexpected),
        };
        // It may have run and been forgotten by now.
        let process = answered.mirror.process(id);
        let started = process.map(|process| Started {
            info: process.info(),
            is_existing,
        });
        Ok(started.ok_or(Failure::Refused(Refusal::Forgotten)))
    };
    server
        .supervisor
        .ask(client, permit, Ask::Start(Box::new(spec)), read)
        .await
}

fn mint() -> Result<ProcessId, Status> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| {
        log::error("the kernel gives no random bytes", &[]);
        errors::internal()
    })?;
    Ok(ProcessId::from_bytes(bytes))
}
