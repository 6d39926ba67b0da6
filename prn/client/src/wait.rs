//! Waiting for the end of processes.

use std::time::Duration;

use prn_proto::id::ProcessId;
#[cfg(doc)]
use prn_proto::reason;
use prn_proto::v1::{self, wait_request};

use crate::client::Client;
use crate::error::ClientError;
use crate::process::Process;
use crate::selector::Selector;

/// Which processes are waited for, and until when. The default is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaitRequest {
    /// These, 1,000 at most.
    pub processes: Vec<ProcessId>,
    /// Or those that this selects at the time of the call: there may be none.
    pub selector: Option<Selector>,
    /// Until one of them is done, not all.
    pub any: bool,
    /// What for.
    pub condition: WaitCondition,
    /// For this long at most. `None`: for as long as it takes.
    pub timeout: Option<Duration>,
}

/// What is waited for, of each process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// No process of its tree is left.
    #[default]
    Ended,
    /// Its main process has exited.
    MainExited,
}

/// How they ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waited {
    /// Those that are done, in the order of the request, or of their starts. Their
    /// [`argv`](crate::ProcessStatus::argv) is left empty.
    pub processes: Vec<Process>,
    /// Those that were forgotten meanwhile.
    pub removed: Vec<ProcessId>,
    /// The server run that answered.
    pub boot_epoch: String,
}

impl Waited {
    /// Whether it says what became of one of these, if there are any.
    fn is_about(&self, named: &[ProcessId]) -> bool {
        let ended = self.processes.iter().map(|process| &process.id);
        named.is_empty() || ended.chain(&self.removed).any(|id| named.contains(id))
    }
}

impl From<WaitRequest> for v1::WaitRequest {
    fn from(request: WaitRequest) -> Self {
        let condition = match request.condition {
            WaitCondition::Ended => wait_request::Condition::Ended,
            WaitCondition::MainExited => wait_request::Condition::MainExited,
        };
        Self {
            processes: request.processes.into_iter().map(Into::into).collect(),
            selector: request.selector.map(Into::into),
            any: request.any,
            condition: condition.into(),
        }
    }
}

impl TryFrom<v1::WaitResponse> for Waited {
    type Error = ClientError;

    fn try_from(response: v1::WaitResponse) -> Result<Self, ClientError> {
        let processes = response.processes.into_iter().map(Process::try_from);
        let removed = response.removed.into_iter().map(Process::named);
        Ok(Self {
            processes: processes.collect::<Result<_, _>>()?,
            removed: removed.collect::<Result<_, _>>()?,
            boot_epoch: response.boot_epoch,
        })
    }
}

impl Client {
    /// Waits until processes have ended. Those that have already do not wait.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with [`reason::PROCESS_NOT_FOUND`], of one of those that are named, and
    /// [`reason::TOO_MANY_WAITS`]. [`ClientError::NoAnswer`] after
    /// [`timeout`](WaitRequest::timeout). A wait that was cut off can be made again: it changes nothing.
    pub async fn wait(&self, request: &WaitRequest) -> Result<Waited, ClientError> {
        let message = v1::WaitRequest::from(request.clone());
        let mut service = self.service.clone();
        let call = service.wait(message);
        let within = request.timeout.unwrap_or(Duration::MAX);
        let answer = self.answered(within, call).await?.into_inner();
        let waited = Waited::try_from(answer)?;
        if waited.is_about(&request.processes) {
            Ok(waited)
        } else {
            // Whoever waits for the rest would ask again at once, and so for ever.
            Err(ClientError::Protocol(
                "the server's answer names none of the processes that were waited for",
            ))
        }
    }
}
