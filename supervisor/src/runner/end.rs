//! A process's way out of the table: the end of its main process, the end of its tree, the removal
//! of all that it held, and, when others need the room, of what is remembered of it. Runs in the
//! supervisor.

use prn_ipc_protocol::message::{End, ExitStatus, MainExit};
use prn_ipc_protocol::output::Stream;
use prn_ipc_protocol::types::UnixMicros;

use super::cleanup::Cleared;
use super::leftover::Owner;
use super::{Notice, Runner};
use crate::directory::Holder;
use crate::process::{Phase, Process, exit_cause};
use crate::reading::Turn;
use crate::store::Store;
use crate::sys::pidfd;

/// Most bytes of arguments that finished processes are remembered with: both halves hold them, and
/// each List sends them.
const REMEMBERED_MAX: usize = 16 << 20;

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
        self.read_the_rest(process);
        self.deadlines.remove_all_but_give_up(process.info.number);
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
        self.count(process, 0);
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
        self.deadlines.remove_all_but_give_up(owner.number);
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
        if let Some(refusal) = process.failure.take() {
            self.release(process);
            self.notices.push_back(Notice::StartFailed(id, refusal));
        } else {
            self.notices.push_back(Notice::Stopped(id));
            self.finished.push_back(process.info.number);
            self.remembered += arguments;
        }
    }

    /// Gives up what a process that is forgotten still has.
    fn release(&mut self, process: &mut Process) {
        self.numbers.remove(&process.info.id);
        self.forget_give_up(process);
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
        while self.finished.len() > most || self.remembered > REMEMBERED_MAX {
            let is_held = |number: &u64| {
                let known = self.table.get(number);
                known.is_some_and(|known| known.share.is_held())
            };
            let oldest = self.finished.iter().position(|number| !is_held(number));
            let oldest = self.finished.remove(oldest.unwrap_or(0));
            let Some(mut process) = oldest.and_then(|number| self.table.remove(&number)) else {
                return;
            };
            self.remembered -= process.info.spec.size();
            self.release(&mut process);
            self.last_change += 1;
            self.notices.push_back(Notice::Forgotten {
                id: process.info.id,
                change: self.last_change,
            });
        }
    }
}
