//! Stops and deadlines. Runs in the supervisor.

use super::*;

/// How long a killed tree has to die before it is reported as stuck.
const KILL_WAIT: Duration = Duration::from_secs(5);

impl Runner {
    /// Stops a process with everything it started. [`Notice::Stopped`] follows.
    ///
    /// # Errors
    /// `UnknownProcess`.
    pub fn stop(&mut self, id: ProcessId, how: StopHow) -> Result<(), Refusal> {
        let number = *self.numbers.get(&id).ok_or(Refusal::UnknownProcess)?;
        self.with(number, |runner, process| {
            runner.stop_process(process, how, ExitCause::StoppedOnRequest)
        });
        Ok(())
    }

    /// From now on starts are refused. Stops all processes; ask [`Runner::is_empty`] when that is
    /// done.
    pub fn drain(&mut self, how: StopHow) {
        if !std::mem::replace(&mut self.draining, true) {
            self.notices.push_back(Notice::Draining);
        }
        let all: Vec<u64> = self
            .table
            .iter()
            .filter(|(_, process)| process.live.is_some())
            .map(|(n, _)| *n)
            .collect();
        self.leave_leftovers();
        for number in all {
            self.with(number, |runner, process| {
                runner.stop_process(process, how, ExitCause::StoppedOnRequest)
            });
        }
    }

    pub(super) fn stop_process(&mut self, process: &mut Process, how: StopHow, cause: ExitCause) {
        // A main process that ended by itself a moment ago was not stopped.
        self.reported(process);
        self.main_ended(process);
        let Some(live) = &mut process.live else {
            self.notices.push_back(Notice::Stopped(process.info.id));
            return;
        };
        if live.phase != Phase::Running {
            // Notice::Stopped comes when that is done.
            if how == StopHow::Kill {
                let _unused = live.group.kill();
            }
            return;
        }
        let grace = match how {
            StopHow::Graceful(grace) => grace.unwrap_or(process.info.spec.stop_grace).duration(),
            StopHow::Kill => Duration::ZERO,
        };
        let kill_at = Instant::now() + grace;
        match &mut live.stopping {
            // Once more: the answer comes when it has worked, or when what is left is stuck.
            Some(stopping) if stopping.killed => return self.kill(process),
            // A repeated stop can shorten the grace time, never extend it.
            Some(stopping) if stopping.kill_at <= kill_at => return,
            Some(stopping) => stopping.kill_at = kill_at,
            None => {
                note_left_behind(&mut process.info, live, Some(cause));
                live.stopping = Some(Stopping {
                    cause,
                    kill_at,
                    killed: false,
                });
                if !grace.is_zero() {
                    // A stopped process could not act on SIGTERM before it is killed;
                    // systemd.kill(5) does the same.
                    live.group.signal(&[SIGTERM, SIGCONT]);
                }
            }
        }
        if grace.is_zero() {
            self.kill(process)
        } else {
            self.deadline(process.info.number, grace, Due::Kill)
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
        let cause = live.stopping.map(|stopping| stopping.cause);
        note_left_behind(&mut process.info, live, cause);
        if let Err(error) = live.group.kill() {
            crate::log::line(&format!(
                "process {}: cannot kill its group: {error}",
                process.info.id
            ));
        }
        self.deadline(process.info.number, KILL_WAIT, Due::Stuck);
    }

    pub(super) fn deadline(&mut self, number: u64, after: Duration, due: Due) {
        self.deadlines.add(Deadline {
            at: Instant::now() + after,
            process: number,
            due,
        });
    }

    pub(super) fn due(&mut self, process: &mut Process, due: Due) {
        if due == Due::GiveUp {
            return self.give_up_follower(process);
        }
        let Some(live) = &mut process.live else {
            return;
        };
        match due {
            Due::Timeout => {
                self.stop_process(process, StopHow::Graceful(None), ExitCause::TimedOut)
            }
            Due::Kill => {
                // A later, shorter stop may have been here before. What cleans up has no stop.
                let now = Instant::now();
                if live
                    .stopping
                    .is_none_or(|stopping| !stopping.killed && stopping.kill_at <= now)
                {
                    self.kill(process);
                }
            }
            Due::Stuck => {
                process.info.stuck = live.group.stuck();
                let id = process.info.id;
                self.notices
                    .extend([Notice::Changed(id), Notice::Stopped(id)]);
            }
            Due::Remove => self.remove(process),
            Due::Read(stream) => self.pump(process, stream, Turn::Regular),
            Due::Clean | Due::GiveUp => {}
        }
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
