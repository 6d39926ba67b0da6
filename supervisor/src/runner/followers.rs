//! Whom a process with `Overflow::Follow` waits for: those who follow its output, or may come to.
//! Runs in the supervisor.

use std::time::Instant;

use prn_ipc_protocol::message::Overflow;
use prn_ipc_protocol::types::ProcessId;

use super::Runner;
use crate::deadlines::{Deadline, Due};
use crate::process::{Follower, Process};

impl Runner {
    /// Somebody whom a process with [`Overflow::Follow`] waits for reads its output.
    pub fn follow(&mut self, id: ProcessId) {
        self.with_id(id, |runner, process| {
            if process.follower.is_some() {
                runner.set_follower(process, Follower::Present);
                runner.recount(process);
            }
        });
    }

    /// Nobody does any more: somebody may come again, for a while.
    pub fn unfollow(&mut self, id: ProcessId) {
        self.with_id(id, |runner, process| {
            if process.follower == Some(Follower::Present) {
                runner.await_follower(process);
            }
        });
    }

    /// As [`Runner::unfollow`], for all processes: who has told of followers is gone.
    pub fn unfollow_all(&mut self) {
        let followed = |process: &Process| process.follower == Some(Follower::Present);
        let numbers = self.table.iter().filter(|(_, process)| followed(process));
        for number in numbers.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.with(number, |runner, process| runner.await_follower(process));
        }
    }

    /// Keeps all of a process's output for a follower that may come, as long as it has asked for.
    pub(super) fn await_follower(&mut self, process: &mut Process) {
        if let Overflow::Follow(patience) = process.info.spec.output.overflow {
            let until = Instant::now() + patience.duration();
            self.set_follower(process, Follower::Awaited { until });
        }
    }

    /// A process waits for another kind of follower. Each has one deadline at most, and only while
    /// one is awaited.
    fn set_follower(&mut self, process: &mut Process, follower: Follower) {
        let number = process.info.number;
        self.forget_give_up(process);
        if let Follower::Awaited { until } = follower {
            self.deadlines.add(Deadline {
                at: until,
                process: number,
                due: Due::GiveUp,
            });
        }
        process.follower = Some(follower);
    }

    /// Drops the deadline of a follower.
    pub(super) fn forget_give_up(&mut self, process: &Process) {
        if let Some(Follower::Awaited { until }) = process.follower {
            self.deadlines.remove(Deadline {
                at: until,
                process: process.info.number,
                due: Due::GiveUp,
            });
        }
    }

    /// Nobody has come to follow a process in its time: from now on its oldest output is dropped.
    pub(super) fn give_up_follower(&mut self, process: &mut Process) {
        let now = Instant::now();
        if matches!(process.follower, Some(Follower::Awaited { until }) if until <= now) {
            self.set_follower(process, Follower::GivenUp);
            self.recount(process);
            self.let_go(process);
            self.go_on(process);
        }
    }
}
