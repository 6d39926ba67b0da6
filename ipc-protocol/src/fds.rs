//! Adoption of file descriptors that this program inherited or received, and what nix does not ask
//! of one. The only unsafe code of this crate.
#![expect(
    unsafe_code,
    reason = "a number becomes an owned descriptor here, and nowhere else; system calls without a wrapper"
)]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// Descriptor numbers at the start of `prn-supervisor`, as `prn server start` leaves them.
pub mod supervisor {
    use std::os::fd::RawFd;
    /// [`crate::config::Supervisor`] in a sealed memfd.
    pub const CONFIG: RawFd = 3;
    /// [`crate::config::Frontend`] in a sealed memfd: passed on, never decoded here.
    pub const FRONTEND_CONFIG: RawFd = 4;
    /// The TLS key (PKCS#8 DER) in a sealed memfd: passed on, never read here. Or the control
    /// socket of what signs with it ([`crate::signer`]).
    pub const TLS_KEY: RawFd = 5;
    /// The listening TCP socket.
    pub const LISTENER: RawFd = 6;
    /// The frontend's binary.
    pub const FRONTEND_BINARY: RawFd = 7;
    /// An empty folder, the frontend's root.
    pub const EMPTY_FOLDER: RawFd = 8;
    /// The binary `prn-tools`, the cleaner of a process's directories, which runs as its user.
    pub const TOOLS: RawFd = 9;
    /// The folder of the working directories, locked (flock(2)) for this server alone.
    pub const STATE_DIR: RawFd = 10;
    /// The cgroup that this server's groups are in, locked as well.
    pub const CGROUP: RawFd = 11;
    /// A datagram socket connected to the service manager (sd_notify(3)). Open only if the
    /// configuration says so.
    pub const NOTIFY: RawFd = 12;
    /// `cgroup.procs` of the group that this process came from. Open only where the one at
    /// [`CGROUP`] is to be removed.
    pub const ORIGIN: RawFd = 13;
    /// The file in which the processes' user ids are locked for this server alone (F_OFD_SETLK,
    /// fcntl(2)): kept open, never used. Open only if they are.
    pub const UIDS: RawFd = 14;
    /// The socket that root orders a reload on ([`crate::control`]), which listens.
    pub const CONTROL: RawFd = 15;
    /// Where the audit goes: a pipe or a socket, or the folder of its file (O_PATH), as
    /// [`crate::config::AuditTarget`] says. Open only if there is one.
    pub const AUDIT: RawFd = 16;
}

pub mod frontend;
pub mod quota;
pub mod tools;

/// Takes over an inherited descriptor and sets its close-on-exec flag.
///
/// Call it once for each number, at the start of `main`, before anything else can have opened a
/// file.
///
/// # Errors
/// EBADF if nothing is open at that number.
pub fn inherited(number: RawFd) -> nix::Result<OwnedFd> {
    // SAFETY: `main` of either half calls this once for each number of the tables above, whose
    // descriptors the program that executed it left open for it alone; fcntl fails on a number that
    // is not open, before it is used.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    match fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)) {
        Ok(_) => Ok(fd),
        Err(error) => {
            // Nothing is open there, so there is nothing to close.
            std::mem::forget(fd);
            Err(error)
        }
    }
}

/// Refuses descriptors on a socket (SO_PASSRIGHTS 0, Linux 6.16). Their last close would be the
/// receiver's, and closing a stranger's socket can take as long as its SO_LINGER says. Older
/// kernels do not know the option.
pub(crate) fn refuse(socket: &OwnedFd) {
    use nix::libc;
    /// asm-generic/socket.h
    const SO_PASSRIGHTS: libc::c_int = 83;
    let off: libc::c_int = 0;
    // SAFETY: setsockopt(2) reads an int of this function's, of the size given.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PASSRIGHTS,
            (&raw const off).cast(),
            size_of::<libc::c_int>().try_into().unwrap_or(4),
        );
    }
}

/// Takes over the descriptors that a received SCM_RIGHTS message installed (unix(7)).
pub(crate) fn received(numbers: Vec<RawFd>) -> Vec<OwnedFd> {
    // SAFETY: called by `channel` alone, once a message, with numbers that recvmsg(2) has just
    // installed in this process.
    numbers
        .into_iter()
        .map(|number| unsafe { OwnedFd::from_raw_fd(number) })
        .collect()
}
