//! What a start costs at the least: a process created inside its own cgroup, with two pipes,
//! without a server.
#![expect(unsafe_code, reason = "clone3(2) has no safe wrapper")]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::Instant;

use anyhow::{bail, ensure};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::pipe2;

use crate::table::percentile;

/// linux/sched.h
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Anonymous memory of this process: with what a Rust program has anyway about 5 MB, which a clone
/// has to copy the page tables of.
const BALLAST: usize = 512 << 10;

/// Microseconds from the making of the cgroup on.
#[derive(Debug, Default, Clone, Copy)]
struct Times {
    cloned: f64,
    executed: f64,
    exited: f64,
}

/// Creates `count` processes in groups below `cgroup`, in turn with a look at when they execute and
/// without; prints the medians of: clone3 returned, exit seen, execve seen, and this process's size
/// in bytes.
///
/// # Errors
/// Whatever goes wrong.
pub fn run(cgroup: &Path, count: usize) -> anyhow::Result<()> {
    let ballast = std::hint::black_box(vec![1u8; BALLAST]);
    let (mut cloned, mut exited, mut executed) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..count {
        let plain = create(&cgroup.join(format!("plain-{number}")), false)?;
        cloned.push(plain.cloned);
        exited.push(plain.exited);
        executed.push(create(&cgroup.join(format!("watched-{number}")), true)?.executed);
    }
    let size = prn_tests::procfs::memory(std::process::id().try_into()?, "VmRSS");
    drop(ballast);
    let median = |values: &mut Vec<f64>| percentile(values, 50).unwrap_or(f64::NAN);
    let (cloned, exited, executed) = (
        median(&mut cloned),
        median(&mut exited),
        median(&mut executed),
    );
    Ok(writeln!(
        io::stdout(),
        "{cloned} {exited} {executed} {size}"
    )?)
}

/// One process. `watched`: through a third pipe, which execve closes.
fn create(path: &Path, watched: bool) -> anyhow::Result<Times> {
    let begun = Instant::now();
    let micros = || begun.elapsed().as_secs_f64() * 1e6;
    let mut times = Times::default();
    fs::create_dir(path)?;
    let group = File::open(path)?;
    let (stdout, stdout_in_child) = pipe2(OFlag::O_CLOEXEC)?;
    let (stderr, stderr_in_child) = pipe2(OFlag::O_CLOEXEC)?;
    let report = if watched {
        Some(pipe2(OFlag::O_CLOEXEC)?)
    } else {
        None
    };
    let pidfd = clone(&group, [&stdout_in_child, &stderr_in_child])?;
    times.cloned = micros();
    drop((stdout_in_child, stderr_in_child));
    if let Some((report, in_child)) = report {
        drop(in_child);
        ensure!(
            File::from(report).read(&mut [0; 1])? == 0,
            "nobody writes there"
        );
        times.executed = micros();
    }
    poll(
        &mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)],
        PollTimeout::NONE,
    )?;
    let WaitStatus::Exited(_, 0) = waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED)? else {
        bail!("/bin/true failed");
    };
    times.exited = micros();
    drop((stdout, stderr));
    fs::remove_dir(path)?;
    Ok(times)
}

/// clone3(2) as fork(2) does it, and /bin/true.
fn clone(group: &File, streams: [&OwnedFd; 2]) -> nix::Result<OwnedFd> {
    let [stdout, stderr] = streams.map(AsRawFd::as_raw_fd);
    let argv = [c"true".as_ptr(), std::ptr::null()];
    let environment = [std::ptr::null()];
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is numbers only, for which 0 is a value.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = CLONE_PIDFD | CLONE_INTO_CGROUP;
    arguments.pidfd = std::ptr::from_mut(&mut pidfd).expose_provenance() as u64;
    arguments.exit_signal = libc::SIGCHLD as u64;
    arguments.cgroup = group.as_raw_fd() as u64;
    // SAFETY: without CLONE_VM the child gets a copy of this address space, as with fork(2); this
    // process has one thread. `arguments` is a clone_args of the size given, and `pidfd` outlives
    // it.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut arguments,
            size_of_val(&arguments),
        )
    };
    if pid == 0 {
        // SAFETY: system calls on descriptors of this process and on arrays that end with a null
        // pointer.
        unsafe {
            libc::dup2(stdout, 1);
            libc::dup2(stderr, 2);
            libc::execve(c"/bin/true".as_ptr(), argv.as_ptr(), environment.as_ptr());
            libc::_exit(127)
        }
    }
    Errno::result(pid)?;
    // SAFETY: CLONE_PIDFD stored a new descriptor there, for nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(pidfd) })
}
