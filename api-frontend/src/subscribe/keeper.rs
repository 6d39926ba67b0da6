//! One who follows a process, and so keeps its lease: the supervisor is told when the first comes, and
//! when the last one goes.

use std::sync::Arc;

use prn_ipc_protocol::message::For;

use crate::mirror::Process;
use crate::supervisor::Supervisor;

/// One of them, until this is dropped.
#[derive(Debug)]
pub struct Keeper {
    process: Arc<Process>,
    supervisor: Supervisor,
}

impl Keeper {
    /// One more.
    pub fn enter(process: &Arc<Process>, supervisor: &Supervisor) -> Self {
        process.hub.keepers().enter();
        tell(process, supervisor);
        Self {
            process: Arc::clone(process),
            supervisor: supervisor.clone(),
        }
    }
}

/// Tells of those who follow a process that has a lease. To be called again when it may have got one.
pub fn tell(process: &Process, supervisor: &Supervisor) {
    let mut keepers = process.hub.keepers();
    // Under the lock: a lease that is not there yet finds later who is counted by now.
    if keepers.tell(process.info().spec.lease.is_some()) {
        // Before the lock is given back: what is told of others comes in its order.
        supervisor.follow(process.hub.id(), For::Lease);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let mut keepers = self.process.hub.keepers();
        if keepers.leave() {
            self.supervisor.unfollow(self.process.hub.id(), For::Lease);
        }
    }
}
