//! What a finished process has left. Runs in the supervisor.

use prn_ipc_protocol::types::ProcessId;

use crate::process::Live;

/// Whose group and directories are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    /// The process's number in the table.
    pub number: u64,
    /// Its name, which is that of its group and of its directories.
    pub id: ProcessId,
    /// Its user, who may delete what is in them.
    pub uid: u32,
}

/// What is left of a finished process after the first try.
#[derive(Debug)]
pub(super) struct Leftover {
    /// Whose.
    pub owner: Owner,
    /// What it holds.
    pub live: Live,
    /// How often its removal was tried.
    pub tries: u32,
}
