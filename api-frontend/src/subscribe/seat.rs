//! A subscriber's seat among those of its process: what it has come to, and whether the process
//! waits for it.

use std::sync::Arc;

use prn_ipc_protocol::message::{For, Overflow};

use crate::mirror::Process;
use crate::subscribe::readers::Position;
use crate::supervisor::Supervisor;

/// A subscriber among others.
#[derive(Debug)]
pub struct Seat {
    process: Arc<Process>,
    supervisor: Supervisor,
    number: u64,
    /// Whom the process waits for.
    awaits: Awaits,
    /// The process waits for this one.
    pub is_awaited: bool,
    /// If it waits: the supervisor is told when all whom it waits for have gone on by this much, or
    /// wait themselves.
    step: u64,
}

/// What a subscriber does that has come so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// There is more.
    ReadsOn,
    /// There may be more later.
    Waits,
    /// It has all that it wants.
    Leaves,
}

/// What a subscriber is to its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may read, and not hold the process up: what it is too slow for is lost to it.
    Guest,
    /// It reads.
    Reader,
    /// It asks the process to wait for it.
    Follower,
}

/// Whom a process waits for that writes more than is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaits {
    Nobody,
    /// All but guests.
    All,
    Followers,
}

impl Seat {
    /// Takes one, from an offset on.
    pub fn take(
        process: &Arc<Process>,
        supervisor: &Supervisor,
        from: u64,
        standing: Standing,
    ) -> Self {
        let output = process.info().spec.output;
        let awaits = match output.overflow {
            Overflow::DropOldest | Overflow::Kill => Awaits::Nobody,
            Overflow::Wait => Awaits::All,
            Overflow::Follow(_) => Awaits::Followers,
        };
        let is_awaited = match (awaits, standing) {
            (Awaits::Nobody, _) | (_, Standing::Guest) => false,
            (Awaits::All, Standing::Reader | Standing::Follower) => true,
            (Awaits::Followers, standing) => standing == Standing::Follower,
        };
        let mut readers = process.hub.readers();
        let is_first = awaits == Awaits::Followers && is_awaited && !readers.are_any_awaited();
        let number = readers.enter(Position {
            offset: from,
            is_awaited,
        });
        if is_first {
            // Before the lock is given back: what is told of others comes in its order.
            supervisor.follow(process.hub.id(), For::Output);
        }
        drop(readers);
        Self {
            process: Arc::clone(process),
            supervisor: supervisor.clone(),
            number,
            awaits,
            is_awaited,
            step: output.max / 4,
        }
    }

    /// All before `offset` is on its way to the client.
    pub fn arrive(&self, offset: u64, then: Then) {
        let mut readers = self.process.hub.readers();
        let position = Position {
            offset,
            is_awaited: self.is_awaited,
        };
        readers.arrive(self.number, position);
        if self.is_awaited {
            let step = match then {
                Then::ReadsOn => self.step,
                // Not for each line: the process has room for many more.
                Then::Waits if !self.process.info().waits => self.step / 4,
                Then::Waits | Then::Leaves => 0,
            };
            self.tell(readers.advance(step));
        }
    }

    /// Whether one of a few others had not come so far, when it said so.
    pub fn is_ahead(&self, offset: u64) -> bool {
        self.process.hub.readers().are_some_behind(offset)
    }

    fn tell(&self, taken: Option<u64>) {
        if let Some(taken) = taken {
            self.supervisor.taken(self.process.hub.id(), taken);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut readers = self.process.hub.readers();
        readers.leave(self.number);
        if !self.is_awaited {
            return;
        }
        if self.awaits == Awaits::Followers && !readers.are_any_awaited() {
            self.supervisor.unfollow(self.process.hub.id(), For::Output);
        }
        // It may have been the one that the others were ahead of.
        self.tell(readers.advance(0));
    }
}
