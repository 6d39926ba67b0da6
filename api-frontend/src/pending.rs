//! The handshakes under way: so many at most, whoever comes.
//!
//! When all places are taken a new one pushes out the oldest one of the network that has most of
//! them. A flood from one network so pushes out itself, and a client elsewhere gets through its
//! handshake meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Who counts as one: an IPv4 address, or the /64 that one host has of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Network(IpAddr);

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                const PREFIX: u128 = !0 << 64;
                Self(Ipv6Addr::from_bits(address.to_bits() & PREFIX).into())
            }
            address @ IpAddr::V4(_) => Self(address),
        }
    }
}

/// The handshakes under way.
pub struct Pending {
    max: usize,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    next: u64,
    /// Dropping a sender ends its handshake.
    by_age: BTreeMap<u64, (Network, oneshot::Sender<()>)>,
}

impl Pending {
    /// None under way yet.
    pub fn new(max: u32) -> Self {
        Self {
            max: usize::try_from(max.max(1)).unwrap_or(usize::MAX),
            entries: Mutex::default(),
        }
    }

    /// A place for a new handshake, another one's if all are taken. The receiver tells when it is
    /// taken away.
    pub fn enter(&self, from: IpAddr) -> (u64, oneshot::Receiver<()>) {
        let (sender, receiver) = oneshot::channel();
        let mut entries = self.lock();
        let place = entries.next;
        entries.next += 1;
        entries.by_age.insert(place, (Network::from(from), sender));
        // With the new one among them: who already has most is who makes room for its next.
        if entries.by_age.len() > self.max {
            entries.push_out();
        }
        (place, receiver)
    }

    /// A handshake has ended.
    pub fn leave(&self, place: u64) {
        self.lock().by_age.remove(&place);
    }

    /// Ends one, for want of what it uses.
    pub fn push_out(&self) {
        self.lock().push_out();
    }

    // No code under the lock can panic; were it poisoned, the entries would still be whole.
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn push_out(&mut self) {
        let mut counts: HashMap<Network, usize> = HashMap::new();
        for (network, _) in self.by_age.values() {
            *counts.entry(*network).or_default() += 1;
        }
        let most = counts.values().copied().max();
        // Of networks with equally many, the one whose oldest is the oldest of all.
        let out = self
            .by_age
            .iter()
            .find(|(_, (network, _))| counts.get(network).copied() == most);
        if let Some(place) = out.map(|(place, _)| *place) {
            self.by_age.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oneshot::error::TryRecvError::{Closed, Empty};

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn r1_when_all_places_are_taken_the_oldest_handshake_is_pushed_out() {
        let pending = Pending::new(2);
        let enter = || pending.enter(ip("192.0.2.1"));
        let (first, mut out_first) = enter();
        let (second, mut out_second) = enter();
        pending.leave(first);
        let (_, mut out_third) = enter();
        assert_eq!(out_second.try_recv(), Err(Empty));
        let (_, mut out_fourth) = enter();
        assert_eq!(out_first.try_recv(), Err(Closed));
        assert_eq!(out_second.try_recv(), Err(Closed));
        assert_eq!(out_third.try_recv(), Err(Empty));
        assert_eq!(out_fourth.try_recv(), Err(Empty));
        pending.leave(second);
    }

    #[test]
    fn r1_a_flood_from_one_network_pushes_out_itself() {
        let pending = Pending::new(4);
        let (_, mut flooded) = pending.enter(ip("2001:db8::1"));
        let (_, mut client) = pending.enter(ip("192.0.2.1"));
        for host in 0..1000 {
            drop(pending.enter(ip(&format!("2001:db8::{host:x}"))));
        }
        assert_eq!(flooded.try_recv(), Err(Closed));
        assert_eq!(client.try_recv(), Err(Empty), "it has one place of four");
        // The same address, as an IPv6 listener sees it.
        let (_, mut mapped) = pending.enter(ip("::ffff:192.0.2.1"));
        drop(pending.enter(ip("192.0.2.1")));
        assert_eq!(client.try_recv(), Err(Closed), "now it has most of them");
        assert_eq!(mapped.try_recv(), Err(Empty));
    }
}
