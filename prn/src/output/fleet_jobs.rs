//! Jobs of fleets and what happens to them, on standard output.

use std::collections::BTreeMap;
use std::io;
use std::time::SystemTime;

use prn_client::{Exit, Process};
use prn_fleet::{JobView, Place, Standing, v1};
use schemars::JsonSchema;
use serde::Serialize;

use super::answers::table_text;
use super::column::{Column, named, table};
use super::data::{print_data, print_next};
use super::descriptor::line;
use super::fleet_hosts::{Resources, labels, said};
use super::lists::print_list;
use super::moments::{ago, local, rfc3339};
use super::paint::Tone;
use super::rows::Rows;
use super::shown::{escaped, show_exit};
use super::table::Cell;
use crate::output::format::{Format, FormatFlag};

/// A job, as programs get it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct FleetJob {
    /// Its id: that of its first attempt.
    pub id: String,
    /// How it is: waiting, starting, running, away (its host was left on purpose), unknown (its host
    /// is gone), ended, refused,
    /// needs-signing, lost, expired, withdrawn.
    pub state: &'static str,
    /// The host that has it, or had it last.
    pub host: Option<String>,
    /// The name of its process.
    pub name: Option<String>,
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
    /// What the host says of the process, where it was asked and has answered.
    pub process: Option<Process>,
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
        Standing::Away => "away",
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
            name: request.and_then(|start| said(&start.name)),
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
            process: None,
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
        usual_columns(jobs)
    };
    table_text(&table(&columns, jobs), format)
}

/// A terminal is narrow: what says something of these jobs alone.
fn usual_columns(jobs: &[FleetJob]) -> Vec<&'static Column<FleetJob>> {
    let has_names = jobs.iter().any(|job| job.name.is_some());
    let has_retries = jobs.iter().any(|job| job.attempts > 1);
    let names = [
        Some("id"),
        has_names.then_some("name"),
        Some("state"),
        Some("host"),
        has_retries.then_some("attempt"),
        Some("command"),
    ];
    let names: Vec<_> = names.into_iter().flatten().collect();
    named(JOB_COLUMNS, &names)
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

/// A job was submitted.
#[derive(Debug, Serialize, JsonSchema)]
struct SubmittedJob<'a> {
    /// Its id.
    id: &'a str,
}

/// Prints the id of a job that was submitted.
pub fn submitted(id: &str, format: &FormatFlag) -> io::Result<()> {
    if print_data(&SubmittedJob { id }, &format.output)? {
        return Ok(());
    }
    line(&escaped(id))
}

/// What has happened to a job or to a host.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct FleetChange {
    /// When this was told, by the client's clock.
    #[serde(serialize_with = "rfc3339")]
    #[schemars(with = "Option<String>")]
    pub time: Option<SystemTime>,
    /// "job" or "host".
    pub kind: &'static str,
    /// The job's id, or the host's name.
    pub name: String,
    /// How it is now.
    pub state: &'static str,
    /// Of a job: the host that has it, or has given it back.
    pub host: Option<String>,
    /// Of a job: which attempt it is, or was where it waits again; from 1.
    pub attempt: Option<u32>,
    /// How the main process of that ended.
    pub exit: Option<Exit>,
    /// Stable name of why, for programs.
    pub reason: Option<String>,
    /// Why, for people.
    pub why: Option<String>,
}

impl FleetChange {
    /// Of a host.
    pub fn of_host(name: &str, state: &'static str) -> Self {
        Self {
            time: Some(SystemTime::now()),
            kind: "host",
            name: name.to_owned(),
            state,
            host: None,
            attempt: None,
            exit: None,
            reason: None,
            why: None,
        }
    }

    /// Of a job of which this is known.
    pub fn of_outcome(id: &str, host: Option<&str>, outcome: &v1::Outcome) -> Self {
        Self {
            time: Some(SystemTime::now()),
            kind: "job",
            name: id.to_owned(),
            state: state_of_outcome(outcome.state()),
            host: host.and_then(said),
            attempt: host.map(|_| outcome.attempt.saturating_add(1)),
            exit: outcome.exit_cause.clone().map(Into::into),
            reason: said(&outcome.reason),
            why: said(&outcome.why),
        }
    }

    fn line(&self) -> String {
        let exit = self.exit.as_ref().map(show_exit);
        let attempt = self.attempt.unwrap_or_default();
        let parts = match (self.state, &self.host, exit) {
            ("waiting", Some(host), Some(exit)) => {
                format!(" again, attempt {attempt} on {host} ended ({exit})")
            }
            ("waiting", Some(host), None) => format!(", given back by {host}"),
            (_, host, exit) => {
                let exit = exit.map(|exit| format!(" ({exit})"));
                let host = host.as_ref().map(|host| format!(" on {host}"));
                let again = (attempt > 1).then(|| format!(", attempt {attempt}"));
                [exit, host, again].into_iter().flatten().collect()
            }
        };
        let why = self.why.as_ref().or(self.reason.as_ref());
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        escaped(&format!(
            "{} {} {}{parts}{why}",
            self.kind, self.name, self.state
        ))
    }
}

/// Prints what has happened, at once.
pub fn fleet_change(change: &FleetChange, format: &Format) -> io::Result<()> {
    if print_next(change, format)? {
        return Ok(());
    }
    if *format == Format::Name {
        return line(&escaped(&change.name));
    }
    line(&format!("{} {}", local(SystemTime::now()), change.line()))
}

const JOB_COLUMNS: &[Column<FleetJob>] = &[
    Column {
        name: "id",
        header: "ID",
        cell: |job| escaped(&job.id).into(),
        order: |a, b| a.id.cmp(&b.id),
    },
    Column {
        name: "name",
        header: "NAME",
        cell: |job| escaped(job.name.as_deref().unwrap_or_default()).into(),
        order: |a, b| a.name.cmp(&b.name),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_failed_and_waits_again_is_told_with_its_end() {
        let ended = v1::Outcome {
            attempt: 1,
            exit_cause: Some(prn_proto::v1::ExitCause {
                kind: prn_proto::v1::exit_cause::Kind::Exited.into(),
                exit_code: 3,
                ..prn_proto::v1::ExitCause::default()
            }),
            ..v1::Outcome::default()
        };
        let change = |state, outcome: &v1::Outcome| FleetChange {
            state,
            ..FleetChange::of_outcome("id", Some("web1"), outcome)
        };
        assert_eq!(
            change("waiting", &ended).line(),
            "job id waiting again, attempt 2 on web1 ended (code 3)"
        );
        let line = change("waiting", &v1::Outcome::default()).line();
        assert_eq!(line, "job id waiting, given back by web1");
        let line = change("ended", &ended).line();
        assert_eq!(line, "job id ended (code 3) on web1, attempt 2");
    }
}
