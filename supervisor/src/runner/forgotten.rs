//! Ids of processes that were forgotten: who asks for one of them again has not heard that it ran.
//! Runs in the supervisor; pure.

use std::collections::{HashSet, VecDeque};

use prn_ipc_protocol::types::ProcessId;

/// How many are known: those of an hour with four a second.
const MOST: usize = 16_384;

/// The ids of the processes that were forgotten last.
#[derive(Debug, Default)]
pub(super) struct Forgotten {
    /// Oldest first.
    order: VecDeque<ProcessId>,
    known: HashSet<ProcessId>,
}

impl Forgotten {
    /// Takes note of one that was just forgotten.
    pub fn add(&mut self, id: ProcessId) {
        if self.known.insert(id) {
            self.order.push_back(id);
        }
        if self.order.len() > MOST {
            let oldest = self.order.pop_front();
            oldest.map(|oldest| self.known.remove(&oldest));
        }
    }

    /// Whether it is one of them.
    pub fn contains(&self, id: ProcessId) -> bool {
        self.known.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_known_and_the_oldest_go_first() {
        let id =
            |number: usize| ProcessId::from_bytes(u128::to_be_bytes(number.try_into().unwrap()));
        let mut forgotten = Forgotten::default();
        for number in 0..=MOST {
            forgotten.add(id(number));
            forgotten.add(id(number));
        }
        assert!(!forgotten.contains(id(0)) && forgotten.contains(id(1)));
        assert!(forgotten.contains(id(MOST)));
        assert_eq!((forgotten.order.len(), forgotten.known.len()), (MOST, MOST));
    }
}
