//! The process table and its event loop: starts processes, keeps their output, sees how they end,
//! stops them.
//!
//! Runs in the supervisor, or in a program that uses this library. One thread, and nothing here
//! waits but [`Runner::wait`], and a disk that output is kept on: what can take time is watched in
//! one epoll instance.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use prn_ipc_protocol::config::{self, AuditTarget, Layers};
use prn_ipc_protocol::message::{
    OutputStore, Preparation, ProcessInfo, Receipt, Refusal, WorkspaceInfo,
};
use prn_ipc_protocol::policy::Policy;
use prn_ipc_protocol::status::{Frontends, Status};
use prn_ipc_protocol::types::{AccessName, ProcessId, ProcessName, UnixMicros, WorkspaceName};

use crate::admission::Kept;
use crate::audit::{Audit, Facts, Post};
use crate::cgroup;
use crate::deadlines::{Deadline, Deadlines, Due};
use crate::events::{Events, Interest, Part, Source, Token};
use crate::ledger::Ledgers;
use crate::pipes::PipeBudget;
use crate::process::{Aside, Live, Phase, Process, Terminals};
use crate::reading::Turn;
use crate::receipts::Key;
use crate::signed::Signatures;
use crate::sys::errno_number;
use crate::sys::spawn::{self, Ids, Slots};
use crate::workspaces::Workspaces;
use forgotten::Forgotten;
use leftover::Leftover;

mod aside;
mod cleanup;
mod end;
mod followers;
mod forgotten;
pub mod input;
mod lease;
mod leftover;
mod output;
pub mod start;
mod stop;
mod update;
mod workspaces;

/// What a [`Runner`] needs.
#[derive(Debug)]
pub struct Settings {
    /// Limits and budgets.
    pub config: config::Supervisor,
    /// The folder `config.state_dir`, which nobody else writes to: working directories are made in
    /// it.
    pub state: OwnedFd,
    /// The cgroup v2 directory that groups are made in, which nobody else writes to. No process is
    /// in it, and the controllers that limits need are on in its `cgroup.subtree_control`.
    pub groups: Rc<OwnedFd>,
    /// The program `prn-tools`, which deletes what a process left in its directories. `None`:
    /// directories that are not empty stay.
    pub tools: Option<OwnedFd>,
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
    /// A finished process was forgotten: this is the newest change of any process.
    Forgotten {
        /// What was known of it, for who was not told yet.
        last: Box<ProcessInfo>,
        /// Number of the change.
        change: u64,
    },
    /// [`Runner::drain`] was called, for the first time.
    Draining,
    /// A workspace is being removed.
    WorkspaceLeaves(WorkspaceInfo),
    /// The removal of a workspace has had its time once, and something is left.
    WorkspaceTried(WorkspaceName),
    /// Nothing of a workspace is left.
    WorkspaceGone(WorkspaceName),
}

/// Runs processes. See the [crate's documentation](crate) for an example.
#[derive(Debug)]
pub struct Runner {
    settings: Settings,
    /// What was decided is told here.
    pub(crate) audit: Audit,
    /// Signs receipts.
    pub(crate) key: Option<Key>,
    events: Events,
    null: File,
    slots: Slots,
    table: BTreeMap<u64, Box<Process>>,
    numbers: HashMap<ProcessId, u64>,
    /// Ids of the processes that were forgotten last.
    forgotten: Forgotten,
    /// Who has each name, of those that are alive.
    names: HashMap<ProcessName, ProcessId>,
    last_number: u64,
    /// Number of the newest change of any process.
    last_change: u64,
    free_uids: VecDeque<u32>,
    deadlines: Deadlines,
    notices: VecDeque<Notice>,
    ledgers: Ledgers,
    pipes: PipeBudget,
    terminals: Terminals,
    /// Children that do something to terminals, but for those that are known with them.
    asides: Vec<Aside>,
    /// Finished processes, oldest first, but those that are kept.
    finished: VecDeque<u64>,
    kept: Kept,
    /// How many processes there are of each principal, but for the finished ones.
    of_principals: HashMap<AccessName, u32>,
    /// Bytes of the arguments of finished processes but those, and of all that are alive.
    remembered: usize,
    arguments: usize,
    workspaces: Workspaces,
    /// What finished processes, and workspaces, have left behind on disk, by their number.
    leftovers: BTreeMap<u64, Leftover>,
    /// When the log was last told of a start that the machine refused.
    refusal_logged: Option<Instant>,
    draining: bool,
    /// What was signed.
    signatures: Signatures,
    /// Somebody could follow processes and renew leases: they run out.
    has_leases: bool,
    /// Before that no tree is sent a signal: the last one has taken long.
    tree_signals_after: Instant,
}

impl Runner {
    /// Of no process yet. Gives every signal of this program its default action (signal(7)), here
    /// once and for all: what is ignored stays so in processes, and an ignored SIGCHLD would lose
    /// exit statuses (waitid(2), ECHILD).
    ///
    /// # Errors
    /// Those of epoll_create(2), socketpair(2) and open(2).
    pub fn open(settings: Settings) -> nix::Result<Self> {
        spawn::default_actions();
        cgroup::spare_descriptors()?;
        let slots = Slots::open()?;
        let config = &settings.config;
        let events = Events::open()?;
        let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?.into();
        let free_uids = (config.first_uid..)
            .take(config.uid_count.try_into().unwrap_or(0))
            .collect();
        let ledgers = Ledgers::new(&config.output);
        Ok(Self {
            settings,
            audit: Audit::default(),
            key: None,
            events,
            null,
            slots,
            table: BTreeMap::new(),
            numbers: HashMap::new(),
            forgotten: Forgotten::default(),
            names: HashMap::new(),
            last_number: 0,
            last_change: 0,
            free_uids,
            deadlines: Deadlines::new(Instant::now()),
            notices: VecDeque::new(),
            ledgers,
            pipes: PipeBudget::new(),
            terminals: Terminals::default(),
            asides: Vec::new(),
            finished: VecDeque::new(),
            kept: Kept::default(),
            of_principals: HashMap::new(),
            remembered: 0,
            arguments: 0,
            workspaces: Workspaces::default(),
            leftovers: BTreeMap::new(),
            refusal_logged: None,
            draining: false,
            signatures: Signatures::new(UnixMicros::now()),
            has_leases: true,
            tree_signals_after: Instant::now(),
        })
    }

    /// What is known of a process.
    pub fn info(&self, id: ProcessId) -> Option<&ProcessInfo> {
        self.table
            .get(self.numbers.get(&id)?)
            .filter(|process| process.visible())
            .map(|process| &process.info)
    }

    /// The receipt of a process that has ended.
    ///
    /// # Errors
    /// `UnknownProcess` and `NotEnded`; the first where there is no key to sign it.
    pub(crate) fn receipt(&self, id: ProcessId) -> Result<Receipt, Refusal> {
        let process = self
            .numbers
            .get(&id)
            .and_then(|number| self.table.get(number));
        let process = process.filter(|process| process.visible());
        let (Some(process), Some(key)) = (process, &self.key) else {
            return Err(Refusal::UnknownProcess);
        };
        if process.info.end.is_none() {
            return Err(Refusal::NotEnded);
        }
        Ok(key.receipt(self.settings.config.epoch, &process.info, process.digest))
    }

    /// Tells this descriptor, or a file in this folder, of all that is decided from now on, as the
    /// configuration says. A writer is in this group.
    ///
    /// # Errors
    /// Those of pipe2(2), open(2) and fcntl(2).
    pub(crate) fn open_audit(&mut self, to: OwnedFd, group: OwnedFd) -> nix::Result<()> {
        let config = &self.settings.config;
        let (Some(audit), Some(tools)) = (&config.audit, &self.settings.tools) else {
            return Ok(());
        };
        let epoch = config.epoch;
        self.audit = match audit {
            AuditTarget::Descriptor => Audit::to_descriptor(epoch, to),
            AuditTarget::File { name, uid, gid } => {
                let post = Post {
                    folder: to,
                    name: name.clone(),
                    ids: Ids::alone(*uid, *gid),
                    tools: copy(tools)?,
                    group,
                    // It has no places of its own that namespaces and rules could be about.
                    layers: Layers {
                        namespaces: None,
                        landlock: None,
                        ..config.confinement.default.clone()
                    },
                };
                Audit::to_file(epoch, post)?
            }
        };
        let facts = Facts::default().text("version", env!("CARGO_PKG_VERSION"));
        let facts = match &self.key {
            Some(key) => facts.text("receipt_key", &key.public()),
            None => facts,
        };
        self.audit.begin(facts);
        Ok(())
    }

    /// A process that has been started, running or finished.
    fn known_by(&mut self, id: ProcessId) -> Result<&mut Process, Refusal> {
        let number = self.numbers.get(&id);
        number
            .and_then(|number| self.table.get_mut(number))
            .filter(|process| process.visible())
            .map(|process| &mut **process)
            .ok_or(Refusal::UnknownProcess)
    }

    /// Goes on with another configuration, as far as a reload may change it. Returns the one
    /// before.
    pub fn reconfigure(&mut self, new: config::Supervisor) -> config::Supervisor {
        let reloaded = self.settings.config.reloaded(new);
        std::mem::replace(&mut self.settings.config, reloaded)
    }

    /// Who may do what.
    pub fn policy(&self) -> &Policy {
        &self.settings.config.policy
    }

    /// Who has started a process, finished or on its way to its program too. `None`: there is none
    /// of this id; `Some(None)`: it is nobody's.
    pub fn owner(&self, id: ProcessId) -> Option<Option<&AccessName>> {
        let process = self.table.get(self.numbers.get(&id)?)?;
        Some(process.info.started_by.as_ref())
    }

    /// Who has started the processes that live in a workspace.
    pub fn owners_in(&self, name: &WorkspaceName) -> impl Iterator<Item = Option<&AccessName>> {
        let all = self.table.values();
        let live = all.filter(|process| process.live.is_some());
        live.filter(move |process| process.info.spec.workspace.as_ref() == Some(name))
            .map(|process| process.info.started_by.as_ref())
    }

    /// The names of all processes, oldest first.
    pub fn ids(&self) -> impl Iterator<Item = ProcessId> {
        self.table
            .values()
            .filter(|process| process.visible())
            .map(|process| process.info.id)
    }

    /// What root is told of the server, with what others know of it.
    pub(crate) fn status(&self, frontends: Frontends, configuration: u32) -> Status {
        let all = self.table.values();
        let live = all.filter(|process| process.live.is_some()).count();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            epoch: self.settings.config.epoch,
            configuration,
            frontends,
            live,
            finished: self.table.len() - live,
            workspaces: self.workspaces.infos().count(),
            memory: self.ledgers.of(OutputStore::Memory).charged(),
            disk: self.ledgers.of(OutputStore::Disk).charged(),
        }
    }

    /// Number of the newest change of any process.
    pub fn last_change(&self) -> u64 {
        self.last_change
    }

    /// Gives a process's newest change its number.
    fn stamp(&mut self, process: &mut Process) {
        self.last_change += 1;
        process.info.change = self.last_change;
    }

    /// What is known of a process has changed.
    fn changed(&mut self, process: &mut Process) {
        self.stamp(process);
        self.notices.push_back(Notice::Changed(process.info.id));
    }

    /// Takes the oldest notice.
    pub fn take_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// Whether nothing of any process is left but what could not be killed, or could not be removed
    /// in its time.
    pub fn is_empty(&self) -> bool {
        self.leftovers.is_empty()
            && self.workspaces.wait_for_processes_alone()
            && self
                .table
                .values()
                .all(|process| process.live.is_none() || !process.info.stuck.is_empty())
    }

    /// Watches a descriptor of the caller's in this event loop, for [`Runner::is_ready`]. Again:
    /// for something else.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub fn attach(&self, fd: BorrowedFd<'_>, interest: Interest, token: Token) -> nix::Result<()> {
        self.events.set(fd, interest, Source::Attached(token))
    }

    /// Takes a descriptor out of the event loop, before it is closed.
    pub fn detach(&self, fd: impl AsFd) {
        self.events.remove(fd);
    }

    /// Makes a wait end at that time.
    pub fn wake_at(&mut self, at: Instant) {
        self.deadlines.wake_at(at);
    }

    /// Takes back a [`Runner::wake_at`].
    pub fn cancel_wake(&mut self, at: Instant) {
        self.deadlines.cancel_wake(at);
    }

    /// Waits until there is something to do, for `timeout` at most. Then comes
    /// [`Runner::dispatch`].
    ///
    /// # Errors
    /// Only those that make the event loop useless.
    pub fn wait(&mut self, timeout: Option<Duration>) -> nix::Result<()> {
        let next = self.deadlines.next();
        let until_next = next.map(|at| at.saturating_duration_since(Instant::now()));
        self.events
            .wait(until_next.into_iter().chain(timeout).min())
    }

    /// Whether the wait ended for the attached descriptor with this token.
    pub fn is_ready(&self, token: Token) -> bool {
        self.events.is_ready(token)
    }

    /// Handles what the wait found, a bounded amount of it, without waiting.
    pub fn dispatch(&mut self) {
        for source in self.events.take_ready() {
            match source {
                Source::Attached(_) => {}
                Source::Process {
                    number,
                    part: Part::Aside,
                } => self.aside_ended(number),
                Source::Process {
                    number,
                    part: Part::Watcher,
                } => self.watcher_ended(number),
                Source::Process { number, part } if self.leftovers.contains_key(&number) => {
                    self.leftover_happened(number, part);
                }
                Source::Process { number, part } => {
                    self.with(number, |runner, process| runner.happened(process, part))
                }
            }
        }
        let now = Instant::now();
        while let Some(Deadline { process, due, .. }) = self.deadlines.take_passed(now) {
            if due == Due::Dismissed {
                self.watcher_stays(process);
            } else if due == Due::Forget {
                self.forget_number(process);
            } else if due != Due::GiveUp && self.leftovers.contains_key(&process) {
                self.leftover_due(process, due);
            } else {
                self.with(process, |runner, process| runner.due(process, due));
            }
        }
        self.forget_finished();
    }

    /// Acts on a process, which is out of the table meanwhile, so that both can be changed.
    fn with(&mut self, number: u64, act: impl FnOnce(&mut Self, &mut Process)) {
        let Some(mut process) = self.table.remove(&number) else {
            return;
        };
        act(self, &mut process);
        // What could not be started is forgotten.
        if process.live.is_some() || process.info.end.is_some() {
            self.table.insert(number, process);
        }
    }

    /// As [`Runner::with`], by the name of the process; nothing for one that is not known.
    fn with_id(&mut self, id: ProcessId, act: impl FnOnce(&mut Self, &mut Process)) {
        if let Some(number) = self.numbers.get(&id) {
            self.with(*number, act);
        }
    }

    fn happened(&mut self, process: &mut Process, part: Part) {
        match part {
            Part::Report => self.reported(process),
            Part::Main => {
                // A short process can end before its report was looked at; what the report says
                // comes first.
                self.take_back(process);
                self.reported(process);
                self.main_ended(process);
                if let Some(Live {
                    phase: Phase::Running,
                    main: Some(_),
                    group,
                    ..
                }) = &process.live
                {
                    // It has ended, but a process of its own that traces it keeps it (ptrace(2)).
                    // Without that one it is let go, and the descriptor, which is watched for
                    // changes alone, tells again.
                    let _unused = group.kill();
                }
            }
            Part::Pipe(stream) => self.pump(process, stream, Turn::Regular),
            Part::Group => self.end_if_empty(process),
            Part::Input => self.type_input(process),
            // They may outlive it; a workspace's is no process's.
            Part::Aside | Part::Watcher => {}
        }
    }
}

fn copy(fd: &OwnedFd) -> nix::Result<OwnedFd> {
    let copied = fd.try_clone();
    copied.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default()))
}

fn resources(what: Preparation) -> impl Fn(Errno) -> Refusal {
    move |errno| Refusal::Resources {
        what,
        errno: errno_number(errno),
    }
}
