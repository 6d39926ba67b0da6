//! Descriptors that nothing but the end of processes may use. Runs in the supervisor.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// As many are kept free below the hard limit of this program.
const SPARE: u64 = 64;

/// While it lives, this program may open [`SPARE`] descriptors more. One at a time.
#[derive(Debug)]
pub(super) struct SpareDescriptors;

impl SpareDescriptors {
    /// Lends them.
    pub fn lend() -> Self {
        // Of this program alone, and without a descriptor. Where there is nothing to lend, nothing
        // changes.
        if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
            let _unused = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
        }
        Self
    }
}

impl Drop for SpareDescriptors {
    fn drop(&mut self) {
        let _unused = spare_descriptors();
    }
}

/// Keeps descriptors free for the end of processes, from now on (RLIMIT_NOFILE, getrlimit(2)): that
/// there are none left must not keep anything from being stopped.
///
/// # Errors
/// As setrlimit(2).
pub(crate) fn spare_descriptors() -> nix::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    // A quarter at most, where there are next to none.
    let spare = SPARE.min(hard / 4);
    setrlimit(Resource::RLIMIT_NOFILE, hard - spare, hard)
}
