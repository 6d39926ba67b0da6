//! Answers of the everyday commands, on standard output.

use std::io;
use std::time::{Duration, SystemTime};

use prn_client::{Metrics, Process, ProcessId, ProcessUsage, ServerInfo};
use prn_proto::API_REVISION;
use prn_proto::units::{show_duration, show_size};
use serde::{Serialize, Serializer};

use super::answers::{Layout, ids, one_text, processes_text};
use super::data::print_data;
use super::descriptor::{line, print};
use super::hosts::{OfHost, list_of_hosts};
use super::lifetime::usage_rows;
use super::lists::print_data_list;
use super::moments::local;
use super::rows::Rows;
use super::shown::escaped;
use super::table::Table;
use super::tables::details;
use crate::exit::{self, Exit};
use crate::output::format::{Format, FormatFlag};

/// Prints one line: what was done is named by it.
pub fn told(what: &str) -> io::Result<Exit> {
    line(&escaped(what))?;
    Ok(exit::OK)
}

/// Prints a text of prn's own.
pub fn text(text: &str) -> io::Result<()> {
    line(text)
}

/// "1 process", "2 processes".
pub fn count(processes: usize) -> String {
    match processes {
        1 => "1 process".to_owned(),
        more => format!("{more} processes"),
    }
}

/// Prints one process as `-o wide`, and what it takes of the machine.
pub fn process_with_usage(
    process: &Process,
    usage: Option<&ProcessUsage>,
    format: &FormatFlag,
) -> io::Result<()> {
    let mut text = format!("{}\n\n{}", one_text(process, format), details(process));
    if let Some(usage) = usage {
        let rows = usage_rows(usage, &process.status.limits.values);
        if !rows.is_empty() {
            text.push('\n');
            text.push_str(&rows);
        }
    }
    line(&text)
}

/// All that is known of a process.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Inspected {
    #[serde(flatten)]
    process: Process,
    /// What it takes of the machine now. `None` once it has ended.
    live_usage: Option<ProcessUsage>,
}

impl Inspected {
    /// Of both answers. What a process took that has ended is in its status.
    pub fn new(process: Process, usage: Option<ProcessUsage>) -> Self {
        let is_alive = process.status.ended_at.is_none();
        Self {
            process,
            live_usage: usage.filter(|_| is_alive),
        }
    }
}

/// Prints all that is known of processes.
pub fn inspected(all: &[Inspected], format: &FormatFlag) -> io::Result<()> {
    let processes = || {
        all.iter()
            .map(|inspected| inspected.process.clone())
            .collect::<Vec<_>>()
    };
    match format.output {
        Format::Json | Format::Yaml => print_data(&all, &format.output).map(|_| ()),
        Format::JsonLines | Format::Template(_) => print_data_list("processes", all, format),
        Format::Name => ids(&processes()),
        Format::Table | Format::Wide => {
            line(&processes_text(&processes(), format, &Layout::default()))
        }
    }
}

/// What was removed.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Pruned {
    /// Ids of those that are gone.
    removed: Vec<String>,
    /// Bytes of output that were kept of them.
    output_bytes: u64,
}

/// Prints what was removed.
pub fn pruned(removed: &[ProcessId], output_bytes: u64, format: &FormatFlag) -> io::Result<()> {
    let removed = Pruned {
        removed: removed.iter().map(ProcessId::to_string).collect(),
        output_bytes,
    };
    if print_data(&removed, &format.output)? {
        return Ok(());
    }
    if format.output == Format::Name {
        let ids = removed.removed.iter().map(|id| format!("{id}\n"));
        return print(&ids.collect::<String>());
    }
    line(&format!(
        "removed {}, {} of output",
        count(removed.removed.len()),
        show_size(output_bytes)
    ))
}

/// Versions of both sides.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Version {
    /// Of this program.
    client: ClientVersion,
    /// `None`: it was not asked, or is too old to say.
    pub server: Option<ServerInfo>,
}

/// The version of this program.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ClientVersion {
    /// Its own.
    version: &'static str,
    /// The newest revision of the API that it speaks.
    api_revision: u32,
}

impl Version {
    /// Of this side alone.
    pub fn of_client() -> Self {
        Self {
            client: ClientVersion {
                version: env!("CARGO_PKG_VERSION"),
                api_revision: API_REVISION,
            },
            server: None,
        }
    }
}

/// Prints versions.
pub fn version(version: &Version, format: &FormatFlag) -> io::Result<()> {
    if print_data(version, &format.output)? {
        return Ok(());
    }
    let ClientVersion {
        version: client,
        api_revision,
    } = version.client;
    let mut rows = Rows::default();
    rows.add(
        "client",
        format!("prn {client} (API revision {api_revision})"),
    );
    if let Some(server) = &version.server {
        let shown = format!(
            "prn {} (API revision {}) on {}, Linux {}",
            server.version, server.api_revision, server.hostname, server.kernel
        );
        rows.add("server", escaped(&shown));
        if !server.principal.is_empty() {
            let shown = format!("{}, of the role {}", server.principal, server.role);
            rows.add("known there as", escaped(&shown));
        }
    }
    line(&rows.finish())
}

/// Prints a server's metrics: as text, unless a program wants them in another form.
pub fn metrics(metrics: &Metrics, format: &FormatFlag) -> io::Result<()> {
    if print_data(metrics, &format.output)? {
        return Ok(());
    }
    print(&metrics.text)
}

/// How a server is.
#[derive(Debug, Clone)]
pub struct Health {
    /// It takes new processes.
    pub serving: bool,
    /// How long a call takes.
    pub latency: Duration,
    /// What it says.
    pub server: ServerInfo,
}

/// The same, as programs get it.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HealthJson<'a> {
    /// It takes new processes.
    serving: bool,
    /// How long a call took.
    latency_usec: u64,
    /// What it says.
    server: &'a ServerInfo,
}

impl Health {
    fn json(&self) -> HealthJson<'_> {
        HealthJson {
            serving: self.serving,
            latency_usec: u64::try_from(self.latency.as_micros()).unwrap_or(u64::MAX),
            server: &self.server,
        }
    }

    fn state(&self) -> &'static str {
        if self.serving {
            "serving"
        } else {
            "shutting down"
        }
    }
}

impl Serialize for Health {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json().serialize(serializer)
    }
}

/// Prints how several servers are.
pub fn health_of_hosts(all: &[OfHost<Health>], format: &FormatFlag) -> io::Result<()> {
    let table = |healths: &[Health]| {
        let mut table = Table::new(&["SERVER", "LATENCY", "VERSION", "RUNNING", "SINCE"]);
        for health in healths {
            let server = &health.server;
            table.push_texts([
                health.state().to_owned(),
                show_latency(health.latency),
                escaped(&server.version),
                server.processes_running.to_string(),
                server.started_at.map(local).unwrap_or_default(),
            ]);
        }
        table
    };
    let name = |health: &Health| escaped(&health.server.hostname);
    list_of_hosts("servers", all, table, name, format)
}

/// Prints the versions of several servers.
pub fn versions_of_hosts(all: &[OfHost<ServerInfo>], format: &FormatFlag) -> io::Result<()> {
    let table = |servers: &[ServerInfo]| {
        let mut table = Table::new(&["VERSION", "API REVISION", "MACHINE", "LINUX"]);
        for server in servers {
            table.push_texts([
                escaped(&server.version),
                server.api_revision.to_string(),
                escaped(&server.hostname),
                escaped(&server.kernel),
            ]);
        }
        table
    };
    let name = |server: &ServerInfo| escaped(&server.version);
    list_of_hosts("servers", all, table, name, format)
}

/// Prints how a server is.
pub fn health(health: &Health, format: &FormatFlag) -> io::Result<()> {
    if print_data(health, &format.output)? {
        return Ok(());
    }
    let server = &health.server;
    let mut rows = Rows::default();
    rows.add("server", health.state().to_owned());
    rows.add("latency", show_latency(health.latency));
    rows.add("up since", server.started_at.map(local));
    rows.add(
        "processes",
        format!(
            "{} running of at most {}, {} finished",
            server.processes_running, server.processes_max, server.processes_finished
        ),
    );
    rows.add("workspaces", server.workspaces.to_string());
    rows.add("its certificate", server.certificate_not_after.map(until));
    rows.add(
        "your certificate",
        server.client_certificate_not_after.map(until),
    );
    line(&rows.finish())
}

fn show_latency(latency: Duration) -> String {
    format!("{:.1} ms", latency.as_secs_f64() * 1000.0)
}

fn until(end: SystemTime) -> String {
    let at = local(end);
    match end.duration_since(SystemTime::now()) {
        Ok(left) => {
            let days = left.as_secs() / (24 * 60 * 60);
            let left = match days {
                0 => show_duration(Duration::from_secs(left.as_secs())),
                1 => "1 day".to_owned(),
                days => format!("{days} days"),
            };
            format!("valid until {at}, {left} from now")
        }
        Err(_) => format!("was valid until {at}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificates_end_is_a_date_and_how_far_off_it_is() {
        let at = |seconds| until(SystemTime::now() + Duration::from_secs(seconds));
        assert!(at(10 * 24 * 60 * 60 + 60).ends_with("10 days from now"));
        assert!(at(24 * 60 * 60 + 60).ends_with("1 day from now"));
        assert!(until(SystemTime::UNIX_EPOCH).starts_with("was valid until 1970"));
    }
}
