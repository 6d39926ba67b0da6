//! Output on its way from the pipes to the stores, within the budget. Runs in the supervisor.

use super::*;
use crate::output::state;

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

/// For a process's pipe: told once, and again when it has been read, or when it is to be read.
pub(super) const ARMED: EpollFlags = EpollFlags::EPOLLIN.union(EpollFlags::EPOLLONESHOT);

/// Bytes in a pipe once it was found full, as far as can be told: beyond that, measured, there is
/// under 10 % to gain.
const PIPE_SIZE: i32 = 256 * 1024;
/// Bytes in a pipe as it is made (pipe(7)).
const PIPE_DEFAULT: u64 = 64 * 1024;

/// Bytes read for a process that has ended: all that its pipe can hold, many times over. A pipe in
/// packet mode (O_DIRECT, pipe(7)) gives a packet at a time, so that only EAGAIN says that it is
/// empty.
pub(super) const LAST_TURN: u64 = 4 << 20;

impl Runner {
    /// Read-only descriptors of a process's output: data and page, for a
    /// [`prn_ipc_protocol::output::Reader`].
    ///
    /// # Errors
    /// `UnknownProcess`, or `Resources` when the store cannot be made.
    pub fn output(&mut self, id: ProcessId) -> Result<[File; 2], Refusal> {
        let process = self
            .numbers
            .get(&id)
            .and_then(|number| self.table.get_mut(number));
        let process = process
            .filter(|process| process.visible())
            .ok_or(Refusal::UnknownProcess)?;
        let made = process.store.take().map_or_else(
            || Store::new(process.info.output, self.settings.state.as_fd()),
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

    /// All who read a process's output have taken it up to there: one that waits for that goes on.
    pub fn taken(&mut self, id: ProcessId, offset: u64) {
        let Some(number) = self.numbers.get(&id) else {
            return;
        };
        self.with(*number, |runner, process| {
            let end = process.store.as_ref().map_or(0, |store| store.marks.high);
            process.taken = process.taken.max(offset.min(end));
            if std::mem::take(&mut process.info.waits) {
                runner.notices.push_back(Notice::Changed(id));
                runner.pump(process, Stream::Stdout, TURN);
                runner.pump(process, Stream::Stderr, TURN);
            }
        });
    }

    /// Reads what is in a process's pipe, up to `budget` bytes, and sees to it that it is read
    /// again.
    pub(super) fn pump(&mut self, process: &mut Process, stream: Stream, budget: u64) {
        let Some(live) = &mut process.live else {
            return;
        };
        // Each stream has one deadline at most: this is instead of it.
        let own = live.streams.iter_mut().find(|(other, ..)| *other == stream);
        if let Some(at) = own.and_then(|(.., until)| until.take()) {
            self.due
                .remove(&(at, process.info.number, Due::Read(stream)));
        }
        // What was left to fill is older than what has come now.
        if let Some(&(older, ..)) = live.streams.iter().find(|(.., until)| until.is_some()) {
            self.pump(process, older, budget);
        }
        let Some(live) = &mut process.live else {
            return;
        };
        let Some(place) = live.streams.iter().position(|(other, ..)| *other == stream) else {
            return;
        };
        let (_, pipe, _) = live.streams.swap_remove(place);
        let busy = live.read_at.elapsed() < BUSY;
        live.read_at = Instant::now();
        let mut failed = None;
        // One that only closes its stream needs no store for that.
        if process.store.is_none() && state(pipe.as_fd()) != PollFlags::POLLHUP {
            let store = Store::new(process.info.output, self.settings.state.as_fd());
            process.store = store.map_err(|error| failed = Some(error)).ok();
        }
        let (mut read, mut ended, mut full) = (
            0,
            process.store.is_none(),
            process.is_full() && budget != LAST_TURN,
        );
        while let Some(store) = process
            .store
            .as_mut()
            .filter(|_| read < budget && !ended && !full)
        {
            match store.fill(pipe.as_fd(), stream, UnixMicros::now()) {
                Ok(0) => ended = true,
                Ok(length) => {
                    if length > SMALL && length <= PIPE_DEFAULT {
                        // EPERM: the kernel's own budget for pipes is used up
                        // (pipe-user-pages-soft, pipe(7)).
                        let _unused = fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(PIPE_SIZE));
                    }
                    read += length;
                    if length < PIPE_DEFAULT && budget != LAST_TURN {
                        break;
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(error) => (ended, failed) = (true, Some(error)),
            }
            full = process.is_full() && budget != LAST_TURN;
        }
        let (end, refused) = process
            .store
            .as_ref()
            .map_or((0, None), |store| (store.marks.high, store.refused));
        if let Some(error) = failed
            .or(refused)
            .filter(|_| !std::mem::replace(&mut process.told, true))
        {
            crate::log::line(&format!(
                "process {}: its output cannot all be kept: {error}",
                process.info.id
            ));
        }
        self.notices.extend(
            process
                .watch
                .take_if(|seen| end > *seen)
                .map(|_| Notice::Advanced(process.info.id, end)),
        );
        if ended {
            self.detach(&pipe);
        } else {
            let token =
                process.info.number << 3 | (source::STDOUT + u64::from(stream == Stream::Stderr));
            let is_small = busy && (1..=SMALL).contains(&read);
            let pause = !full && (is_small || self.watch_fd(pipe.as_fd(), ARMED, token).is_err());
            let until = pause.then(|| Instant::now() + BUSY / 2);
            if let Some(at) = until {
                // While it is watched, each write(2) to it has to look whether somebody is to be
                // told.
                self.detach(&pipe);
                self.due
                    .insert((at, process.info.number, Due::Read(stream)));
            }
            if let Some(live) = &mut process.live {
                live.streams.push((stream, pipe, until));
            }
        }
        self.charge(process);
        let Keeping {
            overflow, store, ..
        } = process.info.output;
        // Others first, then its own oldest, unless none of it may be dropped.
        let excess = self.evict(store);
        if let Some(store) = process
            .store
            .as_mut()
            .filter(|_| excess > 0 && overflow == Overflow::DropOldest)
        {
            let _unused = store.evict(EVICT_STEP.max(excess));
            self.charge(process);
        }
        if failed.is_some() || (full && overflow == Overflow::Kill) {
            // Its output can't be kept, so it must not go on as if it were.
            self.stop_process(process, StopHow::Kill, ExitCause::OutputLimit);
            // Nor may it be told as complete, if it has ended by itself.
            let exit = process.info.main_exit.as_mut().filter(|_| failed.is_some());
            exit.into_iter()
                .for_each(|exit| exit.cause = ExitCause::OutputLimit);
        } else if full && !std::mem::replace(&mut process.info.waits, true) {
            self.notices.push_back(Notice::Changed(process.info.id));
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
        let ledger = self.ledger(process.info.output.store);
        ledger.charged = ledger.charged + charge - std::mem::replace(&mut process.charge, charge);
    }

    /// Takes the output of finished processes, oldest first, until the rest is within the budget.
    /// Returns how much is beyond it still.
    fn evict(&mut self, store: OutputStore) -> u64 {
        let budget = self
            .settings
            .config
            .output
            .get(&store)
            .map_or(0, |(_, budget)| *budget);
        loop {
            let ledger = self.ledger(store);
            let excess = ledger.charged.saturating_sub(budget);
            let Some(oldest) = (excess > 0).then(|| ledger.evictable.pop_front()).flatten() else {
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
