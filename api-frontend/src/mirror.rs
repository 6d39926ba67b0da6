//! The frontend's copy of the process table, fed by the supervisor's events and replies.
//!
//! List and Status are answered from here and cost the supervisor nothing. Whoever waits for a
//! change of one process waits on that process's own channel, so that a change wakes nobody else.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use prn_ipc_protocol::message::ProcessInfo;
use prn_ipc_protocol::types::ProcessId;
use tokio::sync::watch;

use crate::output::Hub;

/// All processes that the supervisor knows, as far as it has said.
#[derive(Default)]
pub struct Mirror {
    draining: AtomicBool,
    table: RwLock<Table>,
}

#[derive(Default)]
struct Table {
    by_id: HashMap<ProcessId, Arc<Process>>,
    by_number: BTreeMap<u64, Arc<Process>>,
}

/// One process.
pub struct Process {
    info: watch::Sender<Arc<ProcessInfo>>,
    /// Its output and those who read it.
    pub hub: Hub,
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

impl Mirror {
    /// Whether the server is shutting down.
    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The process of this name.
    pub fn process(&self, id: ProcessId) -> Option<Arc<Process>> {
        self.read().by_id.get(&id).cloned()
    }

    /// All processes, oldest first.
    pub fn processes(&self) -> Vec<Arc<Process>> {
        self.read().by_number.values().cloned().collect()
    }

    /// The supervisor described a process.
    pub fn update(&self, info: ProcessInfo) {
        let info = Arc::new(info);
        let mut table = self.write();
        match table.by_id.get(&info.id) {
            Some(process) => drop(process.info.send_replace(Arc::clone(&info))),
            None => {
                let process = Arc::new(Process {
                    info: watch::Sender::new(Arc::clone(&info)),
                    hub: Hub::new(info.id),
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
            let number = process.info.borrow().number;
            table.by_number.remove(&number);
            process.hub.forget();
        }
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
    use crate::convert::tests::info;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn numbers(mirror: &Mirror) -> Vec<u64> {
        mirror
            .processes()
            .iter()
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
        mirror.forget(A.parse().unwrap());
        assert_eq!(numbers(&mirror), [12]);
        assert!(mirror.process(A.parse().unwrap()).is_none());
    }

    #[test]
    fn a_change_wakes_those_who_wait_for_this_process_alone() {
        let mirror = Mirror::default();
        mirror.update(info(A, 1));
        mirror.update(info(B, 2));
        let a = mirror.process(A.parse().unwrap()).unwrap().changes();
        let b = mirror.process(B.parse().unwrap()).unwrap().changes();
        mirror.update(info(B, 2));
        assert!(!a.has_changed().unwrap());
        assert!(b.has_changed().unwrap());
    }
}
