//! Process descriptors (pidfd_open(2)). Runs in the supervisor.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;
use prn_ipc_protocol::message::ExitStatus;

/// A descriptor of the process that has this number now.
///
/// # Errors
/// As pidfd_open(2).
pub fn open(pid: i32) -> nix::Result<OwnedFd> {
    // SAFETY: a system call with numbers only.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let fd = RawFd::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: pidfd_open has just made this descriptor, for nobody else. It is close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal to the process.
///
/// # Errors
/// ESRCH when it has ended; others as pidfd_send_signal(2).
pub fn signal(process: &OwnedFd, signal: libc::c_int) -> nix::Result<()> {
    // SAFETY: a system call with numbers and a null siginfo, which it takes for "as kill(2)".
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            signal,
            0usize,
            0,
        )
    };
    Errno::result(sent).map(drop)
}

/// Reaps a child, if it has ended, and says how. Does not wait.
///
/// # Errors
/// As waitid(2).
pub fn reap(process: &OwnedFd) -> nix::Result<Option<ExitStatus>> {
    let id = libc::id_t::try_from(process.as_raw_fd()).map_err(|_| Errno::EBADF)?;
    // SAFETY: waitid fills in the siginfo that it is given; zeroed, it is a valid one, and says
    // "nothing" when unchanged. The three fields are those that waitid(2) sets. nix's own call
    // would lose the status of a real-time signal.
    let (pid, code, status) = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        Errno::result(libc::waitid(
            libc::P_PIDFD,
            id,
            &mut info,
            libc::WEXITED | libc::WNOHANG,
        ))?;
        (info.si_pid(), info.si_code, info.si_status())
    };
    if pid == 0 {
        return Ok(None);
    }
    // Exit codes and signal numbers both fit in a byte (exit(3), signal(7)).
    let byte = u8::try_from(status & 0xff).map_err(|_| Errno::ERANGE)?;
    Ok(Some(match code {
        libc::CLD_EXITED => ExitStatus::Exited(byte),
        code => ExitStatus::Signalled {
            signal: byte,
            core_dumped: code == libc::CLD_DUMPED,
        },
    }))
}
