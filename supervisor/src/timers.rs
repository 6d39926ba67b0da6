//! Deadlines. Runs in the supervisor.

use std::collections::BTreeMap;
use std::time::Instant;

/// Deadlines, each with what is due.
#[derive(Default)]
pub struct Timers<T> {
    /// By time, then in the order in which they were added.
    due: BTreeMap<(Instant, u64), T>,
    count: u64,
}

impl<T> Timers<T> {
    /// Adds a deadline.
    pub fn add(&mut self, at: Instant, what: T) {
        self.count += 1;
        self.due.insert((at, self.count), what);
    }

    /// Removes deadlines for which `keep` is false.
    pub fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.due.retain(|_, what| keep(what));
    }

    /// The next deadline.
    pub fn next(&self) -> Option<Instant> {
        self.due.first_key_value().map(|(key, _)| key.0)
    }

    /// Takes one deadline that has passed.
    pub fn take_due(&mut self, now: Instant) -> Option<T> {
        let entry = self.due.first_entry()?;
        if entry.key().0 <= now { Some(entry.remove()) } else { None }
    }
}
