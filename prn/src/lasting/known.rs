//! Processes as a watch tells of them.

use std::collections::{BTreeMap, BTreeSet};

use prn_client::{Change, Process, ProcessId};

/// Processes as they are by now.
#[derive(Debug, Default)]
pub struct Known {
    processes: BTreeMap<ProcessId, Process>,
    /// Those that were told since a reset.
    told: Option<BTreeSet<ProcessId>>,
    is_synchronized: bool,
}

impl Known {
    /// Takes a change; whether it is worth showing.
    pub fn take(&mut self, change: Change) -> bool {
        match change {
            Change::Process(process) => {
                if let Some(told) = &mut self.told {
                    told.insert(process.id);
                }
                self.processes.insert(process.id, *process);
            }
            Change::Removed(id) => {
                self.processes.remove(&id);
            }
            Change::Restarted => self.processes.clear(),
            Change::Reset => {
                self.told = Some(BTreeSet::new());
                self.is_synchronized = false;
            }
            Change::Synchronized => {
                if let Some(told) = self.told.take() {
                    self.processes.retain(|id, _| told.contains(id));
                }
                self.is_synchronized = true;
            }
        }
        self.is_synchronized
    }

    /// One of them.
    pub fn get(&self, id: ProcessId) -> Option<&Process> {
        self.processes.get(&id)
    }

    /// All of them, by their ids.
    pub fn all(&self) -> impl Iterator<Item = &Process> {
        self.processes.values()
    }

    /// Oldest first.
    pub fn in_order(&self) -> Vec<Process> {
        let mut all: Vec<_> = self.processes.values().cloned().collect();
        all.sort_by_key(|process| process.status.started_at);
        all
    }
}
