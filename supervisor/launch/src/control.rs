//! The socket in the state folder that a reload is ordered on and a status is asked for, and
//! talking to it.
//!
//! Runs as root: `prn server start` makes the socket, which the supervisor listens on; `prn server
//! reload` connects to it. The folder is root's alone to write to, so nobody else can have put a
//! socket there, and its mode lets nobody else connect. Both ends ask the kernel all the same who
//! the other one is.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, listen, socket,
};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{UnlinkatFlags, unlinkat};
use prn_ipc_protocol::channel::{Fault, Received, Sent};
use prn_ipc_protocol::control::{ANSWER_WITHIN, Answer, NAME, OperatorEnd, Order, Refused};

use crate::handover::{HandoverError, step};

/// Most connections that wait at the socket.
const BACKLOG: i32 = 16;

/// Why nothing was ordered.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// There is no socket, or nobody behind it.
    #[error("no server runs with the state folder {}: start one, or name its --state-dir", .0.display())]
    NoServer(PathBuf),
    /// The socket cannot be reached.
    #[error("cannot reach the server of the state folder {}", path.display())]
    Connect {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// It is not root's.
    #[error("the server of the state folder {} is not root's: nothing was sent to it", .0.display())]
    Stranger(PathBuf),
    /// The order did not arrive, or its answer.
    #[error("the server does not take the reload")]
    Talk(#[source] Fault),
    /// Somebody else came, or the server has ended.
    #[error(
        "the server has ended the conversation: another reload came at the same time, or it is stopping; prn server reload --check tells what is in force"
    )]
    Over,
    /// There is no answer.
    #[error("the server does not answer within {} s: what is in force now is unknown, prn server reload --check tells", ANSWER_WITHIN.as_secs())]
    Silent,
    /// It says no.
    #[error("{}", why(*.0))]
    Refused(Refused),
    /// It is of another build.
    #[error("the server that runs is another build than this prn: restart it")]
    OtherBuild(#[source] io::Error),
}

fn why(refused: Refused) -> &'static str {
    match refused {
        Refused::Stopping => "the server is being stopped: nothing has changed",
        Refused::Unfit => {
            "the server refuses the configuration as too long, or of another build than its own: nothing has changed"
        }
        Refused::NotServed => {
            "no frontend served with this configuration, the server's log says why: what was in force before is again"
        }
        Refused::Resources => "the server has no open file left: nothing has changed",
    }
}

/// By the folder that is open, whatever its path is by now, and however long (unix(7)).
fn address(folder: BorrowedFd<'_>) -> nix::Result<UnixAddr> {
    UnixAddr::new(format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd()).as_str())
}

fn seqpacket() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)
}

/// A socket in the state folder, which this server has locked: one that is there is of an earlier
/// run.
pub fn listener(state: BorrowedFd<'_>) -> Result<OwnedFd, HandoverError> {
    match unlinkat(state, NAME, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(error) => return Err(step("removing the control socket")(error)),
    }
    let made = || {
        let socket = seqpacket()?;
        let address = address(state)?;
        // Only this thread is there: nothing else is made with that mask.
        let before = umask(Mode::S_IXUSR | Mode::S_IRWXG | Mode::S_IRWXO);
        let bound = bind(socket.as_raw_fd(), &address);
        umask(before);
        bound?;
        listen(&socket, Backlog::new(BACKLOG)?)?;
        Ok(socket)
    };
    made().map_err(step::<Errno>("making the control socket"))
}

/// A conversation with a running server.
#[derive(Debug)]
pub struct Conversation {
    server: OperatorEnd,
    pid: i32,
}

impl Conversation {
    /// With the server of this state folder.
    pub fn begin(state_dir: &Path) -> Result<Self, ControlError> {
        let failed = |source: io::Error| ControlError::Connect {
            path: state_dir.to_owned(),
            source,
        };
        let none = || ControlError::NoServer(state_dir.to_owned());
        let flags = (OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC).bits();
        let folder = File::options()
            .read(true)
            .custom_flags(flags)
            .open(state_dir);
        let folder = match folder {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(none()),
            folder => folder.map_err(failed)?,
        };
        let socket = seqpacket().map_err(|error| failed(error.into()))?;
        let address = address(folder.as_fd()).map_err(|error| failed(error.into()))?;
        let connected = || connect(socket.as_raw_fd(), &address);
        // A full backlog is emptied in no time.
        let connected = (0..50).find_map(|_| match connected() {
            Err(Errno::EAGAIN) => {
                std::thread::sleep(Duration::from_millis(20));
                None
            }
            other => Some(other),
        });
        match connected.unwrap_or(Err(Errno::EAGAIN)) {
            Err(Errno::ENOENT | Errno::ECONNREFUSED) => return Err(none()),
            other => other.map_err(|error| failed(error.into()))?,
        }
        // Whoever could put another socket there would be told the key.
        let peer = getsockopt(&socket, PeerCredentials).map_err(|error| failed(error.into()))?;
        if peer.uid() != 0 {
            return Err(ControlError::Stranger(state_dir.to_owned()));
        }
        Ok(Self {
            server: OperatorEnd::new(socket),
            pid: peer.pid(),
        })
    }

    /// The process that made the socket, which is the supervisor's: it has executed that. `None`:
    /// it is in a PID namespace that this one does not see (unix(7), SO_PEERCRED).
    pub fn pid(&self) -> Option<i32> {
        (self.pid > 0).then_some(self.pid)
    }

    /// Orders something, and waits for the answer.
    pub fn order(
        &mut self,
        order: &Order,
        files: &[BorrowedFd<'_>],
    ) -> Result<(Answer, Vec<OwnedFd>), ControlError> {
        match self.server.send(order, files) {
            Ok(Sent::Whole) => {}
            // It is the first message, or the server has taken the one before.
            Ok(Sent::Full | Sent::Closed) => return Err(ControlError::Over),
            Err(error) => return Err(ControlError::Talk(Fault::Socket(error))),
        }
        let until = Instant::now() + ANSWER_WITHIN;
        loop {
            match self.server.receive(Answer::descriptors) {
                Ok(Received::Message(Answer::Refused(refused), _)) => {
                    return Err(ControlError::Refused(refused));
                }
                Ok(Received::Message(answer, files)) => return Ok((answer, files)),
                Ok(Received::Closed) => return Err(ControlError::Over),
                Ok(Received::Nothing) => self.wait(until)?,
                Err(fault) => return Err(ControlError::Talk(fault)),
            }
        }
    }

    fn wait(&self, until: Instant) -> Result<(), ControlError> {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        let mut server = [PollFd::new(self.server.as_fd(), PollFlags::POLLIN)];
        match poll(&mut server, timeout) {
            Ok(0) => Err(ControlError::Silent),
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(ControlError::Talk(Fault::Socket(error))),
        }
    }
}
