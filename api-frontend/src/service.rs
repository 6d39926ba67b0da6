//! The five calls. Each converts, asks the mirror or the supervisor, and converts back.

use std::sync::Arc;

use futures_util::stream::{empty, unfold};
use prn_ipc_protocol::config;
use prn_ipc_protocol::types::{ProcessId, UnixMicros};

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use prn_proto::LEFT_OUT_METADATA;
use prn_proto::v1;
use prn_proto::v1::process_runner_service_server::ProcessRunnerService;
use prost::Message;
use ring::rand::{SecureRandom, SystemRandom};
use tonic::{Request, Response, Status};

use crate::clients::Client;
use crate::convert::{ARGUMENTS_MAX, Defaults, Violations};
use crate::errors::Asked;
use crate::list::Query;
use crate::mirror::{Mirror, Process};
use crate::output::Subscription;
use crate::output::body::{Frames, Handed};
use crate::output::chunks::Chunks;
use crate::quota::Quota;
use crate::supervisor::Supervisor;
use crate::{convert, errors, log};

/// Most bytes in a request message. An argument of one byte takes three here and two in
/// [`ARGUMENTS_MAX`], an empty one two and one: what that limit allows is refused by name and not
/// for its size.
pub const REQUEST_MAX: usize = 2 * ARGUMENTS_MAX + 64 * 1024;

/// Names the compressions that the client asks for. [`crate::envelope`] leaves it only where there
/// is one.
pub const ACCEPT_ENCODING: &str = "grpc-accept-encoding";

/// What [`crate::envelope`] has to know of an answer, in its response's extensions.
#[derive(Clone, Default)]
pub struct Answer {
    /// Of the message.
    pub bytes: usize,
    /// Further trailing metadata.
    pub trailers: HeaderMap,
}

/// A response with one message.
fn response<T: Message>(message: T) -> Response<T> {
    let answer = Answer {
        bytes: message.encoded_len(),
        trailers: HeaderMap::new(),
    };
    let mut response = Response::new(message);
    response.extensions_mut().insert(answer);
    response
}

/// Whose call it is: [`crate::envelope`] has said so.
fn client<T>(request: &Request<T>) -> Result<Arc<Client>, Status> {
    let client = request.extensions().get::<Arc<Client>>();
    client.cloned().ok_or_else(errors::internal)
}

/// The service.
pub struct Service {
    mirror: Arc<Mirror>,
    supervisor: Supervisor,
    random: SystemRandom,
    subscribers: Arc<Quota<ProcessId>>,
    chunks: Arc<Chunks>,
    epoch: Arc<str>,
    defaults: Defaults,
}

impl Service {
    /// Over the supervisor's mirror and its stub, with as many output streams as there may be.
    pub fn new(
        config: &config::Frontend,
        mirror: Arc<Mirror>,
        supervisor: Supervisor,
        subscribers: Arc<Quota<ProcessId>>,
    ) -> Self {
        let (epoch, defaults) = (config.epoch.to_string().into(), config.into());
        let (random, chunks) = (SystemRandom::new(), Arc::default());
        Self {
            mirror,
            supervisor,
            random,
            subscribers,
            chunks,
            epoch,
            defaults,
        }
    }

    fn epoch(&self) -> String {
        self.epoch.as_ref().to_owned()
    }

    fn mint(&self) -> Result<ProcessId, Status> {
        let mut bytes = [0; 16];
        self.random.fill(&mut bytes).map_err(|_| {
            log::line("the kernel gives no random bytes");
            errors::internal()
        })?;
        Ok(ProcessId::from_bytes(bytes))
    }

    fn process(
        &self,
        named: Option<v1::ProcessIdentifier>,
    ) -> Result<(ProcessId, Arc<Process>), Status> {
        let id = convert::process_id(named).map_err(Status::from)?;
        Ok((id, self.known(id)?))
    }

    fn known(&self, id: ProcessId) -> Result<Arc<Process>, Status> {
        let process = self.mirror.process(id);
        process.ok_or_else(|| errors::process_not_found(id))
    }
}

#[tonic::async_trait]
impl ProcessRunnerService for Service {
    async fn start(
        &self,
        request: Request<v1::StartRequest>,
    ) -> Result<Response<v1::StartResponse>, Status> {
        let client = client(&request)?;
        let spec = convert::start_spec(request.into_inner(), &self.defaults, || self.mint())?;
        if self.mirror.draining() {
            return Err(errors::draining());
        }
        let (id, asked) = (spec.id, Asked::from(&spec));
        let started = self
            .supervisor
            .start(&client, Box::new(spec))
            .await
            .map_err(|failure| errors::failed(failure, id, Some(&asked)))?;
        Ok(response(v1::StartResponse {
            response: Some(convert::process(&started.info)),
            boot_epoch: self.epoch(),
            already_running: started.existing,
        }))
    }

    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        let (_, process) = self.process(request.into_inner().process_identifier)?;
        Ok(response(v1::StatusResponse {
            process_status: Some(convert::process_status(&process.info())),
            boot_epoch: self.epoch(),
        }))
    }

    async fn stop(
        &self,
        request: Request<v1::StopRequest>,
    ) -> Result<Response<v1::StopResponse>, Status> {
        let client = client(&request)?;
        let request = request.into_inner();
        let mut violations = Violations::default();
        let how = convert::stop_how(request.signal, request.grace, &mut violations);
        let id = violations.check(convert::process_id(request.process_identifier));
        let (Some(how), Some(id)) = (how, id) else {
            return Err(violations.into());
        };
        let known = self.known(id)?.info();
        // What has ended is not the supervisor's business any more, and the answer stays the same.
        let info = if known.end.is_some() {
            known
        } else {
            self.supervisor
                .stop(&client, id, how)
                .await
                .map_err(|failure| errors::failed(failure, id, None))?
        };
        Ok(response(v1::StopResponse {
            process_status: Some(convert::process_status(&info)),
            boot_epoch: self.epoch(),
        }))
    }

    async fn list(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListResponse>, Status> {
        let client = client(&request)?;
        let query = Query::new(request.get_ref(), UnixMicros::now(), &self.epoch)?;
        // Never closed. The wait ends with the call, at its deadline or with its client.
        let turn = client
            .lists
            .acquire()
            .await
            .map_err(|_| errors::internal())?;
        let mut list = query.answer(&self.mirror).await;
        drop(turn);
        list.boot_epoch = self.epoch();
        let left_out = list.left_out;
        let mut response = response(list);
        if let Some(answer) = response.extensions_mut().get_mut::<Answer>()
            && left_out > 0
        {
            let name = HeaderName::from_static(LEFT_OUT_METADATA);
            answer.trailers.insert(name, HeaderValue::from(left_out));
        }
        Ok(response)
    }

    type GetOutputStream = Frames;

    async fn get_output(
        &self,
        request: Request<v1::GetOutputRequest>,
    ) -> Result<Response<Self::GetOutputStream>, Status> {
        let client = client(&request)?;
        let compressed = request.metadata().contains_key(ACCEPT_ENCODING);
        let request = request.into_inner();
        let mut violations = Violations::default();
        let wanted = convert::wanted(&request, UnixMicros::now(), &mut violations);
        let id = violations.check(convert::process_id(request.process_identifier));
        let (Some(wanted), Some(id)) = (wanted, id) else {
            return Err(violations.into());
        };
        let process = self.known(id)?;
        // For as long as the stream lasts: a client that takes nothing holds a chunk of output
        // here.
        let place = self
            .subscribers
            .enter(id, client.fingerprint)
            .map_err(|full| errors::too_many_subscribers(full, id))?;
        let (supervisor, chunks, epoch) = (
            self.supervisor.clone(),
            Arc::clone(&self.chunks),
            Arc::clone(&self.epoch),
        );
        let subscription =
            Subscription::open(process, supervisor, &client, chunks, wanted, epoch).await?;
        let frames = Box::pin(unfold(
            (subscription, place),
            |(mut subscription, place)| async {
                subscription
                    .next()
                    .await
                    .map(|frame| (frame, (subscription, place)))
            },
        ));
        // What is compressed for each subscriber is no chunk that others could share.
        if compressed {
            return Ok(Response::new(frames));
        }
        let mut response = Response::<Frames>::new(Box::pin(empty()));
        response.extensions_mut().insert(Handed::new(frames));
        Ok(response)
    }
}
