//! A model of etcd: transactions one after the other, and members that tell their watchers.

use crate::inputs::{MEMBERS, SECOND, Store};

/// When watchers are told of one change: each member tells one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    from: [u64; MEMBERS],
    /// Nanoseconds for each watcher.
    each: u64,
    last: u64,
}

impl Told {
    /// The watcher at this place is told then; places are dealt out to the members in turn.
    pub fn at(&self, place: u32) -> u64 {
        let member = place as usize % MEMBERS;
        let before = u64::from(place) / MEMBERS as u64 + 1;
        self.from[member] + before * self.each / 1_000
    }

    /// All are told by then.
    pub fn last(&self) -> u64 {
        self.last
    }
}

/// Its state.
#[derive(Debug)]
pub struct Etcd {
    inputs: Store,
    busy_until: u64,
    telling_until: [u64; MEMBERS],
    /// Transactions so far.
    pub writes: u64,
    /// Changes told so far, each watcher counted.
    pub events: u64,
}

impl Etcd {
    /// One that has nothing to do.
    pub fn new(inputs: Store) -> Self {
        Self {
            inputs,
            busy_until: 0,
            telling_until: [0; MEMBERS],
            writes: 0,
            events: 0,
        }
    }

    /// A transaction that is sent now, when it is done. Ask in the order of time.
    pub fn commit(&mut self, now: u64) -> u64 {
        let service = SECOND / self.inputs.writes;
        let arrives = now + self.inputs.write_time.saturating_sub(service);
        self.busy_until = arrives.max(self.busy_until) + service;
        self.writes += 1;
        self.busy_until
    }

    /// A change that so many watchers are told of.
    pub fn tell(&mut self, done: u64, watchers: u32) -> Told {
        let each = 1_000 * SECOND / self.inputs.events;
        let mut told = Told {
            from: [0; MEMBERS],
            each,
            last: done,
        };
        for (member, until) in self.telling_until.iter_mut().enumerate() {
            let own = (u64::from(watchers) + 2 - member as u64) / MEMBERS as u64;
            let from = done.max(*until);
            told.from[member] = from + self.inputs.told_time;
            *until = from + own * each / 1_000;
            told.last = told.last.max(*until + self.inputs.told_time);
        }
        self.events += u64::from(watchers);
        told
    }

    /// How far it is behind.
    pub fn behind(&self, now: u64) -> u64 {
        let telling = self.telling_until.iter().max().copied().unwrap_or_default();
        self.busy_until.max(telling).saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::SMALL;

    #[test]
    fn one_transaction_takes_its_time_and_many_wait_for_each_other() {
        let mut etcd = Etcd::new(SMALL);
        assert_eq!(etcd.commit(0), SMALL.write_time);
        let last = (0..SMALL.writes).map(|_| etcd.commit(0)).max().unwrap();
        assert!(
            (SECOND..SECOND + SMALL.write_time * 2).contains(&last),
            "{last}"
        );
        assert_eq!(etcd.writes, SMALL.writes + 1);
    }

    #[test]
    fn the_last_watcher_is_told_after_all_others_of_its_member() {
        let mut etcd = Etcd::new(SMALL);
        let told = etcd.tell(1_000, 9_000);
        assert!(told.at(0) < told.at(3) && told.at(8_999) <= told.last());
        let seconds = 3_000.0 / SMALL.events as f64;
        let expected = 1_000 + SMALL.told_time + (seconds * SECOND as f64) as u64;
        assert!(told.last().abs_diff(expected) < 1_000, "{}", told.last());
        let next = etcd.tell(1_001, 9_000);
        assert!(next.at(0) > told.at(8_999), "one change after the other");
    }
}
