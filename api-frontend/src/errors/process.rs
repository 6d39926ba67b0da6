//! What the supervisor says no to of processes that are there.

use nix::errno::Errno;
use prn_ipc_protocol::types::{Digest, LABELS_MAX, Millis, ProcessId, ProcessName};
use prn_proto::reason::{self, metadata as key};
use tonic::{Code, Status};

use crate::errors::build::{SHORTAGES, error, precondition, quota};

/// An id that names no process.
pub fn process_not_found(id: ProcessId) -> Status {
    let message = format!("no process has the id {id}");
    let why = "unknown, or finished and forgotten";
    of_process(Code::NotFound, reason::PROCESS_NOT_FOUND, message, id, why)
}

/// The id is taken.
pub fn process_exists(id: ProcessId) -> Status {
    let message = format!("the id {id} names a process with another specification");
    of_process(
        Code::AlreadyExists,
        reason::PROCESS_EXISTS,
        message,
        id,
        "its specification differs",
    )
}

/// The id is that of a process of before.
pub fn process_forgotten(id: ProcessId) -> Status {
    let message = format!("process {id} was started before, has ended, and was forgotten");
    of_process(
        Code::AlreadyExists,
        reason::PROCESS_FORGOTTEN,
        message,
        id,
        "it is no process any more",
    )
}

/// The name is that of this process, which is alive. `None`: of one that the client does not get to
/// see.
pub fn name_taken(name: &ProcessName, id: Option<ProcessId>) -> Status {
    let name = name.as_str();
    let message = match id {
        Some(id) => format!(
            "name: process {id} is alive and has the name {name}: stop it, or take another name"
        ),
        None => format!("name: a process of another client has the name {name}: take another name"),
    };
    let id = id.map(|id| id.to_string());
    let named = (key::NAME, name.to_owned());
    let metadata: Vec<_> = [named]
        .into_iter()
        .chain(id.clone().map(|id| (key::ID, id)))
        .collect();
    let code = Code::AlreadyExists;
    error(code, reason::NAME_TAKEN, message, &metadata, |details| {
        let why = "it is alive and has the name";
        details.set_resource_info("proto.v1.Process", id.unwrap_or_default(), "", why);
    })
}

/// The process was to be stopped before it would have started.
pub fn deadline_passed() -> Status {
    let why = "it has passed by the server's clock: give a later one";
    precondition(
        reason::DEADLINE_PASSED,
        ("DEADLINE", "deadline"),
        why,
        format!("deadline: {why}"),
        &[],
    )
}

/// What would have started is not what was expected.
pub fn other_digest(digest: Digest) -> Status {
    let why = format!(
        "what the server would start has digest {digest}: its policy or its defaults may have changed, or the start"
    );
    precondition(
        reason::OTHER_DIGEST,
        ("DIGEST", "expect_digest"),
        &why,
        format!("expect_digest: {why}"),
        &[(key::DIGEST, digest.to_string())],
    )
}

/// Nothing of the process is left to be changed.
pub fn process_ended(id: ProcessId) -> Status {
    let why = "it has ended: its status says how";
    of_state(reason::PROCESS_ENDED, id, why)
}

/// Its main process has ended, and others of its tree are alive.
pub fn main_process_ended(id: ProcessId) -> Status {
    let why =
        "its main process has ended, and others of its tree are alive: TARGET_TREE reaches them";
    of_state(reason::PROCESS_ENDED, id, why)
}

/// It is on its way to its end.
pub fn process_stopping(id: ProcessId) -> Status {
    let why = "it is being stopped: it has to run for that";
    of_state(reason::PROCESS_STOPPING, id, why)
}

/// Signals to whole trees have taken much of the server's time.
pub fn too_soon(time: Millis) -> Status {
    let message = format!(
        "signals to large trees have taken much of the server's time: send it again after {} ms",
        time.duration().as_millis()
    );
    quota(reason::TOO_MANY_REQUESTS, "signals", message, &[])
}

/// The process is alive, and can't be forgotten.
pub fn process_running(id: ProcessId) -> Status {
    of_state(reason::PROCESS_RUNNING, id, "it is alive: stop it first")
}

/// It takes more memory than it is to be limited to.
pub fn memory_in_use(id: ProcessId, bytes: u64) -> Status {
    let why = format!(
        "process {id} takes {bytes} bytes of memory, and is limited to no less: ask for more, or stop it"
    );
    precondition(
        reason::MEMORY_IN_USE,
        ("LIMIT", "limits.memory_bytes"),
        &why,
        format!("limits.memory_bytes: {why}"),
        &[(key::USED, bytes.to_string())],
    )
}

/// There is no lease to renew.
pub fn no_lease(id: ProcessId) -> Status {
    let why = "it has no lease that could be renewed: give one with its duration";
    of_state(reason::NO_LEASE, id, why)
}

/// As many finished processes as can be are to be kept.
pub fn too_many_kept(max: u32) -> Status {
    let message = format!(
        "retention.keep: of the {max} finished processes that the server remembers, half can be kept until they are \
         removed, with half of its room for arguments, and so many are: remove some, or start without it"
    );
    let metadata = [(key::MAX, max.to_string())];
    quota(reason::TOO_MANY_KEPT, "retention.keep", message, &metadata)
}

/// It would have more labels than there may be.
pub fn too_many_labels() -> Status {
    let message =
        format!("set_labels: the process would have more than {LABELS_MAX} labels: take some away");
    let metadata = [(key::MAX, LABELS_MAX.to_string())];
    quota(reason::TOO_MANY_LABELS, "labels", message, &metadata)
}

/// The kernel does not take a change.
pub fn not_changed(errno: Errno) -> Status {
    if SHORTAGES.contains(&errno) {
        let message = "not enough resources to change the process: try again later";
        return quota(reason::SERVER_RESOURCES, "change", message.to_owned(), &[]);
    }
    let message = "the kernel of the server's machine did not take the change";
    let code = Code::FailedPrecondition;
    error(code, reason::NOT_CHANGED, message, &[], |_| {})
}

fn of_state(reason: &str, id: ProcessId, why: &str) -> Status {
    precondition(
        reason,
        ("PROCESS", &id.to_string()),
        why,
        format!("process {id}: {why}"),
        &[(key::ID, id.to_string())],
    )
}

fn of_process(code: Code, reason: &str, message: String, id: ProcessId, why: &str) -> Status {
    error(code, reason, message, &[], |details| {
        details.set_resource_info("proto.v1.Process", id.to_string(), "", why);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::StatusExt;

    const ID: ProcessId = ProcessId::from_bytes([1; 16]);

    #[test]
    fn a_taken_name_says_whose_it_is() {
        let status = name_taken(&ProcessName::try_from("web".to_owned()).unwrap(), Some(ID));
        assert_eq!(status.code(), Code::AlreadyExists);
        assert!(status.message().contains("has the name web"));
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.metadata["id"], ID.to_string());
        assert_eq!(info.metadata["name"], "web");
        let resource = status.get_details_resource_info().unwrap();
        assert_eq!(resource.resource_name, ID.to_string());
    }

    #[test]
    fn what_a_process_is_in_the_way_of_names_it_and_says_what_to_do() {
        let cases = [
            (process_ended(ID), "PROCESS_ENDED", "status"),
            (main_process_ended(ID), "PROCESS_ENDED", "TARGET_TREE"),
            (process_running(ID), "PROCESS_RUNNING", "stop it first"),
            (no_lease(ID), "NO_LEASE", "duration"),
            (memory_in_use(ID, 4096), "MEMORY_IN_USE", "4096 bytes"),
        ];
        for (status, reason, said) in cases {
            assert_eq!(status.code(), Code::FailedPrecondition);
            let info = status.get_details_error_info().unwrap();
            assert_eq!(info.reason, reason);
            assert!(status.message().contains(said), "{}", status.message());
            assert!(status.message().contains(&ID.to_string()));
            let violations = status.get_details_precondition_failure().unwrap();
            assert_eq!(violations.violations.len(), 1);
        }
    }

    #[test]
    fn a_shortage_is_worth_another_try_and_a_refusal_of_the_kernel_is_not() {
        let reason = |errno| {
            let info = not_changed(errno).get_details_error_info();
            info.unwrap().reason
        };
        assert_eq!(reason(Errno::ENOMEM), "SERVER_RESOURCES");
        assert_eq!(reason(Errno::EOPNOTSUPP), "NOT_CHANGED");
    }
}
