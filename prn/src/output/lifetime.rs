//! What `-o wide` says of a process's name, of how long it lives, of how it was stopped, and of what it
//! takes of the machine now.

use std::time::{Duration, SystemTime};

use prn_client::{Limits, ProcessStatus, ProcessUsage, Retention, StopStatus};
use prn_proto::units::{show_duration, show_size};

use super::alive::named_tasks;
use super::moments::local_precise;
use super::rows::Rows;
use super::shown::{escaped, show_cause};
use super::slowness::{reasons, throttled};

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
    rows.add("stopped by", stop.stopped_by.as_deref().map(escaped));
    rows.add("killed", stop.killed_at.map(local_precise));
    rows.add("outlived SIGTERM", named_tasks(&stop.outlived));
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
    let slow = reasons(usage, limits, throttled(usage, None));
    rows.add("may be slow", slow.join("; "));
    rows.finish()
}

fn memory(bytes: u64, limits: &Limits) -> String {
    match limits.memory_bytes {
        Some(most) => format!("{} of {}", show_size(bytes), show_size(most)),
        None => show_size(bytes),
    }
}
