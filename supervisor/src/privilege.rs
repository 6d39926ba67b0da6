//! What the supervisor gives up at its start, once and for good. Runs in the supervisor, before it reads a byte of a peer.

use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};

/// The capabilities that stay: take a process's identity (2), signal a process of another user, give a directory away.
const KEPT: [Capability; 4] =
    [Capability::CAP_SETUID, Capability::CAP_SETGID, Capability::CAP_KILL, Capability::CAP_CHOWN];

/// What stays in the bounding set. Not to be gained, which no_new_privs prevents: execve(2) refuses a program whose file
/// has a capability that the bounding set lacks (EPERM, capabilities(7)), and ping's has this one on many systems. It then
/// runs without it, and uses ICMP sockets (net.ipv4.ping_group_range).
const BOUNDING: Capability = Capability::CAP_NET_RAW;

/// Why a privilege could not be dropped.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// A capability set could not be changed.
    #[error("cannot change capabilities: run as root")]
    Capabilities(#[from] caps::errors::CapsError),
    /// prctl(2) or setrlimit(2) failed.
    #[error("cannot restrict this process")]
    Process(#[from] nix::errno::Errno),
}

/// Blocks all signals (they are read from a signalfd) and gives each its default action.
///
/// An ignored SIGCHLD, which a caller may have left behind, would lose exit statuses (waitid(2), ECHILD).
pub fn reset_signals() -> nix::Result<()> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    crate::sys::spawn::default_actions();
    Ok(())
}

/// No core dumps, no way to gain privileges, no ptrace by others: of this process, and, but for the dumpable flag, which
/// execve(2) sets again, of everything that it starts.
pub fn restrict_process() -> Result<(), PrivilegeError> {
    prctl::set_name(c"prn-supervisor")?;
    prctl::set_dumpable(false)?;
    prctl::set_no_new_privs()?;
    let (_, hard) = getrlimit(Resource::RLIMIT_CORE)?;
    setrlimit(Resource::RLIMIT_CORE, 0, hard)?;
    Ok(())
}

/// Keeps four capabilities, and all but empties the bounding set. No program executed from here can have any capability.
pub fn drop_capabilities() -> Result<(), PrivilegeError> {
    let kept: CapsHashSet = KEPT.into_iter().collect();
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        for other in caps::all().into_iter().filter(|other| *other != BOUNDING) {
            caps::drop(None, CapSet::Bounding, other)?;
        }
    }
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)?;
    if caps::read(None, CapSet::Bounding)?.iter().any(|left| *left != BOUNDING) {
        return Err(nix::errno::Errno::EPERM.into());
    }
    Ok(())
}

/// Raises the soft limit of open files to the hard one; returns the limits as they were, for the processes.
pub fn raise_open_files() -> nix::Result<(u64, u64)> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok((soft.min(1024), hard))
}
