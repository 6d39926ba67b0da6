//! The commands: one file for each, with its flags, their help, and what it does.

pub mod attach;
pub mod batch;
pub mod can_i;
pub mod completion;
pub mod context;
pub mod cp;
pub mod events;
pub mod exec;
pub mod keygen;
pub mod kill;
pub mod list;
pub mod logs;
pub mod mcp;
pub mod pause;
pub mod remove;
pub mod run;
pub mod server;
pub mod start;
pub mod stats;
pub mod status;
pub mod stop;
pub mod top;
pub mod update;
pub mod version;
pub mod wait;
pub mod workspace;
