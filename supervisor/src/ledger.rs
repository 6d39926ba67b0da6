//! What the output of all processes takes of each store's budget. Runs in the supervisor; pure.

use std::collections::{BTreeMap, VecDeque};

use prn_ipc_protocol::config;
use prn_ipc_protocol::message::OutputStore;

/// What one process's output counts for, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Share {
    /// Kept, or set aside if that is more.
    charged: u64,
    /// Set aside: of this output nothing may be dropped.
    reserved: u64,
    /// Kept for a follower who was not sent it yet.
    held: u64,
}

impl Share {
    /// Of an output of which `kept` bytes are kept, `held` of them for a follower.
    pub fn new(kept: u64, reserved: u64, held: u64) -> Self {
        Self {
            charged: kept.max(reserved),
            reserved,
            held: held.min(kept),
        }
    }

    /// What is set aside.
    pub fn reserved(self) -> u64 {
        self.reserved
    }

    /// Whether some is kept for a follower.
    pub fn is_held(self) -> bool {
        self.held > 0
    }
}

/// The output in one store, of all processes.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Most bytes.
    budget: u64,
    /// The shares of all processes together.
    total: Share,
    /// Finished processes that others may have the room of, oldest first.
    evictable: VecDeque<u64>,
}

impl Ledger {
    /// Of no output yet.
    pub fn new(budget: u64) -> Self {
        Self {
            budget,
            ..Self::default()
        }
    }

    /// Counts a process's share as `new` from now on. `share` is what it was counted as.
    pub fn count(&mut self, share: &mut Share, new: Share) {
        let old = std::mem::replace(share, new);
        self.total = Share {
            charged: self.total.charged + new.charged - old.charged,
            reserved: self.total.reserved + new.reserved - old.reserved,
            held: self.total.held + new.held - old.held,
        };
    }

    /// By how much more is kept than the budget.
    pub fn excess(&self) -> u64 {
        self.total.charged.saturating_sub(self.budget)
    }

    /// How much is kept or set aside.
    pub fn charged(&self) -> u64 {
        self.total.charged
    }

    /// What can be set aside still: half of the budget is not, so that others have something left.
    pub fn reservable(&self) -> u64 {
        (self.budget / 2).saturating_sub(self.total.reserved)
    }

    /// Whether there is room for what followers have to be sent yet: it may take half of the
    /// budget, so that others have something left.
    pub fn has_room_for_followers(&self) -> bool {
        self.excess() == 0 && self.total.held <= self.budget / 2
    }

    /// Lets others have the room of a finished process, after that of those before it.
    pub fn let_go(&mut self, number: u64) {
        self.evictable.push_back(number);
    }

    /// Takes the process whose room is to be given back: the one that was let go first, while more
    /// is kept than the budget.
    pub fn take_evictable(&mut self) -> Option<u64> {
        if self.excess() == 0 {
            return None;
        }
        self.evictable.pop_front()
    }

    /// Drops a process that is forgotten.
    pub fn forget(&mut self, number: u64, share: &mut Share) {
        self.count(share, Share::default());
        self.evictable.retain(|other| *other != number);
    }
}

/// The ledgers of both stores.
#[derive(Debug)]
pub(crate) struct Ledgers {
    memory: Ledger,
    disk: Ledger,
}

impl Ledgers {
    /// With the budgets of a configuration; a store without one holds nothing.
    pub fn new(limits: &BTreeMap<OutputStore, config::StoreLimits>) -> Self {
        let ledger = |store| {
            let limits = limits.get(&store).copied().unwrap_or_default();
            Ledger::new(limits.budget)
        };
        Self {
            memory: ledger(OutputStore::Memory),
            disk: ledger(OutputStore::Disk),
        }
    }

    /// That of a store.
    pub fn of(&self, store: OutputStore) -> &Ledger {
        match store {
            OutputStore::Memory => &self.memory,
            OutputStore::Disk => &self.disk,
        }
    }

    /// That of a store, to change.
    pub fn of_mut(&mut self, store: OutputStore) -> &mut Ledger {
        match store {
            OutputStore::Memory => &mut self.memory,
            OutputStore::Disk => &mut self.disk,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_charged_for_what_is_kept_or_set_aside_whichever_is_more() {
        for (kept, reserved, held, charged, held_of_it) in [
            (0, 0, 0, 0, 0),
            (5, 0, 0, 5, 0),
            (5, 9, 0, 9, 0),
            (9, 5, 0, 9, 0),
            (5, 0, 3, 5, 3),
            (5, 0, 7, 5, 5),
        ] {
            let share = Share::new(kept, reserved, held);
            let expected = Share {
                charged,
                reserved,
                held: held_of_it,
            };
            assert_eq!(share, expected, "{kept} {reserved} {held}");
            assert_eq!(share.reserved(), reserved);
            assert_eq!(share.is_held(), held_of_it > 0);
        }
    }

    #[test]
    fn whatever_is_counted_in_whatever_order_the_total_is_the_sum_of_the_shares() {
        // All sequences of four changes of three processes among these shares.
        let shares = [
            Share::default(),
            Share::new(7, 0, 0),
            Share::new(3, 10, 0),
            Share::new(6, 0, 6),
        ];
        let changes: Vec<(usize, Share)> = (0..3)
            .flat_map(|process| shares.map(|share| (process, share)))
            .collect();
        for sequence in 0..changes.len().pow(4) {
            let mut ledger = Ledger::new(10);
            let mut processes = [Share::default(); 3];
            let mut rest = sequence;
            for _ in 0..4 {
                let (process, new) = changes[rest % changes.len()];
                rest /= changes.len();
                ledger.count(&mut processes[process], new);
                let sum = |of: fn(&Share) -> u64| processes.iter().map(of).sum::<u64>();
                assert_eq!(ledger.total.charged, sum(|share| share.charged));
                assert_eq!(ledger.total.reserved, sum(|share| share.reserved));
                assert_eq!(ledger.total.held, sum(|share| share.held));
                assert!(ledger.total.held <= ledger.total.charged);
                assert!(ledger.total.reserved <= ledger.total.charged);
                assert_eq!(
                    ledger.excess(),
                    sum(|share| share.charged).saturating_sub(10)
                );
            }
            for (number, share) in (0..).zip(&mut processes) {
                ledger.forget(number, share);
            }
            assert_eq!(
                ledger.total,
                Share::default(),
                "nothing is left of {sequence}"
            );
        }
    }

    #[test]
    fn half_of_the_budget_can_be_set_aside_and_half_be_held() {
        for (share, reservable, has_room) in [
            (Share::default(), 50, true),
            (Share::new(0, 30, 0), 20, true),
            (Share::new(0, 50, 0), 0, true),
            (Share::new(0, 70, 0), 0, true),
            (Share::new(100, 0, 50), 50, true),
            (Share::new(100, 0, 51), 50, false),
            (Share::new(101, 0, 0), 50, false),
        ] {
            let mut ledger = Ledger::new(100);
            ledger.count(&mut Share::default(), share);
            assert_eq!(ledger.reservable(), reservable, "{share:?}");
            assert_eq!(ledger.has_room_for_followers(), has_room, "{share:?}");
        }
        assert_eq!(Ledger::new(101).reservable(), 50);
    }

    #[test]
    fn who_was_let_go_first_goes_first_and_nobody_while_there_is_room() {
        let mut ledger = Ledger::new(10);
        let mut shares = [Share::default(); 4];
        for (number, share) in (0..).zip(&mut shares) {
            ledger.count(share, Share::new(4, 0, 0));
            ledger.let_go(3 - number);
        }
        ledger.forget(2, &mut shares[2]);
        assert_eq!(ledger.excess(), 2);
        assert_eq!(ledger.take_evictable(), Some(3));
        ledger.count(&mut shares[3], Share::default());
        assert_eq!(ledger.take_evictable(), None, "8 of 10");
        ledger.count(&mut shares[0], Share::new(20, 0, 0));
        assert_eq!(ledger.take_evictable(), Some(1), "2 was forgotten");
        assert_eq!(ledger.take_evictable(), Some(0));
        assert_eq!(ledger.take_evictable(), None, "over, and nobody is left");
    }

    #[test]
    fn each_store_has_a_budget_of_its_own() {
        let limits = [(
            OutputStore::Memory,
            config::StoreLimits {
                ceiling: 5,
                budget: 8,
            },
        )];
        let mut ledgers = Ledgers::new(&limits.into());
        let share = Share::new(9, 0, 0);
        for store in [OutputStore::Memory, OutputStore::Disk] {
            ledgers.of_mut(store).count(&mut Share::default(), share);
        }
        assert_eq!(ledgers.of(OutputStore::Memory).excess(), 1);
        assert_eq!(ledgers.of(OutputStore::Disk).excess(), 9);
    }
}
