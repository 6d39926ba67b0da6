//! Creation of a process: clone3(2) into its cgroup, then everything that must happen in the child
//! before its program.
//!
//! Runs in the supervisor and, between clone3 and execve, in the child. The child makes only system
//! calls, with memory that its parent prepared: no allocation, no lock, no Rust runtime service.

use std::ffi::{CStr, CString};
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::libc::{self, c_char, c_int, c_long, c_uint};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{self, AccessFlags, Gid, Pid, Uid, UnlinkatFlags};
use prn_ipc_protocol::codec;
use prn_ipc_protocol::config::Filter;
use prn_ipc_protocol::message::ChildStep;

use super::errno_number;

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

/// A process to create.
#[derive(Debug)]
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
    /// Whether the program itself says what comes of it: its descriptor 3 is then the report's.
    pub reports: bool,
    /// Its further descriptors, one after the other. All others are closed.
    pub descriptors: &'a [BorrowedFd<'a>],
    /// User and group id, of all kinds; no supplementary groups.
    pub ids: (u32, u32),
    /// Where it starts, entered as that user.
    pub directory: &'a CStr,
    /// Most open files: soft and hard limit.
    pub open_files: (u64, u64),
    /// Landlock ruleset: attributes, then rights below descriptors. No attributes: none.
    pub landlock: (&'a [u64], &'a [(BorrowedFd<'a>, u64)]),
    /// Its seccomp programs, in the order in which they are applied.
    pub filters: &'a [Filter],
}

impl<'a> Child<'a> {
    /// One with nothing of its own: no arguments, no files, nothing to read or to write to but
    /// `null`, not confined.
    pub fn new(
        group: BorrowedFd<'a>,
        program: Program<'a>,
        ids: (u32, u32),
        null: BorrowedFd<'a>,
    ) -> Self {
        Self {
            group,
            program,
            argv: &[],
            environment: &[],
            streams: [null; 3],
            reports: false,
            descriptors: &[],
            ids,
            directory: c"/",
            open_files: (1024, 1024),
            landlock: (&[], &[]),
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

/// Why the child's program could not run, read from [`Spawned::report`]. `Ok(None)`: it runs.
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
    // The child's descriptors go to 3, 4, …, where something that is still needed may be: first out
    // of the way.
    let above = |fd: BorrowedFd<'_>| -> nix::Result<OwnedFd> {
        let number = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(ABOVE))?;
        // SAFETY: fcntl has just made this descriptor, for nobody else.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    };
    let report_in_child = above(report_in_child.as_fd())?;
    let passed = child
        .reports
        .then_some(report_in_child.as_fd())
        .into_iter()
        .chain(child.descriptors.iter().copied());
    let moved = passed.map(above).collect::<nix::Result<Vec<_>>>()?;
    let file = match child.program {
        Program::File(file) => Some(above(file)?),
        Program::Paths(_) | Program::Unlink(..) => None,
    };

    let prepared = Prepared {
        child,
        parent: Pid::this(),
        report: report_in_child.as_raw_fd(),
        descriptors: moved.iter().map(AsRawFd::as_raw_fd).collect(),
        argv: pointers(child.argv),
        environment: pointers(child.environment),
        file: file.as_ref().map_or(-1, AsRawFd::as_raw_fd),
    };

    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is numbers only, for which 0 is a value.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = CLONE_PIDFD | CLONE_INTO_CGROUP;
    arguments.pidfd = std::ptr::from_mut(&mut pidfd)
        .expose_provenance()
        .try_into()
        .map_err(|_| Errno::EOVERFLOW)?;
    arguments.exit_signal = libc::SIGCHLD.try_into().map_err(|_| Errno::EINVAL)?;
    arguments.cgroup = child
        .group
        .as_raw_fd()
        .try_into()
        .map_err(|_| Errno::EBADF)?;
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
        run(&prepared);
    }
    Errno::result(pid)?;
    Ok(Spawned {
        // SAFETY: CLONE_PIDFD stored a new descriptor there, for nobody else.
        pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        report,
    })
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

/// Lowest number for descriptors that are out of the way: well above any that a child is given.
const ABOVE: RawFd = 64;

/// linux/sched.h; libc has them as an int that does not fit.
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// What the child needs beside its description, allocated before it exists.
struct Prepared<'a> {
    child: &'a Child<'a>,
    parent: Pid,
    report: RawFd,
    descriptors: Vec<RawFd>,
    argv: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    /// The open file, if the program is one.
    file: RawFd,
}

/// A null-terminated array, as execve(2) takes it. Valid while `strings` are.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

/// The child, to its end.
fn run(prepared: &Prepared<'_>) -> ! {
    if let Program::Unlink(folder, names) = prepared.child.program {
        unlink(folder, names);
    }
    let (step, errno) = match before_program(prepared) {
        Ok(()) => execute(prepared),
        Err(failed) => failed,
    };
    let mut report = [0; REPORT];
    let report = codec::encode_into(&(step, errno_number(errno)), &mut report);
    // SAFETY: system calls on memory and a descriptor of this process. write(2) of so few bytes to
    // an empty pipe is whole; if the parent is gone nobody needs it.
    unsafe {
        libc::write(prepared.report, report.as_ptr().cast(), report.len());
        libc::_exit(127)
    }
}

/// The child that removes directories. What a process once put into one can make that take long:
/// ext4 looks at all of its blocks, also those that are empty again. So it is not this program's
/// only thread that waits.
fn unlink(folder: BorrowedFd<'_>, names: &[CString]) -> ! {
    for name in names {
        let _unused = unistd::unlinkat(folder, name.as_c_str(), UnlinkatFlags::RemoveDir);
    }
    // SAFETY: it ends this process, without running anything of the parent's.
    unsafe { libc::_exit(0) }
}

/// Steps before the program, in the order of [`ChildStep`]. The wrappers that are called here only
/// make system calls.
fn before_program(prepared: &Prepared<'_>) -> Result<(), (ChildStep, Errno)> {
    let at = |step| move |errno| (step, errno);
    let child = prepared.child;
    unistd::setsid().map_err(at(ChildStep::Session))?;
    place_descriptors(prepared).map_err(at(ChildStep::Descriptors))?;
    raise_oom_score().map_err(at(ChildStep::Limits))?;
    take_identity(child.ids).map_err(at(ChildStep::Identity))?;
    // After setresuid, which clears it (prctl(2)). The parent may have died before: then nobody
    // would kill us.
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(at(ChildStep::Privileges))?;
    if unistd::getppid() != prepared.parent {
        return Err((ChildStep::Privileges, Errno::ESRCH));
    }
    prctl::set_no_new_privs().map_err(at(ChildStep::Privileges))?;
    unistd::chdir(child.directory).map_err(at(ChildStep::WorkingDirectory))?;
    umask(Mode::S_IWGRP | Mode::S_IWOTH);
    // The mask survives execve(2).
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
        .map_err(at(ChildStep::Signals))?;
    // Last: what these take away is what the steps before need.
    restrict_files(child.landlock).map_err(at(ChildStep::Confinement))?;
    // The supervisor's own descriptors, open until the program runs, may exceed it, and the ruleset
    // needs one more.
    let (soft, hard) = child.open_files;
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).map_err(at(ChildStep::Limits))?;
    filter(child.filters).map_err(at(ChildStep::Confinement))
}

fn place_descriptors(prepared: &Prepared<'_>) -> nix::Result<()> {
    let streams = prepared.child.streams.map(|fd| fd.as_raw_fd());
    let mut kept = 0;
    for source in streams.iter().chain(&prepared.descriptors) {
        // dup3 refuses to copy a descriptor to where it is (dup(2)); there the flag is all there is
        // to do. SAFETY: system calls with numbers, on descriptors of this process that nothing
        // else in it uses any more.
        Errno::result(unsafe {
            if *source == kept {
                libc::fcntl(kept, libc::F_SETFD, 0)
            } else {
                libc::dup3(*source, kept, 0)
            }
        })?;
        kept += 1;
    }
    // Close-on-exec and not closed: the report must survive until the program runs (compare
    // CVE-2024-21626).
    call(
        libc::SYS_close_range,
        [
            kept.into(),
            c_uint::MAX.into(),
            libc::CLOSE_RANGE_CLOEXEC.into(),
        ],
    )
}

fn take_identity((uid, gid): (u32, u32)) -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    unistd::setgroups(&[])?;
    unistd::setresgid(gid, gid, gid)?;
    unistd::setresuid(uid, uid, uid)?;
    let root = Uid::from_raw(0);
    if unistd::setresuid(root, root, root).is_ok() {
        Err(Errno::EPERM)
    } else {
        Ok(())
    }
}

/// Applies a Landlock ruleset (landlock(7)).
fn restrict_files((attributes, rules): (&[u64], &[(BorrowedFd<'_>, u64)])) -> nix::Result<()> {
    /// linux/landlock.h
    #[repr(C, packed)]
    struct PathBeneath {
        allowed_access: u64,
        parent_fd: RawFd,
    }
    const LANDLOCK_RULE_PATH_BENEATH: c_int = 1;
    if attributes.is_empty() {
        return Ok(());
    }
    let (size, flags) = (size_of_val(attributes), 0);
    // SAFETY: a system call that reads so many bytes of this slice.
    let ruleset = Errno::result(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            attributes.as_ptr(),
            size,
            flags,
        )
    })?;
    for (parent, allowed_access) in rules {
        let rule = PathBeneath {
            allowed_access: *allowed_access,
            parent_fd: parent.as_raw_fd(),
        };
        // SAFETY: a system call that reads the structure that belongs to this kind of rule.
        Errno::result(unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                ruleset,
                LANDLOCK_RULE_PATH_BENEATH,
                &raw const rule,
                flags,
            )
        })?;
    }
    call(libc::SYS_landlock_restrict_self, [ruleset, 0, 0])
}

/// Applies seccomp programs to this thread, for good. They come from `prn server start`, and the
/// kernel checks their form.
pub fn filter(filters: &[Filter]) -> nix::Result<()> {
    for filter in filters {
        let program = libc::sock_fprog {
            len: filter.len().try_into().map_err(|_| Errno::E2BIG)?,
            filter: filter.as_ptr().cast_mut().cast(),
        };
        // SAFETY: a system call that reads `len` instructions of 8 bytes each, which is what the
        // vector holds.
        Errno::result(unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                0,
                &raw const program,
            )
        })?;
    }
    Ok(())
}

/// Executes the program; returns only when that failed.
fn execute(prepared: &Prepared<'_>) -> (ChildStep, Errno) {
    let execute = |folder: RawFd, path: &CStr, flags: c_int| {
        let (argv, environment) = (prepared.argv.as_ptr(), prepared.environment.as_ptr());
        // SAFETY: both arrays end with a null pointer and point to strings that live until the
        // program runs.
        unsafe {
            libc::syscall(
                libc::SYS_execveat,
                folder,
                path.as_ptr(),
                argv,
                environment,
                flags,
            )
        };
        Errno::last()
    };
    let Program::Paths(paths) = prepared.child.program else {
        let error = execute(prepared.file, c"", libc::AT_EMPTY_PATH);
        return (ChildStep::Exec, error);
    };
    let mut result = (ChildStep::Exec, Errno::ENOENT);
    for path in paths {
        let error = execute(libc::AT_FDCWD, path, 0);
        // Not here: look further. What was found but may not be executed is the better answer in
        // the end.
        if error == Errno::EACCES {
            result = (ChildStep::Exec, error);
        } else if error != Errno::ENOENT && error != Errno::ENOTDIR {
            return (ChildStep::Exec, error);
        }
    }
    let is_there = |path: &CString| unistd::access(path.as_c_str(), AccessFlags::F_OK).is_ok();
    if result.1 == Errno::ENOENT && paths.iter().any(is_there) {
        // So it is what the program needs that is not.
        result.0 = ChildStep::Interpreter;
    }
    result
}

/// OOM score adjustment 500: half of the machine's memory more than it uses counts against it
/// (proc_pid_oom_score_adj(5)), so that it has to die before the supervisor, which holds a quarter
/// by default. The supervisor's own is not lowered instead, since processes could take the lower
/// value back. A higher one stays: lowering it is refused (EACCES).
fn raise_oom_score() -> nix::Result<()> {
    let file = open(
        c"/proc/self/oom_score_adj",
        OFlag::O_WRONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    match unistd::write(&file, b"500") {
        Ok(_) | Err(Errno::EACCES) => Ok(()),
        Err(error) => Err(error),
    }
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

/// A system call whose arguments are numbers.
fn call(number: c_long, [a, b, c]: [c_long; 3]) -> nix::Result<()> {
    // SAFETY: the two callers above pass calls that take numbers only, so no memory is at stake.
    Errno::result(unsafe { libc::syscall(number, a, b, c) }).map(drop)
}
