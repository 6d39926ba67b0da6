//! Between the public API's messages and the privilege contract's values. Pure.
//!
//! What a client sent becomes a valid value or an [`InvalidField`] that names the field and its
//! limit; nothing that a client sent reaches the supervisor in any other way.

use std::ffi::CString;
use std::time::Duration;

use prn_ipc_protocol::message::{
    self, ExitStatus, Keeping, MainExit, OutputStore, OutputTotals, Overflow, ProcessInfo,
    ProcessSpec, Profile, StartSpec, StopHow,
};
use prn_ipc_protocol::output::Stream;
use prn_ipc_protocol::output_max;
use prn_ipc_protocol::types::{Argv, LimitName, Limits, Millis, ProcessId, UnixMicros};
use prn_ipc_protocol::{config, kernel};
use prn_proto::defaults::FOLLOW_TIMEOUT;
use prn_proto::v1::output_time::At;
use prn_proto::{Tail, id, v1};

use crate::output::Wanted;
use crate::output::seek::Part;

/// Most bytes in a process's arguments and environment together, one more for each string's NUL.
///
/// The kernel takes 128 KiB for one string (MAX_ARG_STRLEN, execve(2)); this is that for all of
/// them, so that a start request stays well below the largest datagram (see
/// [`prn_ipc_protocol::channel::MESSAGE_MAX`]).
pub const ARGUMENTS_MAX: usize = 128 * 1024;

/// Most bytes in a path, its NUL not counted (PATH_MAX, limits.h).
const PATH_MAX: usize = 4095;

/// A field of a request that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct InvalidField {
    /// Its path in the request message.
    pub field: String,
    /// What it must be.
    pub why: String,
}

/// All fields of a request that were not taken: a client mends them in one go.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Violations(Vec<InvalidField>);

impl Violations {
    /// The value of a part of the request, or `None` once its fault is noted.
    pub fn check<T>(&mut self, part: Result<T, InvalidField>) -> Option<T> {
        part.map_err(|invalid| self.0.push(invalid)).ok()
    }

    /// They, in the order in which they were found.
    pub fn fields(&self) -> impl Iterator<Item = &InvalidField> {
        self.0.iter()
    }
}

impl From<InvalidField> for Violations {
    fn from(invalid: InvalidField) -> Self {
        Self(vec![invalid])
    }
}

impl InvalidField {
    /// What a field must be.
    pub fn new(field: impl Into<String>, why: impl ToString) -> Self {
        Self {
            field: field.into(),
            why: why.to_string(),
        }
    }

    /// Command, arguments and environment are too long together.
    pub fn too_long() -> Self {
        let why = format!(
            "command, arguments and environment must not exceed {ARGUMENTS_MAX} bytes together"
        );
        Self::new("args", why)
    }
}

/// The process that a request names.
pub fn process_id(raw: Option<v1::ProcessIdentifier>) -> Result<ProcessId, InvalidField> {
    parsed_id(&raw.unwrap_or_default().id, "process_identifier.id")
}

fn parsed_id(text: &str, field: &str) -> Result<ProcessId, InvalidField> {
    let id: id::ProcessId = text
        .parse()
        .map_err(|_| InvalidField::new(field, "must be 32 lower-case hexadecimal digits"))?;
    Ok(ProcessId::from_bytes(id.to_bytes()))
}

/// What a process gets that asks for nothing else.
pub struct Defaults {
    /// Limits.
    pub limits: Limits,
    /// Output bytes kept.
    pub output_max: u64,
    /// Most output bytes on disk.
    pub output_disk: u64,
    /// From SIGTERM to SIGKILL.
    pub stop_grace: Millis,
}

impl From<&config::Frontend> for Defaults {
    fn from(config: &config::Frontend) -> Self {
        Self {
            limits: config.default_limits.clone(),
            output_max: config.output_default,
            output_disk: config.output_disk,
            stop_grace: config.stop_grace,
        }
    }
}

/// A start request; `mint` makes the id when the client left that to the server.
pub fn start_spec<E: From<Violations>>(
    raw: v1::StartRequest,
    defaults: &Defaults,
    mint: impl FnOnce() -> Result<ProcessId, E>,
) -> Result<StartSpec, E> {
    let mut violations = Violations::default();
    let id = if raw.id.is_empty() {
        Some(mint()?)
    } else {
        violations.check(parsed_id(&raw.id, "id"))
    };
    let output = keeping(&raw, defaults, &mut violations);
    let profile = violations.check(profile(raw.profile));
    let timeout = violations.check(timeout(raw.timeout));
    let stop_grace = violations.check(millis(raw.stop_grace, "stop_grace"));
    let limits = limits(raw.limits.unwrap_or_default(), &mut violations);
    let directory = violations.check(working_directory(raw.working_directory));
    let run = run(raw.command, raw.args, raw.environment, &mut violations);
    let whole = || {
        let id = id?;
        let run = run?;
        Some(StartSpec {
            id,
            process: ProcessSpec {
                argv: run.argv,
                working_directory: directory?,
                limits: limits?.or(&defaults.limits),
                best_effort_limits: raw.best_effort_limits,
                output: output?,
                timeout: timeout?,
                stop_grace: stop_grace?.unwrap_or(defaults.stop_grace),
                linger: raw.linger,
                profile: profile?,
            },
            variables: run.variables,
        })
    };
    match whole() {
        Some(spec) => Ok(spec),
        None => Err(violations.into()),
    }
}

/// What is to be executed.
struct Run {
    argv: Argv,
    variables: Vec<CString>,
}

fn run(
    command: String,
    args: Vec<String>,
    variables: Vec<v1::EnvironmentVariable>,
    violations: &mut Violations,
) -> Option<Run> {
    let size = violations.check(check_size(&command, &args, &variables));
    let variables = violations.check(environment(variables));
    let argv = argv(command, args, violations);
    size?;
    Some(Run {
        argv: argv?,
        variables: variables?,
    })
}

fn profile(raw: i32) -> Result<Profile, InvalidField> {
    match v1::Profile::try_from(raw) {
        Ok(v1::Profile::Unspecified | v1::Profile::Default) => Ok(Profile::Default),
        Ok(v1::Profile::Strict) => Ok(Profile::Strict),
        Ok(v1::Profile::None) => Ok(Profile::None),
        Err(_) => Err(InvalidField::new(
            "profile",
            "must be PROFILE_DEFAULT, PROFILE_STRICT or PROFILE_NONE",
        )),
    }
}

fn timeout(raw: Option<prost_types::Duration>) -> Result<Option<Millis>, InvalidField> {
    match millis(raw, "timeout")? {
        Some(timeout) if timeout.duration().is_zero() => {
            Err(InvalidField::new("timeout", "must be at least 1 ms"))
        }
        timeout => Ok(timeout),
    }
}

fn keeping(
    raw: &v1::StartRequest,
    defaults: &Defaults,
    violations: &mut Violations,
) -> Option<Keeping> {
    let overflow = violations.check(overflow(raw));
    let store = violations.check(store(raw.output_store));
    let max = match raw.output_max_bytes {
        0 if store == Some(OutputStore::Disk) => {
            Some(defaults.output_max.min(defaults.output_disk))
        }
        0 => Some(defaults.output_max),
        bytes => {
            let max = output_max(bytes);
            violations.check(max.map_err(|why| InvalidField::new("output_max_bytes", why)))
        }
    };
    Some(Keeping {
        max: max?,
        overflow: overflow?,
        store: store?,
    })
}

/// How long a process waits while nobody follows it.
fn follow_timeout(raw: &v1::StartRequest) -> Result<Millis, InvalidField> {
    match millis(raw.follow_timeout, "follow_timeout")? {
        Some(timeout) => Ok(timeout),
        None => {
            Millis::try_from(FOLLOW_TIMEOUT).map_err(|why| InvalidField::new("follow_timeout", why))
        }
    }
}

fn overflow(raw: &v1::StartRequest) -> Result<Overflow, InvalidField> {
    let policy = v1::OutputPolicy::try_from(raw.output_policy);
    if raw.follow_timeout.is_some() && policy != Ok(v1::OutputPolicy::Follow) {
        let why = "is of use with OUTPUT_POLICY_FOLLOW alone";
        return Err(InvalidField::new("follow_timeout", why));
    }
    match policy {
        Ok(v1::OutputPolicy::Unspecified | v1::OutputPolicy::DropOldest) => {
            Ok(Overflow::DropOldest)
        }
        Ok(v1::OutputPolicy::StopReading) => Ok(Overflow::Wait),
        Ok(v1::OutputPolicy::Kill) => Ok(Overflow::Kill),
        Ok(v1::OutputPolicy::Follow) => follow_timeout(raw).map(Overflow::Follow),
        Err(_) => Err(InvalidField::new(
            "output_policy",
            "must be OUTPUT_POLICY_DROP_OLDEST, OUTPUT_POLICY_STOP_READING, OUTPUT_POLICY_KILL or \
             OUTPUT_POLICY_FOLLOW",
        )),
    }
}

fn store(raw: i32) -> Result<OutputStore, InvalidField> {
    match v1::OutputStore::try_from(raw) {
        Ok(v1::OutputStore::Unspecified | v1::OutputStore::Memory) => Ok(OutputStore::Memory),
        Ok(v1::OutputStore::Disk) => Ok(OutputStore::Disk),
        Err(_) => Err(InvalidField::new(
            "output_store",
            "must be OUTPUT_STORE_MEMORY or OUTPUT_STORE_DISK",
        )),
    }
}

fn argv(command: String, args: Vec<String>, violations: &mut Violations) -> Option<Argv> {
    let string = |field, string: String| {
        CString::new(string).map_err(|_| InvalidField::new(field, "must not hold a NUL byte"))
    };
    let command = violations.check(string("command", command));
    let args: Result<Vec<_>, _> = args
        .into_iter()
        .map(|argument| string("args", argument))
        .collect();
    let args = violations.check(args);
    let mut strings = vec![command?];
    strings.extend(args?);
    let argv = strings.try_into();
    violations.check(argv.map_err(|why| InvalidField::new("command", why)))
}

fn environment(raw: Vec<v1::EnvironmentVariable>) -> Result<Vec<CString>, InvalidField> {
    let invalid = |why| Err(InvalidField::new("environment", why));
    let mut names = std::collections::HashSet::new();
    for v1::EnvironmentVariable { name, .. } in &raw {
        if name.is_empty() {
            return invalid("a variable's name must not be empty");
        }
        if name.contains('=') {
            return invalid("a variable's name must not hold \"=\"");
        }
        if !names.insert(name) {
            return invalid("a variable is given twice");
        }
    }
    raw.into_iter()
        .map(|variable| {
            CString::new(format!("{}={}", variable.name, variable.value))
                .map_err(|_| InvalidField::new("environment", "must not hold a NUL byte"))
        })
        .collect()
}

/// `None`: the process's own.
fn working_directory(path: String) -> Result<Option<CString>, InvalidField> {
    if path.is_empty() {
        return Ok(None);
    }
    let invalid = |why: String| InvalidField::new("working_directory", why);
    if !path.starts_with('/') || path.len() > PATH_MAX {
        return Err(invalid(format!(
            "must be an absolute path of at most {PATH_MAX} bytes"
        )));
    }
    CString::new(path)
        .map(Some)
        .map_err(|_| invalid("must not hold a NUL byte".to_owned()))
}

fn check_size(
    command: &str,
    args: &[String],
    environment: &[v1::EnvironmentVariable],
) -> Result<(), InvalidField> {
    let arguments: usize = args.iter().map(|argument| argument.len() + 1).sum();
    let variables: usize = environment
        .iter()
        .map(|variable| variable.name.len() + variable.value.len() + 2)
        .sum();
    if command.len() + 1 + arguments + variables > ARGUMENTS_MAX {
        return Err(InvalidField::too_long());
    }
    Ok(())
}

fn limits(raw: v1::Limits, violations: &mut Violations) -> Option<Limits> {
    let mut values = [
        raw.cpu_millis,
        raw.memory_bytes,
        raw.io_read_bytes_per_second,
        raw.io_write_bytes_per_second,
        raw.pids,
    ];
    let mut are_valid = true;
    for (name, value) in LimitName::ALL.into_iter().zip(&mut values) {
        let checked = value.map(|value| name.check(value)).transpose();
        let checked = checked.map_err(|why| InvalidField::new(limit_field(name), why));
        match violations.check(checked) {
            Some(checked) => *value = checked,
            None => are_valid = false,
        }
    }
    if !are_valid {
        return None;
    }
    let limits = Limits::try_from(values);
    violations.check(limits.map_err(|why| InvalidField::new("limits", why)))
}

/// Path of a limit's field in a start request.
pub fn limit_field(name: LimitName) -> String {
    format!("limits.{name}")
}

fn millis(raw: Option<prost_types::Duration>, field: &str) -> Result<Option<Millis>, InvalidField> {
    raw.map(|raw| {
        let duration = Duration::try_from(raw)
            .map_err(|_| InvalidField::new(field, "must not be negative"))?;
        Millis::try_from(duration).map_err(|_| InvalidField::new(field, "must be at most 365 days"))
    })
    .transpose()
}

/// How to stop a process.
pub fn stop_how(
    signal: i32,
    grace: Option<prost_types::Duration>,
    violations: &mut Violations,
) -> Option<StopHow> {
    let grace = violations.check(millis(grace, "grace"));
    let how = match v1::Signal::try_from(signal) {
        Ok(v1::Signal::Unspecified | v1::Signal::Sigterm) => Ok(StopHow::Graceful(grace?)),
        Ok(v1::Signal::Sigkill) => Ok(StopHow::Kill),
        Err(_) => Err(InvalidField::new(
            "signal",
            "must be SIGNAL_SIGTERM or SIGNAL_SIGKILL",
        )),
    };
    let how = violations.check(how);
    grace.and(how)
}

/// What part of an output a request asks for, at the time `now`.
pub fn wanted(
    raw: &v1::GetOutputRequest,
    now: UnixMicros,
    violations: &mut Violations,
) -> Option<Wanted> {
    let mut time = |at: &Option<v1::OutputTime>, field: &str| {
        let time = at.as_ref().map(|at| instant(at, field, now));
        violations.check(time.transpose())
    };
    let (since, until) = (time(&raw.since, "since"), time(&raw.until, "until"));
    let since = since.and_then(|since| violations.check(check_since(since, now)));
    let until = until.and_then(|until| violations.check(check_until(until, since.flatten())));
    let tail = Tail::of(raw).map_err(|why| InvalidField::new("tail_bytes", why));
    let tail = violations.check(tail);
    let from = violations.check(check_from_offset(raw));
    let only = violations.check(only(raw.only));
    Some(Wanted {
        part: Part {
            from: from?,
            since: since?,
            until: until?,
            tail: tail?,
            only: only?,
        },
        control_frames: raw.control_frames,
        no_follow: raw.no_follow,
        is_follower: raw.follower,
    })
}

fn check_since(
    since: Option<UnixMicros>,
    now: UnixMicros,
) -> Result<Option<UnixMicros>, InvalidField> {
    if since.is_some_and(|since| since > now) {
        return Err(InvalidField::new(
            "since",
            "must not be in the future by the server's clock; `ago` needs no clock of the client's",
        ));
    }
    Ok(since)
}

fn check_until(
    until: Option<UnixMicros>,
    since: Option<UnixMicros>,
) -> Result<Option<UnixMicros>, InvalidField> {
    match (since, until) {
        (Some(since), Some(until)) if until <= since => {
            Err(InvalidField::new("until", "must be later than since"))
        }
        _ => Ok(until),
    }
}

fn check_from_offset(raw: &v1::GetOutputRequest) -> Result<u64, InvalidField> {
    let begins_elsewhere =
        raw.since.is_some() || raw.tail_lines.is_some() || raw.tail_bytes.is_some();
    if raw.from_offset > 0 && begins_elsewhere {
        let why = "must not stand together with since, tail_lines or tail_bytes; to go on after those, leave them out";
        return Err(InvalidField::new("from_offset", why));
    }
    Ok(raw.from_offset)
}

fn only(raw: i32) -> Result<Option<Stream>, InvalidField> {
    match v1::get_output_response::Type::try_from(raw) {
        Ok(v1::get_output_response::Type::Unspecified) => Ok(None),
        Ok(v1::get_output_response::Type::Stdout) => Ok(Some(Stream::Stdout)),
        Ok(v1::get_output_response::Type::Stderr) => Ok(Some(Stream::Stderr)),
        Err(_) => Err(InvalidField::new(
            "only",
            "must be TYPE_STDOUT, TYPE_STDERR or absent for both",
        )),
    }
}

/// A time of a request. What lies before 1970 becomes 1970.
pub fn instant(
    raw: &v1::OutputTime,
    field: &str,
    now: UnixMicros,
) -> Result<UnixMicros, InvalidField> {
    let invalid = |part: &str, why: &str| InvalidField::new(format!("{field}.{part}"), why);
    let micros = match raw.at {
        None => return Err(InvalidField::new(field, "must have time or ago")),
        Some(At::Time(time)) => {
            // As google.protobuf.Timestamp has it: the years 1 to 9999.
            let is_valid = (-62_135_596_800..=253_402_300_799).contains(&time.seconds)
                && (0..1_000_000_000).contains(&time.nanos);
            if !is_valid {
                return Err(invalid(
                    "time",
                    "must be a valid timestamp, in the years 1 to 9999",
                ));
            }
            i128::from(time.seconds) * 1_000_000 + i128::from(time.nanos / 1000)
        }
        Some(At::Ago(ago)) => {
            let ago =
                Duration::try_from(ago).map_err(|_| invalid("ago", "must not be negative"))?;
            i128::from(now.0).saturating_sub_unsigned(ago.as_micros())
        }
    };
    Ok(UnixMicros(u64::try_from(micros.max(0)).unwrap_or(u64::MAX)))
}

/// A process as the API shows it.
pub fn process(info: &ProcessInfo) -> v1::Process {
    v1::Process {
        id: Some(v1::ProcessIdentifier {
            id: info.id.to_string(),
        }),
        status: Some(process_status(info)),
    }
}

/// A process as a list shows it.
pub fn listed(info: &ProcessInfo, with_argv: bool) -> v1::Process {
    let mut process = process(info);
    if let Some(status) = process.status.as_mut().filter(|_| !with_argv) {
        status.argv = Vec::new();
    }
    process
}

/// A process's status as the API shows it.
pub fn process_status(info: &ProcessInfo) -> v1::ProcessStatus {
    let state = if info.end.is_some() {
        v1::ProcessState::Stopped
    } else {
        v1::ProcessState::Running
    };
    let spec = &info.spec;
    let directory = spec.working_directory.as_ref();
    // What a client sends is UTF-8.
    let argv: Vec<String> = spec
        .argv
        .as_slice()
        .iter()
        .map(|string| string.to_string_lossy().into_owned())
        .collect();
    v1::ProcessStatus {
        // Only a NUL can't be quoted, and an Argv has none.
        command: shlex::try_join(argv.iter().map(String::as_str)).unwrap_or_default(),
        state: state.into(),
        exit_code: info.main_exit.map_or(0, |exit| exit.status.code()),
        start_time: seconds(info.started),
        end_time: info.end.as_ref().map_or(0, |end| seconds(end.at)),
        exit_cause: info.main_exit.map(exit_cause),
        main_exited: info.main_exit.is_some(),
        tree_empty: info.end.is_some(),
        started_at: Some(timestamp(info.started)),
        main_exited_at: info.main_exit.map(|exit| timestamp(exit.at)),
        ended_at: info.end.as_ref().map(|end| timestamp(end.at)),
        argv,
        limits: Some(applied_limits(info)),
        usage: info.end.as_ref().map(|end| usage(end.usage_numbers())),
        output: Some(output_status(info)),
        working_directory: directory
            .map_or_else(String::new, |path| path.to_string_lossy().into_owned()),
        stuck_tasks: info
            .stuck
            .iter()
            .filter_map(|stat| kernel::stuck_task(stat))
            .map(|(name, state)| v1::StuckTask {
                name,
                state: state.to_string(),
            })
            .collect(),
        uid: info.uid,
        profile: match spec.profile {
            Profile::Default => v1::Profile::Default,
            Profile::Strict => v1::Profile::Strict,
            Profile::None => v1::Profile::None,
        }
        .into(),
        left_behind: info.left_behind.map(left_behind),
    }
}

fn left_behind(left: message::LeftBehind) -> v1::LeftBehind {
    v1::LeftBehind {
        processes: left.processes,
        stopped_for: left
            .stopped_for
            .map_or(v1::exit_cause::Kind::Unspecified, cause_kind)
            .into(),
    }
}

fn cause_kind(cause: message::ExitCause) -> v1::exit_cause::Kind {
    match cause {
        message::ExitCause::Exited => v1::exit_cause::Kind::Exited,
        message::ExitCause::Signalled => v1::exit_cause::Kind::Signalled,
        message::ExitCause::OomKilled => v1::exit_cause::Kind::OomKilled,
        message::ExitCause::TimedOut => v1::exit_cause::Kind::TimedOut,
        message::ExitCause::StoppedOnRequest => v1::exit_cause::Kind::StoppedOnRequest,
        message::ExitCause::OutputLimit => v1::exit_cause::Kind::OutputLimit,
    }
}

/// Why a main process ended, as the API shows it.
pub fn exit_cause(exit: MainExit) -> v1::ExitCause {
    let (exit_code, signal, core_dumped) = match exit.status {
        ExitStatus::Exited(code) => (code.into(), 0, false),
        ExitStatus::Signalled {
            signal,
            core_dumped,
        } => (0, signal.into(), core_dumped),
    };
    v1::ExitCause {
        kind: cause_kind(exit.cause).into(),
        exit_code,
        signal,
        core_dumped,
        ..Default::default()
    }
}

fn applied_limits(info: &ProcessInfo) -> v1::AppliedLimits {
    let limits = info.limits_in_force();
    v1::AppliedLimits {
        values: Some(v1::Limits {
            cpu_millis: limits.get(LimitName::Cpu),
            memory_bytes: limits.get(LimitName::Memory),
            io_read_bytes_per_second: limits.get(LimitName::IoRead),
            io_write_bytes_per_second: limits.get(LimitName::IoWrite),
            pids: limits.get(LimitName::Pids),
        }),
        not_enforced: info
            .limits
            .not_enforced
            .iter()
            .map(LimitName::to_string)
            .collect(),
    }
}

fn usage(usage: kernel::Usage) -> v1::Usage {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    v1::Usage {
        cpu_user_usec: micros(usage.cpu_user),
        cpu_system_usec: micros(usage.cpu_system),
        cpu_throttled_usec: micros(usage.cpu_throttled),
        memory_peak_bytes: usage.memory_peak,
        io_read_bytes: usage.io_read,
        io_write_bytes: usage.io_written,
        pids_peak: usage.pids_peak,
    }
}

fn output_status(info: &ProcessInfo) -> v1::OutputStatus {
    let totals = info.end.as_ref().map(|end| end.output);
    v1::OutputStatus {
        max_bytes: info.spec.output.max,
        policy: match info.spec.output.overflow {
            Overflow::DropOldest => v1::OutputPolicy::DropOldest,
            Overflow::Wait => v1::OutputPolicy::StopReading,
            Overflow::Kill => v1::OutputPolicy::Kill,
            Overflow::Follow(_) => v1::OutputPolicy::Follow,
        }
        .into(),
        waits_for_reader: info.waits,
        store: match info.spec.output.store {
            OutputStore::Memory => v1::OutputStore::Memory,
            OutputStore::Disk => v1::OutputStore::Disk,
        }
        .into(),
        first_offset: totals.map(|totals| totals.first),
        end_offset: totals.map(|totals| totals.end),
        stdout_bytes: totals.map(|totals| totals.stdout),
        stderr_bytes: totals.map(|totals| totals.stderr),
    }
}

/// The frame after which nothing follows.
pub fn output_end(info: &ProcessInfo, totals: &OutputTotals, boot_epoch: &str) -> v1::OutputEnd {
    v1::OutputEnd {
        exit_cause: info.main_exit.map(exit_cause),
        left_behind: info.left_behind.map(left_behind),
        stdout_bytes: totals.stdout,
        stderr_bytes: totals.stderr,
        end_offset: totals.end,
        boot_epoch: boot_epoch.to_owned(),
    }
}

/// A stream of a process as the API names it.
pub fn stream_type(stream: Stream) -> v1::get_output_response::Type {
    match stream {
        Stream::Stdout => v1::get_output_response::Type::Stdout,
        Stream::Stderr => v1::get_output_response::Type::Stderr,
    }
}

/// An instant in full resolution.
pub fn timestamp(at: UnixMicros) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: seconds(at),
        // Below a million, times a thousand.
        nanos: i32::try_from(at.0 % 1_000_000)
            .unwrap_or(0)
            .saturating_mul(1000),
    }
}

fn seconds(at: UnixMicros) -> i64 {
    i64::try_from(at.0 / 1_000_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use prn_ipc_protocol::message::{AppliedLimits, End};

    fn file(name: &str, text: &str) -> message::FileText {
        message::FileText {
            name: name.to_owned(),
            text: text.to_owned(),
        }
    }

    /// A running process.
    pub fn info(id: &str, number: u64) -> ProcessInfo {
        ProcessInfo {
            id: id.parse().unwrap(),
            number,
            spec: ProcessSpec {
                argv: vec![c"sh".into(), c"-c".into(), c"echo 'a b'".into()]
                    .try_into()
                    .unwrap(),
                working_directory: Some(c"/var/lib/prn/x".into()),
                limits: Limits::try_from([Some(1500), None, None, None, None]).unwrap(),
                best_effort_limits: false,
                output: Keeping {
                    max: 65_536,
                    overflow: Overflow::DropOldest,
                    store: OutputStore::Memory,
                },
                timeout: None,
                stop_grace: 10_000.try_into().unwrap(),
                linger: false,
                profile: Profile::Default,
            },
            uid: 2_000_000_000,
            started: UnixMicros(1_700_000_000_123_456),
            limits: AppliedLimits {
                in_force: vec![
                    file("cpu.max", "150000 100000\n"),
                    file("memory.max", "4096\n"),
                ],
                not_enforced: vec![LimitName::IoRead],
            },
            waits: false,
            main_exit: None,
            end: None,
            stuck: vec![],
            left_behind: None,
        }
    }

    /// The same, ended.
    pub fn ended(
        mut info: ProcessInfo,
        status: ExitStatus,
        cause: message::ExitCause,
        totals: OutputTotals,
    ) -> ProcessInfo {
        info.main_exit = Some(MainExit {
            status,
            cause,
            at: UnixMicros(1_700_000_001_000_000),
        });
        info.end = Some(End {
            at: UnixMicros(1_700_000_002_999_999),
            usage: vec![],
            output: totals,
        });
        info
    }

    const ID: &str = "00ff10a9e28b7c4d5566778899aabbcc";

    fn spec(raw: v1::StartRequest) -> Result<StartSpec, Violations> {
        let defaults = Defaults {
            limits: Limits::try_from([None, Some(1 << 30), None, None, None]).unwrap(),
            output_max: 65_536,
            output_disk: 1 << 30,
            stop_grace: 10_000.try_into().unwrap(),
        };
        start_spec(raw, &defaults, || Ok(ProcessId::from_bytes([7; 16])))
    }

    fn command(command: &str) -> v1::StartRequest {
        v1::StartRequest {
            command: command.into(),
            ..Default::default()
        }
    }

    fn field(raw: v1::StartRequest) -> String {
        let [field] = fields(&spec(raw).unwrap_err()).try_into().unwrap();
        field
    }

    fn fields(violations: &Violations) -> Vec<String> {
        violations
            .fields()
            .map(|invalid| invalid.field.clone())
            .collect()
    }

    fn stop_how(signal: i32, grace: Option<prost_types::Duration>) -> Result<StopHow, Violations> {
        let mut violations = Violations::default();
        super::stop_how(signal, grace, &mut violations).ok_or(violations)
    }

    fn wanted(raw: &v1::GetOutputRequest, now: UnixMicros) -> Result<Wanted, Violations> {
        let mut violations = Violations::default();
        super::wanted(raw, now, &mut violations).ok_or(violations)
    }

    #[test]
    fn all_malformed_fields_are_named_at_once() {
        let raw = v1::StartRequest {
            id: "x".into(),
            args: vec!["\0".into()],
            environment: vec![v1::EnvironmentVariable::default()],
            working_directory: "tmp".into(),
            limits: Some(v1::Limits {
                cpu_millis: Some(0),
                memory_bytes: Some(1),
                ..Default::default()
            }),
            output_max_bytes: 1,
            timeout: Some(prost_types::Duration::default()),
            output_policy: 9,
            output_store: 9,
            profile: 9,
            ..command("true")
        };
        let named = [
            "id",
            "output_policy",
            "output_store",
            "output_max_bytes",
            "profile",
            "timeout",
            "limits.cpu_millis",
            "limits.memory_bytes",
            "working_directory",
            "environment",
            "args",
        ];
        assert_eq!(fields(&spec(raw).unwrap_err()), named);
        let grace = Some(prost_types::Duration {
            seconds: -1,
            nanos: 0,
        });
        assert_eq!(
            fields(&stop_how(9, grace).unwrap_err()),
            ["grace", "signal"]
        );
        let output = v1::GetOutputRequest {
            from_offset: 1,
            since: Some(v1::OutputTime::default()),
            tail_lines: Some(1),
            tail_bytes: Some(1),
            only: 9,
            ..Default::default()
        };
        assert_eq!(
            fields(&wanted(&output, UnixMicros(1)).unwrap_err()),
            ["since", "tail_bytes", "from_offset", "only"]
        );
    }

    #[test]
    fn a_seed_clients_start_request_asks_for_the_defaults() {
        let spec = spec(v1::StartRequest {
            args: vec!["-la".into(), String::new()],
            ..command("ls")
        })
        .unwrap();
        assert_eq!(spec.id, ProcessId::from_bytes([7; 16]));
        assert!(spec.variables.is_empty());
        let spec = spec.process;
        assert_eq!(
            spec.argv.as_slice(),
            [c"ls".into(), c"-la".into(), CString::from(c"")]
        );
        assert_eq!(spec.working_directory, None);
        assert_eq!(spec.profile, Profile::Default);
        assert_eq!(
            (spec.output.max, spec.timeout, spec.stop_grace),
            (65_536, None, 10_000.try_into().unwrap())
        );
        assert_eq!(spec.limits.get(LimitName::Memory), Some(1 << 30));
        assert!(!spec.linger && !spec.best_effort_limits);
    }

    #[test]
    fn each_malformed_field_is_named() {
        let duration = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
        let limits = |limits| v1::StartRequest {
            limits: Some(limits),
            ..command("true")
        };
        assert_eq!(field(command("")), "command");
        assert_eq!(field(command("a\0")), "command");
        assert_eq!(
            field(v1::StartRequest {
                args: vec!["\0".into()],
                ..command("true")
            }),
            "args"
        );
        assert_eq!(
            field(v1::StartRequest {
                id: ID.to_uppercase(),
                ..command("true")
            }),
            "id"
        );
        assert_eq!(
            field(v1::StartRequest {
                working_directory: "tmp".into(),
                ..command("true")
            }),
            "working_directory"
        );
        assert_eq!(
            field(v1::StartRequest {
                output_max_bytes: 1,
                ..command("true")
            }),
            "output_max_bytes"
        );
        assert_eq!(
            field(v1::StartRequest {
                output_policy: 5,
                ..command("true")
            }),
            "output_policy"
        );
        assert_eq!(
            field(v1::StartRequest {
                follow_timeout: duration(1, 0),
                ..command("true")
            }),
            "follow_timeout"
        );
        assert_eq!(
            field(v1::StartRequest {
                output_store: 3,
                ..command("true")
            }),
            "output_store"
        );
        assert_eq!(
            field(v1::StartRequest {
                timeout: duration(0, 1),
                ..command("true")
            }),
            "timeout"
        );
        assert_eq!(
            field(v1::StartRequest {
                timeout: duration(-1, 0),
                ..command("true")
            }),
            "timeout"
        );
        assert_eq!(
            field(v1::StartRequest {
                stop_grace: duration(i64::MAX, 0),
                ..command("true")
            }),
            "stop_grace"
        );
        assert_eq!(
            field(limits(v1::Limits {
                cpu_millis: Some(0),
                ..Default::default()
            })),
            "limits.cpu_millis"
        );
        assert_eq!(
            field(limits(v1::Limits {
                memory_bytes: Some(1),
                ..Default::default()
            })),
            "limits.memory_bytes"
        );
        assert_eq!(
            field(limits(v1::Limits {
                pids: Some(u64::MAX),
                ..Default::default()
            })),
            "limits.pids"
        );
        let variable = v1::EnvironmentVariable {
            name: "A=".into(),
            value: String::new(),
        };
        assert_eq!(
            field(v1::StartRequest {
                environment: vec![variable],
                ..command("true")
            }),
            "environment"
        );
    }

    #[test]
    fn output_goes_where_it_was_asked_for_and_to_memory_by_default() {
        let output = |output_store| {
            spec(v1::StartRequest {
                output_store,
                ..command("true")
            })
            .unwrap()
            .process
            .output
        };
        assert_eq!(
            [0, 1, 2].map(|raw| output(raw).store),
            [OutputStore::Memory, OutputStore::Memory, OutputStore::Disk]
        );
        assert_eq!(output(2).max, 65_536);
    }

    #[test]
    fn i5_arguments_and_environment_share_one_limit() {
        let request = |arguments: usize, value: usize| v1::StartRequest {
            args: vec!["x".repeat(arguments)],
            environment: vec![v1::EnvironmentVariable {
                name: "A".into(),
                value: "x".repeat(value),
            }],
            ..command("true")
        };
        // "true" 5, the argument and the value each one more, "A=" 2.
        let rest = ARGUMENTS_MAX - 5 - 1 - 3;
        assert!(spec(request(rest - 1000, 1000)).is_ok());
        let error = spec(request(rest - 1000, 1001)).unwrap_err();
        assert!(error.fields().any(|invalid| invalid.why.contains("131072")));
    }

    #[test]
    fn stop_signals() {
        let grace = Some(prost_types::Duration {
            seconds: 1,
            nanos: 0,
        });
        assert_eq!(stop_how(0, None), Ok(StopHow::Graceful(None)));
        assert_eq!(
            stop_how(1, grace),
            Ok(StopHow::Graceful(Some(Millis::try_from(1000).unwrap())))
        );
        assert_eq!(stop_how(2, grace), Ok(StopHow::Kill));
        assert_eq!(fields(&stop_how(9, None).unwrap_err()), ["signal"]);
    }

    const NOW: UnixMicros = UnixMicros(1_700_000_000_000_000);

    fn time(seconds: i64, nanos: i32) -> Option<v1::OutputTime> {
        Some(v1::OutputTime {
            at: Some(At::Time(prost_types::Timestamp { seconds, nanos })),
        })
    }

    fn ago(seconds: i64, nanos: i32) -> Option<v1::OutputTime> {
        Some(v1::OutputTime {
            at: Some(At::Ago(prost_types::Duration { seconds, nanos })),
        })
    }

    #[test]
    fn times_of_output_are_instants_or_spans_before_the_servers_now() {
        let since = |since| {
            wanted(
                &v1::GetOutputRequest {
                    since,
                    ..Default::default()
                },
                NOW,
            )
            .unwrap()
            .part
            .since
        };
        assert_eq!(since(None), None);
        assert_eq!(
            since(time(1_600_000_000, 123_456_789)),
            Some(UnixMicros(1_600_000_000_123_456))
        );
        assert_eq!(since(time(-5, 0)), Some(UnixMicros(0)));
        assert_eq!(
            since(ago(600, 500_000_000)),
            Some(UnixMicros(1_699_999_399_500_000))
        );
        assert_eq!(since(ago(0, 0)), Some(NOW));
        assert_eq!(
            since(ago(315_576_000_000, 0)),
            Some(UnixMicros(0)),
            "longer ago than there are times"
        );
        let until = v1::GetOutputRequest {
            until: time(253_402_300_799, 0),
            ..Default::default()
        };
        assert_eq!(
            wanted(&until, NOW).unwrap().part.until,
            Some(UnixMicros(253_402_300_799_000_000))
        );
    }

    #[test]
    fn an_output_request_that_contradicts_itself_is_refused_by_field() {
        let base = v1::GetOutputRequest::default;
        let field = |raw: v1::GetOutputRequest| {
            let [field] = fields(&wanted(&raw, NOW).unwrap_err()).try_into().unwrap();
            field
        };
        assert_eq!(
            field(v1::GetOutputRequest {
                since: time(1_700_000_001, 0),
                ..base()
            }),
            "since"
        );
        assert_eq!(
            field(v1::GetOutputRequest {
                since: Some(v1::OutputTime::default()),
                ..base()
            }),
            "since"
        );
        assert_eq!(
            field(v1::GetOutputRequest {
                since: time(0, -1),
                ..base()
            }),
            "since.time"
        );
        assert_eq!(
            field(v1::GetOutputRequest {
                until: time(253_402_300_800, 0),
                ..base()
            }),
            "until.time"
        );
        assert_eq!(
            field(v1::GetOutputRequest {
                until: ago(-1, 0),
                ..base()
            }),
            "until.ago"
        );
        assert_eq!(
            field(v1::GetOutputRequest {
                since: ago(60, 0),
                until: ago(60, 0),
                ..base()
            }),
            "until"
        );
        assert_eq!(
            field(v1::GetOutputRequest {
                tail_lines: Some(1),
                tail_bytes: Some(1),
                ..base()
            }),
            "tail_bytes"
        );
        assert_eq!(
            field(v1::GetOutputRequest {
                from_offset: 1,
                tail_lines: Some(0),
                ..base()
            }),
            "from_offset"
        );
        assert_eq!(
            field(v1::GetOutputRequest {
                from_offset: 1,
                since: ago(1, 0),
                ..base()
            }),
            "from_offset"
        );
        assert_eq!(field(v1::GetOutputRequest { only: 3, ..base() }), "only");
        // What is sent to go on after a stream was cut off.
        let resumed = v1::GetOutputRequest {
            from_offset: 1,
            until: ago(1, 0),
            only: 2,
            ..base()
        };
        assert_eq!(
            wanted(&resumed, NOW).unwrap().part.only,
            Some(Stream::Stderr)
        );
    }

    #[test]
    fn a_live_process_is_running_and_a_finished_one_stopped() {
        let live = process_status(&info(ID, 1));
        assert_eq!(live.command, r#"sh -c "echo 'a b'""#);
        assert_eq!(live.state(), v1::ProcessState::Running);
        assert_eq!(
            (live.start_time, live.end_time, live.exit_code),
            (1_700_000_000, 0, 0)
        );
        assert_eq!(live.started_at.unwrap().nanos, 123_456_000);
        assert!(
            live.exit_cause.is_none()
                && !live.main_exited
                && !live.tree_empty
                && live.usage.is_none()
        );
        let limits = live.limits.unwrap();
        assert_eq!(limits.not_enforced, ["io_read_bytes_per_second"]);
        let values = limits.values.unwrap();
        assert_eq!(
            (values.cpu_millis, values.memory_bytes),
            (Some(1500), None),
            "only what was asked for"
        );
        let output = v1::OutputStatus {
            max_bytes: 65_536,
            policy: v1::OutputPolicy::DropOldest.into(),
            store: v1::OutputStore::Memory.into(),
            ..Default::default()
        };
        assert_eq!(live.output.unwrap(), output, "totals are absent");

        let status = ExitStatus::Signalled {
            signal: 9,
            core_dumped: false,
        };
        let mut info = ended(
            info(ID, 1),
            status,
            message::ExitCause::OomKilled,
            OutputTotals {
                end: 7,
                ..Default::default()
            },
        );
        info.stuck.push(b"7 (dd) D 1".to_vec());
        let dead = process_status(&info);
        assert_eq!(dead.state(), v1::ProcessState::Stopped);
        assert_eq!((dead.exit_code, dead.end_time), (137, 1_700_000_002));
        let cause = dead.exit_cause.unwrap();
        assert_eq!(cause.kind(), v1::exit_cause::Kind::OomKilled);
        assert_eq!((cause.exit_code, cause.signal), (0, 9));
        let output = dead.output.unwrap();
        assert_eq!((output.first_offset, output.end_offset), (Some(0), Some(7)));
        assert_eq!(
            (output.stdout_bytes, output.stderr_bytes),
            (Some(0), Some(0))
        );
        assert_eq!(dead.stuck_tasks[0].state, "D");
    }

    #[test]
    fn a_process_whose_main_has_exited_runs_until_its_tree_is_empty() {
        let mut info = info(ID, 1);
        info.main_exit = Some(MainExit {
            status: ExitStatus::Exited(3),
            cause: message::ExitCause::Exited,
            at: UnixMicros(0),
        });
        let status = process_status(&info);
        assert_eq!(status.state(), v1::ProcessState::Running);
        assert!(status.main_exited && !status.tree_empty);
        assert_eq!(status.exit_code, 3);
    }
}
