//! Leases: a process that nobody follows, and whose lease nobody renews, is stopped. Runs in the
//! supervisor.

use std::time::Instant;

use prn_ipc_protocol::message::NewLease;
use prn_ipc_protocol::types::{ProcessId, UnixMicros};

use super::Runner;
use crate::deadlines::{Deadline, Due};
use crate::process::Process;

impl Runner {
    /// Somebody follows a process: its lease does not run out.
    pub fn keep_lease(&mut self, id: ProcessId) {
        self.with_id(id, |runner, process| runner.set_lease_kept(process, true));
    }

    /// Nobody does any more: its lease begins anew.
    pub fn release_lease(&mut self, id: ProcessId) {
        self.with_id(id, |runner, process| runner.set_lease_kept(process, false));
    }

    /// As [`Runner::release_lease`], for all processes: who has told of followers is gone.
    pub fn release_leases(&mut self) {
        let kept = self
            .table
            .iter()
            .filter(|(_, process)| process.is_lease_kept);
        for number in kept.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.with(number, |runner, process| {
                runner.set_lease_kept(process, false)
            });
        }
    }

    fn set_lease_kept(&mut self, process: &mut Process, is_kept: bool) {
        process.is_lease_kept = is_kept;
        if process.info.spec.lease.is_some() && process.is_alive() {
            self.begin_lease(process);
            self.changed(process);
        }
    }

    /// A process's lease is this one from now on. What it was changes.
    pub(super) fn renew_lease(&mut self, process: &mut Process, lease: NewLease) {
        match lease {
            NewLease::Same => {}
            NewLease::Of(duration) => process.info.spec.lease = Some(duration),
            NewLease::Ended => process.info.spec.lease = None,
        }
        self.begin_lease(process);
    }

    /// A process's lease begins now, if it has one and nobody keeps it.
    pub(super) fn begin_lease(&mut self, process: &mut Process) {
        let number = process.info.number;
        self.deadlines.take_back_due(number, Due::Lease);
        let lease = process.info.spec.lease.filter(|_| !process.is_lease_kept);
        process.info.lease_ends = lease.map(|lease| {
            self.deadlines.add(Deadline {
                at: Instant::now() + lease.duration(),
                process: number,
                due: Due::Lease,
            });
            UnixMicros::now().after(lease)
        });
    }
}
