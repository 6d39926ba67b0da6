//! Making a job of what is asked for, and submitting it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use clap::Args;
use prn_client::{Client, Label, StartSpec, mint_id};
use prn_fleet::{ATTEMPTS_MAX, KnownHost, Standing, Submitted, fits, v1};
use prn_proto::units::Deadline;
use prn_proto::v1::StartRequest;

use crate::failure::Failure;
use crate::fleet::fault::FleetFault;
use crate::fleet::job_watch::is_unknown;
use crate::fleet::user::own_name;
use crate::output;
use crate::which::connection::Remote;
use crate::which::fleet::OpenFleet;

/// Ids are random: one submission of sixteen prunes, four times as many as have come meanwhile at most.
const PRUNING_DIGIT: char = '0';
const PRUNED_MAX: u64 = 64;

/// Where a job may run, and how often.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Fleet")]
pub struct Placing {
    /// Run on a host alone that has this label. Repeatable: on one that has all of them
    #[arg(long, value_name = "KEY=VALUE")]
    pub on: Vec<Label>,
    /// Run on this host alone
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Run it again, up to so many times, when it has failed: another code than 0, a signal, its time
    /// or its memory was up. What was stopped has not. 15 at most
    #[arg(long, value_name = "COUNT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..i64::from(ATTEMPTS_MAX)))]
    pub retries: u32,
    /// Run it again where nobody knows how it has ended, since its host is gone: it may run twice, also
    /// at one time
    #[arg(long)]
    pub may_run_twice: bool,
    /// Start it by this time or never: 2030-01-31T12:00:00Z, or 10m for in ten minutes. --deadline, at
    /// which it is stopped, is such a time too
    #[arg(long, value_name = "TIME")]
    pub start_by: Option<Deadline>,
    /// Take so many of the host's places for processes. Memory and CPUs are taken as --memory and --cpu
    /// limit them
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub places: u32,
}

impl Placing {
    /// Something of it was said.
    pub fn is_said(&self) -> bool {
        let Self {
            on,
            host,
            retries,
            may_run_twice,
            start_by,
            places,
        } = self;
        let is_placed = !on.is_empty() || host.is_some() || *places != 1;
        is_placed || *retries != 0 || *may_run_twice || start_by.is_some()
    }

    fn attempts(&self) -> u32 {
        let again = u32::from(self.may_run_twice);
        (self.retries + 1 + again).min(ATTEMPTS_MAX)
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let pair = |label: &Label| (label.key.clone(), label.value.clone());
        self.on.iter().map(pair).collect()
    }

    fn needs(&self, spec: &StartSpec) -> v1::Resources {
        v1::Resources {
            processes: self.places,
            memory_bytes: spec.limits.memory_bytes.unwrap_or_default(),
            cpu_millis: spec.limits.cpu_millis.unwrap_or_default(),
        }
    }

    /// As a job that waits says it.
    fn waiting(&self) -> v1::Waiting {
        v1::Waiting {
            on: self.labels().into_iter().collect(),
            host: self.host.clone().unwrap_or_default(),
            ..v1::Waiting::default()
        }
    }
}

/// The job that is asked for: each attempt has an id of its own, and its own signature if it is to be
/// signed.
///
/// # Errors
/// What is asked for can be no job's; no host says what it would fill in of one that is to be signed.
pub async fn job(
    open: &OpenFleet,
    spec: &StartSpec,
    placing: &Placing,
) -> Result<v1::Job, Failure> {
    if spec.retention.until_read {
        let why = "--rm is not for jobs: a process that is forgotten when it was read may be so before its host's agent knows how it ended";
        return Err(FleetFault::NotOfFleets(why).into());
    }
    let specs = (0..placing.attempts()).map(|number| {
        let mut spec = spec.clone();
        if number > 0 {
            spec.id = Some(mint_id()?);
        }
        Ok::<_, Failure>(spec)
    });
    let specs = specs.collect::<Result<Vec<_>, _>>()?;
    let attempts = if spec.sign || open.signs {
        signed(open, &specs, placing).await?
    } else {
        let plain = specs.iter().map(StartRequest::try_from);
        plain.collect::<Result<_, _>>()?
    };
    let start_by = placing.start_by.map(|Deadline(time)| time);
    let ends: Option<SystemTime> = start_by.into_iter().chain(spec.deadline).min();
    Ok(v1::Job {
        attempts,
        on: placing.labels().into_iter().collect(),
        host: placing.host.clone().unwrap_or_default(),
        needs: Some(placing.needs(spec)),
        retries: placing.retries,
        may_run_twice: placing.may_run_twice,
        deadline: ends.map(Into::into),
        submitted_by: own_name(),
        ..v1::Job::default()
    })
}

/// All attempts, signed for the fleet, or for the run of the server of the one host that is named. A host
/// that fits is asked what it fills in.
async fn signed(
    open: &OpenFleet,
    specs: &[StartSpec],
    placing: &Placing,
) -> Result<Vec<StartRequest>, Failure> {
    let client = fitting(open, placing).await?;
    let mut all = Vec::new();
    for spec in specs {
        let signed = match placing.host {
            None => client.sign_for_fleet(spec, &open.name).await?,
            Some(_) => client.sign_for_later(spec).await?,
        };
        all.push(signed.request().clone());
    }
    Ok(all)
}

/// A connection to a host that fits: the first one that answers.
async fn fitting(open: &OpenFleet, placing: &Placing) -> Result<Client, Failure> {
    for remote in fitting_hosts(open, placing).await? {
        match remote.connect().await {
            Ok(client) => return Ok(client),
            Err(error) => {
                let failure = Failure::from(error);
                output::notice(&output::error_line(&failure, None));
            }
        }
    }
    Err(FleetFault::NoSigningHost.into())
}

/// The server that says what a start would come to: that of the first host that fits.
///
/// # Errors
/// As [`fitting_hosts`]; there is none.
pub async fn to_be_asked(
    open: &OpenFleet,
    placing: &Placing,
    spec: &StartSpec,
) -> Result<Remote, Failure> {
    let mut remotes = fitting_hosts(open, placing).await?.into_iter();
    let first = remotes.next().ok_or(FleetFault::NoSigningHost)?;
    if !(open.signs || spec.sign) {
        output::notice(
            "what the first host that fits says to you: a job that is not signed is started there by its agent, which may be allowed other things",
        );
    }
    Ok(first)
}

/// The servers of all hosts that are ready and fit. One that cannot be talked to is said, and passed over.
///
/// # Errors
/// etcd does not say which there are; none can be talked to.
pub async fn fitting_hosts(open: &OpenFleet, placing: &Placing) -> Result<Vec<Remote>, Failure> {
    let waiting = placing.waiting();
    let hosts = open.hosts().await?;
    let (mut remotes, mut failed) = (Vec::new(), Vec::new());
    for KnownHost { name, host, drain } in hosts {
        let Some(host) = host.filter(|_| drain.is_none()) else {
            continue;
        };
        let labels: BTreeMap<_, _> = host.labels.clone().into_iter().collect();
        if host.state() == v1::host::State::Ready && fits(&waiting, &name, &labels) {
            match open.remote(&name, &host) {
                Ok(remote) => remotes.push(remote),
                Err(failure) => failed.push((name, failure)),
            }
        }
    }
    if remotes.is_empty()
        && let Some((_, failure)) = failed.pop()
    {
        return Err(failure);
    }
    for (name, failure) in failed {
        let why = output::error_line(&failure, None);
        output::notice(&output::escaped(&format!(
            "host {name} is passed over: {why}"
        )));
    }
    Ok(remotes)
}

/// Submits a job, or signs one anew that is there and needs it.
///
/// # Errors
/// Another job has its id; etcd has not done it, or nobody knows.
pub async fn submit(open: &OpenFleet, job: v1::Job) -> Result<Submitted, Failure> {
    let id = job.attempts.first().map(|first| first.id.clone());
    let submitted = open
        .fleet
        .submit(job.clone())
        .await
        .map_err(|source| match id {
            Some(id) if is_unknown(&source) => FleetFault::SubmitUnknown { id, source },
            _ => source.into(),
        })?;
    if submitted.was_there {
        sign_anew(open, &submitted.id, job).await?;
    }
    Ok(submitted)
}

/// What is to be done after a submission, of which the user knows by then: some of them prune.
pub async fn tidy(open: &OpenFleet, id: &str) {
    if id.starts_with(PRUNING_DIGIT) {
        // Whoever submits next does it, if this does not.
        let _unpruned = prune(open).await;
    }
}

/// A job that is there, and waits to be signed anew, gets the signatures of this one.
async fn sign_anew(open: &OpenFleet, id: &str, job: v1::Job) -> Result<(), FleetFault> {
    let is_signed = job.attempts.iter().all(|start| start.signature.is_some());
    let there = open.fleet.job(id).await?;
    if is_signed && there.standing() == Standing::NeedsSigning {
        open.fleet.sign_anew(id, job).await?;
    }
    Ok(())
}

/// Forgets a few jobs that have ended, as the fleet was set up.
async fn prune(open: &OpenFleet) -> Result<u64, FleetFault> {
    let keep = open.fleet.keep().await?;
    Ok(open.fleet.prune(keep, PRUNED_MAX).await?)
}
