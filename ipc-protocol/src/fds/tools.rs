//! The names under which the supervisor executes `prn-tools` (its first argument), and descriptor
//! numbers at its start.

use std::ffi::CStr;
use std::os::fd::RawFd;

/// Empties the directories at its descriptors from [`CLEANED`] on, or those that its arguments
/// name.
pub const CLEANER: &CStr = c"prn-clean";
/// The first directory (O_PATH).
pub const CLEANED: RawFd = 3;

/// Looks, again and again, how much of the disk the directories at its descriptors from
/// [`WATCHED`] on take together. Its first argument is the most, in bytes: it ends with status
/// [`ABOVE`] when there is more. With [`OVER`] as its second, there may be as much as it finds first.
pub const WATCHER: &CStr = c"prn-watch";
/// See [`WATCHER`].
pub const OVER: &CStr = c"over";
/// The first directory (O_PATH).
pub const WATCHED: RawFd = 3;
/// See [`WATCHER`].
pub const ABOVE: u8 = 3;

/// Writes what comes through the pipe at [`AUDIT`] into the file in the folder at [`AUDIT_FOLDER`]
/// (O_PATH) that its first argument names.
pub const AUDITOR: &CStr = c"prn-audit";
/// See [`AUDITOR`].
pub const AUDIT: RawFd = 3;
/// See [`AUDITOR`].
pub const AUDIT_FOLDER: RawFd = 4;
