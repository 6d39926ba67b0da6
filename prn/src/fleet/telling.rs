//! What happens in a fleet, as it happens: told from the store's own watch, each change once.

use std::collections::BTreeMap;
use std::time::SystemTime;

use prn_fleet::etcd::{KeyValue, Told, WatchRange, Watcher};
use prn_fleet::{Fleet, JobView, last, v1};

use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::fleet::fault::FleetFault;
use crate::output::format::Format;
use crate::output::{self, FleetChange, FleetJob};
use crate::which::fleet::OpenFleet;

/// What is watched, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Range {
    Queue,
    Claims,
    Outcomes,
    Hosts,
}

const RANGES: [Range; 4] = [Range::Queue, Range::Claims, Range::Outcomes, Range::Hosts];

/// What is told besides changes.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// First, all jobs that there are.
    pub existing: bool,
    /// Then, changes.
    pub follow: bool,
}

/// Tells of jobs and hosts until nobody reads it any more.
pub async fn tell(open: &OpenFleet, extent: Extent, format: &Format) -> Result<Exit, Failure> {
    if extent.existing {
        let jobs = open.jobs().await?;
        for view in &jobs {
            print(&of_view(view), format)?;
        }
    }
    if !extent.follow {
        return Ok(exit::OK);
    }
    let keys = open.fleet.keys();
    let range = |range| {
        WatchRange::prefix(match range {
            Range::Queue => keys.waiting(""),
            Range::Claims => keys.claim(""),
            Range::Outcomes => keys.outcomes(),
            Range::Hosts => keys.host(""),
        })
    };
    let mut watcher = Watcher::new(open.fleet.etcd(), RANGES.map(range));
    let reader = output::Reader::of_stdout()?;
    let mut seen = Seen::default();
    let mut is_said = false;
    loop {
        let told = tokio::select! {
            told = watcher.next() => told,
            error = reader.left() => return Err(error.into()),
        };
        match told {
            Ok(told) => {
                is_said = false;
                for change in seen.changes(&open.fleet, told) {
                    print(&change, format)?;
                }
                open.tell_malformed();
            }
            Err(error) if error.is_transient() => {
                if !is_said {
                    output::notice(&format!("{error}: trying on"));
                }
                is_said = true;
            }
            Err(error) => return Err(FleetFault::from(error).into()),
        }
    }
}

fn print(change: &FleetChange, format: &Format) -> Result<(), Failure> {
    output::fleet_change(change, format)?;
    Ok(())
}

fn of_view(view: &JobView) -> FleetChange {
    let job = FleetJob::of(view);
    FleetChange {
        time: Some(SystemTime::now()),
        kind: "job",
        name: job.id.clone(),
        state: job.state,
        host: job.host.clone(),
        attempt: job.host.as_ref().map(|_| job.attempt),
        exit: job.exit.clone(),
        reason: job.reason.clone(),
        why: job.why.clone(),
    }
}

/// What was told so far.
#[derive(Debug, Default)]
struct Seen {
    /// Up to this revision, of each range. `None`: its beginning has not come.
    revisions: [Option<i64>; RANGES.len()],
    /// How each host is.
    hosts: BTreeMap<String, &'static str>,
}

impl Seen {
    /// The changes in what is told: of what is there in the beginning, none.
    fn changes(&mut self, fleet: &Fleet, told: Told) -> Vec<FleetChange> {
        let mut changes = Vec::new();
        match told {
            Told::Snapshot {
                range,
                items,
                revision,
            } => {
                let since = self.revisions.get(range).copied().flatten();
                for item in &items {
                    let change = self.change(fleet, range, item);
                    let is_new = since.is_some_and(|since| item.mod_revision > since);
                    changes.extend(change.filter(|_| is_new));
                }
                self.saw(range, revision);
            }
            Told::Put { range, item } => {
                changes.extend(self.change(fleet, range, &item));
                self.saw(range, item.mod_revision);
            }
            Told::Deleted {
                range,
                key,
                revision,
            } => {
                let name = last(&key);
                if RANGES.get(range) == Some(&Range::Hosts) && self.hosts.remove(name).is_some() {
                    changes.push(FleetChange::of_host(name, "unknown"));
                }
                self.saw(range, revision);
            }
        }
        changes
    }

    fn saw(&mut self, range: usize, revision: i64) {
        if let Some(seen) = self.revisions.get_mut(range) {
            *seen = Some(revision);
        }
    }

    /// What is malformed is passed over: [`Fleet::malformed`].
    fn change(&mut self, fleet: &Fleet, range: usize, item: &KeyValue) -> Option<FleetChange> {
        let name = last(&item.key);
        match RANGES.get(range)? {
            Range::Queue => {
                let waiting = fleet.known::<v1::Waiting>(item)?.value;
                Some(of_waiting(name, &waiting))
            }
            Range::Claims => {
                let claim = fleet.known::<v1::Claim>(item)?.value;
                Some(of_claim(name, &claim))
            }
            Range::Outcomes => {
                let Some((host, name)) = fleet.keys().of_outcome(&item.key) else {
                    fleet.pass_over(&item.key);
                    return None;
                };
                let outcome = fleet.known::<v1::Outcome>(item)?.value;
                let is_said = outcome.state() != v1::outcome::State::Starting;
                is_said.then(|| FleetChange::of_outcome(name, Some(host), &outcome))
            }
            Range::Hosts => {
                let host = fleet.known::<v1::Host>(item)?.value;
                let state = output::state_of_host(host.state());
                let before = self.hosts.insert(name.to_owned(), state);
                (before != Some(state)).then(|| FleetChange::of_host(name, state))
            }
        }
    }
}

fn of_waiting(id: &str, waiting: &v1::Waiting) -> FleetChange {
    let known = waiting.past.last();
    let outcome = known.and_then(|past| past.outcome.clone());
    let outcome = outcome.unwrap_or_default();
    FleetChange {
        state: "waiting",
        attempt: known.map(|past| past.attempt.saturating_add(1)),
        ..FleetChange::of_outcome(id, known.map(|past| past.host.as_str()), &outcome)
    }
}

fn of_claim(id: &str, claim: &v1::Claim) -> FleetChange {
    match &claim.closed {
        Some(closed) => FleetChange::of_outcome(id, None, closed),
        None => {
            let waiting = claim.waiting.as_ref();
            let outcome = v1::Outcome {
                attempt: waiting.map(|waiting| waiting.attempt).unwrap_or_default(),
                ..v1::Outcome::default()
            };
            FleetChange {
                state: "starting",
                ..FleetChange::of_outcome(id, Some(&claim.host), &outcome)
            }
        }
    }
}
