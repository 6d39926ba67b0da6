//! Processes as tables, and what `-o wide` says of one below it.

use std::io::{self, IsTerminal};
use std::time::SystemTime;

use prn_client::{
    InputKind, OutputPolicy, OutputStatus, OutputStore, Process, ProcessStatus, Usage,
};
use prn_proto::units::{show_duration, show_size};
use terminal_size::terminal_size_of;

use super::alive::named_task;
use super::lifetime::{add_lifetime, add_names};
use super::moments::{ago, local_precise};
use super::rows::Rows;
use super::shown::{choice, escaped, show_exit, show_left_behind, show_limits, show_path};
use crate::typed::fields;

/// Columns that a line on standard output may have: those of its terminal, or what COLUMNS says
/// they are. In a file or a pipe each line is whole: it is for programs.
pub fn columns() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let said = std::env::var("COLUMNS")
        .ok()
        .and_then(|columns| columns.parse().ok());
    said.filter(|columns| *columns > 0).or_else(|| {
        let (width, _) = terminal_size_of(io::stdout())?;
        Some(usize::from(width.0))
    })
}

/// What `-o wide` says below the table.
pub fn details(process: &Process) -> String {
    let status = &process.status;
    let mut rows = Rows::default();
    add_names(&mut rows, status);
    add_times(&mut rows, status);
    add_lifetime(&mut rows, status, SystemTime::now());
    add_confinement(&mut rows, status);
    if let Some(usage) = &status.usage {
        add_usage(&mut rows, usage);
    }
    rows.add("input", input(status).map(str::to_owned));
    if let Some(output) = &status.output {
        add_output(&mut rows, output);
    }
    if let Some(left) = &status.left_behind {
        rows.add("left behind", show_left_behind(left));
    }
    for task in &status.stuck_tasks {
        rows.add("cannot be killed", named_task(task));
    }
    rows.finish()
}

/// What a process reads. Nothing of the null device, which most have.
fn input(status: &ProcessStatus) -> Option<&'static str> {
    match (status.stdin, status.input_ended) {
        (InputKind::None, _) => None,
        (InputKind::Pipe, false) => Some("pipe"),
        (InputKind::Pipe, true) => Some("pipe, ended"),
        (InputKind::Terminal, false) => Some("terminal"),
        (InputKind::Terminal, true) => Some("terminal, ended"),
    }
}

fn add_times(rows: &mut Rows, status: &ProcessStatus) {
    let now = SystemTime::now();
    let shown = |time| format!("{} ({})", local_precise(time), ago(time, now));
    rows.add("started", status.started_at.map(shown));
    rows.add("started by", status.started_by.as_deref().map(escaped));
    let signed = status.signed.as_ref();
    let signed = signed.map(|signed| format!("with key {}, sent by {}", signed.key, signed.via));
    rows.add("signed", signed.as_deref().map(escaped));
    rows.add("main exited", status.main_exited_at.map(shown));
    rows.add("ended", status.ended_at.map(shown));
    rows.add("exit", status.exit.as_ref().map(show_exit));
}

fn add_confinement(rows: &mut Rows, status: &ProcessStatus) {
    rows.add("workspace", status.workspace.as_deref().map(escaped));
    rows.add("directory", escaped(&status.working_directory));
    rows.add("user", status.user.as_deref().map(escaped));
    rows.add("user id", status.uid.to_string());
    rows.add("profile", status.profile.as_ref().map(choice));
    let layers: Vec<_> = status.layers.iter().map(choice).collect();
    rows.add("confined by", layers.join(", "));
    for rule in &status.paths {
        rows.add("path", escaped(&show_path(rule)));
    }
    rows.add("limits", show_limits(&status.limits.values));
    let missing = status.limits.not_enforced.iter();
    let missing: Vec<_> = missing.map(|name| fields::limit(name)).collect();
    rows.add("not enforced", escaped(&missing.join(", ")));
}

fn add_usage(rows: &mut Rows, usage: &Usage) {
    rows.add("cpu user", show_duration(usage.cpu_user));
    rows.add("cpu system", show_duration(usage.cpu_system));
    rows.add("cpu throttled", show_duration(usage.cpu_throttled));
    rows.add("memory peak", usage.memory_peak_bytes.map(show_size));
    rows.add("disk read", usage.io_read_bytes.map(show_size));
    rows.add("disk written", usage.io_write_bytes.map(show_size));
    rows.add("pids peak", usage.pids_peak.map(|peak| peak.to_string()));
}

fn add_output(rows: &mut Rows, output: &OutputStatus) {
    let where_to = match output.store {
        Some(OutputStore::Disk) => " on disk",
        Some(OutputStore::Memory) | None => "",
    };
    let policy = match output.policy {
        None | Some(OutputPolicy::DropOldest) => "",
        Some(OutputPolicy::StopReading) => ", then it waits for a reader",
        Some(OutputPolicy::Kill) => ", then it is killed",
        Some(OutputPolicy::Follow) => ", then it waits for its follower",
    };
    let most = format!("at most {}{where_to}{policy}", show_size(output.max_bytes));
    if let (Some(all), Some(out), Some(err)) =
        (output.end_offset, output.stdout_bytes, output.stderr_bytes)
    {
        let all = format!("{all} bytes, {out} of stdout, {err} of stderr");
        rows.add("output", all);
    }
    let kept = match output.first_offset {
        None => most,
        Some(first) => format!("from byte {first}, {most}"),
    };
    rows.add("output kept", kept);
    if output.waits_for_reader {
        rows.add("waits", "for a reader of its output".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prn_proto::v1;

    fn process(id: &str, command: &str, status: v1::ProcessStatus) -> Process {
        let status = v1::ProcessStatus {
            command: command.to_owned(),
            ..status
        };
        Process::try_from(v1::Process {
            id: Some(v1::ProcessIdentifier { id: id.to_owned() }),
            status: Some(status),
        })
        .unwrap()
    }

    fn running() -> v1::ProcessStatus {
        v1::ProcessStatus {
            state: v1::ProcessState::Running.into(),
            ..Default::default()
        }
    }

    #[test]
    fn what_a_process_reads_is_told_and_whether_that_has_ended() {
        let shown = |stdin: v1::StandardInput, input_ended| {
            let status = v1::ProcessStatus {
                stdin: stdin.into(),
                input_ended,
                ..running()
            };
            details(&process("fcd2310e7b9a462a5d88c3a0ff4e2d9b", "cat", status))
        };
        assert!(!shown(v1::StandardInput::None, false).contains("input"));
        assert!(shown(v1::StandardInput::Terminal, false).contains("input              terminal"));
        assert!(shown(v1::StandardInput::Pipe, true).contains("input              pipe, ended"));
    }
}
