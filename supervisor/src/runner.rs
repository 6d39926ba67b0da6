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
    ChildStep, End, ExitCause, MainExit, Preparation, ProcessInfo, Refusal, StartSpec, StopHow,
};
use prn_ipc_protocol::output::Stream;
use prn_ipc_protocol::types::{AbsolutePath, LimitName, Limits, OutputMax, ProcessId, UnixMicros};

use crate::cgroup::{CgroupError, Group, Tree, applied};
use crate::directory::State;
use crate::launch;
use crate::output::{READ_MAX, Store};
use crate::process::{Live, Process, Stopping, exit_cause};
use crate::sys::spawn::{self, Child, Program};
use crate::sys::pidfd;
use crate::timers::Timers;

/// How long a killed tree has to die before it is reported as stuck.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// How long a cleaner has to empty a directory.
const CLEAN_WAIT: Duration = Duration::from_secs(30);

/// How often the removal of a group is tried, 10 ms apart at first and twice as long each time: 10 s together.
const REMOVE_TRIES: u32 = 10;

/// Most output bytes read for one process in one turn: a chatty one starves nobody.
const TURN: u64 = 1 << 20;

/// Memory is given back in steps of this size at least, so that a process at the budget does not pay for each read.
const EVICT_STEP: u64 = 1 << 20;

/// Bytes in a pipe once it was found full: beyond that, measured, there is under 10 % to gain.
const PIPE_SIZE: i32 = 256 * 1024;
/// Bytes in a pipe as it is made (pipe(7)).
const PIPE_DEFAULT: u64 = 64 * 1024;

/// Descriptors that a live process needs at most: pidfd, report, two pipes, directory and events of its group, ring,
/// index, cleaner.
const FDS_LIVE: u64 = 9;
/// Descriptors that a finished process keeps: ring and index.
const FDS_FINISHED: u64 = 2;
/// Descriptors for everything else, a start under way included.
const FDS_OTHER: u64 = 128;

/// What a [`Runner`] needs to know.
#[derive(Debug)]
pub struct Settings {
    /// Where its cgroups go.
    pub cgroup: config::Cgroup,
    /// Start although controllers are missing: limits that need them are reported as not enforced.
    pub allow_missing_limits: bool,
    /// Whole-disk devices that io limits apply to: major and minor number.
    pub disks: Vec<(u32, u32)>,
    /// An existing folder for working directories, writable for root alone.
    pub state_dir: PathBuf,
    /// First user (and group) id of processes. Nobody else may use these.
    pub first_uid: u32,
    /// Number of user ids, and so the most processes at one time.
    pub uids: u32,
    /// Most finished processes that are remembered.
    pub finished_max: u32,
    /// Limits of a process that asks for none.
    pub default_limits: Limits,
    /// Most that a process can ask for. Applies where the default has no value.
    pub limit_ceilings: Limits,
    /// Output bytes kept for a process that asks for nothing else.
    pub output_default: OutputMax,
    /// Most output bytes that a process can ask for.
    pub output_ceiling: OutputMax,
    /// Most output bytes of all processes together: beyond it, finished processes lose theirs, oldest first.
    pub output_budget: u64,
    /// From SIGTERM to SIGKILL, by default and at shutdown.
    pub stop_grace: Duration,
    /// memory.max of the group `frontend`, in bytes.
    pub frontend_memory: u64,
    /// Soft and hard limit of a process's open files.
    pub open_files: (u64, u64),
    /// The program that deletes what a process left in its directory: `prn-supervisor`, which does that when its
    /// argument vector begins with [`crate::CLEANER`]. `None`: directories that are not empty stay.
    pub cleaner: Option<OwnedFd>,
}

impl Settings {
    /// Without limits and ceilings, with the daemon's defaults for the rest. Both folders must be the caller's alone;
    /// `cgroup` is made if it does not exist.
    ///
    /// # Errors
    /// When a path is not absolute, or the limit of open files cannot be read.
    pub fn new(cgroup: &str, state_dir: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let (soft, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)?;
        Ok(Self {
            cgroup: config::Cgroup::Own(cgroup.to_owned().try_into()?),
            allow_missing_limits: false,
            disks: Vec::new(),
            state_dir: state_dir.into(),
            first_uid: 2_000_000_000,
            uids: 4096,
            finished_max: 1000,
            default_limits: Limits::default(),
            limit_ceilings: Limits::default(),
            output_default: (64 << 20).try_into()?,
            output_ceiling: (1 << 30).try_into()?,
            output_budget: 1 << 30,
            stop_grace: Duration::from_secs(10),
            frontend_memory: 512 << 20,
            open_files: (soft, hard),
            cleaner: None,
        })
    }
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

/// What a descriptor in the epoll instance is, in the low bits of its token.
#[derive(Debug, Clone, Copy)]
enum Source {
    Report,
    Main,
    Stdout,
    Stderr,
    Group,
    Cleaner,
}

const SOURCES: [Source; 6] =
    [Source::Report, Source::Main, Source::Stdout, Source::Stderr, Source::Group, Source::Cleaner];
const TIMER_TOKEN: u64 = u64::MAX;

fn token(number: u64, source: Source) -> u64 {
    let place = SOURCES.iter().zip(0u64..).find(|(known, _)| std::mem::discriminant(*known) == std::mem::discriminant(&source));
    number << 3 | place.map_or(7, |(_, place)| place)
}

fn untoken(token: u64) -> Option<(u64, Source)> {
    Some((token >> 3, *SOURCES.get(usize::try_from(token & 7).ok()?)?))
}

impl Runner {
    /// Takes the state folder and the cgroup for this runner, and removes what an earlier run left in them.
    pub fn open(settings: Settings) -> Result<Self, OpenError> {
        let state_error = |source| OpenError::State { path: settings.state_dir.clone(), source };
        let state = State::open(&settings.state_dir).map_err(state_error)?;
        let tree = Tree::open(&settings.cgroup, settings.allow_missing_limits, settings.frontend_memory)?;
        let leftovers = state.leftovers().map_err(state_error)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timers = Timers::new()?;
        epoll.add(&timers, EpollEvent::new(EpollFlags::EPOLLIN, TIMER_TOKEN))?;
        let null = nix::fcntl::open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, nix::sys::stat::Mode::empty())?;
        let free_uids = (settings.first_uid..settings.first_uid.saturating_add(settings.uids)).collect();
        let runner = Self {
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
            draining: false,
        };
        for (id, uid) in leftovers {
            runner.sweep(id, uid);
        }
        Ok(runner)
    }

    /// The controllers that limits need and that are missing here.
    pub fn missing_controllers(&self) -> Vec<&'static str> {
        self.tree.missing()
    }

    /// The group `frontend`, for a program beside the processes.
    pub fn frontend_group(&self) -> Option<BorrowedFd<'_>> {
        self.tree.frontend().map(Group::directory)
    }

    /// Starts a process, or finds the one that the same start made before. Does not wait for it.
    ///
    /// # Errors
    /// The refusal; nothing is left of the attempt.
    pub fn start(&mut self, spec: StartSpec) -> Result<Start, Refusal> {
        let digest = self.hasher.hash_one(&spec);
        if let Some(known) = self.numbers.get(&spec.id).and_then(|number| self.table.get(number)) {
            if known.digest != digest {
                return Err(Refusal::AlreadyExists);
            }
            let pending = known.live.as_ref().is_some_and(|live| live.report.is_some() || live.failure.is_some());
            return Ok(if pending { Start::Pending } else { Start::Existing });
        }
        if self.draining {
            return Err(Refusal::Draining);
        }
        let wanted = self.limits(&spec.limits)?;
        let not_enforced = self.tree.unenforceable(&wanted, &self.settings.disks);
        if let Some(limit) = not_enforced.first()
            && !(spec.best_effort_limits || self.settings.allow_missing_limits)
        {
            return Err(Refusal::NotEnforceable { limit: *limit });
        }
        let output_max = spec.output_max.unwrap_or(self.settings.output_default);
        if output_max > self.settings.output_ceiling {
            return Err(Refusal::OutputAboveCeiling { ceiling: self.settings.output_ceiling.value() });
        }
        self.make_room_for_descriptors()?;
        let uid = self.free_uids.pop_front().ok_or(Refusal::TooManyProcesses { max: self.settings.uids })?;
        let number = self.last_number + 1;
        let (info, live) = match self.prepare(number, &spec, uid, without(wanted, &not_enforced)) {
            Ok((live, limits)) => {
                let directory = || self.state.path(spec.id).to_string_lossy().into_owned();
                let info = ProcessInfo {
                    id: spec.id,
                    number,
                    working_directory: match spec.working_directory.clone() {
                        Some(path) => path,
                        None => directory().try_into().map_err(|_| resources(Preparation::Directory)(Errno::ENAMETOOLONG))?,
                    },
                    argv: spec.argv,
                    uid,
                    started: UnixMicros::now(),
                    limits: applied(limits, not_enforced),
                    output_max,
                    main_exit: None,
                    end: None,
                    stuck: Vec::new(),
                };
                (info, live)
            }
            Err(refusal) => {
                self.free_uids.push_back(uid);
                return Err(refusal);
            }
        };
        self.last_number = number;
        self.live += 1;
        self.numbers.insert(spec.id, number);
        let grace = spec.stop_grace.map_or(self.settings.stop_grace, |grace| grace.duration());
        let process = Process {
            digest,
            info,
            grace,
            linger: spec.linger,
            store: None,
            watch: None,
            live: Some(live),
        };
        self.table.insert(number, process);
        if let Some(timeout) = spec.timeout {
            self.deadline(number, timeout.duration(), Due::Timeout);
        }
        Ok(Start::New)
    }

    /// Stops a process with everything it started. [`Notice::Stopped`] follows.
    ///
    /// # Errors
    /// `UnknownProcess`.
    pub fn stop(&mut self, id: ProcessId, how: StopHow) -> Result<(), Refusal> {
        let number = *self.numbers.get(&id).ok_or(Refusal::UnknownProcess)?;
        self.stop_number(number, how, ExitCause::StoppedOnRequest);
        Ok(())
    }

    /// What is known of a process.
    pub fn info(&self, id: ProcessId) -> Option<&ProcessInfo> {
        self.table.get(self.numbers.get(&id)?).filter(|process| visible(process)).map(|process| &process.info)
    }

    /// The names of all processes, oldest first.
    pub fn ids(&self) -> impl Iterator<Item = ProcessId> {
        self.table.values().filter(|process| visible(process)).map(|process| process.info.id)
    }

    /// Read-only descriptors of a process's output: ring and index, for a [`prn_ipc_protocol::output::Reader`].
    ///
    /// # Errors
    /// `UnknownProcess`, or `Resources` when the store cannot be made.
    pub fn output(&mut self, id: ProcessId) -> Result<[File; 2], Refusal> {
        let process = self.numbers.get(&id).and_then(|number| self.table.get_mut(number));
        let process = process.filter(|process| visible(process)).ok_or(Refusal::UnknownProcess)?;
        let made = match process.store.take() {
            Some(store) => Ok(store),
            None => Store::new(process.info.output_max),
        };
        let store = process.store.insert(made.map_err(resources(Preparation::Output))?);
        store.readers().map_err(resources(Preparation::Output))
    }

    /// Asks for one [`Notice::Advanced`] as soon as the output's end lies beyond `seen`. The newest call counts.
    pub fn watch(&mut self, id: ProcessId, seen: u64) {
        let Some(process) = self.numbers.get(&id).and_then(|number| self.table.get_mut(number)) else { return };
        let end = process.store.as_ref().map_or(0, Store::end);
        if end > seen {
            process.watch = None;
            self.notices.push_back(Notice::Advanced(id, end));
        } else {
            process.watch = Some(seen);
        }
    }

    /// Takes the oldest notice.
    pub fn take_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// From now on starts are refused. Stops all processes; ask [`Runner::is_empty`] when that is done.
    pub fn drain(&mut self, how: StopHow) {
        self.draining = true;
        let all: Vec<u64> = self.table.iter().filter(|(_, process)| process.live.is_some()).map(|(n, _)| *n).collect();
        for number in all {
            self.stop_number(number, how, ExitCause::StoppedOnRequest);
        }
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
            match untoken(event.data()) {
                _ if event.data() == TIMER_TOKEN => self.timers.clear(),
                Some((number, source)) => self.ready(number, source),
                None => {}
            }
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

    /// The limits that a process gets: what it asks for, else the default, else the ceiling; never above the ceiling.
    fn limits(&self, asked: &Limits) -> Result<Limits, Refusal> {
        fn one<T: Copy + Ord + Into<u64>>(
            limit: LimitName,
            asked: Option<T>,
            default: Option<T>,
            ceiling: Option<T>,
        ) -> Result<Option<T>, Refusal> {
            match (asked.or(default), ceiling) {
                (Some(asked), Some(ceiling)) if asked > ceiling => {
                    Err(Refusal::AboveCeiling { limit, ceiling: ceiling.into() })
                }
                (value, ceiling) => Ok(value.or(ceiling)),
            }
        }
        let Settings { default_limits: default, limit_ceilings: most, .. } = &self.settings;
        Ok(Limits {
            cpu: one(LimitName::Cpu, asked.cpu, default.cpu, most.cpu)?,
            memory: one(LimitName::Memory, asked.memory, default.memory, most.memory)?,
            io_read: one(LimitName::IoRead, asked.io_read, default.io_read, most.io_read)?,
            io_write: one(LimitName::IoWrite, asked.io_write, default.io_write, most.io_write)?,
            pids: one(LimitName::Pids, asked.pids, default.pids, most.pids)?,
        })
    }

    /// Forgets finished processes, oldest first, if a new one could otherwise run out of descriptors later, when its
    /// output would be lost.
    fn make_room_for_descriptors(&mut self) -> Result<(), Refusal> {
        let (_, most) = self.settings.open_files;
        loop {
            let finished = u64::try_from(self.finished.len()).unwrap_or(u64::MAX);
            let held = FDS_OTHER + FDS_LIVE * u64::from(self.live + 1) + FDS_FINISHED * finished;
            if held <= most {
                return Ok(());
            }
            if !self.forget_oldest() {
                return Err(resources(Preparation::Watch)(Errno::EMFILE));
            }
        }
    }

    fn forget_oldest(&mut self) -> bool {
        let Some(id) = self.finished.pop_front().and_then(|oldest| self.drop_entry(oldest)) else { return false };
        self.notices.push_back(Notice::Forgotten(id));
        true
    }

    /// Makes directory, group, pipes and process, in this order, and watches them. On an error nothing is left.
    fn prepare(&self, number: u64, spec: &StartSpec, uid: u32, limits: Limits) -> Result<(Live, Limits), Refusal> {
        let errno = |error: io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(0));
        self.state.create(spec.id, uid).map_err(|error| resources(Preparation::Directory)(errno(error)))?;
        let group = match self.tree.create(spec.id) {
            Ok(group) => group,
            Err(error) => {
                self.state.remove(spec.id);
                return Err(resources(Preparation::Cgroup)(cgroup_errno(&error)));
            }
        };
        let undo = |group: &Group| {
            let _unused = group.remove();
            self.state.remove(spec.id);
        };
        let (spawned, streams, in_force) =
            self.launch(spec, uid, &group, limits).inspect_err(|_| undo(&group))?;
        let live = Live {
            group,
            main: Some(spawned.pidfd),
            report: Some(spawned.report),
            failure: None,
            streams: streams.map(Some),
            stopping: None,
            cleaning: false,
            cleaner: None,
            busy: 0,
            timers: Vec::new(),
        };
        if let Err(error) = self.register(number, &live) {
            // The process exists already: it dies with its group, and is reaped here.
            self.abandon(&live);
            undo(&live.group);
            return Err(resources(Preparation::Watch)(error));
        }
        Ok((live, in_force))
    }

    /// Writes the limits, then makes pipes and process.
    fn launch(
        &self,
        spec: &StartSpec,
        uid: u32,
        group: &Group,
        limits: Limits,
    ) -> Result<(spawn::Spawned, [OwnedFd; 2], Limits), Refusal> {
        let in_force =
            group.limit(&limits, &self.settings.disks).map_err(|(limit, _)| Refusal::NotEnforceable { limit })?;
        let [stdout, stderr] = spawn::pipes_of(uid).map_err(resources(Preparation::Pipes))?;
        for pipe in [&stdout.0, &stderr.0] {
            // Of this end alone: the process's end is another open file description.
            fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(resources(Preparation::Pipes))?;
        }
        let home = self.state.path(spec.id);
        let home = home.to_string_lossy();
        let directory = spec.working_directory.as_ref().map_or(&*home, AbsolutePath::as_str);
        let spawned = spawn::spawn(&Child {
            group: group.directory(),
            program: &Program::Paths(launch::candidates(spec.argv.program(), &spec.environment)),
            argv: &launch::argv(&spec.argv),
            environment: &launch::environment(&spec.environment, &home),
            streams: [self.null.as_fd(), stdout.1.as_fd(), stderr.1.as_fd()],
            descriptors: &[],
            uid,
            directory: &CString::new(directory).map_err(|_| resources(Preparation::Directory)(Errno::EINVAL))?,
            open_files: self.settings.open_files,
        })
        .map_err(resources(Preparation::Clone))?;
        Ok((spawned, [stdout.0, stderr.0], in_force))
    }

    fn register(&self, number: u64, live: &Live) -> nix::Result<()> {
        let add = |fd: BorrowedFd<'_>, flags, source| self.epoll.add(fd, EpollEvent::new(flags, token(number, source)));
        let [stdout, stderr] = &live.streams;
        let watched = [
            (live.report.as_ref(), Source::Report),
            (live.main.as_ref(), Source::Main),
            (stdout.as_ref(), Source::Stdout),
            (stderr.as_ref(), Source::Stderr),
        ];
        for (fd, source) in watched {
            if let Some(fd) = fd {
                add(fd.as_fd(), EpollFlags::EPOLLIN, source)?;
            }
        }
        add(live.group.events(), EpollFlags::EPOLLPRI, Source::Group)
    }

    /// Ends a process that could not be watched. Waits for a process that cannot do anything but die, and only here.
    fn abandon(&self, live: &Live) {
        let _unused = live.group.kill();
        if let Some(main) = &live.main {
            use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
            let _unused = poll(&mut [PollFd::new(main.as_fd(), PollFlags::POLLIN)], PollTimeout::from(1000u16));
            let _unused = pidfd::reap(main);
        }
    }

    /// Takes a descriptor out of the event loop and closes it. Closing alone would not do: a child that has not
    /// executed its program yet holds a copy, for which epoll(7) would go on reporting.
    fn forget(&self, fd: OwnedFd) {
        let _unused = self.epoll.delete(&fd);
    }

    fn ready(&mut self, number: u64, source: Source) {
        match source {
            Source::Report => self.reported(number),
            Source::Main => {
                // A short process can end before its report was looked at; what the report says comes first.
                self.reported(number);
                self.main_ended(number);
            }
            Source::Stdout => self.pump(number, Stream::Stdout, TURN),
            Source::Stderr => self.pump(number, Stream::Stderr, TURN),
            Source::Group => self.group_changed(number),
            Source::Cleaner => self.cleaner_ended(number),
        }
    }

    /// Reads whether the program runs.
    fn reported(&mut self, number: u64) {
        let Some(process) = self.table.get_mut(&number) else { return };
        let Some(live) = &mut process.live else { return };
        let Some(report) = live.report.take() else { return };
        let mut bytes = [0; spawn::REPORT];
        let id = process.info.id;
        match nix::unistd::read(&report, &mut bytes) {
            Ok(0) => {
                process.info.started = UnixMicros::now();
                self.notices.extend([Notice::Started(id), Notice::Changed(id)]);
            }
            Ok(length) => {
                let failed = bytes.get(..length).and_then(spawn::failure);
                let (step, errno) = failed.unwrap_or((ChildStep::Exec, errno_number(Errno::EIO)));
                live.failure = Some(Refusal::Exec { step, errno });
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {
                live.report = Some(report);
                return;
            }
            Err(error) => {
                live.failure = Some(Refusal::Exec { step: ChildStep::Exec, errno: errno_number(error) });
            }
        }
        self.forget(report);
    }

    fn main_ended(&mut self, number: u64) {
        let Some(process) = self.table.get_mut(&number) else { return };
        let Some(live) = &mut process.live else { return };
        let Some(main) = live.main.take() else { return };
        let status = match pidfd::reap(&main) {
            Ok(Some(status)) => status,
            Ok(None) => {
                live.main = Some(main);
                return;
            }
            // Cannot be: it is our child, and nobody else reaps it.
            Err(_) => prn_ipc_protocol::message::ExitStatus::Exited(u8::MAX),
        };
        if live.failure.is_none() {
            let cause = exit_cause(status, live.stopping.map(|stopping| stopping.cause), live.group.oom_kills());
            process.info.main_exit = Some(MainExit { status, cause, at: UnixMicros::now() });
            self.notices.push_back(Notice::Changed(process.info.id));
        }
        // A stop under way has its own deadline for what the main process leaves behind.
        let kill = !process.linger && live.stopping.is_none();
        self.forget(main);
        self.group_changed(number);
        if kill && self.table.get(&number).and_then(|process| process.live.as_ref()).is_some_and(|live| !live.cleaning) {
            self.kill(number);
        }
    }

    /// Reads what is in a process's pipe, up to `budget` bytes.
    fn pump(&mut self, number: u64, stream: Stream, budget: u64) {
        let Some(process) = self.table.get_mut(&number) else { return };
        let Some(live) = &mut process.live else { return };
        let [stdout, stderr] = &mut live.streams;
        let slot = if stream == Stream::Stdout { stdout } else { stderr };
        let Some(pipe) = slot.take() else { return };
        let before = process.store.as_ref().map_or(0, Store::charge);
        let mut ended = false;
        if process.store.is_none() {
            match Store::new(process.info.output_max) {
                Ok(store) => process.store = Some(store),
                Err(error) => {
                    // Its output can't be kept, so it must not go on as if it were.
                    crate::log(&format!("process {}: no memory for its output ({error}): killed", process.info.id));
                    let _unused = live.group.kill();
                    ended = true;
                }
            }
        }
        let mut left = budget;
        while let Some(store) = process.store.as_mut().filter(|_| left > 0) {
            match store.fill(pipe.as_fd(), stream, UnixMicros::now()) {
                Ok(0) => {
                    ended = true;
                    break;
                }
                Ok(read) => {
                    if (PIPE_DEFAULT..READ_MAX).contains(&read) {
                        // EPERM: the kernel's own budget for pipes is used up (pipe-user-pages-soft, pipe(7)).
                        let _unused = fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(PIPE_SIZE));
                    }
                    left = left.saturating_sub(read);
                    if read < PIPE_DEFAULT {
                        break;
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(_) => {
                    ended = true;
                    break;
                }
            }
        }
        let (charge, end) = process.store.as_ref().map_or((0, 0), |store| (store.charge(), store.end()));
        if process.watch.is_some_and(|seen| end > seen) {
            process.watch = None;
            self.notices.push_back(Notice::Advanced(process.info.id, end));
        }
        if ended {
            self.forget(pipe);
        } else {
            *slot = Some(pipe);
        }
        self.charged = self.charged + charge - before;
        if self.charged > self.settings.output_budget {
            self.evict(number);
        }
    }

    /// Makes room: finished processes lose their output, oldest first, then `number` its own oldest.
    fn evict(&mut self, number: u64) {
        while self.charged > self.settings.output_budget {
            let oldest = self.evictable.pop_front();
            let victim = oldest.unwrap_or(number);
            let excess = self.charged - self.settings.output_budget;
            let Some(store) = self.table.get_mut(&victim).and_then(|process| process.store.as_mut()) else { continue };
            let before = store.charge();
            let bytes = if oldest.is_some() { u64::MAX } else { excess.max(EVICT_STEP) };
            // A failure leaves memory allocated that nobody reads; the marks exclude it all the same.
            let _unused = store.evict(bytes);
            self.charged = self.charged + store.charge() - before;
            if oldest.is_none() {
                return;
            }
        }
    }

    /// Looks whether the tree is empty, and finishes the process if it is.
    fn group_changed(&mut self, number: u64) {
        let Some(live) = self.table.get(&number).and_then(|process| process.live.as_ref()) else { return };
        let populated = live.group.populated().unwrap_or(true);
        if !populated && live.main.is_none() && live.report.is_none() && !live.cleaning {
            self.tree_emptied(number);
        }
    }

    fn tree_emptied(&mut self, number: u64) {
        // What is in the pipes is all that there will be; a stranger who was handed a pipe's end is not waited for.
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.pump(number, stream, 4 * TURN);
        }
        let Some(process) = self.table.get_mut(&number) else { return };
        let Some(live) = &mut process.live else { return };
        live.cleaning = true;
        let streams = std::mem::take(&mut live.streams);
        for key in std::mem::take(&mut live.timers) {
            self.timers.cancel(key);
        }
        if live.failure.is_none() {
            let output = process.store.as_ref().map(Store::totals).unwrap_or_default();
            process.info.end = Some(End { at: UnixMicros::now(), usage: live.group.usage(), output });
            process.info.stuck.clear();
            self.notices.push_back(Notice::Changed(process.info.id));
        }
        if let Some(store) = &mut process.store {
            store.finish();
            self.evictable.push_back(number);
        }
        let id = process.info.id;
        for pipe in streams.into_iter().flatten() {
            self.forget(pipe);
        }
        if self.state.remove(id) || !self.clean(number) {
            self.remove_group(number);
        }
    }

    /// Starts the cleaner of a process's directory. Returns whether there is one.
    fn clean(&mut self, number: u64) -> bool {
        let Some(process) = self.table.get(&number) else { return false };
        let Some(live) = &process.live else { return false };
        live.group.lift_limits();
        let Ok(pidfd) = self.spawn_cleaner(process.info.id, process.info.uid, &live.group) else { return false };
        if self.epoll.add(&pidfd, EpollEvent::new(EpollFlags::EPOLLIN, token(number, Source::Cleaner))).is_err() {
            let _unused = live.group.kill();
            return false;
        }
        self.deadline(number, CLEAN_WAIT, Due::Clean);
        if let Some(live) = self.table.get_mut(&number).and_then(|process| process.live.as_mut()) {
            live.cleaner = Some(pidfd);
        }
        true
    }

    fn spawn_cleaner(&self, id: ProcessId, uid: u32, group: &Group) -> io::Result<OwnedFd> {
        let program = self.settings.cleaner.as_ref().ok_or(io::ErrorKind::NotFound)?.try_clone()?;
        let directory = self.state.handle(id)?;
        let null = self.null.as_fd();
        let spawned = spawn::spawn(&Child {
            group: group.directory(),
            program: &Program::File(program),
            argv: &[CString::from(crate::CLEANER)],
            environment: &[],
            streams: [null, null, null],
            descriptors: &[directory.as_fd()],
            uid,
            directory: c"/",
            open_files: self.settings.open_files,
        })?;
        Ok(spawned.pidfd)
    }

    fn cleaner_ended(&mut self, number: u64) {
        let Some(live) = self.table.get_mut(&number).and_then(|process| process.live.as_mut()) else { return };
        let Some(cleaner) = live.cleaner.take() else { return };
        if matches!(pidfd::reap(&cleaner), Ok(None)) {
            live.cleaner = Some(cleaner);
            return;
        }
        self.forget(cleaner);
        self.remove_group(number);
    }

    /// Removes directory and group, now or soon, and with them the last of the process.
    fn remove_group(&mut self, number: u64) {
        let Some(process) = self.table.get_mut(&number) else { return };
        let Some(live) = &mut process.live else { return };
        let directory_gone = self.state.remove(process.info.id);
        if live.group.remove().is_err() && live.busy < REMOVE_TRIES {
            live.busy += 1;
            let wait = Duration::from_millis(10 << live.busy.min(REMOVE_TRIES));
            self.deadline(number, wait, Due::Remove);
            return;
        }
        if !directory_gone || live.busy >= REMOVE_TRIES {
            crate::log(&format!("process {}: its directory or cgroup could not be removed", process.info.id));
        }
        let Some(live) = process.live.take() else { return };
        let (id, uid) = (process.info.id, process.info.uid);
        let _unused = self.epoll.delete(live.group.events());
        for key in live.timers {
            self.timers.cancel(key);
        }
        self.live -= 1;
        self.free_uids.push_back(uid);
        if let Some(refusal) = live.failure {
            self.drop_entry(number);
            self.notices.push_back(Notice::StartFailed(id, refusal));
            return;
        }
        self.notices.push_back(Notice::Stopped(id));
        self.finished.push_back(number);
        while self.finished.len() > usize::try_from(self.settings.finished_max).unwrap_or(usize::MAX) {
            self.forget_oldest();
        }
    }

    fn drop_entry(&mut self, number: u64) -> Option<ProcessId> {
        let process = self.table.remove(&number)?;
        self.numbers.remove(&process.info.id);
        self.charged -= process.store.as_ref().map_or(0, Store::charge);
        self.evictable.retain(|other| *other != number);
        Some(process.info.id)
    }

    fn stop_number(&mut self, number: u64, how: StopHow, cause: ExitCause) {
        let Some(process) = self.table.get_mut(&number) else { return };
        let id = process.info.id;
        let Some(live) = &mut process.live else {
            self.notices.push_back(Notice::Stopped(id));
            return;
        };
        if live.cleaning {
            // Notice::Stopped comes when that is done.
            return;
        }
        let grace = match how {
            StopHow::Graceful(grace) => grace.map_or(process.grace, |grace| grace.duration()),
            StopHow::Kill => Duration::ZERO,
        };
        let kill_at = Instant::now() + grace;
        match &mut live.stopping {
            // A repeated stop can shorten the grace time, never extend it.
            Some(stopping) if stopping.killed && !process.info.stuck.is_empty() => {
                self.notices.push_back(Notice::Stopped(id));
                return;
            }
            Some(stopping) if stopping.kill_at <= kill_at => return,
            Some(stopping) => stopping.kill_at = kill_at,
            None => {
                live.stopping = Some(Stopping { cause, kill_at, killed: false });
                if !grace.is_zero() {
                    // A stopped process could not act on SIGTERM before it is killed; systemd.kill(5) does the same.
                    let _unused = live.group.signal(&[Signal::SIGTERM, Signal::SIGCONT]);
                }
            }
        }
        if grace.is_zero() {
            self.kill(number);
        } else {
            self.deadline(number, grace, Due::Kill);
        }
    }

    /// Kills the tree.
    fn kill(&mut self, number: u64) {
        let Some(process) = self.table.get_mut(&number) else { return };
        let Some(live) = &mut process.live else { return };
        if let Some(stopping) = &mut live.stopping {
            stopping.killed = true;
        }
        if let Err(error) = live.group.kill() {
            crate::log(&format!("process {}: cannot kill its group: {error}", process.info.id));
        }
        self.deadline(number, KILL_WAIT, Due::Stuck);
    }

    fn deadline(&mut self, number: u64, after: Duration, due: Due) {
        let key = self.timers.add(Instant::now() + after, (number, due));
        match self.table.get_mut(&number).and_then(|process| process.live.as_mut()) {
            Some(live) => live.timers.push(key),
            None => self.timers.cancel(key),
        }
    }

    fn due(&mut self, number: u64, due: Due) {
        let Some(process) = self.table.get_mut(&number) else { return };
        let Some(live) = &mut process.live else { return };
        match due {
            Due::Timeout => self.stop_number(number, StopHow::Graceful(None), ExitCause::TimedOut),
            Due::Kill => {
                // A later, shorter stop may have been here before.
                if live.stopping.is_some_and(|stopping| !stopping.killed && stopping.kill_at <= Instant::now()) {
                    self.kill(number);
                }
            }
            Due::Stuck => {
                process.info.stuck = live.group.stuck();
                let id = process.info.id;
                self.notices.extend([Notice::Changed(id), Notice::Stopped(id)]);
            }
            Due::Clean => {
                let _unused = live.group.kill();
            }
            Due::Remove => self.remove_group(number),
        }
    }

    /// Removes the directory of an earlier run, with a cleaner that has some seconds for it.
    fn sweep(&self, id: ProcessId, uid: u32) {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let mine = (self.settings.first_uid..self.settings.first_uid.saturating_add(self.settings.uids)).contains(&uid);
        if !self.state.remove(id) && mine && let Ok(group) = self.tree.create(id) {
            if let Ok(cleaner) = self.spawn_cleaner(id, uid, &group) {
                let _unused = poll(&mut [PollFd::new(cleaner.as_fd(), PollFlags::POLLIN)], PollTimeout::from(10_000u16));
                let _unused = group.kill();
                let _unused = poll(&mut [PollFd::new(cleaner.as_fd(), PollFlags::POLLIN)], PollTimeout::from(1000u16));
                let _unused = pidfd::reap(&cleaner);
            }
            let _unused = group.remove();
        }
        if !self.state.remove(id) {
            crate::log(&format!("the directory {} of an earlier run could not be removed", self.state.path(id).display()));
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

/// `limits` but for those named.
fn without(mut limits: Limits, named: &[LimitName]) -> Limits {
    for name in named {
        match name {
            LimitName::Cpu => limits.cpu = None,
            LimitName::Memory => limits.memory = None,
            LimitName::IoRead => limits.io_read = None,
            LimitName::IoWrite => limits.io_write = None,
            LimitName::Pids => limits.pids = None,
        }
    }
    limits
}

fn resources(what: Preparation) -> impl Fn(Errno) -> Refusal {
    move |errno| Refusal::Resources { what, errno: errno_number(errno) }
}

fn cgroup_errno(error: &CgroupError) -> Errno {
    match error {
        CgroupError::File { source, .. } => Errno::from_raw(source.raw_os_error().unwrap_or(0)),
        CgroupError::InUse(_) | CgroupError::Missing(_) | CgroupError::Leftover(_) => Errno::EBUSY,
    }
}

#[expect(clippy::as_conversions, reason = "Errno is a C enum; its value is the number")]
fn errno_number(errno: Errno) -> i32 {
    errno as i32
}
