//! What is to be sent and brought back: flags of `prn run`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::path::RelativePath;
use crate::copy::FarPath;
use crate::failure::Failure;

/// What is to be sent before, and brought back after.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Sync with the workspace")]
pub struct SyncFlags {
    /// Send what has changed in this local directory to the workspace before, and start there. What
    /// .gitignore and .prnignore name stays here, and so does .git. What an earlier sync has brought
    /// and is no longer here is removed there; what processes have made there stays
    #[arg(long = "sync", value_name = "DIR", requires = "workspace")]
    pub directory: Option<PathBuf>,
    /// Send it to this directory in the workspace's own, not into that itself
    #[arg(long, value_name = "PATH", requires = "directory")]
    pub sync_to: Option<PathBuf>,
    /// Bring this back when the command has ended, however it has: to the same place in the DIR of
    /// --sync, or here without it. If it is not there, the exit code is 125 instead of 0. Repeatable
    #[arg(long, value_name = "PATH", requires = "workspace")]
    pub out: Vec<PathBuf>,
}

/// The same, checked.
#[derive(Debug)]
pub struct Plan {
    /// The local directory to send, if there is one.
    pub source: Option<PathBuf>,
    /// Where it goes below the workspace's directory. `None`: that itself.
    pub target: Option<RelativePath>,
    /// What comes back: paths below that.
    pub out: Vec<RelativePath>,
}

impl SyncFlags {
    /// What there is to do, if there is anything.
    ///
    /// # Errors
    /// [`Failure::Usage`] for a path that is none below a directory, and for a directory that is
    /// none.
    pub fn checked(self) -> Result<Option<Plan>, Failure> {
        if self.directory.is_none() && self.out.is_empty() {
            return Ok(None);
        }
        if let Some(directory) = &self.directory
            && !directory.is_dir()
        {
            let shown = directory.display();
            return Err(Failure::Usage(format!("--sync {shown}: no directory")));
        }
        let target = match self.sync_to {
            Some(path) => target(&path)?,
            None => None,
        };
        let out = self.out.iter();
        let out = out.map(|path| below("--out", path));
        Ok(Some(Plan {
            source: self.directory,
            target,
            out: out.collect::<Result<_, _>>()?,
        }))
    }
}

/// A target is told to a script as an argument, which is text.
fn target(path: &Path) -> Result<Option<RelativePath>, Failure> {
    if path == Path::new(".") {
        return Ok(None);
    }
    let target = below("--sync-to", path)?;
    if target.as_path().to_str().is_none() {
        let why = "--sync-to: the path must be UTF-8";
        return Err(Failure::Usage(why.to_owned()));
    }
    Ok(Some(target))
}

fn below(flag: &str, path: &Path) -> Result<RelativePath, Failure> {
    RelativePath::of_user(path).ok_or_else(|| {
        Failure::Usage(format!(
            "{flag} {}: must be a path below the directory, without \"..\"",
            path.display()
        ))
    })
}

impl Plan {
    /// The local directory that results come back to.
    pub fn here(&self) -> &Path {
        self.source.as_deref().unwrap_or(Path::new("."))
    }

    /// The directory in the workspace, as a script's argument.
    pub fn argument(&self) -> String {
        let target = self.target.as_ref();
        let target = target.and_then(|target| target.as_path().to_str());
        target.map_or_else(|| ".".to_owned(), |target| format!("./{target}"))
    }

    /// The directory in the workspace, as the target of a copy.
    pub fn far(&self) -> FarPath {
        let target = self.target.as_ref();
        FarPath(target.map_or_else(OsString::new, |target| target.as_path().into()))
    }

    /// A result in the workspace.
    pub fn far_result(&self, result: &RelativePath) -> FarPath {
        FarPath(Path::new(&self.far().0).join(result.as_path()).into())
    }

    /// Where a command starts, in a workspace with this directory.
    pub fn working_directory(&self, workspace: &[u8]) -> Option<String> {
        let target = self.target.as_ref()?.as_path();
        let directory = Path::new(OsStr::from_bytes(workspace)).join(target);
        directory.into_os_string().into_string().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(directory: Option<&str>, to: Option<&str>, out: &[&str]) -> Option<Plan> {
        let flags = SyncFlags {
            directory: directory.map(PathBuf::from),
            sync_to: to.map(PathBuf::from),
            out: out.iter().map(PathBuf::from).collect(),
        };
        flags.checked().unwrap()
    }

    #[test]
    fn nothing_is_asked_for_without_flags() {
        assert!(checked(None, None, &[]).is_none());
    }

    #[test]
    fn results_are_below_the_target() {
        let sync = checked(Some("/"), Some("src/a"), &["build/"]).unwrap();
        assert_eq!(sync.argument(), "./src/a");
        let result = sync.far_result(sync.out.first().unwrap());
        assert_eq!(result, FarPath("src/a/build".into()));
        let directory = sync.working_directory(b"/var/w");
        assert_eq!(directory.as_deref(), Some("/var/w/src/a"));
        let sync = checked(None, None, &["b"]).unwrap();
        assert_eq!(
            (sync.argument().as_str(), sync.here()),
            (".", Path::new("."))
        );
        assert_eq!(
            sync.far_result(sync.out.first().unwrap()),
            FarPath("b".into())
        );
        assert_eq!(sync.working_directory(b"/var/w"), None);
    }

    #[test]
    fn paths_that_lead_out_are_refused_by_the_name_of_the_flag() {
        for (to, out, expected) in [
            (Some("../x"), None, "--sync-to"),
            (Some("/x"), None, "--sync-to"),
            (None, Some("/etc/passwd"), "--out"),
            (None, Some("a/../../b"), "--out"),
            (None, Some("."), "--out"),
        ] {
            let flags = SyncFlags {
                directory: Some("/".into()),
                sync_to: to.map(PathBuf::from),
                out: out.map(PathBuf::from).into_iter().collect(),
            };
            let said = flags.checked().unwrap_err().to_string();
            assert!(said.starts_with(expected), "{said}");
        }
        let flags = SyncFlags {
            directory: Some("/etc/passwd".into()),
            ..SyncFlags::default()
        };
        assert!(flags.checked().is_err());
    }
}
