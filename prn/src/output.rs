//! Everything that prn prints. Nothing else writes to standard output or standard error.
//!
//! What a server or a process chose is escaped before it reaches a terminal, except in `prn logs`
//! and `prn run`, which pass a process's output on byte for byte; with something before each line
//! where `prn logs` is asked for that.

mod answers;
mod descriptor;
mod everyday;
mod json;
mod lifetime;
mod lines;
mod notices;
mod progress;
mod relay;
mod rows;
mod shown;
mod table;
mod tables;
mod workspaces;

pub use answers::{findings, key_pair, process, processes, started};
pub use descriptor::write_all;
pub use everyday::{
    Health, Inspected, Version, count, health, inspected, process_with_usage, pruned, some_of,
    text, told, version,
};
pub use json::{JsonList, json};
pub use lines::{Break, Lines};
pub use notices::{ask, error, error_line, is_raw, notice, set_raw, usage};
pub use progress::Progress;
pub use relay::{Chunk, Relay};
pub use shown::{show_exit, show_left_behind, show_state};
pub use workspaces::{workspace, workspace_names, workspaces};
