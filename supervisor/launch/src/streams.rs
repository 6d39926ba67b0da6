//! Standard output and error of the server, so that nobody who stops reading them stops the server.
//!
//! Runs as root, in the process that becomes the supervisor, before its first line.

use std::fs::File;
use std::io::{self, stderr, stdout};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{dup2_stderr, dup2_stdout};

/// Opens both anew where they are pipes or terminals: they do not block then, and those who share
/// the old open file descriptions are not affected. A socket needs no such thing (MSG_DONTWAIT,
/// send(2)), and a file is as fast as its disk: to that one all append, each where another one
/// ended. What cannot be opened anew stays as it is; the supervisor writes to it when poll(2) says
/// that it takes something.
pub fn own() {
    if let Some(own) = reopened(stdout()) {
        let _unused = dup2_stdout(&own);
    }
    match reopened(stderr()) {
        Some(own) => drop(dup2_stderr(&own)),
        None => append(stderr()),
    }
}

fn reopened(stream: impl AsFd) -> Option<OwnedFd> {
    let path = format!("/proc/self/fd/{}", stream.as_fd().as_raw_fd());
    let kind = std::fs::metadata(&path).ok()?.file_type();
    if !kind.is_fifo() && !kind.is_char_device() {
        return None;
    }
    // Opening must not wait for a reader either (fifo(7)), nor make this the session's terminal.
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let opened: io::Result<File> = File::options()
        .write(true)
        .custom_flags(flags.bits())
        .open(path);
    opened.ok().map(OwnedFd::from)
}

fn append(stream: impl AsFd) {
    if let Ok(flags) = fcntl(&stream, FcntlArg::F_GETFL) {
        let flags = OFlag::from_bits_retain(flags) | OFlag::O_APPEND;
        let _unused = fcntl(&stream, FcntlArg::F_SETFL(flags));
    }
}
