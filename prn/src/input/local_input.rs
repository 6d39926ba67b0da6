//! Reading standard input, for a process.
//!
//! A thread of its own reads, so that a read that never returns keeps nobody from ending; and with
//! it, a few pieces are on the way at most.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

use bytes::Bytes;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use prn_client::{INPUT_PIECE_MAX, InputPiece};
use tokio::sync::{mpsc, oneshot};

use crate::input::detach::Watch;

/// Pieces on the way from the thread. Each is [`INPUT_PIECE_MAX`] at most.
const QUEUE: usize = 8;

/// The same of a terminal, where a piece is mostly one key: as many as are typed while a lost
/// connection is waited for. A terminal gives 4 KiB at most at a time (termios(3)).
const KEYS: usize = 1024;

/// How reading ended.
#[derive(Debug)]
pub enum LocalEnd {
    /// At its end.
    Ended,
    /// The keys were typed that leave the process alone.
    Detached,
    /// As read(2).
    Failed(io::Error),
}

/// What is made of standard input.
#[derive(Debug)]
pub enum Local {
    /// All of it is the process's, and its end is the end of the process's input.
    ToItsEnd,
    /// All of it is the process's, whose input stays open behind it.
    KeptOpen,
    /// A terminal's keys, but for those that leave the process alone.
    Keys(Watch),
}

/// Standard input that is being read.
#[derive(Debug)]
pub struct LocalInput {
    /// What was read, in order.
    pub pieces: mpsc::Receiver<InputPiece>,
    /// A way to put something between.
    pub between: mpsc::Sender<InputPiece>,
    /// Told once.
    pub end: oneshot::Receiver<LocalEnd>,
}

/// Reads standard input from now on.
///
/// # Errors
/// If there can be no thread, or no further descriptor.
pub fn read(local: Local) -> io::Result<LocalInput> {
    let stream = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (pieces, received) = mpsc::channel(match &local {
        Local::ToItsEnd | Local::KeptOpen => QUEUE,
        Local::Keys(_) => KEYS,
    });
    let between = pieces.clone();
    let (report, end) = oneshot::channel();
    std::thread::Builder::new()
        .name("prn-input".to_owned())
        .spawn(move || {
            // Nobody listens any more if the process has ended.
            let _unheard = report.send(pass_on(stream, local, &pieces));
        })?;
    Ok(LocalInput {
        pieces: received,
        between,
        end,
    })
}

fn pass_on(mut stream: File, mut local: Local, pieces: &mpsc::Sender<InputPiece>) -> LocalEnd {
    let mut buffer = vec![0; INPUT_PIECE_MAX];
    loop {
        let read = match read_some(&mut stream, &mut buffer) {
            Ok(read) => buffer.get(..read).unwrap_or_default(),
            Err(error) => return LocalEnd::Failed(error),
        };
        let (data, is_detach) = match &mut local {
            Local::ToItsEnd | Local::KeptOpen => (Bytes::copy_from_slice(read), false),
            Local::Keys(watch) => {
                let typed = watch.typed(read);
                (typed.pass.into(), typed.detach)
            }
        };
        // Whom nobody takes anything from has nobody to tell either.
        if !data.is_empty() && pieces.blocking_send(InputPiece::Data(data)).is_err() {
            return LocalEnd::Ended;
        }
        if is_detach {
            return LocalEnd::Detached;
        }
        if read.is_empty() {
            if let Local::ToItsEnd = local {
                let _untaken = pieces.blocking_send(InputPiece::End);
            }
            return LocalEnd::Ended;
        }
    }
}

/// Reads what there is, and waits for it where another program has made the descriptor
/// non-blocking. Nothing at its end.
fn read_some(stream: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(buffer) {
            Ok(read) => return Ok(read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut streams = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
                match poll(&mut streams, PollTimeout::NONE) {
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::detach::DetachKeys;
    use std::io::Write;
    use std::os::fd::OwnedFd;

    fn passed_on(local: Local, bytes: &[u8]) -> (Vec<InputPiece>, LocalEnd) {
        let (reader, mut writer) = io::pipe().unwrap();
        nix::fcntl::fcntl(
            &reader,
            nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
        )
        .unwrap();
        let stream = File::from(OwnedFd::from(reader));
        let (pieces, mut received) = mpsc::channel(KEYS);
        let reading = std::thread::spawn(move || pass_on(stream, local, &pieces));
        writer.write_all(bytes).unwrap();
        drop(writer);
        let end = reading.join().unwrap();
        let pieces = std::iter::from_fn(|| received.blocking_recv()).collect();
        (pieces, end)
    }

    fn data(bytes: &'static [u8]) -> InputPiece {
        InputPiece::Data(Bytes::from_static(bytes))
    }

    #[test]
    fn the_end_is_the_end_of_the_input_unless_that_is_to_stay_open() {
        let (pieces, end) = passed_on(Local::ToItsEnd, b"ab");
        assert_eq!(pieces, [data(b"ab"), InputPiece::End]);
        assert!(matches!(end, LocalEnd::Ended));
        let (pieces, end) = passed_on(Local::KeptOpen, b"ab");
        assert_eq!(pieces, [data(b"ab")]);
        assert!(matches!(end, LocalEnd::Ended));
        let (pieces, _) = passed_on(Local::ToItsEnd, b"");
        assert_eq!(pieces, [InputPiece::End]);
    }

    #[test]
    fn the_keys_that_leave_the_process_are_not_its_own() {
        let keys: DetachKeys = "ctrl-p,ctrl-q".parse().unwrap();
        let (pieces, end) = passed_on(Local::Keys(Watch::new(keys)), b"ab\x10\x11cd");
        assert_eq!(pieces, [data(b"ab")]);
        assert!(matches!(end, LocalEnd::Detached));
    }

    #[test]
    fn what_cannot_be_read_is_no_end() {
        let (pieces, mut received) = mpsc::channel(1);
        let end = pass_on(File::open("/").unwrap(), Local::ToItsEnd, &pieces);
        assert!(matches!(end, LocalEnd::Failed(_)), "{end:?}");
        drop(pieces);
        assert_eq!(received.blocking_recv(), None);
    }
}
