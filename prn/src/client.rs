//! A connection to a prn server, and the five calls on it.

mod error;
mod frames;
mod output;
mod transport;
mod types;

use std::sync::Arc;
use std::time::Duration;

use prn_proto::BOOT_EPOCH_METADATA;
use prn_proto::tls;
use prn_proto::v1::process_runner_service_client::ProcessRunnerServiceClient;
use prn_proto::v1::{self};
use tonic::transport::Channel;
use tower::ServiceExt;

pub use error::{Cause, ClientError, ServerError, reason};
pub use output::{Event, OutputEnd, OutputRequest, OutputStream, Source, Tail, When};
pub use tonic::Code;
pub use types::{
    AppliedLimits, Exit, ExitKind, InvalidProcessId, Limits, OutputPolicy, OutputStatus,
    OutputStore, Process, ProcessId, ProcessStatus, Profile, StartSpec, Started, State, StopSignal,
    StuckTask, Usage,
};

use crate::credentials::Credentials;
use frames::Frames;
use transport::Health;

/// Most time that connecting takes, TLS handshake included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest answer that a server makes: a list of all its processes.
const RESPONSE_MAX: usize = 64 * 1024 * 1024 + 1024;

/// One connection to one server. Cheap to clone; the clones share it.
///
/// It is made once: after [`ClientError::Lost`] every further call fails, and the caller connects
/// again.
#[derive(Debug, Clone)]
pub struct Client {
    service: ProcessRunnerServiceClient<Channel>,
    channel: Channel,
    health: Arc<Health>,
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
        let config = tls::client_config(
            &credentials.certificate,
            &credentials.key,
            credentials.server.clone(),
        )?;
        let health = Arc::new(Health::default());
        let channel = tokio::time::timeout(
            CONNECT_TIMEOUT,
            transport::connect(address, config, &health),
        )
        .await
        .map_err(|_| ClientError::Timeout {
            address: address.to_owned(),
            after: CONNECT_TIMEOUT,
        })??;
        let service = ProcessRunnerServiceClient::new(channel.clone())
            .max_decoding_message_size(RESPONSE_MAX);
        Ok(Self {
            service,
            channel,
            health,
        })
    }

    /// Starts a process; answers when its program is running.
    ///
    /// With an id of the caller's own ([`ProcessId::mint`]) the call is safe to repeat on a new
    /// connection when its outcome is unknown: the same id and specification give the process that
    /// runs already.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the server's reason: see [`reason`].
    pub async fn start(&self, spec: &StartSpec) -> Result<Started, ClientError> {
        let request = v1::StartRequest::try_from(spec)?;
        self.service
            .clone()
            .start(request)
            .await
            .map_err(|status| self.error(status))?
            .into_inner()
            .try_into()
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
            .service
            .clone()
            .status(request)
            .await
            .map_err(|status| self.error(status))?
            .into_inner();
        Process::of(id, response.process_status)
    }

    /// Stops a process with everything it started; answers when nothing of it is left, or when the
    /// server gives up on what cannot be killed: the state tells which. Stopping a stopped process
    /// gives the same answer again.
    ///
    /// `grace` is the time between SIGTERM and SIGKILL; `None` is what the process was started
    /// with.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn stop(
        &self,
        id: ProcessId,
        signal: StopSignal,
        grace: Option<Duration>,
    ) -> Result<Process, ClientError> {
        let request = v1::StopRequest {
            process_identifier: Some(id.into()),
            signal: v1::Signal::from(signal).into(),
            grace: grace.map(types::to_wire_duration).transpose()?,
        };
        let response = self
            .service
            .clone()
            .stop(request)
            .await
            .map_err(|status| self.error(status))?
            .into_inner();
        Process::of(id, response.process_status)
    }

    /// All processes that the server knows, oldest first.
    ///
    /// # Errors
    /// [`ClientError::Refused`] if the list is too long for one answer.
    pub async fn list(&self) -> Result<Vec<Process>, ClientError> {
        let request = v1::ListRequest {};
        let response = self
            .service
            .clone()
            .list(request)
            .await
            .map_err(|status| self.error(status))?
            .into_inner();
        response
            .processes
            .into_iter()
            .map(Process::try_from)
            .collect()
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
        let channel = self.channel.clone().map_response(frames::hand_over);
        let mut service =
            ProcessRunnerServiceClient::new(channel).max_decoding_message_size(RESPONSE_MAX);
        let response = service
            .get_output(message)
            .await
            .map_err(|status| self.error(status))?;
        let epoch = response
            .metadata()
            .get(BOOT_EPOCH_METADATA)
            .and_then(|epoch| epoch.to_str().ok())
            .map(str::to_owned);
        Ok(OutputStream::new(
            Frames::new(response, RESPONSE_MAX),
            request,
            epoch,
            Arc::clone(&self.health),
        ))
    }

    fn error(&self, status: tonic::Status) -> ClientError {
        self.health.explain(status)
    }
}
