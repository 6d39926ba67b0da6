//! The two directories of each process, in the state folder: `<id>`, where it starts, and
//! `<id>.tmp`, for its temporary files.
//!
//! Runs in the supervisor. They belong to the process's user. Root makes them and, when they are
//! empty, removes them; what a process put into them is deleted by a cleaner that runs as the
//! process's user.

use std::ffi::CString;
use std::os::fd::{BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, unlinkat};
use prn_ipc_protocol::types::ProcessId;

/// Bytes of a directory that is removed by this thread: a hundred names and more, in 16 blocks.
const SHORT: i64 = 64 * 1024;

fn names(id: ProcessId) -> [String; 2] {
    [id.to_string(), format!("{id}.tmp")]
}

/// Makes them: empty, the process's own, closed to others.
///
/// # Errors
/// As mkdir(2) and chown(2). Nothing is left.
pub fn create(state: BorrowedFd<'_>, id: ProcessId, uid: u32) -> nix::Result<()> {
    let own = |name: &str| {
        mkdirat(state, name, Mode::S_IRWXU)?;
        // The folder is root's, so nobody can have put something else in its place.
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(uid));
        let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
        fchownat(state, name, Some(uid), Some(gid), flags).inspect_err(|_| unlink(state, name))
    };
    let [home, temporary] = names(id);
    // Where a name is taken, what has it was not made here, and stays.
    own(&home)?;
    own(&temporary).inspect_err(|_| unlink(state, &home))
}

/// Handles of those that are there. They give no access by themselves: root without
/// CAP_DAC_OVERRIDE has none to them.
///
/// A name is one component in a folder of root's. Not by openat2(2), which systemd refuses to a
/// unit with RestrictSUIDSGID= (ENOSYS), since no filter sees its mode.
pub fn open(state: BorrowedFd<'_>, id: ProcessId) -> Vec<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    names(id)
        .into_iter()
        .filter_map(|name| openat(state, name.as_str(), flags, Mode::empty()).ok())
        .collect()
}

/// Removes those that are empty. Returns whether both are gone.
pub fn remove(state: BorrowedFd<'_>, id: ProcessId) -> bool {
    for name in names(id) {
        unlink(state, &name);
    }
    are_gone(state, id)
}

/// Whether neither is there.
pub fn are_gone(state: BorrowedFd<'_>, id: ProcessId) -> bool {
    names(id)
        .iter()
        .all(|name| size(state, name) == Err(Errno::ENOENT))
}

/// Whether the removal of both takes no time to speak of: some file systems (ext4) look at all the
/// blocks that a directory ever had, also where it is empty.
pub fn are_short(state: BorrowedFd<'_>, id: ProcessId) -> bool {
    names(id)
        .iter()
        .all(|name| size(state, name).map_or(true, |size| size <= SHORT))
}

/// The paths of both, in the state folder.
pub fn paths(id: ProcessId) -> [CString; 2] {
    names(id).map(|name| CString::new(name).unwrap_or_default())
}

/// Removes one, if it is empty.
fn unlink(state: BorrowedFd<'_>, name: &str) {
    let _unused = unlinkat(state, name, UnlinkatFlags::RemoveDir);
}

fn size(state: BorrowedFd<'_>, name: &str) -> nix::Result<i64> {
    fstatat(state, name, AtFlags::AT_SYMLINK_NOFOLLOW).map(|stat| stat.st_size)
}
