//! What a finished process, or a workspace, has left. Runs in the supervisor.

use prn_ipc_protocol::types::WorkspaceName;

use crate::directory::Holder;
use crate::process::Live;

/// Whose group and directories are removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    /// The number of the process or the workspace.
    pub number: u64,
    /// Who, by the name of its group and its directories.
    pub holder: Holder,
    /// The workspace that a process was started in, which the directories are those of.
    pub workspace: Option<WorkspaceName>,
    /// The user id that is free when all is removed, and may delete what is in them.
    pub uid: u32,
}

impl Owner {
    /// Who, as a field of the log.
    pub fn field(&self) -> (&'static str, String) {
        match &self.holder {
            Holder::Process(id) => ("process", id.to_string()),
            Holder::Workspace(name) => ("workspace", name.to_string()),
        }
    }
}

/// What there is still to remove.
#[derive(Debug)]
pub(super) struct Leftover {
    /// Whose.
    pub owner: Owner,
    /// What it holds.
    pub live: Live,
    /// How often its removal was tried.
    pub tries: u32,
}
