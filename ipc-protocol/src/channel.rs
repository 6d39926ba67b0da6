//! The channel between the halves: SEQPACKET datagrams, one message each, with file descriptors.
//!
//! Runs in both halves. A datagram that is empty, cut, too long, malformed, or that brings
//! descriptors which its receiver did not expect, is a [`Fault`] of the peer: the channel is then
//! of no further use.

mod frontend;

use std::io::{IoSlice, IoSliceMut};
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{self, DecodeError};
use crate::fds;
use crate::message::{FromSupervisor, Request};

/// Most bytes in a message.
///
/// A SEQPACKET socket with the kernel's default buffer (net.core.wmem_default 212992) sends 212960
/// at most (measured; EMSGSIZE above). This leaves room for 128 KiB of arguments and environment
/// with all else around them.
pub const MESSAGE_MAX: usize = 192 * 1024;

/// Most descriptors that the kernel takes in one message (SCM_MAX_FD, unix(7)). The control buffer
/// holds as many, so a message can't be cut there, which would leave descriptors installed that
/// nobody knows of.
const KERNEL_FDS_MAX: usize = 253;

/// Why nothing was received. All but the last: the peer broke the protocol.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Fault {
    /// A datagram without a byte.
    #[error("fault: empty datagram")]
    Empty,
    /// A datagram longer than [`MESSAGE_MAX`], or with control data that does not fit.
    #[error("fault: datagram too long")]
    TooLong,
    /// It does not decode.
    #[error("fault: datagram does not decode")]
    Decode(#[from] DecodeError),
    /// It brought another number of descriptors than its kind has.
    #[error("fault: {0} unexpected file descriptors")]
    Descriptors(usize),
    /// The socket failed.
    #[error("the channel failed")]
    Socket(#[from] Errno),
}

/// What receiving gave.
#[derive(Debug)]
pub enum Received<M> {
    /// A message with its descriptors, close-on-exec set.
    Message(M, Vec<OwnedFd>),
    /// Nothing is there now.
    Nothing,
    /// The peer is gone.
    Closed,
}

/// What sending gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The message is in the peer's queue.
    Whole,
    /// The queue is full: try again when the socket is writable. Nothing was sent.
    Full,
    /// The peer is gone.
    Closed,
}

/// One end: sends `Out`, receives `In`. Never blocks.
#[derive(Debug)]
pub struct Channel<Out, In> {
    socket: OwnedFd,
    buffer: Vec<u8>,
    /// Room for descriptors; empty in an end that takes none.
    control: Vec<u8>,
    direction: PhantomData<fn(Out) -> In>,
}

/// The supervisor's end.
pub type SupervisorEnd = Channel<FromSupervisor, Request>;

/// The frontend's end.
pub type FrontendEnd = Channel<Request, FromSupervisor>;

/// A new pair of sockets, both close-on-exec and non-blocking.
pub fn pair() -> nix::Result<(OwnedFd, OwnedFd)> {
    socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
    )
}

impl<Out: Serialize, In: DeserializeOwned + Serialize> Channel<Out, In> {
    /// An end over one of [`pair`]'s sockets.
    pub fn new(socket: OwnedFd) -> Self {
        let control = nix::cmsg_space!([std::os::fd::RawFd; KERNEL_FDS_MAX]);
        Self {
            socket,
            buffer: vec![0; MESSAGE_MAX],
            control,
            direction: PhantomData,
        }
    }

    /// An end that takes no descriptors. From Linux 6.16 on the peer cannot send any; before, the
    /// kernel closes them when their message is received, which then is a fault.
    pub fn without_descriptors(socket: OwnedFd) -> Self {
        fds::refuse(&socket);
        Self {
            control: Vec::new(),
            ..Self::new(socket)
        }
    }

    /// Sends one message.
    ///
    /// # Errors
    /// EMSGSIZE for a message over [`MESSAGE_MAX`]; ETOOMANYREFS when the peer has not taken the descriptors already
    /// sent (unix(7)); others as sendmsg(2).
    pub fn send(&self, message: &Out, fds: &[BorrowedFd<'_>]) -> nix::Result<Sent> {
        let bytes = codec::encode(message).map_err(|_| Errno::EINVAL)?;
        if bytes.len() > MESSAGE_MAX {
            return Err(Errno::EMSGSIZE);
        }
        let numbers: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&numbers)];
        let control = if numbers.is_empty() {
            &[]
        } else {
            rights.as_slice()
        };
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        match sendmsg::<()>(
            self.socket.as_raw_fd(),
            &[IoSlice::new(&bytes)],
            control,
            flags,
            None,
        ) {
            Ok(_) => Ok(Sent::Whole),
            Err(Errno::EAGAIN) => Ok(Sent::Full),
            Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(Sent::Closed),
            Err(error) => Err(error),
        }
    }

    /// Receives one message; `fds_expected` says how many descriptors a message of its kind brings.
    ///
    /// # Errors
    /// The channel is then of no further use.
    pub fn receive(&mut self, fds_expected: impl Fn(&In) -> usize) -> Result<Received<In>, Fault> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let mut parts = [IoSliceMut::new(&mut self.buffer)];
        let control = (!self.control.is_empty()).then_some(self.control.as_mut_slice());
        let got = match recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, control, flags) {
            Err(Errno::EAGAIN) => return Ok(Received::Nothing),
            Err(Errno::ECONNRESET) => return Ok(Received::Closed),
            other => other?,
        };
        let mut fds = Vec::new();
        // An error is a cut message; what arrived of it is unknown, and the flag says so.
        for message in got.cmsgs().into_iter().flatten() {
            if let ControlMessageOwned::ScmRights(numbers) = message {
                fds.extend(fds::received(numbers));
            }
        }
        if got
            .flags
            .intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC)
        {
            return Err(Fault::TooLong);
        }
        let length = got.bytes;
        let bytes = self.buffer.get(..length).ok_or(Fault::TooLong)?;
        if bytes.is_empty() {
            // An empty datagram reads like the end of the stream (measured); only one of them hangs
            // up.
            return if self.hung_up() {
                Ok(Received::Closed)
            } else {
                Err(Fault::Empty)
            };
        }
        let message = codec::decode(bytes)?;
        if fds.len() != fds_expected(&message) {
            return Err(Fault::Descriptors(fds.len()));
        }
        Ok(Received::Message(message, fds))
    }

    fn hung_up(&self) -> bool {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        // Half a hang-up is enough: nothing more will come. nix does not know that flag, and gives
        // none when it is set.
        let mut set = [PollFd::new(
            self.socket.as_fd(),
            PollFlags::from_bits_retain(nix::libc::POLLRDHUP),
        )];
        poll(&mut set, PollTimeout::ZERO).is_ok()
            && set.iter().any(|fd| {
                fd.revents()
                    .is_none_or(|seen| seen.contains(PollFlags::POLLHUP))
            })
    }
}

impl<Out, In> AsFd for Channel<Out, In> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn ends() -> (Channel<String, String>, Channel<String, String>) {
        let (a, b) = pair().unwrap();
        (Channel::new(a), Channel::new(b))
    }

    fn raw(channel: &Channel<String, String>, bytes: &[u8]) {
        sendmsg::<()>(
            channel.as_raw_fd(),
            &[IoSlice::new(bytes)],
            &[],
            MsgFlags::empty(),
            None,
        )
        .unwrap();
    }

    #[test]
    fn messages_and_descriptors_arrive_whole_and_in_order() {
        let (a, mut b) = ends();
        let null = File::open("/dev/null").unwrap();
        assert_eq!(a.send(&"one".into(), &[]), Ok(Sent::Whole));
        assert_eq!(
            a.send(&"two".into(), &[null.as_fd(), null.as_fd()]),
            Ok(Sent::Whole)
        );
        let expected = |message: &String| if message == "two" { 2 } else { 0 };
        assert!(
            matches!(b.receive(expected), Ok(Received::Message(m, fds)) if m == "one" && fds.is_empty())
        );
        let Ok(Received::Message(_, fds)) = b.receive(expected) else {
            panic!("no second message")
        };
        for fd in fds {
            let flags = fcntl_flags(&fd);
            assert!(flags.contains(nix::fcntl::FdFlag::FD_CLOEXEC));
        }
        assert!(matches!(b.receive(expected), Ok(Received::Nothing)));
        drop(a);
        assert!(matches!(b.receive(expected), Ok(Received::Closed)));
        assert_eq!(b.send(&"x".into(), &[]), Ok(Sent::Closed));
    }

    fn fcntl_flags(fd: &OwnedFd) -> nix::fcntl::FdFlag {
        nix::fcntl::FdFlag::from_bits_retain(
            nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_GETFD).unwrap(),
        )
    }

    fn fault(channel: &mut Channel<String, String>) -> Fault {
        match channel.receive(|_| 0) {
            Err(fault) => fault,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn i4_an_empty_datagram_is_a_fault_and_not_the_end() {
        let (a, mut b) = ends();
        raw(&a, b"");
        assert_eq!(fault(&mut b), Fault::Empty);
    }

    #[test]
    fn i7_a_cut_datagram_is_a_fault() {
        let (a, mut b) = ends();
        raw(&a, &vec![0; MESSAGE_MAX + 1]);
        assert_eq!(fault(&mut b), Fault::TooLong);
    }

    #[test]
    fn i6_unexpected_descriptors_are_a_fault_and_are_closed() {
        let (a, mut b) = ends();
        let null = File::open("/dev/null").unwrap();
        let before = std::fs::read_dir("/proc/self/fd").unwrap().count();
        for _ in 0..100 {
            a.send(&"x".into(), &[null.as_fd(), null.as_fd(), null.as_fd()])
                .unwrap();
            assert_eq!(fault(&mut b), Fault::Descriptors(3));
        }
        // Other tests of this process open a few of their own at the same time.
        assert!(std::fs::read_dir("/proc/self/fd").unwrap().count() < before + 100);
    }

    #[test]
    fn i5_a_message_over_the_limit_is_refused_by_its_sender() {
        let (a, mut b) = ends();
        assert_eq!(a.send(&"x".repeat(MESSAGE_MAX), &[]), Err(Errno::EMSGSIZE));
        let longest = "x".repeat(MESSAGE_MAX - 3);
        assert_eq!(a.send(&longest, &[]), Ok(Sent::Whole));
        assert!(matches!(b.receive(|_| 0), Ok(Received::Message(m, _)) if m == longest));
    }

    #[test]
    fn i8_a_full_queue_is_reported_and_not_waited_for() {
        let (a, _b) = ends();
        let message = "x".repeat(1000);
        assert!((0..10_000).any(|_| a.send(&message, &[]) == Ok(Sent::Full)));
    }
}
