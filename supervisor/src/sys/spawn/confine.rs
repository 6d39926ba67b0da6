//! Landlock and seccomp, applied by system calls alone: by the supervisor to itself, and by a child
//! before its program.

use std::mem::size_of_val;
use std::os::fd::{BorrowedFd, RawFd};

use nix::errno::Errno;
use nix::libc::{self, c_int};
use prn_ipc_protocol::config::Filter;

use crate::sys::call;

/// A Landlock ruleset (landlock(7)).
#[derive(Debug, Clone, Copy)]
pub struct Landlock<'a> {
    /// `struct landlock_ruleset_attr`, as much of it as this kernel knows.
    pub attributes: &'a [u64],
    /// What is allowed.
    pub rules: &'a [Rule<'a>],
}

/// What is allowed below a path.
#[derive(Debug, Clone, Copy)]
pub struct Rule<'a> {
    /// The path.
    pub below: BorrowedFd<'a>,
    /// Access rights, as the kernel has them (linux/landlock.h).
    pub rights: u64,
}

/// Applies a Landlock ruleset (landlock(7)), whose rules are numbers of this process with rights.
pub(super) fn restrict_files(attributes: &[u64], rules: &[(RawFd, u64)]) -> nix::Result<()> {
    /// linux/landlock.h
    #[repr(C, packed)]
    struct PathBeneath {
        allowed_access: u64,
        parent_fd: RawFd,
    }
    const LANDLOCK_RULE_PATH_BENEATH: c_int = 1;
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
    for (below, rights) in rules {
        let rule = PathBeneath {
            allowed_access: *rights,
            parent_fd: *below,
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
