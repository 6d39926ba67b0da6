//! What tokio's `AsyncFd` asks of the frontend's end.

use std::os::fd::{AsFd, AsRawFd};

use super::Channel;

impl<Out, In> AsRawFd for Channel<Out, In> {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.as_fd().as_raw_fd()
    }
}
