//! Creation of a process: clone3(2) into its cgroup, then everything that must happen in the child before its program.
//!
//! Runs in the supervisor and, between clone3 and execve, in the child. The child makes only system calls, with memory
//! that its parent prepared: no allocation, no lock, no Rust runtime service.

use std::ffi::{CStr, CString};
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::{self, c_char, c_int, c_long, c_uint};
use prn_ipc_protocol::message::ChildStep;

/// What the child executes.
#[derive(Debug)]
pub enum Program {
    /// The first of these paths that exists and may be executed, as a shell looks along PATH.
    Paths(Vec<CString>),
    /// An open file, so that no folder above it need be accessible to the child's user.
    File(OwnedFd),
}

/// A process to create.
#[derive(Debug)]
pub struct Child<'a> {
    /// Directory of the cgroup that it is born in.
    pub group: BorrowedFd<'a>,
    /// What it executes.
    pub program: &'a Program,
    /// Its argument vector.
    pub argv: &'a [CString],
    /// Its environment, each `NAME=value`.
    pub environment: &'a [CString],
    /// Its standard input, output and error.
    pub streams: [BorrowedFd<'a>; 3],
    /// Its further descriptors, from number 3 on. All others are closed.
    pub descriptors: &'a [BorrowedFd<'a>],
    /// User id, of all kinds.
    pub uid: u32,
    /// Group id, of all kinds; no supplementary groups.
    pub gid: u32,
    /// Where it starts, entered as that user.
    pub directory: &'a CStr,
    /// Most open files: soft and hard limit.
    pub open_files: (u64, u64),
}

/// A created process.
#[derive(Debug)]
pub struct Spawned {
    /// Refers to it (pidfd_open(2)); close-on-exec.
    pub pidfd: OwnedFd,
    /// Ends without a byte when the program runs; else brings what [`failure`] reads. Non-blocking.
    pub report: OwnedFd,
}

/// Bytes of a report: the step, then errno, little-endian.
pub const REPORT: usize = 5;

/// What a child's report says, if it is one.
pub fn failure(report: &[u8]) -> Option<(ChildStep, i32)> {
    let [step, errno @ ..] = report else { return None };
    Some((STEPS.get(usize::from(*step)).copied()?, i32::from_le_bytes(errno.try_into().ok()?)))
}

const STEPS: [ChildStep; 8] = [
    ChildStep::Session,
    ChildStep::Descriptors,
    ChildStep::Limits,
    ChildStep::Identity,
    ChildStep::Confinement,
    ChildStep::WorkingDirectory,
    ChildStep::Signals,
    ChildStep::Exec,
];

/// Creates the process. It is in its group from its first instruction on, and dies with its parent.
///
/// The caller must have a single thread. Only the parent returns from here.
///
/// # Errors
/// Those of clone3(2), pipe2(2) and fcntl(2). What fails in the child comes through [`Spawned::report`].
pub fn spawn(child: &Child<'_>) -> nix::Result<Spawned> {
    let (report, report_in_child) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC | nix::fcntl::OFlag::O_NONBLOCK)?;
    // The child's descriptors go to 3, 4, …, where something that is still needed may be: first out of the way.
    let above = |fd: BorrowedFd<'_>| -> nix::Result<OwnedFd> {
        let number = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(ABOVE))?;
        // SAFETY: fcntl has just made this descriptor, for nobody else.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    };
    let moved = child.descriptors.iter().map(|fd| above(*fd)).collect::<nix::Result<Vec<_>>>()?;
    let file = match child.program {
        Program::File(file) => Some(above(file.as_fd())?),
        Program::Paths(_) => None,
    };
    let report_in_child = if moved.is_empty() { report_in_child } else { above(report_in_child.as_fd())? };

    let prepared = Prepared {
        child,
        parent: std::process::id().try_into().map_err(|_| Errno::ERANGE)?,
        report: report_in_child.as_raw_fd(),
        descriptors: moved.iter().map(AsRawFd::as_raw_fd).collect(),
        argv: pointers(child.argv),
        environment: pointers(child.environment),
        file: file.as_ref().map_or(-1, AsRawFd::as_raw_fd),
    };

    let mut pidfd: RawFd = -1;
    let mut arguments = CloneArguments {
        flags: CLONE_PIDFD | CLONE_INTO_CGROUP,
        pidfd: std::ptr::from_mut(&mut pidfd).expose_provenance().try_into().map_err(|_| Errno::EOVERFLOW)?,
        exit_signal: libc::SIGCHLD.try_into().map_err(|_| Errno::EINVAL)?,
        cgroup: child.group.as_raw_fd().try_into().map_err(|_| Errno::EBADF)?,
        ..CloneArguments::default()
    };
    // SAFETY: without CLONE_VM the child gets a copy of this address space, as with fork(2), and this process has one
    // thread, so no lock is held by another one. `arguments` is a clone_args of the size given, and `pidfd` outlives it.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone3, std::ptr::from_mut(&mut arguments), size_of::<CloneArguments>()) };
    if pid == 0 {
        run(&prepared);
    }
    Errno::result(pid)?;
    // SAFETY: CLONE_PIDFD stored a new descriptor there, for nobody else.
    Ok(Spawned { pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) }, report })
}

/// Makes pipes that belong to `uid`, so that a process may open its /dev/stdout and /dev/stderr by name.
///
/// An inode belongs to the file system uid of who makes it (setfsuid(2)); that of this thread is put back before return.
///
/// # Errors
/// Those of pipe2(2); EPERM if this thread cannot take that identity or get its own back.
pub fn pipes_of(uid: u32) -> nix::Result<[(OwnedFd, OwnedFd); 2]> {
    let make = || {
        let pipe = || nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC);
        Ok([pipe()?, pipe()?])
    };
    let own = (nix::unistd::geteuid(), nix::unistd::getegid());
    nix::unistd::setfsgid(uid.into());
    nix::unistd::setfsuid(uid.into());
    let made = make();
    nix::unistd::setfsuid(own.0);
    nix::unistd::setfsgid(own.1);
    // setfsuid reports no error: it returns the identity that was in force, so asking again shows it.
    if nix::unistd::setfsuid(own.0) != own.0 || nix::unistd::setfsgid(own.1) != own.1 {
        return Err(Errno::EPERM);
    }
    made
}

/// Lowest number for descriptors that are out of the way: well above any that a child is given.
const ABOVE: RawFd = 64;

/// `struct clone_args` of clone3(2), up to the member that Linux 5.7 added.
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// linux/sched.h; libc has them as an int that does not fit.
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// What the child needs beside its description, allocated before it exists.
struct Prepared<'a> {
    child: &'a Child<'a>,
    parent: libc::pid_t,
    report: RawFd,
    descriptors: Vec<RawFd>,
    argv: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    /// The open file, if the program is one.
    file: RawFd,
}

/// A null-terminated array, as execve(2) takes it. Valid while `strings` are.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

/// The child, to its end.
fn run(prepared: &Prepared<'_>) -> ! {
    let (step, errno) = match before_program(prepared) {
        Ok(()) => (ChildStep::Exec, execute(prepared)),
        Err(failed) => failed,
    };
    let step = STEPS.iter().zip(0u8..).find(|(known, _)| **known == step).map_or(u8::MAX, |(_, place)| place);
    let [a, b, c, d] = errno_number(errno).to_le_bytes();
    let report = [step, a, b, c, d];
    // SAFETY: system calls on memory and a descriptor of this process. write(2) of so few bytes to an empty pipe is
    // whole; if the parent is gone nobody needs it.
    unsafe {
        libc::write(prepared.report, report.as_ptr().cast(), report.len());
        libc::_exit(127)
    }
}

/// Steps before the program, in the order of [`ChildStep`].
fn before_program(prepared: &Prepared<'_>) -> Result<(), (ChildStep, Errno)> {
    let at = |step| move |errno| (step, errno);
    let child = prepared.child;

    call(libc::SYS_setsid, [0; 4]).map_err(at(ChildStep::Session))?;

    let streams = child.streams.map(|fd| fd.as_raw_fd());
    let targets = streams.iter().chain(&prepared.descriptors).zip(0..);
    for (source, target) in targets {
        // dup3 refuses to copy a descriptor to where it is (dup(2)); there the flag is all there is to do.
        let placed = if long(*source) == target {
            call(libc::SYS_fcntl, [target, long(libc::F_SETFD), 0, 0])
        } else {
            call(libc::SYS_dup3, [long(*source), target, 0, 0])
        };
        placed.map_err(at(ChildStep::Descriptors))?;
    }
    let kept = 3 + prepared.descriptors.len();
    // Close-on-exec and not closed: the report must survive until the program runs (compare CVE-2024-21626).
    call(
        libc::SYS_close_range,
        [c_long::try_from(kept).unwrap_or(c_long::MAX), c_long::from(c_uint::MAX), long(CLOSE_RANGE_CLOEXEC), 0],
    )
    .map_err(at(ChildStep::Descriptors))?;

    // Before the limit of open files, which the supervisor's own, open until the program runs, may exceed.
    reset_oom_score().map_err(at(ChildStep::Limits))?;
    let limit = libc::rlimit { rlim_cur: child.open_files.0, rlim_max: child.open_files.1 };
    // SAFETY: a system call that reads one rlimit of this process's memory.
    Errno::result(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }).map_err(at(ChildStep::Limits))?;

    let (uid, gid) = (c_long::from(child.uid), c_long::from(child.gid));
    call(libc::SYS_setgroups, [0; 4]).map_err(at(ChildStep::Identity))?;
    call(libc::SYS_setresgid, [gid, gid, gid, 0]).map_err(at(ChildStep::Identity))?;
    call(libc::SYS_setresuid, [uid, uid, uid, 0]).map_err(at(ChildStep::Identity))?;
    if child.uid != 0 && call(libc::SYS_setresuid, [0; 4]).is_ok() {
        return Err((ChildStep::Identity, Errno::EPERM));
    }

    // After setresuid, which clears it (prctl(2)). The parent may have died before: then nobody would kill us.
    let prctl = |option: c_int, value| call(libc::SYS_prctl, [long(option), value, 0, 0]);
    prctl(libc::PR_SET_PDEATHSIG, long(libc::SIGKILL)).map_err(at(ChildStep::Confinement))?;
    if call(libc::SYS_getppid, [0; 4]) != Ok(long(prepared.parent)) {
        return Err((ChildStep::Confinement, Errno::ESRCH));
    }
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1).map_err(at(ChildStep::Confinement))?;

    // SAFETY: a system call that reads a string of this process's memory.
    Errno::result(unsafe { libc::chdir(child.directory.as_ptr()) }).map_err(at(ChildStep::WorkingDirectory))?;
    // SAFETY: umask(2) cannot fail.
    unsafe { libc::umask(0o022) };

    default_signals().map_err(at(ChildStep::Signals))
}

/// Executes the program; returns only when that failed.
fn execute(prepared: &Prepared<'_>) -> Errno {
    let (argv, environment) = (prepared.argv.as_ptr(), prepared.environment.as_ptr());
    match prepared.child.program {
        Program::File(_) => {
            // SAFETY: both arrays end with a null pointer and point to strings that live until the program runs.
            unsafe {
                libc::syscall(libc::SYS_execveat, prepared.file, c"".as_ptr(), argv, environment, libc::AT_EMPTY_PATH)
            };
            Errno::last()
        }
        Program::Paths(paths) => {
            let mut result = Errno::ENOENT;
            for path in paths {
                // SAFETY: as above.
                unsafe { libc::execve(path.as_ptr(), argv, environment) };
                let error = Errno::last();
                // Not here: look further. What was found but may not be executed is the better answer in the end.
                if error == Errno::EACCES {
                    result = error;
                } else if error != Errno::ENOENT && error != Errno::ENOTDIR {
                    return error;
                }
            }
            result
        }
    }
}

/// OOM score adjustment 0, if the supervisor's own is less: raising it needs no privilege. Lowering it does, so that a
/// positive one stays (EACCES, proc_pid_oom_score_adj(5)).
fn reset_oom_score() -> nix::Result<()> {
    // SAFETY: system calls on constant strings.
    unsafe {
        let file = Errno::result(libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC))?;
        let written = Errno::result(libc::write(file, b"0".as_ptr().cast(), 1));
        libc::close(file);
        written.map(drop).or_else(|error| if error == Errno::EACCES { Ok(()) } else { Err(error) })
    }
}

/// Default actions and an empty mask: ignored signals and the mask survive execve(2).
fn default_signals() -> nix::Result<()> {
    default_actions();
    // SAFETY: the set is initialised by sigemptyset before it is read.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        Errno::result(libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut())).map(drop)
    }
}

/// Gives every signal its default action (signal(7)).
pub fn default_actions() {
    // struct sigaction as the kernel has it (rt_sigaction(2)), all zero: SIG_DFL, no flags, no mask. The C library's call
    // would refuse its own two signals, which a caller may have left ignored as well.
    let default = [0u64; 4];
    for signal in (1..=64).filter(|signal| *signal != libc::SIGKILL && *signal != libc::SIGSTOP) {
        // SAFETY: SIG_DFL runs no code of this program. `default` is as large as the kernel's structure, and the last
        // argument is the size of its mask.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null_mut::<u64>(),
                size_of::<u64>(),
            )
        };
    }
}

/// linux/close_range.h
const CLOSE_RANGE_CLOEXEC: c_int = 4;

fn long(value: impl Into<c_long>) -> c_long {
    value.into()
}

/// A system call whose arguments are numbers.
fn call(number: c_long, arguments: [c_long; 4]) -> nix::Result<c_long> {
    let [a, b, c, d] = arguments;
    // SAFETY: the callers above pass calls that take numbers only (a null pointer for setgroups with no groups), so no
    // memory is at stake.
    // prctl(2) insists on a fifth one that is 0.
    Errno::result(unsafe { libc::syscall(number, a, b, c, d, 0) })
}

#[expect(clippy::as_conversions, reason = "Errno is a C enum; its value is the number")]
fn errno_number(errno: Errno) -> c_int {
    errno as c_int
}
