//! What the supervisor gives up at its start, once and for good. Runs in the supervisor, before it
//! reads a byte of a peer.

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl;

/// The capabilities that stay in any case: take a process's identity (2), signal a process of
/// another user, give a directory away.
const KEPT: [Capability; 4] = [
    Capability::CAP_SETUID,
    Capability::CAP_SETGID,
    Capability::CAP_KILL,
    Capability::CAP_CHOWN,
];

/// What stays in the bounding set. Not to be gained, which no_new_privs prevents: execve(2) refuses
/// a program whose file has a capability that the bounding set lacks (EPERM, capabilities(7)), and
/// ping's has this one on many systems. It then runs without it, and uses ICMP sockets
/// (net.ipv4.ping_group_range).
const BOUNDING: Capability = Capability::CAP_NET_RAW;

/// Why something could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// The kernel refused.
    #[error(transparent)]
    Capabilities(#[from] CapsError),
    /// That takes CAP_SETPCAP.
    #[error("its bounding set cannot be dropped: run it as root")]
    BoundingSet,
}

/// No core dump (prctl(2), PR_SET_DUMPABLE), no way to gain privileges, no ptrace by others: of
/// this process, and, but for the dumpable flag, which execve(2) sets again, of everything that it
/// starts.
///
/// # Errors
/// Those of prctl(2).
pub fn restrict_process() -> nix::Result<()> {
    prctl::set_name(c"prn-supervisor")?;
    prctl::set_dumpable(false)?;
    prctl::set_no_new_privs()
}

/// What its children make namespaces and mounts with, before they give up all of this. Whoever has
/// CAP_SETUID is root in two steps, so that it adds a shorter way and no further end (SECURITY.md).
const FOR_NAMESPACES: Capability = Capability::CAP_SYS_ADMIN;

/// Keeps four capabilities, and a fifth one where children make namespaces, and all but empties the
/// bounding set. No program executed from here can have any capability.
///
/// # Errors
/// Those of capset(2) and prctl(2): it takes root.
pub fn drop_capabilities(make_namespaces: bool) -> Result<(), PrivilegeError> {
    let fifth = make_namespaces.then_some(FOR_NAMESPACES);
    let kept: CapsHashSet = KEPT.into_iter().chain(fifth).collect();
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        for other in caps::all().into_iter().filter(|other| *other != BOUNDING) {
            caps::drop(None, CapSet::Bounding, other)?;
        }
    }
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)?;
    if caps::read(None, CapSet::Bounding)?
        .iter()
        .any(|left| *left != BOUNDING)
    {
        return Err(PrivilegeError::BoundingSet);
    }
    Ok(())
}
