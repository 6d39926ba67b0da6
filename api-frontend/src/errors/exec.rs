//! A new process that failed before its program ran.

use nix::errno::Errno;
use prn_ipc_protocol::message::{ChildStep, StartSpec};
use prn_ipc_protocol::types::{PathRule, Paths, ProcessName, WorkspaceName};
use prn_proto::reason::{self, metadata as key};
use tonic::{Code, Status};

use crate::errors::build::{SHORTAGES, bad_field, error, precondition, quota, quoted};
use crate::errors::path;

/// What was to be started, as far as errors repeat it.
#[derive(Debug, Clone)]
pub struct Asked {
    command: String,
    /// The command is a path, and not a name to be looked up.
    is_path: bool,
    /// None: the server's choice.
    working_directory: Option<String>,
    paths: Paths,
    workspace: Option<WorkspaceName>,
    name: Option<ProcessName>,
}

impl Asked {
    fn rules_paths(&self) -> bool {
        !self.paths.as_slice().is_empty()
    }

    /// The rule of a path at this place.
    pub fn rule(&self, place: u8) -> Option<&PathRule> {
        self.paths.as_slice().get(usize::from(place))
    }

    /// The name that it was to have.
    pub fn name(&self) -> Option<&ProcessName> {
        self.name.as_ref()
    }

    /// The workspace.
    pub fn workspace(&self) -> Option<&WorkspaceName> {
        self.workspace.as_ref()
    }
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
            paths: spec.process.paths.clone(),
            workspace: spec.process.workspace.clone(),
            name: spec.process.name.clone(),
        }
    }
}

/// Such a process.
///
/// `start` is what was asked for, if that is known.
pub fn not_executed(step: ChildStep, errno: i32, start: Option<&Asked>) -> Status {
    let failed = Failed {
        step,
        errno: Errno::from_raw(errno),
        command: start.map_or("", |asked| asked.command.as_str()),
        metadata: [
            (key::EXEC_STEP, step.to_string()),
            (key::EXEC_ERRNO, errno.to_string()),
        ],
    };
    match step {
        ChildStep::Exec => failed.at_exec(start.is_some_and(|asked| asked.is_path)),
        ChildStep::Interpreter => failed.without_interpreter(),
        ChildStep::WorkingDirectory => {
            match start.and_then(|asked| asked.working_directory.as_ref()) {
                Some(directory) => bad_field(
                    Code::InvalidArgument,
                    reason::WORKING_DIRECTORY,
                    "working_directory",
                    &format!("the process cannot enter {directory}"),
                    &failed.metadata,
                ),
                // Its own directory, which the server made for it.
                None if start.is_some_and(Asked::rules_paths) => bad_field(
                    Code::InvalidArgument,
                    reason::WORKING_DIRECTORY,
                    "paths",
                    "the process cannot enter its own directory, when it sees directories so: leave that and what \
                     is above it as it is, or name another working directory",
                    &failed.metadata,
                ),
                None => failed.before_exec(),
            }
        }
        ChildStep::Path(place) => match start.and_then(|asked| asked.rule(place)) {
            Some(rule) => failed.at_path(place, rule),
            None => failed.before_exec(),
        },
        ChildStep::Session
        | ChildStep::Descriptors
        | ChildStep::Limits
        | ChildStep::Namespaces
        | ChildStep::Identity
        | ChildStep::Privileges
        | ChildStep::Confinement
        | ChildStep::Signals => failed.before_exec(),
    }
}

/// What is known of it.
#[derive(Debug)]
struct Failed<'a> {
    step: ChildStep,
    errno: Errno,
    command: &'a str,
    metadata: [(&'static str, String); 2],
}

impl Failed<'_> {
    fn at_exec(self, is_path: bool) -> Status {
        let Self {
            errno,
            command,
            ref metadata,
            ..
        } = self;
        let is_of = |group: &[Errno]| group.contains(&errno);
        if is_of(&[Errno::ENOENT, Errno::ENOTDIR]) {
            self.not_found(is_path)
        } else if is_of(&[Errno::EACCES, Errno::EPERM]) {
            let message = format!("permission to execute denied: {command}");
            error(
                Code::PermissionDenied,
                reason::COMMAND_NOT_EXECUTABLE,
                message,
                metadata,
                |details| {
                    let why = "not executable by the process's user";
                    details.set_resource_info("command", command, "", why);
                },
            )
        } else if errno == Errno::E2BIG {
            let why = "the kernel takes no argument list and environment of this size";
            self.invalid("args", why)
        } else if is_of(&[Errno::ENAMETOOLONG, Errno::ELOOP]) {
            self.invalid("command", "not a path that can be resolved")
        } else if is_of(&SHORTAGES) {
            quota(
                reason::SERVER_RESOURCES,
                "execve",
                format!("not enough resources to execute {command}"),
                metadata,
            )
        } else if errno == Errno::ENOEXEC {
            self.unfit("not a program that this machine executes")
        } else if errno == Errno::ETXTBSY {
            self.unfit("open for writing, so that it cannot be executed")
        } else {
            self.unfit("cannot be executed")
        }
    }

    fn not_found(self, is_path: bool) -> Status {
        let command = self.command;
        let (message, lookup) = if is_path {
            (format!("no such file: {command}"), "path")
        } else {
            (format!("command not found: {command}"), "PATH")
        };
        let [step, number] = self.metadata;
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

    fn without_interpreter(self) -> Status {
        let command = self.command;
        let message = format!(
            "{command} is there, but what it needs to run is not: of a script, the interpreter that its first line names \
             (is there a carriage return at the end of that line?), of a program, its dynamic loader"
        );
        precondition(
            reason::INTERPRETER_NOT_FOUND,
            ("COMMAND", command),
            &message.clone(),
            message,
            &self.metadata,
        )
    }

    fn invalid(&self, field: &str, why: &str) -> Status {
        let (code, reason) = (Code::InvalidArgument, reason::INVALID_FIELD);
        bad_field(code, reason, field, why, &self.metadata)
    }

    /// What is there can't be executed.
    fn unfit(&self, why: &str) -> Status {
        precondition(
            reason::COMMAND_FAILED,
            ("COMMAND", self.command),
            why,
            format!("{why}: {}", self.command),
            &self.metadata,
        )
    }

    /// A rule of a path could not be followed.
    fn at_path(self, place: u8, rule: &PathRule) -> Status {
        match path::fault(rule, self.errno) {
            Some(fault) => fault.status(place, &self.metadata),
            None => self.before_exec(),
        }
    }

    fn before_exec(self) -> Status {
        let message = format!(
            "the new process failed at {}, before its program ran: {}",
            self.step,
            self.errno.desc()
        );
        error(
            Code::Internal,
            reason::CHILD_SETUP_FAILED,
            message,
            &self.metadata,
            |_| {},
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::StatusExt;

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
            paths: Paths::default(),
            workspace: None,
            name: None,
        }
    }

    fn exec(step: ChildStep, errno: Errno) -> Status {
        not_executed(step, raw(errno), Some(&asked()))
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
    fn a_command_that_is_not_there_is_named_as_it_was_given() {
        let status = exec(ChildStep::Exec, Errno::ENOENT);
        assert!(status.message().contains("\"nope\""));
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
        let asked = Asked {
            working_directory: None,
            ..asked()
        };
        let errno = raw(Errno::EACCES);
        let status = not_executed(ChildStep::WorkingDirectory, errno, Some(&asked));
        let info = status.get_details_error_info().unwrap();
        assert_eq!(
            (status.code(), info.reason.as_str()),
            (Code::Internal, "CHILD_SETUP_FAILED")
        );
        assert!(status.get_details_bad_request().is_none());
    }
}
