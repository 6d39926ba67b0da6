//! CheckAccess: what a client may do, by the policy; of a start, by what the supervisor says to it.

use prn_ipc_protocol::message::{Ask, Reply, StartSpec, Startable};
use prn_ipc_protocol::policy::Verb;
use prn_ipc_protocol::types::UnixMicros;
use prn_proto::v1;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::calls::server::Server;
use crate::calls::start;
use crate::clients::Client;
use crate::convert::access::{self, Question};
use crate::convert::signature::signed_starts;
use crate::errors::{self, Asked};
use crate::failure::Failure;
use crate::supervisor::{Answered, Unexpected};

/// Says what the client may do. Starts nothing.
pub async fn check_access(
    server: &Server,
    client: &Client,
    request: v1::CheckAccessRequest,
) -> Result<v1::CheckAccessResponse, Status> {
    let role = client.access.role().map_err(errors::denied)?;
    let (verbs, reach) = access::shown_role(role);
    let mut answer = v1::CheckAccessResponse {
        principal: client.access.principal().to_string(),
        role: client.access.role_name(),
        verbs,
        reach: reach.into(),
        signed_starts: Some(signed_starts(
            client.access.policy(),
            client.access.principal(),
            server.mirror.receipt_key(),
        )),
        boot_epoch: server.boot_epoch(),
        ..access::bounded(role, UnixMicros::now())
    };
    match answered(server, client, access::question(request)?).await? {
        Ok(startable) => {
            answer.allowed = true;
            answer.start = startable;
        }
        Err(status) => {
            let info = status.get_details_error_info();
            answer.reason = info.map_or_else(String::new, |info| info.reason);
            status.message().clone_into(&mut answer.why);
        }
    }
    Ok(answer)
}

/// Yes, with what a start would come to, or why not. Fails where there is no answer.
async fn answered(
    server: &Server,
    client: &Client,
    question: Question,
) -> Result<Result<Option<v1::Startable>, Status>, Status> {
    let may = |verb: Verb| match client.access.may(verb) {
        Ok(_) => Ok(None),
        Err(denial) => Err(errors::denied(denial)),
    };
    match question {
        Question::Role => Ok(Ok(None)),
        Question::Verb(verb) => Ok(may(verb)),
        Question::Process(verb, id) => {
            server.process(client, id)?;
            Ok(may(verb))
        }
        Question::Start(request) => {
            let spec = match start::spec(server, client, *request) {
                Ok(spec) => spec,
                Err(status) => return unless_malformed(status),
            };
            let (id, asked) = (spec.id, Asked::from(&spec));
            let filled_in = access::FilledIn::from(&spec.process);
            match try_start(server, client, spec).await {
                Ok(startable) => Ok(Ok(Some(access::startable(&startable, filled_in)))),
                Err(failure @ Failure::Refused(_)) => {
                    unless_malformed(start::failed(server, client, &failure, id, &asked))
                }
                Err(failure) => Err(start::failed(server, client, &failure, id, &asked)),
            }
        }
    }
}

/// A no, and not a question that has no answer.
fn unless_malformed<T>(status: Status) -> Result<Result<T, Status>, Status> {
    let is_no_answer = matches!(
        status.code(),
        Code::InvalidArgument | Code::Unavailable | Code::Internal
    );
    if is_no_answer {
        Err(status)
    } else {
        Ok(Err(status))
    }
}

async fn try_start(
    server: &Server,
    client: &Client,
    spec: StartSpec,
) -> Result<Startable, Failure> {
    let permit = server.permits.start(client)?;
    let read = |answered: Answered<'_>| match answered.reply {
        Reply::Startable(startable) => Ok(Ok(*startable)),
        Reply::Done
        | Reply::Existing
        | Reply::Subscribed
        | Reply::Input { .. }
        | Reply::InputOver { .. }
        | Reply::Usage(_)
        | Reply::Receipt(_)
        | Reply::Refused(_) => Err(Unexpected),
    };
    let ask = Ask::TryStart(Box::new(spec));
    server.supervisor.ask(client, permit, ask, read).await
}
