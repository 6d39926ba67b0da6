//! How a process sees directories that its client has said something about.
//!
//! Runs in the child, in namespaces of its own, around the mounts of its profile. What a client chose
//! is looked up with the rights of the process's user alone, so that it says nothing of what that
//! one may not see; what is bound is one of the directories that the operator has named. Only
//! directories are covered: a mount over a file is lost when somebody renames another one over it.
//! System calls alone, as in all of [`super::child`].

use std::cell::Cell;
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, fstat, mkdirat, stat};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::unistd;
use prn_ipc_protocol::config::Bindable;
use prn_ipc_protocol::types::{PATHS_MAX, PathRule};

use super::confine::Ruleset;
use super::namespaces::{self, NOTHING, STAGE, bind};
use super::plan::View;
use crate::sys::account::Ids;

/// What is bound, found before anything covers it, by the place of its rule.
pub(super) type Sources = [Option<OwnedFd>; PATHS_MAX];

/// Finds what is bound, with the supervisor's rights. `at` is the place of the rule in hand. The
/// working directory is the same before and after.
pub(super) fn sources(view: &View<'_>, at: &Cell<u8>) -> nix::Result<Sources> {
    let mut sources = Sources::default();
    for ((rule, slot), place) in view.rules.iter().zip(&mut sources).zip(0..) {
        at.set(place);
        if let PathRule::Bound { source, .. } = rule {
            *slot = Some(find(bindable(view, source)?)?);
        }
    }
    // All are found before one of them covers others.
    let before = directory(c".")?;
    for ((rule, slot), place) in view.rules.iter().zip(&mut sources).zip(0..) {
        at.set(place);
        if let (PathRule::Bound { source, .. }, Some(found)) = (rule, &slot) {
            *slot = Some(stage(found, bindable(view, source)?.is_writable)?);
        }
    }
    unistd::fchdir(before)?;
    Ok(sources)
}

/// What the operator says of it.
fn bindable<'a>(view: &View<'a>, source: &CStr) -> nix::Result<&'a Bindable> {
    let mut all = view.bindable.iter();
    all.find(|bindable| bindable.path.as_c_str() == source)
        .ok_or(Errno::EPERM)
}

/// A mount of what was found, of it alone: what is mounted below it, now or later on the host, is
/// none of it. Made where nobody but root can rename anything: on the way to where it is
/// seen, another process could have something else made read-only in its place.
fn stage(found: &OwnedFd, is_writable: bool) -> nix::Result<OwnedFd> {
    unistd::fchdir(found).map_err(|_| CLOSED)?;
    bind(c".", STAGE, MsFlags::empty())?;
    mount(NOTHING, STAGE, NOTHING, MsFlags::MS_PRIVATE, NOTHING)?;
    if !is_writable {
        protect(STAGE)?;
    }
    directory(STAGE)
}

/// The directory that was there when the server started, else ESTALE. Users who may write to a
/// folder on the way, such as a process to which another part of it is bound, could have put a link
/// in its place, to what the supervisor may look up and they may not.
fn find(bindable: &Bindable) -> nix::Result<OwnedFd> {
    let found = match directory(&bindable.path) {
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Err(Errno::ESTALE),
        Err(Errno::EACCES) => return Err(CLOSED),
        other => other?,
    };
    let status = fstat(&found)?;
    if (status.st_dev, status.st_ino) == (bindable.device, bindable.inode) {
        Ok(found)
    } else {
        Err(Errno::ESTALE)
    }
}

/// What is bound cannot be entered: told apart from where it is to be seen (EACCES).
const CLOSED: Errno = Errno::EPERM;

/// Follows the rules, in order, as the process's user.
pub(super) fn follow(
    view: &View<'_>,
    sources: &Sources,
    ids: Ids<'_>,
    ruleset: Option<Ruleset>,
    at: &Cell<u8>,
) -> nix::Result<()> {
    namespaces::look_as(ids)?;
    for ((rule, source), place) in view.rules.iter().zip(sources).zip(0..) {
        at.set(place);
        match (rule, source) {
            (PathRule::ReadOnly(target), _) => {
                directory(target)?;
                freeze(target)?;
            }
            (PathRule::Hidden(target), _) => {
                is_below_root(&directory(target)?)?;
                namespaces::hide(target)?;
            }
            (PathRule::Bound { source, target }, Some(opened)) => {
                require(target, ids)?;
                unistd::fchdir(opened).map_err(|_| CLOSED)?;
                bind(c".", target, MsFlags::empty())?;
                if bindable(view, source)?.is_writable {
                    allow(opened, ruleset, view.rights)?;
                }
            }
            (PathRule::Bound { .. }, None) => return Err(Errno::EBADF),
        }
    }
    Ok(())
}

fn directory(path: &CStr) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty())
}

/// Makes a directory to bind to, where it is missing in what is the process's own.
fn require(target: &CStr, ids: Ids<'_>) -> nix::Result<()> {
    match directory(target) {
        Err(Errno::ENOENT) => make(target, ids),
        other => is_below_root(&other?),
    }
}

/// EBUSY: it is the root directory, by whatever path. A mount over that would cover nothing, since
/// paths begin below it.
fn is_below_root(found: &OwnedFd) -> nix::Result<()> {
    let (found, root) = (fstat(found)?, stat(c"/")?);
    if (found.st_dev, found.st_ino) == (root.st_dev, root.st_ino) {
        Err(Errno::EBUSY)
    } else {
        Ok(())
    }
}

/// ENOENT: it would not be in a directory of the process's own. That its user may write there is
/// not enough: what it left in a folder that is open to everybody would stay.
fn make(target: &CStr, ids: Ids<'_>) -> nix::Result<()> {
    let path = target.to_bytes_with_nul();
    let slash = path.iter().rposition(|byte| *byte == b'/');
    let (folder, name) = path
        .split_at_checked(slash.unwrap_or(0))
        .unwrap_or_default();
    let name = name.get(1..).unwrap_or_default();
    let name = CStr::from_bytes_with_nul(name).map_err(|_| Errno::ENOENT)?;
    let mut buffer = [0; PATH_MAX];
    let room = buffer.get_mut(..folder.len()).ok_or(Errno::ENAMETOOLONG)?;
    room.copy_from_slice(folder);
    let folder = CStr::from_bytes_until_nul(&buffer).map_err(|_| Errno::ENAMETOOLONG)?;
    let folder = directory(folder)?;
    if is_own(&folder, ids)? {
        mkdirat(&folder, name, Mode::from_bits_retain(0o755))
    } else {
        Err(Errno::ENOENT)
    }
}

/// linux/limits.h, the NUL counted.
const PATH_MAX: usize = 4096;

/// Whether it belongs to the process's user, or is in its shared memory. What belongs to it is in its
/// own directories, or in a directory that is bound to be written to, where this process has made it
/// or an earlier one of the same user id. A user of the machine's has directories elsewhere.
fn is_own(folder: impl AsFd, ids: Ids<'_>) -> nix::Result<bool> {
    let folder = fstat(folder)?;
    let is_shared_memory = || stat(c"/dev/shm").is_ok_and(|shared| shared.st_dev == folder.st_dev);
    let is_of_user = folder.st_uid == ids.uid && !ids.are_of_machine();
    Ok(is_of_user || is_shared_memory())
}

/// Makes a directory read-only, by a mount of its own if it is none (mount(2), EINVAL). Binding a
/// directory copies all that is mounted below it, copies included, which can double what there is:
/// so there are few such rules ([`READ_ONLY_MAX`]), and the root directory, which each path leads
/// below, is not bound to itself.
///
/// [`READ_ONLY_MAX`]: prn_ipc_protocol::types::READ_ONLY_MAX
fn freeze(target: &CStr) -> nix::Result<()> {
    match protect(target) {
        Err(Errno::EINVAL) => {
            bind(target, target, MsFlags::MS_REC)?;
            protect(target)
        }
        other => other,
    }
}

/// Makes a mount read-only: it alone, and not what is mounted below it. What it forbade before it
/// forbids still.
fn protect(target: &CStr) -> nix::Result<()> {
    let before = fstatvfs(directory(target)?)?.flags();
    let kept = [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
    ];
    let kept = kept.into_iter().filter(|(had, _)| before.contains(*had));
    let protected = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    let flags = kept.fold(protected, |flags, (_, flag)| flags | flag);
    mount(NOTHING, target, NOTHING, flags, NOTHING)
}

/// Lets the process change what is in it: by what was found, which no rename on the way to where it
/// is seen makes another directory.
fn allow(opened: impl AsFd, ruleset: Option<Ruleset>, rights: u64) -> nix::Result<()> {
    ruleset.map_or(Ok(()), |ruleset| ruleset.allow_below(opened, rights))
}
