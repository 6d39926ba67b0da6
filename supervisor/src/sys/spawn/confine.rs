//! Landlock and seccomp, applied by system calls alone: by the supervisor to itself, and by a child
//! before its program.

use std::mem::size_of_val;
use std::os::fd::{AsRawFd, RawFd};

use nix::errno::Errno;
use nix::libc::{self, c_int};
use prn_ipc_protocol::config::Filter;

use super::{Landlock, Rule};
use crate::sys::call;

/// Applies a Landlock ruleset (landlock(7)).
pub(super) fn restrict_files(landlock: Landlock<'_>) -> nix::Result<()> {
    /// linux/landlock.h
    #[repr(C, packed)]
    struct PathBeneath {
        allowed_access: u64,
        parent_fd: RawFd,
    }
    const LANDLOCK_RULE_PATH_BENEATH: c_int = 1;
    let Landlock { attributes, rules } = landlock;
    let (size, flags) = (size_of_val(attributes), 0);
    // SAFETY: a system call that reads so many bytes of this slice.
    let ruleset = Errno::result(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            attributes.as_ptr(),
            size,
            flags,
        )
    })?;
    for Rule { below, rights } in rules {
        let rule = PathBeneath {
            allowed_access: *rights,
            parent_fd: below.as_raw_fd(),
        };
        // SAFETY: a system call that reads the structure that belongs to this kind of rule.
        Errno::result(unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                ruleset,
                LANDLOCK_RULE_PATH_BENEATH,
                &raw const rule,
                flags,
            )
        })?;
    }
    call(libc::SYS_landlock_restrict_self, [ruleset, 0, 0])
}

/// Applies seccomp programs to this thread, for good. They come from `prn server start`, and the
/// kernel checks their form.
///
/// # Errors
/// As seccomp(2).
pub fn filter(filters: &[Filter]) -> nix::Result<()> {
    for filter in filters {
        let program = libc::sock_fprog {
            len: filter.len().try_into().map_err(|_| Errno::E2BIG)?,
            filter: filter.as_ptr().cast_mut().cast(),
        };
        // SAFETY: a system call that reads `len` instructions of 8 bytes each, which is what the
        // vector holds.
        Errno::result(unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                0,
                &raw const program,
            )
        })?;
    }
    Ok(())
}
