//! Output on its way from the pipes to the stores, within the budget. Runs in the supervisor.

use std::fs::File;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::PollFlags;
use prn_ipc_protocol::message::{ExitCause, OutputStore, Preparation, Refusal, StopHow};
use prn_ipc_protocol::output::Stream;
use prn_ipc_protocol::types::{ProcessId, UnixMicros};

use super::{Notice, Runner, resources};
use crate::deadlines::{Deadline, Due};
use crate::events::{Part, Source};
use crate::pipes::{PIPE_DEFAULT, PIPE_GROWN, PipeBudget};
use crate::process::{Kind, Pipe, Process, Writers};
use crate::reading::{Again, Consequence, Pace, SMALL, Stopped, Turn, again, consequence};
use crate::store::{Store, state};

/// Room is given back in steps of this size at least, so that a process at the budget does not pay
/// for each read.
const EVICT_STEP: u64 = 1 << 20;

/// After what time a pipe is looked into that cannot be watched.
const UNWATCHED: Duration = Duration::from_micros(200);

/// Most output bytes read for one process in one turn: a chatty one starves nobody.
const TURN: u64 = 1 << 20;

/// Bytes read for a process that has ended: all that its pipe can hold, many times over. A pipe in
/// packet mode (O_DIRECT, pipe(7)) gives a packet at a time, so that only EAGAIN says that it is
/// empty.
const LAST_TURN: u64 = 4 << 20;

/// What a look into a pipe came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Drained {
    /// Bytes that were read.
    bytes: u64,
    /// Why no more.
    stopped: Stopped,
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
        self.with_id(id, |runner, process| {
            process.watch = Some(seen);
            runner.tell_watcher(process);
        });
    }

    /// All readers of a process's output that count have taken it up to there: one that waits for
    /// that goes on.
    pub fn taken(&mut self, id: ProcessId, offset: u64) {
        self.with_id(id, |runner, process| {
            process.taken = process.taken.max(offset.min(process.end_offset()));
            runner.recount(process);
            runner.let_go(process);
            runner.go_on(process);
        });
    }

    /// Lets others have the room of a finished process's output, unless a follower may come for it.
    pub(super) fn let_go(&mut self, process: &mut Process) {
        let is_over = process.info.end.is_some() && process.store.is_some();
        let is_free = is_over && !process.share.is_held() && !process.is_kept();
        if is_free && !std::mem::replace(&mut process.is_evictable, true) {
            self.ledgers
                .of_mut(process.info.spec.output.store)
                .let_go(process.info.number);
        }
    }

    /// Reads again from a process that waited.
    pub(super) fn go_on(&mut self, process: &mut Process) {
        if std::mem::take(&mut process.info.waits) {
            self.changed(process);
            self.pump(process, Stream::Stdout, Turn::Regular);
            self.pump(process, Stream::Stderr, Turn::Regular);
        }
    }

    /// Reads what is in a process's pipe, as much as the turn is for, and sees to it that it is
    /// read again.
    pub(super) fn pump(&mut self, process: &mut Process, stream: Stream, turn: Turn) {
        let Some(mut pipe) = self.take_pipe(process, stream, turn) else {
            return;
        };
        let Some(live) = &mut process.live else {
            return;
        };
        let since = live.read_at.elapsed();
        live.read_at = Instant::now();
        let Drained { bytes, stopped } = self.drain_pipe(process, &mut pipe, turn);
        self.tell_of(process, stopped);
        self.put_back_pipe(process, pipe, stopped, Pace::of(bytes, since));
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
        let index = live.pipes.iter().position(|pipe| pipe.stream == stream)?;
        Some(live.pipes.swap_remove(index))
    }

    /// Reads a pipe into the process's store, which is made if there is something to keep.
    fn drain_pipe(&mut self, process: &mut Process, pipe: &mut Pipe, turn: Turn) -> Drained {
        let mut bytes = 0;
        if let Err(stopped) = self.make_store(process, pipe) {
            return Drained { bytes, stopped };
        }
        let ledger = self.ledgers.of(process.info.spec.output.store);
        let (share, enough) = match (turn, pipe.kind) {
            (Turn::Regular, Kind::Pipe) => (TURN, PIPE_DEFAULT),
            (Turn::Regular, Kind::Terminal) => (TURN, 0),
            (Turn::Last, Kind::Pipe | Kind::Terminal) => (LAST_TURN, 0),
        };
        // The last time everything is taken, for which there is room.
        let is_full = |process: &Process| turn == Turn::Regular && process.is_full(ledger);
        let stopped = loop {
            if is_full(process) {
                break Stopped::Full;
            }
            let Some(store) = &mut process.store else {
                break Stopped::Closed;
            };
            if bytes >= share {
                break Stopped::ForNow;
            }
            match store.fill(pipe.fd.as_fd(), pipe.stream, UnixMicros::now()) {
                Ok(0) => break Stopped::Closed,
                Ok(length) => {
                    grow(pipe, length, &self.pipes);
                    bytes += length;
                    // Less than a pipe holds: it is empty now.
                    if length < enough {
                        break if is_full(process) {
                            Stopped::Full
                        } else {
                            Stopped::ForNow
                        };
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break Stopped::ForNow,
                Err(Errno::EIO) if pipe.kind == Kind::Terminal => break Stopped::Closed,
                Err(error) => break Stopped::Failed(error),
            }
        };
        Drained { bytes, stopped }
    }

    /// Makes a process's store, if there is none, for what its pipe holds.
    fn make_store(&self, process: &mut Process, pipe: &Pipe) -> Result<(), Stopped> {
        if process.store.is_some() {
            return Ok(());
        }
        // One that only closes its stream needs no store for that.
        if state(pipe.fd.as_fd()) == PollFlags::POLLHUP {
            return Err(Stopped::Closed);
        }
        let store = Store::new(process.info.spec.output, self.settings.state.as_fd());
        process.store = Some(store.map_err(Stopped::Failed)?);
        Ok(())
    }

    /// Tells whoever watches that there is more, and the log, once, that not all can be kept.
    fn tell_of(&mut self, process: &mut Process, stopped: Stopped) {
        let id = process.info.id;
        let failed = match stopped {
            Stopped::Failed(error) => Some(error),
            Stopped::ForNow | Stopped::Closed | Stopped::Full => {
                process.store.as_ref().and_then(|store| store.refused)
            }
        };
        if let Some(error) = failed.filter(|_| !std::mem::replace(&mut process.told, true)) {
            let fields = [("process", &*id.to_string()), ("error", error.desc())];
            crate::log::warning("its output cannot all be kept", &fields);
        }
        self.tell_watcher(process);
    }

    fn tell_watcher(&mut self, process: &mut Process) {
        let end = process.end_offset();
        if process.watch.take_if(|seen| end > *seen).is_some() {
            let advanced = Notice::Advanced(process.info.id, end);
            self.notices.push_back(advanced);
        }
    }

    /// Sees to it that a pipe is looked into again when that is of use.
    fn put_back_pipe(&mut self, process: &mut Process, pipe: Pipe, stopped: Stopped, pace: Pace) {
        let number = process.info.number;
        let (again, writers) = again(stopped, pipe.writers, pace);
        let mut pipe = Pipe {
            left_until: None,
            writers,
            ..pipe
        };
        let pause = match again {
            Again::Never => return self.detach(&pipe.fd),
            Again::WhenTold | Again::AsWatched => None,
            Again::On(interest) => {
                let part = Part::Pipe(pipe.stream);
                let source = Source::Process { number, part };
                let watched = self.events.set(pipe.fd.as_fd(), interest, source);
                watched.is_err().then_some(UNWATCHED)
            }
            Again::After(pause) => Some(pause),
        };
        if let Some(pause) = pause {
            self.leave_to_fill(number, &mut pipe, pause);
        }
        if let Some(live) = &mut process.live {
            live.pipes.push(pipe);
        }
    }

    /// Looks into a pipe again after this time.
    fn leave_to_fill(&mut self, process: u64, pipe: &mut Pipe, pause: Duration) {
        // While it is watched, each write(2) to it has to look whether somebody is to be told.
        self.detach(&pipe.fd);
        pipe.writers = Writers::Some;
        let at = Instant::now() + pause;
        pipe.left_until = Some(at);
        self.deadlines.add(Deadline {
            at,
            process,
            due: Due::Read(pipe.stream),
        });
    }

    /// Brings what is kept back within the budget: what others have left first, then the process's
    /// own oldest, as far as that may be dropped.
    fn settle(&mut self, process: &mut Process) {
        self.recount(process);
        let excess = self.evict(process.info.spec.output.store);
        let to = process.droppable_to();
        let Some(store) = process.store.as_mut().filter(|_| excess > 0) else {
            return;
        };
        let droppable = to.saturating_sub(store.marks.low);
        if droppable > 0 {
            let _unused = store.evict(EVICT_STEP.max(excess).min(droppable));
            self.recount(process);
        }
    }

    /// Does what was asked for where no more can be kept.
    fn enforce(&mut self, process: &mut Process, stopped: Stopped) {
        match consequence(stopped, process.info.spec.output.overflow) {
            Consequence::Nothing => {}
            Consequence::Wait => {
                if !std::mem::replace(&mut process.info.waits, true) {
                    self.changed(process);
                }
            }
            Consequence::Kill => {
                self.stop_process(process, StopHow::Kill, ExitCause::OutputLimit);
            }
            Consequence::KillAsIncomplete => {
                self.stop_process(process, StopHow::Kill, ExitCause::OutputLimit);
                if let Some(exit) = &mut process.info.main_exit {
                    exit.cause = ExitCause::OutputLimit;
                }
            }
        }
    }

    /// Counts what a process's output takes of the budget, while `reserved` bytes are set aside for
    /// it.
    pub(super) fn count(&mut self, process: &mut Process, reserved: u64) {
        let share = process.share(reserved);
        self.ledgers
            .of_mut(process.info.spec.output.store)
            .count(&mut process.share, share);
    }

    /// As [`Runner::count`], with what is set aside for it anyway.
    pub(super) fn recount(&mut self, process: &mut Process) {
        self.count(process, process.share.reserved());
    }

    /// Takes the output of finished processes, oldest first, until the rest is within the budget.
    /// Returns how much is beyond it still.
    fn evict(&mut self, store: OutputStore) -> u64 {
        while let Some(oldest) = self.ledgers.of_mut(store).take_evictable() {
            self.with(oldest, |runner, process| {
                // A failure leaves room taken by what nobody reads; the marks exclude it all the
                // same.
                let _unused = process.store.as_mut().map(|store| store.evict(u64::MAX));
                runner.recount(process);
            });
        }
        self.ledgers.of(store).excess()
    }
}

/// Makes a pipe larger that was full, as far as can be told from what was read of it.
fn grow(pipe: &mut Pipe, read: u64, budget: &PipeBudget) {
    if pipe.growth.is_some() || read <= SMALL || read > PIPE_DEFAULT {
        return;
    }
    // Later, when others have been closed.
    let Some(growth) = budget.take() else { return };
    let size = i32::try_from(PIPE_GROWN).unwrap_or(i32::MAX);
    // EPERM: its process has used up what the kernel lets it have of pipes (pipe-user-pages-soft,
    // pipe(7)).
    if fcntl(&pipe.fd, FcntlArg::F_SETPIPE_SZ(size)).is_ok() {
        pipe.growth = Some(growth);
    }
}
