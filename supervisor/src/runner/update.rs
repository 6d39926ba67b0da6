//! What can be done to a process that is alive, but for stopping it: signals, and changes of its
//! limits, its labels and its lease. And what it takes of the machine. Runs in the supervisor.

use std::time::{Duration, Instant};

use prn_ipc_protocol::message::{LiveUsage, NewLabels, NewLease, Refusal, Update, Whom};
use prn_ipc_protocol::types::{Labels, LimitName, Limits, Millis, ProcessId, SignalNumber};

use super::Runner;
use crate::admission::{KEPT_BYTES_MAX, check_arguments, check_ceilings};
use crate::cgroup::Group;
use crate::process::{Phase, Process};
use crate::sys::{errno_number, pidfd};

/// Files of a group that say what its processes take.
const USAGE: [&str; 10] = [
    "cpu.stat",
    "memory.current",
    "memory.peak",
    "memory.events",
    "io.stat",
    "pids.current",
    "pids.peak",
    "cpu.pressure",
    "memory.pressure",
    "io.pressure",
];

/// A signal to a tree that takes longer than this keeps others waiting.
const TREE_SIGNAL: Duration = Duration::from_millis(2);

/// From its beginning to the next one it takes this many times as long: a quarter of this thread's
/// time, however many are asked for.
const PAUSE: u32 = 4;

impl Runner {
    /// Sends a signal.
    ///
    /// # Errors
    /// `UnknownProcess`, or `Ended`, also of a main process whose tree lives; `TooSoon` after one to a
    /// large tree.
    pub fn signal(
        &mut self,
        id: ProcessId,
        signal: SignalNumber,
        whom: Whom,
    ) -> Result<(), Refusal> {
        let now = Instant::now();
        let wait = self.tree_signals_after.saturating_duration_since(now);
        let live = self.known_by(id)?.live.as_ref();
        let live = live.filter(|live| live.phase == Phase::Running);
        let live = live.ok_or(Refusal::Ended)?;
        match whom {
            Whom::Main => {
                let main = live.main.as_ref().ok_or(Refusal::Ended)?;
                pidfd::signal(main, signal.number()).map_err(|_| Refusal::Ended)
            }
            Whom::Tree if !wait.is_zero() => {
                let left = wait + Duration::from_millis(1);
                Err(Millis::try_from(left).map_or(Refusal::Ended, Refusal::TooSoon))
            }
            Whom::Tree => {
                live.group.signal(&[signal.number()]);
                let took = now.elapsed();
                if took > TREE_SIGNAL {
                    self.tree_signals_after = now + PAUSE * took;
                }
                Ok(())
            }
        }
    }

    /// What a process takes of the machine now, and some of its tasks, where they are wanted: a file
    /// for each.
    ///
    /// # Errors
    /// `UnknownProcess` or `Ended`.
    pub fn usage(&mut self, id: ProcessId, with_tasks: bool) -> Result<LiveUsage, Refusal> {
        let live = self.known_by(id)?.live.as_ref();
        let live = live.filter(|live| live.phase == Phase::Running);
        let group = &live.ok_or(Refusal::Ended)?.group;
        let some = if with_tasks {
            group.some_tasks()
        } else {
            Vec::new()
        };
        Ok(LiveUsage {
            files: group.texts(&USAGE),
            processes: u32::try_from(group.first_members().len()).unwrap_or(u32::MAX),
            some,
        })
    }

    /// Changes a process. What can be known before is refused before anything is changed. What the
    /// kernel refuses is not changed, and nothing after it: limits, whether it is paused, its labels, its
    /// lease.
    ///
    /// # Errors
    /// `UnknownProcess`, `Ended`, and of what is to be changed.
    pub fn update(&mut self, id: ProcessId, update: Update) -> Result<(), Refusal> {
        let process = self.known_by(id)?;
        if !process.is_alive() {
            return Err(Refusal::Ended);
        }
        let live = process.live.as_ref();
        let is_stopping = live.is_some_and(|live| live.stopping.is_some());
        if update.paused == Some(true) && is_stopping {
            return Err(Refusal::Stopping);
        }
        if update.lease == Some(NewLease::Same) && process.info.spec.lease.is_none() {
            return Err(Refusal::NoLease);
        }
        let mut outcome = Ok(());
        self.with_id(id, |runner, process| {
            outcome = runner.change(process, update);
            runner.stamp(process);
        });
        outcome
    }

    fn change(&mut self, process: &mut Process, update: Update) -> Result<(), Refusal> {
        self.check_limits(process, &update.limits)?;
        let new = update.labels;
        let labels = new.map(|new| self.new_labels(process, new)).transpose()?;
        self.change_limits(process, &update.limits)?;
        if let Some(paused) = update.paused {
            set_paused(process, paused)?;
        }
        if let Some(labels) = labels {
            self.change_labels(process, labels);
        }
        if let Some(lease) = update.lease {
            self.renew_lease(process, lease);
        }
        Ok(())
    }

    fn check_limits(&self, process: &Process, limits: &Limits) -> Result<(), Refusal> {
        check_ceilings(&self.settings.config.limit_ceilings, limits)?;
        // The kernel would take back what is above in this thread, however long that takes, and kill
        // where it can't.
        let wanted = limits.get(LimitName::Memory);
        let group = process.live.as_ref().map(|live| &live.group);
        let in_use = group.filter(|_| wanted.is_some()).and_then(Group::memory);
        match in_use {
            Some(in_use) if Some(in_use) > wanted => Err(Refusal::MemoryInUse(in_use)),
            Some(_) | None => Ok(()),
        }
    }

    fn change_limits(&self, process: &mut Process, limits: &Limits) -> Result<(), Refusal> {
        let config = &self.settings.config;
        let info = &mut process.info;
        let Some(live) = process.live.as_ref().filter(|_| !limits.is_empty()) else {
            return Ok(());
        };
        let written = live.group.limit(limits, &config.disks);
        info.limits.in_force = live.group.limits();
        let not_enforced = written.map_err(Refusal::NotEnforceable)?;
        let is_excused = info.spec.best_effort_limits || config.allow_missing_limits;
        match not_enforced.first() {
            Some(limit) if !is_excused => return Err(Refusal::NotEnforceable(*limit)),
            Some(_) | None => {}
        }
        let is_new = |limit: &LimitName| !info.limits.not_enforced.contains(limit);
        let new: Vec<_> = not_enforced.into_iter().filter(is_new).collect();
        info.limits.not_enforced.extend(new);
        info.spec.limits = limits.or(&info.spec.limits);
        Ok(())
    }

    /// All its labels from now on. One thread merges them, so that of two updates at once none is lost.
    fn new_labels(&self, process: &Process, new: NewLabels) -> Result<Labels, Refusal> {
        let spec = &process.info.spec;
        let labels = match new {
            NewLabels::All(labels) => Ok(labels),
            NewLabels::Changed(changes) => spec.labels.clone().with(changes),
        };
        let labels = labels.map_err(|_| Refusal::TooManyLabels)?;
        check_arguments(self.arguments - spec.labels.size(), labels.size())?;
        let others = self.kept.bytes.saturating_sub(spec.labels.size());
        if process.is_kept() && others + labels.size() > KEPT_BYTES_MAX {
            let max = self.settings.config.finished_max;
            return Err(Refusal::TooManyKept { max });
        }
        Ok(labels)
    }

    fn change_labels(&mut self, process: &mut Process, labels: Labels) {
        let (old, new) = (process.info.spec.labels.size(), labels.size());
        self.arguments = self.arguments - old + new;
        if process.is_kept() {
            self.kept.bytes = self.kept.bytes - old + new;
        }
        process.info.spec.labels = labels;
    }
}

/// Lets none of its processes run, or all go on.
pub(super) fn set_paused(process: &mut Process, paused: bool) -> Result<(), Refusal> {
    let Some(live) = &process.live else {
        return Err(Refusal::Ended);
    };
    let set = live.group.freeze(paused);
    set.map_err(|error| Refusal::NotChanged(errno_number(error)))?;
    process.info.paused = paused;
    Ok(())
}
