//! Everything that prn prints. Nothing else writes to standard output or standard error.
//!
//! What a server or a process chose is escaped before it reaches a terminal, except in `prn logs`
//! and `prn run`, which pass a process's output on byte for byte; with something before each line
//! where `prn logs` is asked for that.

mod access;
mod alive;
mod answers;
mod audit;
mod changes;
mod column;
mod contexts;
mod data;
mod descriptor;
mod everyday;
mod fleet_hosts;
mod fleet_jobs;
pub mod format;
mod hosts;
mod json;
mod lifetime;
mod lines;
mod lists;
mod moments;
mod notices;
mod offers;
mod paint;
mod policies;
mod processes;
mod progress;
mod reader;
mod receipts;
mod relay;
mod rows;
#[cfg(test)]
mod schemas;
mod screen;
mod servers;
mod shown;
mod slowness;
mod stats;
mod table;
mod tables;
mod tasks;
pub mod template;
mod workspaces;

pub use access::{access_of_hosts, may, role, startable};
pub use alive::{named_tasks, still_alive};
pub use answers::{Layout, findings, key_pair, process, processes, processes_text, started};
pub use audit::{AuditLine, audit_lines};
pub use changes::{
    ChangeRecord, change_line, removed_line, state as state_words, words as change_words,
};
pub use column::Names;
pub use contexts::{
    CheckedContext, KnownContext, ShownContext, ShownSetting, checked_contexts, contexts,
    shown_context,
};
pub use data::{List, json_line, json_pretty, print_next};
pub use descriptor::{line as print_line, write_all};
pub use everyday::{
    Health, Inspected, Version, count, health, health_of_hosts, inspected, metrics,
    process_with_usage, pruned, text, told, version, versions_of_hosts,
};
pub use fleet_hosts::{FleetHost, fleet_hosts, fleet_hosts_text, state_of_host};
pub use fleet_jobs::{
    FleetChange, FleetJob, fleet_change, fleet_job, fleet_jobs, fleet_jobs_text, standing_word,
    submitted,
};
pub use hosts::{
    OfHost, processes_of_hosts, processes_of_hosts_text, started_of_host, started_of_hosts,
};
pub use lines::{Break, Lines};
pub use moments::age_of;
pub use notices::{ask, error, error_line, is_raw, log, notice, set_raw, usage, without_number};
pub use offers::{Offer, Paths, completion_script, offers};
pub use paint::Palette;
pub use policies::{PinnedClient, PolicyClient, pinned_clients, policy_clients};
pub use processes::COLUMNS as PROCESS_COLUMNS;
pub use progress::Progress;
pub use reader::Reader;
pub use receipts::{ReceiptField, receipt};
pub use relay::{Chunk, Relay};
pub use screen::Screen;
pub use servers::{Budget, ServerStatus, StatusConfiguration, StatusFrontend, server_status};
pub use shown::{
    escaped, plain, show_exit, show_labels, show_left_behind, show_state, signal_name, some_of,
};
pub use slowness::{is_full, is_notable};
pub use stats::{Sample, Stats, stats, stats_of_hosts, stats_of_hosts_text, stats_text};
pub use tasks::tasks;
pub use workspaces::{workspace, workspace_names, workspaces, workspaces_of_hosts};
