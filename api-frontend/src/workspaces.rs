//! The workspaces that the supervisor knows, and how many processes live in each: a part of the
//! [`Mirror`](crate::mirror::Mirror). Pure.
//!
//! Processes are counted as they come and go, so that no call walks over all of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use prn_ipc_protocol::message::{ProcessInfo, WorkspaceInfo};
use prn_ipc_protocol::types::WorkspaceName;

/// All workspaces.
#[derive(Debug, Default)]
pub struct Workspaces {
    by_name: BTreeMap<WorkspaceName, Arc<WorkspaceInfo>>,
    /// Of those alone that have any.
    processes: HashMap<WorkspaceName, u32>,
}

/// A workspace, as it is at one moment.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// What the supervisor has said of it.
    pub info: Arc<WorkspaceInfo>,
    /// So many processes live in it.
    pub processes: u32,
}

impl Workspaces {
    /// The one of this name.
    pub fn get(&self, name: &WorkspaceName) -> Option<Workspace> {
        self.by_name.get(name).map(|info| self.with_count(info))
    }

    /// All, by name.
    pub fn all(&self) -> Vec<Workspace> {
        let infos = self.by_name.values();
        infos.map(|info| self.with_count(info)).collect()
    }

    /// The supervisor described one.
    pub fn update(&mut self, info: WorkspaceInfo) {
        self.by_name.insert(info.name.clone(), Arc::new(info));
    }

    /// Nothing of it is left.
    pub fn forget(&mut self, name: &WorkspaceName) {
        self.by_name.remove(name);
    }

    /// A process was this, if there was one, and is that, if there is one.
    pub fn changed(&mut self, was: Option<&ProcessInfo>, is: Option<&ProcessInfo>) {
        let (was, is) = (was.and_then(home), is.and_then(home));
        if was == is {
            return;
        }
        if let Some(name) = was {
            self.leave(name);
        }
        if let Some(name) = is {
            let count = self.processes.entry(name.clone()).or_default();
            *count = count.saturating_add(1);
        }
    }

    fn leave(&mut self, name: &WorkspaceName) {
        if let Some(count) = self.processes.get_mut(name) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.processes.remove(name);
            }
        }
    }

    fn with_count(&self, info: &Arc<WorkspaceInfo>) -> Workspace {
        Workspace {
            info: Arc::clone(info),
            processes: self.processes.get(&info.name).copied().unwrap_or(0),
        }
    }
}

/// Where a process lives: nowhere once it has ended.
fn home(info: &ProcessInfo) -> Option<&WorkspaceName> {
    let workspace = info.spec.workspace.as_ref();
    workspace.filter(|_| info.end.is_none())
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::convert::process::tests::{ended, info};
    use prn_ipc_protocol::message::{DiskLimit, Enforcement, ExitCause, ExitStatus, OutputTotals};
    use prn_ipc_protocol::types::UnixMicros;

    /// A name.
    pub fn name(text: &str) -> WorkspaceName {
        text.to_owned().try_into().unwrap()
    }

    /// A workspace with a bound of its disk space.
    pub fn workspace(text: &str) -> WorkspaceInfo {
        WorkspaceInfo {
            name: name(text),
            directory: c"/var/lib/prn/workspace-x".into(),
            created_by: None,
            uid: 2_000_000_001,
            created: UnixMicros(1_700_000_000_123_456),
            disk: Some(DiskLimit {
                bytes: 1 << 30,
                enforcement: Enforcement::Watched,
            }),
            is_leaving: false,
        }
    }

    fn process_in(text: &str, number: u64) -> ProcessInfo {
        let mut info = info(&format!("{number:032x}"), number);
        info.spec.workspace = Some(name(text));
        info
    }

    fn counts(workspaces: &Workspaces) -> Vec<(String, u32)> {
        let all = workspaces.all().into_iter();
        all.map(|workspace| (workspace.info.name.to_string(), workspace.processes))
            .collect()
    }

    fn counted(text: &str, processes: u32) -> (String, u32) {
        (text.to_owned(), processes)
    }

    #[test]
    fn a_process_counts_in_its_own_workspace_until_it_has_ended() {
        let mut workspaces = Workspaces::default();
        workspaces.update(workspace("b"));
        workspaces.update(workspace("a"));
        let (one, two) = (process_in("a", 1), process_in("a", 2));
        let (three, alone) = (process_in("b", 3), info(&"0".repeat(32), 4));
        for process in [&one, &two, &three, &alone] {
            workspaces.changed(None, Some(process));
        }
        // Said again, as with each change of its state.
        workspaces.changed(Some(&one), Some(&one));
        assert_eq!(counts(&workspaces), [counted("a", 2), counted("b", 1)]);
        let totals = OutputTotals::default();
        let over = ended(
            one.clone(),
            ExitStatus::Exited(0),
            ExitCause::Exited,
            totals,
        );
        workspaces.changed(Some(&one), Some(&over));
        workspaces.changed(Some(&over), None);
        assert_eq!(counts(&workspaces), [counted("a", 1), counted("b", 1)]);
        workspaces.changed(Some(&three), None);
        workspaces.changed(Some(&two), None);
        assert_eq!(counts(&workspaces), [counted("a", 0), counted("b", 0)]);
        assert!(workspaces.processes.is_empty(), "nothing is left behind");
    }

    #[test]
    fn a_workspace_is_known_until_nothing_of_it_is_left() {
        let mut workspaces = Workspaces::default();
        workspaces.update(workspace("a"));
        let mut leaving = workspace("a");
        leaving.is_leaving = true;
        workspaces.update(leaving);
        assert!(workspaces.get(&name("a")).unwrap().info.is_leaving);
        workspaces.forget(&name("a"));
        assert!(workspaces.get(&name("a")).is_none() && workspaces.all().is_empty());
    }
}
