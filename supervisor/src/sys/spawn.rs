//! Creation of a process: a plan of what it is to be, and clone3(2) into its cgroup. What the child
//! then does is in [`child`].
//!
//! Runs in the supervisor.

mod child;
mod confine;

use std::ffi::{CStr, CString};
use std::mem::size_of_val;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc::{self, c_char};
use nix::unistd::{self, Gid, Pid, Uid};
use prn_ipc_protocol::codec;
use prn_ipc_protocol::config::{Filter, OpenFiles};
use prn_ipc_protocol::message::ChildStep;

use super::errno_number;

pub use confine::filter;

/// What the child executes.
#[derive(Debug, Clone, Copy)]
pub enum Program<'a> {
    /// The first of these paths that exists and may be executed, as a shell looks along PATH.
    Paths(&'a [CString]),
    /// An open file, so that no folder above it need be accessible to the child's user.
    File(BorrowedFd<'a>),
    /// None: it removes these empty directories of a folder, as this program's own user, and ends.
    Unlink(BorrowedFd<'a>, &'a [CString]),
}

/// User and group id, of all kinds; no supplementary groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Ids {
    /// Of a process, whose group is its own as its user is.
    pub fn of_user(uid: u32) -> Self {
        Self { uid, gid: uid }
    }

    /// This program's own.
    pub const ROOT: Self = Self { uid: 0, gid: 0 };
}

/// A Landlock ruleset (landlock(7)).
#[derive(Debug, Clone, Copy)]
pub struct Landlock<'a> {
    /// `struct landlock_ruleset_attr`, as much of it as this kernel knows.
    pub attributes: &'a [u64],
    /// What is allowed.
    pub rules: &'a [Rule<'a>],
}

/// What is allowed below a path.
#[derive(Debug, Clone, Copy)]
pub struct Rule<'a> {
    /// The path.
    pub below: BorrowedFd<'a>,
    /// Access rights, as the kernel has them (linux/landlock.h).
    pub rights: u64,
}

/// Who learns whether the program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// The parent, by execve(2), which closes the report.
    Exec,
    /// The parent, by the program, which says itself what comes of it: its descriptor 3 is the
    /// report.
    Program,
}

/// A process to create.
#[derive(Debug, Clone, Copy)]
pub struct Child<'a> {
    /// Directory of the cgroup that it is born in.
    pub group: BorrowedFd<'a>,
    /// What it executes.
    pub program: Program<'a>,
    /// Its argument vector.
    pub argv: &'a [CString],
    /// Its environment, each `NAME=value`.
    pub environment: &'a [CString],
    /// Its standard input, output and error.
    pub streams: [BorrowedFd<'a>; 3],
    /// Who says what comes of it.
    pub report: Report,
    /// Its further descriptors, one after the other. All others are closed.
    pub descriptors: &'a [BorrowedFd<'a>],
    /// Who it is.
    pub ids: Ids,
    /// Where it starts, entered as that user.
    pub directory: &'a CStr,
    /// How many files it may open.
    pub open_files: OpenFiles,
    /// What it may do with files; `None`: what its user may.
    pub landlock: Option<Landlock<'a>>,
    /// Its seccomp programs, in the order in which they are applied.
    pub filters: &'a [Filter],
}

impl<'a> Child<'a> {
    /// One with nothing of its own: no arguments, no files, nothing to read or to write to but
    /// `null`, not confined.
    pub fn new(
        group: BorrowedFd<'a>,
        program: Program<'a>,
        ids: Ids,
        null: BorrowedFd<'a>,
    ) -> Self {
        Self {
            group,
            program,
            argv: &[],
            environment: &[],
            streams: [null; 3],
            report: Report::Exec,
            descriptors: &[],
            ids,
            directory: c"/",
            open_files: OpenFiles {
                soft: 1024,
                hard: 1024,
            },
            landlock: None,
            filters: &[],
        }
    }
}

/// A created process.
#[derive(Debug)]
pub struct Spawned {
    /// Refers to it (pidfd_open(2)); close-on-exec.
    pub pidfd: OwnedFd,
    /// For [`failure`]. Non-blocking.
    pub report: OwnedFd,
}

/// Why the child's program could not run, read from [`Spawned::report`]: what failed, and with
/// which errno(3). `Ok(None)`: it runs.
///
/// # Errors
/// EAGAIN while that is not known; others as read(2).
pub fn failure(report: &OwnedFd) -> nix::Result<Option<(ChildStep, i32)>> {
    let mut bytes = [0; REPORT];
    let length = unistd::read(report, &mut bytes)?;
    let report = bytes.get(..length).filter(|bytes| !bytes.is_empty());
    Ok(report
        .map(|bytes| codec::decode(bytes).unwrap_or((ChildStep::Exec, errno_number(Errno::EIO)))))
}

/// Most bytes of a report: a step and an errno, as [`codec`] has them.
const REPORT: usize = 8;

/// Creates the process. It is in its group from its first instruction on, and dies with its parent.
///
/// The caller must have a single thread. Only the parent returns from here.
///
/// # Errors
/// Those of clone3(2), pipe2(2) and fcntl(2). What fails in the child comes through [`Spawned::report`].
pub fn spawn(child: &Child<'_>) -> nix::Result<Spawned> {
    let (report, report_in_child) = unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let held = Held::new(child, report_in_child.as_fd())?;
    let prepared = Prepared::new(child, &held);
    let pidfd = clone_into(child.group, &prepared)?;
    Ok(Spawned { pidfd, report })
}

/// Lowest number for descriptors that are out of the way: well above any that a child is given.
const ABOVE: RawFd = 64;

/// Copies of the descriptors that the child needs, out of the way of the numbers that it gives
/// them: those go from 3 on, where something that is still needed may be.
#[derive(Debug)]
struct Held {
    report: OwnedFd,
    descriptors: Vec<OwnedFd>,
    /// The program, if it is an open file.
    file: Option<OwnedFd>,
}

impl Held {
    fn new(child: &Child<'_>, report: BorrowedFd<'_>) -> nix::Result<Self> {
        let report = above(report)?;
        let own = match child.report {
            Report::Exec => None,
            Report::Program => Some(report.as_fd()),
        };
        let passed = own.into_iter().chain(child.descriptors.iter().copied());
        let descriptors = passed.map(above).collect::<nix::Result<_>>()?;
        let file = match child.program {
            Program::File(file) => Some(above(file)?),
            Program::Paths(_) | Program::Unlink(..) => None,
        };
        Ok(Self {
            report,
            descriptors,
            file,
        })
    }
}

fn above(fd: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    let number = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(ABOVE))?;
    // SAFETY: fcntl has just made this descriptor, for nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// What the child needs beside its description, allocated before it exists.
#[derive(Debug)]
struct Prepared<'a> {
    child: &'a Child<'a>,
    parent: Pid,
    report: RawFd,
    descriptors: Vec<RawFd>,
    argv: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    /// The program, if it is an open file.
    file: Option<RawFd>,
}

impl<'a> Prepared<'a> {
    fn new(child: &'a Child<'a>, held: &Held) -> Self {
        Self {
            child,
            parent: Pid::this(),
            report: held.report.as_raw_fd(),
            descriptors: held.descriptors.iter().map(AsRawFd::as_raw_fd).collect(),
            argv: pointers(child.argv),
            environment: pointers(child.environment),
            file: held.file.as_ref().map(AsRawFd::as_raw_fd),
        }
    }
}

/// A null-terminated array, as execve(2) takes it. Valid while `strings` are.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

/// linux/sched.h; libc has them as an int that does not fit.
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Makes the child, in this group, and returns what refers to it. In the child it does not return.
fn clone_into(group: BorrowedFd<'_>, prepared: &Prepared<'_>) -> nix::Result<OwnedFd> {
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is numbers only, for which 0 is a value.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = CLONE_PIDFD | CLONE_INTO_CGROUP;
    arguments.pidfd = std::ptr::from_mut(&mut pidfd)
        .expose_provenance()
        .try_into()
        .map_err(|_| Errno::EOVERFLOW)?;
    arguments.exit_signal = libc::SIGCHLD.try_into().map_err(|_| Errno::EINVAL)?;
    arguments.cgroup = group.as_raw_fd().try_into().map_err(|_| Errno::EBADF)?;
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
        child::run(prepared);
    }
    Errno::result(pid)?;
    // SAFETY: CLONE_PIDFD stored a new descriptor there, for nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(pidfd) })
}

/// Makes a pipe that belongs to `uid`, so that a process may open its /dev/stdout and /dev/stderr
/// by name. The end to read from is non-blocking.
///
/// # Errors
/// Those of pipe2(2) and fchown(2).
pub fn pipe_of(uid: u32) -> nix::Result<(OwnedFd, OwnedFd)> {
    let (from, to) = unistd::pipe2(OFlag::O_CLOEXEC)?;
    unistd::fchown(&from, Some(Uid::from_raw(uid)), Some(Gid::from_raw(uid)))?;
    // Of this end alone: the process's end is another open file description.
    fcntl(&from, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((from, to))
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
