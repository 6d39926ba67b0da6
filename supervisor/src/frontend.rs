//! The frontend as the supervisor sees it: a program that is started without privilege, spoken to
//! over the channel, and not trusted in anything. Runs in the supervisor.
//!
//! What may be asked when is a table (`phase`). Anything else, and anything that does not decode,
//! is a `fault`: the frontend dies, processes and their output do not, and a fresh frontend takes
//! its `seat`, unless none gets as far as serving (`succession`). The supervisor never waits
//! for it (`session`): what it does not take stays in a bounded `outbox`.

mod fault;
mod outbox;
mod phase;
mod seat;
mod session;
mod succession;

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

use nix::fcntl::{OFlag, open};
use nix::sys::socket::sockopt::AcceptConn;
use nix::sys::socket::{Backlog, getsockopt, listen};
use nix::sys::stat::Mode;
use prn_ipc_protocol::channel;
use prn_ipc_protocol::config::OpenFiles;

use crate::cgroup::Group;
use crate::events::Token;
use crate::log::{self, FrontendLog};
use crate::sys::spawn::{self, Child, Ids, Program};

pub use fault::PeerFault;
pub use phase::Phase;
pub(crate) use seat::{Prospect, Seat};
use session::Session;

/// What the daemon watches in the event loop beside processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attached {
    /// The signals that tell it to stop.
    Signals,
    /// The channel to the frontend.
    Channel,
    /// The frontend's end.
    Frontend,
    /// What the frontend says of itself.
    Log,
}

impl Attached {
    /// Its name in the event loop.
    pub fn token(self) -> Token {
        Token(match self {
            Self::Signals => 0,
            Self::Channel => 1,
            Self::Frontend => 2,
            Self::Log => 3,
        })
    }
}

/// What every frontend is started with. Kept for the next one.
#[derive(Debug)]
pub struct Setup {
    /// Its binary.
    pub binary: OwnedFd,
    /// Its configuration, a sealed memfd.
    pub config: OwnedFd,
    /// The TLS key, a sealed memfd.
    pub key: OwnedFd,
    /// The listening socket.
    pub listener: OwnedFd,
    /// Its root.
    pub empty_folder: OwnedFd,
    /// Who it is.
    pub ids: Ids,
    /// How many files it may open.
    pub open_files: OpenFiles,
}

/// A frontend that was started, until it is reaped.
#[derive(Debug)]
struct Frontend {
    /// Readable when it has ended.
    process: OwnedFd,
    group: Group,
    /// Why its program could not run, once it has ended.
    report: OwnedFd,
    session: Session,
    /// What it says of itself.
    log: FrontendLog,
    /// Until when nothing is read of that: it has said too much.
    log_paused_until: Option<Instant>,
    /// When it was started.
    since: Instant,
    /// Its end is certain: nothing that it says or does not take is of interest.
    is_condemned: bool,
}

impl Frontend {
    /// Starts one, in this cgroup.
    ///
    /// # Errors
    /// Those of socketpair(2), open(2) and clone3(2). What fails in the child shows as its end.
    fn spawn(setup: &Setup, group: Group) -> nix::Result<Self> {
        listen_again(&setup.listener)?;
        let (ours, theirs) = channel::pair()?;
        let session = Session::new(ours);
        let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
        let (config, key) = (reopen(&setup.config)?, reopen(&setup.key)?);
        let (log, stderr) = FrontendLog::new()?;
        let spawned = spawn::spawn(&Child {
            argv: &[c"prn-frontend".into()],
            streams: [null.as_fd(), null.as_fd(), stderr.as_fd()],
            // In the order of `fds::frontend`.
            descriptors: &[
                theirs.as_fd(),
                config.as_fd(),
                key.as_fd(),
                setup.listener.as_fd(),
                setup.empty_folder.as_fd(),
            ],
            open_files: setup.open_files,
            ..Child::new(
                group.directory.as_fd(),
                Program::File(setup.binary.as_fd()),
                setup.ids,
                null.as_fd(),
            )
        })?;
        Ok(Self {
            process: spawned.pidfd,
            group,
            report: spawned.report,
            session,
            log,
            log_paused_until: None,
            since: Instant::now(),
            is_condemned: false,
        })
    }
}

/// A read-only descriptor of a memfd, with an open file description of its own, for one frontend
/// (see `config::read`).
fn reopen(memfd: &OwnedFd) -> nix::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", memfd.as_raw_fd());
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    open(path.as_str(), flags, Mode::empty())
}

/// Makes the listener listen, also if it does already. An earlier frontend may have shut it down,
/// which all who hold the socket suffer from (shutdown(2)). Its filter forbids that, so it is worth
/// a line.
fn listen_again(listener: &OwnedFd) -> nix::Result<()> {
    if !getsockopt(listener, AcceptConn)? {
        log::line("audit: the listener did not listen any more: it is made to again");
    }
    listen(listener, Backlog::MAXCONN)
}
