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

    /// Nobody can follow a process or renew its lease from now on, nor say that somebody does: the
    /// frontend is gone.
    pub fn suspend_leases(&mut self) {
        self.has_leases = false;
        for number in self.leased() {
            self.with(number, |runner, process| {
                runner.set_lease_kept(process, false)
            });
        }
    }

    /// They can again: all leases begin anew.
    pub fn resume_leases(&mut self) {
        self.has_leases = true;
        for number in self.leased() {
            self.with(number, |runner, process| {
                runner.begin_lease(process);
                runner.changed(process);
            });
        }
    }

    fn leased(&self) -> Vec<u64> {
        let is_leased = |process: &Process| {
            process.is_lease_kept || (process.info.spec.lease.is_some() && process.is_alive())
        };
        let leased = self.table.iter().filter(|(_, process)| is_leased(process));
        leased.map(|(number, _)| *number).collect()
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

    /// A process's lease begins now, if it has one and nobody keeps it, and anybody could.
    pub(super) fn begin_lease(&mut self, process: &mut Process) {
        let number = process.info.number;
        self.deadlines.take_back_due(number, Due::Lease);
        let runs = self.has_leases && !process.is_lease_kept;
        let lease = process.info.spec.lease.filter(|_| runs);
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
