//! What a watch tells, from the mirror: no I/O, and nothing that waits.
//!
//! First of all processes, by their starts, which do not change; then of each change behind the one
//! that was the newest when the watch began. What changes while the first are told is told again
//! then. Whoever reads slowly has a place in the order of changes, and a few of them at hand.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use prn_ipc_protocol::message::ProcessInfo;
use prn_ipc_protocol::types::ProcessId;
use prn_proto::v1;

use crate::changes::Change;
use crate::convert::process::listed;
use crate::convert::watch::{From, Watch};
use crate::mirror::{Behind, Mirror, Numbered, Order, Process};

/// Processes that are at hand at a time.
const AT_HAND: usize = 64;

/// A watch on its way.
#[derive(Debug)]
pub struct Watching {
    mirror: Arc<Mirror>,
    wanted: Watch,
    /// Those that were told of, where not all are, and are selected as far as was told.
    told: HashSet<ProcessId>,
    /// Of what was forgotten up to this change, the client may know from before, and nothing is in
    /// [`Self::told`].
    unsure_until: u64,
    /// Up to this change all was told, or will be before [`Phase::Synchronized`].
    place: u64,
    /// So many of those that came late were told of, or are at hand.
    late: u64,
    /// The cursor of what comes before that: with it, all of this is told again.
    first_cursor: String,
    phase: Phase,
}

/// What is told next.
#[derive(Debug)]
enum Phase {
    /// That the cursor leads nowhere.
    Reset,
    /// Which processes were forgotten since the cursor.
    Forgotten(u64, Vec<ProcessId>),
    /// Which there are.
    Present(Present),
    /// That this was all.
    Synchronized,
    /// What changes.
    Changes(VecDeque<Numbered>),
    /// Nothing.
    Over,
}

/// The processes that there are.
#[derive(Debug)]
struct Present {
    /// Of those that have not changed since, the client knows.
    since: Option<u64>,
    /// Number of the last that was looked at.
    last: Option<u64>,
    at_hand: VecDeque<Arc<Process>>,
}

impl Present {
    fn phase(since: Option<u64>) -> Phase {
        Phase::Present(Self {
            since,
            last: None,
            at_hand: VecDeque::new(),
        })
    }
}

/// What one look comes to.
#[derive(Debug)]
pub enum Step {
    /// Something to tell.
    Message(Box<v1::WatchResponse>),
    /// Nothing yet: there may be more to look at.
    Skipped,
    /// Nothing, until there is a change.
    Nothing,
    /// Nothing more.
    Over,
}

impl Watching {
    /// Of what there is from now on.
    pub fn new(mirror: Arc<Mirror>, wanted: Watch) -> Self {
        // Before all looks: whatever changes after it is told as a change.
        let (late, place) = (mirror.late_count(), mirror.newest());
        let (first_cursor, phase) = match wanted.from.clone() {
            From::Beginning => (String::new(), Present::phase(None)),
            From::Change(since, cursor) if mirror.is_known_after(since) => {
                let forgotten = mirror.forgotten_after(since, &wanted.selector);
                (cursor, Phase::Forgotten(since, forgotten))
            }
            From::Change(_, cursor) | From::Elsewhere(cursor) => (cursor, Phase::Reset),
        };
        Self {
            mirror,
            wanted,
            told: HashSet::new(),
            unsure_until: 0,
            place,
            late,
            first_cursor,
            phase,
        }
    }

    /// The next thing to tell.
    ///
    /// # Errors
    /// What comes next is not known any more.
    pub fn step(&mut self) -> Result<Step, Behind> {
        match &mut self.phase {
            Phase::Reset => {
                self.phase = Present::phase(None);
                Ok(self.first(v1::WatchResponse {
                    reset: true,
                    ..Default::default()
                }))
            }
            Phase::Forgotten(since, forgotten) => {
                let Some(id) = forgotten.pop() else {
                    self.phase = Present::phase(Some(*since));
                    return Ok(Step::Skipped);
                };
                Ok(self.first(removed(id)))
            }
            Phase::Present(_) => Ok(self.present()),
            Phase::Synchronized => {
                self.phase = if self.wanted.no_follow {
                    Phase::Over
                } else {
                    Phase::Changes(VecDeque::new())
                };
                Ok(self.message(v1::WatchResponse {
                    synchronized: true,
                    ..Default::default()
                }))
            }
            Phase::Changes(_) => self.change(),
            Phase::Over => Ok(Step::Over),
        }
    }

    /// The next of the processes that there are.
    fn present(&mut self) -> Step {
        let Phase::Present(present) = &mut self.phase else {
            return Step::Skipped;
        };
        if present.at_hand.is_empty() {
            let selector = &self.wanted.selector;
            let next = (self.mirror).candidates(selector, Order::OldestFirst, present.last);
            present.at_hand.extend(next.take(AT_HAND));
        }
        let Some(process) = present.at_hand.pop_front() else {
            if present.since.is_some() {
                self.unsure_until = self.mirror.newest();
            }
            self.phase = Phase::Synchronized;
            return Step::Skipped;
        };
        let info = process.info();
        present.last = Some(info.number);
        let is_known = (present.since)
            .is_some_and(|since| info.change <= since && !self.mirror.was_late(info.change));
        let can_be_known = present.since.is_some();
        let is_selected = self.select(&info);
        if is_known {
            Step::Skipped
        } else if is_selected {
            self.first(self.shown(&info))
        } else if can_be_known && self.wanted.selector.can_have(&info) {
            // It may have been selected before.
            self.first(removed(info.id))
        } else {
            Step::Skipped
        }
    }

    /// The next change.
    fn change(&mut self) -> Result<Step, Behind> {
        let Phase::Changes(at_hand) = &mut self.phase else {
            return Ok(Step::Skipped);
        };
        if at_hand.is_empty() {
            let late;
            (late, self.late) = self.mirror.late_after(self.late)?;
            // The others are before it still.
            let passed = late.into_iter().filter(|(number, _)| *number <= self.place);
            at_hand.extend(passed);
            at_hand.extend(self.mirror.changes_after(self.place)?);
        }
        let Some((number, change)) = at_hand.pop_front() else {
            return Ok(Step::Nothing);
        };
        self.place = self.place.max(number);
        Ok(match change {
            Change::Changed(process) => {
                let info = process.info();
                let was_told = self.told.contains(&info.id);
                if self.select(&info) {
                    self.message(self.shown(&info))
                } else if was_told {
                    self.message(removed(info.id))
                } else {
                    Step::Skipped
                }
            }
            Change::Forgotten(gone) => {
                let selector = &self.wanted.selector;
                let may_be_known = selector.is_all()
                    || (number <= self.unsure_until && selector.can_have_had(&gone));
                if self.told.remove(&gone.id) || may_be_known {
                    self.message(removed(gone.id))
                } else {
                    Step::Skipped
                }
            }
        })
    }

    /// Whether this process is selected now, which is noted where not all are.
    fn select(&mut self, info: &ProcessInfo) -> bool {
        if self.wanted.selector.is_all() {
            return true;
        }
        let is_selected = self.wanted.selector.has(info);
        if is_selected {
            self.told.insert(info.id);
        } else {
            self.told.remove(&info.id);
        }
        is_selected
    }

    fn shown(&self, info: &ProcessInfo) -> v1::WatchResponse {
        v1::WatchResponse {
            process: Some(listed(info, self.wanted.with_argv)),
            ..Default::default()
        }
    }

    /// Something that is told before all that is so was told.
    fn first(&self, message: v1::WatchResponse) -> Step {
        self.with(message, self.first_cursor.clone())
    }

    fn message(&self, message: v1::WatchResponse) -> Step {
        self.with(message, self.wanted.cursors.at(self.place))
    }

    fn with(&self, message: v1::WatchResponse, cursor: String) -> Step {
        Step::Message(Box::new(v1::WatchResponse {
            cursor,
            boot_epoch: self.wanted.cursors.epoch().to_owned(),
            ..message
        }))
    }
}

fn removed(id: ProcessId) -> v1::WatchResponse {
    v1::WatchResponse {
        removed: Some(v1::ProcessIdentifier { id: id.to_string() }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::FORGOTTEN_MAX;
    use crate::convert::process::tests::{ended, info};
    use crate::convert::watch::watch;
    use crate::scope::Scope;
    use crate::selector::tests::labels;
    use prn_ipc_protocol::message::{ExitCause, ExitStatus, OutputTotals};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// What happens to one of a few processes.
    #[derive(Debug, Clone, Copy)]
    enum Act {
        Start,
        Label(u8),
        End,
        Forget,
    }

    /// The supervisor, as far as a mirror hears of it.
    #[derive(Debug, Default)]
    struct Supervisor {
        change: u64,
        started: u64,
        processes: BTreeMap<u8, ProcessInfo>,
    }

    impl Supervisor {
        fn act(&mut self, mirror: &Mirror, which: u8, act: Act) {
            let known = self.processes.remove(&which);
            self.change += 1;
            let mut process = match (act, known) {
                (Act::Start, None) => {
                    self.started += 1;
                    info(&format!("{which:08x}{:024x}", self.started), self.started)
                }
                (Act::Forget, Some(process)) => return mirror.forget(process.id, self.change),
                (Act::End, Some(process)) => {
                    let totals = OutputTotals::default();
                    ended(process, ExitStatus::Exited(0), ExitCause::Exited, totals)
                }
                (Act::Label(value), Some(mut process)) => {
                    process.spec.labels = labels(&[("a", ["0", "1", "2"][usize::from(value % 3)])]);
                    process
                }
                (Act::Start, Some(process)) => process,
                (Act::Label(_) | Act::End | Act::Forget, None) => {
                    self.change -= 1;
                    return;
                }
            };
            process.change = self.change;
            self.processes.insert(which, process.clone());
            mirror.update(process);
        }

        fn snapshot(&self) -> Arc<Mirror> {
            let mirror = Mirror::default();
            for process in self.processes.values() {
                mirror.update(process.clone());
            }
            mirror.known_at(self.change);
            Arc::new(mirror)
        }
    }

    /// What a client makes of a watch.
    #[derive(Debug, Clone, Default, PartialEq)]
    struct Seen {
        processes: BTreeMap<String, v1::Process>,
        /// Since a reset, until all was told.
        anew: Option<BTreeMap<String, v1::Process>>,
        cursor: String,
    }

    impl Seen {
        fn take(&mut self, message: v1::WatchResponse) {
            if message.reset {
                self.anew = Some(BTreeMap::new());
            }
            if message.synchronized
                && let Some(anew) = self.anew.take()
            {
                self.processes = anew;
            }
            let into = self.anew.as_mut().unwrap_or(&mut self.processes);
            if let Some(process) = message.process {
                into.insert(process.id.clone().unwrap().id, process);
            }
            if let Some(removed) = message.removed {
                into.remove(&removed.id);
            }
            self.cursor = message.cursor;
        }
    }

    fn watching(mirror: &Arc<Mirror>, selector: &v1::ProcessSelector, after: &str) -> Watching {
        let raw = v1::WatchRequest {
            selector: Some(selector.clone()),
            after: after.to_owned(),
            ..Default::default()
        };
        Watching::new(
            Arc::clone(mirror),
            watch(raw, &"e".into(), &Scope::All).unwrap(),
        )
    }

    /// The next message that there is now.
    fn next(watching: &mut Watching) -> Option<v1::WatchResponse> {
        loop {
            match watching.step().unwrap() {
                Step::Message(message) => return Some(*message),
                Step::Skipped => {}
                Step::Nothing | Step::Over => return None,
            }
        }
    }

    fn selectors() -> [v1::ProcessSelector; 4] {
        let label = v1::LabelMatch {
            key: "a".to_owned(),
            value: "1".to_owned(),
            ..Default::default()
        };
        [
            v1::ProcessSelector::default(),
            v1::ProcessSelector {
                labels: vec![label],
                ..Default::default()
            },
            v1::ProcessSelector {
                state: v1::ProcessState::Running.into(),
                ..Default::default()
            },
            v1::ProcessSelector {
                id_prefix_or_name: "0000000".to_owned(),
                outcome: v1::process_selector::Outcome::Succeeded.into(),
                ..Default::default()
            },
        ]
    }

    /// What is selected now, as a list has it.
    fn listed_now(
        mirror: &Mirror,
        selector: &v1::ProcessSelector,
    ) -> BTreeMap<String, v1::Process> {
        let raw = v1::WatchRequest {
            selector: Some(selector.clone()),
            ..Default::default()
        };
        let selector = watch(raw, &"e".into(), &Scope::All).unwrap().selector;
        let infos = mirror.selected(&selector).map(|process| process.info());
        infos
            .map(|info| (info.id.to_string(), listed(&info, false)))
            .collect()
    }

    fn act() -> impl Strategy<Value = (u8, Act)> {
        let act = prop_oneof![
            Just(Act::Start),
            any::<u8>().prop_map(Act::Label),
            Just(Act::End),
            Just(Act::Forget),
        ];
        (0..6_u8, act)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// A client that was cut off after any message, and goes on with its cursor after any change,
        /// through this frontend or another one, has seen what a list says.
        #[test]
        fn a_watch_that_goes_on_at_any_cursor_comes_to_what_a_list_says(
            acts in prop::collection::vec((act(), 0..4_usize), 1..60),
            which in 0..4_usize,
            replaced_at in 0..60_usize,
        ) {
            let selector = &selectors()[which];
            let (mut supervisor, mut mirror) = (Supervisor::default(), Arc::new(Mirror::default()));
            let mut stays = (Seen::default(), watching(&mirror, selector, ""));
            // What a client that was cut off then has.
            let mut cut: Vec<Seen> = vec![];
            for (at, ((process, act), pace)) in acts.into_iter().enumerate() {
                supervisor.act(&mirror, process, act);
                if at == replaced_at {
                    mirror = supervisor.snapshot();
                    stays.1 = watching(&mirror, selector, &stays.0.cursor);
                    if stays.0.cursor.is_empty() {
                        stays.0 = Seen::default();
                    }
                }
                // It reads some of it only.
                for message in std::iter::from_fn(|| next(&mut stays.1)).take(pace) {
                    stays.0.take(message);
                    cut.push(stays.0.clone());
                }
            }
            let expected = listed_now(&mirror, selector);
            while let Some(message) = next(&mut stays.1) {
                stays.0.take(message);
                cut.push(stays.0.clone());
            }
            prop_assert_eq!(&stays.0.processes, &expected);
            for mut seen in cut {
                // Without a cursor nothing is known.
                if seen.cursor.is_empty() {
                    seen = Seen::default();
                }
                let mut again = watching(&mirror, selector, &seen.cursor);
                let mut synchronized = false;
                while let Some(message) = next(&mut again) {
                    prop_assert!(!message.reset || !synchronized);
                    synchronized |= message.synchronized;
                    seen.take(message);
                }
                prop_assert!(synchronized);
                prop_assert_eq!(&seen.processes, &expected);
            }
        }
    }

    #[test]
    fn a_change_that_comes_after_a_higher_number_is_told_and_on_going_on_too() {
        let (mut supervisor, mirror) = (Supervisor::default(), Arc::new(Mirror::default()));
        supervisor.act(&mirror, 1, Act::Start);
        supervisor.act(&mirror, 2, Act::Start);
        let selector = v1::ProcessSelector::default();
        let mut follows = watching(&mirror, &selector, "");
        let mut seen = Seen::default();
        while let Some(message) = next(&mut follows) {
            seen.take(message);
        }
        // The first changes, the second ends, the first changes again: and is told as it is then.
        let apart = Mirror::default();
        let [first, second] = [1, 2].map(|which| supervisor.processes[&which].id);
        supervisor.act(&apart, 1, Act::Label(1));
        supervisor.act(&apart, 2, Act::End);
        supervisor.act(&apart, 1, Act::Label(2));
        let told = |id| ProcessInfo::clone(&apart.process(id).unwrap().info());
        mirror.update(told(first));
        seen.take(next(&mut follows).unwrap());
        assert!(next(&mut follows).is_none());
        let mut cut = seen.clone();
        mirror.update(told(second));
        mirror.update(told(first));
        while let Some(message) = next(&mut follows) {
            seen.take(message);
        }
        let expected = listed_now(&mirror, &selector);
        assert_eq!(seen.processes, expected);
        let mut again = watching(&mirror, &selector, &cut.cursor);
        while let Some(message) = next(&mut again) {
            cut.take(message);
        }
        assert_eq!(cut.processes, expected, "it goes on at a cursor behind it");
    }

    #[test]
    fn one_that_changes_faster_than_it_is_read_is_told_as_it_is_then() {
        let (mut supervisor, mirror) = (Supervisor::default(), Arc::new(Mirror::default()));
        supervisor.act(&mirror, 1, Act::Start);
        let mut watching = watching(&mirror, &v1::ProcessSelector::default(), "");
        while next(&mut watching).is_some() {}
        for value in 0..100 {
            supervisor.act(&mirror, 1, Act::Label(value));
        }
        let message = next(&mut watching).unwrap();
        assert_eq!(message.process.unwrap().status.unwrap().labels["a"], "0");
        assert!(next(&mut watching).is_none());
    }

    #[test]
    fn what_has_not_changed_since_a_cursor_is_not_told_again() {
        let (mut supervisor, mirror) = (Supervisor::default(), Arc::new(Mirror::default()));
        (0..100).for_each(|which| supervisor.act(&mirror, which, Act::Start));
        let all = v1::ProcessSelector::default();
        let mut first = watching(&mirror, &all, "");
        let messages: Vec<_> = std::iter::from_fn(|| next(&mut first)).collect();
        assert_eq!(messages.len(), 101);
        supervisor.act(&mirror, 7, Act::End);
        supervisor.act(&mirror, 8, Act::Forget);
        let mut again = watching(&mirror, &all, &messages[100].cursor);
        let told: Vec<_> = std::iter::from_fn(|| next(&mut again)).collect();
        let [removed, process, synchronized] = told.try_into().unwrap();
        assert!(removed.removed.is_some() && synchronized.synchronized);
        assert!(
            process
                .process
                .unwrap()
                .id
                .unwrap()
                .id
                .starts_with("00000007")
        );
    }

    #[test]
    fn of_those_forgotten_since_a_cursor_only_what_can_have_been_selected_is_told() {
        let (mut supervisor, mirror) = (Supervisor::default(), Arc::new(Mirror::default()));
        (0..100).for_each(|which| supervisor.act(&mirror, which, Act::Start));
        let mut named = info("ff000000000000000000000000000000", 1000);
        (named.change, named.spec.name) = (1000, Some(crate::selector::tests::name("web")));
        mirror.update(named.clone());
        supervisor.change = 1000;
        let short = |what: &str| v1::ProcessSelector {
            id_prefix_or_name: what.to_owned(),
            ..Default::default()
        };
        let told = |selector: &v1::ProcessSelector, after: &str| -> Vec<_> {
            let mut watching = watching(&mirror, selector, after);
            std::iter::from_fn(|| next(&mut watching)).collect()
        };
        // A cursor is good for its own selector.
        let cases = [
            ("web", 2),
            ("00000007", 2),
            ("ff", 2),
            ("bank", 1),
            ("", 102),
        ];
        let cursors = cases.map(|(what, _)| told(&short(what), "").pop().unwrap().cursor);
        (0..100).for_each(|which| supervisor.act(&mirror, which, Act::Forget));
        mirror.forget(named.id, supervisor.change + 1);
        for ((what, count), cursor) in cases.into_iter().zip(cursors) {
            let messages = told(&short(what), &cursor);
            assert_eq!(messages.len(), count, "{what}");
            let (last, removed) = messages.split_last().unwrap();
            assert!(last.synchronized && removed.iter().all(|it| it.removed.is_some()));
        }
    }

    #[test]
    fn whoever_is_too_far_behind_is_told_so_and_then_all_anew() {
        let (mut supervisor, mirror) = (Supervisor::default(), Arc::new(Mirror::default()));
        let all = v1::ProcessSelector::default();
        let mut slow = watching(&mirror, &all, "");
        let cursor = next(&mut slow).unwrap().cursor;
        for _ in 0..=FORGOTTEN_MAX {
            supervisor.act(&mirror, 1, Act::Start);
            supervisor.act(&mirror, 1, Act::Forget);
        }
        assert_eq!(slow.step().unwrap_err(), Behind);
        let mut again = watching(&mirror, &all, &cursor);
        assert!(next(&mut again).unwrap().reset && next(&mut again).unwrap().synchronized);
        let mut lost = watching(&mirror, &all, &cursor.replacen('e', "f", 1));
        assert!(next(&mut lost).unwrap().reset);
    }

    #[test]
    fn a_watch_that_does_not_follow_ends_when_all_was_told() {
        let mirror = Arc::new(Mirror::default());
        let raw = v1::WatchRequest {
            no_follow: true,
            ..Default::default()
        };
        let mut watching = Watching::new(mirror, watch(raw, &"e".into(), &Scope::All).unwrap());
        assert!(next(&mut watching).unwrap().synchronized);
        assert!(matches!(watching.step(), Ok(Step::Over)));
    }
}
