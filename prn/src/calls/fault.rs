//! What went wrong with a call, as JSON.

use std::fmt::Display;

use prn_client::{ClientError, ServerError, reason};
use schemars::JsonSchema;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::error_line;
use crate::which::reference::ReferenceError;

/// Names of faults that no server has a name for.
mod names {
    pub const INVALID_REQUEST: &str = "INVALID_REQUEST";
    pub const AMBIGUOUS: &str = "AMBIGUOUS";
    pub const UNREACHABLE: &str = "UNREACHABLE";
    pub const NO_ANSWER: &str = "NO_ANSWER";
    pub const LOST: &str = "LOST";
    pub const NOT_AUTHORISED: &str = "NOT_AUTHORISED";
    pub const STILL_ALIVE: &str = "STILL_ALIVE";
    pub const OUTSIDE: &str = "OUTSIDE_OF_WORKSPACE";
    pub const FAILED: &str = "FAILED";
}

/// What went wrong with a call.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Fault {
    /// Its name, for programs: the server's (ErrorInfo.reason), or one of prn's.
    pub reason: String,
    /// What happened.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Fault {
    /// Of this name.
    pub fn new(reason: &str, message: impl Display, next: Option<&str>) -> Self {
        Self {
            reason: reason.to_owned(),
            message: message.to_string(),
            next: next.map(str::to_owned),
        }
    }

    /// A request that is malformed.
    pub fn malformed(message: impl Display) -> Self {
        Self::new(names::INVALID_REQUEST, message, None)
    }

    /// A field of it that is.
    pub fn invalid(field: &str, why: impl Display) -> Self {
        Self::malformed(format!("{field}: {why}"))
    }

    /// A stop that took too long.
    pub fn still_alive(message: impl Display) -> Self {
        let next = "a process that cannot be killed waits for the kernel; look again with status";
        Self::new(names::STILL_ALIVE, message, Some(next))
    }

    /// What is not in the workspace that all is to be in.
    pub fn outside(message: impl Display, next: &str) -> Self {
        Self::new(names::OUTSIDE, message, Some(next))
    }

    /// An id that is not to be had, whoever has it.
    pub fn id_taken() -> Self {
        let next = "leave id out: one is made up";
        Self::new(reason::PROCESS_EXISTS, "the id is taken", Some(next))
    }

    /// The same without a word of what is not in the workspace that all is to be in.
    pub fn within(self) -> Self {
        match self.reason.as_str() {
            reason::PROCESS_EXISTS | reason::PROCESS_FORGOTTEN => Self::id_taken(),
            reason::NAME_TAKEN => {
                let next = "choose another name, or stop the process that list shows with it";
                Self::new(reason::NAME_TAKEN, "the name is taken", Some(next))
            }
            _ => self,
        }
    }

    /// Anything else.
    pub fn failed(message: impl Display, next: &str) -> Self {
        Self::new(names::FAILED, message, Some(next))
    }
}

impl From<ClientError> for Fault {
    fn from(error: ClientError) -> Self {
        if let Some(refusal) = error.refusal() {
            return refused(refusal);
        }
        let (reason, next) = match &error {
            ClientError::Connect { .. }
            | ClientError::Timeout { .. }
            | ClientError::Handshake { .. } => (
                names::UNREACHABLE,
                "the server does not run there, or cannot be reached; try again later",
            ),
            ClientError::WrongServer { .. }
            | ClientError::NotAuthorised(_)
            | ClientError::Tls(_) => (
                names::NOT_AUTHORISED,
                "whoever set prn up has to give it other certificates",
            ),
            ClientError::NoAnswer { .. } => (
                names::NO_ANSWER,
                "it is unknown whether the call took effect; look with status or list",
            ),
            ClientError::ProcessLost => (
                names::LOST,
                "all processes ended with the server's last run; start it again",
            ),
            ClientError::Lost(_) | ClientError::CutOff { .. } => (
                names::UNREACHABLE,
                "it is unknown whether the call took effect; look with status or list",
            ),
            ClientError::Refused(_)
            | ClientError::InputCutOff(_)
            | ClientError::NotSigned(_)
            | ClientError::Protocol(_)
            | _ => {
                return Self::new(names::FAILED, error_line(&error, None), None);
            }
        };
        Self::new(reason, error_line(&error, None), Some(next))
    }
}

fn refused(refusal: &ServerError) -> Fault {
    let mut message = refusal.to_string();
    if refusal.is_bad_request() {
        let fields = refusal.violations.iter();
        let fields: Vec<_> = fields
            .map(|wrong| format!("{}: {}", wrong.field, wrong.description))
            .collect();
        message = fields.join("; ");
    }
    Fault::new(&refusal.reason, message, next(refusal))
}

/// What to do about a no of the server.
fn next(refusal: &ServerError) -> Option<&'static str> {
    Some(match refusal.reason.as_str() {
        reason::PROCESS_NOT_FOUND => "list shows all processes that there are",
        reason::PROCESS_ENDED => "status says how it ended, output what it wrote",
        reason::PROCESS_RUNNING => "stop ends it",
        reason::NAME_TAKEN => "choose another name, or stop the one that has it",
        reason::COMMAND_NOT_FOUND => {
            "it is looked up in the PATH of the server's processes; run `command -v NAME` in a script to see what is there"
        }
        reason::WORKSPACE_NOT_FOUND => "whoever set prn up makes it: prn workspace create NAME",
        reason::OFFSET_BEYOND_END => "that is all of the output: it has ended",
        reason::LIMIT_ABOVE_CEILING => "ask for less, or for none: the server's default",
        reason::LIMIT_NOT_ENFORCEABLE => "leave the limit out, or say best_effort_limits",
        reason::TOO_MANY_PROCESSES | reason::OUTPUT_BUDGET | reason::ARGUMENTS_BUDGET => {
            "stop or remove processes that are not needed any more"
        }
        reason::TOO_MANY_REQUESTS | reason::TOO_MANY_WAITS | reason::TOO_MANY_SUBSCRIBERS => {
            "make fewer calls at a time"
        }
        reason::DRAINING => "the server shuts down: all its processes end",
        reason::RESTARTING => "try again",
        _ => return None,
    })
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        if let Failure::StartUnknown { id, source } = &failure {
            let why = error_line(source, None);
            let next = "start it again with this id, which starts nothing twice";
            let text = format!("it is unknown whether process {id} was started: {why}");
            return Self::new(names::NO_ANSWER, text, Some(next));
        }
        if let Failure::StartLost(_) = &failure {
            let next =
                "if it was started at all, it has ended; start it again if once more does no harm";
            return Self::new(names::LOST, error_line(&failure, None), Some(next));
        }
        if let Failure::Client(error) = failure {
            return error.into();
        }
        Self::new(
            names::FAILED,
            error_line(&failure, None),
            failure.hint().as_deref(),
        )
    }
}

impl From<ReferenceError> for Fault {
    fn from(error: ReferenceError) -> Self {
        let text = error.to_string();
        match error {
            ReferenceError::Client(error) => error.into(),
            ReferenceError::None(_) => Self::new(
                reason::PROCESS_NOT_FOUND,
                text,
                Some("list shows all processes that there are"),
            ),
            ReferenceError::Ambiguous { .. } => {
                Self::new(names::AMBIGUOUS, text, Some("write more of the id"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_a_workspace_nothing_is_said_of_what_is_outside() {
        let id = "fcd2310e7b9a462a5d88c3a0ff4e2d9b";
        let text = format!("process {id} is there");
        for taken in [
            reason::NAME_TAKEN,
            reason::PROCESS_EXISTS,
            reason::PROCESS_FORGOTTEN,
        ] {
            let fault = Fault::new(taken, &text, Some(id)).within();
            let said = serde_json::to_string(&fault).unwrap();
            assert!(!said.contains(id) && said.contains("is taken"), "{said}");
        }
        let other = Fault::new(reason::DRAINING, &text, None).within();
        assert_eq!(other.message, text);
    }
}
