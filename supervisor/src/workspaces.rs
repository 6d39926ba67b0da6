//! Workspaces as the supervisor knows them, and the pure decisions about them. Runs in the
//! supervisor.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use prn_ipc_protocol::config;
use prn_ipc_protocol::message::{
    DiskLimit, Enforcement, ExitCause, Refusal, StopHow, WorkspaceInfo, WorkspaceSpec,
};
use prn_ipc_protocol::types::WorkspaceName;

use crate::cgroup::Group;

/// A directory and a user id that processes share.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// Its number, which no process has.
    pub number: u64,
    /// What is told of it.
    pub info: WorkspaceInfo,
    /// Processes that were started in it and are not gone.
    pub living: u32,
    /// Its cgroup, where its watcher is. `None`: it is being emptied and removed.
    pub group: Option<Group>,
    /// Who watches how much of the disk it takes.
    pub watcher: Option<Watcher>,
    /// It has taken more than it may: its processes may go on from there, with less.
    pub is_over: bool,
    /// How its processes are being stopped, and why.
    pub stop_all: Option<StopAll>,
    /// Its removal has had its time once: nobody waits for it any more.
    pub is_tried: bool,
}

/// A child that watches how much of the disk a workspace takes.
#[derive(Debug)]
pub(crate) struct Watcher {
    /// It.
    pub child: OwnedFd,
    /// It was killed, for nobody was there to be watched.
    pub is_dismissed: bool,
}

/// That all processes of a workspace are being stopped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StopAll {
    /// How.
    pub how: StopHow,
    /// Why.
    pub cause: ExitCause,
}

/// What is to be done about a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing, or what is under way.
    Nothing,
    /// To kill its watcher.
    Dismiss,
    /// To wait for that one's end, and not for long.
    Await,
    /// To empty it.
    Remove,
}

/// As far as that is decided by what is in a workspace, and by whether it is being removed.
fn next(is_lived_in: bool, is_dismissed: Option<bool>, is_leaving: bool) -> Next {
    match (is_lived_in, is_dismissed, is_leaving) {
        (true, _, _) | (false, Some(true) | None, false) => Next::Nothing,
        (false, Some(false), _) => Next::Dismiss,
        (false, Some(true), true) => Next::Await,
        (false, None, true) => Next::Remove,
    }
}

impl Workspace {
    /// What is to be done, as long as no process is started.
    pub fn next(&self) -> Next {
        let is_dismissed = self.watcher.as_ref().map(|watcher| watcher.is_dismissed);
        next(self.living > 0, is_dismissed, self.info.is_leaving)
    }

    /// Most bytes of the disk, where a watcher has to see to it.
    pub fn watched_bytes(&self) -> Option<u64> {
        match self.info.disk? {
            DiskLimit {
                bytes,
                enforcement: Enforcement::Watched,
            } => Some(bytes),
            DiskLimit {
                enforcement: Enforcement::Quota,
                ..
            } => None,
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Workspaces {
    by_name: BTreeMap<WorkspaceName, Workspace>,
}

impl Workspaces {
    /// Whether one may be made, and what bounds its disk space.
    pub fn admit(
        &self,
        policy: &config::Workspaces,
        spec: &WorkspaceSpec,
    ) -> Result<Option<DiskLimit>, Refusal> {
        if self.by_name.contains_key(&spec.name) {
            return Err(Refusal::WorkspaceExists);
        }
        if u32::try_from(self.by_name.len()).is_ok_and(|count| count >= policy.max) {
            return Err(Refusal::TooManyWorkspaces(policy.max));
        }
        if let Some(ceiling) = policy.disk_max
            && spec.disk_max.is_some_and(|asked| asked > ceiling)
        {
            return Err(Refusal::DiskAboveCeiling(ceiling));
        }
        let bytes = spec.disk_max.or(policy.disk_max);
        Ok(bytes.map(|bytes| DiskLimit {
            bytes,
            enforcement: if policy.has_quota {
                Enforcement::Quota
            } else {
                Enforcement::Watched
            },
        }))
    }

    /// One that a process may be started in.
    pub fn open(&self, name: &WorkspaceName) -> Result<&Workspace, Refusal> {
        let workspace = self.by_name.get(name).ok_or(Refusal::UnknownWorkspace)?;
        if workspace.info.is_leaving {
            return Err(Refusal::WorkspaceLeaving);
        }
        Ok(workspace)
    }

    /// Adds one whose name no other has.
    pub fn insert(&mut self, workspace: Workspace) {
        self.by_name.insert(workspace.info.name.clone(), workspace);
    }

    /// The one with this name.
    pub fn get_mut(&mut self, name: &WorkspaceName) -> Option<&mut Workspace> {
        self.by_name.get_mut(name)
    }

    /// The one with this number.
    pub fn numbered(&mut self, number: u64) -> Option<&mut Workspace> {
        let mut all = self.by_name.values_mut();
        all.find(|workspace| workspace.number == number)
    }

    /// Forgets one.
    pub fn remove(&mut self, name: &WorkspaceName) -> Option<Workspace> {
        self.by_name.remove(name)
    }

    /// What is told of each.
    pub fn infos(&self) -> impl Iterator<Item = &WorkspaceInfo> {
        self.by_name.values().map(|workspace| &workspace.info)
    }

    /// Whether none waits for anything but its processes.
    pub fn wait_for_processes_alone(&self) -> bool {
        self.by_name.values().all(|workspace| workspace.living > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prn_ipc_protocol::types::UnixMicros;

    fn name(text: &str) -> WorkspaceName {
        text.to_owned().try_into().unwrap()
    }

    fn spec(text: &str, disk_max: Option<u64>) -> WorkspaceSpec {
        WorkspaceSpec {
            name: name(text),
            disk_max,
        }
    }

    /// One that nothing is in.
    fn workspace(text: &str, disk: Option<DiskLimit>) -> Workspace {
        Workspace {
            number: 1,
            info: WorkspaceInfo {
                name: name(text),
                directory: c"/w".into(),
                created_by: None,
                uid: 1,
                created: UnixMicros(1),
                disk,
                is_leaving: false,
            },
            living: 0,
            group: None,
            watcher: None,
            is_over: false,
            stop_all: None,
            is_tried: false,
        }
    }

    #[test]
    fn a_workspace_is_admitted_by_name_number_and_size() {
        let policy = config::Workspaces {
            max: 2,
            disk_max: Some(10),
            has_quota: false,
        };
        let mut all = Workspaces::default();
        all.insert(workspace("a", None));
        let taken = all.admit(&policy, &spec("a", None));
        assert_eq!(taken, Err(Refusal::WorkspaceExists));
        let above = all.admit(&policy, &spec("b", Some(11)));
        assert_eq!(above, Err(Refusal::DiskAboveCeiling(10)));
        let limit = |bytes, enforcement| Ok(Some(DiskLimit { bytes, enforcement }));
        for (asked, bytes) in [(None, 10), (Some(3), 3), (Some(10), 10)] {
            let found = all.admit(&policy, &spec("b", asked));
            assert_eq!(found, limit(bytes, Enforcement::Watched));
        }
        let unbounded = config::Workspaces {
            disk_max: None,
            has_quota: true,
            ..policy
        };
        assert_eq!(all.admit(&unbounded, &spec("b", None)), Ok(None));
        let asked = all.admit(&unbounded, &spec("b", Some(u64::MAX)));
        assert_eq!(asked, limit(u64::MAX, Enforcement::Quota));
        all.insert(workspace("b", None));
        let full = all.admit(&policy, &spec("c", None));
        assert_eq!(full, Err(Refusal::TooManyWorkspaces(2)));
    }

    #[test]
    fn processes_start_in_one_that_is_there_and_is_not_being_removed() {
        let mut all = Workspaces::default();
        all.insert(workspace("a", None));
        assert!(all.open(&name("a")).is_ok());
        let unknown = all.open(&name("b")).map(|_| ());
        assert_eq!(unknown, Err(Refusal::UnknownWorkspace));
        all.get_mut(&name("a")).unwrap().info.is_leaving = true;
        let leaving = all.open(&name("a")).map(|_| ());
        assert_eq!(leaving, Err(Refusal::WorkspaceLeaving));
    }

    #[test]
    fn what_is_empty_and_watched_is_watched_no_more_and_removed_after_that() {
        for (is_lived_in, is_dismissed, is_leaving, expected) in [
            (true, None, true, Next::Nothing),
            (true, Some(false), true, Next::Nothing),
            (true, Some(true), false, Next::Nothing),
            (false, None, false, Next::Nothing),
            (false, Some(false), false, Next::Dismiss),
            (false, Some(false), true, Next::Dismiss),
            (false, Some(true), false, Next::Nothing),
            (false, Some(true), true, Next::Await),
            (false, None, true, Next::Remove),
        ] {
            let found = next(is_lived_in, is_dismissed, is_leaving);
            let state = (is_lived_in, is_dismissed, is_leaving);
            assert_eq!(found, expected, "{state:?}");
        }
    }

    #[test]
    fn a_watcher_is_for_what_no_quota_bounds() {
        let limit = |enforcement| {
            Some(DiskLimit {
                bytes: 7,
                enforcement,
            })
        };
        assert_eq!(workspace("a", None).watched_bytes(), None);
        let quota = workspace("a", limit(Enforcement::Quota));
        assert_eq!(quota.watched_bytes(), None);
        let watched = workspace("a", limit(Enforcement::Watched));
        assert_eq!(watched.watched_bytes(), Some(7));
    }
}
