//! One process as the supervisor knows it, and the pure decisions about it. Runs in the supervisor.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

use prn_ipc_protocol::message::{
    ExitCause, ExitStatus, Overflow, ProcessInfo, Refusal, TerminalSize,
};
use prn_ipc_protocol::output::Stream;

use crate::cgroup::Group;
use crate::input::Taken;
use crate::ledger::{Ledger, Share};
use crate::pipes::Growth;
use crate::stopping::{self, Stopping};
use crate::store::Store;
use crate::sys::spawn::Passage;
use prn_ipc_protocol::types::Digest;

/// A process, running or finished.
#[derive(Debug)]
pub(crate) struct Process {
    /// Keyed hash of its specification.
    pub request: u64,
    /// The digest of what was started, and the rule that has allowed it.
    pub digest: Digest,
    pub rule: Option<u16>,
    /// What is told of it.
    pub info: ProcessInfo,
    /// The user id that is taken from the others' for it. It runs as that one, or, in a workspace,
    /// only counts as it where the kernel counts by user.
    pub account: u32,
    /// Its output; made when there is some, or when somebody asks.
    pub store: Option<Store>,
    /// What the output counts for in its store's ledger.
    pub share: Share,
    /// It is finished, and others may have its room.
    pub is_evictable: bool,
    /// It was logged that it cannot all be kept.
    pub told: bool,
    /// Offset up to which all readers that count have taken it.
    pub taken: u64,
    /// Whom it waits for, if its output is kept for a follower.
    pub follower: Option<Follower>,
    /// Somebody keeps its lease, if it has one.
    pub is_lease_kept: bool,
    /// It is to be forgotten as soon as everything of it is gone.
    pub is_unwanted: bool,
    /// End offset that a watcher has seen, while one waits for more.
    pub watch: Option<u64>,
    /// How much of its input was taken.
    pub input_taken: Taken,
    /// Why its program could not run.
    pub failure: Option<Refusal>,
    /// What it holds until everything of it is gone.
    pub live: Option<Live>,
}

impl Process {
    /// One that exists, of which nothing was read yet.
    pub fn new(
        request: u64,
        digest: Digest,
        info: ProcessInfo,
        account: u32,
        live: Live,
        failure: Option<Refusal>,
    ) -> Self {
        Self {
            request,
            digest,
            rule: None,
            info,
            account,
            store: None,
            share: Share::default(),
            is_evictable: false,
            told: false,
            taken: 0,
            follower: None,
            is_lease_kept: false,
            is_unwanted: false,
            watch: None,
            input_taken: Taken::NOTHING,
            failure,
            live: Some(live),
        }
    }

    /// What its output counts for, while `reserved` bytes are set aside for it.
    pub fn share(&self, reserved: u64) -> Share {
        let kept = self.store.as_ref().map_or(0, Store::charge);
        Share::new(kept, reserved, self.held_for_follower())
    }

    /// The offset where its output ends.
    pub fn end_offset(&self) -> u64 {
        self.store.as_ref().map_or(0, |store| store.marks.high)
    }

    /// Whether it is remembered until somebody removes it.
    pub fn is_kept(&self) -> bool {
        self.info.spec.retention.is_kept
    }

    /// Whether its tree is alive, as far as was noticed.
    pub fn is_alive(&self) -> bool {
        let live = self.live.as_ref();
        live.is_some_and(|live| live.phase == Phase::Running)
    }

    /// Whether its start has ended well.
    pub fn visible(&self) -> bool {
        self.failure.is_none() && self.live.as_ref().is_none_or(|live| live.report.is_none())
    }

    /// Whether it is not to be read from now: as much as is to be kept is there, or, of one that
    /// waits for its followers, as much as there is room for.
    pub fn is_full(&self, ledger: &Ledger) -> bool {
        let Some(store) = &self.store else {
            return false;
        };
        if self.droppable_to() == u64::MAX {
            return false;
        }
        let is_for_room = self.follower.is_some()
            && store.marks.high > self.taken
            && !ledger.has_room_for_followers();
        is_for_room || store.is_full(self.info.spec.output.max, self.taken)
    }

    /// Bytes that are kept for a follower who was not sent them yet, and may come for them.
    pub fn held_for_follower(&self) -> u64 {
        let is_awaited = matches!(
            self.follower,
            Some(Follower::Awaited { .. } | Follower::Present)
        );
        let kept = self.store.as_ref().filter(|_| is_awaited);
        kept.map_or(0, |store| {
            let from = self.taken.max(store.marks.low);
            store.marks.high.saturating_sub(from)
        })
    }

    /// Up to where its own output may be dropped to make room.
    pub fn droppable_to(&self) -> u64 {
        droppable_to(self.info.spec.output.overflow, self.follower, self.taken)
    }
}

/// Up to where the output of a process may be dropped that was taken up to `taken`.
fn droppable_to(overflow: Overflow, follower: Option<Follower>, taken: u64) -> u64 {
    match (follower, overflow) {
        (Some(Follower::GivenUp), _) | (None, Overflow::DropOldest) => u64::MAX,
        (Some(Follower::Awaited { .. } | Follower::Present), _) => taken,
        (None, Overflow::Wait | Overflow::Kill | Overflow::Follow(_)) => 0,
    }
}

/// Whom a process with [`Overflow::Follow`] waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follower {
    /// Nobody follows, and somebody may until then.
    Awaited {
        /// When that is given up.
        until: Instant,
    },
    /// Somebody does.
    Present,
    /// Nobody came.
    GivenUp,
}

/// What a process holds in the kernel.
#[derive(Debug)]
pub(crate) struct Live {
    /// What its group is for now.
    pub phase: Phase,
    /// Its cgroup.
    pub group: Group,
    /// Its main process, or who cleans up after it, until it is reaped.
    pub main: Option<OwnedFd>,
    /// Whether its program runs, until that is known.
    pub report: Option<OwnedFd>,
    /// What its descriptors were passed in, until it has taken them or is dead.
    pub passage: Option<Passage>,
    /// Its standard output and error.
    pub pipes: Vec<Pipe>,
    /// Its standard input, to write to: kept so that nobody else's end is the input's. `None`: it
    /// has none, or it has ended.
    pub input: Option<OwnedFd>,
    /// Its terminal.
    pub terminal: Option<Terminal>,
    /// When one of them was last read.
    pub read_at: Instant,
    /// Why it is being stopped.
    pub stopping: Option<Stopping>,
    /// How often its group could not be removed yet.
    pub busy: u32,
}

impl Live {
    /// Of something of which only this group is left to hold, and its directories.
    pub fn removing(phase: Phase, group: Group) -> Self {
        Self {
            phase,
            group,
            main: None,
            report: None,
            passage: None,
            pipes: Vec::new(),
            input: None,
            terminal: None,
            read_at: Instant::now(),
            stopping: None,
            busy: 0,
        }
    }

    /// Whether its main process is gone and was told of; what that one has left may be alive.
    pub fn has_ended(&self) -> bool {
        self.main.is_none() && self.report.is_none() && self.phase == Phase::Running
    }

    /// How far it has come, as far as a stop is concerned.
    pub fn stop_state(&self) -> stopping::State {
        match self.phase {
            Phase::Running => stopping::State::Running(self.stopping),
            Phase::Removing | Phase::Cleaning | Phase::Unlinking => stopping::State::Removing,
        }
    }
}

/// One of a process's streams.
#[derive(Debug)]
pub(crate) struct Pipe {
    /// Which.
    pub stream: Stream,
    /// The end to read from.
    pub fd: OwnedFd,
    /// What it is.
    pub kind: Kind,
    /// That it was made larger.
    pub growth: Option<Growth>,
    /// Until when it is left to fill.
    pub left_until: Option<Instant>,
    /// Whether somebody had it open to write to when it was last looked at.
    pub writers: Writers,
}

impl Pipe {
    /// One that a new process writes to.
    pub fn new(stream: Stream, fd: OwnedFd, kind: Kind) -> Self {
        Self {
            stream,
            fd,
            kind,
            growth: None,
            left_until: None,
            writers: Writers::Some,
        }
    }
}

/// What a stream is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A pipe.
    Pipe,
    /// A terminal. It gives a few thousand bytes at a time, whatever it holds, and fails with EIO
    /// where a pipe would end.
    Terminal,
}

/// Who may write to a stream. That there is nobody can change: who has an end to read from can open
/// one to write to by its name (proc_pid_fd(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writers {
    /// Somebody, as far as is known.
    Some,
    /// Nobody, and the event loop, which now waits for changes, tells of that once.
    None,
    /// Nobody, and it has told.
    NoneAsTold,
}

/// The way into a terminal.
#[derive(Debug)]
pub(crate) struct Terminal {
    /// Its master, by another number than the one that output is read from: this one is watched for
    /// room.
    pub master: OwnedFd,
    /// What is typed comes from there. `None`: nothing more comes, or nobody would read it.
    pub typed: Option<OwnedFd>,
    /// Counts it while it is there.
    pub counted: Terminals,
    /// Its size is being set.
    pub resizing: Option<Resizing>,
}

/// A child that does something to a terminal whose process is gone.
#[derive(Debug)]
pub(crate) struct Aside {
    /// The process's number in the table.
    pub process: u64,
    /// The child.
    pub child: OwnedFd,
    /// The terminal counts for as long as it is there.
    pub _counted: Terminals,
}

/// That a terminal's size is being set.
#[derive(Debug)]
pub(crate) struct Resizing {
    /// By whom.
    pub child: OwnedFd,
    /// To what next.
    pub next: Option<TerminalSize>,
}

/// How many terminals there are: each has one of these.
#[derive(Debug, Clone, Default)]
pub(crate) struct Terminals(Rc<()>);

impl Terminals {
    /// As many, beside this one.
    pub fn count(&self) -> usize {
        Rc::strong_count(&self.0) - 1
    }
}

/// How far a process has come. Its group is another one while it is cleaned up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its tree is alive.
    Running,
    /// Its tree is gone.
    Removing,
    /// Its directories are being emptied.
    Cleaning,
    /// They are being removed.
    Unlinking,
}

/// Why a main process ended. `oom_kills` counts the tree's, before its main process is put down to
/// anything else.
pub(crate) fn exit_cause(
    status: ExitStatus,
    stopping: Option<ExitCause>,
    oom_kills: u64,
) -> ExitCause {
    const SIGKILL: u8 = 9;
    match (stopping, status) {
        (Some(cause), _) => cause,
        (
            None,
            ExitStatus::Signalled {
                signal: SIGKILL, ..
            },
        ) if oom_kills > 0 => ExitCause::OomKilled,
        (None, ExitStatus::Signalled { .. }) => ExitCause::Signalled,
        (None, ExitStatus::Exited(_)) => ExitCause::Exited,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use prn_ipc_protocol::message::{
        AppliedLimits, Input, Keeping, OutputStore, ProcessSpec, Profile, Retention, StartSpec,
    };
    use prn_ipc_protocol::types::{Labels, Limits, Paths, ProcessId, UnixMicros};
    use std::ffi::CString;

    /// An ordinary start.
    pub fn spec(argv: &[&str]) -> StartSpec {
        let argv = argv.iter().map(|argument| CString::new(*argument).unwrap());
        StartSpec {
            id: ProcessId::from_bytes([7; 16]),
            process: ProcessSpec {
                argv: argv.collect::<Vec<_>>().try_into().unwrap(),
                working_directory: None,
                limits: Limits::default(),
                best_effort_limits: false,
                input: Input::Nothing,
                output: Keeping {
                    max: 65_536,
                    overflow: Overflow::DropOldest,
                    store: OutputStore::Memory,
                },
                timeout: None,
                stop_grace: 10_000.try_into().unwrap(),
                linger: false,
                profile: Profile::Default,
                user: None,
                paths: Paths::default(),
                workspace: None,
                name: None,
                labels: Labels::default(),
                deadline: None,
                lease: None,
                retention: Retention::default(),
            },
            variables: Vec::new(),
            expect: None,
            signature: None,
            requested: None,
        }
    }

    /// Of an ordinary process.
    pub fn info(id: ProcessId) -> ProcessInfo {
        ProcessInfo {
            id,
            number: 1,
            spec: spec(&["true"]).process,
            uid: 1,
            started_by: None,
            signed: None,
            requested: None,
            received: UnixMicros(1),
            admitted: UnixMicros(1),
            prepared: UnixMicros(1),
            started: UnixMicros(1),
            limits: AppliedLimits::default(),
            waits: false,
            input_ended: false,
            main_exit: None,
            end: None,
            stuck: Vec::new(),
            left_behind: None,
            layers: Vec::new(),
            paused: false,
            lease_ends: None,
            stop: None,
            change: 1,
        }
    }

    #[test]
    fn c5_a_cause_is_counted_and_never_guessed_from_137() {
        let killed = ExitStatus::Signalled {
            signal: 9,
            core_dumped: false,
        };
        assert_eq!(exit_cause(killed, None, 1), ExitCause::OomKilled);
        assert_eq!(exit_cause(killed, None, 0), ExitCause::Signalled);
        assert_eq!(
            exit_cause(ExitStatus::Exited(137), None, 1),
            ExitCause::Exited
        );
        assert_eq!(
            exit_cause(killed, Some(ExitCause::StoppedOnRequest), 1),
            ExitCause::StoppedOnRequest
        );
        assert_eq!(
            exit_cause(ExitStatus::Exited(0), Some(ExitCause::TimedOut), 0),
            ExitCause::TimedOut
        );
    }

    #[test]
    fn what_may_be_dropped_is_a_matter_of_policy_and_of_who_follows() {
        let awaited = Follower::Awaited {
            until: Instant::now(),
        };
        let patience = prn_ipc_protocol::codec::decode(&[0]).unwrap();
        for (overflow, follower, expected) in [
            (Overflow::DropOldest, None, u64::MAX),
            (Overflow::Wait, None, 0),
            (Overflow::Kill, None, 0),
            (Overflow::Follow(patience), Some(awaited), 7),
            (Overflow::Follow(patience), Some(Follower::Present), 7),
            (
                Overflow::Follow(patience),
                Some(Follower::GivenUp),
                u64::MAX,
            ),
        ] {
            let found = droppable_to(overflow, follower, 7);
            assert_eq!(found, expected, "{overflow:?} {follower:?}");
        }
    }
}
