//! Hosts of fleets, on standard output.

use std::collections::BTreeMap;
use std::io;
use std::time::SystemTime;

use prn_fleet::{KnownHost, v1};
use prn_proto::units::show_size;
use schemars::JsonSchema;
use serde::Serialize;

use super::answers::table_text;
use super::column::{Column, named, table};
use super::lists::print_list;
use super::moments::rfc3339;
use super::paint::Tone;
use super::shown::escaped;
use super::table::Cell;
use crate::output::format::{Format, FormatFlag};

/// A host, as programs get it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct FleetHost {
    /// Its name.
    pub name: String,
    /// How things are: ready, draining, no-server, away; unknown where no agent announces it.
    pub state: &'static str,
    /// Where clients reach its server.
    pub address: Option<String>,
    /// What jobs are placed by.
    pub labels: BTreeMap<String, String>,
    /// What it has for jobs.
    pub capacity: Option<Resources>,
    /// What is left of that.
    pub free: Option<Resources>,
    /// The run of its server.
    pub boot_epoch: Option<String>,
    /// The agent's version.
    pub version: Option<String>,
    /// Since when it is announced.
    #[serde(serialize_with = "rfc3339")]
    #[schemars(with = "Option<String>")]
    pub since: Option<SystemTime>,
    /// An operator's wish that it takes no more jobs.
    pub drain: Option<Drain>,
}

/// What a host has, and what a job needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Resources {
    /// Processes.
    pub processes: u32,
    /// Bytes.
    pub memory_bytes: u64,
    /// Thousandths of a CPU.
    pub cpu_millis: u64,
}

/// An operator's wish that a host takes no more jobs.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Drain {
    /// Who wants it.
    pub who: String,
    /// Why.
    pub why: String,
    /// Since when.
    #[serde(serialize_with = "rfc3339")]
    #[schemars(with = "Option<String>")]
    pub since: Option<SystemTime>,
}

impl From<v1::Resources> for Resources {
    fn from(resources: v1::Resources) -> Self {
        Self {
            processes: resources.processes,
            memory_bytes: resources.memory_bytes,
            cpu_millis: resources.cpu_millis,
        }
    }
}

/// A text, if it says anything.
pub fn said(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

impl FleetHost {
    /// Of what the store has.
    pub fn of(known: &KnownHost) -> Self {
        let host = known.host.as_ref();
        let drain = known.drain.as_ref().map(|drain| Drain {
            who: drain.who.clone(),
            why: drain.why.clone(),
            since: drain.since.and_then(|time| time.try_into().ok()),
        });
        Self {
            name: known.name.clone(),
            state: host.map_or("unknown", |host| state_of_host(host.state())),
            address: host.and_then(|host| said(&host.address)),
            labels: host
                .map(|host| host.labels.clone().into_iter().collect())
                .unwrap_or_default(),
            capacity: host.and_then(|host| host.capacity).map(Into::into),
            free: host.and_then(|host| host.free).map(Into::into),
            boot_epoch: host.and_then(|host| said(&host.boot_epoch)),
            version: host.and_then(|host| said(&host.version)),
            since: host.and_then(|host| host.since?.try_into().ok()),
            drain,
        }
    }

    fn tone(&self) -> Tone {
        match self.state {
            "ready" => Tone::Good,
            "draining" | "away" => Tone::Notable,
            _ => Tone::Bad,
        }
    }

    /// "2/8": what is left and what there is.
    fn room(&self, part: fn(&Resources) -> String) -> String {
        match (&self.free, &self.capacity) {
            (Some(free), Some(capacity)) => format!("{} of {}", part(free), part(capacity)),
            (_, Some(capacity)) => part(capacity),
            (_, None) => String::new(),
        }
    }
}

/// A host's state in one word.
pub fn state_of_host(state: v1::host::State) -> &'static str {
    match state {
        v1::host::State::Unspecified => "unknown",
        v1::host::State::Ready => "ready",
        v1::host::State::Draining => "draining",
        v1::host::State::NoServer => "no-server",
        v1::host::State::Away => "away",
    }
}

/// Prints the hosts of a fleet.
pub fn fleet_hosts(hosts: &[FleetHost], format: &FormatFlag) -> io::Result<()> {
    let shown = |all: &[FleetHost]| fleet_hosts_text(all, format);
    let name = |host: &FleetHost| escaped(&host.name);
    print_list("hosts", hosts, shown, name, format)
}

/// The same as text for people.
pub fn fleet_hosts_text(hosts: &[FleetHost], format: &FormatFlag) -> String {
    let columns = if format.output == Format::Wide {
        HOST_COLUMNS.iter().collect()
    } else {
        let usual = ["name", "state", "free", "memory", "labels", "drained"];
        named(HOST_COLUMNS, &usual)
    };
    table_text(&table(&columns, hosts), format)
}

const HOST_COLUMNS: &[Column<FleetHost>] = &[
    Column {
        name: "name",
        header: "NAME",
        cell: |host| escaped(&host.name).into(),
        order: |a, b| a.name.cmp(&b.name),
    },
    Column {
        name: "state",
        header: "STATE",
        cell: |host| Cell::new(host.state.to_owned(), host.tone()),
        order: |a, b| a.state.cmp(b.state),
    },
    Column {
        name: "free",
        header: "FREE",
        cell: |host| host.room(|part| part.processes.to_string()).into(),
        order: |a, b| a.name.cmp(&b.name),
    },
    Column {
        name: "memory",
        header: "MEMORY",
        cell: |host| host.room(|part| show_size(part.memory_bytes)).into(),
        order: |a, b| a.name.cmp(&b.name),
    },
    Column {
        name: "cpus",
        header: "CPUS",
        cell: |host| host.room(|part| cpus(part.cpu_millis)).into(),
        order: |a, b| a.name.cmp(&b.name),
    },
    Column {
        name: "labels",
        header: "LABELS",
        cell: |host| labels(&host.labels).into(),
        order: |a, b| a.labels.cmp(&b.labels),
    },
    Column {
        name: "address",
        header: "ADDRESS",
        cell: |host| escaped(host.address.as_deref().unwrap_or_default()).into(),
        order: |a, b| a.address.cmp(&b.address),
    },
    Column {
        name: "version",
        header: "VERSION",
        cell: |host| escaped(host.version.as_deref().unwrap_or_default()).into(),
        order: |a, b| a.version.cmp(&b.version),
    },
    Column {
        name: "drained",
        header: "DRAINED",
        cell: |host| {
            let drain = host.drain.as_ref();
            let said = drain.map(|drain| match drain.why.as_str() {
                "" => format!("by {}", drain.who),
                why => format!("by {}: {why}", drain.who),
            });
            escaped(&said.unwrap_or_default()).into()
        },
        order: |a, b| a.drain.is_some().cmp(&b.drain.is_some()),
    },
];

fn cpus(millis: u64) -> String {
    let tenths = millis / 100;
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// "a=b,c=d", safe for a terminal.
pub fn labels(labels: &BTreeMap<String, String>) -> String {
    let all: Vec<_> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    escaped(&all.join(","))
}
