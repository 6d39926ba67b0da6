//! Values as people read them, safe for a terminal.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use clap::ValueEnum;
use nix::sys::signal::Signal;
use prn_client::{Exit, ExitKind, LeftBehind, Limits, PathRule, ProcessStatus, State};
use prn_proto::units::show_size;

/// Most things of a list within a line.
const SOME: usize = 8;

pub fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _infallible = text.write_fmt(arguments);
}

pub fn state(state: State) -> &'static str {
    match state {
        State::Running => "Running",
        State::Stopped => "Stopped",
    }
}

/// A state, and of what has ended by itself how it did. Nothing more of what was stopped on
/// request: that is no news to whoever reads it.
pub fn show_state(status: &ProcessStatus) -> String {
    let name = state(status.state);
    let end = match status.state {
        State::Running if status.paused => Some("paused".to_owned()),
        State::Running => None,
        State::Stopped => status.exit.as_ref().and_then(show_end),
    };
    end.map_or_else(|| name.to_owned(), |end| format!("{name} ({end})"))
}

/// How a process ended, in a word or two. `None` if it was stopped on request.
pub fn show_end(exit: &Exit) -> Option<String> {
    let end = match exit.kind {
        ExitKind::Exited => format!("exit {}", exit.code.unwrap_or_default()),
        ExitKind::Signalled if exit.core_dumped => {
            format!(
                "{}, core dumped",
                signal_name(exit.signal.unwrap_or_default())
            )
        }
        ExitKind::Signalled => signal_name(exit.signal.unwrap_or_default()),
        ExitKind::OomKilled => "out of memory".to_owned(),
        ExitKind::TimedOut => "timed out".to_owned(),
        ExitKind::OutputLimit => "output limit".to_owned(),
        ExitKind::DiskLimit => "disk limit".to_owned(),
        ExitKind::LeaseExpired => "lease expired".to_owned(),
        ExitKind::Unknown => "cause unknown".to_owned(),
        ExitKind::StoppedOnRequest => return None,
    };
    Some(end)
}

/// What a tree was stopped for.
pub fn show_cause(cause: ExitKind) -> &'static str {
    match cause {
        ExitKind::Exited => "when its main process had exited",
        ExitKind::Signalled => "when a signal had ended its main process",
        ExitKind::OomKilled => "out of memory",
        ExitKind::TimedOut => "its time was up",
        ExitKind::StoppedOnRequest => "on request",
        ExitKind::OutputLimit => "for too much output",
        ExitKind::DiskLimit => "its workspace was over its disk limit",
        ExitKind::LeaseExpired => "its lease ran out",
        ExitKind::Unknown => "cause unknown",
    }
}

/// The name of a choice, as its flag takes it.
pub fn choice<T: ValueEnum>(choice: &T) -> String {
    let value = choice.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

/// "SIGSEGV"; "signal 40" for those without a name, the real-time ones (signal(7)).
pub fn signal_name(number: i32) -> String {
    Signal::try_from(number).map_or_else(
        |_| format!("signal {number}"),
        |signal| signal.as_str().to_owned(),
    )
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
        Some(ExitKind::DiskLimit) => "because its workspace had more than its bound of the disk",
        Some(ExitKind::LeaseExpired) => "because its lease had run out",
        Some(_) => "by a stop",
    };
    format!("{count} that outlived the main process {verb} ended {why}")
}

/// How a process sees a directory.
pub fn show_path(rule: &PathRule) -> String {
    match rule {
        PathRule::ReadOnly { path } => format!("{path} is read-only"),
        PathRule::Hidden { path } => format!("{path} is hidden"),
        PathRule::Bound { path, source } => format!("{path} is {source}"),
    }
}

pub fn show_limits(limits: &Limits) -> String {
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
    let how = match exit.signal {
        None => format!("code {}", exit.code.unwrap_or_default()),
        Some(signal) => signal_name(signal),
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
        ExitKind::DiskLimit => format!("workspace over its disk limit, {how}"),
        ExitKind::LeaseExpired => format!("lease ran out, {how}"),
        ExitKind::Unknown => "unknown".to_owned(),
    }
}

/// Labels as selectors have them.
pub fn show_labels(labels: &BTreeMap<String, String>) -> String {
    let labels = labels.iter().map(|(key, value)| format!("{key}={value}"));
    labels.collect::<Vec<_>>().join(",")
}

/// The first few of a list, and how many more there are.
pub fn some_of<T: Display>(all: &[T]) -> String {
    let mut shown: Vec<_> = all.iter().take(SOME).map(T::to_string).collect();
    let more = all.len().saturating_sub(SOME);
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    shown.join(", ")
}

/// Whether a character changes in which order, or on which line, others are shown.
pub fn reorders(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text without anything that a terminal would act on: control characters, and those that reorder
/// what is shown.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || reorders(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// The same with backslashes escaped, too: the text can be told from what is shown.
pub fn escaped_reversibly(text: &str) -> String {
    let parts: Vec<_> = text.split('\\').map(escaped).collect();
    parts.join("\\\\")
}

/// Columns between two tab stops.
const TAB: usize = 8;

/// A line of a process's output, safe for a terminal.
pub fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.split('\t');
    let mut line = escaped(parts.next().unwrap_or_default());
    for part in parts {
        let column = line.chars().count();
        line.push_str(&" ".repeat(TAB - column % TAB));
        line.push_str(&escaped(part));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use prn_client::Process;
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
    fn a_long_list_is_cut_and_says_how_much_is_left_out() {
        assert_eq!(some_of(&[1, 2]), "1, 2");
        let all: Vec<_> = (0..10).collect();
        assert_eq!(some_of(&all), "0, 1, 2, 3, 4, 5, 6, 7, and 2 more");
    }

    #[test]
    fn what_a_terminal_would_act_on_is_escaped() {
        assert_eq!(
            escaped("a\nb\u{1b}[2J\u{202e}c é 漢\u{61c}"),
            "a\\nb\\u{1b}[2J\\u{202e}c é 漢\\u{61c}"
        );
        assert_eq!(escaped_reversibly("a\nb"), "a\\nb");
        assert_eq!(escaped_reversibly("a\\nb\\"), "a\\\\nb\\\\");
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
            (Kind::DiskLimit, 0, 9, false, "Stopped (disk limit)"),
            (Kind::LeaseExpired, 0, 15, false, "Stopped (lease expired)"),
            (Kind::StoppedOnRequest, 0, 15, false, "Stopped"),
            (Kind::StoppedOnRequest, 5, 0, false, "Stopped"),
            (Kind::ExecFailed, 0, 0, false, "Stopped (cause unknown)"),
            (Kind::Lost, 0, 0, false, "Stopped (cause unknown)"),
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
}
