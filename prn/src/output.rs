//! Everything that prn prints. Nothing else writes to standard output or standard error.
//!
//! What a server or a process chose is escaped before it reaches a terminal, except in `prn logs`
//! and `prn run`, which pass a process's output on byte for byte; with something before each line
//! where `prn logs` is asked for that.

mod answers;
mod column;
mod data;
mod descriptor;
mod json;
mod lines;
mod moments;
mod notices;
mod paint;
mod processes;
mod progress;
mod relay;
mod shown;
mod table;
mod tables;
mod workspaces;

pub use answers::{Layout, findings, ids, key_pair, process, processes, started};
pub use column::Names;
pub use data::{List, print_data, print_next};
pub use descriptor::write_all;
pub use lines::{Break, Lines};
pub use notices::{error, error_line, is_raw, notice, set_raw, usage};
pub use processes::COLUMNS as PROCESS_COLUMNS;
pub use progress::Progress;
pub use relay::{Chunk, Relay};
pub use shown::{show_exit, show_left_behind};
pub use workspaces::{workspace, workspace_names, workspaces};
