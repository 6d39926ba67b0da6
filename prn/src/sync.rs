//! `prn run --sync --out`: what has changed in a local directory goes to a workspace before a
//! command runs there, and results come back after it.
//!
//! Each end says what it has, and what differs is sent, as `prn cp` sends it. What a process of the
//! workspace makes of that is not trusted: its answer chooses which of the paths that are here are
//! sent, and what of the workspace is removed with the workspace's own rights, and nothing else.

mod ask;
mod below;
mod comparison;
mod digest;
pub mod error;
mod flags;
mod listing;
mod path;
mod patterns;
mod results;
mod script;
mod sending;
mod tree;
mod walk;

pub use flags::{Plan, SyncFlags};
pub use results::bring_back;
pub use sending::send;
