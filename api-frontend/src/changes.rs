//! The order in which processes changed: a part of the [`Mirror`](crate::mirror::Mirror). Pure.
//!
//! Each process is there once, by its newest change, so that whoever follows all changes has
//! nothing but a place in them, however slow it is. Those that were forgotten are there as well, the
//! last [`FORGOTTEN_MAX`] of them.
//!
//! The supervisor tells of a process as it is when that is sent, not as it was when that was to be told:
//! so one that has changed again comes with its newer number before others that changed in between.
//! Whoever has a place behind those finds them among the ones that came late.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use prn_ipc_protocol::message::ProcessInfo;
use prn_ipc_protocol::types::{AccessName, ProcessId, ProcessName, WorkspaceName};

/// Most forgotten processes that are remembered, at about 300 bytes each: those of
/// some minutes on a server that starts a hundred processes a second.
pub const FORGOTTEN_MAX: usize = 16 * 1024;

/// Most that came late and are remembered: each is told within one turn of whoever follows.
pub const LATE_MAX: usize = 4096;

/// All that are known, in their order. `P` is a process.
#[derive(Debug)]
pub struct Changes<P> {
    by_number: BTreeMap<u64, Change<P>>,
    /// Numbers of the forgotten ones, oldest first.
    forgotten: VecDeque<u64>,
    newest: u64,
    oldest_place: u64,
    late: Late,
}

/// Numbers of changes that came after higher ones.
#[derive(Debug, Default)]
struct Late {
    /// In the order in which they came.
    numbers: VecDeque<u64>,
    sorted: BTreeSet<u64>,
    /// How many were before the first of them.
    before: u64,
}

impl Late {
    fn add(&mut self, number: u64) {
        self.numbers.push_back(number);
        self.sorted.insert(number);
        if self.numbers.len() > LATE_MAX
            && let Some(oldest) = self.numbers.pop_front()
        {
            self.before += 1;
            self.sorted.remove(&oldest);
        }
    }

    fn count(&self) -> u64 {
        self.before + u64::try_from(self.numbers.len()).unwrap_or(u64::MAX)
    }
}

/// The newest of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<P> {
    /// This is new, or has changed.
    Changed(P),
    /// This was forgotten.
    Forgotten(Gone),
}

/// What is remembered of a forgotten process: what a selector selects it by, of that which never
/// changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    /// Its id.
    pub id: ProcessId,
    /// Its name.
    pub name: Option<ProcessName>,
    /// Where it was started.
    pub workspace: Option<WorkspaceName>,
    /// By whom.
    pub started_by: Option<AccessName>,
}

impl From<&ProcessInfo> for Gone {
    fn from(info: &ProcessInfo) -> Self {
        Self {
            id: info.id,
            name: info.spec.name.clone(),
            workspace: info.spec.workspace.clone(),
            started_by: info.started_by.clone(),
        }
    }
}

impl<P> Default for Changes<P> {
    fn default() -> Self {
        Self {
            by_number: BTreeMap::new(),
            forgotten: VecDeque::new(),
            newest: 0,
            oldest_place: 0,
            late: Late::default(),
        }
    }
}

impl<P> Changes<P> {
    /// A process that had changed last at `was` has changed at `is`.
    pub fn changed(&mut self, was: Option<u64>, is: u64, process: P) {
        self.moved(was, is, Change::Changed(process));
    }

    /// It was forgotten at `is`.
    pub fn forgotten(&mut self, was: u64, is: u64, gone: Gone) {
        self.moved(Some(was), is, Change::Forgotten(gone));
        self.forgotten.push_back(is);
        if self.forgotten.len() > FORGOTTEN_MAX
            && let Some(oldest) = self.forgotten.pop_front()
        {
            self.by_number.remove(&oldest);
            self.oldest_place = oldest;
        }
    }

    /// All processes are known that there are at the change `newest`, and of what was before it,
    /// no more than that.
    pub fn known_at(&mut self, newest: u64) {
        self.newest = self.newest.max(newest);
        self.oldest_place = self.newest;
        // They came in any order.
        let before = self.late.count();
        self.late = Late {
            before,
            ..Late::default()
        };
    }

    /// Number of the newest change.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Whether all that was forgotten after this place is known.
    pub fn is_known_after(&self, place: u64) -> bool {
        (self.oldest_place..=self.newest).contains(&place)
    }

    /// What has changed after this place, in order.
    pub fn after(&self, place: u64) -> impl Iterator<Item = (u64, &Change<P>)> {
        let changes = self
            .by_number
            .range((Bound::Excluded(place), Bound::Unbounded));
        changes.map(|(number, change)| (*number, change))
    }

    /// How many have come late.
    pub fn late_count(&self) -> u64 {
        self.late.count()
    }

    /// Those that have come late since there were so many of them, but for those that have changed
    /// since. `None`: more than are remembered.
    pub fn late_after(&self, count: u64) -> Option<impl Iterator<Item = (u64, &Change<P>)>> {
        let from = usize::try_from(count.checked_sub(self.late.before)?).ok()?;
        let numbers = self.late.numbers.iter().skip(from);
        Some(numbers.filter_map(|number| Some((*number, self.by_number.get(number)?))))
    }

    /// Whether the change of this number came late, as far as that is remembered.
    pub fn was_late(&self, number: u64) -> bool {
        self.late.sorted.contains(&number)
    }

    /// Those that came late and are no newer than this place.
    pub fn late_until(&self, place: u64) -> impl Iterator<Item = &Change<P>> {
        let numbers = self.late.sorted.range(..=place);
        numbers.filter_map(|number| self.by_number.get(number))
    }

    fn moved(&mut self, was: Option<u64>, is: u64, change: Change<P>) {
        if is <= self.newest && was != Some(is) {
            self.late.add(is);
        }
        if let Some(was) = was {
            self.by_number.remove(&was);
        }
        self.by_number.insert(is, change);
        self.newest = self.newest.max(is);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(number: u64) -> Gone {
        Gone {
            id: ProcessId::from_bytes(u128::from(number).to_be_bytes()),
            name: None,
            workspace: None,
            started_by: None,
        }
    }

    fn all(changes: &Changes<char>, place: u64) -> Vec<(u64, Change<char>)> {
        let after = changes.after(place);
        after
            .map(|(number, change)| (number, change.clone()))
            .collect()
    }

    #[test]
    fn each_process_is_there_once_by_its_newest_change() {
        let mut changes = Changes::default();
        changes.changed(None, 1, 'a');
        changes.changed(None, 2, 'b');
        changes.changed(Some(1), 3, 'a');
        let (a, b) = (Change::Changed('a'), Change::Changed('b'));
        assert_eq!(all(&changes, 0), [(2, b), (3, a.clone())]);
        assert_eq!(all(&changes, 2), [(3, a.clone())]);
        changes.forgotten(2, 4, gone(2));
        assert_eq!(all(&changes, 0), [(3, a), (4, Change::Forgotten(gone(2)))]);
        assert_eq!((changes.newest(), all(&changes, 4)), (4, vec![]));
    }

    #[test]
    fn what_comes_after_a_higher_number_is_late_and_found_as_that() {
        let mut changes = Changes::default();
        changes.changed(None, 1, 'a');
        changes.changed(None, 2, 'b');
        // a changed at 3 and at 5, b at 4: a is told as it is, twice.
        changes.changed(Some(1), 5, 'a');
        let count = changes.late_count();
        changes.changed(Some(2), 4, 'b');
        changes.changed(Some(5), 5, 'a');
        assert_eq!(all(&changes, 5), []);
        let late = |changes: &Changes<char>, count| {
            let late = changes.late_after(count).unwrap();
            late.map(|(number, _)| number).collect::<Vec<_>>()
        };
        assert_eq!(late(&changes, count), [4]);
        assert!(changes.was_late(4) && !changes.was_late(5));
        assert_eq!(late(&changes, changes.late_count()), []);
        // Told as it is now, at its own number.
        changes.changed(Some(4), 6, 'b');
        assert_eq!(late(&changes, count), []);
        let count = changes.late_count();
        changes.changed(None, 10_000, 'd');
        for number in 0..=u64::try_from(LATE_MAX).unwrap() {
            changes.changed(None, 100 + number, 'c');
        }
        assert!(changes.late_after(count).is_none(), "forgotten by now");
    }

    #[test]
    fn a_place_is_good_while_all_that_was_forgotten_after_it_is_known() {
        let mut changes = Changes::default();
        assert!(changes.is_known_after(0) && !changes.is_known_after(1));
        for number in 1..=u64::try_from(FORGOTTEN_MAX).unwrap() + 2 {
            changes.changed(None, 2 * number, 'a');
            changes.forgotten(2 * number, 2 * number + 1, gone(number));
        }
        // Those at 3 and at 5 are gone.
        assert!(!changes.is_known_after(4) && changes.is_known_after(5));
        assert_eq!(changes.by_number.len(), FORGOTTEN_MAX);
        assert_eq!(all(&changes, 5).first().unwrap().0, 7);
    }

    #[test]
    fn of_a_snapshot_its_end_is_the_oldest_place() {
        let mut changes = Changes::default();
        changes.changed(None, 7, 'a');
        changes.known_at(9);
        let known = [7, 8, 9, 10].map(|place| changes.is_known_after(place));
        assert_eq!(known, [false, false, true, false]);
    }
}
