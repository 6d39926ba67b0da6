//! Landlock and seccomp, applied by system calls alone: by the supervisor to itself, and by a child
//! before its program.

use std::ffi::CStr;
use std::mem::size_of_val;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc::{self, c_int, c_long};
use nix::sys::stat::Mode;
use prn_ipc_protocol::config::Filter;

use crate::sys::call;

/// A Landlock ruleset in the making (landlock(7)): its descriptor, which is closed by execve(2).
#[derive(Debug, Clone, Copy)]
pub(super) struct Ruleset(c_long);

impl Ruleset {
    /// One that denies what its attributes say: `struct landlock_ruleset_attr`, as much of it as
    /// this kernel knows.
    pub fn create(attributes: &[u64]) -> nix::Result<Self> {
        let (size, flags) = (size_of_val(attributes), 0);
        // SAFETY: a system call that reads so many bytes of this slice.
        Errno::result(unsafe {
            libc::syscall(
                libc::SYS_landlock_create_ruleset,
                attributes.as_ptr(),
                size,
                flags,
            )
        })
        .map(Self)
    }

    /// Allows these access rights below a path, as the kernel has them (linux/landlock.h).
    pub fn allow(self, path: &CStr, rights: u64) -> nix::Result<()> {
        let below = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
        self.allow_below(below, rights)
    }

    /// The same below what is open.
    pub fn allow_below(self, below: impl AsFd, rights: u64) -> nix::Result<()> {
        /// linux/landlock.h
        #[repr(C, packed)]
        struct PathBeneath {
            allowed_access: u64,
            parent_fd: RawFd,
        }
        const LANDLOCK_RULE_PATH_BENEATH: c_int = 1;
        let (flags, rule) = (
            0,
            PathBeneath {
                allowed_access: rights,
                parent_fd: below.as_fd().as_raw_fd(),
            },
        );
        // SAFETY: a system call that reads the structure that belongs to this kind of rule.
        Errno::result(unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                self.0,
                LANDLOCK_RULE_PATH_BENEATH,
                &raw const rule,
                flags,
            )
        })
        .map(drop)
    }

    /// Applies it to this thread, for good. It takes no_new_privs.
    pub fn restrict(self) -> nix::Result<()> {
        call(libc::SYS_landlock_restrict_self, [self.0, 0, 0])
    }
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
