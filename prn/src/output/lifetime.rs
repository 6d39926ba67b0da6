//! What `-o wide` says of a process's name, of how long it lives, of how it was stopped, and of what it
//! takes of the machine now.

use std::time::{Duration, SystemTime};

use prn_client::{Limits, Pressure, ProcessStatus, ProcessUsage, Retention, StopStatus, StuckTask};
use prn_proto::units::{show_duration, show_size};

use super::moments::local_precise;
use super::rows::Rows;
use super::shown::{escaped, show_cause};

/// From so much of its limit on a process is short of memory, in hundredths.
const NEAR_LIMIT: u64 = 90;

/// From so much of its time on a process is held up by something, in hundredths.
const HELD_UP: f64 = 10.0;

/// Its name and labels.
pub fn add_names(rows: &mut Rows, status: &ProcessStatus) {
    rows.add("name", status.name.as_deref().map(escaped));
    let labels = status.labels.iter();
    let labels: Vec<_> = labels
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    rows.add("labels", escaped(&labels.join(", ")));
}

/// How long it lives, and is remembered.
pub fn add_lifetime(rows: &mut Rows, status: &ProcessStatus, now: SystemTime) {
    if status.paused {
        rows.add("paused", "until `prn resume`".to_owned());
    }
    rows.add("timeout", status.timeout.map(show_duration));
    rows.add(
        "deadline",
        status.deadline.map(|at| show_time_left(at, now)),
    );
    if let Some(lease) = &status.lease {
        let duration = lease.duration.map(show_duration).unwrap_or_default();
        let left = match lease.expires_at {
            Some(at) => format!("{duration}, ends {}", show_time_left(at, now)),
            None if status.ended_at.is_some() => duration,
            None => format!("{duration}, kept by whoever follows it"),
        };
        rows.add("lease", left);
    }
    if status.linger {
        rows.add("lingers", "what it started lives on after it".to_owned());
    }
    rows.add("remembered", status.retention.and_then(show_retention));
    if let Some(stop) = &status.stop {
        add_stop(rows, stop);
    }
}

fn show_time_left(at: SystemTime, now: SystemTime) -> String {
    let left = at.duration_since(now).ok().filter(|left| !left.is_zero());
    match left {
        Some(left) => format!(
            "{}, in {}",
            local_precise(at),
            show_duration(Duration::from_secs(left.as_secs()))
        ),
        None => local_precise(at),
    }
}

fn show_retention(retention: Retention) -> Option<String> {
    if retention.keep {
        return Some("until it is removed".to_owned());
    }
    let age = retention
        .max_age
        .map(|age| format!("for {}", show_duration(age)));
    let read = (retention.until_read).then(|| "until its output was read".to_owned());
    let parts: Vec<_> = [age, read].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// A stop's timeline.
fn add_stop(rows: &mut Rows, stop: &StopStatus) {
    let why = show_cause(stop.cause);
    rows.add(
        "stopped",
        stop.asked_at
            .map(|at| format!("{}, {why}", local_precise(at))),
    );
    rows.add("killed", stop.killed_at.map(local_precise));
    rows.add("outlived SIGTERM", tasks(&stop.outlived));
}

fn tasks(tasks: &[StuckTask]) -> String {
    let names: Vec<_> = tasks
        .iter()
        .map(|task| format!("{} ({})", task.name, task.state))
        .collect();
    escaped(&names.join(", "))
}

/// What a process takes of the machine now, and what may make it slow. Nothing of one that has ended.
pub fn usage_rows(usage: &ProcessUsage, limits: &Limits) -> String {
    let mut rows = Rows::default();
    if usage.memory_bytes.is_none() && usage.pids.is_none() {
        return rows.finish();
    }
    if let Some(used) = &usage.usage {
        let cpu = used.cpu_user.saturating_add(used.cpu_system);
        rows.add("cpu time", show_duration(cpu));
        rows.add("disk read", used.io_read_bytes.map(show_size));
        rows.add("disk written", used.io_write_bytes.map(show_size));
    }
    rows.add(
        "memory now",
        usage.memory_bytes.map(|bytes| memory(bytes, limits)),
    );
    rows.add(
        "tasks now",
        usage.pids.map(|pids| match limits.pids {
            Some(most) => format!("{pids} of {most}"),
            None => pids.to_string(),
        }),
    );
    rows.add("processes now", usage.processes.to_string());
    let pressures = [
        ("cpu", usage.cpu_pressure),
        ("memory", usage.memory_pressure),
        ("disk", usage.io_pressure),
    ];
    let waits: Vec<_> = pressures
        .iter()
        .filter_map(|(what, pressure)| {
            let part = pressure.as_ref()?.some_avg10;
            Some(format!("{what} {part:.0}%"))
        })
        .collect();
    rows.add("waits (10s)", waits.join(", "));
    rows.add("may be slow", slow(usage, limits).join("; "));
    rows.finish()
}

fn memory(bytes: u64, limits: &Limits) -> String {
    match limits.memory_bytes {
        Some(most) => format!("{} of {}", show_size(bytes), show_size(most)),
        None => show_size(bytes),
    }
}

/// Why it may be slow.
fn slow(usage: &ProcessUsage, limits: &Limits) -> Vec<String> {
    let mut why = Vec::new();
    if let (Some(held), Some(all)) = (usage.cpu_throttled_periods, usage.cpu_periods)
        && let Some(part) = held.saturating_mul(100).checked_div(all)
        && part >= 10
    {
        why.push(format!(
            "its CPU limit held it back in {part}% of all periods"
        ));
    }
    if let (Some(bytes), Some(most)) = (usage.memory_bytes, limits.memory_bytes)
        && bytes.saturating_mul(100) >= most.saturating_mul(NEAR_LIMIT)
    {
        why.push("its memory is at its limit".to_owned());
    }
    if let (Some(pids), Some(most)) = (usage.pids, limits.pids)
        && pids >= most
    {
        why.push("it has as many tasks as it may".to_owned());
    }
    if let Some(kills) = usage.oom_kills.filter(|kills| *kills > 0) {
        why.push(format!("{kills} of its processes were killed for memory"));
    }
    let waits =
        |pressure: Option<Pressure>| pressure.is_some_and(|part| part.some_avg10 >= HELD_UP);
    for (pressure, what) in [
        (usage.cpu_pressure, "a CPU"),
        (usage.memory_pressure, "memory"),
        (usage.io_pressure, "the disk"),
    ] {
        if waits(pressure) {
            why.push(format!("it waits for {what}"));
        }
    }
    why
}
