//! The user ids of processes, which no other server of this machine may use: whoever shares one
//! could read files of the other's process, and signal its supervisor.
//!
//! They are a range of bytes of one file of all servers', locked (F_OFD_SETLK, fcntl(2)): a lock
//! belongs to the open file, goes to the supervisor with it, and ends with its last descriptor.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::settling::is_free;
use crate::warning::Warning;

/// Where the file is: root's alone, so that nobody else can lock it.
const FOLDER: &str = "/run/prn";
const FILE: &str = "uids";

/// The first user id, and how many they are.
#[derive(Debug, Clone, Copy)]
pub struct Uids {
    /// The first.
    pub first: u32,
    /// Their number.
    pub count: u32,
}

/// Another server has some of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another server uses user ids of {first} to {last}: give this one another --first-uid")]
pub struct UidsInUse {
    first: u32,
    last: u32,
}

/// Locks them. `None`: the file refuses, which is told.
///
/// # Errors
/// Another server has some of them.
pub fn lock(uids: Uids, warn: &dyn Fn(Warning)) -> Result<Option<OwnedFd>, UidsInUse> {
    let locked = open(Path::new(FOLDER)).and_then(|file| {
        let is_free = is_free(|| is_locked(try_lock(&file, uids)))?;
        Ok(is_free.then_some(file))
    });
    match locked {
        Ok(Some(file)) => Ok(Some(file.into())),
        Ok(None) => Err(UidsInUse {
            first: uids.first,
            last: uids.first.saturating_add(uids.count.saturating_sub(1)),
        }),
        Err(error) => {
            warn(Warning::UidsNotLocked(error));
            Ok(None)
        }
    }
}

/// Whether nobody else has them.
fn is_locked(locked: nix::Result<()>) -> io::Result<bool> {
    match locked {
        Ok(()) => Ok(true),
        Err(errno) if errno == Errno::EAGAIN || errno == Errno::EACCES => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn open(folder: &Path) -> io::Result<File> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(folder.join(FILE))
}

fn try_lock(file: &File, uids: Uids) -> nix::Result<()> {
    let range = libc::flock {
        l_type: libc::F_WRLCK.try_into().map_err(|_| Errno::EINVAL)?,
        l_whence: libc::SEEK_SET.try_into().map_err(|_| Errno::EINVAL)?,
        l_start: uids.first.into(),
        l_len: uids.count.into(),
        // Of no process: of the open file.
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_SETLK(&range)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_meet_exclude_each_other_and_neighbours_do_not() {
        let base = std::env::temp_dir().join(format!("prn-uids-{}", std::process::id()));
        let locked = |first, count| {
            let file = open(&base).unwrap();
            try_lock(&file, Uids { first, count }).map(|()| file)
        };
        let held = locked(2_000_000_000, 4096).unwrap();
        for (first, count) in [
            (2_000_000_000, 4096),
            (2_000_004_095, 1),
            (1_999_999_999, 2),
            (1, u32::MAX - 2),
        ] {
            assert!(locked(first, count).is_err(), "{first} {count}");
        }
        let _below = locked(1_999_999_998, 2).unwrap();
        let _above = locked(2_000_004_096, 4096).unwrap();
        // As long as somebody has it open: what inherits it, too.
        let inherited = held.try_clone().unwrap();
        drop(held);
        assert!(locked(2_000_000_000, 1).is_err());
        drop(inherited);
        locked(2_000_000_000, 4096).unwrap();
        std::fs::remove_dir_all(&base).unwrap();
    }
}
