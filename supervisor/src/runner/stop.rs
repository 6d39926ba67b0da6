//! Stops and deadlines. Runs in the supervisor.

use std::time::{Duration, Instant};

use nix::libc::{SIGCONT, SIGTERM};
use prn_ipc_protocol::message::{ExitCause, LeftBehind, ProcessInfo, Refusal, Stop, StopHow};
use prn_ipc_protocol::types::{AccessName, ProcessId, UnixMicros};

use super::update::set_paused;
use super::{Notice, Runner};
use crate::deadlines::{Deadline, Due};
use crate::process::{Live, Phase, Process};
use crate::reading::Turn;
use crate::stopping::{Action, Stopping, is_kill_due, stop};

/// How long a killed tree has to die before it is reported as stuck.
const KILL_WAIT: Duration = Duration::from_secs(5);

impl Runner {
    /// Stops a process with everything it started, for this principal if it is somebody's wish.
    /// [`Notice::Stopped`] follows.
    ///
    /// # Errors
    /// `UnknownProcess`.
    pub fn stop(
        &mut self,
        id: ProcessId,
        how: StopHow,
        by: Option<&AccessName>,
    ) -> Result<(), Refusal> {
        let number = *self.numbers.get(&id).ok_or(Refusal::UnknownProcess)?;
        self.with(number, |runner, process| {
            let was_stopped = process.info.stop.is_some();
            runner.stop_process(process, how, ExitCause::StoppedOnRequest);
            if let Some(stop) = process.info.stop.as_mut().filter(|_| !was_stopped) {
                stop.by = by.cloned();
            }
        });
        Ok(())
    }

    /// From now on starts are refused. Stops all processes; ask [`Runner::is_empty`] when that is
    /// done.
    pub fn drain(&mut self, how: StopHow) {
        if !std::mem::replace(&mut self.draining, true) {
            self.notices.push_back(Notice::Draining);
        }
        let live = self.table.iter().filter(|(_, known)| known.live.is_some());
        let all: Vec<u64> = live.map(|(number, _)| *number).collect();
        self.leave_leftovers();
        for number in all {
            self.with(number, |runner, process| {
                runner.stop_process(process, how, ExitCause::StoppedOnRequest)
            });
        }
        self.begin_removals();
    }

    pub(super) fn stop_process(&mut self, process: &mut Process, how: StopHow, cause: ExitCause) {
        // A main process that ended by itself a moment ago was not stopped.
        self.reported(process);
        self.main_ended(process);
        // It could not end otherwise.
        if process.info.paused {
            let _unused = set_paused(process, false);
        }
        let Some(live) = &mut process.live else {
            self.notices.push_back(Notice::Stopped(process.info.id));
            return;
        };
        let now = Instant::now();
        let patience = process.info.spec.stop_grace.duration();
        match stop(live.stop_state(), how, patience, now) {
            // Notice::Stopped comes when that is done.
            Action::Nothing => {}
            Action::KillRemover => {
                let _unused = live.group.kill();
            }
            Action::Ask { grace } => {
                begin(&mut process.info, live, cause, now + grace);
                // A stopped process could not act on SIGTERM before it is killed; systemd.kill(5)
                // does the same.
                live.group.signal(&[SIGTERM, SIGCONT]);
                self.deadline(process.info.number, grace, Due::Kill);
                self.changed(process);
            }
            Action::BeginKill => {
                begin(&mut process.info, live, cause, now);
                self.kill(process);
            }
            Action::Shorten { grace } => {
                if let Some(stopping) = &mut live.stopping {
                    stopping.kill_at = now + grace;
                }
                self.deadline(process.info.number, grace, Due::Kill);
            }
            Action::Kill => self.kill(process),
        }
    }

    /// Kills the tree.
    pub(super) fn kill(&mut self, process: &mut Process) {
        let Some(live) = &mut process.live else {
            return;
        };
        if let Some(stopping) = &mut live.stopping {
            stopping.killed = true;
        }
        if let Some(stop) = &mut process.info.stop {
            stop.killed.get_or_insert_with(UnixMicros::now);
        }
        let cause = live.stopping.map(|stopping| stopping.cause);
        note_left_behind(&mut process.info, live, cause);
        if let Err(error) = live.group.kill() {
            let id = process.info.id.to_string();
            let fields = [("process", &*id), ("error", error.desc())];
            crate::log::error("cannot kill its group", &fields);
        }
        self.deadline(process.info.number, KILL_WAIT, Due::Stuck);
        self.changed(process);
    }

    pub(super) fn deadline(&mut self, process: u64, after: Duration, due: Due) {
        self.deadlines.add(Deadline {
            at: Instant::now() + after,
            process,
            due,
        });
    }

    pub(super) fn due(&mut self, process: &mut Process, due: Due) {
        // A follower may come after a process's end as well.
        if due == Due::GiveUp {
            return self.give_up_follower(process);
        }
        // The kernel tells once that nothing is left.
        if due == Due::Stuck && process.is_alive() {
            self.end_if_empty(process);
            if !process.is_alive() {
                return;
            }
        }
        let Some(live) = process.live.as_ref() else {
            return;
        };
        match due {
            Due::Timeout => {
                self.stop_process(process, StopHow::Graceful(None), ExitCause::TimedOut)
            }
            Due::Lease => {
                self.stop_process(process, StopHow::Graceful(None), ExitCause::LeaseExpired)
            }
            Due::Kill => {
                if is_kill_due(live.stopping, Instant::now()) {
                    note_outlived(&mut process.info, live);
                    self.kill(process);
                }
            }
            // A stop is answered all the same.
            Due::Stuck => {
                process.info.stuck = live.group.some_tasks();
                self.changed(process);
                self.notices.push_back(Notice::Stopped(process.info.id));
                if let Some(name) = &process.info.spec.workspace {
                    self.note_tried(name);
                }
            }
            Due::Remove => self.remove(process),
            Due::StopAll => self.stop_with_workspace(process),
            Due::Read(stream) => self.pump(process, stream, Turn::Regular),
            Due::Clean | Due::GiveUp | Due::Forget | Due::Dismissed => {}
        }
    }
}

/// A stop begins.
fn begin(info: &mut ProcessInfo, live: &mut Live, cause: ExitCause, kill_at: Instant) {
    note_left_behind(info, live, Some(cause));
    info.stop = Some(Stop {
        cause,
        by: None,
        asked: UnixMicros::now(),
        killed: None,
        outlived: Vec::new(),
    });
    live.stopping = Some(Stopping {
        cause,
        kill_at,
        killed: false,
    });
}

/// Notes what is alive at the end of its grace time.
fn note_outlived(info: &mut ProcessInfo, live: &Live) {
    if let Some(stop) = info.stop.as_mut().filter(|stop| stop.killed.is_none()) {
        stop.outlived = live.group.some_tasks();
    }
}

/// Notes what is alive without its main process, and about to be ended, for whoever wonders later.
fn note_left_behind(info: &mut ProcessInfo, live: &Live, stopped_for: Option<ExitCause>) {
    if live.phase != Phase::Running || live.main.is_some() || info.left_behind.is_some() {
        return;
    }
    let processes = live.group.count();
    info.left_behind = (processes > 0).then_some(LeftBehind {
        processes,
        stopped_for,
    });
}
