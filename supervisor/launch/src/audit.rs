//! Where the audit goes (`--audit`): opened here, while this process is still root, and handed on.

use std::ffi::CString;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nix::fcntl::{OFlag, open, openat};
use nix::sys::socket::{SockType, getsockopt, sockopt};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{Uid, setfsuid};
use prn_ipc_protocol::config::AuditTarget;
use serde::Deserialize;

use crate::claim::settling::is_free;
use crate::claim::uids::Uids;
use crate::handover::HandoverError;
use crate::host::Host;
use crate::owner::is_roots;

/// User id of the program that writes it into a file, where there is no user `prn-audit`.
pub const UID: u32 = 1_999_999_998;

/// Where the audit goes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Target {
    /// Nowhere.
    Nowhere,
    /// To a file, in a folder of its writer's.
    File(PathBuf),
    /// To the journal of systemd.
    Journal,
    /// To a pipe or a socket that this process has inherited.
    Descriptor(i32),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "none" => Some(Self::Nowhere),
            None if text == "journal" => Some(Self::Journal),
            Some(("file", path)) if path.starts_with('/') => Some(Self::File(path.into())),
            Some(("fd", number)) => number.parse().ok().map(Self::Descriptor),
            None | Some(_) => None,
        }
        .ok_or_else(|| {
            "not a place for the audit: write file:/PATH, journal, fd:NUMBER or none".to_owned()
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => write!(f, "none"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Journal => write!(f, "journal"),
            Self::Descriptor(number) => write!(f, "fd:{number}"),
        }
    }
}

impl TryFrom<String> for Target {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Who the writer is: user prn-audit with its group, or else a number that nobody has.
///
/// # Errors
/// Why nobody can be, or not this one.
pub fn writer(host: &Host, uids: Uids, frontend: [u32; 2]) -> Result<(u32, u32), String> {
    let (uid, gid) = host.audit_ids.unwrap_or((UID, UID));
    if host.audit_ids.is_none() && host.named_ids.contains(&UID) {
        return Err(format!(
            "the audit's writer would have user id {UID}, which is another account's or group's: make a user prn-audit"
        ));
    }
    let own = uids.first..uids.first.saturating_add(uids.count);
    let is_taken = |id| id == 0 || frontend.contains(&id) || own.contains(&id);
    if is_taken(uid) || is_taken(gid) {
        return Err(format!(
            "the audit's writer would have user id {uid} and group id {gid}, of which one is another part's: \
             give user prn-audit others"
        ));
    }
    Ok((uid, gid))
}

/// Nobody but root may put another folder in the place of the one that is made: in a folder like
/// /tmp they could only with their own.
fn check_parent(folder: &Path) -> Result<(), HandoverError> {
    let parent = folder.parent().unwrap_or(folder);
    let found = fs::metadata(parent).map_err(|source| HandoverError::State {
        path: parent.to_owned(),
        source,
    })?;
    let is_anybodys = found.mode() & 0o022 != 0 && found.mode() & 0o1000 == 0;
    if !is_roots(found.uid()) || is_anybodys {
        return refused(
            parent,
            "others than root could put another folder in the place of the audit's: name one below folders of root's alone",
        );
    }
    Ok(())
}

/// Opens a folder that was found.
fn open_in_place(place: &File) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(openat(place, c".", flags, Mode::empty())?.into())
}

/// The same, as its owner: root has no capability here that would show it what is another's
/// (CAP_DAC_READ_SEARCH, capabilities(7)).
fn open_as(uid: u32, place: &File) -> io::Result<File> {
    let own = setfsuid(Uid::from_raw(uid));
    let opened = open_in_place(place);
    setfsuid(own);
    opened
}

/// Opens the folder of a file, which is the writer's alone, and this server's: locked (flock(2)),
/// which goes to the supervisor and the writer with it. One that is not there is made.
pub fn folder(
    path: &Path,
    (uid, gid): (u32, u32),
) -> Result<(AuditTarget, OwnedFd), HandoverError> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return refused(path, "it is no file's path");
    };
    let failed = |source| HandoverError::State {
        path: folder.to_owned(),
        source,
    };
    // One that is there is judged by itself.
    if fs::symlink_metadata(folder).is_err() {
        check_parent(folder)?;
    }
    let is_new = match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(failed(error)),
    };
    let place = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_PATH | nix::libc::O_DIRECTORY | nix::libc::O_NOFOLLOW)
        .open(folder)
        .map_err(failed)?;
    let opened = if is_new {
        let made = open_in_place(&place).map_err(failed)?;
        // Before it is another's, which takes a capability that the unit does not have.
        let mode = Permissions::from_mode(0o750);
        made.set_permissions(mode).map_err(failed)?;
        fchown(&made, Some(uid), Some(gid)).map_err(failed)?;
        made
    } else {
        let found = place.metadata().map_err(failed)?;
        if found.uid() != uid || found.mode() & 0o022 != 0 {
            return refused(
                folder,
                "the audit needs a folder that its writer owns (user prn-audit, else 1999999998) and nobody else can write: \
                 name one that is not there yet, or run chown and chmod go-w on it",
            );
        }
        open_as(uid, &place).map_err(failed)?
    };
    // What a server that was killed has left holds its lock for a moment more.
    let look = || match opened.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    };
    if !is_free(look)? {
        return refused(
            folder,
            "another server writes its audit there, and lines of two cannot be one chain: name a folder for each",
        );
    }
    let name = CString::new(name.as_bytes()).unwrap_or_default();
    Ok((AuditTarget::File { name, uid, gid }, opened.into()))
}

/// Where the journal takes lines of a program (sd_journal_stream_fd(3)).
const JOURNAL: &str = "/run/systemd/journal/stdout";

/// What it wants to know first: who writes, of no unit but that of the process, with which priority
/// (informational), that lines do not begin with another one, and that they are passed on to
/// nobody.
const ABOUT_LINES: &[u8] = b"prn-audit\n\n6\n0\n0\n0\n0\n";

/// Connects to the journal. A stream of this machine takes so few bytes as a line of the audit has
/// whole or not at all: the kernel has one buffer for them (unix_stream_sendmsg).
pub fn journal() -> Result<OwnedFd, HandoverError> {
    let failed = |source| HandoverError::State {
        path: JOURNAL.into(),
        source,
    };
    let mut stream = match UnixStream::connect(JOURNAL) {
        Ok(stream) => stream,
        Err(error)
            if [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused]
                .contains(&error.kind()) =>
        {
            return refused(
                Path::new(JOURNAL),
                "systemd's journal, which was to take the audit, is not there: name a file (file:/PATH)",
            );
        }
        Err(error) => return Err(failed(error)),
    };
    stream.write_all(ABOUT_LINES).map_err(failed)?;
    stream.shutdown(Shutdown::Read).map_err(failed)?;
    Ok(stream.into())
}

/// What somebody has passed, if its reader cannot hold this program up, nor cut a line in two.
pub fn descriptor(number: i32, passed: Option<OwnedFd>) -> Result<OwnedFd, HandoverError> {
    let shown = PathBuf::from(format!("fd:{number}"));
    let Some(passed) = passed else {
        return refused(&shown, "nothing was passed there");
    };
    let failed = |source| HandoverError::State {
        path: shown.clone(),
        source,
    };
    let kind = fstat(&passed)
        .map_err(|error| failed(error.into()))?
        .st_mode
        & nix::libc::S_IFMT;
    if kind == nix::libc::S_IFIFO {
        // An open file description of its own, which does not block.
        let own = format!("/proc/self/fd/{}", passed.as_raw_fd());
        let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        return open(own.as_str(), flags, Mode::empty()).map_err(|error| failed(error.into()));
    }
    let is_whole = |kind| kind == SockType::Datagram || kind == SockType::SeqPacket;
    if kind == nix::libc::S_IFSOCK && getsockopt(&passed, sockopt::SockType).is_ok_and(is_whole) {
        return Ok(passed);
    }
    refused(
        &shown,
        "it has to be a pipe, or a socket that keeps messages apart: a regular file could block the server, and a stream \
         cut lines (file:/PATH writes a file)",
    )
}

fn refused<T>(path: &Path, why: &'static str) -> Result<T, HandoverError> {
    Err(HandoverError::Unsafe {
        path: path.to_owned(),
        why,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_named_by_its_kind() {
        assert_eq!("none".parse(), Ok(Target::Nowhere));
        assert_eq!("file:/a/b:c".parse(), Ok(Target::File("/a/b:c".into())));
        assert_eq!("fd:7".parse(), Ok(Target::Descriptor(7)));
        assert_eq!("journal".parse(), Ok(Target::Journal));
        for wrong in ["", "file:", "file:a", "fd:x", "journal:", "/a"] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }
}
