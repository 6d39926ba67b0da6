//! Results as JSON.

use std::io;

use prn_client::{Exit, ExitKind, Limits, OutputStore, Process, ProcessStatus, State};
use prn_launch::Finding;
use serde::Serialize;

use super::descriptor::{line, print};
use super::shown::{put, rfc3339};

pub fn json<T: Serialize>(value: &T) -> io::Result<()> {
    line(&serde_json::to_string_pretty(value)?)
}

/// Prints a list of processes as JSON, as they come: what [`processes`] would print of all of them.
/// A list of one page is one write(2), see [`line`].
#[derive(Debug, Default)]
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
            json(&ListJson {
                processes: Vec::new(),
            })
        }
    }
}

#[derive(Serialize)]
pub struct StartedJson<'a> {
    #[serde(flatten)]
    pub process: ProcessJson<'a>,
    pub boot_epoch: &'a str,
    pub already_running: bool,
}

#[derive(Serialize)]
pub struct ListJson<'a> {
    pub processes: Vec<ProcessJson<'a>>,
}

#[derive(Serialize)]
pub struct CheckJson<'a> {
    pub can_start: bool,
    pub findings: &'a [Finding],
}

#[derive(Serialize)]
pub struct ProcessJson<'a> {
    pub id: String,
    pub state: &'static str,
    pub command: &'a str,
    pub argv: &'a [String],
    pub main_exited: bool,
    pub tree_empty: bool,
    pub exit: Option<ExitJson<'a>>,
    pub started_at: Option<String>,
    pub main_exited_at: Option<String>,
    pub ended_at: Option<String>,
    pub working_directory: &'a str,
    pub uid: u32,
    pub profile: Option<&'static str>,
    pub limits: LimitsJson,
    pub limits_not_enforced: &'a [String],
    pub usage: Option<UsageJson>,
    pub output: Option<OutputJson>,
    pub stuck_tasks: Vec<StuckTaskJson<'a>>,
    pub left_behind: Option<LeftBehindJson>,
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
pub struct LeftBehindJson {
    processes: u32,
    stopped_for: Option<&'static str>,
}

#[derive(Serialize)]
pub struct ExitJson<'a> {
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
pub struct LimitsJson {
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
pub struct UsageJson {
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
pub struct OutputJson {
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
pub struct StuckTaskJson<'a> {
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
