//! What standard input is.

use std::fs::{File, Metadata};
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use nix::sys::stat::makedev;

/// What standard input is, to whoever passes it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdin {
    /// The null device, or closed.
    Nothing,
    /// A terminal.
    Terminal,
    /// A pipe, a socket, a file, or anything else that is read to its end.
    Stream,
}

impl Stdin {
    /// That of this process.
    pub fn of_process() -> Self {
        if io::stdin().is_terminal() {
            return Self::Terminal;
        }
        let stream = io::stdin().as_fd().try_clone_to_owned().map(File::from);
        match stream.and_then(|stream| stream.metadata()) {
            Ok(metadata) if is_null_device(&metadata) => Self::Nothing,
            Ok(_) => Self::Stream,
            Err(_) => Self::Nothing,
        }
    }
}

/// Whether it is /dev/null (null(4)), which the standard library puts in the place of a standard
/// stream that is closed, too.
pub fn is_null_device(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == makedev(1, 3)
}
