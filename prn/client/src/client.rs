//! A connection to a server, and the calls on it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
#[cfg(doc)]
use prn_proto::defaults::STOP_GRACE;
use prn_proto::id::ProcessId;
#[cfg(doc)]
use prn_proto::reason;
use prn_proto::tls::{self, Server, Signer};
use prn_proto::v1;
use prn_proto::v1::process_runner_service_client::ProcessRunnerServiceClient;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use tonic::transport::Channel;
use tonic::{Response, Status};
use tower::ServiceExt;

use crate::choices::StopSignal;
use crate::credentials::Credentials;
use crate::error::{ClientError, boot_epoch};
use crate::frames::{Frames, hand_over};
use crate::identity::Signing;
use crate::input::{InputAnswer, InputOpening, InputPiece, TerminalSize};
use crate::process::Process;
use crate::start::{StartSpec, Started};
use crate::subscription::{OutputRequest, OutputStream};
use crate::transport::{self, Health};
use crate::wire::{grace_beside, to_wire_duration};

/// Most time that connecting takes, TLS handshake included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Most time that a call takes, unless [`Client::with_call_timeout`] says otherwise.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// The largest answer that is taken. Servers keep theirs below 4 MiB; those of before there were pages
/// sent all their processes in one.
const RESPONSE_MAX: usize = 16 * 1024 * 1024;

/// One connection to one server. Cheap to clone; the clones share it.
///
/// It is made once: after [`ClientError::Lost`] every further call fails, and the caller connects
/// again. A handshake that is cut off is made once more, as nothing was sent yet: a server that is
/// reloaded ends the connections that it has. For calls see [`Client::asking_twice`].
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) service: Service,
    route: Option<Arc<Route>>,
    asks_twice: bool,
    channel: Channel,
    pub(crate) health: Arc<Health>,
    pub(crate) call_timeout: Duration,
    pub(crate) signing: Arc<Signing>,
}

pub(crate) type Service = ProcessRunnerServiceClient<Channel>;

/// How the server is reached.
#[derive(Debug)]
struct Route {
    address: String,
    config: ClientConfig,
    limit: Duration,
}

impl Client {
    /// Connects to `address`, "HOST:PORT".
    ///
    /// A server that does not let this client in says so only after the handshake (TLS 1.3 clients
    /// are done first), so that error comes from the first call.
    ///
    /// # Errors
    /// [`ClientError::Connect`], [`ClientError::Timeout`], [`ClientError::WrongServer`], [`ClientError::Handshake`].
    pub async fn connect(address: &str, credentials: &Credentials) -> Result<Self, ClientError> {
        Self::connect_within(address, credentials, CONNECT_TIMEOUT).await
    }

    /// The same, each of at most two attempts in this time.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_within(
        address: &str,
        credentials: &Credentials,
        limit: Duration,
    ) -> Result<Self, ClientError> {
        let server = Server::clone(&credentials.server);
        let route = Route {
            address: address.to_owned(),
            config: tls::client_config_of(&credentials.pair, server)?,
            limit,
        };
        let health = Arc::new(Health::default());
        let (channel, server) = match route.connect(&health).await {
            // Nothing was sent yet.
            Err(broken @ ClientError::Handshake { .. }) if broken.is_transient() => {
                route.connect(&health).await?
            }
            connected => connected?,
        };
        let signing = Signing {
            signer: Signer::of(&credentials.pair),
            server,
            signs_all: credentials.signs_all,
        };
        Ok(Self {
            route: Some(Arc::new(route)),
            ..Self::on(channel, health, signing)
        })
    }

    pub(crate) fn on(channel: Channel, health: Arc<Health>, signing: Signing) -> Self {
        Self {
            service: service(channel.clone()),
            route: None,
            asks_twice: false,
            channel,
            health,
            call_timeout: CALL_TIMEOUT,
            signing: Arc::new(signing),
        }
    }

    /// With another deadline for each call. A stop has its grace time beside it. A process's output
    /// is under way for as long as it likes, once the server has answered. A call that is made
    /// twice ([`Client::asking_twice`]) has it each time.
    pub fn with_call_timeout(self, call_timeout: Duration) -> Self {
        Self {
            call_timeout,
            ..self
        }
    }

    /// One that makes a call again which can be made twice (a stop, and all that only ask, but for
    /// those that wait, and for [`Client::server`]), where the connection is lost before the
    /// answer: once, over a connection of the call's own. That may lead to another run of the
    /// server, which knows nothing of the processes of the first. So this is not for whoever takes
    /// a connection's answers as those of one run.
    #[must_use]
    pub fn asking_twice(self) -> Self {
        Self {
            asks_twice: true,
            ..self
        }
    }

    /// Starts a process; answers when its program is running.
    ///
    /// With an id of the caller's own ([`mint_id`](crate::mint_id)) the call is safe to repeat on a new
    /// connection when its outcome is unknown: the same id and specification give the process that
    /// runs already. Where it is to be signed ([`StartSpec::sign`], [`Credentials::signing`]) it is.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the server's reason: see [`reason`].
    /// [`ClientError::NoAnswer`], [`ClientError::Lost`]: the process may be running.
    /// [`ClientError::OtherUser`]: it is, as somebody else.
    pub async fn start(&self, spec: &StartSpec) -> Result<Started, ClientError> {
        if self.signs(spec) {
            let signed = self.sign(spec).await?;
            return self.start_signed(&signed).await;
        }
        self.start_request(v1::StartRequest::try_from(spec)?).await
    }

    /// Sends a start as it is: one that somebody else may have made and signed.
    ///
    /// # Errors
    /// As [`Client::start`].
    pub async fn start_request(&self, request: v1::StartRequest) -> Result<Started, ClientError> {
        let (id, user) = (request.id.clone(), request.user.clone());
        let mut service = self.service.clone();
        let response = self
            .answered(self.call_timeout, service.start(request))
            .await?
            .into_inner();
        Started::try_from(response)?.asked_for(&id, user)
    }

    /// Describes one process.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with [`reason::PROCESS_NOT_FOUND`].
    pub async fn status(&self, id: ProcessId) -> Result<Process, ClientError> {
        let request = v1::StatusRequest {
            process_identifier: Some(id.into()),
        };
        let response = self
            .repeatable(
                self.call_timeout,
                request,
                |mut service, request| async move { service.status(request).await },
            )
            .await?;
        Process::of(id, response.process_status)
    }

    /// Stops a process with everything it started; answers when nothing of it is left, or when the
    /// server gives up on what cannot be killed: the state tells which. Stopping a stopped process
    /// gives the same answer again.
    ///
    /// `grace` is the time between SIGTERM and SIGKILL; `None` is what the process was started
    /// with. It is waited for beside the time that a call takes; [`STOP_GRACE`] is, where the
    /// process's own is not known here.
    ///
    /// # Errors
    /// As [`Client::status`]. [`ClientError::NoAnswer`], [`ClientError::Lost`]: the stop may be
    /// under way.
    pub async fn stop(
        &self,
        id: ProcessId,
        signal: StopSignal,
        grace: Option<Duration>,
    ) -> Result<Process, ClientError> {
        let request = v1::StopRequest {
            process_identifier: Some(id.into()),
            signal: v1::Signal::from(signal).into(),
            grace: grace.map(to_wire_duration).transpose()?,
        };
        let beside = grace_beside(signal, grace);
        let within = self.call_timeout.saturating_add(beside);
        let response = self
            .repeatable(within, request, |mut service, request| async move {
                service.stop(request).await
            })
            .await?;
        Process::of(id, response.process_status)
    }

    /// Replays a process's output, then follows it, unless `request` says otherwise.
    ///
    /// # Errors
    /// As [`Client::status`]; [`ClientError::Refused`] if the request contradicts itself.
    pub async fn output(
        &self,
        id: ProcessId,
        request: OutputRequest,
    ) -> Result<OutputStream, ClientError> {
        let message = request.message(id)?;
        let channel = self.channel.clone().map_response(hand_over);
        let mut service =
            ProcessRunnerServiceClient::new(channel).max_decoding_message_size(RESPONSE_MAX);
        let response = self
            .answered(self.call_timeout, service.get_output(message))
            .await?;
        let epoch = boot_epoch(response.metadata());
        Ok(OutputStream::new(
            Frames::new(response, RESPONSE_MAX),
            request,
            epoch,
            Arc::clone(&self.health),
        ))
    }

    /// Goes on with output that was cut off: as [`Client::output`] with what
    /// [`OutputStream::resume`] says, if the server is still in the run that `epoch` names.
    ///
    /// # Errors
    /// As [`Client::output`]; [`ClientError::ProcessLost`] if it was restarted since.
    pub async fn resume(
        &self,
        id: ProcessId,
        request: OutputRequest,
        epoch: &str,
    ) -> Result<OutputStream, ClientError> {
        let stream = self
            .output(id, request)
            .await
            .map_err(|error| error.of_run(epoch))?;
        if stream.boot_epoch().is_some_and(|now| now != epoch) {
            return Err(ClientError::ProcessLost);
        }
        Ok(stream)
    }

    /// Feeds a process's standard input. Answers when `pieces` have ended and all of them were
    /// taken, or as soon as nobody reads the input any more: for as long as the process does not
    /// read, that is not yet. Pieces are asked for as fast as the server takes them.
    ///
    /// That `pieces` end does not end the process's input: [`InputPiece::End`] does. To feed it over
    /// more than one connection, see [`InputWriter`](crate::InputWriter).
    ///
    /// # Errors
    /// [`ClientError::Refused`] with [`reason::NO_INPUT`], [`reason::INPUT_IN_USE`],
    /// [`reason::INPUT_ENDED`], [`reason::NO_TERMINAL`], [`reason::INPUT_OFFSET`],
    /// [`reason::INPUT_LOST`] or [`reason::INPUT_TAKEN_OVER`]. [`ClientError::Lost`]: some of it may
    /// have been taken.
    pub async fn send_input(
        &self,
        id: ProcessId,
        opening: &InputOpening,
        pieces: impl Stream<Item = InputPiece> + Send + 'static,
    ) -> Result<InputAnswer, ClientError> {
        // At once, and alone: whoever has nothing to say for long is refused early too.
        let first = stream::iter([opening.message(id)]);
        let messages = first.chain(pieces.map(v1::SendInputRequest::from));
        let mut service = self.service.clone();
        let response = service
            .send_input(messages)
            .await
            .map_err(|status| self.health.explain(status))?;
        Ok(response.into_inner().into())
    }

    /// Says how large a process's terminal is from now on.
    ///
    /// # Errors
    /// As [`Client::status`]; [`ClientError::Refused`] with [`reason::NO_TERMINAL`].
    pub async fn resize_terminal(
        &self,
        id: ProcessId,
        size: TerminalSize,
    ) -> Result<(), ClientError> {
        let request = v1::ResizeTerminalRequest {
            process_identifier: Some(id.into()),
            terminal_size: Some(size.into()),
        };
        let mut service = self.service.clone();
        self.answered(self.call_timeout, service.resize_terminal(request))
            .await?;
        Ok(())
    }

    /// What the server answers to a call that can be made twice, within this time each time.
    ///
    /// See [`Client::asking_twice`]. This client stays with the connection that it has.
    pub(crate) async fn repeatable<Q, A, F>(
        &self,
        within: Duration,
        request: Q,
        call: impl Fn(Service, Q) -> F,
    ) -> Result<A, ClientError>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let first = call(self.service.clone(), request.clone());
        let route = self.route.as_ref().filter(|_| self.asks_twice);
        let (lost, route) = match (self.answered(within, first).await, route) {
            (Err(lost @ ClientError::Lost(_)), Some(route)) => (lost, route),
            (answer, _) => return answer.map(Response::into_inner),
        };
        let health = Arc::new(Health::default());
        let Ok((channel, _server)) = route.connect(&health).await else {
            return Err(lost);
        };
        let again = call(service(channel), request);
        answered(within, again, &health)
            .await
            .map(Response::into_inner)
    }

    /// What the server answers, for so long. Whoever gives up resets the call, which frees the
    /// server of it too.
    pub(crate) async fn answered<T>(
        &self,
        within: Duration,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, ClientError> {
        answered(within, call, &self.health).await
    }
}

impl Route {
    /// A connection, with the certificate that the server has shown.
    async fn connect(
        &self,
        health: &Arc<Health>,
    ) -> Result<(Channel, Option<CertificateDer<'static>>), ClientError> {
        let connecting = transport::connect(&self.address, self.config.clone(), health);
        tokio::time::timeout(self.limit, connecting)
            .await
            .map_err(|_| ClientError::Timeout {
                address: self.address.clone(),
                after: self.limit,
            })?
    }
}

fn service(channel: Channel) -> Service {
    ProcessRunnerServiceClient::new(channel).max_decoding_message_size(RESPONSE_MAX)
}

async fn answered<T>(
    within: Duration,
    call: impl Future<Output = Result<T, Status>>,
    health: &Health,
) -> Result<T, ClientError> {
    tokio::time::timeout(within, call)
        .await
        .map_err(|_| ClientError::NoAnswer { after: within })?
        .map_err(|status| health.explain(status))
}
