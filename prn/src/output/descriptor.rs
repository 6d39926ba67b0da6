//! Writing to a standard stream as it is: past the buffers of the standard library.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Prints an answer, all of it in one write(2): those of many prn that share a file or a pipe stay
/// whole.
pub fn line(text: &str) -> io::Result<()> {
    print(&format!("{text}\n"))
}

pub fn print(text: &str) -> io::Result<()> {
    whole(io::stdout().as_fd(), text).map_err(|error| {
        // The kind tells whether somebody is left to be told.
        let text = format!("cannot write to standard output: {error}");
        io::Error::new(error.kind(), text)
    })
}

/// Past the buffer of the standard library, which writes an answer's last line by itself.
pub fn whole(stream: BorrowedFd<'_>, text: &str) -> io::Result<()> {
    write_all(&mut duplicate(stream)?, text.as_bytes())
}

/// Writes all, and waits where another program has made the descriptor non-blocking: it is open in
/// both.
pub fn write_all(file: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                match poll(
                    &mut [PollFd::new(file.as_fd(), PollFlags::POLLOUT)],
                    PollTimeout::NONE,
                ) {
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            // A terminal says EIO and a socket ECONNRESET where a pipe says EPIPE.
            Err(_) if has_nobody(file, PollTimeout::ZERO) => {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether nobody can read any more what is written to `stream`, now or within this time.
///
/// With no events asked for, poll(2) tells of a pipe without readers (POLLERR), a socket whose peer
/// has closed it and a terminal that is gone (POLLHUP), and of nothing ever of a file. The peer of
/// a TCP connection may have ended its own direction only: it is no reader who has left.
pub fn has_nobody(stream: &File, within: PollTimeout) -> bool {
    loop {
        let mut streams = [PollFd::new(stream.as_fd(), PollFlags::empty())];
        match poll(&mut streams, within) {
            Ok(ready) => return ready > 0,
            Err(Errno::EINTR) => {}
            // Then a write tells.
            Err(_) => return false,
        }
    }
}

pub fn duplicate(fd: BorrowedFd<'_>) -> io::Result<File> {
    fd.try_clone_to_owned().map(File::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_descriptor_that_does_not_block_is_waited_for() {
        let (mut reader, writer) = io::pipe().unwrap();
        nix::fcntl::fcntl(
            &writer,
            nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
        )
        .unwrap();
        let mut file = File::from(std::os::fd::OwnedFd::from(writer));
        let writing = std::thread::spawn(move || write_all(&mut file, &vec![7; 1 << 20]));
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        writing.join().unwrap().unwrap();
        assert_eq!(read.len(), 1 << 20);
    }
}
