//! What the frontend gives up before it serves anybody. It starts as an unprivileged user without
//! capabilities.

use std::os::fd::OwnedFd;

use caps::CapSet;
use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus, Scope};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal};

use crate::log;

/// Names the process: it was executed from a descriptor, so the kernel could only call it by that
/// number.
///
/// # Errors
/// prctl(2)'s.
pub fn name() -> nix::Result<()> {
    prctl::set_name(c"prn-frontend")
}

/// Lets no process of the same user read this one's memory, which holds the TLS key, and makes it
/// leave no core image.
///
/// # Errors
/// Those of prctl(2) and setrlimit(2).
pub fn hide_memory() -> nix::Result<()> {
    // execve(2) has made it dumpable again, whatever the supervisor set before.
    prctl::set_dumpable(false)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)
}

/// Rules out new privileges by execve(2).
///
/// # Errors
/// prctl(2)'s.
pub fn no_new_privileges() -> nix::Result<()> {
    prctl::set_no_new_privs()
}

/// Blocks the signals that a terminal or a service manager sends to a whole group. This process
/// ends when the supervisor closes the channel, after the last frame of each stream. Call it before
/// there are threads: they inherit the mask.
///
/// # Errors
/// pthread_sigmask(3)'s.
pub fn outlive_group_signals() -> nix::Result<()> {
    SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]).thread_block()
}

/// Why the sandbox could not be closed.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A system call of the kernel's failed.
    #[error("{0} failed")]
    Call(&'static str, #[source] nix::Error),
    /// A capability set could not be cleared.
    #[error("capabilities cannot be dropped")]
    Capabilities(#[from] caps::errors::CapsError),
    /// The Landlock ruleset was refused.
    #[error("Landlock cannot be applied")]
    Landlock(#[from] landlock::RulesetError),
    /// The system call filter was refused.
    #[error("the system call filter cannot be applied")]
    Filter(#[from] seccompiler::Error),
    /// The system call filter is not valid.
    #[error("the system call filter cannot be compiled")]
    Compile(#[from] seccompiler::BackendError),
}

/// Moves into an empty root, and, unless this process was born in some, into namespaces of its own,
/// where there is no network. Both take capabilities, which come with a user namespace and are
/// then dropped, all sets. Call it before there are threads: namespaces are each thread's own.
///
/// A host may forbid user namespaces to ordinary users (EPERM, ENOSPC, EACCES). That is said, and
/// the other layers stand alone.
///
/// # Errors
/// Any other failure.
pub fn leave_the_host(empty_folder: &OwnedFd, has_namespaces: bool) -> Result<(), SandboxError> {
    let others = CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    let missing = if has_namespaces {
        CloneFlags::empty()
    } else {
        others
    };
    match unshare(CloneFlags::CLONE_NEWUSER | missing) {
        Ok(()) => {
            nix::unistd::fchdir(empty_folder)
                .map_err(|error| SandboxError::Call("fchdir", error))?;
            nix::unistd::chroot(".").map_err(|error| SandboxError::Call("chroot", error))?;
            caps::clear(None, CapSet::Bounding)?;
        }
        Err(Errno::EPERM | Errno::ENOSPC | Errno::EACCES) => {
            let what = if has_namespaces {
                "WARNING: this host forbids user namespaces: the frontend's root is not empty"
            } else {
                "WARNING: this host forbids user namespaces: the sandbox is seccomp and Landlock alone"
            };
            log::warning(what, &[]);
        }
        Err(error) => return Err(SandboxError::Call("unshare", error)),
    }
    for set in [
        CapSet::Ambient,
        CapSet::Inheritable,
        CapSet::Effective,
        CapSet::Permitted,
    ] {
        caps::clear(None, set)?;
    }
    Ok(())
}

/// Denies all files, all TCP ports, and signals and abstract sockets beyond this process: what this
/// kernel's Landlock knows of that. Call it before there are threads: they inherit it.
///
/// # Errors
/// If the kernel refuses.
pub fn deny_files() -> Result<(), SandboxError> {
    let abi = ABI::V6;
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?
        .restrict_self()?;
    if status.ruleset == RulesetStatus::NotEnforced {
        let what = "WARNING: this kernel has no Landlock: that layer of the sandbox is missing";
        log::warning(what, &[]);
    }
    Ok(())
}

/// No further thread or process. Call it when all threads exist.
///
/// # Errors
/// setrlimit(2)'s.
pub fn no_more_processes() -> nix::Result<()> {
    setrlimit(Resource::RLIMIT_NPROC, 0, 0)
}
