//! The handshakes under way: so many at most, whoever comes.
//!
//! When there are as many as may be, a new one pushes out another one of the network that has most of them.
//! A flood from one network so pushes out itself, and a client elsewhere gets through its handshake
//! meanwhile.
//!
//! Of that network's, those that have sent something are one group and those that have not are
//! another, and the larger one makes room, its oldest first. A client shares neither group for long
//! with a flood of connections from its own address: its ClientHello comes with the segment that
//! opens its connection, or just behind it, and what is due then a round trip later.
//!
//! Who has sent something is asked of the kernel when somebody has to go: on a busy machine many
//! connections are accepted before the first of their bytes is read, and by what was read until
//! then, all of them would be silent.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// What a peer may have sent something on.
pub trait Heard {
    /// Whether something has come that was not read yet.
    fn has_come(&self) -> bool;
}

impl Heard for TcpStream {
    fn has_come(&self) -> bool {
        let peeked = SockRef::from(self).peek(&mut [MaybeUninit::uninit()]);
        // An end and an error have come too: its own task finds them.
        !peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}

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
#[derive(Debug)]
pub struct Pending<S> {
    max: usize,
    entries: Mutex<Entries<S>>,
}

#[derive(Debug)]
struct Entries<S> {
    next: u64,
    by_number: HashMap<u64, Entry<S>>,
}

#[derive(Debug)]
struct Entry<S> {
    network: Network,
    /// Where something may have come, until its first byte was waited for.
    unheard: Option<Arc<S>>,
    /// Something has come.
    has_spoken: bool,
    /// Which came first: this connection, or its first byte once that has come.
    since: u64,
    /// Dropping it ends the handshake.
    _ends: oneshot::Sender<()>,
}

impl<S: Heard> Pending<S> {
    /// None under way yet.
    pub fn new(max: u32) -> Self {
        Self {
            max: usize::try_from(max.max(1)).unwrap_or(usize::MAX),
            entries: Mutex::new(Entries {
                next: 0,
                by_number: HashMap::new(),
            }),
        }
    }

    /// Counts a new handshake, and gives it a number; another one is pushed out if there are too
    /// many. The receiver tells when this one is.
    pub fn enter(&self, from: IpAddr, on: Arc<S>) -> (u64, oneshot::Receiver<()>) {
        let (sender, receiver) = oneshot::channel();
        let mut entries = self.lock();
        let number = entries.next_number();
        let entry = Entry {
            network: Network::from(from),
            unheard: Some(on),
            has_spoken: false,
            since: number,
            _ends: sender,
        };
        // With the new one among them: who already has most is who makes room for its next.
        entries.by_number.insert(number, entry);
        if entries.by_number.len() > self.max {
            entries.push_out();
        }
        (number, receiver)
    }

    /// A first byte has come: from here on nothing is held here of what it came on.
    pub fn spoke(&self, number: u64) {
        let mut entries = self.lock();
        let since = entries.next_number();
        if let Some(entry) = entries.by_number.get_mut(&number) {
            entry.unheard = None;
            entry.spoke(since);
        }
    }

    /// A handshake has ended.
    pub fn leave(&self, number: u64) {
        self.lock().by_number.remove(&number);
    }

    /// Whether the next one pushes out another.
    pub fn is_full(&self) -> bool {
        self.lock().by_number.len() >= self.max
    }

    /// Ends one, for want of what it uses. Returns whether there was one.
    pub fn push_out(&self) -> bool {
        self.lock().push_out()
    }

    // No code under the lock can panic; were it poisoned, the entries would still be whole.
    fn lock(&self) -> MutexGuard<'_, Entries<S>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Entry<S> {
    fn spoke(&mut self, since: u64) {
        if !self.has_spoken {
            self.has_spoken = true;
            self.since = since;
        }
    }
}

impl<S: Heard> Entries<S> {
    fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Finds those who have sent something since they were last asked.
    fn listen(&mut self) {
        let since = self.next_number();
        for entry in self.by_number.values_mut() {
            let has_come = |on: &Arc<S>| !entry.has_spoken && on.has_come();
            if entry.unheard.as_ref().is_some_and(has_come) {
                entry.spoke(since);
            }
        }
    }

    fn push_out(&mut self) -> bool {
        self.listen();
        let mut counts: HashMap<Network, usize> = HashMap::new();
        for entry in self.by_number.values() {
            *counts.entry(entry.network).or_default() += 1;
        }
        let most = counts.values().copied().max();
        // All networks with that many count as one.
        let of_those = |entry: &Entry<S>| counts.get(&entry.network).copied() == most;
        let (speaking, silent): (Vec<_>, Vec<_>) = self
            .by_number
            .iter()
            .filter(|(_, entry)| of_those(entry))
            .partition(|(_, entry)| entry.has_spoken);
        let group = if silent.len() >= speaking.len() {
            silent
        } else {
            speaking
        };
        let oldest = group.into_iter().min_by_key(|(_, entry)| entry.since);
        let oldest = oldest.map(|(number, _)| *number);
        oldest.is_some_and(|number| self.by_number.remove(&number).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oneshot::error::TryRecvError::{Closed, Empty};

    impl Heard for bool {
        fn has_come(&self) -> bool {
            *self
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn silent() -> Arc<bool> {
        Arc::new(false)
    }

    #[test]
    fn r1_when_all_places_are_taken_the_oldest_handshake_is_pushed_out() {
        let pending = Pending::new(2);
        let enter = || pending.enter(ip("192.0.2.1"), silent());
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
        let (_, mut flooded) = pending.enter(ip("2001:db8::1"), silent());
        let (_, mut client) = pending.enter(ip("192.0.2.1"), silent());
        for host in 0..1000 {
            drop(pending.enter(ip(&format!("2001:db8::{host:x}")), silent()));
        }
        assert_eq!(flooded.try_recv(), Err(Closed));
        assert_eq!(client.try_recv(), Err(Empty), "it has one of four");
        // The same address, as an IPv6 listener sees it.
        let (_, mut mapped) = pending.enter(ip("::ffff:192.0.2.1"), silent());
        drop(pending.enter(ip("192.0.2.1"), silent()));
        assert_eq!(client.try_recv(), Err(Closed), "now it has most of them");
        assert_eq!(mapped.try_recv(), Err(Empty));
    }
    #[test]
    fn x12_of_one_network_those_who_speak_and_those_who_do_not_push_out_their_like() {
        let pending = Pending::new(8);
        let enter = |speaks: bool| {
            let (number, out) = pending.enter(ip("127.0.0.1"), silent());
            if speaks {
                pending.spoke(number);
            }
            out
        };
        let (mut client, mut stranger) = (enter(true), enter(false));
        for _ in 0..1000 {
            drop(enter(false));
        }
        assert_eq!(stranger.try_recv(), Err(Closed));
        assert_eq!(client.try_recv(), Err(Empty));
        for _ in 0..1000 {
            drop(enter(true));
        }
        assert_eq!(client.try_recv(), Err(Closed));
        // Who has just come has time to speak while others do, and to end while they do not.
        let (number, mut late) = pending.enter(ip("127.0.0.1"), silent());
        for _ in 0..1000 {
            drop(enter(true));
        }
        assert_eq!(late.try_recv(), Err(Empty));
        pending.spoke(number);
        for _ in 0..1000 {
            drop(enter(false));
        }
        assert_eq!(late.try_recv(), Err(Empty));
        // And never somebody from elsewhere.
        let (_, mut elsewhere) = pending.enter(ip("127.0.0.2"), silent());
        for speaks in [true, false].repeat(1000) {
            drop(enter(speaks));
        }
        assert_eq!(elsewhere.try_recv(), Err(Empty));
    }
    #[test]
    fn x12_who_has_sent_something_that_was_not_read_yet_is_not_silent() {
        let pending = Pending::new(8);
        let from = || ip("127.0.0.1");
        let (_, mut client) = pending.enter(from(), silent());
        let mut flood: Vec<_> = (0..1000)
            .map(|_| pending.enter(from(), Arc::new(true)).1)
            .collect();
        assert_eq!(client.try_recv(), Err(Empty));
        flood.retain_mut(|stranger| stranger.try_recv() == Err(Empty));
        assert_eq!(flood.len(), 7);
    }
}
