//! The name under which the supervisor executes `prn-tools` (its first argument), and descriptor
//! numbers at its start.

use std::ffi::CStr;
use std::os::fd::RawFd;

/// Empties the directories at its descriptors from [`CLEANED`] on, or those that its arguments
/// name.
pub const CLEANER: &CStr = c"prn-clean";
/// The first directory (O_PATH).
pub const CLEANED: RawFd = 3;
