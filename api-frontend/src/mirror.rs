//! The frontend's copy of the tables of processes and workspaces, fed by the supervisor's events and
//! replies.
//!
//! List and Status are answered from here and cost the supervisor nothing. Whoever waits for a
//! change of one process waits on that process's own channel, so that a change wakes nobody else.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use prn_ipc_protocol::message::{ProcessInfo, WorkspaceInfo};
use prn_ipc_protocol::types::{ProcessId, WorkspaceName};
use tokio::sync::watch;

use crate::input::writer::Writers;
use crate::subscribe::hub::Hub;
use crate::workspaces::{Workspace, Workspaces};

/// Processes that a walk takes from the table at a time.
const STEP: usize = 256;

/// All that the supervisor knows, as far as it has said.
#[derive(Debug, Default)]
pub struct Mirror {
    draining: AtomicBool,
    table: RwLock<Table>,
}

#[derive(Debug, Default)]
struct Table {
    by_id: HashMap<ProcessId, Arc<Process>>,
    by_number: BTreeMap<u64, Arc<Process>>,
    /// How many of them have ended.
    finished: usize,
    workspaces: Workspaces,
}

/// How many processes there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// That are alive.
    pub running: usize,
    /// That have ended.
    pub finished: usize,
}

/// One process.
#[derive(Debug)]
pub struct Process {
    info: watch::Sender<Arc<ProcessInfo>>,
    /// Its output and those who read it.
    pub hub: Hub,
    /// Those who write its input.
    pub writers: Arc<Writers>,
}

impl Process {
    /// What is known of it now.
    pub fn info(&self) -> Arc<ProcessInfo> {
        self.info.borrow().clone()
    }

    /// What is known of it now and later.
    pub fn changes(&self) -> watch::Receiver<Arc<ProcessInfo>> {
        self.info.subscribe()
    }
}

/// The order of a walk over all processes, by their starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As they started.
    OldestFirst,
    /// The other way round.
    NewestFirst,
}

/// A walk over the processes, which holds the table's lock for a step at a time. What starts or is
/// forgotten meanwhile may be on it or not.
#[derive(Debug)]
pub struct Walk<'a> {
    mirror: &'a Mirror,
    order: Order,
    last: Option<u64>,
    step: Vec<(u64, Arc<Process>)>,
}

impl Iterator for Walk<'_> {
    type Item = Arc<Process>;

    fn next(&mut self) -> Option<Arc<Process>> {
        if self.step.is_empty() {
            self.step = self.mirror.step(self.order, self.last);
        }
        let (number, process) = self.step.pop()?;
        self.last = Some(number);
        Some(process)
    }
}

impl Mirror {
    /// Whether the server is shutting down.
    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The process of this name.
    pub fn process(&self, id: ProcessId) -> Option<Arc<Process>> {
        self.read().by_id.get(&id).cloned()
    }

    /// The workspace of this name.
    pub fn workspace(&self, name: &WorkspaceName) -> Option<Workspace> {
        self.read().workspaces.get(name)
    }

    /// All workspaces, by name.
    pub fn workspaces(&self) -> Vec<Workspace> {
        self.read().workspaces.all()
    }

    /// How many processes there are.
    pub fn count(&self) -> usize {
        self.read().by_number.len()
    }

    /// How many of them are alive, and how many have ended.
    pub fn counts(&self) -> Counts {
        let table = self.read();
        Counts {
            running: table.by_number.len().saturating_sub(table.finished),
            finished: table.finished,
        }
    }

    /// All processes that come after this one's number in such an order.
    pub fn walk(&self, order: Order, after: Option<u64>) -> Walk<'_> {
        Walk {
            mirror: self,
            order,
            last: after,
            step: Vec::new(),
        }
    }

    /// The next ones of a walk, the last of them first.
    fn step(&self, order: Order, after: Option<u64>) -> Vec<(u64, Arc<Process>)> {
        let table = self.read();
        let entry = |(number, process): (&u64, &Arc<Process>)| (*number, Arc::clone(process));
        let bound = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut step: Vec<_> = match order {
            Order::OldestFirst => table
                .by_number
                .range((bound, Bound::Unbounded))
                .take(STEP)
                .map(entry)
                .collect(),
            Order::NewestFirst => table
                .by_number
                .range((Bound::Unbounded, bound))
                .rev()
                .take(STEP)
                .map(entry)
                .collect(),
        };
        step.reverse();
        step
    }

    /// The supervisor described a process.
    pub fn update(&self, info: ProcessInfo) {
        let info = Arc::new(info);
        let mut table = self.write();
        let known = table.by_id.get(&info.id).map(|process| process.info());
        table.workspaces.changed(known.as_deref(), Some(&info));
        let had_ended = known.is_some_and(|known| known.end.is_some());
        if info.end.is_some() && !had_ended {
            table.finished += 1;
        }
        match table.by_id.get(&info.id) {
            Some(process) => drop(process.info.send_replace(Arc::clone(&info))),
            None => {
                let process = Arc::new(Process {
                    info: watch::Sender::new(Arc::clone(&info)),
                    hub: Hub::new(info.id),
                    writers: Arc::default(),
                });
                table.by_id.insert(info.id, Arc::clone(&process));
                table.by_number.insert(info.number, process);
            }
        }
    }

    /// The supervisor has forgotten a process. Who reads its output already can go on.
    pub fn forget(&self, id: ProcessId) {
        let mut table = self.write();
        if let Some(process) = table.by_id.remove(&id) {
            let info = process.info();
            table.by_number.remove(&info.number);
            table.workspaces.changed(Some(&info), None);
            if info.end.is_some() {
                table.finished = table.finished.saturating_sub(1);
            }
            process.hub.forget();
        }
    }

    /// The supervisor described a workspace.
    pub fn update_workspace(&self, info: WorkspaceInfo) {
        self.write().workspaces.update(info);
    }

    /// Nothing of a workspace is left.
    pub fn forget_workspace(&self, name: &WorkspaceName) {
        self.write().workspaces.forget(name);
    }

    /// The end of a process's output has moved.
    pub fn advance(&self, id: ProcessId, end: u64) {
        let Some(process) = self.process(id) else {
            return;
        };
        let pause = process.hub.pause();
        if pause.is_zero() {
            return process.hub.advance(end);
        }
        // Until then nobody asks for another one.
        drop(tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            process.hub.advance(end);
        }));
    }

    /// The server is shutting down.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    // No code under the lock can panic; were it poisoned, the table would still be whole.

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::process::tests::{ended, info};
    use crate::workspaces::tests::{name, workspace};
    use prn_ipc_protocol::message::{ExitCause, ExitStatus, OutputTotals};

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn numbers(mirror: &Mirror) -> Vec<u64> {
        mirror
            .walk(Order::OldestFirst, None)
            .map(|process| process.info().number)
            .collect()
    }

    #[test]
    fn processes_are_listed_in_the_order_of_their_starts() {
        let mirror = Mirror::default();
        mirror.update(info(B, 12));
        mirror.update(info(A, 3));
        mirror.update(info(B, 12));
        assert_eq!(numbers(&mirror), [3, 12]);
        mirror.forget(info(A, 0).id);
        assert_eq!(numbers(&mirror), [12]);
        assert!(mirror.process(info(A, 0).id).is_none());
    }

    #[test]
    fn those_that_have_ended_are_counted_once() {
        let mirror = Mirror::default();
        let counts = || (mirror.counts().running, mirror.counts().finished);
        mirror.update(info(A, 1));
        mirror.update(info(B, 2));
        assert_eq!(counts(), (2, 0));
        let totals = OutputTotals::default();
        let end = || ended(info(A, 1), ExitStatus::Exited(0), ExitCause::Exited, totals);
        mirror.update(end());
        mirror.update(end());
        assert_eq!(counts(), (1, 1));
        mirror.forget(info(A, 0).id);
        mirror.forget(info(A, 0).id);
        mirror.forget(info(B, 0).id);
        assert_eq!(counts(), (0, 0));
    }

    #[test]
    fn a_walk_goes_on_from_step_to_step_in_either_order() {
        let mirror = Mirror::default();
        let count = 2 * u64::try_from(STEP).unwrap() + 1;
        for number in 1..=count {
            mirror.update(info(&format!("{number:032x}"), number));
        }
        let walked = |order, after| -> Vec<u64> {
            mirror
                .walk(order, after)
                .map(|process| process.info().number)
                .collect()
        };
        assert_eq!(
            walked(Order::OldestFirst, None),
            (1..=count).collect::<Vec<_>>()
        );
        assert_eq!(
            walked(Order::NewestFirst, Some(count)),
            (1..count).rev().collect::<Vec<_>>()
        );
        assert!(walked(Order::OldestFirst, Some(count)).is_empty());
    }

    #[test]
    fn a_workspace_says_how_many_processes_the_mirror_has_in_it() {
        let mirror = Mirror::default();
        mirror.update_workspace(workspace("w"));
        let mut process = info(A, 1);
        process.spec.workspace = Some(name("w"));
        mirror.update(process.clone());
        mirror.update(process);
        mirror.update(info(B, 2));
        let count = || mirror.workspace(&name("w")).map(|known| known.processes);
        assert_eq!(count(), Some(1));
        mirror.forget(info(A, 0).id);
        assert_eq!(count(), Some(0));
        mirror.forget_workspace(&name("w"));
        assert!(count().is_none() && mirror.workspaces().is_empty());
    }

    #[test]
    fn a_change_wakes_those_who_wait_for_this_process_alone() {
        let mirror = Mirror::default();
        mirror.update(info(A, 1));
        mirror.update(info(B, 2));
        let a = mirror.process(info(A, 0).id).unwrap().changes();
        let b = mirror.process(info(B, 0).id).unwrap().changes();
        mirror.update(info(B, 2));
        assert!(!a.has_changed().unwrap());
        assert!(b.has_changed().unwrap());
    }
}
