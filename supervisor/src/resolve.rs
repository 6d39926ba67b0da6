//! From what was asked for to what execve(2) takes: pure functions.
//!
//! Runs in the supervisor. Whatever the strings say, they are used as the process's user alone.

use std::ffi::{CStr, CString};

use prn_ipc_protocol::message::{Refusal, StartSpec};
use prn_ipc_protocol::search::{candidates, environment, joined};

use crate::directory::Holder;

/// What is executed, with what environment, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Execution {
    /// Where the program may be: the first that exists and may be executed, as a shell looks along
    /// PATH.
    pub candidates: Vec<CString>,
    /// The whole environment, each `NAME=value`.
    pub environment: Vec<CString>,
    /// The directory that it starts in.
    pub working_directory: CString,
}

/// What a specification comes to, where all directories are in the folder `state_dir`.
pub(crate) fn resolve(state_dir: &CStr, spec: &StartSpec) -> Result<Execution, Refusal> {
    let holder = Holder::of(spec.id, spec.process.workspace.as_ref());
    let home = home(state_dir, &holder);
    let name = spec.process.argv.as_slice().first();
    let name = name.map_or(&[][..], |name| name.to_bytes());
    Ok(Execution {
        candidates: candidates(name, &spec.variables)?,
        environment: environment(
            &spec.variables,
            Some(home.to_bytes()),
            spec.process.user.as_ref(),
        ),
        working_directory: spec.process.working_directory.clone().unwrap_or(home),
    })
}

/// The path of the directory where processes start.
pub(crate) fn home(state_dir: &CStr, holder: &Holder) -> CString {
    joined(&[state_dir.to_bytes(), b"/", holder.to_string().as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use prn_ipc_protocol::search::PATH;

    fn strings(texts: &[&str]) -> Vec<CString> {
        texts
            .iter()
            .map(|text| CString::new(*text).unwrap())
            .collect()
    }

    #[test]
    fn j3_the_environment_is_the_documented_set_and_what_was_asked_for() {
        let path = format!("PATH={PATH}");
        for (asked, made) in [
            (
                &[][..],
                &[&*path, "HOME=/home", "TMPDIR=/home.tmp", "LANG=C.UTF-8"][..],
            ),
            (
                &["A=1=2", "HOME="],
                &[&path, "TMPDIR=/home.tmp", "LANG=C.UTF-8", "A=1=2", "HOME="],
            ),
            (
                &["PATH=/x", "TMPDIR=t", "HOME=h", "LANG=l"],
                &["PATH=/x", "TMPDIR=t", "HOME=h", "LANG=l"],
            ),
            (
                &["PATHS=1", "XHOME=2", "LANG"],
                &[
                    &path,
                    "HOME=/home",
                    "TMPDIR=/home.tmp",
                    "LANG=C.UTF-8",
                    "PATHS=1",
                    "XHOME=2",
                    "LANG",
                ],
            ),
        ] {
            let environment = environment(&strings(asked), Some(b"/home"), None);
            assert_eq!(environment, strings(made), "{asked:?}");
        }
        let user = "deploy".to_owned().try_into().unwrap();
        let made = environment(&strings(&["LOGNAME=l"]), Some(b"/home"), Some(&user));
        let named = [
            "HOME=/home",
            "TMPDIR=/home.tmp",
            "LANG=C.UTF-8",
            "USER=deploy",
            "LOGNAME=l",
        ];
        assert_eq!(made, strings(&[&[&*path], &named[..]].concat()));
    }

    #[test]
    fn a_process_starts_in_its_own_directory_or_where_it_was_told_to() {
        let spec = |working_directory| StartSpec {
            process: prn_ipc_protocol::message::ProcessSpec {
                working_directory,
                ..crate::process::tests::spec(&["x"]).process
            },
            ..crate::process::tests::spec(&["x"])
        };
        let own = resolve(c"/state", &spec(None)).unwrap();
        assert_eq!(
            own.working_directory.to_str().unwrap(),
            format!("/state/{}", spec(None).id)
        );
        let told = resolve(c"/state", &spec(Some(c"/srv".into()))).unwrap();
        assert_eq!(told.working_directory, CString::from(c"/srv"));
        assert_eq!(told.environment, own.environment, "HOME stays its own");
    }

    #[test]
    fn in_a_workspace_that_is_where_it_starts_and_its_home() {
        let mut spec = crate::process::tests::spec(&["x"]);
        spec.process.workspace = Some("w".to_owned().try_into().unwrap());
        let shared = resolve(c"/state", &spec).unwrap();
        let home: CString = c"/state/workspace-w".into();
        assert_eq!(
            shared.environment,
            environment(&[], Some(c"/state/workspace-w".to_bytes()), None)
        );
        assert_eq!(shared.working_directory, home);
    }
}
