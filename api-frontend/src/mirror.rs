//! The frontend's copy of the tables of processes and workspaces, fed by the supervisor's events and
//! replies.
//!
//! List and Status are answered from here and cost the supervisor nothing. Whoever waits for a
//! change of one process waits on that process's own channel, so that a change wakes nobody else.
//! Whoever follows all changes has a place in their order ([`crate::changes`]), and is woken by each.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use prn_ipc_protocol::message::{ProcessInfo, WorkspaceInfo};
use prn_ipc_protocol::types::{ProcessId, ProcessName, WorkspaceName};
use tokio::sync::watch;

use crate::changes::{Change, Changes, Gone};
use crate::input::writer::Writers;
use crate::owners::{Counts, Owners};
use crate::scope::Scope;
use crate::selector::{Selector, Short};
use crate::subscribe::hub::Hub;
use crate::tally::Tally;
use crate::workspaces::{Workspace, Workspaces};

/// Processes that a walk takes from the table at a time.
const STEP: usize = 256;

/// All that the supervisor knows, as far as it has said.
#[derive(Debug, Default)]
pub struct Mirror {
    draining: watch::Sender<bool>,
    table: RwLock<Table>,
    /// Number of the newest change of any process.
    newest: watch::Sender<u64>,
    /// Public half of the key that signs receipts, in hexadecimal digits.
    receipt_key: OnceLock<String>,
}

#[derive(Debug, Default)]
struct Table {
    by_id: BTreeMap<ProcessId, Arc<Process>>,
    by_number: BTreeMap<u64, Arc<Process>>,
    owners: Owners,
    tally: Tally,
    /// Those that have a name: of one name there are many, of which one lives.
    by_name: BTreeMap<(ProcessName, u64), Arc<Process>>,
    changes: Changes<Arc<Process>>,
    workspaces: Workspaces,
}

/// A change, and its number.
pub type Numbered = (u64, Change<Arc<Process>>);

/// More was forgotten after a place in the order of changes than is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind;

/// One process.
#[derive(Debug)]
pub struct Process {
    info: watch::Sender<Arc<ProcessInfo>>,
    forgotten: AtomicBool,
    read: AtomicBool,
    /// Its output and those who read it.
    pub hub: Hub,
    /// Those who write its input.
    pub writers: Arc<Writers>,
}

impl Process {
    /// What is known of it now.
    pub fn info(&self) -> Arc<ProcessInfo> {
        self.info.borrow().clone()
    }

    /// What is known of it now and later.
    pub fn changes(&self) -> watch::Receiver<Arc<ProcessInfo>> {
        self.info.subscribe()
    }

    /// Whether the supervisor has forgotten it, which may be before its end was told. That, too, is
    /// a change.
    pub fn is_forgotten(&self) -> bool {
        self.forgotten.load(Ordering::Acquire)
    }

    /// All of its output was read. Whether that is news.
    pub fn was_read(&self) -> bool {
        !self.read.swap(true, Ordering::AcqRel)
    }

    /// Nothing has come of it that all of its output was read: the next time is news again.
    pub fn set_unread(&self) {
        self.read.store(false, Ordering::Release);
    }

    fn forget(&self) {
        self.forgotten.store(true, Ordering::Release);
        self.info.send_modify(|_| {});
        self.hub.forget();
    }
}

/// The order of a walk over all processes, by their starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As they started.
    OldestFirst,
    /// The other way round.
    NewestFirst,
}

/// A walk over the processes, which holds the table's lock for a step at a time. What starts or is
/// forgotten meanwhile may be on it or not.
#[derive(Debug)]
pub struct Walk<'a> {
    mirror: &'a Mirror,
    order: Order,
    last: Option<u64>,
    /// The last of them first.
    step: Vec<(u64, Arc<Process>)>,
    /// There may be more than these.
    goes_on: bool,
}

impl Iterator for Walk<'_> {
    type Item = Arc<Process>;

    fn next(&mut self) -> Option<Arc<Process>> {
        if self.step.is_empty() && self.goes_on {
            self.step = self.mirror.step(self.order, self.last);
        }
        let (number, process) = self.step.pop()?;
        self.last = Some(number);
        Some(process)
    }
}

impl Mirror {
    /// Whether the server is shutting down.
    pub fn draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Returns when it is.
    pub async fn drained(&self) {
        let mut draining = self.draining.subscribe();
        // Its sender is this one's own.
        let _draining = draining.wait_for(|draining| *draining).await;
    }

    /// The process of this name.
    pub fn process(&self, id: ProcessId) -> Option<Arc<Process>> {
        self.read().by_id.get(&id).cloned()
    }

    /// The workspace of this name.
    pub fn workspace(&self, name: &WorkspaceName) -> Option<Workspace> {
        self.read().workspaces.get(name)
    }

    /// All workspaces, by name.
    pub fn workspaces(&self) -> Vec<Workspace> {
        self.read().workspaces.all()
    }

    /// How many processes there are.
    pub fn count(&self) -> usize {
        self.read().by_number.len()
    }

    /// How many of those in this scope are alive, and how many have ended.
    pub fn counts(&self, scope: &Scope) -> Counts {
        self.read().owners.counts(scope)
    }

    /// What has happened since this half knows processes.
    pub fn tally(&self) -> Tally {
        self.read().tally
    }

    /// All processes that come after this one's number in such an order.
    pub fn walk(&self, order: Order, after: Option<u64>) -> Walk<'_> {
        Walk {
            mirror: self,
            order,
            last: after,
            step: Vec::new(),
            goes_on: true,
        }
    }

    /// The processes that come after this one's number in such an order, and among which those are
    /// that this selects: they alone, or near it, where ids or names say which.
    pub fn candidates(&self, selector: &Selector, order: Order, after: Option<u64>) -> Walk<'_> {
        let found = self.read().found(selector);
        let Some(mut found) = found else {
            return self.walk(order, after);
        };
        let is_after = |number: u64| match order {
            Order::OldestFirst => after.is_none_or(|after| number > after),
            Order::NewestFirst => after.is_none_or(|after| number < after),
        };
        found.retain(|number, _| is_after(*number));
        let mut step: Vec<_> = found.into_iter().collect();
        if order == Order::OldestFirst {
            step.reverse();
        }
        Walk {
            mirror: self,
            order,
            last: after,
            step,
            goes_on: false,
        }
    }

    /// The processes that this selects, by their starts.
    pub fn selected<'a>(
        &'a self,
        selector: &'a Selector,
    ) -> impl Iterator<Item = Arc<Process>> + 'a {
        let candidates = self.candidates(selector, Order::OldestFirst, None);
        candidates.filter(|process| selector.has(&process.info()))
    }

    /// Tells of each new change of any process.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// Number of the newest change of any process.
    pub fn newest(&self) -> u64 {
        self.read().changes.newest()
    }

    /// Whether [`Mirror::changes_after`] this place leaves nothing out.
    pub fn is_known_after(&self, place: u64) -> bool {
        self.read().changes.is_known_after(place)
    }

    /// Some of what has changed after this place, in order: nothing, if nothing has.
    ///
    /// # Errors
    /// More was forgotten since than is known.
    pub fn changes_after(&self, place: u64) -> Result<Vec<Numbered>, Behind> {
        let table = self.read();
        if !table.changes.is_known_after(place) {
            return Err(Behind);
        }
        let after = table.changes.after(place).take(STEP);
        Ok(after
            .map(|(number, change)| (number, change.clone()))
            .collect())
    }

    /// How many changes have come late: after ones with a higher number.
    pub fn late_count(&self) -> u64 {
        self.read().changes.late_count()
    }

    /// The changes that have come late since there were so many, and how many there are now.
    ///
    /// # Errors
    /// More have come than are remembered.
    pub fn late_after(&self, count: u64) -> Result<(Vec<Numbered>, u64), Behind> {
        let table = self.read();
        let late = table.changes.late_after(count).ok_or(Behind)?;
        let late = late.map(|(number, change)| (number, change.clone()));
        Ok((late.collect(), table.changes.late_count()))
    }

    /// Whether the change of this number came late: who was told of a higher one may not know it.
    pub fn was_late(&self, number: u64) -> bool {
        self.read().changes.was_late(number)
    }

    /// The ids of all that were forgotten after this place, or late, and that this can have selected.
    pub fn forgotten_after(&self, place: u64, selector: &Selector) -> Vec<ProcessId> {
        let table = self.read();
        let after = table.changes.after(place).map(|(_, change)| change);
        let forgotten = after
            .chain(table.changes.late_until(place))
            .filter_map(|change| match change {
                Change::Forgotten(gone) => selector.can_have_had(gone).then_some(gone.id),
                Change::Changed(_) => None,
            });
        forgotten.collect()
    }

    /// The next ones of a walk, the last of them first.
    fn step(&self, order: Order, after: Option<u64>) -> Vec<(u64, Arc<Process>)> {
        let table = self.read();
        let entry = |(number, process): (&u64, &Arc<Process>)| (*number, Arc::clone(process));
        let bound = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut step: Vec<_> = match order {
            Order::OldestFirst => table
                .by_number
                .range((bound, Bound::Unbounded))
                .take(STEP)
                .map(entry)
                .collect(),
            Order::NewestFirst => table
                .by_number
                .range((Bound::Unbounded, bound))
                .rev()
                .take(STEP)
                .map(entry)
                .collect(),
        };
        step.reverse();
        step
    }

    /// The supervisor described a process.
    pub fn update(&self, info: ProcessInfo) {
        let info = Arc::new(info);
        let change = info.change;
        self.write().update(info);
        self.newest.send_replace(change);
    }

    /// The supervisor has forgotten a process, which was the change of this number. Who reads its
    /// output already can go on.
    pub fn forget(&self, id: ProcessId, change: u64) {
        self.write().forget(id, change);
        self.newest.send_replace(change);
    }

    /// Receipts are signed with the key of this public half.
    pub fn receipts_signed_with(&self, key: Option<[u8; 32]>) {
        let hex = |key: [u8; 32]| key.iter().map(|byte| format!("{byte:02x}")).collect();
        // Told once, before anybody asks.
        self.receipt_key
            .get_or_init(|| key.map_or_else(String::new, hex));
    }

    /// That; empty where there is none.
    pub fn receipt_key(&self) -> &str {
        self.receipt_key.get().map_or("", String::as_str)
    }

    /// All processes were described that there are at the change of this number.
    pub fn known_at(&self, newest: u64) {
        let mut table = self.write();
        table.changes.known_at(newest);
        table.tally.begin();
    }

    /// The supervisor described a workspace.
    pub fn update_workspace(&self, info: WorkspaceInfo) {
        self.write().workspaces.update(info);
    }

    /// Nothing of a workspace is left.
    pub fn forget_workspace(&self, name: &WorkspaceName) {
        self.write().workspaces.forget(name);
    }

    /// The end of a process's output has moved.
    pub fn advance(&self, id: ProcessId, end: u64) {
        let Some(process) = self.process(id) else {
            return;
        };
        let pause = process.hub.pause();
        if pause.is_zero() {
            return process.hub.advance(end);
        }
        // Until then nobody asks for another one.
        drop(tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            process.hub.advance(end);
        }));
    }

    /// The server is shutting down.
    pub fn drain(&self) {
        self.draining.send_replace(true);
    }

    // No code under the lock can panic; were it poisoned, the table would still be whole.

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn update(&mut self, info: Arc<ProcessInfo>) {
        let known = self.by_id.get(&info.id).cloned();
        let was = known.as_ref().map(|process| process.info());
        self.workspaces.changed(was.as_deref(), Some(&info));
        self.owners.changed(was.as_deref(), Some(&info));
        self.tally.changed(was.as_deref(), &info);
        let process = match known {
            Some(process) => {
                process.info.send_replace(Arc::clone(&info));
                process
            }
            None => self.add(&info),
        };
        let was = was.map(|info| info.change);
        self.changes.changed(was, info.change, process);
    }

    fn add(&mut self, info: &Arc<ProcessInfo>) -> Arc<Process> {
        let process = Arc::new(Process {
            info: watch::Sender::new(Arc::clone(info)),
            forgotten: AtomicBool::new(false),
            read: AtomicBool::new(false),
            hub: Hub::new(info.id),
            writers: Arc::default(),
        });
        self.by_id.insert(info.id, Arc::clone(&process));
        self.by_number.insert(info.number, Arc::clone(&process));
        if let Some(name) = info.spec.name.clone() {
            let named = Arc::clone(&process);
            self.by_name.insert((name, info.number), named);
        }
        process
    }

    fn forget(&mut self, id: ProcessId, change: u64) {
        let Some(process) = self.by_id.remove(&id) else {
            return;
        };
        let info = process.info();
        self.by_number.remove(&info.number);
        if let Some(name) = info.spec.name.clone() {
            self.by_name.remove(&(name, info.number));
        }
        self.changes
            .forgotten(info.change, change, Gone::from(&*info));
        self.workspaces.changed(Some(&info), None);
        self.owners.changed(Some(&info), None);
        process.forget();
    }

    /// Those that can be selected, by number, where the selector says which. `None`: any can.
    fn found(&self, selector: &Selector) -> Option<BTreeMap<u64, Arc<Process>>> {
        let found: Vec<_> = if let Some(ids) = &selector.ids {
            ids.iter().filter_map(|id| self.by_id.get(id)).collect()
        } else if let Some(names) = &selector.names {
            names.iter().flat_map(|name| self.named(name)).collect()
        } else if let Some(Short { ids, name }) = &selector.short {
            let by_id = ids.iter().flat_map(|ids| self.by_id.range(ids.clone()));
            let by_name = name.iter().flat_map(|name| self.named(name));
            by_id.map(|(_, process)| process).chain(by_name).collect()
        } else {
            return None;
        };
        let numbered = found.into_iter().map(|process| {
            let number = process.info.borrow().number;
            (number, Arc::clone(process))
        });
        Some(numbered.collect())
    }

    fn named(&self, name: &ProcessName) -> impl Iterator<Item = &Arc<Process>> {
        let range = (name.clone(), 0)..=(name.clone(), u64::MAX);
        self.by_name.range(range).map(|(_, process)| process)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::process::tests::{ended, info};
    use crate::workspaces::tests::{name, workspace};
    use prn_ipc_protocol::message::{ExitCause, ExitStatus, OutputTotals};

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn numbers(mirror: &Mirror) -> Vec<u64> {
        mirror
            .walk(Order::OldestFirst, None)
            .map(|process| process.info().number)
            .collect()
    }

    #[test]
    fn processes_are_listed_in_the_order_of_their_starts() {
        let mirror = Mirror::default();
        mirror.update(info(B, 12));
        mirror.update(info(A, 3));
        mirror.update(info(B, 12));
        assert_eq!(numbers(&mirror), [3, 12]);
        mirror.forget(info(A, 0).id, 9);
        assert_eq!(numbers(&mirror), [12]);
        assert!(mirror.process(info(A, 0).id).is_none());
    }

    #[test]
    fn those_that_have_ended_are_counted_once() {
        let mirror = Mirror::default();
        let counts = || {
            let counts = mirror.counts(&Scope::All);
            (counts.running, counts.finished)
        };
        mirror.update(info(A, 1));
        mirror.update(info(B, 2));
        assert_eq!(counts(), (2, 0));
        let totals = OutputTotals::default();
        let end = || ended(info(A, 1), ExitStatus::Exited(0), ExitCause::Exited, totals);
        mirror.update(end());
        mirror.update(end());
        assert_eq!(counts(), (1, 1));
        mirror.forget(info(A, 0).id, 0);
        mirror.forget(info(A, 0).id, 0);
        mirror.forget(info(B, 0).id, 0);
        assert_eq!(counts(), (0, 0));
        assert_eq!(mirror.read().owners.counts(&Scope::All), Counts::default());
    }

    #[test]
    fn who_gets_to_see_some_is_told_how_many_those_are() {
        use crate::scope::tests::{name, of};
        let mirror = Mirror::default();
        for (number, owner) in (1..).zip(["one", "one", "two"]) {
            let mut process = info(&format!("{number:032x}"), number);
            process.started_by = Some(name(owner));
            mirror.update(process);
        }
        mirror.update(info(A, 4));
        let running = |scope| mirror.counts(&scope).running;
        assert_eq!(running(of(&["one"])), 2);
        assert_eq!(running(of(&["one", "two", "three"])), 3);
        assert_eq!((running(of(&[])), running(Scope::All)), (0, 4));
    }

    #[test]
    fn a_walk_goes_on_from_step_to_step_in_either_order() {
        let mirror = Mirror::default();
        let count = 2 * u64::try_from(STEP).unwrap() + 1;
        for number in 1..=count {
            mirror.update(info(&format!("{number:032x}"), number));
        }
        let walked = |order, after| -> Vec<u64> {
            mirror
                .walk(order, after)
                .map(|process| process.info().number)
                .collect()
        };
        assert_eq!(
            walked(Order::OldestFirst, None),
            (1..=count).collect::<Vec<_>>()
        );
        assert_eq!(
            walked(Order::NewestFirst, Some(count)),
            (1..count).rev().collect::<Vec<_>>()
        );
        assert!(walked(Order::OldestFirst, Some(count)).is_empty());
    }

    #[test]
    fn a_workspace_says_how_many_processes_the_mirror_has_in_it() {
        let mirror = Mirror::default();
        mirror.update_workspace(workspace("w"));
        let mut process = info(A, 1);
        process.spec.workspace = Some(name("w"));
        mirror.update(process.clone());
        mirror.update(process);
        mirror.update(info(B, 2));
        let count = || mirror.workspace(&name("w")).map(|known| known.processes);
        assert_eq!(count(), Some(1));
        mirror.forget(info(A, 0).id, 9);
        assert_eq!(count(), Some(0));
        mirror.forget_workspace(&name("w"));
        assert!(count().is_none() && mirror.workspaces().is_empty());
    }

    #[test]
    fn a_change_wakes_those_who_wait_for_this_process_alone() {
        let mirror = Mirror::default();
        mirror.update(info(A, 1));
        mirror.update(info(B, 2));
        let a = mirror.process(info(A, 0).id).unwrap().changes();
        let b = mirror.process(info(B, 0).id).unwrap().changes();
        mirror.update(info(B, 2));
        assert!(!a.has_changed().unwrap());
        assert!(b.has_changed().unwrap());
    }

    #[test]
    fn a_selector_with_ids_or_names_finds_what_a_walk_would() {
        use crate::selector::tests::name;
        let mirror = Mirror::default();
        for number in 1..=600 {
            let mut process = info(&format!("{:032x}", number * 0x9e37_79b9_7f4a_7c15_u128), 0);
            process.number = u64::try_from(number).unwrap();
            process.change = process.number;
            process.spec.name = (number % 3 == 0).then(|| name(&format!("n{}", number % 7)));
            mirror.update(process);
        }
        let id = |number: u128| info(&format!("{:032x}", number * 0x9e37_79b9_7f4a_7c15), 0).id;
        mirror.forget(id(3), 601);
        let selectors = [
            Selector {
                ids: Some([id(3), id(5), id(9), id(1_000_000)].into()),
                ..Selector::default()
            },
            Selector {
                names: Some([name("n1"), name("n2"), name("x")].into()),
                running: Some(true),
                ..Selector::default()
            },
            Selector {
                short: Some(Short {
                    ids: Some(id(5)..=id(50)),
                    name: Some(name("n4")),
                }),
                ..Selector::default()
            },
        ];
        for selector in &selectors {
            for (order, after) in [
                (Order::OldestFirst, None),
                (Order::NewestFirst, None),
                (Order::OldestFirst, Some(30)),
                (Order::NewestFirst, Some(30)),
            ] {
                let of = |walk: Walk<'_>| -> Vec<u64> {
                    let infos = walk.map(|process| process.info());
                    let selected = infos.filter(|info| selector.has(info));
                    selected.map(|info| info.number).collect()
                };
                let walked = of(mirror.walk(order, after));
                assert_eq!(of(mirror.candidates(selector, order, after)), walked);
                assert!(after.is_some() || walked.len() > 1, "{selector:?}");
            }
        }
    }

    #[test]
    fn who_waits_for_a_process_is_woken_when_it_is_forgotten() {
        let mirror = Mirror::default();
        mirror.update(info(A, 1));
        let process = mirror.process(info(A, 0).id).unwrap();
        let changes = process.changes();
        mirror.forget(info(A, 0).id, 2);
        assert!(changes.has_changed().unwrap() && process.is_forgotten());
    }
}
