//! Terminals for processes (pty(7)). Runs in the supervisor.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, SpliceFFlags, open, splice};
use nix::libc::{self, Ioctl, c_int, c_ushort};
use nix::sys::stat::{Mode, fchmod};
use nix::sys::termios::{InputFlags, SetArg, tcgetattr, tcsetattr};
use nix::unistd::{Gid, Uid, fchown};
use prn_ipc_protocol::message::TerminalSize;

use super::account::Ids;

/// Most bytes that are typed in one turn: a terminal takes as many at a time (N_TTY_BUF_SIZE).
const TURN: usize = 4096;

/// A terminal.
#[derive(Debug)]
pub struct Ends {
    /// What is typed goes in there, and output comes out. Non-blocking.
    pub master: OwnedFd,
    /// The process's end.
    pub slave: OwnedFd,
}

/// Makes one of this size that belongs to this user, and lets nobody else write to it.
///
/// # Errors
/// Those of open(2), ENOSPC for one: there are as many as may be (kernel.pty.max); and of ioctl(2),
/// fchmod(2) and fchown(2).
pub fn open_terminal(ids: Ids<'_>, size: TerminalSize) -> nix::Result<Ends> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = open(c"/dev/ptmx", flags | OFlag::O_NONBLOCK, Mode::empty())?;
    let unlocked: c_int = 0;
    set(&master, libc::TIOCSPTLCK, &unlocked)?;
    resize(&master, size)?;
    let slave = open_slave(&master, flags)?;
    erase_whole_characters(&slave)?;
    fchmod(&slave, Mode::S_IRUSR | Mode::S_IWUSR)?;
    let (uid, gid) = (Uid::from_raw(ids.uid), Gid::from_raw(ids.gid));
    fchown(&slave, Some(uid), Some(gid))?;
    Ok(Ends { master, slave })
}

/// Says how large a terminal is. SIGWINCH tells who is in its foreground.
///
/// # Errors
/// As ioctl(2).
pub fn resize(master: impl AsFd, size: TerminalSize) -> nix::Result<()> {
    let size = libc::winsize {
        ws_row: c_ushort::from(size.rows),
        ws_col: c_ushort::from(size.columns),
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    set(master, libc::TIOCSWINSZ, &size)
}

/// Moves what waits in a pipe to a terminal, a bounded amount of it. This program never sees it.
///
/// # Errors
/// As splice(2). EAGAIN: the pipe is empty, or the terminal full. EIO: nobody has the terminal.
pub fn type_from(pipe: impl AsFd, master: impl AsFd) -> nix::Result<usize> {
    let flags = SpliceFFlags::SPLICE_F_NONBLOCK;
    splice(pipe, None, master, None, TURN, flags)
}

/// Makes the erase key take a character of UTF-8 and not a byte of it, as clients' terminals do.
fn erase_whole_characters(terminal: &OwnedFd) -> nix::Result<()> {
    let mut modes = tcgetattr(terminal)?;
    modes.input_flags |= InputFlags::IUTF8;
    tcsetattr(terminal, SetArg::TCSANOW, &modes)
}

/// Opens the other end of a terminal by its master: whatever is mounted at /dev/pts, it is this
/// one's.
fn open_slave(master: &OwnedFd, flags: OFlag) -> nix::Result<OwnedFd> {
    let (master, request) = (master.as_raw_fd(), libc::TIOCGPTPEER);
    // SAFETY: TIOCGPTPEER takes flags of open(2), a number (ioctl_tty(2)).
    let slave = unsafe { libc::syscall(libc::SYS_ioctl, master, request, flags.bits()) };
    let slave = Errno::result(slave)?.try_into().map_err(|_| Errno::EBADF)?;
    // SAFETY: TIOCGPTPEER has just made this descriptor, for nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(slave) })
}

/// ioctl(2) with a request that reads a `T`.
fn set<T>(terminal: impl AsFd, request: Ioctl, value: &T) -> nix::Result<()> {
    let (terminal, value) = (terminal.as_fd().as_raw_fd(), std::ptr::from_ref(value));
    // SAFETY: its callers, in this file, pass TIOCSPTLCK with an int and TIOCSWINSZ with a struct
    // winsize, which is what these read (ioctl_tty(2)).
    Errno::result(unsafe { libc::syscall(libc::SYS_ioctl, terminal, request, value) }).map(drop)
}
