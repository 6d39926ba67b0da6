//! Namespaces of a child's own, and what it then sees.
//!
//! Runs in the child, with the supervisor's identity and CAP_SYS_ADMIN, by a plan that was compiled
//! before the supervisor was executed: a client chooses nothing of it but its own directories'
//! names. System calls alone, as in all of [`super::child`].

use std::ffi::CStr;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::unistd::{self, Gid, Uid};
use prn_ipc_protocol::config::{Accounts, Mount, Namespaces, Source, Uncovered};

use super::confine::Ruleset;
use super::plan::Places;
use crate::sys::account::Ids;

/// Where something is put together before it is bound to its place. A later mount covers it.
pub(super) const STAGE: &CStr = c"/tmp";
/// Files of accounts, as they are made there, and what each is mounted over.
const PASSWD: [&CStr; 2] = [c"/tmp/passwd", c"/etc/passwd"];
const GROUP: [&CStr; 2] = [c"/tmp/group", c"/etc/group"];

/// Moves the child into them. The working directory is the state folder, where there are places,
/// before and after.
pub(super) fn enter(namespaces: &Namespaces) -> nix::Result<()> {
    // The working directory is moved along (unshare(2), CLONE_NEWNS).
    unshare(CloneFlags::from_bits_retain(namespaces.flags))?;
    // Mounts made here stay here. Not private: a disk that the host unmounts goes from here as well,
    // where its mounts are shared, as service managers make them (mount_namespaces(7)).
    let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(NOTHING, c"/", NOTHING, flags, NOTHING)
}

/// Arranges what a process sees there.
pub(super) fn arrange(
    namespaces: &Namespaces,
    places: &Places<'_>,
    ids: Ids<'_>,
    ruleset: Option<Ruleset>,
) -> nix::Result<()> {
    if let Some(accounts) = &namespaces.accounts {
        add_account(accounts, places)?;
    }
    for Mount {
        source,
        target,
        rights,
    } in &namespaces.mounts
    {
        match source {
            Source::Temporary => bind(places.temporary, target, MsFlags::empty())?,
            Source::At { path, is_recursive } => {
                let all = if *is_recursive {
                    MsFlags::MS_REC
                } else {
                    MsFlags::empty()
                };
                bind(path, target, all)?;
            }
            Source::Empty => match hide(target) {
                Err(Errno::ENOENT) => {}
                other => other?,
            },
            Source::New {
                kind,
                flags,
                options,
            } => new(kind, target, *flags, options)?,
        }
        if let Some(ruleset) = ruleset.filter(|_| *rights != 0) {
            ruleset.allow(target, *rights)?;
        }
    }
    if let Some(uncovered) = &namespaces.uncovered {
        uncover(uncovered, ids)?;
    }
    // Where this stands is covered now, and a path through /proc/self/cwd would lead below.
    unistd::chdir(c"/")
}

/// No argument of mount(2).
pub(super) const NOTHING: Option<&CStr> = None;

/// Looks files up as this user from here on, and with its groups. CAP_SYS_ADMIN stays
/// (capabilities(7)).
pub(super) fn look_as(ids: Ids<'_>) -> nix::Result<()> {
    unistd::setgroups(ids.groups)?;
    unistd::setfsgid(Gid::from_raw(ids.gid));
    unistd::setfsuid(Uid::from_raw(ids.uid));
    Ok(())
}

/// Covers a directory with an empty one of root's.
pub(super) fn hide(target: &CStr) -> nix::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    new(
        c"tmpfs",
        target,
        flags.bits(),
        c"mode=0755,uid=0,gid=0,size=4k",
    )
}

/// Covers a directory with a file system in memory.
pub(super) fn keep_in_memory(target: &CStr, options: &CStr) -> nix::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    new(c"tmpfs", target, flags.bits(), options)
}

/// Shows a directory, or a file, in another place; with MS_REC, all that is mounted below it as well.
pub(super) fn bind(source: &CStr, target: &CStr, flags: MsFlags) -> nix::Result<()> {
    let flags = flags | MsFlags::MS_BIND;
    mount(Some(source), target, NOTHING, flags, NOTHING)
}

fn new(kind: &CStr, target: &CStr, flags: u64, options: &CStr) -> nix::Result<()> {
    let flags = MsFlags::from_bits_retain(flags);
    mount(Some(kind), target, Some(kind), flags, Some(options))
}

/// The host's accounts, and one for the child's user, in files of root's that a mount puts in place
/// of the host's. A later rename over those there takes the mount away (rename(2)): then a process
/// sees what the host does.
fn add_account(accounts: &Accounts, places: &Places<'_>) -> nix::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    new(c"tmpfs", STAGE, flags.bits(), c"mode=0755")?;
    let files = [
        (PASSWD, &accounts.passwd, places.passwd),
        (GROUP, &accounts.group, places.group),
    ];
    for ([made, host], text, line) in files {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let readable = Mode::S_IRUSR | Mode::S_IRGRP | Mode::S_IROTH;
        let file = open(made, flags, readable)?;
        for bytes in [text.as_slice(), line] {
            if unistd::write(&file, bytes)? != bytes.len() {
                return Err(Errno::ENOSPC);
            }
        }
        match bind(made, host, MsFlags::empty()) {
            // Somebody renames another file over it at this moment: as if it had been later.
            Err(Errno::ENOENT) => {}
            other => other?,
        }
    }
    Ok(())
}

/// Mounts the state folder where its path leads to, with what is mounted in it: what covered it
/// shows nothing there.
fn uncover(uncovered: &Uncovered, ids: Ids<'_>) -> nix::Result<()> {
    if uncovered.is_in_temporary {
        // Root may not look into a directory of somebody else's. From here on, as rules of paths do.
        look_as(ids)?;
    }
    for folder in &uncovered.folders {
        match unistd::mkdir(folder.as_c_str(), Mode::from_bits_retain(0o755)) {
            // In a workspace's, by another process.
            Err(Errno::EEXIST) => {}
            other => other?,
        }
    }
    match uncovered.folders.last() {
        Some(state) => bind(c".", state, MsFlags::MS_REC),
        None => Ok(()),
    }
}
