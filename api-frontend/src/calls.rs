//! The calls, one a file: each converts what was asked, asks the mirror or the supervisor, and
//! converts back.

pub mod access;
pub mod describe;
pub mod health;
pub mod input;
pub mod list;
pub mod metrics;
pub mod receipt;
pub mod remove;
pub mod resize;
pub mod server;
pub mod signal;
pub mod start;
pub mod status;
pub mod stop;
pub mod subscribe;
pub mod update;
pub mod usage;
pub mod wait;
pub mod watch;
pub mod workspaces;
