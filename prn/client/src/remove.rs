//! The forgetting of finished processes.

use prn_proto::id::ProcessId;
#[cfg(doc)]
use prn_proto::reason;
use prn_proto::v1;

use crate::client::Client;
use crate::error::ClientError;
use crate::process::Process;
use crate::several::Processes;

/// What was forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct RemovedProcesses {
    /// Which processes.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::texts"))]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub removed: Vec<ProcessId>,
    /// Bytes of output that were kept of them.
    pub output_bytes: u64,
}

impl Client {
    /// Forgets finished processes: their status, their output, their id. Those that are named must
    /// have ended; of those that are selected, the ones that have.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with [`reason::PROCESS_NOT_FOUND`] or [`reason::PROCESS_RUNNING`].
    /// Of several, some may be gone then: its metadata
    /// [`REMOVED`](reason::metadata::REMOVED) says how many.
    pub async fn remove_processes(
        &self,
        processes: impl Into<Processes>,
    ) -> Result<RemovedProcesses, ClientError> {
        let processes = processes.into();
        let named = processes.named().to_vec();
        let (processes, selector) = processes.into_wire();
        let request = v1::RemoveProcessRequest {
            processes,
            selector,
        };
        let mut service = self.service.clone();
        let response = self
            .answered(self.call_timeout, service.remove_process(request))
            .await?
            .into_inner();
        let removed = response.removed.into_iter().map(Process::named);
        let removed: Vec<_> = removed.collect::<Result<_, _>>()?;
        if named.iter().any(|id| !removed.contains(id)) {
            return Err(ClientError::Protocol(
                "the server's answer leaves out processes that it was to remove",
            ));
        }
        Ok(RemovedProcesses {
            removed,
            output_bytes: response.output_bytes,
        })
    }
}
