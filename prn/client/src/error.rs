//! What can go wrong between a client and a server.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::time::Duration;

use prn_proto::BOOT_EPOCH_METADATA;
use prn_proto::id::ProcessId;
use prn_proto::reason::{self, metadata};
use prn_proto::tls::{TlsError, WrongServer};
use prn_proto::v1;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No connection: nobody listens there, or the way there is closed.
    #[error("cannot connect to {address}")]
    Connect {
        /// Where.
        address: String,
        /// What the kernel or the resolver said.
        #[source]
        source: io::Error,
    },
    /// No connection in time.
    #[error("no answer from {address} within {} s", after.as_secs())]
    Timeout {
        /// Where.
        address: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The server is not the one that is pinned. Nothing was sent to it.
    #[error("{address} is not the pinned server")]
    WrongServer {
        /// Where.
        address: String,
        /// Both fingerprints.
        #[source]
        source: WrongServer,
    },
    /// The TLS handshake failed in another way.
    #[error("no TLS connection to {address}")]
    Handshake {
        /// Where.
        address: String,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// The server does not accept this client's certificate.
    #[error("not authorised: the server does not accept this client's certificate")]
    NotAuthorised(#[source] rustls::Error),
    /// The client's own certificate or key is of no use.
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsError),
    /// The server's answer is no.
    #[error(transparent)]
    Refused(Box<ServerError>),
    /// The connection broke before the answer was complete. Whether the call took effect is
    /// unknown.
    #[error("the connection to the server was lost before it had answered")]
    Lost(#[source] Cause),
    /// The server has not answered in time. Whether the call took effect is unknown.
    #[error("the server has not answered within {after:?}")]
    NoAnswer {
        /// How long it was waited for.
        after: Duration,
    },
    /// The output stream ended without its end frame: there may be more.
    #[error("the output was cut off at byte {offset}")]
    CutOff {
        /// Offset of the first byte that was not received.
        offset: u64,
        /// Why, if that is known.
        #[source]
        source: Option<Box<ClientError>>,
    },
    /// Input cannot go on where it was when its connection was lost: nobody knows how much of what
    /// was sent the process has, or some of it is missing there.
    #[error("the process's input was cut off, and cannot go on where it was")]
    InputCutOff(#[source] Box<ServerError>),
    /// The server was restarted: the process ended with the one that ran it, nobody knows how.
    #[error("the server was restarted, and the process ended with its predecessor")]
    ProcessLost,
    /// The server has started a process as somebody else than was asked for: one that is older than
    /// users are does not look at the user. The process runs.
    #[error("process {id} was started, but with user id {uid} and not as {user}")]
    OtherUser {
        /// The process.
        id: ProcessId,
        /// Who was asked for.
        user: String,
        /// Who it is, as the server says.
        uid: u32,
    },
    /// A request or an answer is not one of this API.
    #[error("{0}")]
    Protocol(&'static str),
    /// The start was not signed, and nothing was started.
    #[error("the start was not signed: {0}")]
    NotSigned(&'static str),
}

impl ClientError {
    /// The server's answer, if there was one.
    pub fn refusal(&self) -> Option<&ServerError> {
        match self {
            Self::Refused(error) | Self::InputCutOff(error) => Some(error),
            Self::CutOff {
                source: Some(source),
                ..
            } => source.refusal(),
            Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::WrongServer { .. }
            | Self::Handshake { .. }
            | Self::NotAuthorised(_)
            | Self::Tls(_)
            | Self::Lost(_)
            | Self::NoAnswer { .. }
            | Self::CutOff { source: None, .. }
            | Self::ProcessLost
            | Self::OtherUser { .. }
            | Self::NotSigned(_)
            | Self::Protocol(_) => None,
        }
    }

    /// The same error of a call on a process that ran in the server run `epoch`: one that another
    /// run does not know is dead for certain.
    pub(crate) fn of_run(self, epoch: &str) -> Self {
        let is_lost = self.refusal().is_some_and(|refusal| {
            let other = refusal
                .boot_epoch
                .as_deref()
                .is_some_and(|now| now != epoch);
            other && refusal.reason == reason::PROCESS_NOT_FOUND
        });
        if is_lost { Self::ProcessLost } else { self }
    }

    /// Whether the same call may succeed soon on a new connection.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Timeout { .. } | Self::Lost(_) => true,
            Self::Refused(error) => {
                error.code == Code::Unavailable && error.reason != reason::DRAINING
            }
            Self::CutOff { source, .. } => {
                source.as_ref().is_none_or(|source| source.is_transient())
            }
            // The connection broke, as it may at any byte: what the other side says about TLS is
            // another kind of error.
            Self::Handshake { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::TimedOut
            ),
            // Enough was waited for already.
            Self::NoAnswer { .. }
            | Self::WrongServer { .. }
            | Self::NotAuthorised(_)
            | Self::Tls(_)
            | Self::InputCutOff(_)
            | Self::ProcessLost
            | Self::OtherUser { .. }
            | Self::NotSigned(_)
            | Self::Protocol(_) => false,
        }
    }

    /// What a call would be answered, as CheckAccess has said it.
    pub(crate) fn foretold(answer: v1::CheckAccessResponse) -> Self {
        Self::Refused(Box::new(ServerError {
            code: Code::FailedPrecondition,
            message: answer.why,
            reason: answer.reason,
            metadata: HashMap::new(),
            violations: Vec::new(),
            retry_after: None,
            boot_epoch: Some(answer.boot_epoch),
        }))
    }

    /// A status, whether a server sent it or the transport made it up.
    pub(crate) fn from_status(status: Status) -> Self {
        let details = status.get_error_details();
        let info = details
            .error_info()
            .filter(|info| info.domain == reason::DOMAIN);
        // A status of the transport has a source; one that stands for a missing status is UNKNOWN
        // and has no details.
        let made_up =
            info.is_none() && (Error::source(&status).is_some() || status.code() == Code::Unknown);
        if made_up {
            return Self::Lost(Cause::of(&status));
        }
        Self::Refused(Box::new(ServerError {
            code: status.code(),
            message: status.message().to_owned(),
            reason: info.map(|info| info.reason.clone()).unwrap_or_default(),
            metadata: info.map(|info| info.metadata.clone()).unwrap_or_default(),
            violations: details
                .bad_request()
                .map(|bad| bad.field_violations.iter())
                .into_iter()
                .flatten()
                .map(|violation| FieldViolation {
                    field: violation.field.clone(),
                    description: violation.description.clone(),
                })
                .collect(),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
            boot_epoch: boot_epoch(status.metadata()),
        }))
    }
}

/// The server run that an answer comes from.
pub(crate) fn boot_epoch(metadata: &MetadataMap) -> Option<String> {
    let epoch = metadata.get(BOOT_EPOCH_METADATA)?.to_str().ok()?;
    Some(epoch.to_owned())
}

/// What broke a connection: the innermost error of the transport's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Cause(String);

impl Cause {
    fn of(status: &Status) -> Self {
        let mut innermost = Error::source(status);
        while let Some(deeper) = innermost.and_then(Error::source) {
            innermost = Some(deeper);
        }
        Self(innermost.map_or_else(|| status.message().to_owned(), ToString::to_string))
    }
}

/// An error that the server answered with.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", if message.is_empty() { code.description() } else { message.as_str() })]
#[non_exhaustive]
pub struct ServerError {
    /// Its gRPC code.
    pub code: Code,
    /// What happened, for people.
    pub message: String,
    /// Stable name of the failure, for programs (`ErrorInfo.reason`); see [`reason`]. Empty if the
    /// server gave none.
    pub reason: String,
    /// Details of it (`ErrorInfo.metadata`).
    pub metadata: HashMap<String, String>,
    /// The fields of the request that were not taken (`BadRequest`). Not all of the errors that
    /// name a field have it here: those of this host are none of the request's.
    pub violations: Vec<FieldViolation>,
    /// When to try again.
    pub retry_after: Option<Duration>,
    /// Random id of the server run that answered, if it says.
    pub boot_epoch: Option<String>,
}

impl ServerError {
    /// Whether it is the request that is wrong, and not what it met.
    pub fn is_bad_request(&self) -> bool {
        matches!(self.code, Code::InvalidArgument | Code::OutOfRange) && !self.violations.is_empty()
    }

    /// What the new process failed at, where a start failed in it.
    pub fn exec_failure(&self) -> Option<ExecFailure> {
        Some(ExecFailure {
            step: self.metadata.get(metadata::EXEC_STEP)?.clone(),
            errno: self.metadata.get(metadata::EXEC_ERRNO)?.parse().ok()?,
        })
    }
}

/// Why a process could not begin to run its program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecFailure {
    /// What the new process was at, such as "execve".
    pub step: String,
    /// errno(3) of that.
    pub errno: i32,
}

/// A field of a request that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// Its path in the request message.
    pub field: String,
    /// What it must be.
    pub description: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    #[test]
    fn a_servers_answer_and_a_broken_connection_are_told_apart() {
        let details = ErrorDetails::with_error_info(
            reason::PROCESS_NOT_FOUND,
            reason::DOMAIN,
            HashMap::new(),
        );
        let status = Status::with_error_details(Code::NotFound, "no process has the id 1", details);
        let error = ClientError::from_status(status);
        assert_eq!(error.refusal().unwrap().reason, reason::PROCESS_NOT_FOUND);
        assert_eq!(error.to_string(), "no process has the id 1");
        assert!(!error.is_transient());

        let error =
            ClientError::from_status(Status::from_error(Box::new(io::Error::other("reset"))));
        assert!(matches!(error, ClientError::Lost(_)), "{error:?}");
        let error = ClientError::from_status(Status::unknown("missing grpc-status trailer"));
        assert!(error.is_transient());
    }

    #[test]
    fn a_handshake_that_breaks_is_worth_another_try_and_one_that_fails_is_not() {
        let handshake = |source| ClientError::Handshake {
            address: "x:1".into(),
            source,
        };
        for kind in [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset] {
            assert!(handshake(kind.into()).is_transient());
        }
        let refused = rustls::Error::AlertReceived(rustls::AlertDescription::HandshakeFailure);
        assert!(!handshake(io::Error::new(io::ErrorKind::InvalidData, refused)).is_transient());
        assert!(
            !handshake(io::Error::other(
                "the server does not speak HTTP/2: is it prn?"
            ))
            .is_transient()
        );
    }

    #[test]
    fn a_server_that_restarts_is_worth_another_try_and_one_that_stops_is_not() {
        let with = |reason: &str| {
            let details = ErrorDetails::with_error_info(reason, reason::DOMAIN, HashMap::new());
            ClientError::from_status(Status::with_error_details(Code::Unavailable, "", details))
        };
        assert!(with("RESTARTING").is_transient());
        assert!(!with(reason::DRAINING).is_transient());
    }

    #[test]
    fn a_start_that_failed_in_the_new_process_says_at_what() {
        let details = |errno: &str| {
            let metadata = [
                (metadata::EXEC_STEP.to_owned(), "execve".to_owned()),
                (metadata::EXEC_ERRNO.to_owned(), errno.to_owned()),
            ];
            ErrorDetails::with_error_info(reason::COMMAND_FAILED, reason::DOMAIN, metadata)
        };
        let failure = |details| {
            let status = Status::with_error_details(Code::FailedPrecondition, "", details);
            let error = ClientError::from_status(status);
            error.refusal().and_then(ServerError::exec_failure)
        };
        assert_eq!(
            failure(details("8")),
            Some(ExecFailure {
                step: "execve".to_owned(),
                errno: 8
            })
        );
        assert_eq!(failure(details("?")), None);
        assert_eq!(failure(ErrorDetails::new()), None);
    }

    #[test]
    fn a_process_that_another_server_run_does_not_know_is_lost() {
        let answer = |reason: &str, epoch: &'static str| {
            let details = ErrorDetails::with_error_info(reason, reason::DOMAIN, HashMap::new());
            let mut status = Status::with_error_details(Code::NotFound, "", details);
            let epoch = tonic::metadata::MetadataValue::from_static(epoch);
            status.metadata_mut().insert(BOOT_EPOCH_METADATA, epoch);
            ClientError::from_status(status).of_run("first")
        };
        let is_lost = |error| matches!(error, ClientError::ProcessLost);
        assert!(is_lost(answer(reason::PROCESS_NOT_FOUND, "second")));
        assert!(
            !is_lost(answer(reason::PROCESS_NOT_FOUND, "first")),
            "it was forgotten"
        );
        assert!(!is_lost(answer(reason::DRAINING, "second")));
        assert!(!ClientError::ProcessLost.is_transient());
    }
}
