//! What is due when. Runs in the supervisor; pure.

use std::collections::BTreeSet;
use std::ops::RangeBounds;
use std::time::Instant;

use prn_ipc_protocol::output::Stream;

/// What a process's deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// The process has run long enough.
    Timeout,
    /// Nobody has followed it, or renewed its lease.
    Lease,
    /// The grace time is over, or the cleaner's time.
    Kill,
    /// What was killed should be gone.
    Stuck,
    /// Try again to remove the group.
    Remove,
    /// Try again to empty the directories.
    Clean,
    /// This stream was left to fill for long enough.
    Read(Stream),
    /// All processes of its workspace are being stopped.
    StopAll,
    /// The watcher of a workspace, which was killed, should be gone.
    Dismissed,
    /// Nobody has come to follow.
    GiveUp,
    /// It has been remembered for long enough.
    Forget,
}

/// One deadline. Ordered by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Deadline {
    /// When.
    pub at: Instant,
    /// The number of the process, or of the workspace.
    pub process: u64,
    /// What then.
    pub due: Due,
}

/// A deadline, ordered by its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct OfProcess {
    process: u64,
    due: Due,
    at: Instant,
}

impl From<Deadline> for OfProcess {
    fn from(Deadline { at, process, due }: Deadline) -> Self {
        Self { process, due, at }
    }
}

/// All deadlines: of processes, and times at which the wait is to end.
#[derive(Debug)]
pub(crate) struct Deadlines {
    by_time: BTreeSet<Deadline>,
    /// The same ones, so that a process's end costs no look at those of all others.
    by_process: BTreeSet<OfProcess>,
    wakes: BTreeSet<Instant>,
    /// When this was made, which no deadline is before.
    made: Instant,
}

impl Deadlines {
    /// None yet. None can be set before `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            by_time: BTreeSet::new(),
            by_process: BTreeSet::new(),
            wakes: BTreeSet::new(),
            made: now,
        }
    }

    /// Sets one. A process may have several for the same thing, each at its own time.
    pub fn add(&mut self, deadline: Deadline) {
        self.by_time.insert(deadline);
        self.by_process.insert(deadline.into());
    }

    /// Takes one back.
    pub fn remove(&mut self, deadline: Deadline) {
        self.by_time.remove(&deadline);
        self.by_process.remove(&deadline.into());
    }

    /// Takes all of a process back but those of a finished one: that of a follower, who may come then
    /// as well, and that of its age.
    pub fn remove_all_of_life(&mut self, process: u64) {
        let from = |due| OfProcess {
            process,
            due,
            at: self.made,
        };
        self.take_back(from(Due::Timeout)..from(Due::GiveUp));
    }

    /// Sets one in place of those that the process has for the same thing: however often somebody
    /// asks, there is one.
    pub fn replace(&mut self, deadline: Deadline) {
        self.take_back_due(deadline.process, deadline.due);
        self.add(deadline);
    }

    /// Takes all back that the process has for this.
    pub fn take_back_due(&mut self, process: u64, due: Due) {
        let at = self.made;
        let from = OfProcess { process, due, at };
        let of_same = |other: &&OfProcess| (other.process, other.due) == (from.process, from.due);
        let last = self.by_process.range(from..).take_while(of_same).last();
        if let Some(last) = last.copied() {
            self.take_back(from..=last);
        }
    }

    fn take_back(&mut self, range: impl RangeBounds<OfProcess>) {
        let dropped = self.by_process.range(range).copied();
        for OfProcess { process, due, at } in dropped.collect::<Vec<_>>() {
            self.remove(Deadline { at, process, due });
        }
    }

    /// Makes a wait end at that time.
    pub fn wake_at(&mut self, at: Instant) {
        self.wakes.insert(at);
    }

    /// Takes back a [`Deadlines::wake_at`].
    pub fn cancel_wake(&mut self, at: Instant) {
        self.wakes.remove(&at);
    }

    /// When the next wait has to end.
    pub fn next(&self) -> Option<Instant> {
        let first = self.by_time.first().map(|deadline| deadline.at);
        first.into_iter().chain(self.wakes.first().copied()).min()
    }

    /// Takes the earliest deadline of a process that has passed.
    pub fn take_passed(&mut self, now: Instant) -> Option<Deadline> {
        while self.wakes.first().is_some_and(|at| *at <= now) {
            self.wakes.pop_first();
        }
        let passed = *self.by_time.first().filter(|first| first.at <= now)?;
        self.remove(passed);
        Some(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const ALL: [Due; 12] = [
        Due::Timeout,
        Due::Lease,
        Due::Kill,
        Due::Stuck,
        Due::Remove,
        Due::Clean,
        Due::Read(Stream::Stdout),
        Due::Read(Stream::Stderr),
        Due::StopAll,
        Due::Dismissed,
        Due::GiveUp,
        Due::Forget,
    ];

    fn taken(deadlines: &mut Deadlines, now: Instant) -> Vec<(u64, Due)> {
        std::iter::from_fn(|| deadlines.take_passed(now))
            .map(|deadline| (deadline.process, deadline.due))
            .collect()
    }

    #[test]
    fn what_has_passed_comes_in_the_order_of_its_time_and_once() {
        let start = Instant::now();
        let second = |count| start + Duration::from_secs(count);
        let mut deadlines = Deadlines::new(start);
        for (at, process, due) in [
            (3, 1, Due::Kill),
            (1, 2, Due::Stuck),
            (2, 1, Due::Kill),
            (2, 1, Due::Kill),
        ] {
            let at = second(at);
            deadlines.add(Deadline { at, process, due });
        }
        assert_eq!(deadlines.next(), Some(second(1)));
        assert_eq!(taken(&mut deadlines, start), []);
        let passed = taken(&mut deadlines, second(2));
        assert_eq!(passed, [(2, Due::Stuck), (1, Due::Kill)]);
        assert_eq!(deadlines.next(), Some(second(3)));
        assert_eq!(taken(&mut deadlines, second(9)), [(1, Due::Kill)]);
        assert_eq!(deadlines.next(), None);
        assert!(deadlines.by_process.is_empty());
    }

    #[test]
    fn the_end_of_a_process_drops_its_own_deadlines_but_those_of_a_finished_one() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new(start);
        for process in [1, 2, 3] {
            for due in ALL {
                for after in [0, 1, 3600] {
                    let at = start + Duration::from_secs(after);
                    deadlines.add(Deadline { at, process, due });
                }
            }
        }
        deadlines.remove_all_of_life(2);
        let mut left = taken(&mut deadlines, start + Duration::from_secs(3600));
        left.sort_unstable();
        left.dedup();
        let others = [1, 3].map(|process| ALL.map(|due| (process, due)));
        let mut expected = others.concat();
        expected.extend([(2, Due::GiveUp), (2, Due::Forget)]);
        expected.sort_unstable();
        assert_eq!(left, expected);
    }

    #[test]
    fn one_that_is_replaced_is_the_only_one_of_its_process_for_that() {
        let start = Instant::now();
        let second = |count| start + Duration::from_secs(count);
        let mut deadlines = Deadlines::new(start);
        for process in [1, 2] {
            for due in [Due::Kill, Due::StopAll, Due::Dismissed] {
                for at in [0, 5, 9] {
                    let at = second(at);
                    deadlines.add(Deadline { at, process, due });
                }
            }
        }
        for at in [4, 3] {
            deadlines.replace(Deadline {
                at: second(at),
                process: 1,
                due: Due::StopAll,
            });
        }
        let of_one = deadlines.by_process.iter().filter(|of| of.process == 1);
        let stops: Vec<_> = of_one.filter(|of| of.due == Due::StopAll).collect();
        assert!(matches!(&stops[..], [only] if only.at == second(3)));
        let left = taken(&mut deadlines, second(9));
        assert_eq!(left.len(), 18 - 2);
        assert!(deadlines.by_process.is_empty());
    }

    #[test]
    fn one_that_was_taken_back_never_comes() {
        let start = Instant::now();
        let (at, process) = (start, 1);
        let mut deadlines = Deadlines::new(start);
        for due in ALL {
            deadlines.add(Deadline { at, process, due });
            deadlines.remove(Deadline { at, process, due });
        }
        assert_eq!(deadlines.next(), None);
        assert!(deadlines.by_process.is_empty());
    }

    #[test]
    fn a_wake_ends_a_wait_and_is_nobodys_deadline() {
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        let mut deadlines = Deadlines::new(start);
        deadlines.wake_at(start);
        deadlines.wake_at(later);
        assert_eq!(deadlines.next(), Some(start));
        assert_eq!(deadlines.take_passed(start), None);
        assert_eq!(deadlines.next(), Some(later));
        deadlines.cancel_wake(later);
        assert_eq!(deadlines.next(), None);
    }
}
