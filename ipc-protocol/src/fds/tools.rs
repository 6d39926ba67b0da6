//! Names under which the supervisor executes `prn-tools` (its first argument), and descriptor
//! numbers at its start.

use std::ffi::CStr;
use std::os::fd::RawFd;

/// Empties the directories at its descriptors from [`CLEANED`] on, or those that its arguments
/// name.
pub const CLEANER: &CStr = c"prn-clean";
/// The first directory (O_PATH).
pub const CLEANED: RawFd = 3;

/// Confines itself, then executes what the file at [`LAUNCH`] says. It has no other argument and no
/// environment.
pub const STRICT: &CStr = c"prn-strict";
/// Takes the report of what failed: step and errno.
pub const REPORT: RawFd = 3;
/// The process's temporary directory.
pub const TEMPORARY: RawFd = 4;
/// Its own directory.
pub const OWN: RawFd = 5;
/// What to execute: how many paths, the paths, how many variables, the variables, the argument
/// vector, each with a NUL byte at its end.
pub const LAUNCH: RawFd = 6;
/// [`crate::config::Strict`] in a sealed memfd.
pub const CONFINEMENT: RawFd = 7;
