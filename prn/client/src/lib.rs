//! Client library for prn, a remote process runner: start a command on another Linux machine,
//! leave, come back from anywhere, read all of its output, know exactly how it ended, and stop all
//! of it.
//!
//! - [`Client`]: a connection, and the five calls on it.
//! - [`credentials`]: certificates and keys from files and the environment.
//!
//! The server is reached over TLS 1.3. Each side has one self-signed Ed25519 certificate, and pins
//! that of the other: no name and no authority is involved. `prn keygen` makes them.
//!
//! ```no_run
//! use prn_client::{Client, Event, OutputRequest, StartSpec};
//! use prn_client::credentials::{Credentials, KeySource};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let key = KeySource::File("client.key".into());
//! let credentials = Credentials::load("client.pem".as_ref(), &key, "server.pem".as_ref())?;
//! let client = Client::connect("127.0.0.1:50051", &credentials).await?;
//!
//! let started = client.start(&StartSpec::new(["uname", "-a"])).await?;
//! let mut output = client.output(started.process.id, OutputRequest::default()).await?;
//! while let Some(event) = output.next().await? {
//!     match event {
//!         Event::Data { data, .. } => println!("{} bytes", data.len()),
//!         Event::Gap { from, to } => println!("bytes {from}..{to} were dropped"),
//!         Event::End(end) => println!("{:?}", end.exit),
//!     }
//! }
//! # Ok(())
//! # }
//! ```

pub mod credentials;
mod error;
mod frames;
mod list;
mod output;
mod transport;
mod types;

use std::sync::Arc;
use std::time::Duration;

use prn_proto::BOOT_EPOCH_METADATA;
use prn_proto::tls;
use prn_proto::v1::process_runner_service_client::ProcessRunnerServiceClient;
use prn_proto::v1::{self};
use tonic::Status;
use tonic::transport::Channel;
use tower::ServiceExt;

pub use error::{Cause, ClientError, ServerError};
pub use list::{ListRequest, Pages};
pub use output::{Event, OutputEnd, OutputRequest, OutputStream, Source, When};
pub use prn_proto::Tail;
pub use prn_proto::defaults::{FOLLOW_TIMEOUT, STOP_GRACE};
pub use prn_proto::id::{InvalidProcessId, ProcessId};
pub use prn_proto::reason;
pub use tonic::Code;
pub use types::{
    AppliedLimits, Exit, ExitKind, LeftBehind, Limits, OutputPolicy, OutputStatus, OutputStore,
    Process, ProcessStatus, Profile, StartSpec, Started, State, StopSignal, StuckTask, Usage,
    mint_id,
};

use credentials::Credentials;
use frames::Frames;
use transport::Health;

/// Most time that connecting takes, TLS handshake included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Most time that a call takes, unless [`Client::with_call_timeout`] says otherwise.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// The largest answer that is taken: servers of before there were pages sent all their processes in
/// one.
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
    call_timeout: Duration,
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
            call_timeout: CALL_TIMEOUT,
        })
    }

    /// With another deadline for each call. A stop has its grace time beside it. A process's output
    /// is under way for as long as it likes, once the server has answered.
    pub fn with_call_timeout(self, call_timeout: Duration) -> Self {
        Self {
            call_timeout,
            ..self
        }
    }

    /// Starts a process; answers when its program is running.
    ///
    /// With an id of the caller's own ([`mint_id`]) the call is safe to repeat on a new
    /// connection when its outcome is unknown: the same id and specification give the process that
    /// runs already.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the server's reason: see [`reason`].
    /// [`ClientError::NoAnswer`], [`ClientError::Lost`]: the process may be running.
    pub async fn start(&self, spec: &StartSpec) -> Result<Started, ClientError> {
        let request = v1::StartRequest::try_from(spec)?;
        let mut service = self.service.clone();
        self.answered(self.call_timeout, service.start(request))
            .await?
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
        let mut service = self.service.clone();
        let response = self
            .answered(self.call_timeout, service.status(request))
            .await?
            .into_inner();
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
            grace: grace.map(types::to_wire_duration).transpose()?,
        };
        let within = match signal {
            StopSignal::Term => self
                .call_timeout
                .saturating_add(grace.unwrap_or(STOP_GRACE)),
            StopSignal::Kill => self.call_timeout,
        };
        let mut service = self.service.clone();
        let response = self
            .answered(within, service.stop(request))
            .await?
            .into_inner();
        Process::of(id, response.process_status)
    }

    /// All processes that the server knows, oldest first.
    ///
    /// # Errors
    /// As [`Pages::next`].
    pub async fn list(&self) -> Result<Vec<Process>, ClientError> {
        let mut pages = self.pages(ListRequest {
            with_argv: true,
            ..ListRequest::default()
        });
        let mut all = Vec::new();
        while let Some(page) = pages.next().await? {
            all.extend(page);
        }
        Ok(all)
    }

    /// Some of them, or another order, page by page.
    pub fn pages(&self, request: ListRequest) -> Pages {
        Pages::new(self.clone(), request)
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
        let response = self
            .answered(self.call_timeout, service.get_output(message))
            .await?;
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

    /// What the server answers, for so long. Whoever gives up resets the call, which frees the
    /// server of it too.
    async fn answered<T>(
        &self,
        within: Duration,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, ClientError> {
        tokio::time::timeout(within, call)
            .await
            .map_err(|_| ClientError::NoAnswer { after: within })?
            .map_err(|status| self.health.explain(status))
    }
}
