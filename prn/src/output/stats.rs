//! What processes take of the machine, sample by sample.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, SystemTime};

use prn_client::{Pressure, Process, ProcessId, ProcessUsage, State, Usages};
use prn_proto::units::show_size;
use serde::Serialize;

use super::column::{Column, named, table};
use super::data::List;
use super::descriptor::{line, print};
use super::hosts::{OfHost, fitting, list_of_hosts, with_hosts};
use super::paint::{Palette, Tone};
use super::shown::{escaped, put};
use super::slowness::{self, float, is_full, is_notable, reasons, rounded, throttled};
use super::table::{Cell, Table};
use super::tables::columns;
use crate::output::format::{Format, FormatFlag};

/// What one process takes, as programs get it.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Stats {
    /// When the reading of it began, by the server's clock.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    #[serde(serialize_with = "super::moments::rfc3339")]
    pub sampled_at: Option<SystemTime>,
    /// Its name.
    pub name: Option<String>,
    /// Its command, for display.
    pub command: Option<String>,
    /// Its tree is alive.
    pub running: bool,
    /// CPU time since the sample before, in percent of one CPU.
    pub cpu_percent: Option<f64>,
    /// Part of the scheduler's periods since then in which the CPU limit held it back.
    pub throttled_percent: Option<f64>,
    /// Its memory limit.
    pub memory_limit_bytes: Option<u64>,
    /// Part of it that it takes.
    pub memory_percent: Option<f64>,
    /// Bytes read from disks a second since the sample before.
    pub io_read_bytes_per_second: Option<u64>,
    /// Bytes written.
    pub io_write_bytes_per_second: Option<u64>,
    /// Why it is slow, a sentence each.
    pub slow: Vec<String>,
    /// What the kernel has counted of it.
    #[serde(flatten)]
    pub usage: ProcessUsage,
}

/// What was read at one time.
#[derive(Debug)]
pub struct Sample {
    usages: BTreeMap<ProcessId, ProcessUsage>,
    order: Vec<ProcessId>,
    at: Option<SystemTime>,
}

impl Sample {
    /// What the server answered.
    pub fn new(usages: Usages) -> Self {
        let order = usages.usages.iter().map(|usage| usage.id).collect();
        let usages_of = usages.usages.into_iter().map(|usage| (usage.id, usage));
        Self {
            usages: usages_of.collect(),
            order,
            at: usages.sampled_at,
        }
    }

    /// What each takes since the sample before.
    pub fn since(&self, before: &Self, processes: &[Process]) -> Vec<Stats> {
        let known: BTreeMap<_, _> = processes
            .iter()
            .map(|process| (process.id, process))
            .collect();
        let span = self.at.zip(before.at);
        let span = span.and_then(|(now, then)| now.duration_since(then).ok());
        let each = self.order.iter().filter_map(|id| {
            let usage = self.usages.get(id)?;
            let then = before
                .usages
                .get(id)
                .zip(span.filter(|span| !span.is_zero()));
            let mut stats = stats_of(usage, then, known.get(id).copied());
            stats.sampled_at = self.at;
            Some(stats)
        });
        each.collect()
    }
}

fn stats_of(
    usage: &ProcessUsage,
    then: Option<(&ProcessUsage, Duration)>,
    process: Option<&Process>,
) -> Stats {
    let status = process.map(|process| &process.status);
    let running = status.is_some_and(|status| status.state == State::Running);
    let then = then.filter(|_| running);
    let rate = |of: fn(&ProcessUsage) -> Option<u64>| {
        let (before, span) = then?;
        let more = of(usage)?.checked_sub(of(before)?)?;
        Some(per_second(more, span))
    };
    let limits = status.map(|status| status.limits.values);
    let limits = limits.unwrap_or_default();
    let throttled_percent = then.and_then(|(before, _)| throttled(usage, Some(before)));
    let slow = if running {
        reasons(usage, &limits, throttled_percent)
    } else {
        Vec::new()
    };
    Stats {
        sampled_at: None,
        name: status.and_then(|status| status.name.clone()),
        command: status.map(|status| status.command.clone()),
        running,
        cpu_percent: rate(cpu_micros)
            .map(|micros| micros / 10_000.0)
            .map(rounded),
        throttled_percent,
        memory_limit_bytes: limits.memory_bytes,
        memory_percent: slowness::memory(usage, &limits),
        io_read_bytes_per_second: rate(|usage| usage.usage?.io_read_bytes).map(whole),
        io_write_bytes_per_second: rate(|usage| usage.usage?.io_write_bytes).map(whole),
        slow,
        usage: usage.clone(),
    }
}

fn cpu_micros(usage: &ProcessUsage) -> Option<u64> {
    let usage = usage.usage?;
    u64::try_from((usage.cpu_user + usage.cpu_system).as_micros()).ok()
}

fn per_second(count: u64, span: Duration) -> f64 {
    float(count) / span.as_secs_f64()
}

#[expect(
    clippy::as_conversions,
    reason = "a rate of bytes: at least 0, and cut to what there is"
)]
fn whole(rate: f64) -> u64 {
    rate as u64
}

/// All columns, in the order in which help names them.
pub const COLUMNS: &[Column<Stats>] = &[
    Column {
        name: "id",
        header: "ID",
        cell: |stats| stats.usage.id.to_string().into(),
        order: |a, b| a.usage.id.cmp(&b.usage.id),
    },
    Column {
        name: "short-id",
        header: "ID",
        cell: |stats| short(stats.usage.id).into(),
        order: |a, b| a.usage.id.cmp(&b.usage.id),
    },
    Column {
        name: "name",
        header: "NAME",
        cell: |stats| escaped(stats.name.as_deref().unwrap_or_default()).into(),
        order: |a, b| a.name.cmp(&b.name),
    },
    Column {
        name: "cpu",
        header: "CPU %",
        cell: |stats| percentage(stats.cpu_percent),
        order: |a, b| by(a.cpu_percent, b.cpu_percent),
    },
    Column {
        name: "memory",
        header: "MEMORY / LIMIT",
        cell: memory,
        order: |a, b| a.usage.memory_bytes.cmp(&b.usage.memory_bytes),
    },
    Column {
        name: "memory-percent",
        header: "MEM %",
        cell: |stats| percentage(stats.memory_percent),
        order: |a, b| by(a.memory_percent, b.memory_percent),
    },
    Column {
        name: "read",
        header: "READ/s",
        cell: |stats| size(stats.io_read_bytes_per_second),
        order: |a, b| a.io_read_bytes_per_second.cmp(&b.io_read_bytes_per_second),
    },
    Column {
        name: "write",
        header: "WRITE/s",
        cell: |stats| size(stats.io_write_bytes_per_second),
        order: |a, b| {
            a.io_write_bytes_per_second
                .cmp(&b.io_write_bytes_per_second)
        },
    },
    Column {
        name: "tasks",
        header: "TASKS",
        cell: |stats| {
            stats
                .usage
                .pids
                .map(|pids| pids.to_string())
                .unwrap_or_else(dash)
                .into()
        },
        order: |a, b| a.usage.pids.cmp(&b.usage.pids),
    },
    Column {
        name: "throttled",
        header: "HELD %",
        cell: |stats| notable(stats.throttled_percent),
        order: |a, b| by(a.throttled_percent, b.throttled_percent),
    },
    Column {
        name: "cpu-pressure",
        header: "CPU WAIT %",
        cell: |stats| notable(some(stats.usage.cpu_pressure)),
        order: |a, b| by(some(a.usage.cpu_pressure), some(b.usage.cpu_pressure)),
    },
    Column {
        name: "memory-pressure",
        header: "MEM WAIT %",
        cell: |stats| notable(some(stats.usage.memory_pressure)),
        order: |a, b| by(some(a.usage.memory_pressure), some(b.usage.memory_pressure)),
    },
    Column {
        name: "io-pressure",
        header: "IO WAIT %",
        cell: |stats| notable(some(stats.usage.io_pressure)),
        order: |a, b| by(some(a.usage.io_pressure), some(b.usage.io_pressure)),
    },
    Column {
        name: "command",
        header: "COMMAND",
        cell: |stats| escaped(stats.command.as_deref().unwrap_or_default()).into(),
        order: |a, b| a.command.cmp(&b.command),
    },
];

fn by(a: Option<f64>, b: Option<f64>) -> Ordering {
    a.partial_cmp(&b).unwrap_or(Ordering::Equal)
}

fn short(id: ProcessId) -> String {
    id.to_string().chars().take(12).collect()
}

fn dash() -> String {
    "-".to_owned()
}

fn percentage(percent: Option<f64>) -> Cell {
    percent
        .map_or_else(dash, |percent| format!("{percent:.1}"))
        .into()
}

/// A part of the time in which it stood still.
fn notable(percent: Option<f64>) -> Cell {
    let tone = percent
        .filter(|percent| is_notable(*percent))
        .map(|_| Tone::Bad);
    Cell::new(
        percent.map_or_else(dash, |percent| format!("{percent:.1}")),
        tone,
    )
}

fn some(pressure: Option<Pressure>) -> Option<f64> {
    pressure.map(|pressure| pressure.some_avg10)
}

fn size(bytes: Option<u64>) -> Cell {
    bytes.map_or_else(dash, show_size).into()
}

fn memory(stats: &Stats) -> Cell {
    let used = stats.usage.memory_bytes.map_or_else(dash, show_size);
    let limit = stats.memory_limit_bytes.map_or_else(dash, show_size);
    let tone = stats.memory_percent.filter(|percent| is_full(*percent));
    Cell::new(format!("{used} / {limit}"), tone.map(|_| Tone::Bad))
}

fn stats_table(stats: &[Stats], format: &Format) -> Table {
    let usual = [
        "short-id",
        "name",
        "cpu",
        "memory",
        "memory-percent",
        "read",
        "write",
        "tasks",
        "throttled",
    ];
    if *format == Format::Wide {
        let all = COLUMNS.iter().filter(|column| column.name != "short-id");
        return table(&all.collect::<Vec<_>>(), stats);
    }
    let has_name = stats.iter().any(|stats| stats.name.is_some());
    let usual: Vec<_> = usual
        .into_iter()
        .filter(|name| has_name || *name != "name")
        .collect();
    table(&named(COLUMNS, &usual), stats)
}

/// Why which of them are slow, a line each.
fn slow_lines(stats: &[Stats]) -> String {
    let mut lines = String::new();
    for stats in stats {
        let who = stats
            .name
            .as_deref()
            .map_or_else(|| short(stats.usage.id), escaped);
        for reason in &stats.slow {
            put(&mut lines, format_args!("\n{who}: {reason}"));
        }
    }
    lines
}

/// A sample as a table, and why which of them are slow.
pub fn stats_text(stats: &[Stats], format: &FormatFlag) -> String {
    let table = stats_table(stats, &format.output);
    let table = table.render(columns(), Palette::new(format.color));
    format!("{table}{}", slow_lines(stats))
}

/// The same of several servers, and lines below it.
pub fn stats_of_hosts_text(all: &[OfHost<Stats>], below: &[String], format: &FormatFlag) -> String {
    let stats: Vec<_> = all.iter().map(|of| of.value.clone()).collect();
    let table = with_hosts(stats_table(&stats, &format.output), all);
    let table = table.render(columns(), Palette::new(format.color));
    let slow = all.iter().flat_map(|of| {
        slow_lines(std::slice::from_ref(&of.value))
            .lines()
            .filter(|line| !line.is_empty())
            .map(|line| format!("{} {line}", of.host))
            .collect::<Vec<_>>()
    });
    let lines: Vec<_> = slow.chain(below.iter().cloned()).collect();
    format!("{table}{}", fitting(&lines))
}

/// Prints one sample of processes on several servers. As names: server and id, one a line.
pub fn stats_of_hosts(all: &[OfHost<Stats>], format: &FormatFlag) -> io::Result<()> {
    if matches!(format.output, Format::Table | Format::Wide) {
        return line(&stats_of_hosts_text(all, &[], format));
    }
    let table = |stats: &[Stats]| stats_table(stats, &format.output);
    let name = |stats: &Stats| stats.usage.id.to_string();
    list_of_hosts("stats", all, table, name, format)
}

/// Prints one sample of several processes.
pub fn stats(stats: &[Stats], format: &FormatFlag) -> io::Result<()> {
    match format.output {
        Format::Table | Format::Wide => line(&stats_text(stats, format)),
        Format::Name => {
            let ids = stats.iter().map(|stats| format!("{}\n", stats.usage.id));
            print(&ids.collect::<String>())
        }
        Format::Json | Format::JsonLines | Format::Yaml | Format::Template(_) => {
            let mut list = List::new("stats", &format.output);
            list.add(stats)?;
            list.end()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::lifetime::usage_rows;
    use prn_proto::v1;

    fn id() -> Option<v1::ProcessIdentifier> {
        let id = "fcd2310e7b9a462a5d88c3a0ff4e2d9b".to_owned();
        Some(v1::ProcessIdentifier { id })
    }

    fn process(state: v1::ProcessState) -> Process {
        let values = Some(v1::Limits {
            memory_bytes: Some(1000),
            ..v1::Limits::default()
        });
        let status = v1::ProcessStatus {
            state: state.into(),
            limits: Some(v1::AppliedLimits {
                values,
                ..v1::AppliedLimits::default()
            }),
            ..v1::ProcessStatus::default()
        };
        Process::try_from(v1::Process {
            id: id(),
            status: Some(status),
        })
        .unwrap()
    }

    fn usage(seconds: u64, bytes: u64, throttled: u64, periods: u64) -> ProcessUsage {
        let usage = v1::Usage {
            cpu_user_usec: seconds * 1_000_000,
            io_read_bytes: Some(bytes),
            ..v1::Usage::default()
        };
        ProcessUsage::try_from(v1::ProcessUsage {
            id: id(),
            usage: Some(usage),
            memory_bytes: Some(500),
            cpu_throttled_periods: Some(throttled),
            cpu_periods: Some(periods),
            ..v1::ProcessUsage::default()
        })
        .unwrap()
    }

    #[test]
    fn rates_are_what_was_added_in_the_time_between() {
        let (before, now) = (usage(1, 100, 10, 20), usage(4, 2100, 15, 40));
        let running = process(v1::ProcessState::Running);
        let then = Some((&before, Duration::from_secs(2)));
        let stats = stats_of(&now, then, Some(&running));
        assert_eq!(stats.cpu_percent, Some(150.0), "of one CPU");
        assert_eq!(stats.io_read_bytes_per_second, Some(1000));
        assert_eq!(stats.io_write_bytes_per_second, None, "not counted");
        assert_eq!(stats.throttled_percent, Some(25.0));
        assert_eq!(stats.memory_percent, Some(50.0));
        assert_eq!(stats.slow.len(), 1);

        let first = stats_of(&now, None, Some(&running));
        assert_eq!((first.cpu_percent, first.throttled_percent), (None, None));
        let idle = stats_of(&now, Some((&now, Duration::from_secs(1))), Some(&running));
        assert_eq!(
            (idle.cpu_percent, idle.throttled_percent),
            (Some(0.0), Some(0.0))
        );
        let ended = process(v1::ProcessState::Stopped);
        let ended = stats_of(&now, then, Some(&ended));
        assert!(!ended.running && ended.cpu_percent.is_none() && ended.slow.is_empty());
    }

    #[test]
    fn status_says_the_same_reasons() {
        let running = process(v1::ProcessState::Running);
        let limits = running.status.limits.values;
        let new = usage(0, 0, 0, 0);
        for (memory_bytes, throttled, count) in [(500, 0, 0), (920, 10, 0), (990, 11, 2)] {
            let mut now = usage(1, 1, throttled, 100);
            now.memory_bytes = Some(memory_bytes);
            let then = Some((&new, Duration::from_secs(1)));
            let slow = stats_of(&now, then, Some(&running)).slow;
            assert_eq!(slow.len(), count, "{slow:?}");
            let rows = usage_rows(&now, &limits);
            let row = rows.lines().find_map(|row| row.strip_prefix("may be slow"));
            assert_eq!(row.unwrap_or_default().trim(), slow.join("; "));
        }
    }

    #[test]
    fn a_row_has_what_is_known_and_says_of_the_rest_that_it_is_not() {
        let running = process(v1::ProcessState::Running);
        let stats = [stats_of(&usage(1, 1, 0, 0), None, Some(&running))];
        let shown = stats_table(&stats, &Format::Table).plain(None);
        assert!(shown.contains("| fcd2310e7b9a | -     |"), "{shown}");
        assert!(
            shown.contains("500 B / 1000 B") || shown.contains("500 / 1000"),
            "{shown}"
        );
        let wide = stats_table(&stats, &Format::Wide).plain(None);
        assert!(wide.contains("IO WAIT %"), "{wide}");
    }
}
