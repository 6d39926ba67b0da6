//! The tree of groups that the server is made of: `supervisor`, `frontend` and `processes`, below
//! one that is its own. Runs in the supervisor.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use nix::sys::stat::{Mode, fchmod, fstat};

use crate::cgroup::{Group, open_directory, remove};

/// The group that a frontend is in, in one that has its limits.
const FRONTEND: &str = "frontend/run";

/// The group that the groups of processes are in.
const PROCESSES: &str = "processes";

/// The tree, as `prn server start` has made it.
#[derive(Debug)]
pub struct Tree {
    base: Rc<OwnedFd>,
    origin: Option<Origin>,
}

/// What it takes to remove the tree at the end.
#[derive(Debug)]
pub struct Origin {
    /// `cgroup.procs` of the group that this process came from.
    pub members: OwnedFd,
    /// The name of the tree's group in the one above it.
    pub name: String,
}

impl Tree {
    /// Below this directory. Without an origin it stays: a service manager removes a delegated
    /// group with all that is below it, when this process has ended.
    pub fn new(base: OwnedFd, origin: Option<Origin>) -> Self {
        Self {
            base: Rc::new(base),
            origin,
        }
    }

    /// The directory that the groups of processes are in.
    ///
    /// # Errors
    /// As openat(2).
    pub fn processes(&self) -> nix::Result<OwnedFd> {
        open_directory(self.base.as_fd(), PROCESSES)
    }

    /// The group that this program is in, for what serves it.
    ///
    /// # Errors
    /// As openat(2).
    pub(crate) fn own(&self) -> nix::Result<OwnedFd> {
        open_directory(self.base.as_fd(), "supervisor")
    }

    /// A new group for a frontend: see `Runner::helper` for why none is used twice.
    pub(crate) fn frontend_group(&self) -> nix::Result<Group> {
        remove(self.base.as_fd(), FRONTEND)?;
        Group::create(&self.base, FRONTEND)
    }

    /// Goes back to where this process came from, and removes what was made for it.
    pub(crate) fn remove(&self) -> nix::Result<()> {
        let Some(Origin { members, name }) = &self.origin else {
            return Ok(());
        };
        nix::unistd::write(members, b"0")?;
        let base = self.base.as_fd();
        [PROCESSES, FRONTEND, "frontend", "supervisor"]
            .into_iter()
            .try_for_each(|name| remove(base, name))?;
        // The top folder of a cgroup2 mount has mode 0555, which stops a root without
        // CAP_DAC_OVERRIDE; as its owner it may let itself in for the moment.
        let parent = open_directory(base, "..")?;
        let mode = Mode::from_bits_truncate(fstat(&parent)?.st_mode);
        fchmod(&parent, mode | Mode::S_IWUSR)?;
        let removed = remove(parent.as_fd(), name);
        fchmod(&parent, mode)?;
        removed
    }
}
