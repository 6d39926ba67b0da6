//! The user ids of processes, which no other server of this machine may use: whoever shares one
//! could read files of the other's process, and signal its supervisor.
//!
//! They are a range of bytes of one file of all servers', locked (F_OFD_SETLK, fcntl(2)): a lock
//! belongs to the open file, goes to the supervisor with it, and ends with its last descriptor.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, openat};
use nix::libc;
use nix::sys::stat::Mode;
use nix::unistd::geteuid;

use super::settling::is_free;
use crate::warning::Warning;

/// Where the file is. It is root's alone, so that nobody else can lock the file.
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

/// Somebody else has some of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UidsInUse {
    /// Another server.
    #[error("another server uses user ids of {first} to {last}: give this one another --first-uid")]
    Server {
        /// The first of this one's.
        first: u32,
        /// The last of this one's.
        last: u32,
    },
    /// A process, as one that outlived another server that was killed.
    #[error(
        "process {pid} runs as user {uid}, one of those for processes: end it, or give this server another --first-uid"
    )]
    Process {
        /// Which.
        pid: u32,
        /// Its user id.
        uid: u32,
    },
}

/// Refuses them where somebody runs as one of them. What was killed has a moment to go.
///
/// # Errors
/// The first process that does.
pub fn check_processes(uids: Uids) -> Result<(), UidsInUse> {
    let mut found = None;
    let look = || -> Result<bool, UidsInUse> {
        found = process_of(uids);
        Ok(found.is_none())
    };
    match (is_free(look), found) {
        (Ok(true), _) | (_, None) => Ok(()),
        (_, Some((pid, uid))) => Err(UidsInUse::Process { pid, uid }),
    }
}

/// A process, and the user id of these that it has. Of a dead one that nobody has waited for nothing
/// is left but its number.
fn process_of(uids: Uids) -> Option<(u32, u32)> {
    let range = uids.first..uids.first.saturating_add(uids.count);
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let uid = entry.metadata().ok()?.uid();
        let lives = || is_alive(&fs::read_to_string(entry.path().join("stat")).unwrap_or_default());
        (range.contains(&uid) && lives()).then_some((pid, uid))
    })
}

/// Of /proc/pid/stat (proc_pid_stat(5)).
fn is_alive(stat: &str) -> bool {
    let state = stat.rsplit(") ").next().unwrap_or_default();
    !state.is_empty() && !state.starts_with(['Z', 'X'])
}

/// Locks them. `None`: the file cannot be locked, of which the operator is warned.
///
/// # Errors
/// Another server has some of them.
pub fn lock(uids: Uids, warn: &dyn Fn(Warning)) -> Result<Option<OwnedFd>, UidsInUse> {
    let locked = open(Path::new(FOLDER)).and_then(|file| {
        let is_free = is_free(|| is_ours(try_lock(&file, uids)))?;
        Ok(is_free.then_some(file))
    });
    match locked {
        Ok(Some(file)) => Ok(Some(file.into())),
        Ok(None) => Err(UidsInUse::Server {
            first: uids.first,
            last: uids.first.saturating_add(uids.count.saturating_sub(1)),
        }),
        Err(error) => {
            warn(Warning::UidsNotLocked(error));
            Ok(None)
        }
    }
}

/// What an attempt to lock them says: whether they are this server's now.
fn is_ours(locked: nix::Result<()>) -> io::Result<bool> {
    match locked {
        Ok(()) => Ok(true),
        Err(errno) if errno == Errno::EAGAIN || errno == Errno::EACCES => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// The file, in a folder of root's that nobody else can write to: else the file could be another one
/// for the next server.
fn open(folder: &Path) -> io::Result<File> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let folder = File::from(nix::fcntl::open(folder, flags, Mode::empty())?);
    check_is_roots(&folder)?;
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    let file = File::from(openat(&folder, FILE, flags, mode)?);
    check_is_roots(&file)?;
    Ok(file)
}

/// Root is who this runs as.
fn check_is_roots(file: &File) -> io::Result<()> {
    let metadata = file.metadata()?;
    if metadata.uid() == geteuid().as_raw() && metadata.mode() & 0o022 == 0 {
        Ok(())
    } else {
        let why = "others can change it: it must be root's alone";
        Err(io::Error::new(ErrorKind::PermissionDenied, why))
    }
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
    fn the_dead_are_told_from_the_living_whatever_their_names() {
        assert!(is_alive("1 (a) Z) S 1 1"));
        assert!(!is_alive("1 (a) S) Z 1 1"));
        assert!(!is_alive(""));
    }

    #[test]
    fn a_lock_that_somebody_has_is_told_apart_from_one_that_cannot_be() {
        assert!(is_ours(Ok(())).unwrap());
        for held in [Errno::EAGAIN, Errno::EACCES] {
            assert!(!is_ours(Err(held)).unwrap());
        }
        assert!(is_ours(Err(Errno::ENOLCK)).is_err());
    }

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
