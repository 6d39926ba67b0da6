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
        self.stop_number(number, how, ExitCause::StoppedOnRequest);
        Ok(())
    }

    /// From now on starts are refused. Stops all processes; ask [`Runner::is_empty`] when that is done.
    pub fn drain(&mut self, how: StopHow) {
        self.draining = true;
        let all: Vec<u64> = self.table.iter().filter(|(_, process)| process.live.is_some()).map(|(n, _)| *n).collect();
        for number in all {
            self.stop_number(number, how, ExitCause::StoppedOnRequest);
        }
    }

    pub(super) fn stop_number(&mut self, number: u64, how: StopHow, cause: ExitCause) {
        // A main process that ended by itself a moment ago was not stopped.
        self.reported(number);
        self.main_ended(number);
        let Some(process) = self.table.get_mut(&number) else { return };
        let id = process.info.id;
        let Some(live) = &mut process.live else {
            self.notices.push_back(Notice::Stopped(id));
            return;
        };
        if live.cleaning {
            // Notice::Stopped comes when that is done.
            if how == StopHow::Kill {
                let _unused = live.group.kill();
            }
            return;
        }
        let grace = match how {
            StopHow::Graceful(grace) => grace.map_or(process.grace, |grace| grace.duration()),
            StopHow::Kill => Duration::ZERO,
        };
        let kill_at = Instant::now() + grace;
        match &mut live.stopping {
            // Once more: the answer comes when it has worked, or when what is left is stuck.
            Some(stopping) if stopping.killed => return self.kill(number),
            // A repeated stop can shorten the grace time, never extend it.
            Some(stopping) if stopping.kill_at <= kill_at => return,
            Some(stopping) => stopping.kill_at = kill_at,
            None => {
                live.stopping = Some(Stopping { cause, kill_at, killed: false });
                if !grace.is_zero() {
                    // A stopped process could not act on SIGTERM before it is killed; systemd.kill(5) does the same.
                    let _unused = live.group.signal(&[Signal::SIGTERM, Signal::SIGCONT]);
                }
            }
        }
        if grace.is_zero() {
            self.kill(number);
        } else {
            self.deadline(number, grace, Due::Kill);
        }
    }

    /// Kills the tree.
    pub(super) fn kill(&mut self, number: u64) {
        let Some(process) = self.table.get_mut(&number) else { return };
        let Some(live) = &mut process.live else { return };
        if let Some(stopping) = &mut live.stopping {
            stopping.killed = true;
        }
        if let Err(error) = live.group.kill() {
            crate::log(&format!("process {}: cannot kill its group: {error}", process.info.id));
        }
        self.deadline(number, KILL_WAIT, Due::Stuck);
    }

    pub(super) fn deadline(&mut self, number: u64, after: Duration, due: Due) {
        let key = self.timers.add(Instant::now() + after, (number, due));
        match self.table.get_mut(&number).and_then(|process| process.live.as_mut()) {
            Some(live) => live.timers.push(key),
            None => self.timers.cancel(key),
        }
    }

    pub(super) fn due(&mut self, number: u64, due: Due) {
        let Some(process) = self.table.get_mut(&number) else { return };
        let Some(live) = &mut process.live else { return };
        match due {
            Due::Timeout => self.stop_number(number, StopHow::Graceful(None), ExitCause::TimedOut),
            Due::Kill => {
                // A later, shorter stop may have been here before.
                if live.stopping.is_some_and(|stopping| !stopping.killed && stopping.kill_at <= Instant::now()) {
                    self.kill(number);
                }
            }
            Due::Stuck => {
                process.info.stuck = live.group.stuck();
                let id = process.info.id;
                self.notices.extend([Notice::Changed(id), Notice::Stopped(id)]);
            }
            Due::Clean => self.kill(number),
            Due::Remove => self.remove_group(number),
        }
    }
}
