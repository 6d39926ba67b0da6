//! What is inside of processes: their tasks.

use std::io;

use prn_client::{ProcessId, ProcessUsage};
use serde::Serialize;

use super::alive::meaning;
use super::answers::table_text;
use super::column::{Column, named, table};
use super::lists::print_list;
use super::notices::notice;
use super::paint::Tone;
use super::shown::escaped;
use super::table::Cell;
use crate::output::format::{Format, FormatFlag};

/// A task of a process, as programs get it.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Task {
    /// The process that it is of.
    #[cfg_attr(test, schemars(with = "String"))]
    #[serde(serialize_with = "id")]
    pub id: ProcessId,
    /// Its name (proc_pid_comm(5)).
    pub name: String,
    /// Its state letter (proc_pid_stat(5)).
    pub state: String,
}

fn id<S: serde::Serializer>(id: &ProcessId, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(id)
}

const COLUMNS: &[Column<Task>] = &[
    Column {
        name: "id",
        header: "ID",
        cell: |task| {
            task.id
                .to_string()
                .chars()
                .take(12)
                .collect::<String>()
                .into()
        },
        order: |a, b| a.id.cmp(&b.id),
    },
    Column {
        name: "task",
        header: "TASK",
        cell: |task| escaped(&task.name).into(),
        order: |a, b| a.name.cmp(&b.name),
    },
    Column {
        name: "state",
        header: "STATE",
        cell: state,
        order: |a, b| a.state.cmp(&b.state),
    },
];

/// The letter, and what it stands for.
fn state(task: &Task) -> Cell {
    let tone = match task.state.as_str() {
        "R" => Some(Tone::Good),
        "D" => Some(Tone::Bad),
        "T" | "t" | "Z" => Some(Tone::Notable),
        "X" => Some(Tone::Past),
        _ => None,
    };
    let text = match meaning(&task.state) {
        Some(means) => format!("{} ({means})", task.state),
        None => escaped(&task.state),
    };
    Cell::new(text, tone)
}

/// Prints the tasks of processes, and of which not all are told.
pub fn tasks(usages: &[ProcessUsage], format: &FormatFlag) -> io::Result<()> {
    let tasks = usages.iter().flat_map(|usage| {
        usage.tasks.iter().map(|task| Task {
            id: usage.id,
            name: task.name.clone(),
            state: task.state.clone(),
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let columns: &[_] = match usages.len() {
        1 => &["task", "state"],
        _ => &["id", "task", "state"],
    };
    let shown = |all: &[Task]| table_text(&table(&named(COLUMNS, columns), all), format);
    print_list("tasks", &tasks, shown, |task| escaped(&task.name), format)?;
    if matches!(format.output, Format::Table | Format::Wide) {
        usages.iter().for_each(tell_untold);
    }
    Ok(())
}

fn tell_untold(usage: &ProcessUsage) {
    let told = u64::try_from(usage.tasks.len()).unwrap_or(u64::MAX);
    let there = usage.pids.unwrap_or(u64::from(usage.processes));
    if told == 0 && there == 0 {
        notice(&format!("process {} has ended", usage.id));
    } else if there > told {
        notice(&format!("{told} of {there} tasks of process {}", usage.id));
    }
}
