//! The answers that wait for their clients to take them: so many bytes at most, whoever they are
//! for.
//!
//! When they become more, the client that has most of them loses its oldest one, so that a client
//! that takes nothing keeps nobody from an answer, itself on another connection included.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::quota::ClientNumber;

/// What an answer takes beside its own bytes, about: its call and its stream.
const OVERHEAD: usize = 4 * 1024;

/// Takes an answer back.
pub type Revoke = Box<dyn FnOnce() + Send>;

/// The answers that wait.
#[derive(Debug)]
pub struct Answers {
    max: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    bytes: usize,
    by_client: HashMap<ClientNumber, OfClient>,
}

#[derive(Debug, Default)]
struct OfClient {
    bytes: usize,
    by_age: BTreeMap<u64, Entry>,
}

struct Entry {
    bytes: usize,
    revoke: Revoke,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").finish_non_exhaustive()
    }
}

/// An answer that waits, until this is dropped.
#[derive(Debug)]
pub struct Held {
    answers: Arc<Answers>,
    client: ClientNumber,
    number: u64,
}

impl Answers {
    /// None yet, and so many bytes at most.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            waiting: Mutex::default(),
        })
    }

    /// Counts an answer of so many bytes, with what is to be done when it is taken back.
    pub fn enter(self: &Arc<Self>, client: ClientNumber, bytes: usize, revoke: Revoke) -> Held {
        let bytes = bytes + OVERHEAD;
        let mut waiting = self.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.bytes += bytes;
        let of_client = waiting.by_client.entry(client).or_default();
        of_client.bytes += bytes;
        of_client.by_age.insert(number, Entry { bytes, revoke });
        let mut revoked = Vec::new();
        while waiting.bytes > self.max
            && let Some(answer) = waiting.take_back()
        {
            revoked.push(answer);
        }
        // Without the lock: they drop what they hold.
        drop(waiting);
        for answer in revoked {
            (answer.revoke)();
        }
        Held {
            answers: Arc::clone(self),
            client,
            number,
        }
    }

    // No code under the lock can panic; were it poisoned, the counts would still be whole.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn take_back(&mut self) -> Option<Entry> {
        let (client, has) = self.by_client.iter().max_by_key(|(_, has)| has.bytes)?;
        let (client, oldest) = (*client, *has.by_age.keys().next()?);
        self.remove(client, oldest)
    }

    fn remove(&mut self, client: ClientNumber, number: u64) -> Option<Entry> {
        let of_client = self.by_client.get_mut(&client)?;
        let answer = of_client.by_age.remove(&number)?;
        of_client.bytes = of_client.bytes.saturating_sub(answer.bytes);
        self.bytes = self.bytes.saturating_sub(answer.bytes);
        if of_client.by_age.is_empty() {
            self.by_client.remove(&client);
        }
        Some(answer)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let answer = self.answers.lock().remove(self.client, self.number);
        // Not under the lock: it holds what it would have taken back.
        drop(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::tests::number;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn x10_who_has_most_loses_its_oldest_answer() {
        let answers = Answers::new(10 * OVERHEAD);
        let enter = |name: &str, bytes| {
            let revoked = Arc::new(AtomicBool::new(false));
            let flag = Arc::clone(&revoked);
            let revoke = Box::new(move || flag.store(true, Ordering::SeqCst));
            let held = answers.enter(number(name), bytes, revoke);
            (held, revoked)
        };
        let small = enter("patient", 0);
        let first = enter("greedy", 3 * OVERHEAD);
        let second = enter("greedy", 3 * OVERHEAD);
        let is_revoked = |(_, revoked): &(Held, Arc<AtomicBool>)| revoked.load(Ordering::SeqCst);
        assert!(!is_revoked(&first));
        let third = enter("patient", OVERHEAD);
        assert!(is_revoked(&first));
        assert!(![&small, &second, &third].into_iter().any(is_revoked));
        drop(third);
        assert_eq!(answers.lock().bytes, 5 * OVERHEAD);
        drop((small, first, second));
        assert!(answers.lock().by_client.is_empty() && answers.lock().bytes == 0);
    }
}
