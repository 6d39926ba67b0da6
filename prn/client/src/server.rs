//! What a server is.

use std::time::SystemTime;

use prn_proto::v1;

use crate::client::Client;
use crate::error::ClientError;
use crate::limits::Limits;
use crate::wire::{from_wire_duration, from_wire_time};

/// What a server is, what it allows and how full it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ServerInfo {
    /// Version of its programs.
    pub version: String,
    /// Number of the newest revision of the API that it speaks.
    pub api_revision: u32,
    /// When this run of it began, by its clock.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::time"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub started_at: Option<SystemTime>,
    /// Its clock now.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::time"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub now: Option<SystemTime>,
    /// It is shutting down: nothing starts.
    pub draining: bool,
    /// Processes that are alive.
    pub processes_running: u32,
    /// Finished processes that are remembered.
    pub processes_finished: u32,
    /// Most processes at a time.
    pub processes_max: u32,
    /// Workspaces.
    pub workspaces: u32,
    /// The server's certificate is valid until then.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::time"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub certificate_not_after: Option<SystemTime>,
    /// And the one that this client came with.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::time"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub client_certificate_not_after: Option<SystemTime>,
    /// Limits of a process that asks for none.
    pub default_limits: Limits,
    /// The name that the server knows this client by.
    pub principal: String,
    /// What that one may do: the name of its role.
    pub role: String,
    /// Kernel release of its machine.
    pub kernel: String,
    /// Name of its machine.
    pub hostname: String,
    /// Random id of this server run.
    pub boot_epoch: String,
    /// Public half (Ed25519, hexadecimal digits) of the key that signs receipts in it, if the
    /// server says.
    pub receipt_key: Option<String>,
    /// How starts are signed, if the server says.
    pub signed_starts: Option<SignedStarts>,
}

/// What a client has to know to sign starts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct SignedStarts {
    /// The server takes no other starts of this client.
    pub required: bool,
    /// The audience of this run of the server.
    pub run_audience: String,
    /// Audiences that it has in common with others.
    pub fleets: Vec<String>,
    /// For how long a signature may count, in milliseconds.
    pub window_max_ms: u64,
}

impl From<v1::SignedStarts> for SignedStarts {
    fn from(raw: v1::SignedStarts) -> Self {
        let window = raw.window_max.and_then(from_wire_duration);
        let millis = window.unwrap_or_default().as_millis();
        Self {
            required: raw.required,
            run_audience: raw.run_audience,
            fleets: raw.fleets,
            window_max_ms: u64::try_from(millis).unwrap_or(u64::MAX),
        }
    }
}

impl From<v1::GetServerResponse> for ServerInfo {
    fn from(raw: v1::GetServerResponse) -> Self {
        Self {
            version: raw.version,
            api_revision: raw.api_revision,
            started_at: raw.started_at.and_then(from_wire_time),
            now: raw.now.and_then(from_wire_time),
            draining: raw.draining,
            processes_running: raw.processes_running,
            processes_finished: raw.processes_finished,
            processes_max: raw.processes_max,
            workspaces: raw.workspaces,
            certificate_not_after: raw.certificate_not_after.and_then(from_wire_time),
            client_certificate_not_after: raw.client_certificate_not_after.and_then(from_wire_time),
            default_limits: raw.default_limits.map(Limits::from).unwrap_or_default(),
            principal: raw.principal,
            role: raw.role,
            kernel: raw.kernel,
            hostname: raw.hostname,
            boot_epoch: raw.boot_epoch,
            receipt_key: Some(raw.receipt_key).filter(|key| !key.is_empty()),
            signed_starts: raw.signed_starts.map(SignedStarts::from),
        }
    }
}

impl Client {
    /// What the server is, what it allows and how full it is. This tells in which run of the server
    /// the connection is, and so it is never asked over another one.
    ///
    /// # Errors
    /// As any call. One of before there was this call: [`ClientError::Refused`] with
    /// [`Code::Unimplemented`](crate::Code::Unimplemented).
    pub async fn server(&self) -> Result<ServerInfo, ClientError> {
        let mut service = self.service.clone();
        let response = self
            .answered(
                self.call_timeout,
                service.get_server(v1::GetServerRequest {}),
            )
            .await?
            .into_inner();
        Ok(response.into())
    }
}
