//! A rule of a path that could not be followed. Pure.

use nix::errno::Errno;
use prn_ipc_protocol::types::PathRule;
use prn_proto::reason;
use tonic::{Code, Status};

use crate::errors::build::{SHORTAGES, bad_field, quoted};

/// Why it could not, and what helps.
#[derive(Debug)]
pub struct Fault {
    code: Code,
    reason: &'static str,
    /// Field of the rule.
    field: &'static str,
    why: String,
}

impl Fault {
    /// Of the rule at this place.
    pub fn status(&self, place: u8, metadata: &[(&str, String)]) -> Status {
        let field = format!("paths[{place}].{}", self.field);
        bad_field(self.code, self.reason, &field, &self.why, metadata)
    }

    fn target(code: Code, reason: &'static str, why: String) -> Self {
        Self {
            code,
            reason,
            field: "path",
            why,
        }
    }

    fn source(code: Code, reason: &'static str, why: String) -> Self {
        Self {
            code,
            reason,
            field: "source",
            why,
        }
    }
}

/// What a child's errno says of a rule; `None`: no fault of the request or the configuration.
pub fn fault(rule: &PathRule, errno: Errno) -> Option<Fault> {
    let target = shown(rule.target().to_bytes());
    let cannot = match rule {
        PathRule::ReadOnly(_) => format!("cannot make {target} read-only"),
        PathRule::Hidden(_) => format!("cannot hide {target}"),
        PathRule::Bound { source, .. } => {
            format!("cannot bind {} to {target}", shown(source.to_bytes()))
        }
    };
    let is_bound = matches!(rule, PathRule::Bound { .. });
    let invalid = Code::InvalidArgument;
    let is_of = |group: &[Errno]| group.contains(&errno);
    Some(if errno == Errno::ENOTDIR {
        let why = format!("{cannot}: {}", not_a_directory(rule));
        Fault::target(invalid, reason::PATH_NOT_DIRECTORY, why)
    } else if errno == Errno::ENOENT {
        let why = format!("{cannot}: {}", not_there(rule));
        Fault::target(invalid, reason::PATH_NOT_FOUND, why)
    } else if errno == Errno::EACCES {
        let why = format!(
            "{cannot}: the process's user may not look there (the mode of a folder above it: chmod)"
        );
        Fault::target(Code::PermissionDenied, reason::PATH_NOT_ACCESSIBLE, why)
    } else if is_bound && errno == Errno::EPERM {
        let why =
            format!("{cannot}: the process's user may not enter what is bound (its mode: chmod)");
        Fault::source(Code::PermissionDenied, reason::PATH_NOT_ACCESSIBLE, why)
    } else if is_bound && errno == Errno::ESTALE {
        let why = format!(
            "{cannot}: what is bound is not the directory that was there when the server started: its operator has to \
             restart it"
        );
        Fault::source(Code::FailedPrecondition, reason::PATH_NOT_FOUND, why)
    } else if errno == Errno::EBUSY {
        let why = format!("{cannot}: it is the root directory: name directories in it");
        Fault::target(invalid, reason::INVALID_FIELD, why)
    } else if is_of(&[Errno::ENAMETOOLONG, Errno::ELOOP]) {
        let why = format!("{cannot}: not a path that can be resolved");
        Fault::target(invalid, reason::INVALID_FIELD, why)
    } else if errno == Errno::EROFS {
        let why =
            format!("{cannot}: it does not exist, and would have to be made in what is read-only");
        Fault::target(invalid, reason::PATH_NOT_FOUND, why)
    } else if is_of(&SHORTAGES) {
        let why = format!("{cannot}: the server's machine has not enough resources");
        Fault::target(Code::ResourceExhausted, reason::SERVER_RESOURCES, why)
    } else {
        return None;
    })
}

fn not_a_directory(rule: &PathRule) -> String {
    let path = rule.target().to_bytes();
    let slash = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    let folder = match path.get(..slash) {
        None | Some([]) => b"/",
        Some(folder) => folder,
    };
    let folder = shown(folder);
    match rule {
        PathRule::ReadOnly(_) => format!("it is a file: name its directory {folder} instead"),
        PathRule::Hidden(_) => format!("it is a file: hide its directory {folder} instead"),
        PathRule::Bound { .. } => {
            "the latter is a file, and a directory can be seen in place of a directory alone"
                .to_owned()
        }
    }
}

fn not_there(rule: &PathRule) -> &'static str {
    match rule {
        PathRule::ReadOnly(_) | PathRule::Hidden(_) => {
            "there is no such directory on the server's machine, or none that the process sees"
        }
        PathRule::Bound { .. } => {
            "the latter must be a directory on the server's machine, or a new one right in the process's own \
             directory, $TMPDIR, /tmp, /var/tmp or /dev/shm: only the last part of its path is made"
        }
    }
}

/// What a client sends is UTF-8.
fn shown(path: &[u8]) -> String {
    quoted(&String::from_utf8_lossy(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::StatusExt;

    fn bound() -> PathRule {
        PathRule::Bound {
            source: c"/srv/data".into(),
            target: c"/data".into(),
        }
    }

    fn status(rule: &PathRule, errno: Errno) -> Status {
        fault(rule, errno).unwrap().status(3, &[])
    }

    #[test]
    fn a_file_is_not_hidden_and_its_directory_is_named() {
        for (path, folder) in [(c"/etc/hostname", r#""/etc""#), (c"/file", r#""/""#)] {
            let status = status(&PathRule::Hidden(path.into()), Errno::ENOTDIR);
            let said = format!("it is a file: hide its directory {folder} instead");
            assert!(status.message().ends_with(&said), "{}", status.message());
            assert_eq!(status.code(), Code::InvalidArgument);
        }
        let status = status(&PathRule::ReadOnly(c"/etc/hostname".into()), Errno::ENOTDIR);
        assert!(status.message().contains("name its directory"));
    }

    #[test]
    fn each_fault_has_its_code_its_reason_and_its_field() {
        let hidden = PathRule::Hidden(c"/a".into());
        for (rule, errno, code, reason, field) in [
            (
                &hidden,
                Errno::ENOENT,
                Code::InvalidArgument,
                "PATH_NOT_FOUND",
                "path",
            ),
            (
                &hidden,
                Errno::EACCES,
                Code::PermissionDenied,
                "PATH_NOT_ACCESSIBLE",
                "path",
            ),
            (
                &bound(),
                Errno::ENOENT,
                Code::InvalidArgument,
                "PATH_NOT_FOUND",
                "path",
            ),
            (
                &bound(),
                Errno::EPERM,
                Code::PermissionDenied,
                "PATH_NOT_ACCESSIBLE",
                "source",
            ),
            (
                &bound(),
                Errno::ESTALE,
                Code::FailedPrecondition,
                "PATH_NOT_FOUND",
                "source",
            ),
            (
                &bound(),
                Errno::ENOTDIR,
                Code::InvalidArgument,
                "PATH_NOT_DIRECTORY",
                "path",
            ),
            (
                &bound(),
                Errno::EROFS,
                Code::InvalidArgument,
                "PATH_NOT_FOUND",
                "path",
            ),
            (
                &hidden,
                Errno::EBUSY,
                Code::InvalidArgument,
                "INVALID_FIELD",
                "path",
            ),
            (
                &hidden,
                Errno::ELOOP,
                Code::InvalidArgument,
                "INVALID_FIELD",
                "path",
            ),
            (
                &bound(),
                Errno::ENOSPC,
                Code::ResourceExhausted,
                "SERVER_RESOURCES",
                "path",
            ),
        ] {
            let status = status(rule, errno);
            let info = status.get_details_error_info().unwrap();
            assert_eq!((status.code(), info.reason.as_str()), (code, reason));
            let violations = status.get_details_bad_request().unwrap().field_violations;
            assert_eq!(violations[0].field, format!("paths[3].{field}"));
            assert!(!status.message().contains(errno.desc()), "{status:?}");
        }
        // What is said of what is bound is said of nothing else.
        for errno in [Errno::EIO, Errno::EPERM, Errno::ESTALE] {
            assert!(fault(&hidden, errno).is_none(), "{errno}");
        }
    }
}
