//! How much of something there may be, in all and of each owner: connections of a client,
//! subscribers of a process, requests to the supervisor.
//!
//! Half of the slots are kept for the clients, so many for each, and the others are for whoever
//! comes: however many slots one client takes, each of the others finds those of its own.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What tells clients apart, where each has a share of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientNumber(pub u32);

/// Counts slots that are taken.
#[derive(Debug)]
pub struct Quota<K> {
    all: Limit,
    each: Limit,
    taken: Mutex<Taken<K>>,
}

/// Most slots, and how many of them are kept for each client.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    max: u32,
    clients: u32,
    kept: u32,
}

impl Limit {
    /// Shared by so many clients.
    pub fn shared(max: u32, clients: u32) -> Self {
        let (max, clients) = (max.max(1), clients.max(1));
        let half = max / 2 / clients;
        // As long as there are enough, at least one.
        let kept = if max >= clients { half.max(1) } else { half };
        Self { max, clients, kept }
    }

    /// One client's own.
    pub fn own(max: u32) -> Self {
        Self::shared(max, 1)
    }

    /// The slots kept for others that are not taken by them.
    fn kept_from(&self, client: &ClientNumber, taken: &Slots) -> u32 {
        let by_others = taken.by_client.iter().filter(|(other, _)| *other != client);
        let in_use: u32 = by_others.map(|(_, count)| self.kept.min(*count)).sum();
        (self.kept * (self.clients - 1)).saturating_sub(in_use)
    }

    /// None: there is a slot.
    fn full(&self, which: Which, client: &ClientNumber, taken: &Slots) -> Option<Full> {
        let kept = self.kept_from(client, taken);
        let is_own = taken.by_client.get(client).copied().unwrap_or(0) < self.kept;
        let room = self.max.saturating_sub(taken.count);
        let has_slot = room > 0 && (is_own || room > kept);
        (!has_slot).then_some(Full {
            which,
            max: self.max,
            kept: kept.min(room),
        })
    }
}

/// Slots of one owner, or of all.
#[derive(Debug, Default)]
struct Slots {
    count: u32,
    /// Clients with a slot alone: what strangers ask for leaves nothing behind.
    by_client: HashMap<ClientNumber, u32>,
}

impl Slots {
    fn take(&mut self, client: ClientNumber) {
        self.count += 1;
        *self.by_client.entry(client).or_default() += 1;
    }

    fn give_back(&mut self, client: &ClientNumber) {
        self.count = self.count.saturating_sub(1);
        if let Some(count) = self.by_client.get_mut(client) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_client.remove(client);
            }
        }
    }
}

#[derive(Debug)]
struct Taken<K> {
    all: Slots,
    each: HashMap<K, Slots>,
}

/// Which limit leaves no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// Whose.
    pub which: Which,
    /// What it is.
    pub max: u32,
    /// So many slots are free, and kept for other clients.
    pub kept: u32,
}

/// Whose limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Of all together.
    All,
    /// Of one owner.
    Each,
}

/// A slot, until it is dropped.
#[derive(Debug)]
pub struct Slot<K: Hash + Eq + Clone> {
    quota: Arc<Quota<K>>,
    owner: K,
    client: ClientNumber,
}

impl<K: Hash + Eq + Clone> Quota<K> {
    /// Nothing taken yet.
    pub fn new(all: Limit, each: Limit) -> Arc<Self> {
        let taken = Taken {
            all: Slots::default(),
            each: HashMap::new(),
        };
        Arc::new(Self {
            all,
            each,
            taken: Mutex::new(taken),
        })
    }

    /// How many slots are taken.
    pub fn taken(&self) -> u32 {
        self.lock().all.count
    }

    /// How many there are.
    pub fn max(&self) -> u32 {
        self.all.max
    }

    /// A slot of this owner for this client. The owner's limit is told first: the other one is not
    /// of its making alone.
    pub fn enter(self: &Arc<Self>, owner: K, client: ClientNumber) -> Result<Slot<K>, Full> {
        let mut taken = self.lock();
        let none = Slots::default();
        let of_owner = taken.each.get(&owner).unwrap_or(&none);
        let full = self
            .each
            .full(Which::Each, &client, of_owner)
            .or_else(|| self.all.full(Which::All, &client, &taken.all));
        if let Some(full) = full {
            return Err(full);
        }
        taken.all.take(client);
        taken.each.entry(owner.clone()).or_default().take(client);
        drop(taken);
        Ok(Slot {
            quota: Arc::clone(self),
            owner,
            client,
        })
    }
}

impl<K> Quota<K> {
    // No code under the lock can panic; were it poisoned, the counts would still be whole.
    fn lock(&self) -> MutexGuard<'_, Taken<K>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq + Clone> Drop for Slot<K> {
    fn drop(&mut self) {
        let mut taken = self.quota.lock();
        taken.all.give_back(&self.client);
        if let Some(slots) = taken.each.get_mut(&self.owner) {
            slots.give_back(&self.client);
            if slots.count == 0 {
                taken.each.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Of a client of this short name.
    pub fn number(name: &str) -> ClientNumber {
        ClientNumber(
            name.bytes()
                .fold(0, |number, byte| (number << 8) | u32::from(byte)),
        )
    }

    fn full(which: Which, max: u32, kept: u32) -> Option<Full> {
        Some(Full { which, max, kept })
    }

    #[test]
    fn r4_each_owner_has_a_limit_and_all_together_have_one_and_a_place_is_free_again_when_dropped()
    {
        let quota = Quota::new(Limit::own(3), Limit::own(2));
        let enter = |owner| quota.enter(owner, number("one"));
        let first = enter('a').ok().unwrap();
        let second = enter('a').ok().unwrap();
        assert_eq!(enter('a').err(), full(Which::Each, 2, 0));
        let third = enter('b').ok().unwrap();
        assert_eq!(enter('b').err(), full(Which::All, 3, 0));
        drop(first);
        let fourth = enter('b').ok().unwrap();
        assert_eq!(enter('b').err(), full(Which::Each, 2, 0));
        drop(fourth);
        assert!(enter('a').is_ok());
        drop((second, third));
        assert!(quota.lock().each.is_empty() && quota.lock().all.count == 0);
    }

    #[test]
    fn x10_whatever_one_client_takes_each_other_finds_its_own_places() {
        // Of 12 slots and 3 clients: 2 for each.
        let limit = Limit::shared(12, 3);
        let quota = Quota::new(limit, limit);
        let enter = |name| quota.enter((), number(name));
        let greedy: Vec<_> = std::iter::from_fn(|| enter("greedy").ok()).collect();
        assert_eq!(greedy.len(), 8);
        assert_eq!(enter("greedy").err(), full(Which::Each, 12, 4));
        let others = ["b", "b", "c", "c"].map(|name| enter(name).ok().unwrap());
        for name in ["greedy", "b", "c"] {
            assert_eq!(enter(name).err(), full(Which::Each, 12, 0), "{name}");
        }
        // What is not kept is for whoever comes: of 8 slots, 2 are kept for the first.
        drop(greedy);
        let mut more = Vec::new();
        more.extend(std::iter::from_fn(|| enter("b").ok()));
        assert_eq!(more.len(), 6);
        drop(more);
        drop(others);
        assert!(quota.lock().all.by_client.is_empty());
    }

    #[test]
    fn x10_a_few_places_are_kept_too() {
        let quota = Quota::new(Limit::shared(4, 2), Limit::own(3));
        let enter = |name| quota.enter(number(name), number(name)).ok();
        let _three: Vec<_> = std::iter::from_fn(|| enter("a")).collect();
        assert!(enter("b").is_some());
    }
}
