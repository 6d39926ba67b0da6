//! A process's way out of the table: the end of its main process, the end of its tree, the removal
//! of all that it held, and, when others need the room, of what is remembered of it. Runs in the
//! supervisor.

use std::time::Duration;

use prn_ipc_protocol::message::{End, ExitStatus, MainExit, Refusal};
use prn_ipc_protocol::output::Stream;
use prn_ipc_protocol::types::{AccessName, ProcessId, UnixMicros};

use super::cleanup::Cleared;
use super::leftover::Owner;
use super::{Notice, Runner};
use crate::admission::KEPT_BYTES_MAX;
use crate::deadlines::Due;
use crate::directory::Holder;
use crate::process::{Phase, Process, exit_cause};
use crate::reading::Turn;
use crate::store::Store;
use crate::sys::pidfd;

/// Most bytes of arguments that finished processes are remembered with: both halves hold them, and
/// each List sends them.
const REMEMBERED_MAX: usize = 2 * KEPT_BYTES_MAX;

impl Runner {
    /// Reaps the main process, if it has ended.
    pub(super) fn main_ended(&mut self, process: &mut Process) {
        let Some(status) = self.reap(process) else {
            return;
        };
        // Whoever looked at it: nothing tells of it again, nor of a report that it never took.
        self.take_back(process);
        self.reported(process);
        let phase = process.live.as_ref().map(|live| live.phase);
        if let Some(Phase::Cleaning | Phase::Unlinking) = phase {
            return self.remove(process);
        }
        if process.failure.is_none() {
            self.note_main_exit(process, status);
        }
        self.end_if_empty(process);
        // A stop under way has its own deadline for what the main process leaves behind.
        let is_left = process
            .live
            .as_ref()
            .is_some_and(|live| live.phase == Phase::Running && live.stopping.is_none());
        if is_left && !process.info.spec.linger {
            self.kill(process);
        }
    }

    /// The main process's exit status, once it has ended. It is nobody's from then on.
    fn reap(&mut self, process: &mut Process) -> Option<ExitStatus> {
        let live = process.live.as_mut()?;
        let main = live.main.as_ref()?;
        let status = match pidfd::reap(main) {
            Ok(None) => return None,
            Ok(Some(status)) => status,
            // Cannot be: it is our child, and nobody else reaps it.
            Err(_) => ExitStatus::Exited(u8::MAX),
        };
        self.detach(main);
        live.main = None;
        Some(status)
    }

    fn note_main_exit(&mut self, process: &mut Process, status: ExitStatus) {
        let Some(live) = &process.live else { return };
        let stopped_for = live.stopping.map(|stopping| stopping.cause);
        process.info.main_exit = Some(MainExit {
            status,
            cause: exit_cause(status, stopped_for, live.group.oom_kills()),
            at: UnixMicros::now(),
        });
        self.changed(process);
    }

    /// Finishes the process if its tree is empty.
    pub(super) fn end_if_empty(&mut self, process: &mut Process) {
        let Some(live) = &mut process.live else {
            return;
        };
        // Asked in any case: it rearms the group's events.
        if live.group.populated() || !live.has_ended() {
            return;
        }
        live.phase = Phase::Removing;
        self.free_name(process);
        self.read_the_rest(process);
        self.deadlines.remove_all_of_life(process.info.number);
        if process.failure.is_none() {
            self.note_end(process);
        }
        self.finish_output(process);
        self.remove(process);
    }

    /// Reads what is in the pipes, which is all that there will be, and closes them: a stranger who
    /// was handed a pipe's end is not waited for.
    fn read_the_rest(&mut self, process: &mut Process) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.pump(process, stream, Turn::Last);
        }
        let Some(live) = &mut process.live else {
            return;
        };
        live.pipes.drain(..).for_each(|pipe| self.detach(&pipe.fd));
        self.detach(&live.group.events);
        self.close_input(process);
    }

    fn note_end(&mut self, process: &mut Process) {
        let Some(live) = &process.live else { return };
        let output = process.store.as_ref().map(Store::totals);
        process.info.end = Some(End {
            at: UnixMicros::now(),
            usage: live
                .group
                .texts(&["cpu.stat", "memory.peak", "io.stat", "pids.peak"]),
            output: output.unwrap_or_default(),
        });
        process.info.stuck.clear();
        process.info.waits = false;
        process.info.paused = false;
        process.info.lease_ends = None;
        self.audit.ended(&process.info, process.digest);
        self.changed(process);
    }

    /// Nothing is added to its output any more, and nothing set aside for it.
    fn finish_output(&mut self, process: &mut Process) {
        // Who reads what was never written has descriptors of its own.
        process.store.take_if(|store| store.marks.high == 0);
        if let Some(store) = &mut process.store {
            store.data.finish();
            store.page.finish();
        }
        let kept = process.store.as_ref().filter(|_| process.is_kept());
        self.count(process, kept.map_or(0, Store::charge));
        self.let_go(process);
    }

    /// Removes group and directories, now or soon, and with them the last of the process.
    pub(super) fn remove(&mut self, process: &mut Process) {
        let Some(live) = &mut process.live else {
            return;
        };
        let owner = Owner {
            number: process.info.number,
            holder: Holder::Process(process.info.id),
            workspace: process.info.spec.workspace.clone(),
            uid: process.account,
        };
        let cleared = self.clear(&owner, live);
        if cleared == Cleared::Later {
            return;
        }
        self.deadlines.remove_all_of_life(owner.number);
        let workspace = owner.workspace.clone();
        match process.live.take() {
            // Somebody else must not get what is left as its own.
            Some(live) if cleared == Cleared::Not => self.leave(owner, live, 1),
            _ => self.free_uids.push_back(owner.uid),
        }
        self.tell_gone(process);
        if let Some(name) = workspace.filter(|_| cleared == Cleared::All) {
            self.gone_from_workspace(&name);
        }
    }

    /// Nothing of the process is alive: answers whoever has started or stopped it.
    fn tell_gone(&mut self, process: &mut Process) {
        let (id, arguments) = (process.info.id, process.info.spec.size());
        self.arguments -= arguments;
        self.uncount(process.info.started_by.as_ref());
        if let Some(refusal) = process.failure.take() {
            self.release(process);
            self.audit.start_failed(id, &refusal);
            self.notices.push_back(Notice::StartFailed(id, refusal));
        } else {
            self.notices.push_back(Notice::Stopped(id));
            self.remember(process);
        }
    }

    /// One process less is this principal's.
    fn uncount(&mut self, principal: Option<&AccessName>) {
        let Some(principal) = principal else { return };
        if let Some(count) = self.of_principals.get_mut(principal) {
            *count -= 1;
            if *count == 0 {
                self.of_principals.remove(principal);
            }
        }
    }

    /// Remembers a finished process, for as long as it is to be, and others have no need of its room.
    fn remember(&mut self, process: &Process) {
        let (number, retention) = (process.info.number, process.info.spec.retention);
        if process.is_unwanted {
            return self.deadline(number, Duration::ZERO, Due::Forget);
        }
        if retention.is_kept {
            return;
        }
        let ages = [retention.max_age, self.settings.config.finished_age];
        if let Some(age) = ages.into_iter().flatten().min() {
            self.deadline(number, age.duration(), Due::Forget);
        }
        self.finished.push_back(number);
        self.remembered += process.info.spec.size();
    }

    /// Forgets a finished process now, or as soon as everything of it is gone.
    /// [`Notice::Forgotten`] follows.
    ///
    /// # Errors
    /// `UnknownProcess` or `NotEnded`.
    pub fn forget(&mut self, id: ProcessId) -> Result<(), Refusal> {
        let process = self.known_by(id)?;
        if process.info.end.is_none() {
            return Err(Refusal::NotEnded);
        }
        process.is_unwanted = true;
        let number = process.info.number;
        if process.live.is_none() {
            self.forget_number(number);
        }
        Ok(())
    }

    /// Lets another process have this one's name.
    pub(super) fn free_name(&mut self, process: &Process) {
        let name = process.info.spec.name.as_ref();
        let own = name.filter(|name| self.names.get(name) == Some(&process.info.id));
        own.map(|name| self.names.remove(name));
    }

    /// Gives up what a process that is forgotten still has.
    fn release(&mut self, process: &mut Process) {
        self.numbers.remove(&process.info.id);
        self.free_name(process);
        self.forget_give_up(process);
        self.deadlines
            .take_back_due(process.info.number, Due::Forget);
        if process.is_kept() {
            self.kept.count -= 1;
            self.kept.bytes -= process.info.spec.size();
        }
        // The frontend may hold it open still.
        let _unused = process.store.take().map(|mut store| store.evict(u64::MAX));
        self.ledgers
            .of_mut(process.info.spec.output.store)
            .forget(process.info.number, &mut process.share);
    }

    /// Forgets finished processes, oldest first, down to what is allowed: those last whose output
    /// is kept for a follower.
    pub(super) fn forget_finished(&mut self) {
        let most = usize::try_from(self.settings.config.finished_max).unwrap_or(usize::MAX);
        let is_over = |runner: &Self| {
            runner.finished.len() + runner.kept.count > most
                || runner.remembered + runner.kept.bytes > REMEMBERED_MAX
        };
        while !self.finished.is_empty() && is_over(self) {
            let is_held = |number: &u64| {
                let known = self.table.get(number);
                known.is_some_and(|known| known.share.is_held())
            };
            let oldest = self.finished.iter().position(|number| !is_held(number));
            let oldest = self.finished.get(oldest.unwrap_or(0)).copied();
            self.forget_number(oldest.unwrap_or(0));
        }
    }

    /// Forgets the finished process with this number.
    pub(super) fn forget_number(&mut self, number: u64) {
        // In any case, for who forgets all that are too many goes on until it is gone.
        let place = self.finished.iter().position(|other| *other == number);
        let counted = place.and_then(|place| self.finished.remove(place));
        let Some(mut process) = self.table.remove(&number) else {
            return;
        };
        if counted.is_some() {
            self.remembered -= process.info.spec.size();
        }
        self.release(&mut process);
        self.forgotten.add(process.info.id);
        self.last_change += 1;
        self.notices.push_back(Notice::Forgotten {
            last: Box::new(process.info),
            change: self.last_change,
        });
    }
}
