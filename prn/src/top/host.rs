//! What is known of one server: its processes, what they take, and whether it is there. Pure.

use std::collections::BTreeMap;

use prn_client::{Change, Process, ProcessId, State, Usages};

use super::history::History;
use crate::lasting::known::Known;
use crate::output::{Sample, Stats};

/// Whether a server is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// It was not reached yet.
    Connecting,
    /// It tells of its processes.
    Connected,
    /// It does not, for this reason. It is tried again.
    Lost(String),
}

/// One server.
#[derive(Debug)]
pub struct Host {
    /// What it is called.
    pub name: String,
    /// Whether it is there.
    pub link: Link,
    known: Known,
    sample: Option<Sample>,
    stats: BTreeMap<ProcessId, Stats>,
    histories: BTreeMap<ProcessId, History>,
}

impl Host {
    /// One of which nothing is known yet.
    pub fn new(name: String) -> Self {
        Self {
            name,
            link: Link::Connecting,
            known: Known::default(),
            sample: None,
            stats: BTreeMap::new(),
            histories: BTreeMap::new(),
        }
    }

    /// Something is so, or has changed.
    pub fn change(&mut self, change: Change) {
        match &change {
            Change::Restarted => self.forget_samples(),
            Change::Process(_) | Change::Removed(_) | Change::Reset | Change::Synchronized => {}
        }
        self.known.take(change);
    }

    /// What those that run take.
    pub fn usages(&mut self, usages: Usages) {
        let running = |process: &&Process| process.status.state == State::Running;
        let running: Vec<_> = self.known.all().filter(running).cloned().collect();
        let now = Sample::new(usages);
        let before = self.sample.as_ref().unwrap_or(&now);
        let stats = now.since(before, &running).into_iter();
        self.stats = stats
            .filter(|stats| stats.running)
            .map(|stats| (stats.usage.id, stats))
            .collect();
        self.sample = Some(now);
        self.histories.retain(|id, _| self.stats.contains_key(id));
        for (id, stats) in &self.stats {
            if let Some(percent) = stats.cpu_percent {
                self.histories.entry(*id).or_default().push(percent);
            }
        }
    }

    /// It is there.
    pub fn connected(&mut self, name: Option<String>) {
        self.link = Link::Connected;
        if let Some(name) = name {
            self.name = name;
        }
    }

    /// It is not there any more: what its processes take is not known.
    pub fn lost(&mut self, why: String) {
        self.link = Link::Lost(why);
        self.forget_samples();
    }

    fn forget_samples(&mut self) {
        self.sample = None;
        self.stats.clear();
        self.histories.clear();
    }

    /// Its processes.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.known.all()
    }

    /// One of them.
    pub fn process(&self, id: ProcessId) -> Option<&Process> {
        self.known.get(id)
    }

    /// What one that runs takes.
    pub fn stats(&self, id: ProcessId) -> Option<&Stats> {
        self.stats.get(&id)
    }

    /// What one that runs took of CPUs lately.
    pub fn history(&self, id: ProcessId) -> Option<&History> {
        self.histories.get(&id)
    }
}
