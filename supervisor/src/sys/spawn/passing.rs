//! How a child gets its descriptors: in a message that waits for it in a socket (SCM_RIGHTS,
//! unix(7)), before it exists.
//!
//! Runs in the supervisor; [`Inbox::open`] in the child. A copy of the supervisor's table would
//! cost what is open in it, which is what is alive, twice: to copy it, and to close it. So the child
//! shares the table (CLONE_FILES) until its first call makes one of its own, with what lies
//! below its socket alone, and that is closed too. What is meant for it is then all that it has: of
//! another child's socket it may hold a copy for a moment, which holds nothing of what that one
//! has taken out of it.

use std::cell::RefCell;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::{self, c_long, c_uint};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recvmsg, send, sendmsg, socketpair,
};
use nix::unistd;
use prn_ipc_protocol::codec;

use super::plan::{Failed, REPORT};
use crate::sys::call;

/// Most descriptors that a child is passed. Their numbers count from 0, and its socket is above.
const MOST: RawFd = 64;

/// How many children at a time may share the table. Each does so until it first runs, so these are
/// as many as wait for a processor; the next one gets a copy of the table, which is only slower.
const SLOTS: usize = 16;

/// A pair of sockets.
#[derive(Debug)]
pub struct Pair {
    /// The parent's end.
    ours: OwnedFd,
    /// The child's, at a low number, but not below [`MOST`].
    theirs: OwnedFd,
}

impl Pair {
    fn new() -> nix::Result<Self> {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::Datagram,
            None,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        )?;
        let number = fcntl(theirs.as_fd(), FcntlArg::F_DUPFD_CLOEXEC(MOST))?;
        // SAFETY: fcntl has just made this descriptor, for nobody else.
        let theirs = unsafe { OwnedFd::from_raw_fd(number) };
        Ok(Self { ours, theirs })
    }
}

/// One of [`Slots`]. Whoever loses it loses it for good: closed or used again too early, it would
/// be taken from a child that still shares the table.
#[derive(Debug)]
pub struct Slot(usize);

/// Sockets for children that share the table, made while low numbers are free.
#[derive(Debug)]
pub struct Slots {
    pairs: Vec<Pair>,
    free: RefCell<Vec<Slot>>,
}

impl Slots {
    /// All of them.
    ///
    /// # Errors
    /// Those of socketpair(2) and fcntl(2).
    pub fn open() -> nix::Result<Self> {
        Ok(Self {
            pairs: (0..SLOTS)
                .map(|_| Pair::new())
                .collect::<nix::Result<_>>()?,
            free: RefCell::new((0..SLOTS).rev().map(Slot).collect()),
        })
    }

    /// A way to pass descriptors, with these in it: one of a slot, if one is free.
    ///
    /// # Errors
    /// Those of sendmsg(2), socketpair(2) and fcntl(2).
    pub(super) fn fill(&self, descriptors: &[RawFd]) -> nix::Result<Filled> {
        let Some(slot) = self.free.borrow_mut().pop() else {
            return Filled::apart(descriptors);
        };
        let pair = self.pairs.get(slot.0).ok_or(Errno::EBADF)?;
        let inbox = Inbox {
            socket: pair.theirs.as_raw_fd(),
            is_shared: true,
        };
        match put(pair, descriptors) {
            Ok(()) => Ok(Filled {
                passage: Passage::Shared(slot),
                inbox,
            }),
            Err(error) => {
                self.free(slot);
                Err(error)
            }
        }
    }

    /// Ends the use of a passage whose child has taken what was in it, or is dead, or was never
    /// made. Returns what it said if it could not take it.
    pub fn give_back(&self, passage: Passage) -> Option<Failed> {
        match passage {
            Passage::Apart(pair) => empty(&pair),
            Passage::Shared(slot) => {
                let said = self.pairs.get(slot.0).and_then(empty);
                self.free(slot);
                said
            }
        }
    }

    fn free(&self, slot: Slot) {
        self.free.borrow_mut().push(slot);
    }
}

/// What descriptors were passed in, until their child has taken them.
#[derive(Debug)]
pub enum Passage {
    /// Of a child that shares the table until then.
    Shared(Slot),
    /// Of one with a copy of it.
    Apart(Pair),
}

/// A passage with descriptors in it, and what its child is told of it.
#[derive(Debug)]
pub(super) struct Filled {
    /// The parent's.
    pub passage: Passage,
    /// The child's.
    pub inbox: Inbox,
}

impl Filled {
    /// For a child that gets a copy of the table.
    ///
    /// # Errors
    /// Those of socketpair(2), fcntl(2) and sendmsg(2).
    pub fn apart(descriptors: &[RawFd]) -> nix::Result<Self> {
        let pair = Pair::new()?;
        put(&pair, descriptors)?;
        let inbox = Inbox {
            socket: pair.theirs.as_raw_fd(),
            is_shared: false,
        };
        Ok(Self {
            passage: Passage::Apart(pair),
            inbox,
        })
    }
}

fn put(pair: &Pair, descriptors: &[RawFd]) -> nix::Result<()> {
    if RawFd::try_from(descriptors.len()).is_ok_and(|count| count > MOST) {
        return Err(Errno::E2BIG);
    }
    let rights = [ControlMessage::ScmRights(descriptors)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let socket = pair.ours.as_raw_fd();
    sendmsg::<()>(socket, &[IoSlice::new(&[0])], &rights, flags, None).map(drop)
}

/// Takes back what a dead child has not taken, and takes what it has said.
fn empty(pair: &Pair) -> Option<Failed> {
    // A read that does not ask for descriptors drops them. Closing the socket would not do: who
    // shares its table no more, and was not scheduled since, has a copy of it.
    let mut byte = [0];
    let _unused = unistd::read(&pair.theirs, &mut byte);
    let mut bytes = [0; REPORT];
    let length = unistd::read(&pair.ours, &mut bytes).ok()?;
    let (step, errno) = codec::decode(bytes.get(..length)?).ok()?;
    Some(Failed { step, errno })
}

/// Room for [`MOST`] descriptors after a header, where cmsg(3) wants it.
#[derive(Debug)]
#[repr(align(8))]
struct Control([u8; 16 + 4 * 64]);

/// The child's end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inbox {
    socket: RawFd,
    /// Whether the child shares its parent's table.
    pub is_shared: bool,
}

impl Inbox {
    /// Leaves the child what was passed to it, numbered from 0 in the order in which it was passed,
    /// and nothing else but the socket. In the child, before all else; no memory is allocated.
    pub fn open(self) -> nix::Result<()> {
        let socket = c_long::from(self.socket);
        // This first: of a table that is shared nothing may be closed. Of one that is not, it
        // closes what is above the socket.
        let (all, unshare) = (c_uint::MAX.into(), libc::CLOSE_RANGE_UNSHARE.into());
        call(libc::SYS_close_range, [socket + 1, all, unshare])?;
        call(libc::SYS_close_range, [0, socket - 1, 0])?;
        let mut byte = [0];
        let mut control = Control([0; 16 + 4 * 64]);
        let mut bytes = [IoSliceMut::new(&mut byte)];
        let message = recvmsg::<()>(
            self.socket,
            &mut bytes,
            Some(&mut control.0),
            MsgFlags::MSG_DONTWAIT,
        )?;
        if message.flags.contains(MsgFlags::MSG_CTRUNC) || message.bytes != 1 {
            return Err(Errno::EMFILE);
        }
        Ok(())
    }

    /// Tells the parent what failed before there was a report.
    pub fn tell(self, report: &[u8]) {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let _unused = send(self.socket, report, flags);
    }
}
