//! Why a sync failed.

use std::path::PathBuf;

use super::digest::Unread;
use super::listing::Malformed;
use super::walk::WalkError;

/// Why a sync failed.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// What is to be sent cannot be looked at.
    #[error("cannot send the directory")]
    Walk(#[from] WalkError),
    /// Or read.
    #[error("cannot compare the directory")]
    Unread(#[from] Unread),
    /// The workspace has answered with something else.
    #[error("cannot compare with the workspace")]
    Malformed(#[from] Malformed),
    /// What was asked of the workspace did not succeed there.
    #[error("the workspace cannot {what}: {said}")]
    Failed {
        /// What it was to do.
        what: &'static str,
        /// What it wrote to standard error last; or how it ended.
        said: String,
    },
    /// What is to be brought back is not there.
    #[error("not in the workspace, to be brought back: {}", paths.join(", "))]
    Missing {
        /// All of it.
        paths: Vec<String>,
    },
    /// There is no directory here to put it into.
    #[error("{} is no directory", .0.display())]
    NoDirectory(PathBuf),
}
