//! Output on its way from the pipes to the stores, within the budget. Runs in the supervisor.

use std::fs::File;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::PollFlags;
use prn_ipc_protocol::message::{ExitCause, OutputStore, Overflow, Preparation, Refusal, StopHow};
use prn_ipc_protocol::output::Stream;
use prn_ipc_protocol::types::{ProcessId, UnixMicros};

use super::{Ledger, Notice, Runner, TURN, resources};
use crate::deadlines::{Deadline, Due};
use crate::events::{Interest, Part, Source};
use crate::output::{Store, state};
use crate::process::{Follower, Pipe, Process, Writers};

/// Room is given back in steps of this size at least, so that a process at the budget does not pay
/// for each read.
const EVICT_STEP: u64 = 1 << 20;

/// A pipe that had fewer bytes than this, and was read less than [`BUSY`] ago as well, is left to
/// fill for half of that time: short lines are then read many at a time (`make bench BENCH=output`
/// counts the wake-ups), and a line that comes alone is read at once. One with more may be full, as
/// a writer's length has it (pipe(7), F_SETPIPE_SZ): a pipe of 16 pages takes a write that does not
/// fit into the last one's rest from the next page on, and so holds between half of them and all.
const SMALL: u64 = 32 * 1024;
const BUSY: Duration = Duration::from_micros(if cfg!(feature = "unmoderated") {
    0
} else {
    400
});

/// How long a stream is not looked at that was opened and closed again.
const REOPENED: Duration = Duration::from_millis(1);

/// Bytes in a pipe once it was found full, as far as can be told: beyond that, measured, there is
/// under 10 % to gain.
const PIPE_SIZE: i32 = 256 * 1024;
/// Bytes in a pipe as it is made (pipe(7)).
const PIPE_DEFAULT: u64 = 64 * 1024;

/// Bytes read for a process that has ended: all that its pipe can hold, many times over. A pipe in
/// packet mode (O_DIRECT, pipe(7)) gives a packet at a time, so that only EAGAIN says that it is
/// empty.
const LAST_TURN: u64 = 4 << 20;

/// What a look into a pipe is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// To take what is there, as much as is one process's share.
    Regular,
    /// To take all that is left, of a process that has ended.
    Last,
}

/// What stopped the reading of a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopped {
    /// It is empty, as far as can be told, or the process has had its share.
    ForNow,
    /// Nobody has it open to write to.
    Closed,
    /// As much is there as is to be kept.
    Full,
    /// What is there cannot be kept.
    Failed(Errno),
}

impl Runner {
    /// Read-only descriptors of a process's output: data and page, for a
    /// [`prn_ipc_protocol::output::Reader`].
    ///
    /// # Errors
    /// `UnknownProcess`, or `Resources` when the store cannot be made.
    pub fn subscribe(&mut self, id: ProcessId) -> Result<[File; 2], Refusal> {
        let process = self
            .numbers
            .get(&id)
            .and_then(|number| self.table.get_mut(number));
        let process = process
            .filter(|process| process.visible())
            .ok_or(Refusal::UnknownProcess)?;
        let made = process.store.take().map_or_else(
            || Store::new(process.info.spec.output, self.settings.state.as_fd()),
            Ok,
        );
        let store = process
            .store
            .insert(made.map_err(resources(Preparation::Output))?);
        store
            .data
            .reader()
            .and_then(|data| Ok([data, store.page.reader()?]))
            .map_err(resources(Preparation::Output))
    }

    /// Asks for one [`Notice::Advanced`] as soon as the output's end lies beyond `seen`. The newest
    /// call counts.
    pub fn watch(&mut self, id: ProcessId, seen: u64) {
        let Some(process) = self
            .numbers
            .get(&id)
            .and_then(|number| self.table.get_mut(number))
        else {
            return;
        };
        let end = process.store.as_ref().map_or(0, |store| store.marks.high);
        process.watch = (end <= seen).then_some(seen);
        if end > seen {
            self.notices.push_back(Notice::Advanced(id, end));
        }
    }

    /// All readers of a process's output that count have taken it up to there: one that waits for
    /// that goes on.
    pub fn taken(&mut self, id: ProcessId, offset: u64) {
        let Some(number) = self.numbers.get(&id) else {
            return;
        };
        self.with(*number, |runner, process| {
            let end = process.store.as_ref().map_or(0, |store| store.marks.high);
            process.taken = process.taken.max(offset.min(end));
            runner.charge(process);
            runner.let_go(process);
            runner.go_on(process);
        });
    }

    /// Somebody whom a process with [`Overflow::Follow`] waits for reads its output.
    pub fn follow(&mut self, id: ProcessId) {
        let Some(number) = self.numbers.get(&id) else {
            return;
        };
        self.with(*number, |runner, process| {
            if process.follower.is_some() {
                runner.set_follower(process, Follower::Present);
                runner.charge(process);
            }
        });
    }

    /// Nobody does any more: somebody may come again, for a while.
    pub fn unfollow(&mut self, id: ProcessId) {
        let Some(number) = self.numbers.get(&id) else {
            return;
        };
        self.with(*number, |runner, process| {
            if process.follower == Some(Follower::Present) {
                runner.await_follower(process);
            }
        });
    }

    /// As [`Runner::unfollow`], for all processes: who has told of followers is gone.
    pub fn unfollow_all(&mut self) {
        let followed = |process: &Process| process.follower == Some(Follower::Present);
        let numbers = self.table.iter().filter(|(_, process)| followed(process));
        for number in numbers.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.with(number, |runner, process| runner.await_follower(process));
        }
    }

    /// Keeps all of a process's output for a follower that may come, as long as it has asked for.
    pub(super) fn await_follower(&mut self, process: &mut Process) {
        if let Overflow::Follow(patience) = process.info.spec.output.overflow {
            let until = Instant::now() + patience.duration();
            self.set_follower(process, Follower::Awaited { until });
        }
    }

    /// A process waits for another kind of follower. Each has one deadline at most, and only while
    /// one is awaited.
    fn set_follower(&mut self, process: &mut Process, follower: Follower) {
        let number = process.info.number;
        self.forget_give_up(process);
        if let Follower::Awaited { until } = follower {
            self.deadlines.add(Deadline {
                at: until,
                process: number,
                due: Due::GiveUp,
            });
        }
        process.follower = Some(follower);
    }

    /// Drops the deadline of a follower.
    pub(super) fn forget_give_up(&mut self, process: &Process) {
        if let Some(Follower::Awaited { until }) = process.follower {
            self.deadlines.remove(Deadline {
                at: until,
                process: process.info.number,
                due: Due::GiveUp,
            });
        }
    }

    /// Nobody has come to follow a process in its time: from now on its oldest output is dropped.
    pub(super) fn give_up_follower(&mut self, process: &mut Process) {
        let now = Instant::now();
        if matches!(process.follower, Some(Follower::Awaited { until }) if until <= now) {
            self.set_follower(process, Follower::GivenUp);
            self.charge(process);
            self.let_go(process);
            self.go_on(process);
        }
    }

    /// Lets others have the room of a finished process's output, unless a follower may come for it.
    pub(super) fn let_go(&mut self, process: &mut Process) {
        let is_over = process.info.end.is_some() && process.store.is_some();
        if is_over && process.held == 0 && !std::mem::replace(&mut process.is_evictable, true) {
            self.ledger(process.info.spec.output.store)
                .evictable
                .push_back(process.info.number);
        }
    }

    /// Reads again from a process that waited.
    fn go_on(&mut self, process: &mut Process) {
        if std::mem::take(&mut process.info.waits) {
            self.notices.push_back(Notice::Changed(process.info.id));
            self.pump(process, Stream::Stdout, Turn::Regular);
            self.pump(process, Stream::Stderr, Turn::Regular);
        }
    }

    /// Reads what is in a process's pipe, as much as the turn is for, and sees to it that it is
    /// read again.
    pub(super) fn pump(&mut self, process: &mut Process, stream: Stream, turn: Turn) {
        let Some(pipe) = self.take_pipe(process, stream, turn) else {
            return;
        };
        let Some(live) = &mut process.live else {
            return;
        };
        let was_busy = live.read_at.elapsed() < BUSY;
        live.read_at = Instant::now();
        let (read, stopped) = self.drain_pipe(process, &pipe, turn);
        self.tell_of(process, stopped);
        self.watch_pipe(
            process,
            pipe,
            stopped,
            was_busy && (1..=SMALL).contains(&read),
        );
        self.settle(process);
        self.enforce(process, stopped);
    }

    /// Takes a stream's pipe out of the process, when what is older than it has been read.
    fn take_pipe(&mut self, process: &mut Process, stream: Stream, turn: Turn) -> Option<Pipe> {
        let number = process.info.number;
        let live = process.live.as_mut()?;
        // Each stream has one deadline at most: this is instead of it.
        let own = live.pipes.iter_mut().find(|pipe| pipe.stream == stream);
        if let Some(at) = own.and_then(|pipe| pipe.left_until.take()) {
            self.deadlines.remove(Deadline {
                at,
                process: number,
                due: Due::Read(stream),
            });
        }
        // What was left to fill is older than what has come now.
        let older = live.pipes.iter().find(|pipe| pipe.left_until.is_some());
        if let Some(older) = older.map(|pipe| pipe.stream) {
            self.pump(process, older, turn);
        }
        let live = process.live.as_mut()?;
        let place = live.pipes.iter().position(|pipe| pipe.stream == stream)?;
        Some(live.pipes.swap_remove(place))
    }

    /// Reads a pipe into the process's store, which is made if there is something to keep. Returns
    /// how many bytes, and why no more.
    fn drain_pipe(&mut self, process: &mut Process, pipe: &Pipe, turn: Turn) -> (u64, Stopped) {
        let share = match turn {
            Turn::Regular => TURN,
            Turn::Last => LAST_TURN,
        };
        if process.store.is_none() {
            // One that only closes its stream needs no store for that.
            if state(pipe.fd.as_fd()) == PollFlags::POLLHUP {
                return (0, Stopped::Closed);
            }
            match Store::new(process.info.spec.output, self.settings.state.as_fd()) {
                Ok(store) => process.store = Some(store),
                Err(error) => return (0, Stopped::Failed(error)),
            }
        }
        let is_room_left = self.is_room_for_followers(process.info.spec.output.store);
        let mut read = 0;
        while read < share {
            if turn == Turn::Regular && process.is_full(is_room_left) {
                return (read, Stopped::Full);
            }
            let Some(store) = &mut process.store else {
                return (read, Stopped::Closed);
            };
            match store.fill(pipe.fd.as_fd(), pipe.stream, UnixMicros::now()) {
                Ok(0) => return (read, Stopped::Closed),
                Ok(length) => {
                    if length > SMALL && length <= PIPE_DEFAULT {
                        // EPERM: the kernel's own budget for pipes is used up
                        // (pipe-user-pages-soft, pipe(7)).
                        let _unused = fcntl(&pipe.fd, FcntlArg::F_SETPIPE_SZ(PIPE_SIZE));
                    }
                    read += length;
                    if length < PIPE_DEFAULT && turn == Turn::Regular {
                        break;
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(error) => return (read, Stopped::Failed(error)),
            }
        }
        if turn == Turn::Regular && process.is_full(is_room_left) {
            return (read, Stopped::Full);
        }
        (read, Stopped::ForNow)
    }

    /// Tells whoever watches that there is more, and the log, once, that not all can be kept.
    fn tell_of(&mut self, process: &mut Process, stopped: Stopped) {
        let id = process.info.id;
        let (end, refused) = process
            .store
            .as_ref()
            .map_or((0, None), |store| (store.marks.high, store.refused));
        let failed = match stopped {
            Stopped::Failed(error) => Some(error),
            Stopped::ForNow | Stopped::Closed | Stopped::Full => refused,
        };
        if let Some(error) = failed.filter(|_| !std::mem::replace(&mut process.told, true)) {
            crate::log::line(&format!(
                "process {id}: its output cannot all be kept: {error}"
            ));
        }
        if process.watch.take_if(|seen| end > *seen).is_some() {
            self.notices.push_back(Notice::Advanced(id, end));
        }
    }

    /// Sees to it that a pipe is read again when that is of use.
    fn watch_pipe(&mut self, process: &mut Process, pipe: Pipe, stopped: Stopped, is_small: bool) {
        let number = process.info.number;
        let source = Source::Process {
            number,
            part: Part::Pipe(pipe.stream),
        };
        let mut pipe = Pipe {
            left_until: None,
            ..pipe
        };
        let mut pause = BUSY / 2;
        let is_watched = match (stopped, pipe.writers) {
            (Stopped::Failed(_), _) => return self.detach(&pipe.fd),
            // Until it can be kept again.
            (Stopped::Full, _) => true,
            (Stopped::Closed, Writers::Some) => {
                pipe.writers = Writers::None;
                self.events
                    .set(pipe.fd.as_fd(), Interest::Changed, source)
                    .is_ok()
            }
            (Stopped::Closed, Writers::None) => {
                pipe.writers = Writers::NoneAsTold;
                true
            }
            // Somebody has opened and closed it, which can be done without end.
            (Stopped::Closed, Writers::NoneAsTold) => {
                pause = REOPENED;
                false
            }
            (Stopped::ForNow, _) => {
                pipe.writers = Writers::Some;
                !is_small
                    && self
                        .events
                        .set(pipe.fd.as_fd(), Interest::ReadableOnce, source)
                        .is_ok()
            }
        };
        if !is_watched {
            // While it is watched, each write(2) to it has to look whether somebody is to be told.
            self.detach(&pipe.fd);
            pipe.writers = Writers::Some;
            let at = Instant::now() + pause;
            pipe.left_until = Some(at);
            self.deadlines.add(Deadline {
                at,
                process: number,
                due: Due::Read(pipe.stream),
            });
        }
        if let Some(live) = &mut process.live {
            live.pipes.push(pipe);
        }
    }

    /// Brings what is kept back within the budget: what others have left first, then the process's
    /// own oldest, as far as that may be dropped.
    fn settle(&mut self, process: &mut Process) {
        self.charge(process);
        let excess = self.evict(process.info.spec.output.store);
        let to = process.droppable_to();
        let Some(store) = process.store.as_mut().filter(|_| excess > 0) else {
            return;
        };
        let droppable = to.saturating_sub(store.marks.low);
        if droppable > 0 {
            let _unused = store.evict(EVICT_STEP.max(excess).min(droppable));
            self.charge(process);
        }
    }

    /// Does what was asked for where no more can be kept.
    fn enforce(&mut self, process: &mut Process, stopped: Stopped) {
        match stopped {
            Stopped::ForNow | Stopped::Closed => {}
            Stopped::Failed(_) => {
                // Its output can't be kept, so it must not go on as if it were.
                self.stop_process(process, StopHow::Kill, ExitCause::OutputLimit);
                // Nor may it be told as complete, if it has ended by itself.
                if let Some(exit) = &mut process.info.main_exit {
                    exit.cause = ExitCause::OutputLimit;
                }
            }
            Stopped::Full if process.info.spec.output.overflow == Overflow::Kill => {
                self.stop_process(process, StopHow::Kill, ExitCause::OutputLimit);
            }
            Stopped::Full => {
                if !std::mem::replace(&mut process.info.waits, true) {
                    self.notices.push_back(Notice::Changed(process.info.id));
                }
            }
        }
    }

    pub(super) fn ledger(&mut self, store: OutputStore) -> &mut Ledger {
        self.ledgers.entry(store).or_default()
    }

    /// Counts what a process's output takes of the budget: all that it may come to, while none of
    /// it may be dropped.
    pub(super) fn charge(&mut self, process: &mut Process) {
        let charge = process
            .store
            .as_ref()
            .map_or(0, Store::charge)
            .max(process.reserved);
        let held = process.held_for_follower();
        let ledger = self.ledger(process.info.spec.output.store);
        ledger.charged = ledger.charged + charge - std::mem::replace(&mut process.charge, charge);
        ledger.held = ledger.held + held - std::mem::replace(&mut process.held, held);
    }

    fn budget(&self, store: OutputStore) -> u64 {
        let config = self.settings.config.output.get(&store);
        config.map_or(0, |limits| limits.budget)
    }

    /// By how much more is kept in a store than its budget.
    fn excess(&mut self, store: OutputStore) -> u64 {
        let budget = self.budget(store);
        self.ledger(store).charged.saturating_sub(budget)
    }

    /// Whether there is room for what followers have to be sent yet: it may take half of the
    /// budget, so that others have something left.
    fn is_room_for_followers(&mut self, store: OutputStore) -> bool {
        let budget = self.budget(store);
        let ledger = self.ledger(store);
        ledger.charged <= budget && ledger.held <= budget / 2
    }

    /// Takes the output of finished processes, oldest first, until the rest is within the budget.
    /// Returns how much is beyond it still.
    fn evict(&mut self, store: OutputStore) -> u64 {
        loop {
            let excess = self.excess(store);
            let oldest = (excess > 0).then(|| self.ledger(store).evictable.pop_front());
            let Some(oldest) = oldest.flatten() else {
                return excess;
            };
            self.with(oldest, |runner, process| {
                // A failure leaves room taken by what nobody reads; the marks exclude it all the
                // same.
                let _unused = process.store.as_mut().map(|store| store.evict(u64::MAX));
                runner.charge(process);
            });
        }
    }
}
