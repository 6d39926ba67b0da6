//! What is below a directory, on either side.

use std::collections::BTreeMap;

use super::path::RelativePath;

/// What is below a directory, by path.
pub type Tree = BTreeMap<RelativePath, Entry>;

/// What is at a path, as far as that is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A regular file.
    File(FileEntry),
    /// A directory.
    Directory,
    /// A symbolic link.
    Link {
        /// What it says.
        target: Vec<u8>,
    },
    /// Anything else: a device, a FIFO, a socket.
    Other,
}

/// What a regular file is known by without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileEntry {
    /// In bytes.
    pub size: u64,
    /// When it was last written.
    pub modified: Modified,
    /// Permission bits (0o777 of the mode).
    pub mode: u32,
}

/// A time since 1970, as stat(2) gives it: one before has negative seconds and positive
/// nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Modified {
    /// Whole seconds.
    pub seconds: i64,
    /// And so many nanoseconds.
    pub nanoseconds: u32,
}

/// The bits of a mode that are sent.
pub const MODE: u32 = 0o777;
