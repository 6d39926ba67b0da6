//! The order in which the frontend confines itself: three stations of its start. What each step
//! does is in [`confine`] and [`filter`].

use std::os::fd::OwnedFd;

use crate::confine::{self, SandboxError};
use crate::{filter, log};

/// Before anything is read: the memory is hidden before there is a key in it.
///
/// # Errors
/// Those of the steps.
pub fn begin() -> nix::Result<()> {
    log::panics();
    confine::name()?;
    confine::hide_memory()?;
    confine::no_new_privileges()?;
    confine::outlive_group_signals()
}

/// Once all that was handed over is read, and before there are threads, which inherit it.
/// `has_namespaces` says that this process was born in some of its own.
///
/// # Errors
/// Those of the steps.
pub fn leave(empty_folder: &OwnedFd, has_namespaces: bool) -> Result<(), SandboxError> {
    confine::leave_the_host(empty_folder, has_namespaces)?;
    confine::deny_files()
}

/// Once all threads exist, and before a byte of the network or the supervisor is read. There is no
/// way back.
///
/// # Errors
/// Those of the steps.
pub fn close() -> Result<(), SandboxError> {
    confine::no_more_processes().map_err(|error| SandboxError::Call("setrlimit", error))?;
    filter::apply()
}
