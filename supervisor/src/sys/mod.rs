//! The root half's unsafe code: shared memory, process creation, terminals. Everything else in this crate
//! is safe Rust.
#![expect(
    unsafe_code,
    reason = "system calls that no safe wrapper covers; each block names who upholds what it needs"
)]

pub mod account;
pub mod memory;
pub mod pidfd;
pub mod spawn;
pub mod terminal;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc::{self, c_long};
use nix::sys::epoll::{Epoll, EpollEvent};
use nix::sys::stat::Mode;
use nix::sys::time::TimeSpec;

/// The number of an error (errno(3)).
#[expect(
    clippy::as_conversions,
    reason = "Errno is a C enum; its value is the number"
)]
pub fn errno_number(errno: Errno) -> i32 {
    errno as i32
}

/// The same error, as nix has it.
pub fn errno(error: io::Error) -> Errno {
    Errno::try_from(error).unwrap_or(Errno::EIO)
}

/// A read-only descriptor of the same file, with an open file description of its own
/// (proc_pid_fd(5)): for another process.
///
/// # Errors
/// As open(2).
pub fn reopen(file: &impl AsRawFd) -> nix::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    open(path.as_str(), flags, Mode::empty())
}

/// A system call whose arguments are numbers.
fn call(number: c_long, [a, b, c]: [c_long; 3]) -> nix::Result<()> {
    // SAFETY: its callers, in `spawn`, pass close_range(2), landlock_restrict_self(2), and ioctl(2)
    // with TIOCSCTTY, which take numbers only, so no memory is at stake.
    Errno::result(unsafe { libc::syscall(number, a, b, c) }).map(drop)
}

/// Waits for events, for `timeout` at most, and returns how many there are (epoll_pwait2(2), Linux
/// 5.11). nix's own call counts in milliseconds.
///
/// # Errors
/// As epoll_wait(2).
pub fn epoll_wait(
    epoll: &Epoll,
    events: &mut [EpollEvent],
    timeout: Option<Duration>,
) -> nix::Result<usize> {
    let timeout = timeout.map(TimeSpec::from_duration);
    let timeout = timeout
        .as_ref()
        .map_or(std::ptr::null(), std::ptr::from_ref);
    let (length, no_mask) = (events.len(), std::ptr::null::<libc::sigset_t>());
    let (epoll, events) = (epoll.0.as_raw_fd(), events.as_mut_ptr());
    // SAFETY: the kernel writes at most as many events as the slice has, each a `struct
    // epoll_event`, which nix's type is laid out as; it reads a timespec, which nix's is laid out
    // as too, or nothing.
    let count = unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            epoll,
            events,
            length,
            timeout,
            no_mask,
            0,
        )
    };
    Errno::result(count).and_then(|count| usize::try_from(count).map_err(|_| Errno::EIO))
}
