//! What processes take of the server's machine, as metrics. Pure.
//!
//! Each has its id and its name for labels, and of its own labels those that were asked for: what a
//! client may write into a label does not become a name of anything here.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prn_client::{Pressure, Process, ProcessId, ProcessUsage, Usages};
use prn_proto::metrics::{family, number, sample};
use prn_proto::v1::MetricFamily;
use prn_proto::v1::metric_family::Kind::{self, Counter, Gauge};

/// The labels of each process.
pub struct Series {
    labels: BTreeMap<ProcessId, Vec<(String, String)>>,
    started: BTreeMap<ProcessId, SystemTime>,
}

/// A family of one value for each process.
type Single = (
    Kind,
    &'static str,
    &'static str,
    &'static str,
    fn(&ProcessUsage) -> Option<f64>,
);

/// All of these. What the kernel does not count there has no value.
const SINGLES: [Single; 10] = [
    (
        Counter,
        "prn_process_cpu_seconds",
        "seconds",
        "CPU time that the process and what it started have taken.",
        |of| {
            let usage = of.usage.as_ref()?;
            Some((usage.cpu_user + usage.cpu_system).as_secs_f64())
        },
    ),
    (
        Counter,
        "prn_process_cpu_throttled_seconds",
        "seconds",
        "Time for which the CPU limit has held it back.",
        |of| Some(of.usage.as_ref()?.cpu_throttled.as_secs_f64()),
    ),
    (
        Gauge,
        "prn_process_memory_bytes",
        "bytes",
        "Memory that it has now.",
        |of| of.memory_bytes.map(number),
    ),
    (
        Gauge,
        "prn_process_memory_peak_bytes",
        "bytes",
        "Most memory that it has had.",
        |of| of.usage.as_ref()?.memory_peak_bytes.map(number),
    ),
    (
        Counter,
        "prn_process_memory_limit_hits",
        "",
        "How often it was held back at its memory limit.",
        |of| of.memory_limit_hits.map(number),
    ),
    (
        Counter,
        "prn_process_oom_kills",
        "",
        "How often the kernel has killed a process of it for memory.",
        |of| of.oom_kills.map(number),
    ),
    (
        Counter,
        "prn_process_io_read_bytes",
        "bytes",
        "Read from disks.",
        |of| of.usage.as_ref()?.io_read_bytes.map(number),
    ),
    (
        Counter,
        "prn_process_io_written_bytes",
        "bytes",
        "Written to disks.",
        |of| of.usage.as_ref()?.io_write_bytes.map(number),
    ),
    (
        Gauge,
        "prn_process_tasks",
        "",
        "Processes and threads of it now.",
        |of| of.pids.map(number),
    ),
    (
        Gauge,
        "prn_process_tree_processes",
        "",
        "Processes of it now.",
        |of| Some(f64::from(of.processes)),
    ),
];

impl Series {
    /// Of these, with the labels of these keys.
    pub fn new(processes: &[Process], label_keys: &[String]) -> Self {
        let names: Vec<_> = label_keys.iter().map(|key| label_name(key)).collect();
        let labels = processes.iter().map(|process| {
            let name = process.status.name.clone().unwrap_or_default();
            let mut labels = vec![
                ("id".to_owned(), process.id.to_string()),
                ("name".to_owned(), name),
            ];
            for (key, name) in label_keys.iter().zip(&names) {
                let value = process.status.labels.get(key);
                labels.extend(value.map(|value| (name.clone(), value.clone())));
            }
            (process.id, labels)
        });
        let started = processes
            .iter()
            .filter_map(|process| Some((process.id, process.status.started_at?)));
        Self {
            labels: labels.collect(),
            started: started.collect(),
        }
    }

    /// What they take.
    pub fn families(&self, usages: Option<&Usages>) -> Vec<MetricFamily> {
        let usages = usages.map_or(&[][..], |usages| &usages.usages);
        let known: Vec<_> = usages
            .iter()
            .filter_map(|usage| Some((usage, self.labels.get(&usage.id)?)))
            .collect();
        let mut families = Vec::new();
        for (kind, name, unit, help, value) in SINGLES {
            let mut family = family(kind, name, unit, help);
            for (usage, labels) in &known {
                if let Some(value) = value(usage) {
                    family.samples.push(sample(&pairs(labels, &[]), value));
                }
            }
            families.push(family);
        }
        families.push(self.starts());
        families.push(pressures(&known));
        families.retain(|family| !family.samples.is_empty());
        families
    }

    fn starts(&self) -> MetricFamily {
        let help = "When it has started, in seconds since the Unix epoch.";
        let mut family = family(Gauge, "prn_process_start_time_seconds", "seconds", help);
        for (id, started) in &self.started {
            let since = started.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
            let labels = self.labels.get(id).map(|labels| pairs(labels, &[]));
            let labels = labels.unwrap_or_default();
            family.samples.push(sample(&labels, since.as_secs_f64()));
        }
        family
    }
}

/// How long they have waited, for what.
fn pressures(known: &[(&ProcessUsage, &Vec<(String, String)>)]) -> MetricFamily {
    let help = "Time for which some or all of its tasks have waited for a resource (pressure stall information).";
    let mut family = family(Counter, "prn_process_pressure_seconds", "seconds", help);
    for (usage, labels) in known {
        let resources: [(&str, Option<Pressure>); 3] = [
            ("cpu", usage.cpu_pressure),
            ("io", usage.io_pressure),
            ("memory", usage.memory_pressure),
        ];
        for (resource, pressure) in resources {
            let Some(pressure) = pressure else { continue };
            let shares = [
                ("some", pressure.some_total_usec),
                ("full", pressure.full_total_usec),
            ];
            for (share, usec) in shares {
                let more = [("resource", resource), ("share", share)];
                let seconds = Duration::from_micros(usec).as_secs_f64();
                family.samples.push(sample(&pairs(labels, &more), seconds));
            }
        }
    }
    family
}

fn pairs<'a>(
    labels: &'a [(String, String)],
    more: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    let own = labels.iter();
    own.map(|(name, value)| (name.as_str(), value.as_str()))
        .chain(more.iter().copied())
        .collect()
}

/// What the label of this key is called: Prometheus' labels have letters, digits and `_`.
fn label_name(key: &str) -> String {
    let key = key.chars();
    let key: String = key
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    format!("label_{key}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_becomes_a_name_that_prometheus_takes() {
        assert_eq!(label_name("app.example/tier-1"), "label_app_example_tier_1");
        assert_eq!(label_name("é"), "label__");
    }
}
