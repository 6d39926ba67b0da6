//! What the kernel reports of a process, up to its end and the removal of all that it held. Runs in
//! the supervisor.

use prn_ipc_protocol::output::Stream;

use super::cleanup::{Cleared, Owner};
use super::*;

/// Most bytes of arguments that finished processes are remembered with: both halves hold them, and
/// each List sends them.
const REMEMBERED_MAX: usize = 16 << 20;

impl Runner {
    /// Reads whether the program runs.
    pub(super) fn reported(&mut self, process: &mut Process) {
        let Some(live) = &mut process.live else {
            return;
        };
        let Some(report) = live.report.take() else {
            return;
        };
        match spawn::failure(&report) {
            Err(Errno::EAGAIN | Errno::EINTR) => {
                live.report = Some(report);
                return;
            }
            Ok(None) => {
                process.info.started = UnixMicros::now();
                self.notices.extend([
                    Notice::Changed(process.info.id),
                    Notice::Started(process.info.id),
                ]);
            }
            Ok(Some((step, errno))) => process.failure = Some(Refusal::Exec { step, errno }),
            Err(error) => {
                process.failure = Some(Refusal::Exec {
                    step: ChildStep::Exec,
                    errno: errno_number(error),
                })
            }
        }
        self.detach(&report);
    }

    /// Reaps the main process, if it has ended.
    pub(super) fn main_ended(&mut self, process: &mut Process) {
        let Some(live) = &mut process.live else {
            return;
        };
        let Some(main) = &live.main else { return };
        let status = match pidfd::reap(main) {
            Ok(None) => return,
            Ok(Some(status)) => status,
            // Cannot be: it is our child, and nobody else reaps it.
            Err(_) => ExitStatus::Exited(u8::MAX),
        };
        self.detach(main);
        live.main = None;
        if matches!(live.phase, Phase::Cleaning | Phase::Unlinking) {
            return self.remove(process);
        }
        if process.failure.is_none() {
            let cause = exit_cause(
                status,
                live.stopping.map(|stopping| stopping.cause),
                live.group.oom_kills(),
            );
            process.info.main_exit = Some(MainExit {
                status,
                cause,
                at: UnixMicros::now(),
            });
            self.notices.push_back(Notice::Changed(process.info.id));
        }
        self.end_if_empty(process);
        // A stop under way has its own deadline for what the main process leaves behind.
        if let Some(live) = &process.live
            && (live.phase == Phase::Running
                && live.stopping.is_none()
                && !process.info.spec.linger)
        {
            self.kill(process);
        }
    }

    /// Finishes the process if its tree is empty.
    pub(super) fn end_if_empty(&mut self, process: &mut Process) {
        let Some(live) = &mut process.live else {
            return;
        };
        let ended = live.main.is_none() && live.report.is_none() && live.phase == Phase::Running;
        // Asked in any case: it rearms the group's events.
        if live.group.populated() || !ended {
            return;
        }
        live.phase = Phase::Removing;
        // What is in the pipes is all that there will be; a stranger who was handed a pipe's end is
        // not waited for.
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.pump(process, stream, Turn::Last);
        }
        let Some(live) = &mut process.live else {
            return;
        };
        live.pipes.drain(..).for_each(|pipe| self.detach(&pipe.fd));
        self.detach(&live.group.events);
        self.deadlines.remove_all_but_give_up(process.info.number);
        if process.failure.is_none() {
            let output = process
                .store
                .as_ref()
                .map(Store::totals)
                .unwrap_or_default();
            let usage = live
                .group
                .texts(&["cpu.stat", "memory.peak", "io.stat", "pids.peak"]);
            process.info.end = Some(End {
                at: UnixMicros::now(),
                usage,
                output,
            });
            process.info.stuck.clear();
            process.info.waits = false;
            self.notices.push_back(Notice::Changed(process.info.id));
        }
        // Who reads what was never written has descriptors of its own.
        process.store.take_if(|store| store.marks.high == 0);
        if let Some(store) = &mut process.store {
            store.data.finish();
            store.page.finish();
        }
        self.ledger(process.info.spec.output.store).reserved -=
            std::mem::take(&mut process.reserved);
        self.charge(process);
        self.let_go(process);
        self.remove(process);
    }

    /// Removes group and directories, now or soon, and with them the last of the process.
    pub(super) fn remove(&mut self, process: &mut Process) {
        let Some(live) = &mut process.live else {
            return;
        };
        let (id, number) = (process.info.id, process.info.number);
        let owner = Owner {
            number,
            id,
            uid: process.info.uid,
        };
        let cleared = self.clear(owner, live);
        if cleared == Cleared::Later {
            return;
        }
        self.deadlines.remove_all_but_give_up(number);
        match process.live.take() {
            // Somebody else must not get what is left as its own.
            Some(live) if cleared == Cleared::Not => self.leave(owner, live),
            _ => self.free_uids.push_back(owner.uid),
        }
        self.arguments -= process.info.spec.argv.size();
        if let Some(refusal) = process.failure.take() {
            self.release(process);
            self.notices.push_back(Notice::StartFailed(id, refusal));
        } else {
            self.notices.push_back(Notice::Stopped(id));
            self.finished.push_back(number);
            self.remembered += process.info.spec.argv.size();
        }
    }

    /// Gives up what a process that is forgotten still has.
    fn release(&mut self, process: &mut Process) {
        self.numbers.remove(&process.info.id);
        self.forget_give_up(process);
        // The frontend may hold it open still.
        let _unused = process.store.take().map(|mut store| store.evict(u64::MAX));
        let ledger = self.ledger(process.info.spec.output.store);
        ledger.charged -= process.charge;
        ledger.reserved -= process.reserved;
        ledger.held -= process.held;
        ledger
            .evictable
            .retain(|other| *other != process.info.number);
    }

    /// Forgets finished processes, oldest first, down to what is allowed: those last whose output
    /// is kept for a follower.
    pub(super) fn forget_finished(&mut self) {
        let most = usize::try_from(self.settings.config.finished_max).unwrap_or(usize::MAX);
        while self.finished.len() > most || self.remembered > REMEMBERED_MAX {
            let is_held = |number: &u64| self.table.get(number).is_some_and(|known| known.held > 0);
            let place = self.finished.iter().position(|number| !is_held(number));
            let oldest = self.finished.remove(place.unwrap_or(0));
            let Some(mut process) = oldest.and_then(|number| self.table.remove(&number)) else {
                return;
            };
            self.remembered -= process.info.spec.argv.size();
            self.release(&mut process);
            self.notices.push_back(Notice::Forgotten(process.info.id));
        }
    }
}
