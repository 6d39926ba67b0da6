//! All agents connect anew at once: what comes after etcd's members were restarted, or their
//! network was away.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use prn_tests::random::Random;

use crate::inputs::{LEASE, MILLISECOND, SECOND, Store};

/// As the agent has them: most time of a connection, and the waits between attempts.
const CONNECT_TIME: u64 = 2 * SECOND;
const FIRST_WAIT: u64 = 25 * MILLISECOND;
const LONGEST_WAIT: u64 = SECOND;
/// It is given up after that.
const END: u64 = 600 * SECOND;

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub struct Storm {
    pub store: Store,
    pub hosts: u32,
    /// Members that serve.
    pub members: u32,
    /// Each agent waits for so long at most, by chance, before it connects.
    pub first_wait: u64,
    pub seed: u64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calm {
    /// When each was connected, sorted.
    pub connected: Vec<u64>,
    /// Handshakes that a member did for an agent that had given up.
    pub wasted: u64,
    /// Agents whose lease had ended by then: each needs another, and announces its host anew.
    pub leases_ended: u64,
}

/// Simulates it.
pub fn weather(storm: Storm) -> Calm {
    let mut random = Random::new(storm.seed);
    let each = SECOND / storm.store.connections;
    let mut busy = vec![0; storm.members as usize];
    let mut attempts = BinaryHeap::new();
    let mut leases = Vec::new();
    for host in 0..storm.hosts {
        let at = random.below(storm.first_wait + 1);
        attempts.push(Reverse((at, host, FIRST_WAIT)));
        // It was renewed within the last third.
        leases.push(LEASE - random.below(LEASE / 3));
    }
    let mut calm = Calm {
        connected: Vec::new(),
        wasted: 0,
        leases_ended: 0,
    };
    while let Some(Reverse((at, host, wait))) = attempts.pop() {
        let member = random.below(u64::from(storm.members)) as usize;
        // The member does not know that nobody waits for it any more.
        let done = busy[member].max(at) + each;
        busy[member] = done;
        if done <= at + CONNECT_TIME {
            calm.connected.push(done);
            calm.leases_ended += u64::from(done > leases[host as usize]);
            continue;
        }
        calm.wasted += 1;
        let pause = wait / 2 + random.below(wait / 2 + 1);
        let next = at + CONNECT_TIME + pause;
        if next < END {
            attempts.push(Reverse((next, host, (wait * 2).min(LONGEST_WAIT))));
        }
    }
    calm.connected.sort_unstable();
    calm
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::{LARGE, SMALL};

    fn storm() -> Storm {
        Storm {
            store: LARGE,
            hosts: 1_000,
            members: 3,
            first_wait: 20 * MILLISECOND,
            seed: 1,
        }
    }

    #[test]
    fn few_hosts_are_connected_at_once() {
        let calm = weather(storm());
        assert_eq!(
            (calm.connected.len(), calm.wasted, calm.leases_ended),
            (1_000, 0, 0)
        );
        assert_eq!(calm, weather(storm()));
    }

    #[test]
    fn more_than_a_member_does_in_time_are_tried_again() {
        let many = Storm {
            store: SMALL,
            hosts: 10_000,
            ..storm()
        };
        let calm = weather(many);
        assert!(calm.wasted > 0);
        let later = weather(Storm {
            first_wait: 10 * SECOND,
            ..many
        });
        assert!(later.wasted < calm.wasted);
    }
}
