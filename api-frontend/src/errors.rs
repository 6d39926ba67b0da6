//! Every error that a client can see: a gRPC code with google.rpc details.
//!
//! The code follows gRPC's conventions; `ErrorInfo.reason` is the stable name that programs look
//! at. A message repeats what the client itself sent and never holds errno texts or paths of this
//! host.

use std::collections::HashMap;
use std::time::Duration;

use nix::errno::Errno;
use prn_ipc_protocol::message::{ChildStep, Preparation, Refusal, StartSpec};
use prn_ipc_protocol::types::ProcessId;
use prn_proto::reason::{self, metadata as key};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::convert::{InvalidField, Violations, limit_field};
use crate::log;
use crate::quota::{Full, Which};
use crate::supervisor::Failure;

/// Most characters of a client's string that an error repeats: a status travels in HTTP headers.
const QUOTED_MAX: usize = 200;

/// When to try again after UNAVAILABLE: a half of the server is back by then, or the server is
/// gone.
const RETRY_AFTER: Duration = Duration::from_secs(1);

fn error(
    code: Code,
    reason: &str,
    message: impl Into<String>,
    metadata: &[(&str, String)],
    further: impl FnOnce(&mut ErrorDetails),
) -> Status {
    let metadata: HashMap<String, String> = metadata
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect();
    let mut details = ErrorDetails::with_error_info(reason, reason::DOMAIN, metadata);
    further(&mut details);
    Status::with_error_details(code, message, details)
}

/// A client's string for a message: escaped and short.
fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(QUOTED_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

impl From<InvalidField> for Status {
    fn from(invalid: InvalidField) -> Self {
        Violations::from(invalid).into()
    }
}

impl From<Violations> for Status {
    fn from(violations: Violations) -> Self {
        let all: Vec<String> = violations.fields().map(InvalidField::to_string).collect();
        error(
            Code::InvalidArgument,
            reason::INVALID_FIELD,
            all.join("; "),
            &[],
            |details| {
                for InvalidField { field, why } in violations.fields() {
                    details.add_bad_request_violation(field, why);
                }
            },
        )
    }
}

fn bad_field(
    code: Code,
    reason: &str,
    field: &str,
    why: &str,
    metadata: &[(&str, String)],
) -> Status {
    error(
        code,
        reason,
        format!("{field}: {why}"),
        metadata,
        |details| {
            details.add_bad_request_violation(field, why);
        },
    )
}

/// An id that names no process.
pub fn process_not_found(id: ProcessId) -> Status {
    let message = format!("no process has the id {id}");
    error(
        Code::NotFound,
        reason::PROCESS_NOT_FOUND,
        message,
        &[],
        |details| {
            details.set_resource_info(
                "proto.v1.Process",
                id.to_string(),
                "",
                "unknown, or finished and forgotten",
            );
        },
    )
}

/// A request to the supervisor failed.
///
/// `start` is what was asked for, if it was a start.
pub fn failed(failure: Failure, id: ProcessId, start: Option<&Asked>) -> Status {
    match failure {
        Failure::Refused(refusal) => refused(&refusal, id, start),
        Failure::TooMany { kind, max, kept } => too_many_requests(kind, max, kept),
        Failure::TooLong => InvalidField::too_long().into(),
        Failure::Closed => restarting(),
        Failure::Output(error) => {
            log::line(format_args!(
                "the output of process {id} cannot be read: {error}"
            ));
            internal()
        }
    }
}

/// The supervisor's answer is no.
///
/// `start` is what it refused, if it was a start.
fn refused(refusal: &Refusal, id: ProcessId, start: Option<&Asked>) -> Status {
    match refusal {
        Refusal::UnknownProcess => process_not_found(id),
        Refusal::AlreadyExists => {
            let message = format!("the id {id} names a process with another specification");
            error(
                Code::AlreadyExists,
                reason::PROCESS_EXISTS,
                message,
                &[],
                |details| {
                    details.set_resource_info(
                        "proto.v1.Process",
                        id.to_string(),
                        "",
                        "its specification differs",
                    );
                },
            )
        }
        Refusal::Draining => draining(),
        Refusal::TooManyProcesses(max) => {
            let message = format!("{max} processes run, which is the server's limit");
            quota(
                reason::TOO_MANY_PROCESSES,
                "processes",
                message,
                &[(key::MAX, max.to_string())],
            )
        }
        Refusal::UserIdsHeld { held, all } => {
            let message = format!(
                "no user id is free: {held} of the server's {all} belong to what ended processes left on disk, which is still \
                 being removed: try again later"
            );
            quota(
                reason::TOO_MANY_PROCESSES,
                "user_ids",
                message,
                &[(key::HELD, held.to_string()), (key::MAX, all.to_string())],
            )
        }
        Refusal::ArgumentsAboveBudget(left) => {
            let message = format!(
                "args: the arguments of all processes that run count together, and {left} bytes are left: pass large ones \
                 in a file, or stop a process that has some"
            );
            quota(
                reason::ARGUMENTS_BUDGET,
                "args",
                message,
                &[(key::LEFT, left.to_string())],
            )
        }
        Refusal::AboveCeiling { limit, ceiling } => {
            let metadata = [
                (key::LIMIT, limit.to_string()),
                (key::CEILING, ceiling.to_string()),
            ];
            let why = format!("must not exceed the server's ceiling of {ceiling}");
            bad_field(
                Code::InvalidArgument,
                reason::LIMIT_ABOVE_CEILING,
                &limit_field(*limit),
                &why,
                &metadata,
            )
        }
        Refusal::OutputAboveCeiling(0) => {
            let why = "this server keeps no output on disk; --output-disk at its start allows it";
            let message = format!("output_store: {why}");
            error(
                Code::FailedPrecondition,
                reason::NO_OUTPUT_DISK,
                message,
                &[],
                |details| {
                    details.add_precondition_failure_violation("STORE", "output_store", why);
                },
            )
        }
        Refusal::OutputAboveBudget(left) => {
            let message = format!(
                "output_max_bytes: output of which nothing may be dropped is set aside, in half of the server's budget, where \
                 {left} bytes are left: ask for less, or stop a process that has some"
            );
            quota(
                reason::OUTPUT_BUDGET,
                "output",
                message,
                &[(key::LEFT, left.to_string())],
            )
        }
        Refusal::OutputAboveCeiling(ceiling) => {
            let metadata = [
                (key::LIMIT, "output_max_bytes".to_owned()),
                (key::CEILING, ceiling.to_string()),
            ];
            let why = format!("must not exceed the server's ceiling of {ceiling}");
            bad_field(
                Code::InvalidArgument,
                reason::LIMIT_ABOVE_CEILING,
                "output_max_bytes",
                &why,
                &metadata,
            )
        }
        Refusal::NotEnforceable(limit) => {
            let why = "this host cannot enforce it; best_effort_limits starts without it";
            let message = format!("{}: {why}", limit_field(*limit));
            let metadata = [(key::LIMIT, limit.to_string())];
            error(
                Code::FailedPrecondition,
                reason::LIMIT_NOT_ENFORCEABLE,
                message,
                &metadata,
                |details| {
                    details.add_precondition_failure_violation("LIMIT", limit_field(*limit), why);
                },
            )
        }
        Refusal::Unconfined => {
            let why = "profile none needs a server that was started with --allow-profile-none";
            bad_field(
                Code::PermissionDenied,
                reason::PROFILE_NOT_ALLOWED,
                "profile",
                why,
                &[],
            )
        }
        // The client knows it as a field of its request.
        Refusal::SearchPathAbove(_) => InvalidField::new("environment", refusal).into(),
        Refusal::Exec { step, errno } => not_executed(*step, *errno, start),
        Refusal::Resources {
            what: Preparation::Directory,
            errno,
        } if Errno::from_raw(*errno) == Errno::ENOENT => error(
            Code::FailedPrecondition,
            reason::STATE_FOLDER_GONE,
            "the server's state folder was removed while it ran: its operator has to restart it",
            &[],
            |_| {},
        ),
        Refusal::Resources { what, errno } => {
            let metadata = [(key::PREPARATION, what.to_string())];
            if SHORTAGES.contains(&Errno::from_raw(*errno)) {
                quota(
                    reason::SERVER_RESOURCES,
                    &what.to_string(),
                    format!("not enough resources for {what}"),
                    &metadata,
                )
            } else {
                error(
                    Code::Internal,
                    reason::INTERNAL,
                    format!("{what} failed"),
                    &metadata,
                    |_| {},
                )
            }
        }
    }
}

/// What was to be started, as far as errors repeat it.
pub struct Asked {
    command: String,
    /// It is a path, and not a name to be looked up.
    is_path: bool,
    /// None: the server's choice.
    working_directory: Option<String>,
}

impl From<&StartSpec> for Asked {
    fn from(spec: &StartSpec) -> Self {
        let program = spec.process.argv.as_slice().first();
        let directory = spec.process.working_directory.as_ref();
        let command =
            program.map_or_else(String::new, |program| quoted(&program.to_string_lossy()));
        Self {
            command,
            is_path: program.is_some_and(|program| program.to_bytes().contains(&b'/')),
            working_directory: directory.map(|path| quoted(&path.to_string_lossy())),
        }
    }
}

/// What the kernel says when there is not enough of something (errno(3)).
const SHORTAGES: [Errno; 7] = [
    Errno::ENOMEM,
    Errno::EAGAIN,
    Errno::ENOSPC,
    Errno::EDQUOT,
    Errno::EMFILE,
    Errno::ENFILE,
    Errno::ENOBUFS,
];

fn not_executed(step: ChildStep, errno: i32, start: Option<&Asked>) -> Status {
    let metadata = [
        (key::EXEC_STEP, step.to_string()),
        (key::EXEC_ERRNO, errno.to_string()),
    ];
    let errno = Errno::from_raw(errno);
    let command = start.map_or("", |asked| asked.command.as_str());
    let directory = start.and_then(|asked| asked.working_directory.as_ref());
    if let (ChildStep::WorkingDirectory, Some(directory)) = (step, directory) {
        let why = format!("the process cannot enter {directory}");
        return bad_field(
            Code::InvalidArgument,
            reason::WORKING_DIRECTORY,
            "working_directory",
            &why,
            &metadata,
        );
    }
    match step {
        ChildStep::Exec if [Errno::ENOENT, Errno::ENOTDIR].contains(&errno) => {
            let is_path = start.is_some_and(|asked| asked.is_path);
            let (message, lookup) = if is_path {
                (format!("no such file: {command}"), "path")
            } else {
                (format!("command not found: {command}"), "PATH")
            };
            let [step, number] = metadata;
            let metadata = [step, number, (key::LOOKUP, lookup.to_owned())];
            error(
                Code::NotFound,
                reason::COMMAND_NOT_FOUND,
                message,
                &metadata,
                |details| {
                    details.set_resource_info("command", command, "", "it does not exist");
                },
            )
        }
        ChildStep::Interpreter => {
            let message = format!(
                "{command} is there, but what it needs to run is not: of a script, the interpreter that its first line names \
                 (is there a carriage return at the end of that line?), of a program, its dynamic loader"
            );
            error(
                Code::FailedPrecondition,
                reason::INTERPRETER_NOT_FOUND,
                message.clone(),
                &metadata,
                |details| {
                    details.add_precondition_failure_violation("COMMAND", command, message);
                },
            )
        }
        ChildStep::Exec if [Errno::EACCES, Errno::EPERM].contains(&errno) => {
            let message = format!("permission to execute denied: {command}");
            error(
                Code::PermissionDenied,
                reason::COMMAND_NOT_EXECUTABLE,
                message,
                &metadata,
                |details| {
                    details.set_resource_info(
                        "command",
                        command,
                        "",
                        "not executable by the process's user",
                    );
                },
            )
        }
        ChildStep::Exec if errno == Errno::E2BIG => {
            let why = "the kernel takes no argument list and environment of this size";
            bad_field(
                Code::InvalidArgument,
                reason::INVALID_FIELD,
                "args",
                why,
                &metadata,
            )
        }
        ChildStep::Exec if [Errno::ENAMETOOLONG, Errno::ELOOP].contains(&errno) => {
            let why = "not a path that can be resolved";
            bad_field(
                Code::InvalidArgument,
                reason::INVALID_FIELD,
                "command",
                why,
                &metadata,
            )
        }
        ChildStep::Exec if SHORTAGES.contains(&errno) => quota(
            reason::SERVER_RESOURCES,
            "execve",
            format!("not enough resources to execute {command}"),
            &metadata,
        ),
        ChildStep::Exec => {
            let why = if errno == Errno::ENOEXEC {
                "not a program that this machine executes"
            } else if errno == Errno::ETXTBSY {
                "open for writing, so that it cannot be executed"
            } else {
                "cannot be executed"
            };
            error(
                Code::FailedPrecondition,
                reason::COMMAND_FAILED,
                format!("{why}: {command}"),
                &metadata,
                |details| {
                    details.add_precondition_failure_violation("COMMAND", command, why);
                },
            )
        }
        // Its own directory, which the server made for it.
        ChildStep::WorkingDirectory
        | ChildStep::Session
        | ChildStep::Descriptors
        | ChildStep::Limits
        | ChildStep::Identity
        | ChildStep::Privileges
        | ChildStep::Confinement
        | ChildStep::Signals => {
            let message = format!(
                "the new process failed at {step}, before its program ran: {}",
                errno.desc()
            );
            error(
                Code::Internal,
                reason::CHILD_SETUP_FAILED,
                message,
                &metadata,
                |_| {},
            )
        }
    }
}

fn quota(reason: &str, subject: &str, message: String, metadata: &[(&str, String)]) -> Status {
    error(
        Code::ResourceExhausted,
        reason,
        message.clone(),
        metadata,
        |details| {
            details.add_quota_failure_violation(subject, message);
        },
    )
}

/// The server is shutting down.
pub fn draining() -> Status {
    error(
        Code::Unavailable,
        reason::DRAINING,
        "the server is shutting down",
        &[],
        |details| {
            details.set_retry_info(Some(RETRY_AFTER));
        },
    )
}

/// The channel to the supervisor is closed.
pub fn restarting() -> Status {
    error(
        Code::Unavailable,
        reason::RESTARTING,
        "the server is restarting",
        &[],
        |details| {
            details.set_retry_info(Some(RETRY_AFTER));
        },
    )
}

/// Too many requests of a kind wait for the supervisor.
fn too_many_requests(kind: &str, max: u32, kept: u32) -> Status {
    let message = format!(
        "{max} {kind} requests {}, which is the server's limit",
        state("are under way", kept)
    );
    error(
        Code::ResourceExhausted,
        reason::TOO_MANY_REQUESTS,
        message.clone(),
        &[(key::MAX, max.to_string())],
        |details| {
            details.add_quota_failure_violation(kind, message);
            details.set_retry_info(Some(RETRY_AFTER));
        },
    )
}

/// A client has a connection more than it or all clients together may have.
pub fn too_many_connections(full: Full) -> Status {
    let (reason, max) = (reason::TOO_MANY_CONNECTIONS, full.max);
    match full.which {
        Which::Each => {
            let message = format!("this client has {max} connections, which is the server's limit");
            over_a_flag(reason, "connections-per-client", message, max)
        }
        Which::All => {
            let state = state("are open", full.kept);
            let message = format!("{max} connections {state}, which is the server's limit");
            over_a_flag(reason, "connections", message, max)
        }
    }
}

/// A process, or all of them together, have as many output streams as they may have.
pub fn too_many_subscribers(full: Full, id: ProcessId) -> Status {
    let (reason, max) = (reason::TOO_MANY_SUBSCRIBERS, full.max);
    let state = state("are open", full.kept);
    match full.which {
        Which::Each => {
            let message = format!(
                "{max} output streams of process {id} {state}, which is the server's limit"
            );
            over_a_flag(reason, "subscribers-per-process", message, max)
        }
        Which::All => {
            let message = format!("{max} output streams {state}, which is the server's limit");
            over_a_flag(reason, "subscribers", message, max)
        }
    }
}

/// What is true of places that are taken, and of those of them that are kept.
fn state(of_taken: &str, kept: u32) -> String {
    match kept {
        0 => of_taken.to_owned(),
        kept => format!("{of_taken}, {kept} of them kept for other clients"),
    }
}

/// `limit` is the flag of `prn server start`.
fn over_a_flag(reason: &str, limit: &str, message: String, max: u32) -> Status {
    quota(
        reason,
        limit,
        message,
        &[(key::LIMIT, limit.to_owned()), (key::MAX, max.to_string())],
    )
}

/// A stream without control frames had to leave out bytes.
pub fn output_lost(bytes: u64) -> Status {
    let message = format!("{bytes} bytes of output were dropped before they could be sent");
    error(
        Code::DataLoss,
        reason::OUTPUT_LOST,
        message,
        &[(key::BYTES, bytes.to_string())],
        |_| {},
    )
}

/// `from_offset` lies beyond the end of a finished output.
pub fn offset_beyond_end(end: u64) -> Status {
    let why = format!("the process has ended and its output has {end} bytes");
    bad_field(
        Code::OutOfRange,
        reason::OFFSET_BEYOND_END,
        "from_offset",
        &why,
        &[(key::END_OFFSET, end.to_string())],
    )
}

/// The client took nothing of the response, or had too many of which it took nothing.
pub fn not_taken() -> Status {
    let message = "the response was not taken in time";
    error(Code::Cancelled, reason::NOT_TAKEN, message, &[], |_| {})
}

/// The call's own deadline has passed.
pub fn deadline_exceeded() -> Status {
    error(
        Code::DeadlineExceeded,
        reason::DEADLINE,
        "the deadline of the call has passed",
        &[],
        |_| {},
    )
}

/// A fault of the server, which its log describes.
pub fn internal() -> Status {
    error(
        Code::Internal,
        reason::INTERNAL,
        "internal error",
        &[],
        |_| {},
    )
}

/// A status that tonic itself made, without details: `max` is the largest request message.
pub fn by_transport(code: Code, max: usize) -> Status {
    // What tonic says of each: OUT_OF_RANGE or RESOURCE_EXHAUSTED for a message over the limit,
    // INTERNAL for bytes that do not decode, UNIMPLEMENTED for an unknown method or a compressed
    // message.
    if [Code::OutOfRange, Code::ResourceExhausted].contains(&code) {
        let message = format!("the request exceeds {max} bytes");
        quota(
            reason::MESSAGE_TOO_LARGE,
            "request",
            message,
            &[(key::MAX, max.to_string())],
        )
    } else if code == Code::Unimplemented {
        error(
            code,
            reason::UNKNOWN_METHOD,
            "no such method or message encoding",
            &[],
            |_| {},
        )
    } else {
        error(
            Code::InvalidArgument,
            reason::MALFORMED_REQUEST,
            "the request is not a valid message",
            &[],
            |_| {},
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prn_ipc_protocol::message::Preparation;
    use prn_ipc_protocol::types::LimitName;

    const ID: ProcessId = ProcessId::from_bytes([1; 16]);

    #[expect(
        clippy::as_conversions,
        reason = "an Errno's discriminant is its number"
    )]
    fn raw(errno: Errno) -> i32 {
        errno as i32
    }

    fn asked() -> Asked {
        Asked {
            command: quoted("nope"),
            is_path: false,
            working_directory: Some(quoted("/nowhere")),
        }
    }

    fn exec(step: ChildStep, errno: Errno) -> Status {
        refused(
            &Refusal::Exec {
                step,
                errno: raw(errno),
            },
            ID,
            Some(&asked()),
        )
    }

    fn reason_of(status: &Status) -> String {
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.domain, "prn");
        info.reason
    }

    #[test]
    fn an_unknown_id_and_an_unknown_command_are_told_apart_by_reason() {
        let id = refused(&Refusal::UnknownProcess, ID, None);
        let command = exec(ChildStep::Exec, Errno::ENOENT);
        assert_eq!(
            (id.code(), command.code()),
            (Code::NotFound, Code::NotFound)
        );
        assert_eq!(reason_of(&id), "PROCESS_NOT_FOUND");
        assert_eq!(reason_of(&command), "COMMAND_NOT_FOUND");
        assert_eq!(
            id.get_details_resource_info().unwrap().resource_name,
            ID.to_string()
        );
        assert!(command.message().contains("\"nope\""));
    }

    #[test]
    fn exec_failures_say_step_and_errno_and_no_text_of_the_kernel() {
        for (errno, code) in [
            (Errno::ENOENT, Code::NotFound),
            (Errno::ENOTDIR, Code::NotFound),
            (Errno::EACCES, Code::PermissionDenied),
            (Errno::ENOEXEC, Code::FailedPrecondition),
            (Errno::ETXTBSY, Code::FailedPrecondition),
            (Errno::E2BIG, Code::InvalidArgument),
            (Errno::ELOOP, Code::InvalidArgument),
            (Errno::ENOMEM, Code::ResourceExhausted),
        ] {
            let status = exec(ChildStep::Exec, errno);
            assert_eq!(status.code(), code, "{errno}");
            let info = status.get_details_error_info().unwrap();
            assert_eq!(info.metadata["exec_step"], "execve");
            assert_eq!(info.metadata["exec_errno"], raw(errno).to_string());
            assert!(!status.message().contains(errno.desc()), "{status:?}");
        }
    }

    #[test]
    fn a_working_directory_that_cannot_be_entered_is_named() {
        let status = exec(ChildStep::WorkingDirectory, Errno::ENOENT);
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(
            status.get_details_bad_request().unwrap().field_violations[0].field,
            "working_directory"
        );
        assert!(status.message().contains("/nowhere"));
    }

    #[test]
    fn a_working_directory_that_the_client_did_not_choose_is_no_fault_of_the_request() {
        let refusal = Refusal::Exec {
            step: ChildStep::WorkingDirectory,
            errno: raw(Errno::EACCES),
        };
        let status = refused(
            &refusal,
            ID,
            Some(&Asked {
                working_directory: None,
                ..asked()
            }),
        );
        assert_eq!(
            (status.code(), reason_of(&status).as_str()),
            (Code::Internal, "CHILD_SETUP_FAILED")
        );
        assert!(status.get_details_bad_request().is_none());
    }

    #[test]
    fn each_refusal_has_its_code() {
        let limit = LimitName::Memory;
        for (refusal, code, reason) in [
            (
                Refusal::AlreadyExists,
                Code::AlreadyExists,
                reason::PROCESS_EXISTS,
            ),
            (Refusal::Draining, Code::Unavailable, reason::DRAINING),
            (
                Refusal::TooManyProcesses(3),
                Code::ResourceExhausted,
                reason::TOO_MANY_PROCESSES,
            ),
            (
                Refusal::AboveCeiling { limit, ceiling: 9 },
                Code::InvalidArgument,
                reason::LIMIT_ABOVE_CEILING,
            ),
            (
                Refusal::OutputAboveCeiling(9),
                Code::InvalidArgument,
                reason::LIMIT_ABOVE_CEILING,
            ),
            (
                Refusal::OutputAboveCeiling(0),
                Code::FailedPrecondition,
                reason::NO_OUTPUT_DISK,
            ),
            (
                Refusal::NotEnforceable(limit),
                Code::FailedPrecondition,
                reason::LIMIT_NOT_ENFORCEABLE,
            ),
            (
                Refusal::Resources {
                    what: Preparation::Pipes,
                    errno: raw(Errno::EMFILE),
                },
                Code::ResourceExhausted,
                reason::SERVER_RESOURCES,
            ),
            (
                Refusal::Resources {
                    what: Preparation::Cgroup,
                    errno: raw(Errno::EIO),
                },
                Code::Internal,
                reason::INTERNAL,
            ),
        ] {
            let status = refused(&refusal, ID, Some(&asked()));
            assert_eq!(
                (status.code(), reason_of(&status).as_str()),
                (code, reason),
                "{refusal:?}"
            );
        }
        let ceiling = refused(&Refusal::AboveCeiling { limit, ceiling: 9 }, ID, None);
        let violations = ceiling.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, "limits.memory_bytes");
        assert!(violations[0].description.contains('9'));
    }

    #[test]
    fn a_clients_long_or_wild_string_is_shortened_and_escaped() {
        assert_eq!(quoted("a\n\u{1b}"), r#""a\n\u{1b}""#);
        assert!(quoted(&"x".repeat(100_000)).len() < 300);
    }
}
