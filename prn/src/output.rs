//! Everything that prn prints. Nothing else writes to standard output or standard error.
//!
//! What a server or a process chose is escaped before it reaches a terminal, except in `prn logs`
//! and `prn run`, which pass a process's output on byte for byte; with something before each line
//! where `prn logs` is asked for that.

mod lines;
mod relay;
mod table;

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::SystemTime;

use nix::sys::signal::Signal;
use prn_client::{
    Exit, ExitKind, LeftBehind, Limits, OutputPolicy, OutputStore, Process, ProcessStatus, Started,
    State,
};
use serde::Serialize;
use terminal_size::terminal_size_of;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub use lines::Lines;
use prn_launch::{Finding, Verdict};
use prn_proto::units::{show_duration, show_size};
pub use relay::{Chunk, Relay};
use table::Table;

use crate::cli::Format;
use crate::exit;
use crate::fields;

/// Prints one error line: the error, its causes, and what to do.
pub fn error(error: &dyn Error, hint: Option<&str>) {
    notice(&error_line(error, hint));
}

/// What [`error`] prints.
pub fn error_line(error: &dyn Error, hint: Option<&str>) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let text = deeper.to_string();
        // Some libraries repeat their cause in their own text.
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = deeper.source();
    }
    if let Some(hint) = hint {
        line.push_str(" (");
        line.push_str(hint);
        line.push(')');
    }
    line
}

/// Prints one line to standard error.
pub fn notice(line: &str) {
    // Nobody can be told if standard error is closed.
    let _unprinted = io::stderr().write_all(notice_line(line).as_bytes());
}

/// A whole line. It goes out in one write(2), so that those of many prn that share a file or a
/// pipe stay whole.
fn notice_line(line: &str) -> String {
    format!("prn: {}\n", escaped(line))
}

/// Prints a started process: its id alone, or all of it as JSON.
pub fn started(started: &Started, format: Format) -> io::Result<()> {
    match format {
        Format::Table | Format::Wide => line(&started.process.id.to_string()),
        Format::Json => json(&StartedJson {
            process: ProcessJson::from(&started.process),
            boot_epoch: &started.boot_epoch,
            already_running: started.already_running,
        }),
    }
}

/// Prints one process.
pub fn process(process: &Process, format: Format) -> io::Result<()> {
    match format {
        Format::Table => line(&table(std::slice::from_ref(process)).render(columns())),
        Format::Wide => line(&format!(
            "{}\n\n{}",
            table(std::slice::from_ref(process)).render(columns()),
            details(process)
        )),
        Format::Json => json(&ProcessJson::from(process)),
    }
}

/// Prints a list of processes.
pub fn processes(processes: &[Process], format: Format) -> io::Result<()> {
    match format {
        Format::Table => line(&table(processes).render(columns())),
        Format::Wide => line(&wide_table(processes).render(columns())),
        Format::Json => json(&ListJson {
            processes: processes.iter().map(ProcessJson::from).collect(),
        }),
    }
}

/// Prints a list of processes as JSON, as they come: what [`processes`] would print of all of them.
/// A list of one page is one write(2), see [`notice_line`].
#[derive(Default)]
pub struct JsonList {
    has_begun: bool,
    /// Of the last page, not printed yet.
    pending: String,
}

impl JsonList {
    /// Prints further ones.
    pub fn add(&mut self, processes: &[Process]) -> io::Result<()> {
        if !self.pending.is_empty() {
            print(&std::mem::take(&mut self.pending))?;
        }
        for process in processes {
            let is_first = !std::mem::replace(&mut self.has_begun, true);
            self.pending.push_str(if is_first {
                "{\n  \"processes\": ["
            } else {
                ","
            });
            let object = serde_json::to_string_pretty(&ProcessJson::from(process))?;
            for line in object.lines() {
                put(&mut self.pending, format_args!("\n    {line}"));
            }
        }
        Ok(())
    }

    /// Prints what closes it.
    pub fn end(self) -> io::Result<()> {
        if self.has_begun {
            line(&format!("{}\n  ]\n}}", self.pending))
        } else {
            self::processes(&[], Format::Json)
        }
    }
}

/// Prints what `prn keygen` has made.
pub fn key_pair(key: &Path, certificate: &Path, fingerprint: &str) -> io::Result<()> {
    line(&format!(
        "key          {}\ncertificate  {}\nfingerprint  {fingerprint}",
        escaped(&key.display().to_string()),
        escaped(&certificate.display().to_string())
    ))
}

/// Prints what `prn server check` has found.
pub fn findings(findings: &[Finding], can_start: bool, format: Format) -> io::Result<()> {
    if format == Format::Json {
        return json(&CheckJson {
            can_start,
            findings,
        });
    }
    let mut text = String::new();
    for finding in findings {
        let verdict = match finding.verdict {
            Verdict::Ok => "ok",
            Verdict::Limited => "limited",
            Verdict::Missing => "MISSING",
        };
        put(
            &mut text,
            format_args!(
                "{verdict:<8} {:<24} {}\n",
                finding.name,
                escaped(&finding.found)
            ),
        );
        if let Some(cost) = &finding.cost {
            put(
                &mut text,
                format_args!("{:<8} {:<24} -> {}\n", "", "", escaped(cost)),
            );
        }
    }
    text.push('\n');
    text.push_str(if can_start {
        "The server can start here."
    } else {
        "The server cannot start here."
    });
    line(&text)
}

/// Prints an answer, all of it in one write(2): see [`notice_line`].
fn line(text: &str) -> io::Result<()> {
    print(&format!("{text}\n"))
}

fn print(text: &str) -> io::Result<()> {
    whole(io::stdout().as_fd(), text).map_err(|error| {
        // The kind tells whether somebody is left to be told.
        let text = format!("cannot write to standard output: {error}");
        io::Error::new(error.kind(), text)
    })
}

/// Past the buffer of the standard library, which writes an answer's last line by itself.
fn whole(stream: BorrowedFd<'_>, text: &str) -> io::Result<()> {
    relay::write_all(&mut relay::duplicate(stream)?, text.as_bytes())
}

/// Prints help that was asked for, or what is wrong with the command line.
pub fn usage(error: &clap::Error) -> exit::Exit {
    let asked_for = !error.use_stderr();
    let is_seen = if asked_for {
        io::stdout().is_terminal()
    } else {
        io::stderr().is_terminal()
    };
    let text = error.render().to_string();
    let printed = if is_seen {
        // With colours.
        error.print()
    } else if asked_for {
        whole(io::stdout().as_fd(), &text)
    } else {
        whole(io::stderr().as_fd(), &text)
    };
    match printed {
        Err(error) if asked_for && error.kind() == io::ErrorKind::BrokenPipe => exit::OUTPUT_CLOSED,
        Err(error) if asked_for => {
            notice(&format!("cannot write to standard output: {error}"));
            exit::ERROR
        }
        _ if asked_for => exit::OK,
        // Nobody can be told if standard error is closed.
        _ => exit::USAGE,
    }
}

fn json<T: Serialize>(value: &T) -> io::Result<()> {
    line(&serde_json::to_string_pretty(value)?)
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _infallible = text.write_fmt(arguments);
}

/// Columns that a line on standard output may have: those of its terminal, or what COLUMNS says
/// they are. In a file or a pipe each line is whole: it is for programs.
fn columns() -> Option<usize> {
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

fn table(processes: &[Process]) -> Table {
    rows(&["ID", "STATE", "COMMAND"], processes, |process| {
        vec![
            process.id.to_string(),
            show_state(&process.status),
            escaped(&process.status.command),
        ]
    })
}

fn wide_table(processes: &[Process]) -> Table {
    rows(
        &["ID", "STATE", "EXIT", "STARTED", "ENDED", "COMMAND"],
        processes,
        |process| {
            let status = &process.status;
            vec![
                process.id.to_string(),
                state(status.state).to_owned(),
                status.exit.as_ref().map(show_exit).unwrap_or_default(),
                status.started_at.map(rfc3339_seconds).unwrap_or_default(),
                status.ended_at.map(rfc3339_seconds).unwrap_or_default(),
                escaped(&status.command),
            ]
        },
    )
}

fn rows(
    header: &[&'static str],
    processes: &[Process],
    row: impl Fn(&Process) -> Vec<String>,
) -> Table {
    let mut table = Table::new(header);
    for process in processes {
        table.push(row(process));
    }
    table
}

fn state(state: State) -> &'static str {
    match state {
        State::Running => "Running",
        State::Stopped => "Stopped",
    }
}

/// A state, and of what has ended by itself how it did. Nothing more of what was stopped on
/// request: that is no news to whoever reads it.
fn show_state(status: &ProcessStatus) -> String {
    let name = state(status.state);
    let end = match status.state {
        State::Running => None,
        State::Stopped => status.exit.as_ref().and_then(show_end),
    };
    end.map_or_else(|| name.to_owned(), |end| format!("{name} ({end})"))
}

/// How a process ended, in a word or two. `None` if it was stopped on request.
fn show_end(exit: &Exit) -> Option<String> {
    let end = match exit.kind {
        ExitKind::Exited => format!("exit {}", exit.code),
        ExitKind::Signalled if exit.core_dumped => {
            format!("{}, core dumped", signal_name(exit.signal))
        }
        ExitKind::Signalled => signal_name(exit.signal),
        ExitKind::OomKilled => "out of memory".to_owned(),
        ExitKind::TimedOut => "timed out".to_owned(),
        ExitKind::OutputLimit => "output limit".to_owned(),
        ExitKind::ExecFailed => "not executed".to_owned(),
        ExitKind::Lost => "lost".to_owned(),
        ExitKind::Unknown => "cause unknown".to_owned(),
        ExitKind::StoppedOnRequest => return None,
    };
    Some(end)
}

/// "SIGSEGV"; "signal 40" for those without a name, the real-time ones (signal(7)).
fn signal_name(number: i32) -> String {
    Signal::try_from(number).map_or_else(
        |_| format!("signal {number}"),
        |signal| signal.as_str().to_owned(),
    )
}

/// What `-o wide` says below the table.
fn details(process: &Process) -> String {
    let status = &process.status;
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        if !value.is_empty() {
            put(&mut text, format_args!("{name:<18} {value}\n"));
        }
    };
    let time = |at: Option<SystemTime>| at.map(rfc3339).unwrap_or_default();
    row("started", time(status.started_at));
    row("main exited", time(status.main_exited_at));
    row("ended", time(status.ended_at));
    row(
        "exit",
        status.exit.as_ref().map(show_exit).unwrap_or_default(),
    );
    row("directory", escaped(&status.working_directory));
    row("user id", status.uid.to_string());
    row(
        "profile",
        status
            .profile
            .map(|profile| profile.name().to_owned())
            .unwrap_or_default(),
    );
    row("limits", show_limits(&status.limits.values));
    row(
        "not enforced",
        escaped(
            &status
                .limits
                .not_enforced
                .iter()
                .map(|name| fields::limit(name))
                .collect::<Vec<_>>()
                .join(", "),
        ),
    );
    if let Some(usage) = &status.usage {
        row("cpu user", show_duration(usage.cpu_user));
        row("cpu system", show_duration(usage.cpu_system));
        row("cpu throttled", show_duration(usage.cpu_throttled));
        row(
            "memory peak",
            usage.memory_peak_bytes.map(show_size).unwrap_or_default(),
        );
        row(
            "disk read",
            usage.io_read_bytes.map(show_size).unwrap_or_default(),
        );
        row(
            "disk written",
            usage.io_write_bytes.map(show_size).unwrap_or_default(),
        );
        row(
            "pids peak",
            usage
                .pids_peak
                .map(|peak| peak.to_string())
                .unwrap_or_default(),
        );
    }
    if let Some(output) = &status.output {
        let place = if output.store == Some(OutputStore::Disk) {
            " on disk"
        } else {
            ""
        };
        let policy = match output.policy {
            None | Some(OutputPolicy::DropOldest) => "",
            Some(OutputPolicy::StopReading) => ", then it waits for a reader",
            Some(OutputPolicy::Kill) => ", then it is killed",
            Some(OutputPolicy::Follow) => ", then it waits for its follower",
        };
        let most = format!("at most {}{place}{policy}", show_size(output.max_bytes));
        if let (Some(all), Some(out), Some(err)) =
            (output.end_offset, output.stdout_bytes, output.stderr_bytes)
        {
            row(
                "output",
                format!("{all} bytes, {out} of stdout, {err} of stderr"),
            );
        }
        row(
            "output kept",
            output
                .first_offset
                .map_or(most.clone(), |first| format!("from byte {first}, {most}")),
        );
        if output.waits_for_reader {
            row("waits", "for a reader of its output".to_owned());
        }
    }
    if let Some(left) = &status.left_behind {
        row("left behind", show_left_behind(left));
    }
    for task in &status.stuck_tasks {
        row(
            "cannot be killed",
            escaped(&format!("{} (state {})", task.name, task.state)),
        );
    }
    text.truncate(text.trim_end().len());
    text
}

/// What the main process left behind, for people.
pub fn show_left_behind(left: &LeftBehind) -> String {
    let (count, verb) = match left.processes {
        1 => ("1 process".to_owned(), "was"),
        more => (format!("{more} processes"), "were"),
    };
    let why = match left.stopped_for {
        None => "when the main process had ended (--linger lets them live)",
        Some(ExitKind::TimedOut) => "when the time was up (--timeout)",
        Some(ExitKind::OutputLimit) => "for writing more output than is kept",
        Some(_) => "by a stop",
    };
    format!("{count} that outlived the main process {verb} ended {why}")
}

fn show_limits(limits: &Limits) -> String {
    let rate = |rate| format!("{}/s", show_size(rate));
    let parts = [
        limits
            .cpu_millis
            .map(|millis| format!("cpu {}.{:03}", millis / 1000, millis % 1000)),
        limits
            .memory_bytes
            .map(|bytes| format!("memory {}", show_size(bytes))),
        limits
            .io_read_bytes_per_second
            .map(|bytes| format!("io read {}", rate(bytes))),
        limits
            .io_write_bytes_per_second
            .map(|bytes| format!("io write {}", rate(bytes))),
        limits.pids.map(|pids| format!("pids {pids}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// How a process ended, in a few words.
pub fn show_exit(exit: &Exit) -> String {
    let how = if exit.signal == 0 {
        format!("code {}", exit.code)
    } else {
        signal_name(exit.signal)
    };
    match exit.kind {
        ExitKind::Exited | ExitKind::Signalled => {
            if exit.core_dumped {
                format!("{how}, core dumped")
            } else {
                how
            }
        }
        ExitKind::OomKilled => "out of memory".to_owned(),
        ExitKind::TimedOut => format!("timed out, {how}"),
        ExitKind::StoppedOnRequest => format!("stopped, {how}"),
        ExitKind::OutputLimit => format!("too much output, {how}"),
        ExitKind::ExecFailed => escaped(&format!(
            "not executed: {} failed, errno {}",
            exit.exec_step, exit.exec_errno
        )),
        ExitKind::Lost => "lost with its server".to_owned(),
        ExitKind::Unknown => "unknown".to_owned(),
    }
}

fn rfc3339(time: SystemTime) -> String {
    OffsetDateTime::from(time)
        .format(&Rfc3339)
        .unwrap_or_default()
}

fn rfc3339_seconds(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    time.replace_nanosecond(0)
        .unwrap_or(time)
        .format(&Rfc3339)
        .unwrap_or_default()
}

/// A text without anything that a terminal would act on: control characters, and those that reorder
/// what is shown.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        let reorders = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || reorders {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

#[derive(Serialize)]
struct StartedJson<'a> {
    #[serde(flatten)]
    process: ProcessJson<'a>,
    boot_epoch: &'a str,
    already_running: bool,
}

#[derive(Serialize)]
struct ListJson<'a> {
    processes: Vec<ProcessJson<'a>>,
}

#[derive(Serialize)]
struct CheckJson<'a> {
    can_start: bool,
    findings: &'a [Finding],
}

#[derive(Serialize)]
struct ProcessJson<'a> {
    id: String,
    state: &'static str,
    command: &'a str,
    argv: &'a [String],
    main_exited: bool,
    tree_empty: bool,
    exit: Option<ExitJson<'a>>,
    started_at: Option<String>,
    main_exited_at: Option<String>,
    ended_at: Option<String>,
    working_directory: &'a str,
    uid: u32,
    profile: Option<&'static str>,
    limits: LimitsJson,
    limits_not_enforced: &'a [String],
    usage: Option<UsageJson>,
    output: Option<OutputJson>,
    stuck_tasks: Vec<StuckTaskJson<'a>>,
    left_behind: Option<LeftBehindJson>,
}

impl<'a> From<&'a Process> for ProcessJson<'a> {
    fn from(process: &'a Process) -> Self {
        let status: &'a ProcessStatus = &process.status;
        Self {
            id: process.id.to_string(),
            state: match status.state {
                State::Running => "running",
                State::Stopped => "stopped",
            },
            command: &status.command,
            argv: &status.argv,
            main_exited: status.main_exited,
            tree_empty: status.tree_empty,
            exit: status.exit.as_ref().map(ExitJson::from),
            started_at: status.started_at.map(rfc3339),
            main_exited_at: status.main_exited_at.map(rfc3339),
            ended_at: status.ended_at.map(rfc3339),
            working_directory: &status.working_directory,
            uid: status.uid,
            profile: status.profile.map(|profile| profile.name()),
            limits: LimitsJson::from(&status.limits.values),
            limits_not_enforced: &status.limits.not_enforced,
            usage: status.usage.as_ref().map(UsageJson::from),
            output: status.output.as_ref().map(OutputJson::from),
            stuck_tasks: status
                .stuck_tasks
                .iter()
                .map(|task| StuckTaskJson {
                    name: &task.name,
                    state: &task.state,
                })
                .collect(),
            left_behind: status.left_behind.as_ref().map(|left| LeftBehindJson {
                processes: left.processes,
                stopped_for: left.stopped_for.map(kind_name),
            }),
        }
    }
}

#[derive(Serialize)]
struct LeftBehindJson {
    processes: u32,
    stopped_for: Option<&'static str>,
}

#[derive(Serialize)]
struct ExitJson<'a> {
    cause: &'static str,
    /// As a shell gives it: 128 + n for signal n.
    status: Option<u8>,
    code: Option<i32>,
    signal: Option<i32>,
    core_dumped: bool,
    exec_errno: Option<i32>,
    exec_step: Option<&'a str>,
}

/// The name of a cause, for programs.
const fn kind_name(kind: ExitKind) -> &'static str {
    match kind {
        ExitKind::Exited => "exited",
        ExitKind::Signalled => "signalled",
        ExitKind::OomKilled => "oom-killed",
        ExitKind::TimedOut => "timed-out",
        ExitKind::StoppedOnRequest => "stopped-on-request",
        ExitKind::OutputLimit => "output-limit",
        ExitKind::ExecFailed => "exec-failed",
        ExitKind::Lost => "lost",
        ExitKind::Unknown => "unknown",
    }
}

impl<'a> From<&'a Exit> for ExitJson<'a> {
    fn from(exit: &'a Exit) -> Self {
        let failed = exit.kind == ExitKind::ExecFailed;
        let ended = exit.shell_status().is_some();
        Self {
            cause: kind_name(exit.kind),
            status: exit.shell_status(),
            code: (ended && exit.signal == 0).then_some(exit.code),
            signal: (exit.signal != 0).then_some(exit.signal),
            core_dumped: exit.core_dumped,
            exec_errno: failed.then_some(exit.exec_errno),
            exec_step: failed.then_some(exit.exec_step.as_str()),
        }
    }
}

#[derive(Serialize)]
struct LimitsJson {
    cpu_millis: Option<u64>,
    memory_bytes: Option<u64>,
    io_read_bytes_per_second: Option<u64>,
    io_write_bytes_per_second: Option<u64>,
    pids: Option<u64>,
}

impl From<&Limits> for LimitsJson {
    fn from(limits: &Limits) -> Self {
        let Limits {
            cpu_millis,
            memory_bytes,
            io_read_bytes_per_second,
            io_write_bytes_per_second,
            pids,
        } = *limits;
        Self {
            cpu_millis,
            memory_bytes,
            io_read_bytes_per_second,
            io_write_bytes_per_second,
            pids,
        }
    }
}

#[derive(Serialize)]
struct UsageJson {
    cpu_user_usec: u128,
    cpu_system_usec: u128,
    cpu_throttled_usec: u128,
    memory_peak_bytes: Option<u64>,
    io_read_bytes: Option<u64>,
    io_write_bytes: Option<u64>,
    pids_peak: Option<u64>,
}

impl From<&prn_client::Usage> for UsageJson {
    fn from(usage: &prn_client::Usage) -> Self {
        Self {
            cpu_user_usec: usage.cpu_user.as_micros(),
            cpu_system_usec: usage.cpu_system.as_micros(),
            cpu_throttled_usec: usage.cpu_throttled.as_micros(),
            memory_peak_bytes: usage.memory_peak_bytes,
            io_read_bytes: usage.io_read_bytes,
            io_write_bytes: usage.io_write_bytes,
            pids_peak: usage.pids_peak,
        }
    }
}

#[derive(Serialize)]
struct OutputJson {
    max_bytes: u64,
    first_offset: Option<u64>,
    end_offset: Option<u64>,
    stdout_bytes: Option<u64>,
    stderr_bytes: Option<u64>,
    policy: Option<&'static str>,
    store: Option<&'static str>,
    waits_for_reader: bool,
}

impl From<&prn_client::OutputStatus> for OutputJson {
    fn from(output: &prn_client::OutputStatus) -> Self {
        Self {
            max_bytes: output.max_bytes,
            first_offset: output.first_offset,
            end_offset: output.end_offset,
            stdout_bytes: output.stdout_bytes,
            stderr_bytes: output.stderr_bytes,
            policy: output.policy.map(prn_client::OutputPolicy::name),
            store: output.store.map(OutputStore::name),
            waits_for_reader: output.waits_for_reader,
        }
    }
}

#[derive(Serialize)]
struct StuckTaskJson<'a> {
    name: &'a str,
    state: &'a str,
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
    fn what_a_terminal_would_act_on_is_escaped() {
        assert_eq!(
            escaped("a\nb\u{1b}[2J\u{202e}c é 漢"),
            "a\\nb\\u{1b}[2J\\u{202e}c é 漢"
        );
        let shown = table(&[process(
            "fcd2310e7b9a462a5d88c3a0ff4e2d9b",
            "printf 'a\nb'",
            running(),
        )])
        .render(None);
        assert_eq!(shown.lines().count(), 5, "{shown}");
    }

    #[test]
    fn a_state_says_how_what_has_ended_did() {
        let shown = |cause: Option<v1::ExitCause>, state: v1::ProcessState| {
            let status = v1::ProcessStatus {
                state: state.into(),
                exit_cause: cause,
                ..Default::default()
            };
            show_state(&process("fcd2310e7b9a462a5d88c3a0ff4e2d9b", "x", status).status)
        };
        let ended = |kind: v1::exit_cause::Kind, exit_code, signal, core_dumped| {
            let cause = v1::ExitCause {
                kind: kind.into(),
                exit_code,
                signal,
                core_dumped,
                ..Default::default()
            };
            shown(Some(cause), v1::ProcessState::Stopped)
        };
        use v1::exit_cause::Kind;
        for (kind, code, signal, core, state) in [
            (Kind::Exited, 0, 0, false, "Stopped (exit 0)"),
            (Kind::Exited, 3, 0, false, "Stopped (exit 3)"),
            (Kind::Signalled, 0, 11, false, "Stopped (SIGSEGV)"),
            (
                Kind::Signalled,
                0,
                6,
                true,
                "Stopped (SIGABRT, core dumped)",
            ),
            (Kind::Signalled, 0, 9, false, "Stopped (SIGKILL)"),
            (Kind::Signalled, 0, 40, false, "Stopped (signal 40)"),
            (Kind::TimedOut, 0, 15, false, "Stopped (timed out)"),
            (Kind::TimedOut, 0, 0, false, "Stopped (timed out)"),
            (Kind::OomKilled, 0, 9, false, "Stopped (out of memory)"),
            (Kind::OutputLimit, 0, 9, false, "Stopped (output limit)"),
            (Kind::StoppedOnRequest, 0, 15, false, "Stopped"),
            (Kind::StoppedOnRequest, 5, 0, false, "Stopped"),
            (Kind::ExecFailed, 0, 0, false, "Stopped (not executed)"),
            (Kind::Lost, 0, 0, false, "Stopped (lost)"),
            (Kind::Unspecified, 0, 0, false, "Stopped (cause unknown)"),
        ] {
            assert_eq!(ended(kind, code, signal, core), state);
        }
        assert_eq!(shown(None, v1::ProcessState::Stopped), "Stopped");
        let left = v1::ExitCause {
            kind: Kind::Exited.into(),
            ..Default::default()
        };
        assert_eq!(
            shown(Some(left), v1::ProcessState::Running),
            "Running",
            "others of its tree are alive"
        );
    }

    #[test]
    fn json_has_times_cause_and_limits() {
        let status = v1::ProcessStatus {
            state: v1::ProcessState::Stopped.into(),
            exit_cause: Some(v1::ExitCause {
                kind: v1::exit_cause::Kind::OomKilled.into(),
                signal: 9,
                ..Default::default()
            }),
            main_exited: true,
            tree_empty: true,
            started_at: Some(prost_types::Timestamp {
                seconds: 1_700_000_000,
                nanos: 500_000_000,
            }),
            ..Default::default()
        };
        let value = process("fcd2310e7b9a462a5d88c3a0ff4e2d9b", "stress", status);
        let json = serde_json::to_value(ProcessJson::from(&value)).unwrap();
        assert_eq!(json["started_at"], "2023-11-14T22:13:20.5Z");
        assert_eq!(json["exit"]["cause"], "oom-killed");
        assert_eq!(json["exit"]["status"], 137);
        assert_eq!(json["exit"]["code"], serde_json::Value::Null);
        assert_eq!(json["state"], "stopped");
        assert_eq!(json["limits"]["memory_bytes"], serde_json::Value::Null);
    }
}
