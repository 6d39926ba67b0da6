//! The process table and its event loop: starts processes, keeps their output, sees how they end, stops them.
//!
//! Runs in the supervisor, or in a program that uses this library. One thread, and nothing here waits: what can take
//! time is watched in one epoll instance, which [`Runner`] offers as a descriptor of its own.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::CString;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::Signal;
use prn_ipc_protocol::config;
use prn_ipc_protocol::message::{
    AppliedLimits, ChildStep, End, ExitCause, MainExit, Preparation, ProcessInfo, Refusal, StartSpec, StopHow,
};
use prn_ipc_protocol::output::Stream;
use prn_ipc_protocol::types::{AbsolutePath, LimitName, Limits, ProcessId, UnixMicros};

use crate::cgroup::{CgroupError, Group, Tree};
use crate::directory::State;
use crate::launch;
use crate::output::Store;
use crate::process::{Live, Process, Stopping, exit_cause};
use crate::sys::pidfd;
use crate::sys::spawn::{self, Child, Program};
use crate::timers::Timers;

/// Most output bytes read for one process in one turn: a chatty one starves nobody.
const TURN: u64 = 1 << 20;

/// What a [`Runner`] needs to know.
#[derive(Debug)]
pub struct Settings {
    /// Places, limits and budgets.
    pub config: config::Supervisor,
    /// Soft and hard limit of a process's open files.
    pub open_files: (u64, u64),
    /// The program that deletes what a process left in its directory: `prn-supervisor`, which does that when its
    /// argument vector begins with [`crate::CLEANER`]. `None`: directories that are not empty stay.
    pub cleaner: Option<OwnedFd>,
}

/// Why a [`Runner`] could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The cgroup tree could not be made.
    #[error("cannot set up cgroups")]
    Cgroup(#[from] CgroupError),
    /// The state folder could not be taken.
    #[error("cannot use the state folder {} (another server may hold it: give this one another --state-dir and --instance)", path.display())]
    State {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// epoll, timerfd or /dev/null failed.
    #[error("cannot set up the event loop")]
    System(#[from] Errno),
}

/// Something that happened, in order. [`Runner::take_notice`] gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A start has ended well: the program runs.
    Started(ProcessId),
    /// A start has failed; nothing of it is left, and the id is free.
    StartFailed(ProcessId, Refusal),
    /// A process's [`ProcessInfo`] has changed.
    Changed(ProcessId),
    /// A stop has ended: nothing of the process is left, or what is left is stuck.
    Stopped(ProcessId),
    /// The output's end lies beyond what [`Runner::watch`] said.
    Advanced(ProcessId, u64),
    /// A finished process was forgotten, to make room.
    Forgotten(ProcessId),
}

/// What a start found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// A new process; [`Notice::Started`] or [`Notice::StartFailed`] follows.
    New,
    /// The same specification was started before under the same id, and that start is still under way.
    Pending,
    /// The same specification was started before under the same id.
    Existing,
}

mod end;
mod output;
mod start;
mod stop;

/// Runs processes. See the [crate's documentation](crate) for an example.
#[derive(Debug)]
pub struct Runner {
    settings: Settings,
    epoll: Epoll,
    state: State,
    tree: Tree,
    null: File,
    table: BTreeMap<u64, Process>,
    numbers: HashMap<ProcessId, u64>,
    /// Started and not gone yet.
    live: u32,
    last_number: u64,
    free_uids: VecDeque<u32>,
    timers: Timers<(u64, Due)>,
    notices: VecDeque<Notice>,
    hasher: RandomState,
    /// Bytes of output kept, of all processes.
    charged: u64,
    /// Finished processes that keep output, oldest first.
    evictable: VecDeque<u64>,
    /// Finished processes, oldest first.
    finished: VecDeque<u64>,
    /// Bytes of the arguments of finished processes.
    remembered: usize,
    draining: bool,
}

/// What a deadline is for.
#[derive(Debug, Clone, Copy)]
enum Due {
    /// The process has run long enough.
    Timeout,
    /// The grace time is over.
    Kill,
    /// What was killed should be gone.
    Stuck,
    /// The cleaner should have ended.
    Clean,
    /// Try again to remove the group.
    Remove,
}

/// What a descriptor in the epoll instance is, in the low three bits of its token; a process's number is above them.
mod source {
    pub const REPORT: u64 = 0;
    pub const MAIN: u64 = 1;
    pub const STDOUT: u64 = 2;
    pub const STDERR: u64 = 3;
    pub const GROUP: u64 = 4;
    pub const CLEANER: u64 = 5;
    /// Not of a process.
    pub const TIMER: u64 = 7;
}

/// For a pidfd: it stays readable, also while a tracer keeps its process from being reaped.
const ONCE: EpollFlags = EpollFlags::EPOLLIN.union(EpollFlags::EPOLLET);

fn token(number: u64, source: u64) -> u64 {
    number << 3 | source
}

impl Runner {
    /// Takes the state folder and the cgroup for this runner, and removes what an earlier run left in them.
    pub fn open(settings: Settings) -> Result<Self, OpenError> {
        let config = &settings.config;
        let folder = PathBuf::from(config.state_dir.as_str());
        let state_error = |source| OpenError::State { path: folder.clone(), source };
        let state = State::open(&folder).map_err(state_error)?;
        let tree = Tree::open(&config.cgroup, config.allow_missing_limits, config.frontend_memory)?;
        let leftovers = state.leftovers().map_err(state_error)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timers = Timers::new()?;
        epoll.add(&timers, EpollEvent::new(EpollFlags::EPOLLIN, source::TIMER))?;
        let null = nix::fcntl::open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, nix::sys::stat::Mode::empty())?;
        let free_uids = config.uids().collect();
        let mut runner = Self {
            settings,
            epoll,
            state,
            tree,
            null: null.into(),
            table: BTreeMap::new(),
            numbers: HashMap::new(),
            live: 0,
            last_number: 0,
            free_uids,
            timers,
            notices: VecDeque::new(),
            hasher: RandomState::new(),
            charged: 0,
            evictable: VecDeque::new(),
            finished: VecDeque::new(),
            remembered: 0,
            draining: false,
        };
        for (id, uid) in leftovers {
            if !runner.sweep(id, uid) {
                runner.free_uids.retain(|free| *free != uid);
            }
        }
        Ok(runner)
    }

    /// The controllers that limits need and that are missing here.
    pub fn missing_controllers(&self) -> Vec<&'static str> {
        self.tree.missing()
    }

    /// The group `frontend`, for a program beside the processes.
    pub fn frontend_group(&self) -> &Group {
        &self.tree.frontend
    }

    /// Makes that group anew. Needed before a program is started in a group that was killed.
    ///
    /// # Errors
    /// When somebody is in it.
    pub fn renew_frontend_group(&mut self) -> Result<(), CgroupError> {
        self.tree.renew_frontend()
    }

    /// What is known of a process.
    pub fn info(&self, id: ProcessId) -> Option<&ProcessInfo> {
        self.table.get(self.numbers.get(&id)?).filter(|process| visible(process)).map(|process| &process.info)
    }

    /// The names of all processes, oldest first.
    pub fn ids(&self) -> impl Iterator<Item = ProcessId> {
        self.table.values().filter(|process| visible(process)).map(|process| process.info.id)
    }

    /// Takes the oldest notice.
    pub fn take_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// Whether nothing of any process is left.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Whether nothing is left but processes that could not be killed.
    pub fn only_stuck(&self) -> bool {
        self.table.values().filter(|process| process.live.is_some()).all(|process| !process.info.stuck.is_empty())
    }

    /// Removes the cgroup tree. Call it when nothing is left: see [`Runner::drain`].
    ///
    /// # Errors
    /// The first file or folder that refused.
    pub fn close(self) -> Result<(), CgroupError> {
        self.tree.close()
    }

    /// Handles what is ready, a bounded amount of it, without waiting.
    ///
    /// # Errors
    /// Only those that make the event loop useless.
    pub fn dispatch(&mut self) -> nix::Result<()> {
        let mut ready = [EpollEvent::empty(); 64];
        let count = match self.epoll.wait(&mut ready, EpollTimeout::ZERO) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error),
        };
        for event in ready.iter().take(count) {
            self.ready(event.data() >> 3, event.data() & 7);
        }
        let now = Instant::now();
        while let Some((number, due)) = self.timers.take_due(now) {
            self.due(number, due);
        }
        self.timers.arm()
    }

    /// Waits until [`Runner::dispatch`] has something to do, or for `timeout`; then dispatches.
    ///
    /// # Errors
    /// As [`Runner::dispatch`].
    pub fn wait(&mut self, timeout: Duration) -> nix::Result<()> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        self.timers.arm()?;
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.epoll.0.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(_) | Err(Errno::EINTR) => self.dispatch(),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Runner {
    /// Readable when [`Runner::dispatch`] has something to do.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

/// Whether a process's start has ended well.
fn visible(process: &Process) -> bool {
    process.live.as_ref().is_none_or(|live| live.report.is_none() && live.failure.is_none())
}

fn resources(what: Preparation) -> impl Fn(Errno) -> Refusal {
    move |errno| Refusal::Resources { what, errno: errno_number(errno) }
}

#[expect(clippy::as_conversions, reason = "Errno is a C enum; its value is the number")]
fn errno_number(errno: Errno) -> i32 {
    errno as i32
}
