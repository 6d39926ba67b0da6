//! Creation of a process: a plan of what it is to be, and clone3(2) into its cgroup. What the child
//! then does is in [`child`].
//!
//! Runs in the supervisor.

mod child;
mod confine;
mod namespaces;
mod passing;
mod paths;
mod plan;
mod prepared;

use std::mem::size_of_val;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::unistd::{self, Gid, Uid};
use prn_ipc_protocol::codec;
use prn_ipc_protocol::message::ChildStep;

use super::errno_number;
use passing::{Filled, Inbox};
use plan::REPORT;
use prepared::{Passed, Prepared, TAKEN};

pub use super::account::Ids;
pub use confine::filter;
pub use passing::{Passage, Slots};
pub use plan::{Child, Errand, Failed, Places, Program, View};

/// A created process.
#[derive(Debug)]
pub struct Spawned {
    /// Refers to it (pidfd_open(2)); close-on-exec.
    pub pidfd: OwnedFd,
    /// For [`told`]. Non-blocking.
    pub report: OwnedFd,
    /// What its descriptors were passed in: for [`Slots::give_back`], once it has taken them or is
    /// dead.
    pub passage: Passage,
}

/// What a child tells of its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It has taken its descriptors.
    Taken,
    /// Its program runs.
    Runs,
    /// Its program could not run.
    Failed(Failed),
}

/// What [`Spawned::report`] says next.
///
/// # Errors
/// EAGAIN while that is not known; others as read(2).
pub fn told(report: &OwnedFd) -> nix::Result<Told> {
    let mut bytes = [0; REPORT + 1];
    let length = unistd::read(report, &mut bytes)?;
    let failure = match bytes.get(..length).unwrap_or_default() {
        [] => return Ok(Told::Runs),
        [TAKEN] => return Ok(Told::Taken),
        [TAKEN, failure @ ..] | failure => failure,
    };
    let undecodable = (ChildStep::Exec, errno_number(Errno::EIO));
    let (step, errno) = codec::decode(failure).unwrap_or(undecodable);
    Ok(Told::Failed(Failed { step, errno }))
}

/// Creates the process. It is in its group from its first instruction on, and dies with its parent.
/// What that costs does not depend on how much is open here, while there is a slot.
///
/// The caller must have a single thread. Only the parent returns from here.
///
/// # Errors
/// Those of clone3(2), pipe2(2) and sendmsg(2). What fails in the child comes through
/// [`Spawned::report`], or, as long as it has no descriptors, through [`Slots::give_back`].
pub fn spawn(child: &Child<'_>, slots: &Slots) -> nix::Result<Spawned> {
    let (report, report_in_child) = unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let passed = Passed::new(child, report_in_child.as_fd())?;
    let Filled { passage, inbox } = slots.fill(&passed.descriptors)?;
    match clone_into(child.group, &Prepared::new(child, passed, inbox)) {
        Ok(pidfd) => Ok(Spawned {
            pidfd,
            report,
            passage,
        }),
        Err(error) => {
            let _nobody = slots.give_back(passage);
            Err(error)
        }
    }
}

/// As [`spawn`], with a copy of all that is open here in the child until it runs: for who does not
/// look at the report before the child's end.
///
/// # Errors
/// As [`spawn`].
pub fn spawn_apart(child: &Child<'_>) -> nix::Result<Spawned> {
    let (report, report_in_child) = unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let passed = Passed::new(child, report_in_child.as_fd())?;
    let Filled { passage, inbox } = Filled::apart(&passed.descriptors)?;
    let pidfd = clone_into(child.group, &Prepared::new(child, passed, inbox))?;
    Ok(Spawned {
        pidfd,
        report,
        passage,
    })
}

/// Sends a child on an errand with a terminal. It is this program's own user in its own group, and
/// has the terminal alone.
///
/// # Errors
/// Those of socketpair(2), sendmsg(2) and clone3(2).
pub fn send_aside(errand: Errand, terminal: &OwnedFd) -> nix::Result<OwnedFd> {
    let Filled { passage, inbox } = Filled::apart(&[terminal.as_raw_fd()])?;
    let child = clone(None, inbox, || child::go_aside(inbox, errand));
    drop(passage);
    child
}

/// The same to close a terminal, which is not closed here then.
///
/// # Errors
/// As [`send_aside`]. It is closed here then.
pub fn close_aside(terminal: OwnedFd) -> nix::Result<OwnedFd> {
    let Filled { passage, inbox } = Filled::apart(&[terminal.as_raw_fd()])?;
    // What waits for the child keeps it open: this is not the last time that it is closed.
    drop(terminal);
    let child = clone(None, inbox, || child::go_aside(inbox, Errand::Close));
    drop(passage);
    child
}

/// linux/sched.h; libc has them as an int that does not fit.
const CLONE_FILES: u64 = 0x400;
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Makes the child, in this group, and returns what refers to it. In the child it does not return.
fn clone_into(group: BorrowedFd<'_>, prepared: &Prepared<'_>) -> nix::Result<OwnedFd> {
    clone(Some(group), prepared.inbox, || child::run(prepared))
}

/// Makes a child, in this group or in this program's own, and returns what refers to it. In the
/// child `run` is called, which does not return.
fn clone(group: Option<BorrowedFd<'_>>, inbox: Inbox, run: impl FnOnce()) -> nix::Result<OwnedFd> {
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is numbers only, for which 0 is a value.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    let files = if inbox.is_shared { CLONE_FILES } else { 0 };
    arguments.flags = CLONE_PIDFD | files;
    if let Some(group) = group {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = group.as_raw_fd().try_into().map_err(|_| Errno::EBADF)?;
    }
    arguments.pidfd = std::ptr::from_mut(&mut pidfd)
        .expose_provenance()
        .try_into()
        .map_err(|_| Errno::EOVERFLOW)?;
    arguments.exit_signal = libc::SIGCHLD.try_into().map_err(|_| Errno::EINVAL)?;
    // SAFETY: without CLONE_VM the child gets a copy of this address space, as with fork(2), and
    // this process has one thread, so no lock is held by another one. `arguments` is a clone_args
    // of the size given, and `pidfd` outlives it.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut arguments,
            size_of_val(&arguments),
        )
    };
    if pid == 0 {
        run();
    }
    Errno::result(pid)?;
    // SAFETY: CLONE_PIDFD stored a new descriptor there, for nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(pidfd) })
}

/// A pipe between this program and a process.
#[derive(Debug)]
pub struct Pipe {
    /// The end to read from.
    pub from: OwnedFd,
    /// The end to write to.
    pub to: OwnedFd,
}

/// Which end of a pipe is not the process's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ours {
    /// The end to read from.
    From,
    /// The end to write to.
    To,
}

/// Makes a pipe that belongs to this user, so that a process may open its /dev/stdin, /dev/stdout and
/// /dev/stderr by name. Our end is non-blocking.
///
/// # Errors
/// Those of pipe2(2) and fchown(2).
pub fn pipe_of(ids: Ids<'_>, ours: Ours) -> nix::Result<Pipe> {
    let (from, to) = unistd::pipe2(OFlag::O_CLOEXEC)?;
    let (uid, gid) = (Uid::from_raw(ids.uid), Gid::from_raw(ids.gid));
    unistd::fchown(&from, Some(uid), Some(gid))?;
    // Of this end alone: the process's end is another open file description.
    let end = match ours {
        Ours::From => &from,
        Ours::To => &to,
    };
    fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(Pipe { from, to })
}

/// Gives every signal its default action (signal(7)).
pub fn default_actions() {
    // struct sigaction as the kernel has it (rt_sigaction(2)), all zero: SIG_DFL, no flags, no
    // mask. The C library's call would refuse its own two signals, which a caller may have left
    // ignored as well.
    let (default, none) = ([0u64; 4], std::ptr::null_mut::<u64>());
    for signal in (1..=64).filter(|signal| *signal != libc::SIGKILL && *signal != libc::SIGSTOP) {
        // SAFETY: SIG_DFL runs no code of this program. `default` is as large as the kernel's
        // structure, and the last argument is the size of its mask.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                none,
                size_of::<u64>(),
            )
        };
    }
}
