//! The table `[paths]` of the configuration file: which directories no process sees, and which one
//! may be given to see.
//!
//! Runs in `prn server start`. What is named there is looked at once: a directory that processes
//! are to get must be there, and one that they must not see may be missing.

use std::ffi::CString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use prn_ipc_protocol::config::Bindable;
use serde::Deserialize;

use crate::confinement::mount_points;

/// What is hidden where the file does not say it, beside the folder that it is in.
const HIDDEN: [&str; 3] = ["/home", "/root", "/etc/prn"];

/// The table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Table {
    /// Directories that are empty for processes. `None`: [`HIDDEN`], and `folder`.
    pub hidden: Option<Vec<PathBuf>>,
    /// Directories that a process may be given, to write to as far as its user may.
    pub bind: Vec<PathBuf>,
    /// Directories that a process may be given, to read.
    pub bind_read_only: Vec<PathBuf>,
    /// The folder that the file is in.
    #[serde(skip)]
    pub folder: Option<PathBuf>,
}

/// The same, found on this host.
#[derive(Debug, Default)]
pub struct Directories {
    /// What is hidden, without links: none of them is below another one.
    pub hidden: Vec<PathBuf>,
    /// What may be bound.
    pub bindable: Vec<Bindable>,
}

/// Why the table is refused.
#[derive(Debug, thiserror::Error)]
pub enum PathsError {
    /// It does not say where.
    #[error("[paths] {key}: {} must be an absolute path", path.display())]
    Relative {
        /// In which list.
        key: &'static str,
        /// What.
        path: PathBuf,
    },
    /// A mount over a file is lost when another file is renamed over it.
    #[error("[paths] {key}: {} is a file: name its directory {}", path.display(), folder.display())]
    File {
        /// In which list.
        key: &'static str,
        /// What.
        path: PathBuf,
        /// Where it is.
        folder: PathBuf,
    },
    /// It cannot be looked at.
    #[error("[paths] {key}: cannot look at {}: make it, or take it off that list", path.display())]
    Look {
        /// In which list.
        key: &'static str,
        /// What.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The supervisor has no right to pass it.
    #[error(
        "[paths] {key}: {} is below {}, which root may not enter without CAP_DAC_READ_SEARCH, as processes are \
         started: let others pass it (chmod o+x)",
        path.display(), folder.display()
    )]
    Closed {
        /// In which list.
        key: &'static str,
        /// What.
        path: PathBuf,
        /// What is closed.
        folder: PathBuf,
    },
    /// It would show what no process is to see.
    #[error(
        "[paths] {key}: {} holds {}, which processes do not see as it is: name directories beside that",
        path.display(), inner.display()
    )]
    Holds {
        /// In which list.
        key: &'static str,
        /// What.
        path: PathBuf,
        /// What is hidden there, or what each process has of its own.
        inner: PathBuf,
    },
    /// It would show what each process sees its own part of.
    #[error("[paths]: {} is of /proc, of which each process sees its own: leave it out", .0.display())]
    Processes(PathBuf),
    /// It is in both lists.
    #[error("[paths]: {} is in both bind and bind-read-only: leave it in one of them", .0.display())]
    Both(PathBuf),
    /// No process would run.
    #[error("[paths] hidden: {} cannot be hidden, since processes need {}: name directories beside that (without `hidden`, the configuration's own folder is: move it)", path.display(), needed.display())]
    Needed {
        /// What.
        path: PathBuf,
        /// What is there or below.
        needed: PathBuf,
    },
}

impl Table {
    /// Looks at what it names, on a host with this state folder, which is there.
    ///
    /// # Errors
    /// What cannot be as it says.
    pub fn resolve(&self, state_dir: &Path) -> Result<Directories, PathsError> {
        let hidden = self.hidden(state_dir)?;
        let mut all = Vec::new();
        for (key, paths, is_writable) in [
            ("bind", &self.bind, true),
            ("bind-read-only", &self.bind_read_only, false),
        ] {
            for path in paths {
                all.push(bindable(key, path, is_writable, &hidden)?);
            }
        }
        match self.bind.iter().find(|path| self.is_read_only(path)) {
            Some(both) => Err(PathsError::Both(both.clone())),
            None => Ok(Directories {
                hidden,
                bindable: all,
            }),
        }
    }

    fn is_read_only(&self, path: &Path) -> bool {
        // Compared by their parts: a slash at the end makes no difference.
        self.bind_read_only.iter().any(|other| other == path)
    }

    fn hidden(&self, state_dir: &Path) -> Result<Vec<PathBuf>, PathsError> {
        let mut all = Vec::new();
        match &self.hidden {
            Some(paths) => {
                for path in paths {
                    all.extend(covered(path)?);
                }
            }
            None => {
                let folder = self.folder.iter().map(PathBuf::as_path);
                let defaults = HIDDEN.into_iter().map(Path::new).chain(folder);
                all.extend(defaults.filter_map(|path| covered(path).ok()?));
            }
        }
        for path in &all {
            check_spared(path, state_dir)?;
        }
        Ok(outermost(all))
    }
}

/// The folder of a configuration file, if it is to be hidden: not `/etc` or the like, which is the
/// system's.
pub fn folder_of(file: &Path) -> Option<PathBuf> {
    let folder = std::path::absolute(file).ok()?.parent()?.to_owned();
    (folder.components().count() > 2).then_some(folder)
}

/// What is to be covered, without links. `None`: there is nothing.
fn covered(path: &Path) -> Result<Option<PathBuf>, PathsError> {
    match look("hidden", path) {
        Ok(_) => {}
        Err(PathsError::Look { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    let path = fs::canonicalize(path).map_err(|source| PathsError::Look {
        key: "hidden",
        path: path.to_owned(),
        source,
    })?;
    // Nobody can look there but its user: then all of it is as good.
    Ok(Some(closed(&path).unwrap_or(path)))
}

/// What every process needs is not to be covered: its mounts, which come after, and the state
/// folder, whose place is made anew in what covers it but not over it.
fn check_spared(path: &Path, state_dir: &Path) -> Result<(), PathsError> {
    let mut mounts = mount_points().map(Path::new);
    let needed = mounts.find(|mount| mount.starts_with(path) && *mount != path);
    let state = Some(state_dir).filter(|state| *state == path);
    match needed.or(state) {
        Some(needed) => Err(PathsError::Needed {
            path: path.to_owned(),
            needed: needed.to_owned(),
        }),
        None => Ok(()),
    }
}

/// Those that are not below another one.
fn outermost(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
    paths.sort();
    paths.dedup_by(|path, before| path.starts_with(before));
    paths
}

/// A directory that may be bound.
fn bindable(
    key: &'static str,
    path: &Path,
    is_writable: bool,
    hidden: &[PathBuf],
) -> Result<Bindable, PathsError> {
    let found = look(key, path)?;
    let owned = || path.to_owned();
    let look = |source| PathsError::Look {
        key,
        path: owned(),
        source,
    };
    let real = fs::canonicalize(path).map_err(look)?;
    // Itself it may be: then it is for those alone that ask.
    let mut covered = mount_points()
        .map(PathBuf::from)
        .chain(hidden.iter().cloned());
    if let Some(inner) = covered.find(|inner| inner.starts_with(&real) && *inner != real) {
        return Err(PathsError::Holds {
            key,
            path: owned(),
            inner,
        });
    }
    if real.starts_with("/proc") {
        return Err(PathsError::Processes(owned()));
    }
    if let Some(folder) = closed(&real) {
        return Err(PathsError::Closed {
            key,
            path: owned(),
            folder,
        });
    }
    // As clients are to name it: without a slash at the end.
    let named: PathBuf = path.components().collect();
    Ok(Bindable {
        path: CString::new(named.as_os_str().as_bytes())
            .map_err(|nul| look(io::Error::new(io::ErrorKind::InvalidInput, nul)))?,
        device: found.dev(),
        inode: found.ino(),
        is_writable,
    })
}

/// What is there, which must be a directory.
fn look(key: &'static str, path: &Path) -> Result<Metadata, PathsError> {
    let owned = || path.to_owned();
    if !path.is_absolute() {
        return Err(PathsError::Relative { key, path: owned() });
    }
    let found = fs::metadata(path).map_err(|source| PathsError::Look {
        key,
        path: owned(),
        source,
    })?;
    if found.is_dir() {
        return Ok(found);
    }
    let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
    Err(PathsError::File {
        key,
        path: owned(),
        folder,
    })
}

/// The outermost folder above a path that the supervisor cannot pass, being root of the
/// capabilities that it keeps (capabilities(7)): as everybody else.
fn closed(path: &Path) -> Option<PathBuf> {
    let is_closed = |folder: &&Path| {
        folder.metadata().is_ok_and(|found| {
            let passes = match (found.uid(), found.gid()) {
                (0, _) => 0o100,
                (_, 0) => 0o010,
                (_, _) => 0o001,
            };
            found.mode() & passes == 0
        })
    };
    let mut above: Vec<_> = path.ancestors().skip(1).collect();
    above.reverse();
    above.into_iter().find(is_closed).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use tempfile::TempDir;

    const STATE: &str = "/var/lib/prn-not-there";

    fn folder() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o711)).unwrap();
        folder
    }

    fn hidden(paths: &[&Path], state_dir: &Path) -> Result<Vec<PathBuf>, String> {
        let table = Table {
            hidden: Some(paths.iter().map(|path| path.to_path_buf()).collect()),
            ..Table::default()
        };
        let found = table.resolve(state_dir);
        found
            .map(|found| found.hidden)
            .map_err(|error| error.to_string())
    }

    fn bind(path: &Path) -> Result<Vec<Bindable>, String> {
        let table = Table {
            hidden: Some(Vec::new()),
            bind: vec![path.to_owned()],
            ..Table::default()
        };
        let found = table.resolve(Path::new(STATE));
        found
            .map(|found| found.bindable)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_hidden_is_a_directory_that_is_there_and_the_outermost_of_several() {
        let folder = folder();
        let (a, b, file) = (
            folder.path().join("a"),
            folder.path().join("a/b"),
            folder.path().join("file"),
        );
        fs::create_dir_all(&b).unwrap();
        fs::write(&file, "").unwrap();
        let state = Path::new(STATE);
        let none = folder.path().join("none");
        assert_eq!(hidden(&[&b, &none, &a], state), Ok(vec![a.clone()]));
        let refused = hidden(&[&file], state).unwrap_err();
        let named = format!("name its directory {}", folder.path().display());
        assert!(refused.ends_with(&named), "{refused}");
        assert!(
            hidden(&[Path::new("home")], state)
                .unwrap_err()
                .contains("absolute")
        );
    }

    #[test]
    fn what_every_process_needs_is_not_hidden() {
        let folder = folder();
        for path in ["/", "/dev", "/var"] {
            let refused = hidden(&[Path::new(path)], Path::new(STATE)).unwrap_err();
            assert!(refused.contains("processes need"), "{refused}");
        }
        assert!(hidden(&[folder.path()], folder.path()).is_err());
        assert!(hidden(&[folder.path()], &folder.path().join("state")).is_ok());
        assert!(hidden(&[Path::new("/run")], Path::new(STATE)).is_ok());
    }

    #[test]
    fn homes_and_the_configuration_are_hidden_unless_the_table_says_otherwise() {
        let folder = folder();
        let table = Table {
            folder: folder_of(&folder.path().join("prn.toml")),
            ..Table::default()
        };
        let found = table.resolve(Path::new(STATE)).unwrap().hidden;
        assert!(found.contains(&fs::canonicalize(folder.path()).unwrap()));
        assert!(found.contains(&fs::canonicalize("/root").unwrap()));
        assert_eq!(hidden(&[], Path::new(STATE)), Ok(vec![]));
        assert_eq!(folder_of(Path::new("/etc/prn.toml")), None);
        assert_eq!(
            folder_of(Path::new("/etc/prn/prn.toml")),
            Some("/etc/prn".into())
        );
    }

    #[test]
    fn what_may_be_bound_is_there_can_be_passed_and_is_known_by_its_number() {
        let folder = folder();
        let path = folder.path().join("data");
        let refused = bind(&path).unwrap_err();
        assert!(
            refused.contains(&path.display().to_string()) && refused.contains("bind"),
            "{refused}"
        );
        fs::create_dir(&path).unwrap();
        let number = path.metadata().unwrap().ino();
        let found = bind(&path.join("")).unwrap();
        assert_eq!(found[0].path.to_bytes(), path.as_os_str().as_bytes());
        assert!(found[0].inode == number && found[0].is_writable);
        let both = Table {
            hidden: Some(Vec::new()),
            bind: vec![path.clone()],
            bind_read_only: vec![path.join("")],
            ..Table::default()
        };
        let refused = both.resolve(Path::new(STATE)).unwrap_err().to_string();
        assert!(refused.contains("both"), "{refused}");
    }

    #[test]
    fn what_may_be_bound_holds_nothing_that_is_covered_elsewhere() {
        let folder = folder();
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let table = |bound: &Path| Table {
            hidden: Some(vec![inner.clone()]),
            bind_read_only: vec![bound.to_owned()],
            ..Table::default()
        };
        let resolve = |bound: &Path| table(bound).resolve(Path::new(STATE));
        for bound in [folder.path(), Path::new("/"), Path::new("/var")] {
            let refused = resolve(bound).unwrap_err().to_string();
            assert!(refused.contains("holds"), "{refused}");
        }
        let found = resolve(&inner).unwrap().bindable;
        assert!(!found[0].is_writable, "hidden but for those that ask");
    }

    #[test]
    fn what_root_without_capabilities_cannot_pass_is_refused_and_hidden_whole() {
        let folder = folder();
        let inner = folder.path().join("inner");
        let path = inner.join("data");
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&inner, PermissionsExt::from_mode(0o600)).unwrap();
        let refused = bind(&path).unwrap_err();
        assert!(refused.contains("chmod o+x"), "{refused}");
        assert_eq!(hidden(&[&path], Path::new(STATE)), Ok(vec![inner]));
    }
}
