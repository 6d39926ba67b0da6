//! Whether there is something on standard input that `prn start`, which passes nothing on, would
//! leave there without a word.
//!
//! Nothing here takes a byte of it: whoever reads the same input next finds all of it.

use std::fs::File;
use std::io::{self, IsTerminal, Seek};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::{MSG_DONTWAIT, MSG_PEEK};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::SockRef;

use crate::failure::Failure;
use crate::input::stdin::is_null_device;

/// How long the other side of a pipe has, from prn's start, to write its first byte or to close it:
/// a shell starts both sides of a pipeline at once, and an interpreter takes this long to begin.
/// One that does neither (cron, CI, a remote shell) is taken for one with nothing to say; whoever
/// does not want to wait has --no-stdin.
const FIRST_BYTE: Duration = Duration::from_millis(300);

/// What is known of standard input before a process is started.
#[derive(Debug)]
pub enum Leftover {
    /// There is nothing, and nothing will come; or it is a person's terminal; or nobody asks.
    Nothing,
    /// A pipe or a socket that is open, and silent so far.
    Silent {
        /// It.
        stream: File,
        /// Until when its first byte is waited for.
        until: Instant,
    },
}

impl Leftover {
    /// Looks at standard input, unless it is to be left alone.
    ///
    /// # Errors
    /// [`Failure::Input`] if there are bytes that the process would not get.
    pub fn look(is_left_alone: bool) -> Result<Self, Failure> {
        let until = Instant::now() + FIRST_BYTE;
        if is_left_alone || io::stdin().is_terminal() {
            return Ok(Self::Nothing);
        }
        let Ok(stream) = io::stdin().as_fd().try_clone_to_owned() else {
            return Ok(Self::Nothing);
        };
        let stream = File::from(stream);
        match state(&stream) {
            State::Bytes => Err(Failure::Input),
            State::Ended => Ok(Self::Nothing),
            State::Silent => Ok(Self::Silent { stream, until }),
        }
    }

    /// Gives the other side of a pipe the rest of its time.
    ///
    /// # Errors
    /// As [`Leftover::look`].
    pub fn settle(self) -> Result<(), Failure> {
        let Self::Silent { stream, until } = self else {
            return Ok(());
        };
        wait(&stream, until);
        match state(&stream) {
            State::Bytes => Err(Failure::Input),
            State::Ended | State::Silent => Ok(()),
        }
    }
}

/// What a read would find.
#[derive(Debug)]
enum State {
    Bytes,
    Ended,
    Silent,
}

/// What cannot be looked at has nothing that could be lost, as far as anybody can tell.
fn state(stream: &File) -> State {
    let Ok(metadata) = stream.metadata() else {
        return State::Ended;
    };
    let kind = metadata.file_type();
    if kind.is_fifo() {
        of_pipe(stream)
    } else if kind.is_socket() {
        of_socket(stream)
    } else if kind.is_file() || kind.is_block_device() {
        of_file(stream)
    } else if kind.is_char_device() && !is_null_device(&metadata) {
        // /dev/zero, a serial line: but /dev/null says as well that it can be read.
        of_pipe(stream)
    } else {
        State::Ended
    }
}

/// Here, for a pipe, POLLIN is of bytes alone: its end is POLLHUP (poll(2)).
fn of_pipe(stream: &File) -> State {
    let events = ready(stream, PollTimeout::ZERO);
    if events.contains(PollFlags::POLLIN) {
        State::Bytes
    } else if events.is_empty() {
        State::Silent
    } else {
        State::Ended
    }
}

fn of_socket(stream: &File) -> State {
    let mut byte = [MaybeUninit::uninit()];
    match SockRef::from(stream).recv_with_flags(&mut byte, MSG_PEEK | MSG_DONTWAIT) {
        Ok(0) => State::Ended,
        Ok(_) => State::Bytes,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => State::Silent,
        Err(_) => State::Ended,
    }
}

/// By its own offset: a size says nothing in /proc, nor of what was read already.
fn of_file(mut stream: &File) -> State {
    let at = stream.stream_position();
    match at.and_then(|at| stream.read_at(&mut [0], at)) {
        Ok(0) | Err(_) => State::Ended,
        Ok(_) => State::Bytes,
    }
}

/// Waits for bytes or the end; for so long.
fn wait(stream: &File, until: Instant) {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        if !ready(stream, timeout).is_empty() || until <= Instant::now() {
            return;
        }
    }
}

fn ready(stream: &File, timeout: PollTimeout) -> PollFlags {
    let mut streams = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
    match poll(&mut streams, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        // It cannot be waited for.
        Err(_) => return PollFlags::POLLERR,
    }
    let [stream] = streams;
    stream.revents().unwrap_or(PollFlags::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    fn file(fd: impl Into<OwnedFd>) -> File {
        File::from(fd.into())
    }

    #[test]
    fn a_pipe_and_a_socket_are_silent_then_have_bytes_then_an_end_and_keep_them() {
        let (reader, writer) = io::pipe().unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        for (mut reader, mut writer) in [(file(reader), file(writer)), (file(near), file(far))] {
            assert!(matches!(state(&reader), State::Silent));
            writer.write_all(b"ab").unwrap();
            for _ in 0..2 {
                assert!(matches!(state(&reader), State::Bytes));
            }
            drop(writer);
            assert!(matches!(state(&reader), State::Bytes));
            let mut read = String::new();
            reader.read_to_string(&mut read).unwrap();
            assert_eq!(read, "ab");
            assert!(matches!(state(&reader), State::Ended));
        }
    }

    #[test]
    fn a_file_has_bytes_up_to_its_end_wherever_it_was_read_to() {
        let mut file = File::open("/proc/self/status").unwrap();
        assert!(matches!(state(&file), State::Bytes), "its size is 0");
        file.read_to_end(&mut Vec::new()).unwrap();
        assert!(matches!(state(&file), State::Ended));
    }

    #[test]
    fn the_null_device_is_at_its_end_and_the_zero_device_never_is() {
        assert!(matches!(
            state(&File::open("/dev/null").unwrap()),
            State::Ended
        ));
        assert!(matches!(
            state(&File::open("/dev/zero").unwrap()),
            State::Bytes
        ));
        assert!(matches!(state(&File::open("/").unwrap()), State::Ended));
    }
}
