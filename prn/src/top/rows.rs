//! Which processes are shown, and in which order. Pure.

use std::cmp::Ordering;

use prn_client::{Process, State};

use super::history::History;
use super::host::Host;
use super::key::Key;
use crate::output::{Stats, show_labels, show_state};

/// What rows are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// CPU time: who takes most comes first.
    Cpu,
    /// Memory, the same.
    Memory,
    /// Bytes to and from disks, the same.
    Io,
    /// Age: the youngest first.
    Age,
    /// Name, and id of those without.
    Name,
}

/// A process as a row.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Which.
    pub key: Key,
    /// Its server.
    pub host: &'a Host,
    /// What is known of it.
    pub process: &'a Process,
    /// What it takes, if that is known.
    pub stats: Option<&'a Stats>,
    /// What it took of CPUs lately.
    pub history: Option<&'a History>,
}

/// Which rows are shown, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// By what they are sorted.
    pub sort: Sort,
    /// The other way round.
    pub is_reversed: bool,
    /// Those alone that have this in what is known of them.
    pub filter: String,
    /// Those that have ended as well.
    pub shows_finished: bool,
}

impl View {
    /// Sorts by this from now on; the other way round, if it did already.
    pub fn sort_by(&mut self, sort: Sort) {
        self.is_reversed = self.sort == sort && !self.is_reversed;
        self.sort = sort;
    }

    /// The rows of all servers.
    pub fn rows<'a>(&self, hosts: &'a [Host]) -> Vec<Row<'a>> {
        let filter = self.filter.to_lowercase();
        let all = hosts.iter().enumerate().flat_map(|(place, host)| {
            host.processes().map(move |process| Row {
                key: Key {
                    host: place,
                    id: process.id,
                },
                host,
                process,
                stats: host.stats(process.id),
                history: host.history(process.id),
            })
        });
        let mut rows: Vec<_> = all
            .filter(|row| self.shows_finished || row.is_running())
            .filter(|row| filter.is_empty() || row.has(&filter))
            .collect();
        rows.sort_by(|a, b| self.order(a, b));
        rows
    }

    fn order(&self, a: &Row<'_>, b: &Row<'_>) -> Ordering {
        let order = match self.sort {
            Sort::Cpu => most(a.cpu(), b.cpu()),
            Sort::Memory => most(a.memory(), b.memory()),
            Sort::Io => most(a.io(), b.io()),
            Sort::Age => most(a.process.status.started_at, b.process.status.started_at),
            Sort::Name => a.name().cmp(&b.name()),
        };
        let order = if self.is_reversed {
            order.reverse()
        } else {
            order
        };
        // What is equal stays where it is: by start, and by id in the end.
        let start = |row: &Row<'_>| (row.process.status.started_at, row.key);
        order.then_with(|| start(a).cmp(&start(b)))
    }
}

/// The larger one first; what is not known comes last.
fn most<T: PartialOrd>(a: Option<T>, b: Option<T>) -> Ordering {
    b.partial_cmp(&a).unwrap_or(Ordering::Equal)
}

impl Row<'_> {
    /// Whether its tree is alive.
    pub fn is_running(&self) -> bool {
        self.process.status.state == State::Running
    }

    /// What people call it; the beginning of its id, if they do not.
    pub fn name(&self) -> String {
        let name = self.process.status.name.clone();
        name.unwrap_or_else(|| short(&self.key))
    }

    /// CPU time lately, in percent of one CPU.
    pub fn cpu(&self) -> Option<f64> {
        self.stats?.cpu_percent
    }

    /// Memory in bytes.
    pub fn memory(&self) -> Option<u64> {
        self.stats?.usage.memory_bytes
    }

    /// Tasks; processes, where the kernel does not count tasks.
    pub fn tasks(&self) -> Option<u64> {
        let usage = &self.stats?.usage;
        Some(usage.pids.unwrap_or(u64::from(usage.processes)))
    }

    /// Bytes to and from disks a second.
    pub fn io(&self) -> Option<u64> {
        let stats = self.stats?;
        let (read, write) = (
            stats.io_read_bytes_per_second,
            stats.io_write_bytes_per_second,
        );
        if read.is_none() && write.is_none() {
            return None;
        }
        Some(
            read.unwrap_or_default()
                .saturating_add(write.unwrap_or_default()),
        )
    }

    /// Whether a text, in small letters, is in what people know it by.
    fn has(&self, text: &str) -> bool {
        let status = &self.process.status;
        let known = [
            status.name.clone().unwrap_or_default(),
            self.key.id.to_string(),
            status.command.clone(),
            self.host.name.clone(),
            show_labels(&status.labels),
            show_state(status),
        ];
        known
            .iter()
            .any(|known| known.to_lowercase().contains(text))
    }
}

/// The first digits of an id.
pub fn short(key: &Key) -> String {
    key.id.to_string().chars().take(12).collect()
}
