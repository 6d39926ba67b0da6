//! What has changed of a process, in words, and for programs.

use std::time::SystemTime;

use prn_client::{Process, ProcessId, ProcessStatus, State};
use serde::Serialize;

use super::moments::local;
use super::shown::{escaped, show_cause, show_end, show_labels, show_limits};

/// A change as programs get it: the server's words, and what they say.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ChangeRecord<'a> {
    /// What has happened, in words: "started", "exited 3". Empty where nothing has that has a word.
    pub events: Vec<String>,
    /// The process that is new to the watch, or has changed.
    pub process: Option<&'a Process>,
    /// The process that was forgotten, or is selected no more.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    #[serde(serialize_with = "id")]
    pub removed: Option<ProcessId>,
    /// All that is there follows: what does not come before `synchronized` is no more.
    pub reset: bool,
    /// All that was so in the beginning was told.
    pub synchronized: bool,
    /// The server is another run than the one before.
    pub restarted: bool,
    /// For `--after`: all up to here was told.
    pub cursor: Option<&'a str>,
    /// Random id of the server's run.
    pub boot_epoch: Option<&'a str>,
}

fn id<S: serde::Serializer>(id: &Option<ProcessId>, to: S) -> Result<S::Ok, S::Error> {
    id.map(|id| id.to_string()).serialize(to)
}

/// What has happened to a process between two states of it. `None` before: it is new.
pub fn words(before: Option<&ProcessStatus>, now: &ProcessStatus) -> Vec<String> {
    let mut words = Vec::new();
    let Some(before) = before else {
        words.push("started".to_owned());
        ends(false, false, now, &mut words);
        return words;
    };
    match (before.paused, now.paused) {
        (false, true) => words.push("paused".to_owned()),
        (true, false) if now.state == State::Running => words.push("resumed".to_owned()),
        _ => {}
    }
    if before.labels != now.labels {
        let labels = show_labels(&now.labels);
        words.push(format!("labels are now {}", or_none(&labels)));
    }
    if before.limits.values != now.limits.values {
        let limits = show_limits(&now.limits.values);
        words.push(format!("limits are now {}", or_none(&limits)));
    }
    if let Some(word) = lease(before, now) {
        words.push(word.to_owned());
    }
    if !before.input_ended && now.input_ended && now.state == State::Running {
        words.push("input ended".to_owned());
    }
    if waits(now) && !waits(before) {
        words.push("waits for a reader of its output".to_owned());
    }
    let is_stopping = before.stop.is_none() && now.state == State::Running;
    if let Some(stop) = now.stop.as_ref().filter(|_| is_stopping) {
        words.push(format!("stopping ({})", show_cause(stop.cause)));
    }
    ends(before.main_exited, before.tree_empty, now, &mut words);
    words
}

/// The two ends that a process has.
fn ends(had_exited: bool, was_empty: bool, now: &ProcessStatus, words: &mut Vec<String>) {
    if now.main_exited && !had_exited {
        words.push(ended(now));
        if !now.tree_empty {
            words.push("others of its tree are alive".to_owned());
        }
    } else if now.tree_empty && !was_empty {
        words.push("ended".to_owned());
    }
}

/// What a process is that was there before.
pub fn state(now: &ProcessStatus) -> String {
    match now.state {
        State::Running if now.paused => "is paused".to_owned(),
        State::Running => "is running".to_owned(),
        State::Stopped => ended(now),
    }
}

fn ended(status: &ProcessStatus) -> String {
    let Some(exit) = &status.exit else {
        return "ended".to_owned();
    };
    match show_end(exit) {
        None => "stopped".to_owned(),
        Some(end) => match end.strip_prefix("exit ") {
            Some(code) => format!("exited {code}"),
            None if exit.signal.is_some_and(|_| end.starts_with("SIG")) => {
                format!("killed by {end}")
            }
            None => format!("ended: {end}"),
        },
    }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

fn lease(before: &ProcessStatus, now: &ProcessStatus) -> Option<&'static str> {
    match (&before.lease, &now.lease) {
        (None, Some(_)) => Some("has a lease"),
        (Some(_), None) => Some("has no lease any more"),
        (Some(before), Some(now)) if before.duration != now.duration => Some("has another lease"),
        _ => None,
    }
}

fn waits(status: &ProcessStatus) -> bool {
    let output = status.output.as_ref();
    output.is_some_and(|output| output.waits_for_reader)
}

/// When the newest of it happened, by the server's clock as far as it says.
fn when(now: &ProcessStatus, is_new: bool) -> SystemTime {
    let known = match now.state {
        State::Stopped => now.ended_at,
        State::Running if now.main_exited => now.main_exited_at,
        State::Running if is_new => now.started_at,
        State::Running => None,
    };
    known.unwrap_or_else(SystemTime::now)
}

/// A change of a process as a line.
pub fn change_line(process: &Process, words: &[String], is_new: bool) -> String {
    let time = local(when(&process.status, is_new));
    let words = if words.is_empty() {
        "changed".to_owned()
    } else {
        words.join(", ")
    };
    let name = process.status.name.as_deref();
    let name = name
        .map(|name| format!(" {}", escaped(name)))
        .unwrap_or_default();
    let command = escaped(&process.status.command);
    format!(
        "{time} {}{name} {} ({command})",
        process.id,
        escaped(&words)
    )
}

/// That a process is no more, as a line.
pub fn removed_line(id: ProcessId, known: Option<&Process>, what: &str) -> String {
    let time = local(SystemTime::now());
    let known = known.map(|process| {
        let name = process.status.name.as_deref();
        let name = name.map(|name| format!(" {}", escaped(name)));
        (
            name.unwrap_or_default(),
            format!(" ({})", escaped(&process.status.command)),
        )
    });
    let (name, command) = known.unwrap_or_default();
    format!("{time} {id}{name} {what}{command}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use prn_proto::v1;
    use v1::exit_cause::Kind;

    fn status(status: v1::ProcessStatus) -> ProcessStatus {
        ProcessStatus::try_from(status).unwrap()
    }

    fn running() -> v1::ProcessStatus {
        v1::ProcessStatus {
            state: v1::ProcessState::Running.into(),
            ..v1::ProcessStatus::default()
        }
    }

    fn exited(kind: Kind, exit_code: i32, signal: i32, tree_empty: bool) -> v1::ProcessStatus {
        let state = if tree_empty {
            v1::ProcessState::Stopped
        } else {
            v1::ProcessState::Running
        };
        v1::ProcessStatus {
            state: state.into(),
            main_exited: true,
            tree_empty,
            exit_cause: Some(v1::ExitCause {
                kind: kind.into(),
                exit_code,
                signal,
                ..v1::ExitCause::default()
            }),
            ..v1::ProcessStatus::default()
        }
    }

    #[test]
    fn consecutive_states_say_what_has_happened() {
        let paused = v1::ProcessStatus {
            paused: true,
            ..running()
        };
        let labelled = v1::ProcessStatus {
            labels: [("a".to_owned(), "b".to_owned())].into(),
            ..running()
        };
        let stopping = v1::ProcessStatus {
            stop: Some(v1::StopStatus {
                cause: Kind::StoppedOnRequest.into(),
                ..v1::StopStatus::default()
            }),
            ..running()
        };
        let leased = v1::ProcessStatus {
            lease: Some(v1::Lease::default()),
            ..running()
        };
        let main = exited(Kind::Exited, 3, 0, false);
        for (before, now, told) in [
            (None, running(), "started"),
            (None, exited(Kind::Exited, 0, 0, true), "started, exited 0"),
            (Some(running()), paused.clone(), "paused"),
            (Some(paused), running(), "resumed"),
            (Some(running()), labelled.clone(), "labels are now a=b"),
            (Some(labelled), running(), "labels are now none"),
            (Some(running()), stopping, "stopping (on request)"),
            (Some(running()), leased, "has a lease"),
            (
                Some(running()),
                main.clone(),
                "exited 3, others of its tree are alive",
            ),
            (Some(main), exited(Kind::Exited, 3, 0, true), "ended"),
            (
                Some(running()),
                exited(Kind::Exited, 3, 0, true),
                "exited 3",
            ),
            (
                Some(running()),
                exited(Kind::Signalled, 0, 11, true),
                "killed by SIGSEGV",
            ),
            (
                Some(running()),
                exited(Kind::OomKilled, 0, 9, true),
                "ended: out of memory",
            ),
            (
                Some(running()),
                exited(Kind::StoppedOnRequest, 0, 15, true),
                "stopped",
            ),
            (Some(running()), running(), ""),
        ] {
            let words = words(before.map(status).as_ref(), &status(now));
            assert_eq!(words.join(", "), told);
        }
    }
}
