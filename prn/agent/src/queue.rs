//! What waits in the fleet, as far as it is known here: the oldest of it. No I/O.
//!
//! Whoever has taken over an agent can write as much there as etcd takes: what it costs here is
//! bounded.

use std::collections::BTreeMap;
use std::rc::Rc;

use prn_fleet::{Record, v1};

/// Most bytes that it takes in memory, about: some 60,000 jobs.
const SIZE_MAX: usize = 48 * 1024 * 1024;
/// What one takes beside its text: the record, its place, and what the allocator adds.
const RECORD_SIZE: usize = 512;
/// The same of an entry of its past.
const PAST_SIZE: usize = size_of::<v1::Past>() + 256;
/// The same of a label.
const LABEL_SIZE: usize = 192;

/// The revision that it was created at, and its key.
type Place = (i64, String);

/// What waits, by the order in which it is taken.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: BTreeMap<Place, Rc<Record<v1::Waiting>>>,
    size: usize,
    /// More waits than is known here.
    is_more: bool,
}

impl Queue {
    /// One more waits, or the same is written anew. Where there is no room for all, the newest are
    /// left out.
    pub fn insert(&mut self, mut waiting: Record<v1::Waiting>) {
        waiting.value.past.shrink_to_fit();
        let place = (waiting.created, waiting.key.clone());
        self.size = self.size.saturating_add(size(&waiting));
        let before = self.waiting.insert(place, Rc::new(waiting));
        self.is_less(before);
        while self.size > SIZE_MAX {
            let Some((_, newest)) = self.waiting.pop_last() else {
                return;
            };
            self.is_less(Some(newest));
            self.is_more = true;
        }
    }

    /// What has this key does not wait any more.
    pub fn remove(&mut self, key: &str) {
        let place = self.waiting.keys().find(|(_, waits)| waits == key);
        if let Some(place) = place.cloned() {
            let before = self.waiting.remove(&place);
            self.is_less(before);
        }
    }

    /// This one does not wait, or is not to be taken, as it was seen.
    pub fn remove_seen(&mut self, seen: &Record<v1::Waiting>) {
        if self.has(seen) {
            self.remove(&seen.key);
        }
    }

    fn is_less(&mut self, gone: Option<Rc<Record<v1::Waiting>>>) {
        let size = gone.map_or(0, |gone| size(&gone));
        self.size = self.size.saturating_sub(size);
    }

    /// All of it, the oldest first.
    pub fn values(&self) -> impl Iterator<Item = &Rc<Record<v1::Waiting>>> {
        self.waiting.values()
    }

    /// Whether this one waits still, as it was seen.
    pub fn has(&self, seen: &Record<v1::Waiting>) -> bool {
        let place = (seen.created, seen.key.clone());
        let there = self.waiting.get(&place);
        there.is_some_and(|there| **there == *seen)
    }

    /// Whether it is time to read what was left out.
    pub fn has_room_for_more(&self) -> bool {
        self.is_more && self.size < SIZE_MAX / 2
    }
}

/// About what it takes in memory: bytes.
fn size(waiting: &Record<v1::Waiting>) -> usize {
    let (past, labels) = (waiting.value.past.len(), waiting.value.on.len());
    RECORD_SIZE
        .saturating_add(2 * waiting.key.len())
        .saturating_add(waiting.bytes)
        .saturating_add(past.saturating_mul(PAST_SIZE))
        .saturating_add(labels.saturating_mul(LABEL_SIZE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(created: i64, past: usize) -> Record<v1::Waiting> {
        Record {
            key: format!("/prn/prod/queue/{created:032}"),
            value: v1::Waiting {
                past: vec![v1::Past::default(); past],
                ..v1::Waiting::default()
            },
            created,
            revision: created,
            lease: 0,
            bytes: 2 * past,
        }
    }

    fn known(queue: &Queue) -> Vec<i64> {
        queue.values().map(|waiting| waiting.created).collect()
    }

    #[test]
    fn the_newest_are_left_out_where_there_is_no_room_for_all() {
        let mut queue = Queue::default();
        for created in (0..100).rev() {
            queue.insert(waiting(created, 1000));
        }
        let there = known(&queue);
        let count = i64::try_from(there.len()).unwrap();
        assert!((20..100).contains(&count), "{count}");
        assert_eq!(there, (0..count).collect::<Vec<_>>(), "the oldest");
        assert!(!queue.has_room_for_more());
        for created in 0..=count / 2 {
            queue.remove(&waiting(created, 0).key);
        }
        assert!(queue.has_room_for_more());
    }

    #[test]
    fn what_is_written_anew_takes_its_room_once() {
        let mut queue = Queue::default();
        for _ in 0..1000 {
            queue.insert(waiting(1, 1000));
        }
        queue.insert(waiting(2, 0));
        assert_eq!(known(&queue), [1, 2]);
        assert!(queue.has(&waiting(2, 0)) && !queue.has(&waiting(2, 1)));
        for created in [1, 2, 3] {
            queue.remove(&waiting(created, 0).key);
        }
        assert_eq!((queue.size, queue.is_more), (0, false));
    }

    #[test]
    fn ten_thousands_of_jobs_are_known() {
        let mut queue = Queue::default();
        for created in 0..50_000 {
            queue.insert(Record {
                bytes: 150,
                ..waiting(created, 0)
            });
        }
        assert_eq!(queue.values().count(), 50_000);
    }
}
