//! `prn-clean`: empties directories of a process that has ended, as its user and in its cgroup.
//!
//! Nobody changes the trees meanwhile: all processes of that user are gone. What is in them is not
//! trusted: it is never followed, only deleted. Tested as the program that it is, since it changes
//! the working directory: tests/tools.rs.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::ExitCode;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, fchdir, unlinkat};
use prn_ipc_protocol::fds::{self, tools};

/// The descriptors from [`tools::CLEANED`] on are the directories, or the arguments are, before
/// there is a supervisor. Succeeds if all of them are empty in the end.
pub fn main() -> ExitCode {
    let handle = |path| {
        open(
            &PathBuf::from(path),
            OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
    };
    let named: Vec<_> = std::env::args_os().skip(1).collect();
    let directories: Vec<OwnedFd> = if named.is_empty() {
        (tools::CLEANED..)
            .map_while(|number| fds::inherited(number).ok())
            .collect()
    } else {
        named
            .into_iter()
            .filter_map(|path| handle(path).ok())
            .collect()
    };
    // One that fails is no reason to leave the others full.
    let failed = directories
        .iter()
        .filter(|directory| clean(directory).is_err())
        .count();
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Deletes everything in a directory. It needs two descriptors at any depth.
///
/// # Errors
/// Those of the first system call that fails.
fn clean(directory: &OwnedFd) -> nix::Result<()> {
    let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
    // The process may have closed its directory even to itself.
    let _unused = fs::set_permissions(&path, fs::Permissions::from_mode(0o700));
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut folder = Dir::open(path.as_str(), flags, Mode::empty())?;
    let top = fstat(&folder)?;
    loop {
        fchdir(&folder)?;
        match delete_entries(&mut folder)? {
            Some(below) => {
                // Down, into a folder that is not empty.
                let mode = fstatat(&folder, below.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?
                    .st_mode
                    | 0o700;
                fchmodat(
                    &folder,
                    below.as_c_str(),
                    Mode::from_bits_truncate(mode),
                    FchmodatFlags::FollowSymlink,
                )?;
                folder = Dir::openat(
                    &folder,
                    below.as_c_str(),
                    flags | OFlag::O_NOFOLLOW,
                    Mode::empty(),
                )?;
            }
            None => {
                let here = fstat(&folder)?;
                if (here.st_dev, here.st_ino) == (top.st_dev, top.st_ino) {
                    return Ok(());
                }
                // Up: the folder above will find this one empty.
                folder = Dir::openat(folder.as_fd(), "..", flags, Mode::empty())?;
            }
        }
    }
}

/// Deletes what can be deleted in a folder; returns the name of a sub-folder that is not empty, if
/// there is one.
fn delete_entries(folder: &mut Dir) -> nix::Result<Option<std::ffi::CString>> {
    let handle = nix::unistd::dup(folder.as_fd())?;
    for entry in folder.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        match unlinkat(&handle, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => continue,
            Err(Errno::EISDIR | Errno::EPERM) => {}
            Err(error) => return Err(error),
        }
        match unlinkat(&handle, name, UnlinkatFlags::RemoveDir) {
            Ok(()) => {}
            Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::EACCES) => {
                return Ok(Some(name.to_owned()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
