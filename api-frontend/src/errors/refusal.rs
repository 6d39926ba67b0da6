//! A request that the supervisor refused, or that did not get an answer.

use nix::errno::Errno;
use prn_ipc_protocol::message::{Preparation, Refusal, Scarce};
use prn_ipc_protocol::types::{LimitName, PathRule, ProcessId, WorkspaceName};
use prn_proto::reason::{self, metadata as key};
use tonic::{Code, Status};

use crate::convert::fields::InvalidField;
use crate::convert::limits::limit_field;
use crate::convert::start::{too_long, user_in_workspace};
use crate::errors::build::{SHORTAGES, bad_field, error, precondition, quota, quoted};
use crate::errors::call::{draining, internal, restarting};
use crate::errors::exec::{Asked, not_executed};
use crate::errors::full::too_many_requests;
use crate::errors::input::{no_input, no_terminal, unwritable};
use crate::errors::{access, process, profile, signature, workspace};
use crate::failure::Failure;
use crate::workspaces::Workspace;

/// What a request was about.
#[derive(Debug, Clone, Copy)]
enum Subject<'a> {
    Process(ProcessId),
    Start {
        id: ProcessId,
        asked: &'a Asked,
    },
    Workspace {
        name: &'a WorkspaceName,
        known: Option<&'a Workspace>,
    },
}

impl<'a> Subject<'a> {
    fn start(self) -> Option<&'a Asked> {
        match self {
            Self::Start { asked, .. } => Some(asked),
            Self::Process(_) | Self::Workspace { .. } => None,
        }
    }

    /// An error that names the process, if it was about one.
    fn of_process(self, error: impl FnOnce(ProcessId) -> Status) -> Status {
        match self {
            Self::Process(id) | Self::Start { id, .. } => error(id),
            Self::Workspace { .. } => internal(),
        }
    }

    /// An error that names the workspace, if it was about one.
    fn of_workspace(self, error: impl FnOnce(&WorkspaceName) -> Status) -> Status {
        let name = match self {
            Self::Workspace { name, .. } => Some(name),
            Self::Start { asked, .. } => asked.workspace(),
            Self::Process(_) => None,
        };
        name.map_or_else(internal, error)
    }

    /// What is known of the workspace.
    fn known(self) -> Option<&'a Workspace> {
        match self {
            Self::Workspace { known, .. } => known,
            Self::Process(_) | Self::Start { .. } => None,
        }
    }
}

/// A request to the supervisor failed.
///
/// `start` is what was asked for, if it was a start.
pub fn failed(failure: &Failure, id: ProcessId, start: Option<&Asked>) -> Status {
    let process = Subject::Process(id);
    of_subject(
        failure,
        start.map_or(process, |asked| Subject::Start { id, asked }),
    )
}

/// A request to create or remove a workspace failed. `known` is what there is of that name.
pub fn workspace_failed(
    failure: &Failure,
    name: &WorkspaceName,
    known: Option<&Workspace>,
) -> Status {
    of_subject(failure, Subject::Workspace { name, known })
}

fn of_subject(failure: &Failure, subject: Subject<'_>) -> Status {
    match failure {
        Failure::Refused(refusal) => refused(refusal, subject),
        Failure::TooMany { kind, max, kept } => too_many_requests(kind, *max, *kept),
        Failure::TooLong => too_long().into(),
        Failure::Closed => restarting(),
        Failure::Input(error) => subject.of_process(|id| unwritable(id, error)),
        Failure::Output(_) => internal(),
    }
}

/// The supervisor's answer is no.
fn refused(refusal: &Refusal, subject: Subject<'_>) -> Status {
    match refusal {
        Refusal::UnknownProcess => subject.of_process(process::process_not_found),
        Refusal::NoInput => subject.of_process(no_input),
        Refusal::NoTerminal => subject.of_process(no_terminal),
        Refusal::AlreadyExists => subject.of_process(process::process_exists),
        Refusal::Draining => draining(),
        Refusal::TooManyProcesses { max, scarce } => too_many_processes(*max, *scarce),
        Refusal::UserIdsHeld { held, all } => user_ids_held(*held, *all),
        Refusal::ArgumentsAboveBudget(left) => {
            arguments_above_budget(*left, subject.start().is_some())
        }
        Refusal::AboveCeiling { limit, ceiling } => {
            above_ceiling(&limit.to_string(), &limit_field(*limit), *ceiling)
        }
        Refusal::OutputAboveCeiling(0) => no_output_disk(),
        Refusal::OutputAboveCeiling(ceiling) => {
            above_ceiling("output_max_bytes", "output_max_bytes", *ceiling)
        }
        Refusal::OutputAboveBudget(left) => output_above_budget(*left),
        Refusal::NotEnforceable(limit) => not_enforceable(*limit, subject.start().is_some()),
        Refusal::Unconfined => profile::unconfined(),
        Refusal::StrictUnavailable => profile::strict_unavailable(),
        Refusal::UserInWorkspace => user_in_workspace().into(),
        Refusal::UserUnavailable => profile::user_unavailable(),
        Refusal::PathsUnavailable => profile::paths_unavailable(),
        Refusal::NotBindable(place) => not_bindable(*place, subject.start()),
        // The client knows it as a field of its request.
        Refusal::SearchPathAbove(_) => InvalidField::new("environment", refusal).into(),
        Refusal::Exec { step, errno } => not_executed(*step, *errno, subject.start()),
        Refusal::Resources { what, errno } => not_prepared(*what, Errno::from_raw(*errno)),
        Refusal::UnknownWorkspace => subject.of_workspace(workspace::workspace_not_found),
        Refusal::WorkspaceExists => {
            subject.of_workspace(|name| workspace::exists(name, subject.known()))
        }
        Refusal::WorkspaceLeaving => subject.of_workspace(workspace::leaving),
        Refusal::WorkspaceInUse(processes) => {
            subject.of_workspace(|name| workspace::in_use(name, *processes))
        }
        Refusal::TooManyWorkspaces(max) => workspace::too_many(*max),
        Refusal::DiskAboveCeiling(ceiling) => {
            above_ceiling("disk_max_bytes", "disk_max_bytes", *ceiling)
        }
        Refusal::NameTaken(id) => match subject.start().and_then(Asked::name) {
            Some(name) => process::name_taken(name, Some(*id)),
            None => internal(),
        },
        Refusal::DeadlinePassed => process::deadline_passed(),
        Refusal::Ended => subject.of_process(process::process_ended),
        Refusal::NotEnded => subject.of_process(process::process_running),
        Refusal::MemoryInUse(bytes) => subject.of_process(|id| process::memory_in_use(id, *bytes)),
        Refusal::NoLease => subject.of_process(process::no_lease),
        Refusal::TooManyKept { max } => process::too_many_kept(*max),
        Refusal::Stopping => subject.of_process(process::process_stopping),
        Refusal::Forgotten => subject.of_process(process::process_forgotten),
        Refusal::TooSoon(time) => process::too_soon(*time),
        Refusal::NotChanged(errno) => process::not_changed(Errno::from_raw(*errno)),
        Refusal::TooManyLabels => process::too_many_labels(),
        Refusal::Denied(denial) => access::denied(*denial),
        Refusal::OtherDigest(digest) => process::other_digest(*digest),
        Refusal::Signature(refusal) => signature::unsigned(*refusal),
    }
}

/// `start` is what was asked for, if that is known.
fn not_bindable(place: u8, start: Option<&Asked>) -> Status {
    let source = match start.and_then(|asked| asked.rule(place)) {
        Some(PathRule::Bound { source, .. }) => quoted(&source.to_string_lossy()),
        Some(PathRule::ReadOnly(_) | PathRule::Hidden(_)) | None => "it".to_owned(),
    };
    let why = format!(
        "the server's operator does not let {source} be bound: bind or bind-read-only of [paths] in the server's \
         configuration has to name it"
    );
    let field = format!("paths[{place}].source");
    bad_field(
        Code::PermissionDenied,
        reason::PATH_NOT_BINDABLE,
        &field,
        &why,
        &[],
    )
}

fn too_many_processes(max: u32, scarce: Scarce) -> Status {
    let message = match scarce {
        Scarce::UserIds => format!(
            "{max} processes run or workspaces are there, which is the server's limit, by its number of {scarce}: --uids \
             of prn server start raises it"
        ),
        Scarce::Descriptors => format!(
            "{max} processes run, which is the server's limit, by its number of {scarce}: a higher hard limit of open \
             files (LimitNOFILE= of its unit, ulimit -Hn), or a lower --max-finished, raises it"
        ),
        Scarce::Terminals => format!(
            "{max} processes with a terminal run, which is the server's limit: a fixed one, which leaves the machine's \
             other {scarce} free"
        ),
    };
    let metadata = [(key::MAX, max.to_string())];
    quota(reason::TOO_MANY_PROCESSES, "processes", message, &metadata)
}

fn user_ids_held(held: u32, all: u32) -> Status {
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

fn arguments_above_budget(left: u64, is_start: bool) -> Status {
    let message = if is_start {
        format!(
            "args: the arguments of all processes that run, their labels and the paths of their rules count together, \
             and {left} bytes are left: pass large ones in a file, or stop a process that has some"
        )
    } else {
        format!(
            "labels: they count together with the arguments of all processes that run, and {left} bytes are left: take \
             fewer or shorter ones, or stop a process that has some"
        )
    };
    quota(
        reason::ARGUMENTS_BUDGET,
        "args",
        message,
        &[(key::LEFT, left.to_string())],
    )
}

fn output_above_budget(left: u64) -> Status {
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

fn above_ceiling(limit: &str, field: &str, ceiling: u64) -> Status {
    let metadata = [
        (key::LIMIT, limit.to_owned()),
        (key::CEILING, ceiling.to_string()),
    ];
    bad_field(
        Code::InvalidArgument,
        reason::LIMIT_ABOVE_CEILING,
        field,
        &format!("must not exceed the server's ceiling of {ceiling}"),
        &metadata,
    )
}

fn no_output_disk() -> Status {
    let why = "this server keeps no output on disk; --output-disk at its start allows it";
    precondition(
        reason::NO_OUTPUT_DISK,
        ("STORE", "output_store"),
        why,
        format!("output_store: {why}"),
        &[],
    )
}

fn not_enforceable(limit: LimitName, is_start: bool) -> Status {
    let why = if is_start {
        "this host cannot enforce it; best_effort_limits starts without it"
    } else {
        "this host cannot enforce it, and it stays as it was"
    };
    let field = limit_field(limit);
    precondition(
        reason::LIMIT_NOT_ENFORCEABLE,
        ("LIMIT", &field),
        why,
        format!("{field}: {why}"),
        &[(key::LIMIT, limit.to_string())],
    )
}

/// The supervisor could not make what a process needs.
fn not_prepared(what: Preparation, errno: Errno) -> Status {
    if what == Preparation::Directory && errno == Errno::ENOENT {
        let message =
            "the server's state folder was removed while it ran: its operator has to restart it";
        let code = Code::FailedPrecondition;
        return error(code, reason::STATE_FOLDER_GONE, message, &[], |_| {});
    }
    let metadata = [(key::PREPARATION, what.to_string())];
    if SHORTAGES.contains(&errno) {
        quota(
            reason::SERVER_RESOURCES,
            &what.to_string(),
            format!("not enough resources for {what}"),
            &metadata,
        )
    } else {
        let message = format!("{what} failed");
        error(Code::Internal, reason::INTERNAL, message, &metadata, |_| {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspaces::tests::name;
    use prn_ipc_protocol::message::ChildStep;
    use prn_ipc_protocol::signed::SignatureRefusal;
    use prn_ipc_protocol::types::Digest;
    use tonic_types::StatusExt;

    const ID: ProcessId = ProcessId::from_bytes([1; 16]);
    const PROCESS: Subject<'_> = Subject::Process(ID);

    #[expect(
        clippy::as_conversions,
        reason = "an Errno's discriminant is its number"
    )]
    fn raw(errno: Errno) -> i32 {
        errno as i32
    }

    fn reason_of(status: &Status) -> String {
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.domain, "prn");
        info.reason
    }

    #[test]
    fn an_unknown_id_and_an_unknown_command_are_told_apart_by_reason() {
        let id = refused(&Refusal::UnknownProcess, PROCESS);
        let command = refused(
            &Refusal::Exec {
                step: ChildStep::Exec,
                errno: raw(Errno::ENOENT),
            },
            PROCESS,
        );
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
    }

    #[test]
    fn a_limit_of_processes_says_by_what_and_how_to_raise_it() {
        for (scarce, said) in [
            (Scarce::UserIds, ["number of user ids", "--uids"]),
            (
                Scarce::Descriptors,
                ["number of descriptors", "LimitNOFILE="],
            ),
            (Scarce::Terminals, ["with a terminal", "a fixed one"]),
        ] {
            let status = too_many_processes(7, scarce);
            assert!(status.message().starts_with("7 processes "));
            for said in said {
                assert!(status.message().contains(said), "{}", status.message());
            }
        }
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
            (Refusal::NoInput, Code::FailedPrecondition, reason::NO_INPUT),
            (
                Refusal::NoTerminal,
                Code::FailedPrecondition,
                reason::NO_TERMINAL,
            ),
            (
                Refusal::Resources {
                    what: Preparation::Terminal,
                    errno: raw(Errno::ENOSPC),
                },
                Code::ResourceExhausted,
                reason::SERVER_RESOURCES,
            ),
            (
                Refusal::TooManyProcesses {
                    max: 3,
                    scarce: Scarce::UserIds,
                },
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
                Refusal::PathsUnavailable,
                Code::FailedPrecondition,
                reason::PATHS_NOT_AVAILABLE,
            ),
            (
                Refusal::UserUnavailable,
                Code::FailedPrecondition,
                reason::USER_NOT_AVAILABLE,
            ),
            (
                Refusal::NotBindable(1),
                Code::PermissionDenied,
                reason::PATH_NOT_BINDABLE,
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
            (
                Refusal::OtherDigest(Digest([7; 32])),
                Code::FailedPrecondition,
                reason::OTHER_DIGEST,
            ),
            (
                Refusal::Signature(SignatureRefusal::Required),
                Code::FailedPrecondition,
                reason::SIGNATURE_REQUIRED,
            ),
            (
                Refusal::Signature(SignatureRefusal::Invalid),
                Code::PermissionDenied,
                reason::SIGNATURE_INVALID,
            ),
            (
                Refusal::Signature(SignatureRefusal::Replayed),
                Code::FailedPrecondition,
                reason::SIGNATURE_REPLAYED,
            ),
            (
                Refusal::Signature(SignatureRefusal::TooMany(3)),
                Code::ResourceExhausted,
                reason::SIGNATURE_TOO_MANY,
            ),
            (
                Refusal::DeadlinePassed,
                Code::FailedPrecondition,
                reason::DEADLINE_PASSED,
            ),
            (
                Refusal::Ended,
                Code::FailedPrecondition,
                reason::PROCESS_ENDED,
            ),
            (
                Refusal::NotEnded,
                Code::FailedPrecondition,
                reason::PROCESS_RUNNING,
            ),
            (
                Refusal::MemoryInUse(1),
                Code::FailedPrecondition,
                reason::MEMORY_IN_USE,
            ),
            (Refusal::NoLease, Code::FailedPrecondition, reason::NO_LEASE),
            (
                Refusal::TooManyKept { max: 2 },
                Code::ResourceExhausted,
                reason::TOO_MANY_KEPT,
            ),
            (
                Refusal::NotChanged(raw(Errno::EPERM)),
                Code::FailedPrecondition,
                reason::NOT_CHANGED,
            ),
            (
                Refusal::TooManyLabels,
                Code::ResourceExhausted,
                reason::TOO_MANY_LABELS,
            ),
        ] {
            let status = refused(&refusal, PROCESS);
            assert_eq!(
                (status.code(), reason_of(&status).as_str()),
                (code, reason),
                "{refusal:?}"
            );
        }
        let ceiling = refused(&Refusal::AboveCeiling { limit, ceiling: 9 }, PROCESS);
        let violations = ceiling.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, "limits.memory_bytes");
        assert!(violations[0].description.contains('9'));
    }

    #[test]
    fn each_refusal_about_workspaces_names_the_workspace_and_has_its_code() {
        let workspace = name("w");
        let subject = Subject::Workspace {
            name: &workspace,
            known: None,
        };
        for (refusal, code, reason) in [
            (
                Refusal::UnknownWorkspace,
                Code::NotFound,
                reason::WORKSPACE_NOT_FOUND,
            ),
            (
                Refusal::WorkspaceExists,
                Code::AlreadyExists,
                reason::WORKSPACE_EXISTS,
            ),
            (
                Refusal::WorkspaceLeaving,
                Code::FailedPrecondition,
                reason::WORKSPACE_LEAVING,
            ),
            (
                Refusal::WorkspaceInUse(2),
                Code::FailedPrecondition,
                reason::WORKSPACE_IN_USE,
            ),
            (
                Refusal::TooManyWorkspaces(2),
                Code::ResourceExhausted,
                reason::TOO_MANY_WORKSPACES,
            ),
            (
                Refusal::DiskAboveCeiling(2),
                Code::InvalidArgument,
                reason::LIMIT_ABOVE_CEILING,
            ),
            (
                Refusal::TooManyProcesses {
                    max: 3,
                    scarce: Scarce::UserIds,
                },
                Code::ResourceExhausted,
                reason::TOO_MANY_PROCESSES,
            ),
            (Refusal::UnknownProcess, Code::Internal, reason::INTERNAL),
        ] {
            let status = refused(&refusal, subject);
            assert_eq!(
                (status.code(), reason_of(&status).as_str()),
                (code, reason),
                "{refusal:?}"
            );
        }
        let unknown = refused(&Refusal::UnknownWorkspace, subject);
        let info = unknown.get_details_error_info().unwrap();
        assert_eq!(info.metadata[key::WORKSPACE], "w");
    }
}
