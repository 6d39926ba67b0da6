//! Signing with a key that this process does not have: the other end of `prn-signer`.
//!
//! A key in a token never leaves it, and the code that talks to a token is large and foreign. So it
//! is in a process of its own, which signs handshakes and nothing else. Who starts it keeps a
//! control socket; each that signs has a socket of its own, so none sees another's answers.
//!
//! | socket | to the signer | back |
//! |---|---|---|
//! | control, first | length of the URI (2 bytes, little-endian), the URI, the PIN | 0, or 1 and why not |
//! | control, then | [`OPEN`], with one end of a new pair | – |
//! | of one that signs | a number (8 bytes), what is to be signed | the number, 0 and the signature, or 1 and why not |
//!
//! All are SEQPACKET (unix(7)): one message a datagram. The signer ends with its sockets.

use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, send, sendmsg, socketpair,
};

/// The one message of the control socket, once the key was found.
pub const OPEN: u8 = 1;

/// Longest message of any of these sockets.
pub const MESSAGE_MAX: usize = 16 * 1024;

/// Longest that is to be signed: a handshake's is 130 or 146 bytes, a start's some hundred.
pub const SIGNED_MAX: usize = 4096;

/// First bytes of what a client signs of its starts.
pub const START_HEADER: &[u8] = b"prn-signed-start-1\n";

/// The program. Errors of keys that it signs with begin with its name.
pub const PROGRAM: &str = "prn-signer";

/// For how long a signature may take. Whoever waits for it serves nobody else meanwhile.
const SIGNING: Duration = Duration::from_secs(2);

/// Most messages that are read for one answer: there are those to a question or two before it.
const OTHERS_MAX: usize = 8;

/// Why nothing is signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignerError {
    /// It is not installed.
    #[error(
        "the program {PROGRAM} is neither beside this one nor in ../libexec/prn nor in /usr/libexec/prn: install the package prn, or build all of prn"
    )]
    NoProgram,
    /// It does not start.
    #[error("{PROGRAM} does not start")]
    Start(#[source] io::Error),
    /// It says no.
    #[error("{PROGRAM} says: {0}")]
    Refused(String),
    /// It is gone.
    #[error("{PROGRAM} has ended")]
    Gone,
    /// It has not answered in time.
    #[error("{PROGRAM} has not answered in {0:?}: look at its token")]
    Silent(Duration),
    /// A socket failed.
    #[error("{PROGRAM} is not to be reached")]
    Socket(#[source] io::Error),
}

impl SignerError {
    /// The same with what this side does about it.
    pub(crate) fn said_to(&self, role: Role) -> String {
        match (self, role) {
            (Self::Gone | Self::Silent(_), Role::Server) => {
                format!("{self} (a server starts another one with `prn server reload`)")
            }
            (Self::Gone | Self::Silent(_), Role::Client) => {
                format!("{self} (a client starts another one when it is started again)")
            }
            (Self::NoProgram | Self::Start(_) | Self::Refused(_) | Self::Socket(_), _) => {
                self.to_string()
            }
        }
    }
}

impl From<Errno> for SignerError {
    fn from(error: Errno) -> Self {
        if [Errno::EPIPE, Errno::ECONNRESET, Errno::ECONNREFUSED].contains(&error) {
            Self::Gone
        } else {
            Self::Socket(error.into())
        }
    }
}

/// Whose handshakes are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The server's.
    Server,
    /// A client's, and its starts.
    Client,
}

impl Role {
    /// What the signature of this side's handshake is made of, up to the hash of the transcript
    /// (RFC 8446, section 4.4.3).
    fn handshake(self) -> Vec<u8> {
        let context: &[u8] = match self {
            Self::Server => b"TLS 1.3, server CertificateVerify\0",
            Self::Client => b"TLS 1.3, client CertificateVerify\0",
        };
        [&[b' '; 64][..], context].concat()
    }

    /// Whether this side signs such a message.
    pub fn signs(self, message: &[u8]) -> bool {
        // The transcript's hash is that of the cipher suite: SHA-256 or SHA-384.
        let hash = message.strip_prefix(self.handshake().as_slice());
        let is_handshake = hash.is_some_and(|hash| [32, 48].contains(&hash.len()));
        is_handshake || (self == Self::Client && message.starts_with(START_HEADER))
    }

    /// A message that this side signs and no handshake has: its hash is none.
    pub(crate) fn trial(self) -> Vec<u8> {
        [self.handshake(), vec![0; 32]].concat()
    }
}

/// Two ends of one.
pub(crate) fn pair(flags: SockFlag) -> nix::Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)
}

/// A socket for one that signs.
pub(crate) fn open(control: &OwnedFd) -> Result<OwnedFd, SignerError> {
    let (ours, theirs) = pair(SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)?;
    let numbers = [theirs.as_raw_fd()];
    sendmsg::<()>(
        control.as_raw_fd(),
        &[IoSlice::new(&[OPEN])],
        &[ControlMessage::ScmRights(&numbers)],
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(ours)
}

/// What stands behind a 0, or the error behind a 1.
pub(crate) fn accepted(answer: &[u8]) -> Result<&[u8], SignerError> {
    match answer.split_first() {
        Some((0, rest)) => Ok(rest),
        Some((_, why)) => Err(SignerError::Refused(
            String::from_utf8_lossy(why).replace(char::is_control, "?"),
        )),
        None => Err(SignerError::Gone),
    }
}

/// One message, until `deadline`, which is `within` after the question.
pub(crate) fn receive<'a>(
    socket: &OwnedFd,
    buffer: &'a mut [u8],
    deadline: Instant,
    within: Duration,
) -> Result<&'a [u8], SignerError> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        let mut set = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut set, left) {
            Ok(0) => return Err(SignerError::Silent(within)),
            Err(Errno::EINTR) => {}
            Ok(_) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let length = recv(socket.as_raw_fd(), buffer, MsgFlags::empty())?;
    match buffer.get(..length) {
        Some(message) if !message.is_empty() => Ok(message),
        Some(_) | None => Err(SignerError::Gone),
    }
}

/// What signs with a key that is elsewhere.
pub struct Remote {
    role: Role,
    /// What opens sockets for others: of who has started the signer alone.
    control: Option<OwnedFd>,
    socket: OwnedFd,
    /// One question at a time.
    turn: Mutex<Turn>,
    /// Signatures that were not made.
    failures: AtomicU64,
    /// The last one was not.
    has_failed: AtomicBool,
}

#[derive(Debug)]
struct Turn {
    /// Of the last question.
    number: u64,
    /// It was not answered in time: until it is, nobody waits for another.
    is_unanswered: bool,
    buffer: Box<[u8]>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remote(…)")
    }
}

impl Remote {
    /// Over a socket that was opened for it, which does not block.
    pub fn new(socket: OwnedFd, role: Role) -> Self {
        Self {
            role,
            control: None,
            socket,
            turn: Mutex::new(Turn {
                number: 0,
                is_unanswered: false,
                buffer: vec![0; MESSAGE_MAX].into(),
            }),
            failures: AtomicU64::new(0),
            has_failed: AtomicBool::new(false),
        }
    }

    /// As [`Self::new`] has it, of who has started the signer.
    pub(crate) fn of_starter(control: OwnedFd, socket: OwnedFd, role: Role) -> Self {
        Self {
            control: Some(control),
            ..Self::new(socket, role)
        }
    }

    /// Whose handshakes it signs.
    pub fn role(&self) -> Role {
        self.role
    }

    /// What others are given sockets by.
    pub fn control(&self) -> Option<BorrowedFd<'_>> {
        self.control.as_ref().map(AsFd::as_fd)
    }

    /// How many signatures were not made.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Whether the last signature was made, if there was one, and who makes them is there. One that
    /// is stuck is found by who wants a signature, one that has ended at once.
    pub fn signs(&self) -> bool {
        // What poll(2) tells unasked: the other end is closed.
        let mut set = [PollFd::new(self.socket.as_fd(), PollFlags::empty())];
        poll(&mut set, PollTimeout::ZERO) == Ok(0) && !self.has_failed.load(Ordering::Relaxed)
    }

    /// The signature. Waits for others that sign, and then for two seconds at most; not at all
    /// while a signature is overdue.
    ///
    /// # Errors
    /// [`SignerError`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        let signed = self.ask(message);
        self.has_failed.store(signed.is_err(), Ordering::Relaxed);
        let failed = u64::from(signed.is_err());
        self.failures.fetch_add(failed, Ordering::Relaxed);
        signed
    }

    fn ask(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = &mut *turn;
        let asked = turn.number;
        if turn.is_unanswered {
            self.answer(turn, asked, Instant::now())?;
        }
        turn.number += 1;
        let number = turn.number;
        let question = [&number.to_le_bytes()[..], message].concat();
        send(self.socket.as_raw_fd(), &question, MsgFlags::MSG_NOSIGNAL)?;
        let answer = self.answer(turn, number, Instant::now() + SIGNING)?;
        accepted(&answer).map(<[u8]>::to_vec)
    }

    /// The answer to a question. Those to earlier ones are passed over, of which there are few: one
    /// that says other things for ever is no signer.
    fn answer(
        &self,
        turn: &mut Turn,
        number: u64,
        deadline: Instant,
    ) -> Result<Vec<u8>, SignerError> {
        turn.is_unanswered = true;
        for _ in 0..OTHERS_MAX {
            let message = receive(&self.socket, &mut turn.buffer, deadline, SIGNING)?;
            if let Some(answer) = message.strip_prefix(&number.to_le_bytes()) {
                turn.is_unanswered = false;
                return Ok(answer.to_vec());
            }
        }
        Err(SignerError::Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::RawFd;

    fn of(socket: OwnedFd) -> Remote {
        Remote::new(socket, Role::Server)
    }

    fn ends() -> (OwnedFd, OwnedFd) {
        pair(SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK).unwrap()
    }

    fn say(socket: RawFd, number: u64, answer: &[u8]) {
        let bytes = [&number.to_le_bytes()[..], answer].concat();
        send(socket, &bytes, MsgFlags::MSG_NOSIGNAL).unwrap();
    }

    #[test]
    fn each_side_signs_its_own_handshakes_and_a_client_its_starts() {
        let [server, client] = [Role::Server, Role::Client].map(Role::trial);
        assert!(Role::Server.signs(&server) && Role::Client.signs(&client));
        assert!(!Role::Server.signs(&client) && !Role::Client.signs(&server));
        let start = [START_HEADER, b"digest x\n"].concat();
        assert!(Role::Client.signs(&start) && !Role::Server.signs(&start));
        for spoilt in [
            &server[1..],
            &server[..server.len() - 1],
            &server[32..],
            b"",
        ] {
            assert!(!Role::Server.signs(spoilt));
        }
        assert!(!Role::Server.signs(&[&server[..], b"x"].concat()));
        assert!(Role::Server.signs(&[&server[..], &[0; 16]].concat()));
    }

    #[test]
    fn an_answer_that_comes_too_late_is_nobody_elses() {
        let (ours, theirs) = ends();
        let remote = of(ours);
        assert!(matches!(remote.sign(b"one"), Err(SignerError::Silent(_))));
        // Nobody waits for a signer that is overdue.
        let begun = Instant::now();
        assert!(matches!(remote.sign(b"two"), Err(SignerError::Silent(_))));
        assert!(begun.elapsed() < SIGNING);
        say(theirs.as_raw_fd(), 1, b"\0first");
        say(theirs.as_raw_fd(), 2, b"\0second");
        assert_eq!(remote.sign(b"three").unwrap(), b"second");
        say(theirs.as_raw_fd(), 3, b"\x01no\n");
        assert!(remote.signs());
        assert!(matches!(remote.sign(b"four"), Err(SignerError::Refused(why)) if why == "no?"));
        assert!(!remote.signs());
        assert_eq!(remote.failures(), 3);
    }

    #[test]
    fn a_signer_that_says_other_things_is_no_signer() {
        let (ours, theirs) = ends();
        for _ in 0..OTHERS_MAX {
            say(theirs.as_raw_fd(), 7, b"\0other");
        }
        let begun = Instant::now();
        assert!(matches!(of(ours).sign(b"one"), Err(SignerError::Gone)));
        assert!(begun.elapsed() < SIGNING);
    }

    #[test]
    fn a_signer_that_is_gone_is_said_to_be() {
        let (ours, theirs) = ends();
        let remote = of(ours);
        assert!(remote.signs());
        drop(theirs);
        assert!(!remote.signs());
        assert!(matches!(remote.sign(b"one"), Err(SignerError::Gone)));
        assert_eq!(remote.failures(), 1);
    }
}
