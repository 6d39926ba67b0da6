//! How a process sees directories that its client has said something about.
//!
//! Runs in the child, in namespaces of its own, after the mounts of its profile. What a client chose
//! is looked up with the rights of the process's user alone, so that it says nothing of what that
//! one may not see; what is bound is one of the directories that the operator has named. Only
//! directories are covered: a mount over a file is lost when somebody renames another one over it.

use std::cell::Cell;
use std::ffi::CStr;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::unistd;
use prn_ipc_protocol::config::Bindable;
use prn_ipc_protocol::types::{PATHS_MAX, PathRule};

use super::confine::Ruleset;
use super::namespaces::{self, NOTHING};
use super::plan::{Ids, View};

/// What is bound, found before anything covers it, by the place of its rule.
pub(super) type Sources = [Option<OwnedFd>; PATHS_MAX];

/// Finds what is bound. `at` is the place of the rule in hand.
pub(super) fn sources(view: &View<'_>, at: &Cell<u8>) -> nix::Result<Sources> {
    let mut sources = Sources::default();
    for ((rule, slot), place) in view.rules.iter().zip(&mut sources).zip(0..) {
        at.set(place);
        if let PathRule::Bound { source, .. } = rule {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            *slot = Some(open(
                bindable(view, source)?.path.as_c_str(),
                flags,
                Mode::empty(),
            )?);
        }
    }
    Ok(sources)
}

/// What the operator says of it.
fn bindable<'a>(view: &View<'a>, source: &CStr) -> nix::Result<&'a Bindable> {
    let mut all = view.bindable.iter();
    all.find(|bindable| bindable.path.as_c_str() == source)
        .ok_or(Errno::EPERM)
}

/// Follows the rules, in order, as the process's user.
pub(super) fn follow(
    view: &View<'_>,
    sources: &Sources,
    ids: Ids,
    ruleset: Option<Ruleset>,
    at: &Cell<u8>,
) -> nix::Result<()> {
    namespaces::look_as(ids);
    for ((rule, source), place) in view.rules.iter().zip(sources).zip(0..) {
        at.set(place);
        match (rule, source) {
            (PathRule::ReadOnly(target), _) => {
                is_directory(target)?;
                bind(target, target)?;
                protect(target)?;
            }
            (PathRule::Hidden(target), _) => {
                is_directory(target)?;
                namespaces::hide(target)?;
            }
            (PathRule::Bound { source, target }, Some(opened)) => {
                is_directory(target)?;
                unistd::fchdir(opened)?;
                bind(c".", target)?;
                if bindable(view, source)?.is_writable {
                    allow(target, ruleset, view.rights)?;
                } else {
                    protect(target)?;
                }
            }
            (PathRule::Bound { .. }, None) => return Err(Errno::EBADF),
        }
    }
    Ok(())
}

fn is_directory(path: &CStr) -> nix::Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).map(drop)
}

/// With all that is mounted below it.
fn bind(source: &CStr, target: &CStr) -> nix::Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(source), target, NOTHING, flags, NOTHING)
}

/// Makes a mount read-only: it alone, and not what is mounted below it. What it forbade before it
/// forbids still.
fn protect(target: &CStr) -> nix::Result<()> {
    let opened = open(target, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    let before = fstatvfs(&opened)?.flags();
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

fn allow(target: &CStr, ruleset: Option<Ruleset>, rights: u64) -> nix::Result<()> {
    ruleset.map_or(Ok(()), |ruleset| ruleset.allow(target, rights))
}
