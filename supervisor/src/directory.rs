//! The two directories of a process, or of a workspace that processes share, in the state folder:
//! where they start, and, with `.tmp` behind its name, one for temporary files.
//!
//! Runs in the supervisor. They belong to the processes' user. Root makes them and, when they are
//! empty, removes them; what a process put into them is deleted by a cleaner that runs as that
//! user.

use std::ffi::CString;
use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, unlinkat};
use prn_ipc_protocol::types::{ProcessId, WorkspaceName};

/// Bytes of a directory that is removed by this thread: a hundred names and more, in 16 blocks.
const SHORT: i64 = 64 * 1024;

/// Who has two directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A process.
    Process(ProcessId),
    /// A workspace.
    Workspace(WorkspaceName),
}

impl Holder {
    /// Of the directories of this process.
    pub fn of(id: ProcessId, workspace: Option<&WorkspaceName>) -> Self {
        workspace.map_or(Self::Process(id), |name| Self::Workspace(name.clone()))
    }
}

/// The name of the directory where its processes start, and of its cgroup. No id has a `-`, and no
/// name of a workspace a `.`.
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(id) => id.fmt(f),
            Self::Workspace(name) => write!(f, "workspace-{name}"),
        }
    }
}

fn names(holder: &Holder) -> [String; 2] {
    [holder.to_string(), format!("{holder}.tmp")]
}

/// Makes them: empty, of this user, closed to others.
///
/// # Errors
/// As mkdir(2) and chown(2). Nothing is left.
pub fn create(state: BorrowedFd<'_>, holder: &Holder, uid: u32) -> nix::Result<()> {
    let own = |name: &str| {
        mkdirat(state, name, Mode::S_IRWXU)?;
        // The folder is root's, so nobody can have put something else in its place.
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(uid));
        let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
        fchownat(state, name, Some(uid), Some(gid), flags).inspect_err(|_| unlink(state, name))
    };
    let [home, temporary] = names(holder);
    // Where a name is taken, what has it was not made here, and stays.
    own(&home)?;
    own(&temporary).inspect_err(|_| unlink(state, &home))
}

/// Handles of those that are there. They give no access by themselves: root without
/// CAP_DAC_OVERRIDE has none to them.
///
/// A name is one component in a folder of root's. Not by openat2(2), which systemd refuses to a
/// unit with RestrictSUIDSGID= (ENOSYS), since no filter sees its mode.
pub fn open(state: BorrowedFd<'_>, holder: &Holder) -> Vec<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    names(holder)
        .into_iter()
        .filter_map(|name| openat(state, name.as_str(), flags, Mode::empty()).ok())
        .collect()
}

/// Removes those that are empty. Returns whether both are gone.
pub fn remove(state: BorrowedFd<'_>, holder: &Holder) -> bool {
    for name in names(holder) {
        unlink(state, &name);
    }
    are_gone(state, holder)
}

/// Whether neither is there.
pub fn are_gone(state: BorrowedFd<'_>, holder: &Holder) -> bool {
    names(holder)
        .iter()
        .all(|name| size(state, name) == Err(Errno::ENOENT))
}

/// Whether the removal of both takes no time to speak of: some file systems (ext4) look at all the
/// blocks that a directory ever had, also where it is empty.
pub fn are_short(state: BorrowedFd<'_>, holder: &Holder) -> bool {
    names(holder)
        .iter()
        .all(|name| size(state, name).map_or(true, |size| size <= SHORT))
}

/// The paths of both, in the state folder.
pub fn paths(holder: &Holder) -> [CString; 2] {
    names(holder).map(|name| CString::new(name).unwrap_or_default())
}

/// Removes one, if it is empty.
fn unlink(state: BorrowedFd<'_>, name: &str) {
    let _unused = unlinkat(state, name, UnlinkatFlags::RemoveDir);
}

fn size(state: BorrowedFd<'_>, name: &str) -> nix::Result<i64> {
    fstatat(state, name, AtFlags::AT_SYMLINK_NOFOLLOW).map(|stat| stat.st_size)
}
