//! Processes in tables: the columns that there are of them.

use std::time::SystemTime;

use prn_client::{ExitKind, Process, ProcessStatus, State};
use prn_proto::units::show_size;

use super::column::{Column, named};
use super::moments::{ago, local};
use super::paint::Tone;
use super::shown::{choice, escaped, show_exit, show_labels, show_state};
use super::table::Cell;

/// All columns, in the order in which help names them.
pub const COLUMNS: &[Column<Process>] = &[
    Column {
        name: "id",
        header: "ID",
        cell: |process| process.id.to_string().into(),
        order: |a, b| a.id.to_string().cmp(&b.id.to_string()),
    },
    Column {
        name: "name",
        header: "NAME",
        cell: |process| text(process.status.name.as_deref()),
        order: |a, b| a.status.name.cmp(&b.status.name),
    },
    Column {
        name: "state",
        header: "STATE",
        cell: |process| Cell::new(show_state(&process.status), tone(&process.status)),
        order: |a, b| show_state(&a.status).cmp(&show_state(&b.status)),
    },
    Column {
        name: "exit",
        header: "EXIT",
        cell: |process| {
            let exit = process.status.exit.as_ref();
            Cell::new(
                exit.map(show_exit).unwrap_or_default(),
                tone(&process.status),
            )
        },
        order: |a, b| exit_status(a).cmp(&exit_status(b)),
    },
    Column {
        name: "started",
        header: "STARTED",
        cell: |process| {
            process
                .status
                .started_at
                .map(local)
                .unwrap_or_default()
                .into()
        },
        order: |a, b| a.status.started_at.cmp(&b.status.started_at),
    },
    Column {
        name: "started-by",
        header: "STARTED BY",
        cell: |process| text(process.status.started_by.as_deref()),
        order: |a, b| a.status.started_by.cmp(&b.status.started_by),
    },
    Column {
        name: "age",
        header: "AGE",
        cell: |process| age(process.status.started_at),
        // The youngest has the least of it.
        order: |a, b| b.status.started_at.cmp(&a.status.started_at),
    },
    Column {
        name: "ended",
        header: "ENDED",
        cell: |process| {
            process
                .status
                .ended_at
                .map(local)
                .unwrap_or_default()
                .into()
        },
        order: |a, b| a.status.ended_at.cmp(&b.status.ended_at),
    },
    Column {
        name: "workspace",
        header: "WORKSPACE",
        cell: |process| text(process.status.workspace.as_deref()),
        order: |a, b| a.status.workspace.cmp(&b.status.workspace),
    },
    Column {
        name: "user",
        header: "USER",
        cell: |process| text(process.status.user.as_deref()),
        order: |a, b| a.status.user.cmp(&b.status.user),
    },
    Column {
        name: "labels",
        header: "LABELS",
        cell: |process| escaped(&show_labels(&process.status.labels)).into(),
        order: |a, b| a.status.labels.cmp(&b.status.labels),
    },
    Column {
        name: "uid",
        header: "USER ID",
        cell: |process| process.status.uid.to_string().into(),
        order: |a, b| a.status.uid.cmp(&b.status.uid),
    },
    Column {
        name: "memory-limit",
        header: "MEMORY LIMIT",
        cell: |process| {
            memory_limit(process)
                .map(show_size)
                .unwrap_or_default()
                .into()
        },
        order: |a, b| memory_limit(a).cmp(&memory_limit(b)),
    },
    Column {
        name: "memory-peak",
        header: "MEMORY PEAK",
        cell: |process| {
            memory_peak(process)
                .map(show_size)
                .unwrap_or_default()
                .into()
        },
        order: |a, b| memory_peak(a).cmp(&memory_peak(b)),
    },
    Column {
        name: "profile",
        header: "PROFILE",
        cell: |process| {
            let profile = process.status.profile.as_ref();
            profile.map(choice).unwrap_or_default().into()
        },
        order: |a, b| profile(a).cmp(&profile(b)),
    },
    Column {
        name: "directory",
        header: "DIRECTORY",
        cell: |process| text(Some(&process.status.working_directory)),
        order: |a, b| a.status.working_directory.cmp(&b.status.working_directory),
    },
    Column {
        name: "command",
        header: "COMMAND",
        cell: |process| escaped(&process.status.command).into(),
        order: |a, b| a.status.command.cmp(&b.status.command),
    },
];

/// The columns of a table without a word about them: with names where one has any.
pub fn usual(processes: &[Process]) -> Vec<&'static Column<Process>> {
    let has_name = |process: &Process| process.status.name.is_some();
    if processes.iter().any(has_name) {
        named(COLUMNS, &["id", "name", "state", "command"])
    } else {
        named(COLUMNS, &["id", "state", "command"])
    }
}

/// Those of a wide one: each that has something in it.
pub fn wide(processes: &[Process]) -> Vec<&'static Column<Process>> {
    let has =
        |has: fn(&ProcessStatus) -> bool| processes.iter().any(|process| has(&process.status));
    let names = [
        ("id", true),
        ("name", has(|status| status.name.is_some())),
        ("state", true),
        ("exit", true),
        ("started", true),
        ("age", true),
        ("ended", true),
        ("started-by", has(|status| status.started_by.is_some())),
        ("workspace", has(|status| status.workspace.is_some())),
        ("labels", has(|status| !status.labels.is_empty())),
        ("user", has(|status| status.user.is_some())),
        ("uid", true),
        (
            "memory-limit",
            has(|status| status.limits.values.memory_bytes.is_some()),
        ),
        ("command", true),
    ];
    let shown = names.into_iter().filter(|(_, is_shown)| *is_shown);
    named(COLUMNS, &shown.map(|(name, _)| name).collect::<Vec<_>>())
}

fn text(text: Option<&str>) -> Cell {
    escaped(text.unwrap_or_default()).into()
}

fn age(started: Option<SystemTime>) -> Cell {
    let now = SystemTime::now();
    started
        .map(|time| ago(time, now))
        .unwrap_or_default()
        .into()
}

fn exit_status(process: &Process) -> Option<u8> {
    process.status.exit.as_ref()?.status
}

fn memory_limit(process: &Process) -> Option<u64> {
    process.status.limits.values.memory_bytes
}

fn memory_peak(process: &Process) -> Option<u64> {
    process.status.usage?.memory_peak_bytes
}

fn profile(process: &Process) -> String {
    process
        .status
        .profile
        .as_ref()
        .map(choice)
        .unwrap_or_default()
}

/// The colour of a state: whether somebody should look at it.
fn tone(status: &ProcessStatus) -> Option<Tone> {
    if status.state == State::Running {
        return Some(if status.paused {
            Tone::Notable
        } else {
            Tone::Good
        });
    }
    let exit = status.exit.as_ref()?;
    match exit.kind {
        ExitKind::Exited if exit.code == Some(0) => Some(Tone::Past),
        ExitKind::StoppedOnRequest => Some(Tone::Past),
        ExitKind::Exited
        | ExitKind::Signalled
        | ExitKind::OomKilled
        | ExitKind::TimedOut
        | ExitKind::OutputLimit
        | ExitKind::DiskLimit
        | ExitKind::LeaseExpired
        | ExitKind::Unknown => Some(Tone::Bad),
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use super::*;
    use crate::output::column::table;
    use prn_proto::v1;

    fn process(status: v1::ProcessStatus) -> Process {
        let id = "fcd2310e7b9a462a5d88c3a0ff4e2d9b".to_owned();
        let state = v1::ProcessState::Running.into();
        Process::try_from(v1::Process {
            id: Some(v1::ProcessIdentifier { id }),
            status: Some(v1::ProcessStatus { state, ..status }),
        })
        .unwrap()
    }

    #[test]
    fn a_row_is_one_line_whatever_is_in_a_command() {
        let all = [process(v1::ProcessStatus {
            command: "printf 'a\nb'".into(),
            labels: [("a".to_owned(), "b\u{1b}".to_owned())].into(),
            ..v1::ProcessStatus::default()
        })];
        for columns in [usual(&all), wide(&all), COLUMNS.iter().collect()] {
            let shown = table(&columns, &all).plain(None);
            assert_eq!(shown.lines().count(), 5, "{shown}");
            assert!(!shown.contains('\u{1b}'));
        }
    }

    #[test]
    fn names_have_a_column_where_there_is_one() {
        let with = |name: &str| {
            let name = name.to_owned();
            process(v1::ProcessStatus {
                name,
                ..v1::ProcessStatus::default()
            })
        };
        assert_eq!(usual(&[with("")]).len(), 3);
        let all = [with(""), with("web")];
        assert!(table(&usual(&all), &all).plain(None).contains("| web  |"));
        assert_eq!(
            COLUMNS.len(),
            named(
                COLUMNS,
                &COLUMNS.iter().map(|column| column.name).collect::<Vec<_>>()
            )
            .len()
        );
        assert_eq!(wide(&all).len(), 9);
    }

    #[test]
    fn least_comes_before_most() {
        let with = |uid, memory_bytes| {
            let values = Some(v1::Limits {
                memory_bytes,
                ..v1::Limits::default()
            });
            process(v1::ProcessStatus {
                uid,
                limits: Some(v1::AppliedLimits {
                    values,
                    ..v1::AppliedLimits::default()
                }),
                ..v1::ProcessStatus::default()
            })
        };
        let order = |name: &str| named(COLUMNS, &[name])[0].order;
        let (a, b) = (with(1, Some(9)), with(2, None));
        assert_eq!(order("uid")(&a, &b), Ordering::Less);
        assert_eq!(
            order("memory-limit")(&a, &b),
            Ordering::Greater,
            "none is least"
        );
    }
}
