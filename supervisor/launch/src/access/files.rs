//! The files that clients and roles are read from.
//!
//! A file of the folder of clients lets somebody in, so it is taken only where nobody but root
//! could have written it, and where it is one itself: no link is followed.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;

use super::tables::{Draft, Place, Problem, Source, Tables, line_and_message};
use crate::options::Options;
use crate::owner::check_owner;

/// The folder of clients beside a configuration file that names none.
const CLIENTS_DIR: &str = "clients.d";

/// A file that was read.
#[derive(Debug)]
pub(super) struct Part {
    pub source: Source,
    pub tables: Tables,
}

/// The tables of the configuration, and those of its folder of clients, in the order of their
/// names. What could not be read is a problem.
pub(super) fn read(options: &Options, problems: &mut Vec<Problem>) -> Vec<Part> {
    let Some(source) = options.file.clone() else {
        return Vec::new();
    };
    let folder = folder_of_clients(options, &source.path);
    let own = Part {
        source,
        tables: Tables {
            client: options.client.clone(),
            role: options.role.clone(),
        },
    };
    let mut parts = vec![own];
    let found = folder.map_or(Ok(Vec::new()), |folder| {
        parts_of(&folder, options.draft.as_ref())
    });
    for part in found.unwrap_or_else(|problem| vec![Err(problem)]) {
        match part {
            Ok(part) => parts.push(part),
            Err(problem) => problems.push(problem),
        }
    }
    parts
}

/// The one that is named, else the usual one if there is anything of that name.
fn folder_of_clients(options: &Options, file: &Path) -> Option<PathBuf> {
    let beside = file.parent().unwrap_or(Path::new(""));
    match &options.clients_dir {
        // Without a slash at its end, with which a link would be followed.
        Some(named) => Some(beside.join(named).components().collect()),
        None => Some(beside.join(CLIENTS_DIR)).filter(|usual| {
            let found = fs::symlink_metadata(usual);
            !found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        }),
    }
}

/// What stands in a file of a folder of clients that is to be changed, if the server would read it
/// there. `None`: there is no such file.
///
/// # Errors
/// The server would not read it.
pub fn standing(folder: &Path, name: &OsStr) -> Result<Option<String>, Problem> {
    let is_absent = |found: io::Result<Metadata>| {
        found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    let path = folder.join(name);
    if is_absent(fs::symlink_metadata(folder)) {
        return Ok(None);
    }
    let opened = open(folder)?;
    if is_absent(fs::symlink_metadata(&path)) {
        return Ok(None);
    }
    text_of(opened.as_fd(), &path, name).map(Some)
}

fn unread(folder: &Path, error: &io::Error) -> Problem {
    of_file(folder, None, format!("cannot read the folder: {error}"))
}

fn open(folder: &Path) -> Result<File, Problem> {
    let (opened, found) = look(AT_FDCWD, folder).map_err(|error| unread(folder, &error))?;
    if found.is_symlink() {
        let what = "it is a link, which is not followed: name the folder that it leads to with clients-dir, above all tables";
        return Err(of_file(folder, None, what.to_owned()));
    }
    check_owner(folder, &found)?;
    Ok(opened)
}

fn parts_of(folder: &Path, draft: Option<&Draft>) -> Result<Vec<Result<Part, Problem>>, Problem> {
    let opened = open(folder)?;
    let failed = |error| unread(folder, &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(path_of(&opened)).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name());
    }
    let is_ours = |name: &OsString| Path::new(name).extension().is_some_and(|end| end == "toml");
    names.retain(is_ours);
    if let Some(draft) = draft {
        names.retain(|name| *name != draft.name);
        names.extend(draft.text.as_ref().map(|_| draft.name.clone()));
    }
    names.sort();
    let parts = names.iter().map(|name| {
        let path = folder.join(name);
        match draft.filter(|draft| draft.name == *name) {
            Some(draft) => parsed(path, draft.text.clone().unwrap_or_default()),
            None => {
                let text = text_of(opened.as_fd(), &path, name)?;
                parsed(path, text)
            }
        }
    });
    Ok(parts.collect())
}

fn text_of(folder: BorrowedFd<'_>, path: &Path, name: &OsStr) -> Result<String, Problem> {
    let failed = |error: io::Error| of_file(path, None, format!("cannot read it: {error}"));
    let (opened, found) = look(folder, Path::new(name)).map_err(failed)?;
    if !found.is_file() {
        let what =
            "it is a link, or else no regular file, and so not read: put the file itself there";
        return Err(of_file(path, None, what.to_owned()));
    }
    check_owner(path, &found)?;
    fs::read_to_string(path_of(&opened)).map_err(failed)
}

fn parsed(path: PathBuf, text: String) -> Result<Part, Problem> {
    let tables = toml::from_str(&text).map_err(|error| {
        let (line, what) = line_and_message(&text, &error);
        of_file(&path, Some(line), what)
    })?;
    Ok(Part {
        source: Source { path, text },
        tables,
    })
}

/// What has this name, without following a link: `O_PATH` (open(2)) waits for no FIFO's writer, and
/// wakes no device.
fn look(folder: BorrowedFd<'_>, name: &Path) -> io::Result<(File, Metadata)> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let opened = File::from(openat(folder, name, flags, Mode::empty())?);
    // Asked of what was opened: the name may mean another file by now.
    let found = opened.metadata()?;
    Ok((opened, found))
}

/// A name of what was looked at, whatever else has its own name by now.
fn path_of(opened: &File) -> String {
    format!("/proc/self/fd/{}", opened.as_raw_fd())
}

fn of_file(path: &Path, line: Option<usize>, what: String) -> Problem {
    let path = path.to_owned();
    Problem {
        place: Place { path, line },
        what,
    }
}
