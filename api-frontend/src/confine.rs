//! What the frontend gives up before it serves anybody. It starts as an unprivileged user without capabilities.

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal};

/// Names the process: it was executed from a descriptor, so the kernel could only call it by that number.
///
/// # Errors
/// prctl(2)'s.
pub fn name() -> nix::Result<()> {
    prctl::set_name(c"prn-frontend")
}

/// Lets no process of the same user read this one's memory, which holds the TLS key, and makes it leave no core image.
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

/// Blocks the signals that a terminal or a service manager sends to a whole group. This process ends when the supervisor
/// closes the channel, after the last frame of each stream. Call it before there are threads: they inherit the mask.
///
/// # Errors
/// pthread_sigmask(3)'s.
pub fn outlive_group_signals() -> nix::Result<()> {
    SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]).thread_block()
}
