//! What the API says of a process.

use prn_ipc_protocol::message::{ExitStatus, LeftBehind, MainExit, OutputTotals, ProcessInfo};
use prn_ipc_protocol::types::LimitName;
use prn_proto::v1;

use crate::convert::tasks::tasks;
use crate::convert::time::{duration, seconds, timestamp};
use crate::convert::{enums, lifetime, limits, names, paths, signature, usage};

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
        status.paths = Vec::new();
    }
    process
}

/// A process in an answer that has no room for all of it: how it ended.
pub fn brief(process: v1::Process) -> v1::Process {
    let brief = |status: v1::ProcessStatus| v1::ProcessStatus {
        state: status.state,
        exit_code: status.exit_code,
        start_time: status.start_time,
        end_time: status.end_time,
        exit_cause: status.exit_cause,
        main_exited: status.main_exited,
        tree_empty: status.tree_empty,
        started_at: status.started_at,
        main_exited_at: status.main_exited_at,
        ended_at: status.ended_at,
        left_behind: status.left_behind,
        name: status.name,
        ..Default::default()
    };
    v1::Process {
        id: process.id,
        status: process.status.map(brief),
    }
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
        usage: info
            .end
            .as_ref()
            .map(|end| usage::shown(end.usage_numbers())),
        output: Some(output_status(info)),
        working_directory: directory
            .map_or_else(String::new, |path| path.to_string_lossy().into_owned()),
        stuck_tasks: tasks(&info.stuck),
        uid: info.uid,
        profile: enums::shown_profile(spec.profile).into(),
        left_behind: info.left_behind.map(left_behind),
        layers: info
            .layers
            .iter()
            .map(|layer| enums::shown_layer(*layer).into())
            .collect(),
        paths: paths::shown(&spec.paths),
        workspace: (spec.workspace.as_ref()).map_or_else(String::new, ToString::to_string),
        stdin: enums::shown_input(spec.input).into(),
        input_ended: info.input_ended,
        name: (spec.name.as_ref()).map_or_else(String::new, |name| name.as_str().to_owned()),
        labels: names::shown(&spec.labels),
        paused: info.paused,
        lease: lifetime::shown_lease(info),
        deadline: spec.deadline.map(timestamp),
        stop: info.stop.as_ref().map(lifetime::shown_stop),
        retention: lifetime::shown_retention(spec.retention),
        timeout: spec.timeout.map(duration),
        stop_grace: Some(duration(spec.stop_grace)),
        linger: spec.linger,
        started_by: names::who(info.started_by.as_ref()),
        signed: info.signed.as_ref().map(signature::shown),
        user: names::shown_user(spec.user.as_ref()),
        start_steps: Some(v1::StartSteps {
            requested_at: info.requested.map(timestamp),
            received_at: Some(timestamp(info.received)),
            admitted_at: Some(timestamp(info.admitted)),
            prepared_at: Some(timestamp(info.prepared)),
        }),
    }
}

fn left_behind(left: LeftBehind) -> v1::LeftBehind {
    v1::LeftBehind {
        processes: left.processes,
        stopped_for: left
            .stopped_for
            .map_or(v1::exit_cause::Kind::Unspecified, enums::shown_cause)
            .into(),
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
        kind: enums::shown_cause(exit.cause).into(),
        exit_code,
        signal,
        core_dumped,
        ..Default::default()
    }
}

fn applied_limits(info: &ProcessInfo) -> v1::AppliedLimits {
    v1::AppliedLimits {
        values: Some(limits::shown(&info.limits_in_force())),
        not_enforced: info
            .limits
            .not_enforced
            .iter()
            .map(LimitName::to_string)
            .collect(),
    }
}

fn output_status(info: &ProcessInfo) -> v1::OutputStatus {
    let totals = info.end.as_ref().map(|end| end.output);
    v1::OutputStatus {
        max_bytes: info.spec.output.max,
        policy: enums::shown_policy(info.spec.output.overflow).into(),
        waits_for_reader: info.waits,
        store: enums::shown_store(info.spec.output.store).into(),
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

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::convert::id::parsed;
    use prn_ipc_protocol::message::{
        AppliedLimits, End, ExitCause, FileText, Input, Keeping, Layer, OutputStore, Overflow,
        ProcessSpec, Profile, Retention, TerminalSize,
    };
    use prn_ipc_protocol::types::{Labels, Limits, PathRule, Paths, UnixMicros};

    fn file(name: &str, text: &str) -> FileText {
        FileText {
            name: name.to_owned(),
            text: text.to_owned(),
        }
    }

    /// A running process.
    pub fn info(id: &str, number: u64) -> ProcessInfo {
        ProcessInfo {
            id: parsed(id, "id").unwrap(),
            number,
            spec: ProcessSpec {
                argv: vec![c"sh".into(), c"-c".into(), c"echo 'a b'".into()]
                    .try_into()
                    .unwrap(),
                working_directory: Some(c"/var/lib/prn/x".into()),
                limits: Limits::try_from([Some(1500), None, None, None, None]).unwrap(),
                best_effort_limits: false,
                input: Input::Nothing,
                output: Keeping {
                    max: 65_536,
                    overflow: Overflow::DropOldest,
                    store: OutputStore::Memory,
                },
                timeout: None,
                stop_grace: 10_000.try_into().unwrap(),
                linger: false,
                profile: Profile::Default,
                user: None,
                paths: Paths::default(),
                workspace: None,
                name: None,
                labels: Labels::default(),
                deadline: None,
                lease: None,
                retention: Retention::default(),
            },
            started_by: None,
            signed: None,
            uid: 2_000_000_000,
            requested: Some(UnixMicros(1_700_000_000_120_000)),
            received: UnixMicros(1_700_000_000_121_000),
            admitted: UnixMicros(1_700_000_000_122_000),
            prepared: UnixMicros(1_700_000_000_123_000),
            started: UnixMicros(1_700_000_000_123_456),
            limits: AppliedLimits {
                in_force: vec![
                    file("cpu.max", "150000 100000\n"),
                    file("memory.max", "4096\n"),
                ],
                not_enforced: vec![LimitName::IoRead],
            },
            waits: false,
            input_ended: false,
            main_exit: None,
            end: None,
            stuck: vec![],
            left_behind: None,
            layers: vec![Layer::Namespaces, Layer::SystemCallFilter],
            paused: false,
            lease_ends: None,
            stop: None,
            change: 0,
        }
    }

    /// The same, ended.
    pub fn ended(
        mut info: ProcessInfo,
        status: ExitStatus,
        cause: ExitCause,
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
        let steps = live.start_steps.unwrap();
        let times = [
            steps.requested_at,
            steps.received_at,
            steps.admitted_at,
            steps.prepared_at,
        ];
        let nanos = times.map(|time| time.unwrap().nanos);
        assert_eq!(nanos, [120_000_000, 121_000_000, 122_000_000, 123_000_000]);
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
            ExitCause::OomKilled,
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
    fn a_status_says_what_the_input_is_and_that_it_has_ended() {
        let mut info = info(ID, 1);
        let said = |info: &ProcessInfo| {
            let status = process_status(info);
            (status.stdin(), status.input_ended)
        };
        assert_eq!(said(&info), (v1::StandardInput::None, false));
        info.spec.input = Input::Terminal(TerminalSize {
            rows: 24,
            columns: 80,
        });
        assert_eq!(said(&info), (v1::StandardInput::Terminal, false));
        info.spec.input = Input::Pipe;
        info.input_ended = true;
        assert_eq!(said(&info), (v1::StandardInput::Pipe, true));
    }

    #[test]
    fn a_list_has_paths_where_it_has_argv() {
        let mut info = info(ID, 1);
        let hidden = vec![PathRule::Hidden(c"/a".into())];
        info.spec.paths = hidden.try_into().unwrap();
        let count = |with_argv| listed(&info, with_argv).status.unwrap().paths.len();
        assert_eq!([count(true), count(false)], [1, 0]);
    }

    #[test]
    fn a_process_whose_main_has_exited_runs_until_its_tree_is_empty() {
        let mut info = info(ID, 1);
        info.main_exit = Some(MainExit {
            status: ExitStatus::Exited(3),
            cause: ExitCause::Exited,
            at: UnixMicros(0),
        });
        let status = process_status(&info);
        assert_eq!(status.state(), v1::ProcessState::Running);
        assert!(status.main_exited && !status.tree_empty);
        assert_eq!(status.exit_code, 3);
    }
}
