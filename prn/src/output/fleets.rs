//! Hosts of fleets and their jobs, on standard output.

use std::collections::BTreeMap;
use std::io;
use std::time::SystemTime;

use prn_client::Exit;
use prn_fleet::{JobView, KnownHost, Place, Standing, v1};
use prn_proto::units::show_size;
use schemars::JsonSchema;
use serde::Serialize;

use super::answers::table_text;
use super::column::{Column, named, table};
use super::data::print_data;
use super::descriptor::line;
use super::lists::print_list;
use super::moments::{ago, local, rfc3339};
use super::paint::Tone;
use super::rows::Rows;
use super::shown::{escaped, show_exit};
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

fn said(text: &str) -> Option<String> {
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

fn state_of_host(state: v1::host::State) -> &'static str {
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

fn labels(labels: &BTreeMap<String, String>) -> String {
    let all: Vec<_> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    escaped(&all.join(","))
}

/// A job, as programs get it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct FleetJob {
    /// Its id: that of its first attempt.
    pub id: String,
    /// How it is: waiting, starting, running, unknown (its host is gone), ended, refused,
    /// needs-signing, lost, expired, withdrawn.
    pub state: &'static str,
    /// The host that has it, or had it last.
    pub host: Option<String>,
    /// What runs.
    pub command: Vec<String>,
    /// Which attempt it is, from 1.
    pub attempt: u32,
    /// How many there can be.
    pub attempts: usize,
    /// The id of that attempt's process.
    pub process_id: Option<String>,
    /// How its main process ended.
    pub exit: Option<Exit>,
    /// Stable name of why it is so, for programs.
    pub reason: Option<String>,
    /// Why, for people.
    pub why: Option<String>,
    /// By whom it was submitted.
    pub submitted_by: Option<String>,
    /// When, by the client's clock.
    #[serde(serialize_with = "rfc3339")]
    #[schemars(with = "Option<String>")]
    pub submitted_at: Option<SystemTime>,
    /// When it was started, by the host's clock.
    #[serde(serialize_with = "rfc3339")]
    #[schemars(with = "Option<String>")]
    pub started_at: Option<SystemTime>,
    /// When all of it had ended, by the host's clock.
    #[serde(serialize_with = "rfc3339")]
    #[schemars(with = "Option<String>")]
    pub ended_at: Option<SystemTime>,
    /// It is not started after this.
    #[serde(serialize_with = "rfc3339")]
    #[schemars(with = "Option<String>")]
    pub start_by: Option<SystemTime>,
    /// Labels that its host must have.
    pub on: BTreeMap<String, String>,
    /// The only host that it may run on.
    pub only_host: Option<String>,
    /// What it needs of a host.
    pub needs: Resources,
    /// How often it is started again when an attempt has failed.
    pub retries: u32,
    /// It is started again where nobody knows how an attempt has ended.
    pub may_run_twice: bool,
    /// It is signed.
    pub signed: bool,
    /// What became of attempts before, and which hosts gave it back.
    pub past: Vec<PastClaim>,
    /// What hosts know of claims that were taken from them.
    pub late: Vec<PastClaim>,
}

/// What came of a claim that is over.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PastClaim {
    /// Whose.
    pub host: String,
    /// Of which attempt, from 1.
    pub attempt: u32,
    /// How it ended.
    pub state: &'static str,
    /// How its main process ended.
    pub exit: Option<Exit>,
    /// Stable name of why, for programs.
    pub reason: Option<String>,
    /// Why, for people.
    pub why: Option<String>,
}

impl PastClaim {
    fn of(host: &str, attempt: u32, outcome: &v1::Outcome) -> Self {
        Self {
            host: host.to_owned(),
            attempt: attempt.saturating_add(1),
            state: state_of_outcome(outcome.state()),
            exit: outcome.exit_cause.clone().map(Into::into),
            reason: said(&outcome.reason),
            why: said(&outcome.why),
        }
    }

    fn line(&self) -> String {
        let exit = self.exit.as_ref().map(show_exit);
        let parts = [exit, self.why.clone().or(self.reason.clone())];
        let said: Vec<_> = parts.into_iter().flatten().collect();
        let text = format!("attempt {} on {}: {}", self.attempt, self.host, self.state);
        match said.is_empty() {
            true => escaped(&text),
            false => escaped(&format!("{text}, {}", said.join(", "))),
        }
    }
}

fn state_of_outcome(state: v1::outcome::State) -> &'static str {
    use v1::outcome::State;
    match state {
        State::Unspecified => "unknown",
        State::Starting => "starting",
        State::Running => "running",
        State::Ended => "ended",
        State::Refused => "refused",
        State::NeedsSigning => "needs-signing",
        State::Lost => "lost",
        State::Expired => "expired",
        State::Withdrawn => "withdrawn",
    }
}

/// A job's standing in one word.
pub fn standing_word(standing: Standing) -> &'static str {
    match standing {
        Standing::Waiting => "waiting",
        Standing::Starting => "starting",
        Standing::Running => "running",
        Standing::Unknown => "unknown",
        Standing::Ended => "ended",
        Standing::Refused => "refused",
        Standing::NeedsSigning => "needs-signing",
        Standing::Lost => "lost",
        Standing::Expired => "expired",
        Standing::Withdrawn => "withdrawn",
        Standing::Gone => "gone",
    }
}

impl FleetJob {
    /// Of what the store has.
    pub fn of(view: &JobView) -> Self {
        let waiting = match &view.place {
            Place::Waiting(waiting) => Some(waiting.as_ref()),
            Place::Claimed { claim, .. } => claim.waiting.as_ref(),
            Place::Nowhere => None,
        };
        let attempt = waiting.map(|waiting| waiting.attempt).unwrap_or_default();
        let (job, outcome) = (&view.job, view.outcome());
        let place = usize::try_from(attempt).unwrap_or(usize::MAX);
        let request = job.attempts.get(place).or(job.attempts.first());
        let past = waiting.into_iter().flat_map(|waiting| &waiting.past);
        let past = past.filter_map(|past| {
            let outcome = past.outcome.as_ref()?;
            Some(PastClaim::of(&past.host, past.attempt, outcome))
        });
        let late = view.late.iter();
        let late = late.map(|(host, late)| PastClaim::of(host, late.attempt, late));
        Self {
            id: view.id.clone(),
            state: standing_word(view.standing()),
            host: view.host().map(str::to_owned),
            command: request
                .map(|start| {
                    std::iter::once(&start.command)
                        .chain(&start.args)
                        .cloned()
                        .collect()
                })
                .unwrap_or_default(),
            attempt: attempt.saturating_add(1),
            attempts: job.attempts.len(),
            process_id: outcome.and_then(|outcome| said(&outcome.process_id)),
            exit: outcome
                .and_then(|outcome| outcome.exit_cause.clone())
                .map(Into::into),
            reason: outcome.and_then(|outcome| said(&outcome.reason)),
            why: outcome.and_then(|outcome| said(&outcome.why)),
            submitted_by: said(&job.submitted_by),
            submitted_at: job.submitted_at.and_then(|time| time.try_into().ok()),
            started_at: outcome.and_then(|outcome| outcome.started_at?.try_into().ok()),
            ended_at: outcome.and_then(|outcome| outcome.ended_at?.try_into().ok()),
            start_by: job.deadline.and_then(|time| time.try_into().ok()),
            on: job.on.clone().into_iter().collect(),
            only_host: said(&job.host),
            needs: job.needs.map(Into::into).unwrap_or_default(),
            retries: job.retries,
            may_run_twice: job.may_run_twice,
            signed: request.is_some_and(|start| start.signature.is_some()),
            past: past.collect(),
            late: late.collect(),
        }
    }

    fn tone(&self) -> Option<Tone> {
        match self.state {
            "running" => Some(Tone::Good),
            "ended"
                if self
                    .exit
                    .as_ref()
                    .is_some_and(|exit| exit.status == Some(0)) =>
            {
                Some(Tone::Past)
            }
            "waiting" | "starting" | "needs-signing" => Some(Tone::Notable),
            "withdrawn" | "gone" => Some(Tone::Past),
            _ => Some(Tone::Bad),
        }
    }

    fn state_words(&self) -> String {
        match (&self.exit, self.state) {
            (Some(exit), "ended") => format!("ended ({})", show_exit(exit)),
            _ => self.state.to_owned(),
        }
    }

    fn details(&self) -> String {
        let now = SystemTime::now();
        let shown = |time| format!("{} ({})", local(time), ago(time, now));
        let mut rows = Rows::default();
        rows.add("why", self.why.as_deref().map(escaped));
        rows.add("reason", self.reason.as_deref().map(escaped));
        rows.add("process", self.process_id.as_deref().map(escaped));
        rows.add("submitted", self.submitted_at.map(shown));
        rows.add("submitted by", self.submitted_by.as_deref().map(escaped));
        rows.add("started", self.started_at.map(shown));
        rows.add("ended", self.ended_at.map(shown));
        rows.add("to start by", self.start_by.map(local));
        rows.add("on", labels(&self.on));
        rows.add("only on host", self.only_host.as_deref().map(escaped));
        for past in &self.past {
            rows.add("before", past.line());
        }
        for late in &self.late {
            rows.add("told later", late.line());
        }
        rows.finish()
    }
}

/// Prints the jobs of a fleet.
pub fn fleet_jobs(jobs: &[FleetJob], format: &FormatFlag) -> io::Result<()> {
    let shown = |all: &[FleetJob]| fleet_jobs_text(all, format);
    print_list("jobs", jobs, shown, |job| escaped(&job.id), format)
}

/// The same as text for people.
pub fn fleet_jobs_text(jobs: &[FleetJob], format: &FormatFlag) -> String {
    let columns = if format.output == Format::Wide {
        JOB_COLUMNS.iter().collect()
    } else {
        named(JOB_COLUMNS, &["id", "state", "host", "attempt", "command"])
    };
    table_text(&table(&columns, jobs), format)
}

/// Prints ids of jobs, one a line.
pub fn fleet_job_ids(jobs: &[FleetJob]) -> io::Result<()> {
    super::lists::print_names(jobs, |job| escaped(&job.id))
}

/// Prints one job, with all that people want to know of it.
pub fn fleet_job(job: &FleetJob, format: &FormatFlag) -> io::Result<()> {
    if print_data(job, &format.output)? {
        return Ok(());
    }
    if format.output == Format::Name {
        return line(&escaped(&job.id));
    }
    let mut text = fleet_jobs_text(std::slice::from_ref(job), format);
    let details = job.details();
    if !details.is_empty() {
        text = format!("{}\n{details}", text.trim_end());
    }
    line(&text)
}

const JOB_COLUMNS: &[Column<FleetJob>] = &[
    Column {
        name: "id",
        header: "ID",
        cell: |job| escaped(&job.id).into(),
        order: |a, b| a.id.cmp(&b.id),
    },
    Column {
        name: "state",
        header: "STATE",
        cell: |job| Cell::new(job.state_words(), job.tone()),
        order: |a, b| a.state.cmp(b.state),
    },
    Column {
        name: "host",
        header: "HOST",
        cell: |job| escaped(job.host.as_deref().unwrap_or_default()).into(),
        order: |a, b| a.host.cmp(&b.host),
    },
    Column {
        name: "attempt",
        header: "ATTEMPT",
        cell: |job| format!("{} of {}", job.attempt, job.attempts).into(),
        order: |a, b| a.attempt.cmp(&b.attempt),
    },
    Column {
        name: "submitted",
        header: "SUBMITTED",
        cell: |job| job.submitted_at.map(local).unwrap_or_default().into(),
        order: |a, b| a.submitted_at.cmp(&b.submitted_at),
    },
    Column {
        name: "by",
        header: "BY",
        cell: |job| escaped(job.submitted_by.as_deref().unwrap_or_default()).into(),
        order: |a, b| a.submitted_by.cmp(&b.submitted_by),
    },
    Column {
        name: "reason",
        header: "REASON",
        cell: |job| escaped(job.reason.as_deref().unwrap_or_default()).into(),
        order: |a, b| a.reason.cmp(&b.reason),
    },
    Column {
        name: "command",
        header: "COMMAND",
        cell: |job| {
            let words = job.command.iter().map(String::as_str);
            let words = shlex::try_join(words).unwrap_or_else(|_| job.command.join(" "));
            escaped(&words).into()
        },
        order: |a, b| a.command.cmp(&b.command),
    },
];
