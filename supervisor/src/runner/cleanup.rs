//! The removal of what a process or a workspace leaves: its group and its directories. Runs in the
//! supervisor.
//!
//! Nothing here takes the time that a process chose. What it put into its directories is deleted by
//! a cleaner that runs as its user, and directories that have grown large are removed by a child.
//! Each has a deadline, and what is not done by then is tried again later, until it is: the user id
//! belongs to nobody else before.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use prn_ipc_protocol::fds::tools;

use super::Runner;
use super::leftover::{Leftover, Owner};
use crate::cgroup::{self, Group};
use crate::deadlines::Due;
use crate::directory::{self, Holder};
use crate::events::{Interest, Part, Source};
use crate::process::{Live, Phase};
use crate::sys::pidfd;
use crate::sys::spawn::{self, Child, Ids, Program};

/// How long a cleaner, or the removal of what is empty, has in one try.
const TRY: Duration = Duration::from_secs(10);

/// How long what was killed has to die.
const STUCK: Duration = Duration::from_secs(5);

/// How long after a try the next one comes: this, doubled each time, up to 64 times as long.
const PAUSE: Duration = Duration::from_secs(1);

/// How often the removal of a group is tried, 20 ms after the first time and twice as long each
/// time: 10 s together.
const REMOVE_TRIES: u32 = 9;

/// How far a removal got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cleared {
    /// Nothing is left.
    All,
    /// A child or a deadline tells when to go on.
    Later,
    /// Something is left, and this try is over.
    Not,
}

impl Runner {
    /// Takes the next step of a removal.
    pub(super) fn clear(&mut self, owner: &Owner, live: &mut Live) -> Cleared {
        let (number, holder) = (owner.number, &owner.holder);
        if cgroup::remove(self.settings.groups.as_fd(), &holder.to_string()).is_err() {
            // What is in it has no business there any more.
            let _unused = live.group.kill();
            if live.busy >= REMOVE_TRIES {
                return Cleared::Not;
            }
            live.busy += 1;
            self.deadline(number, Duration::from_millis(10 << live.busy), Due::Remove);
            return Cleared::Later;
        }
        if owner.workspace.is_some() {
            return Cleared::All;
        }
        let state = self.settings.state.as_fd();
        let are_short = directory::are_short(state, holder);
        if directory::are_gone(state, holder) || (are_short && directory::remove(state, holder)) {
            return Cleared::All;
        }
        let next = match live.phase {
            Phase::Running | Phase::Removing => self.clean(owner),
            Phase::Cleaning if !are_short => self.unlink(owner),
            Phase::Cleaning | Phase::Unlinking => return Cleared::Not,
        };
        match next {
            Ok(child) => {
                *live = child;
                self.deadline(number, TRY, Due::Kill);
                Cleared::Later
            }
            Err(_) => {
                let _unused = cgroup::remove(self.settings.groups.as_fd(), &holder.to_string());
                Cleared::Not
            }
        }
    }

    /// Keeps what is left of a finished process, or of a workspace, for another try, the `tries`th.
    /// When the server is shutting down there is none: the next one that starts removes it.
    pub(super) fn leave(&mut self, owner: Owner, live: Live, tries: u32) {
        let (what, name) = owner.field();
        if self.draining {
            let message = "its directories or its cgroup are left";
            crate::log::warning(message, &[(what, &name)]);
            return self.forget_workspace(&owner);
        }
        if tries == 1 {
            let message = "its directories or its cgroup are left for now, and its user id is not used until they are gone";
            let uid = owner.uid.to_string();
            crate::log::warning(message, &[(what, &name), ("uid", &uid)]);
            if let Holder::Workspace(name) = &owner.holder {
                self.note_tried(name);
            }
        }
        let number = owner.number;
        let live = Live { busy: 0, ..live };
        let leftover = Leftover { owner, live, tries };
        let pause = PAUSE * (1 << tries.saturating_sub(1).min(6));
        self.deadline(number, pause, Due::Clean);
        self.leftovers.insert(number, leftover);
    }

    /// No more tries, but for those that are under way.
    pub(super) fn leave_leftovers(&mut self) {
        let waits = |leftover: &Leftover| leftover.live.main.is_none() && leftover.live.busy == 0;
        let left = self.leftovers.iter().filter(|(_, left)| waits(left));
        for number in left.map(|(number, _)| *number).collect::<Vec<_>>() {
            if let Some(leftover) = self.leftovers.remove(&number) {
                self.deadlines.remove_all_of_life(number);
                self.leave(leftover.owner, leftover.live, leftover.tries);
            }
        }
        for number in self.leftovers.keys().copied().collect::<Vec<_>>() {
            self.deadline(number, TRY + STUCK, Due::Stuck);
        }
    }

    /// A descriptor of a leftover's tells something.
    pub(super) fn leftover_happened(&mut self, number: u64, part: Part) {
        let Some(mut leftover) = self.leftovers.remove(&number) else {
            return;
        };
        let has_ended = |main: &mut OwnedFd| !matches!(pidfd::reap(main), Ok(None));
        let ended = match part {
            Part::Main => leftover.live.main.take_if(has_ended),
            Part::Report
            | Part::Pipe(_)
            | Part::Group
            | Part::Input
            | Part::Aside
            | Part::Watcher => None,
        };
        if let Some(cleaner) = ended {
            self.detach(&cleaner);
            self.deadlines.remove_all_of_life(number);
            self.go_on_with(leftover);
        } else {
            self.leftovers.insert(number, leftover);
        }
    }

    /// A leftover's deadline has come.
    pub(super) fn leftover_due(&mut self, number: u64, due: Due) {
        let Some(mut leftover) = self.leftovers.remove(&number) else {
            return;
        };
        match due {
            // Its end goes on with it.
            Due::Kill => {
                let _unused = leftover.live.group.kill();
                self.deadline(number, STUCK, Due::Stuck);
            }
            // What cannot be killed is not waited for.
            Due::Stuck if self.draining => {
                return self.leave(leftover.owner, leftover.live, leftover.tries);
            }
            Due::Remove => return self.go_on_with(leftover),
            Due::Clean => {
                leftover.live.phase = Phase::Removing;
                return self.go_on_with(leftover);
            }
            Due::Stuck
            | Due::Timeout
            | Due::Lease
            | Due::Forget
            | Due::Read(_)
            | Due::GiveUp
            | Due::Dismissed
            | Due::StopAll => {}
        }
        self.leftovers.insert(number, leftover);
    }

    /// Takes the next step of a removal that nobody may wait for.
    pub(super) fn go_on_with(&mut self, mut leftover: Leftover) {
        match self.clear(&leftover.owner, &mut leftover.live) {
            Cleared::Later => {
                self.leftovers.insert(leftover.owner.number, leftover);
            }
            Cleared::Not => self.leave(leftover.owner, leftover.live, leftover.tries + 1),
            Cleared::All => {
                self.free_uids.push_back(leftover.owner.uid);
                self.forget_workspace(&leftover.owner);
                if let Some(name) = &leftover.owner.workspace {
                    self.gone_from_workspace(name);
                }
                if leftover.tries > 0 {
                    let (what, name) = leftover.owner.field();
                    crate::log::info("nothing is left of it now", &[(what, &name)]);
                }
            }
        }
    }

    /// Starts the cleaner of a process's directories.
    fn clean(&self, owner: &Owner) -> nix::Result<Live> {
        let program = self.settings.tools.as_ref().ok_or(Errno::ENOENT)?.as_fd();
        let own = directory::open(self.settings.state.as_fd(), &owner.holder);
        let descriptors: Vec<_> = own.iter().map(AsFd::as_fd).collect();
        self.helper(owner, Phase::Cleaning, |group| {
            spawn::spawn_apart(&Child {
                argv: &[tools::CLEANER.into()],
                descriptors: &descriptors,
                ..Child::new(
                    group,
                    Program::File(program),
                    Ids::of_user(owner.uid),
                    self.null.as_fd(),
                )
            })
        })
    }

    /// Starts the removal of a process's empty directories.
    fn unlink(&self, owner: &Owner) -> nix::Result<Live> {
        let paths = directory::paths(&owner.holder);
        let program = Program::Unlink(self.settings.state.as_fd(), &paths);
        self.helper(owner, Phase::Unlinking, |group| {
            // As this program's own user, whose the folder is.
            let null = self.null.as_fd();
            spawn::spawn_apart(&Child::new(group, program, Ids::ROOT, null))
        })
    }

    /// Starts a child that cleans up, in a new group: the process's own may have been killed, and
    /// had limits. Linux 6.18 kills what clone3(2) creates in a group that cgroup.kill was ever
    /// written to (measured: it compares the group's count of kills with that of the parent's
    /// group).
    fn helper(
        &self,
        owner: &Owner,
        phase: Phase,
        start: impl FnOnce(BorrowedFd<'_>) -> nix::Result<spawn::Spawned>,
    ) -> nix::Result<Live> {
        let group = Group::create(&self.settings.groups, &owner.holder.to_string())?;
        let spawned = start(group.directory()?.as_fd())?;
        self.watch_child(&group, &spawned.pidfd, owner.number, Part::Main)?;
        Ok(Live {
            main: Some(spawned.pidfd),
            ..Live::removing(phase, group)
        })
    }

    /// Watches a child that serves this program. One that cannot be watched is killed with its group.
    pub(super) fn watch_child(
        &self,
        group: &Group,
        child: &OwnedFd,
        number: u64,
        part: Part,
    ) -> nix::Result<()> {
        let source = Source::Process { number, part };
        // It stays readable, also while a tracer keeps its process from being reaped.
        let watched = self.events.set(child.as_fd(), Interest::Changed, source);
        watched.inspect_err(|_| {
            let _unused = group.end(child);
        })
    }
}
