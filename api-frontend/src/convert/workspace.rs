//! What is asked for of workspaces, and what is said of them.

use prn_ipc_protocol::message::{DiskLimit, StopHow, WorkspaceSpec};
use prn_ipc_protocol::types::{WORKSPACE_NAME_MAX, WorkspaceName};
use prn_proto::v1;

use crate::convert::fields::{InvalidField, Violations};
use crate::convert::time::{millis, timestamp};
use crate::convert::{enums, names};
use crate::workspaces::Workspace;

/// The least bound of a workspace's disk space, in bytes: a few files take it.
const DISK_MIN: u64 = 1 << 20;

/// A name in a field.
pub fn name(raw: String, field: &str) -> Result<WorkspaceName, InvalidField> {
    WorkspaceName::try_from(raw).map_err(|_| {
        let why = format!(
            "must be 1 to {WORKSPACE_NAME_MAX} lower-case letters, digits, \"-\" and \"_\", first a letter or a digit"
        );
        InvalidField::new(field, why)
    })
}

/// The workspace that a process is to start in. `None`: in none.
pub fn of_start(raw: String) -> Result<Option<WorkspaceName>, InvalidField> {
    if raw.is_empty() {
        return Ok(None);
    }
    name(raw, "workspace").map(Some)
}

/// What a new one is to be.
pub fn create(raw: v1::CreateWorkspaceRequest) -> Result<WorkspaceSpec, Violations> {
    let mut violations = Violations::default();
    let name = violations.check(name(raw.name, "name"));
    let disk_max = violations.check(disk_max(raw.disk_max_bytes));
    match (name, disk_max) {
        (Some(name), Some(disk_max)) => Ok(WorkspaceSpec { name, disk_max }),
        _ => Err(violations),
    }
}

fn disk_max(raw: Option<u64>) -> Result<Option<u64>, InvalidField> {
    match raw {
        Some(bytes) if bytes < DISK_MIN => {
            let why = format!("must be at least {DISK_MIN}");
            Err(InvalidField::new("disk_max_bytes", why))
        }
        bytes => Ok(bytes),
    }
}

/// Which workspace is to go.
#[derive(Debug, PartialEq, Eq)]
pub struct Removal {
    /// Its name.
    pub name: WorkspaceName,
    /// How to stop the processes that live in it. `None`: they are a reason to refuse.
    pub how: Option<StopHow>,
}

/// Which workspace is to go, and how.
pub fn remove(raw: v1::RemoveWorkspaceRequest) -> Result<Removal, Violations> {
    let mut violations = Violations::default();
    let name = violations.check(name(raw.name, "name"));
    let grace = violations.check(millis(raw.grace, "grace"));
    let signal = violations.check(enums::asked_signal(raw.signal, grace.flatten()));
    if !raw.stop_processes {
        let why = "is of use with stop_processes alone";
        for (field, is_given) in [
            ("grace", grace.flatten().is_some()),
            ("signal", raw.signal != 0),
        ] {
            if is_given {
                violations.check::<()>(Err(InvalidField::new(field, why)));
            }
        }
    }
    let has_faults = violations.fields().next().is_some();
    match (name, grace, signal) {
        (Some(name), Some(grace), Some(signal)) if !has_faults => Ok(Removal {
            name,
            how: (raw.stop_processes).then(|| signal.unwrap_or(StopHow::Graceful(grace))),
        }),
        _ => Err(violations),
    }
}

/// A workspace as the API shows it.
pub fn shown(workspace: &Workspace) -> v1::Workspace {
    let info = &workspace.info;
    let enforcement = info.disk.map(|disk| disk.enforcement);
    v1::Workspace {
        name: info.name.to_string(),
        directory: info.directory.to_string_lossy().into_owned(),
        created_at: Some(timestamp(info.created)),
        uid: info.uid,
        disk_max_bytes: info.disk.map(|DiskLimit { bytes, .. }| bytes),
        disk_enforcement: enforcement
            .map_or(v1::DiskEnforcement::Unspecified, enums::shown_enforcement)
            .into(),
        processes: workspace.processes,
        leaving: info.is_leaving,
        created_by: names::who(info.created_by.as_ref()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspaces::tests::workspace;
    use prn_ipc_protocol::types::Millis;
    use std::sync::Arc;

    fn fields(violations: &Violations) -> Vec<(&str, &str)> {
        let fields = violations.fields();
        fields
            .map(|fault| (fault.field.as_str(), fault.why.as_str()))
            .collect()
    }

    fn named(name: &str, disk_max_bytes: Option<u64>) -> v1::CreateWorkspaceRequest {
        v1::CreateWorkspaceRequest {
            name: name.to_owned(),
            disk_max_bytes,
        }
    }

    #[test]
    fn a_workspace_has_a_plain_name_and_maybe_a_bound() {
        let spec = create(named("build-1", None)).unwrap();
        assert_eq!((spec.name.as_str(), spec.disk_max), ("build-1", None));
        let spec = create(named("a", Some(DISK_MIN))).unwrap();
        assert_eq!(spec.disk_max, Some(DISK_MIN));
        let faults = create(named("../a", Some(DISK_MIN - 1))).unwrap_err();
        let [(name, rule), (disk, least)] = fields(&faults).try_into().unwrap();
        assert_eq!((name, disk), ("name", "disk_max_bytes"));
        assert!(rule.contains("lower-case") && least.contains("1048576"));
        assert_eq!(of_start(String::new()), Ok(None));
        assert_eq!(of_start("A".to_owned()).unwrap_err().field, "workspace");
    }

    #[test]
    fn the_command_line_knows_a_name_that_the_server_takes() {
        let longest = "x".repeat(63);
        let longer = "x".repeat(64);
        for text in [
            "a",
            "0",
            "build-1_x",
            &longest,
            &longer,
            "",
            ".",
            "a.b",
            "a/b",
            "-a",
            "_a",
            "A",
            "ä",
            "a b",
            "a\n",
        ] {
            let there = name(text.to_owned(), "name").is_ok();
            let here = text.parse::<prn_proto::units::Workspace>().is_ok();
            assert_eq!(here, there, "{text:?}");
        }
    }

    fn removal(
        stop_processes: bool,
        signal: i32,
        seconds: Option<i64>,
    ) -> v1::RemoveWorkspaceRequest {
        v1::RemoveWorkspaceRequest {
            name: "w".to_owned(),
            stop_processes,
            signal,
            grace: seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
        }
    }

    #[test]
    fn a_removal_stops_processes_only_if_it_says_so() {
        let how = |raw| remove(raw).unwrap().how;
        assert_eq!(how(removal(false, 0, None)), None);
        assert_eq!(how(removal(true, 0, None)), Some(StopHow::Graceful(None)));
        let second = Millis::try_from(1000).unwrap();
        let graceful = StopHow::Graceful(Some(second));
        assert_eq!(how(removal(true, 1, Some(1))), Some(graceful));
        assert_eq!(how(removal(true, 2, None)), Some(StopHow::Kill));
    }

    #[test]
    fn all_malformed_fields_of_a_removal_are_named_at_once() {
        let mut wrong = removal(true, 9, Some(-1));
        wrong.name = "W".to_owned();
        let faults = remove(wrong).unwrap_err();
        let names: Vec<_> = fields(&faults).iter().map(|(field, _)| *field).collect();
        assert_eq!(names, ["name", "grace", "signal"]);
        let faults = remove(removal(false, 2, Some(1))).unwrap_err();
        let names: Vec<_> = fields(&faults).iter().map(|(field, _)| *field).collect();
        assert_eq!(names, ["grace", "signal"]);
    }

    #[test]
    fn a_workspace_is_shown_with_its_bound_and_what_becomes_of_it() {
        let shown_of = |info| {
            let info = Arc::new(info);
            shown(&Workspace { info, processes: 3 })
        };
        let bounded = shown_of(workspace("w"));
        assert_eq!((bounded.name.as_str(), bounded.processes), ("w", 3));
        assert_eq!(bounded.directory, "/var/lib/prn/workspace-x");
        assert_eq!(bounded.disk_max_bytes, Some(1 << 30));
        assert_eq!(bounded.disk_enforcement(), v1::DiskEnforcement::Watched);
        assert_eq!(bounded.created_at.unwrap().nanos, 123_456_000);
        assert!(!bounded.leaving);
        let mut info = workspace("w");
        (info.disk, info.is_leaving) = (None, true);
        let free = shown_of(info);
        assert_eq!(free.disk_max_bytes, None);
        assert_eq!(free.disk_enforcement(), v1::DiskEnforcement::Unspecified);
        assert!(free.leaving);
    }
}
