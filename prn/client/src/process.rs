//! A process and what is known of it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use prn_proto::id::ProcessId;
use prn_proto::v1;

use crate::choices::{Layer, OutputPolicy, OutputStore, Profile};
use crate::error::ClientError;
use crate::input::InputKind;
use crate::lifetime::{Lease, Retention};
use crate::limits::{AppliedLimits, Limits};
use crate::paths::PathRule;
use crate::wire::{INCOMPLETE, from_wire_duration, from_wire_time};

/// Most processes that a server is believed to have: it holds two descriptors for each, of the million
/// that a program has at most (`/proc/sys/fs/nr_open`, proc_sys_fs(5)). One that tells of more has no end.
pub(crate) const PROCESSES_MAX: usize = 1 << 19;

/// A process and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Process {
    /// Its name.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::text"))]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub id: ProcessId,
    /// Its state when the server answered.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub status: ProcessStatus,
}

impl Process {
    pub(crate) fn of(
        id: ProcessId,
        status: Option<v1::ProcessStatus>,
    ) -> Result<Self, ClientError> {
        Ok(Self {
            id,
            status: status.ok_or(INCOMPLETE)?.try_into()?,
        })
    }

    /// The id that the server means.
    pub(crate) fn named(raw: v1::ProcessIdentifier) -> Result<ProcessId, ClientError> {
        raw.try_into()
            .map_err(|_| ClientError::Protocol("the server sent a malformed process id"))
    }
}

impl TryFrom<v1::Process> for Process {
    type Error = ClientError;

    fn try_from(process: v1::Process) -> Result<Self, ClientError> {
        let id = Self::named(process.id.ok_or(INCOMPLETE)?)?;
        Self::of(id, process.status)
    }
}

/// Whether a process tree is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "kebab-case")
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum State {
    /// Some process of the tree is.
    Running,
    /// None is left.
    Stopped,
}

impl State {
    /// As a request asks for it.
    pub(crate) fn to_wire(state: Option<Self>) -> v1::ProcessState {
        match state {
            None => v1::ProcessState::Unspecified,
            Some(Self::Running) => v1::ProcessState::Running,
            Some(Self::Stopped) => v1::ProcessState::Stopped,
        }
    }
}

/// What is known of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ProcessStatus {
    /// Whether its tree is alive.
    pub state: State,
    /// argv joined with shell quoting, for display.
    pub command: String,
    /// The argument vector.
    pub argv: Vec<String>,
    /// The main process has exited; others of its tree may be alive.
    pub main_exited: bool,
    /// No process of the tree is left, and all output is captured.
    pub tree_empty: bool,
    /// How the main process ended. `None` while it runs.
    pub exit: Option<Exit>,
    /// When the program started, by the server's clock, as all times.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::time"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub started_at: Option<SystemTime>,
    /// When each step of the start was taken. `None`: the server does not say.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub start_steps: Option<StartSteps>,
    /// When the main process exited.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::time"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub main_exited_at: Option<SystemTime>,
    /// When the whole tree had ended.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::time"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub ended_at: Option<SystemTime>,
    /// The workspace it was started in. `None`: its directories and its user id were its own.
    pub workspace: Option<String>,
    /// The directory it started in.
    pub working_directory: String,
    /// The numeric user id it runs as.
    pub uid: u32,
    /// The user of the server's machine that it runs as. `None`: its user id is its own, or its workspace's.
    pub user: Option<String>,
    /// How it is confined, if the server says.
    pub profile: Option<Profile>,
    /// Its limits.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub limits: AppliedLimits,
    /// What it consumed. Present once the tree has ended.
    pub usage: Option<Usage>,
    /// How its output is kept.
    pub output: Option<OutputStatus>,
    /// Tasks that did not die when killed.
    pub stuck_tasks: Vec<StuckTask>,
    /// What was still alive after the main process, and was ended.
    pub left_behind: Option<LeftBehind>,
    /// What its profile comes to on the server's host.
    pub layers: Vec<Layer>,
    /// How it sees some directories.
    pub paths: Vec<PathRule>,
    /// What its standard input is.
    pub stdin: InputKind,
    /// Its standard input takes nothing more: it was ended.
    pub input_ended: bool,
    /// What people call it.
    pub name: Option<String>,
    /// What people tell it apart by.
    pub labels: BTreeMap<String, String>,
    /// None of its processes runs until they are to go on.
    pub paused: bool,
    /// Its lease, if it has one.
    pub lease: Option<Lease>,
    /// When it is stopped, or was to be.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::time"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub deadline: Option<SystemTime>,
    /// How its tree was stopped, if it was.
    pub stop: Option<StopStatus>,
    /// For how long it is remembered when it has ended. `None`: as the server's settings have it.
    pub retention: Option<Retention>,
    /// How long it may run.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::span"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub timeout: Option<Duration>,
    /// Time between SIGTERM and SIGKILL when it is stopped, if the server says.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::span"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub stop_grace: Option<Duration>,
    /// What its main process started lives on after that has exited.
    pub linger: bool,
    /// Who has started it: the name that the server knows that client by, if the server says.
    pub started_by: Option<String>,
    /// How that one has signed it. `None`: it is not signed.
    pub signed: Option<SignedBy>,
}

/// How a start was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SignedBy {
    /// SHA-256 (hexadecimal digits) of the key's SubjectPublicKeyInfo.
    pub key: String,
    /// Who has sent it: the name that the server knows that client by.
    pub via: String,
}

impl TryFrom<v1::ProcessStatus> for ProcessStatus {
    type Error = ClientError;

    fn try_from(status: v1::ProcessStatus) -> Result<Self, ClientError> {
        let state = match v1::ProcessState::try_from(status.state) {
            Ok(
                v1::ProcessState::Running | v1::ProcessState::Sleeping | v1::ProcessState::Zombie,
            ) => State::Running,
            Ok(v1::ProcessState::Stopped) => State::Stopped,
            Ok(v1::ProcessState::Unspecified) | Err(_) => {
                return Err(ClientError::Protocol(
                    "the server sent a process state that this client does not know",
                ));
            }
        };
        let limits = status.limits.unwrap_or_default();
        Ok(Self {
            state,
            exit: status.exit_cause.map(Exit::from),
            main_exited: status.main_exited,
            tree_empty: status.tree_empty,
            started_at: status.started_at.and_then(from_wire_time),
            start_steps: status.start_steps.and_then(StartSteps::from_wire),
            main_exited_at: status.main_exited_at.and_then(from_wire_time),
            ended_at: status.ended_at.and_then(from_wire_time),
            command: status.command,
            argv: status.argv,
            workspace: Some(status.workspace).filter(|name| !name.is_empty()),
            user: Some(status.user).filter(|name| !name.is_empty()),
            working_directory: status.working_directory,
            uid: status.uid,
            profile: Profile::from_wire(status.profile),
            limits: AppliedLimits {
                values: limits.values.map(Limits::from).unwrap_or_default(),
                not_enforced: limits.not_enforced,
            },
            usage: status.usage.map(Usage::from),
            output: status.output.map(OutputStatus::from),
            stuck_tasks: StuckTask::all(status.stuck_tasks),
            left_behind: status.left_behind.map(LeftBehind::from),
            layers: status
                .layers
                .into_iter()
                .filter_map(Layer::from_wire)
                .collect(),
            paths: status
                .paths
                .into_iter()
                .filter_map(PathRule::from_wire)
                .collect(),
            stdin: InputKind::from_wire(status.stdin),
            input_ended: status.input_ended,
            name: Some(status.name).filter(|name| !name.is_empty()),
            labels: status.labels,
            paused: status.paused,
            lease: status.lease.map(Lease::from_wire),
            deadline: status.deadline.and_then(from_wire_time),
            stop: status.stop.map(StopStatus::from),
            retention: status.retention.map(Retention::from_wire),
            timeout: status.timeout.and_then(from_wire_duration),
            stop_grace: status.stop_grace.and_then(from_wire_duration),
            linger: status.linger,
            started_by: Some(status.started_by).filter(|who| !who.is_empty()),
            signed: status.signed.map(|signed| SignedBy {
                key: signed.key,
                via: signed.via,
            }),
        })
    }
}

/// When the steps of a start were taken, each before the next one. That the program started is the
/// last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StartSteps {
    /// The server's network half had read the request. `None`: it has not said.
    pub requested_at: Option<SystemTime>,
    /// The server's root half had it from there.
    pub received_at: SystemTime,
    /// It was admitted.
    pub admitted_at: SystemTime,
    /// All was made that it needs, and the child that became its program.
    pub prepared_at: SystemTime,
}

impl StartSteps {
    fn from_wire(steps: v1::StartSteps) -> Option<Self> {
        Some(Self {
            requested_at: steps.requested_at.and_then(from_wire_time),
            received_at: steps.received_at.and_then(from_wire_time)?,
            admitted_at: steps.admitted_at.and_then(from_wire_time)?,
            prepared_at: steps.prepared_at.and_then(from_wire_time)?,
        })
    }
}

/// Processes that outlived the main process of their tree, and were ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LeftBehind {
    /// How many there were at that moment.
    pub processes: u32,
    /// What the tree was being stopped for. `None`: the main process had ended.
    pub stopped_for: Option<ExitKind>,
}

impl From<v1::LeftBehind> for LeftBehind {
    fn from(left: v1::LeftBehind) -> Self {
        let stopped_for = ExitKind::from_wire(left.stopped_for);
        Self {
            processes: left.processes,
            stopped_for: Some(stopped_for).filter(|kind| *kind != ExitKind::Unknown),
        }
    }
}

/// How a process tree was stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct StopStatus {
    /// For what: also of a tree whose main process had ended before.
    pub cause: ExitKind,
    /// When it began: with SIGTERM, or with SIGKILL at once.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::time"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub asked_at: Option<SystemTime>,
    /// When what was left was killed. `None`: nothing was left then, or it is not time yet.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::time"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub killed_at: Option<SystemTime>,
    /// Tasks that were left then, some of them if they were many.
    pub outlived: Vec<StuckTask>,
    /// Who asked for it: the name that the server knows that client by. `None`: nobody, as at the end
    /// of its time.
    pub stopped_by: Option<String>,
}

impl From<v1::StopStatus> for StopStatus {
    fn from(stop: v1::StopStatus) -> Self {
        Self {
            cause: ExitKind::from_wire(stop.cause),
            asked_at: stop.asked_at.and_then(from_wire_time),
            killed_at: stop.killed_at.and_then(from_wire_time),
            outlived: StuckTask::all(stop.outlived),
            stopped_by: Some(stop.stopped_by).filter(|who| !who.is_empty()),
        }
    }
}

/// A task of a tree: one that survived SIGKILL so far, or a signal before it, or one that is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StuckTask {
    /// Its name.
    pub name: String,
    /// Its state letter: "D" for uninterruptible sleep.
    pub state: String,
}

impl StuckTask {
    pub(crate) fn all(tasks: Vec<v1::StuckTask>) -> Vec<Self> {
        let tasks = tasks.into_iter();
        tasks
            .map(|v1::StuckTask { name, state }| Self { name, state })
            .collect()
    }
}

/// Why a main process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "kebab-case")
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ExitKind {
    /// It exited by itself.
    Exited,
    /// A signal ended it, and not as part of a stop.
    Signalled,
    /// The kernel killed it for exceeding its memory limit.
    OomKilled,
    /// It ran longer than its timeout, or until its deadline.
    TimedOut,
    /// A stop, or the server's shutdown, ended it.
    StoppedOnRequest,
    /// It wrote more output than was to be kept.
    OutputLimit,
    /// Its workspace took more of the disk than it may.
    DiskLimit,
    /// Nobody followed it or renewed its lease in time.
    LeaseExpired,
    /// A cause that this client does not know.
    Unknown,
}

/// The last of the real-time signals (signal(7)).
const SIGNAL_MAX: i32 = 64;

/// How a main process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Exit {
    /// Why.
    #[cfg_attr(feature = "serde", serde(rename = "cause"))]
    pub kind: ExitKind,
    /// As a shell gives it: the process's own exit code, or 128 + n for signal n. `None` where
    /// nobody knows how it ended.
    pub status: Option<u8>,
    /// Exit code. `None` if a signal ended it.
    pub code: Option<i32>,
    /// Number of the signal that ended it.
    pub signal: Option<i32>,
    /// Whether a core image was written.
    pub core_dumped: bool,
    /// Of no process that ever ran: kept for scripts that look at it.
    #[cfg(feature = "serde")]
    exec_errno: (),
    /// As the one before.
    #[cfg(feature = "serde")]
    exec_step: (),
}

impl Exit {
    fn new(kind: ExitKind, code: i32, signal: i32, core_dumped: bool) -> Self {
        let signal = (signal != 0).then_some(signal);
        // A signal that there is not would come out as a code of the process's own, 0 among them.
        let is_signal = signal.is_none_or(|signal| (1..=SIGNAL_MAX).contains(&signal));
        let kind = if is_signal { kind } else { ExitKind::Unknown };
        let is_known = kind != ExitKind::Unknown;
        let code = (is_known && signal.is_none()).then_some(code);
        let status = signal.map_or(code, |signal| signal.checked_add(128));
        Self {
            kind,
            status: status
                .filter(|_| is_known)
                .and_then(|status| status.try_into().ok()),
            code,
            signal,
            core_dumped,
            #[cfg(feature = "serde")]
            exec_errno: (),
            #[cfg(feature = "serde")]
            exec_step: (),
        }
    }
}

impl ExitKind {
    /// As in JSON, metrics, traces and the audit: `oom-killed`.
    pub fn name(self) -> &'static str {
        use v1::exit_cause::Kind;
        prn_proto::names::cause(match self {
            Self::Exited => Kind::Exited,
            Self::Signalled => Kind::Signalled,
            Self::OomKilled => Kind::OomKilled,
            Self::TimedOut => Kind::TimedOut,
            Self::StoppedOnRequest => Kind::StoppedOnRequest,
            Self::OutputLimit => Kind::OutputLimit,
            Self::DiskLimit => Kind::DiskLimit,
            Self::LeaseExpired => Kind::LeaseExpired,
            Self::Unknown => Kind::Unspecified,
        })
    }

    fn from_wire(raw: i32) -> Self {
        use v1::exit_cause::Kind;
        match Kind::try_from(raw) {
            Ok(Kind::Exited) => Self::Exited,
            Ok(Kind::Signalled) => Self::Signalled,
            Ok(Kind::OomKilled) => Self::OomKilled,
            Ok(Kind::TimedOut) => Self::TimedOut,
            Ok(Kind::StoppedOnRequest) => Self::StoppedOnRequest,
            Ok(Kind::OutputLimit) => Self::OutputLimit,
            Ok(Kind::DiskLimit) => Self::DiskLimit,
            Ok(Kind::LeaseExpired) => Self::LeaseExpired,
            // Of no process that a server knows: a start's error says the one
            // ([`ServerError::exec_failure`](crate::ServerError::exec_failure)), and this client the
            // other ([`ClientError::ProcessLost`](crate::ClientError::ProcessLost)).
            Ok(Kind::ExecFailed | Kind::Lost | Kind::Unspecified) | Err(_) => Self::Unknown,
        }
    }
}

impl From<v1::ExitCause> for Exit {
    fn from(cause: v1::ExitCause) -> Self {
        let kind = ExitKind::from_wire(cause.kind);
        Self::new(kind, cause.exit_code, cause.signal, cause.core_dumped)
    }
}

/// What a process tree consumed. `None` where the server's kernel does not count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Usage {
    /// CPU time in user mode.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "cpu_user_usec", serialize_with = "crate::json::micros")
    )]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub cpu_user: Duration,
    /// CPU time in the kernel.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "cpu_system_usec", serialize_with = "crate::json::micros")
    )]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub cpu_system: Duration,
    /// Time for which the CPU limit held it back.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "cpu_throttled_usec", serialize_with = "crate::json::micros")
    )]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub cpu_throttled: Duration,
    /// Largest memory use, in bytes.
    pub memory_peak_bytes: Option<u64>,
    /// Bytes read from disks.
    pub io_read_bytes: Option<u64>,
    /// Bytes written to disks.
    pub io_write_bytes: Option<u64>,
    /// Most processes and threads at one time.
    pub pids_peak: Option<u64>,
}

impl From<v1::Usage> for Usage {
    fn from(usage: v1::Usage) -> Self {
        Self {
            cpu_user: Duration::from_micros(usage.cpu_user_usec),
            cpu_system: Duration::from_micros(usage.cpu_system_usec),
            cpu_throttled: Duration::from_micros(usage.cpu_throttled_usec),
            memory_peak_bytes: usage.memory_peak_bytes,
            io_read_bytes: usage.io_read_bytes,
            io_write_bytes: usage.io_write_bytes,
            pids_peak: usage.pids_peak,
        }
    }
}

/// How a process's output is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct OutputStatus {
    /// Most bytes kept.
    pub max_bytes: u64,
    /// Offset of the oldest byte kept. None while the tree is alive, as all that follows.
    pub first_offset: Option<u64>,
    /// Offset just after the last byte.
    pub end_offset: Option<u64>,
    /// Bytes written to standard output.
    pub stdout_bytes: Option<u64>,
    /// Bytes written to standard error.
    pub stderr_bytes: Option<u64>,
    /// What happens when there is more than is kept, if the server says.
    pub policy: Option<OutputPolicy>,
    /// Where it is kept, if the server says.
    pub store: Option<OutputStore>,
    /// The process has to wait until somebody has read the oldest.
    pub waits_for_reader: bool,
}

impl From<v1::OutputStatus> for OutputStatus {
    fn from(output: v1::OutputStatus) -> Self {
        Self {
            max_bytes: output.max_bytes,
            first_offset: output.first_offset,
            end_offset: output.end_offset,
            stdout_bytes: output.stdout_bytes,
            stderr_bytes: output.stderr_bytes,
            policy: OutputPolicy::from_wire(output.policy),
            store: OutputStore::from_wire(output.store),
            waits_for_reader: output.waits_for_reader,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_without_a_status_never_looks_like_success() {
        let exit = |kind, code, signal| Exit::new(kind, code, signal, false);
        assert_eq!(exit(ExitKind::Exited, 0, 0).status, Some(0));
        assert_eq!(exit(ExitKind::Exited, 42, 0).status, Some(42));
        let crashed = exit(ExitKind::Signalled, 0, 11);
        assert_eq!(
            (crashed.status, crashed.code, crashed.signal),
            (Some(139), None, Some(11))
        );
        assert_eq!(exit(ExitKind::StoppedOnRequest, 0, 15).status, Some(143));
        let unknown = exit(ExitKind::Unknown, 0, 0);
        assert_eq!((unknown.status, unknown.code), (None, None));
        assert_eq!(exit(ExitKind::Unknown, 0, 9).status, None);
        assert_eq!(exit(ExitKind::Exited, 256, 0).status, None);
        for no_signal in [-128, -1, 65, i32::MAX] {
            let ended = exit(ExitKind::Signalled, 0, no_signal);
            assert_eq!((ended.kind, ended.status), (ExitKind::Unknown, None));
        }
    }

    #[test]
    fn causes_that_no_process_ends_for_are_unknown() {
        use v1::exit_cause::Kind;
        for kind in [Kind::ExecFailed, Kind::Lost, Kind::Unspecified] {
            let cause = v1::ExitCause {
                kind: kind.into(),
                ..v1::ExitCause::default()
            };
            assert_eq!(Exit::from(cause).kind, ExitKind::Unknown);
        }
    }
}
