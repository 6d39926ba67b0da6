//! How much of something there may be, in all and of each owner: connections of a client,
//! subscribers of a process.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts places that are taken.
pub struct Quota<K> {
    all_max: u32,
    each_max: u32,
    taken: Mutex<Taken<K>>,
}

struct Taken<K> {
    all: u32,
    /// Owners with a place alone: what strangers ask for leaves nothing behind.
    each: HashMap<K, u32>,
}

/// Which limit leaves no place, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The limit of all together.
    All(u32),
    /// The limit of one owner.
    Each(u32),
}

/// A place, until it is dropped.
pub struct Place<K: Hash + Eq + Clone> {
    quota: Arc<Quota<K>>,
    owner: K,
}

impl<K: Hash + Eq + Clone> Quota<K> {
    /// Nothing taken yet.
    pub fn new(all_max: u32, each_max: u32) -> Arc<Self> {
        let taken = Taken {
            all: 0,
            each: HashMap::new(),
        };
        Arc::new(Self {
            all_max: all_max.max(1),
            each_max: each_max.max(1),
            taken: Mutex::new(taken),
        })
    }

    /// A place for this owner. Its own limit is told first: the other one is not of its making
    /// alone.
    pub fn enter(self: &Arc<Self>, owner: K) -> Result<Place<K>, Full> {
        let mut taken = self.lock();
        let count = taken.each.get(&owner).copied().unwrap_or(0);
        if count >= self.each_max {
            return Err(Full::Each(self.each_max));
        }
        if taken.all >= self.all_max {
            return Err(Full::All(self.all_max));
        }
        taken.all += 1;
        taken.each.insert(owner.clone(), count + 1);
        drop(taken);
        Ok(Place {
            quota: Arc::clone(self),
            owner,
        })
    }
}

impl<K> Quota<K> {
    // No code under the lock can panic; were it poisoned, the counts would still be whole.
    fn lock(&self) -> MutexGuard<'_, Taken<K>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq + Clone> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.quota.lock();
        taken.all = taken.all.saturating_sub(1);
        if let Entry::Occupied(mut count) = taken.each.entry(self.owner.clone()) {
            *count.get_mut() = count.get().saturating_sub(1);
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r4_each_owner_has_a_limit_and_all_together_have_one_and_a_place_is_free_again_when_dropped()
    {
        let quota = Quota::new(3, 2);
        let enter = |owner| quota.enter(owner);
        let first = enter('a').ok().unwrap();
        let second = enter('a').ok().unwrap();
        assert_eq!(enter('a').err(), Some(Full::Each(2)));
        let third = enter('b').ok().unwrap();
        assert_eq!(enter('b').err(), Some(Full::All(3)));
        drop(first);
        let fourth = enter('b').ok().unwrap();
        assert_eq!(enter('b').err(), Some(Full::Each(2)));
        drop(fourth);
        assert!(enter('a').is_ok());
        drop((second, third));
        assert!(quota.lock().each.is_empty() && quota.lock().all == 0);
    }
}
