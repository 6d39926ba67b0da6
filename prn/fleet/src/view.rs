//! What is known of a job, for those who look at it.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;

use crate::contradicting::contradicting;
use crate::error::FleetError;
use crate::etcd::{KeyValue, Listing};
use crate::fleet::Fleet;
use crate::keys::last;
use crate::outcomes::{claim_of, closed, is_final};
use crate::records::record;
use crate::v1;
use crate::v1::outcome::State;

/// A job and what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct JobView {
    /// Its id.
    pub id: String,
    /// It.
    pub job: v1::Job,
    /// Where it is.
    pub place: Place,
    /// What hosts know of claims that were taken from them, by the hosts' names.
    pub late: BTreeMap<String, v1::Outcome>,
}

/// Where a job is.
#[derive(Debug, Clone, PartialEq)]
pub enum Place {
    /// It waits for a host.
    Waiting(Box<v1::Waiting>),
    /// A host has it or had it, or none will.
    Claimed {
        /// The claim.
        claim: Box<v1::Claim>,
        /// What the host says of it.
        outcome: Option<Box<v1::Outcome>>,
        /// The host is announced.
        host_is_known: bool,
        /// Since when its agent is away, by its clock: it was ended on purpose, and is not back.
        away_since: Option<prost_types::Timestamp>,
    },
    /// Neither: it is being pruned.
    Nowhere,
}

/// How a job is, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It waits for a host.
    Waiting,
    /// A host has it, and does not say yet that it runs.
    Starting,
    /// It runs.
    Running,
    /// Its host is gone, and with it the knowledge of how it is: it may run, or have ended.
    Unknown,
    /// Its host's agent was ended on purpose: it may run, or have ended, and is told when that is back.
    Away,
    /// It has ended, as the outcome says.
    Ended,
    /// No host will start it.
    Refused,
    /// It is to be signed anew.
    NeedsSigning,
    /// It may have run, and nobody will know how it ended.
    Lost,
    /// Its deadline passed before a host had it.
    Expired,
    /// It was withdrawn before a host had it.
    Withdrawn,
    /// It is being pruned.
    Gone,
}

impl JobView {
    /// How it is.
    pub fn standing(&self) -> Standing {
        let (claim, outcome, host_is_known, is_away) = match &self.place {
            Place::Waiting(_) => return Standing::Waiting,
            Place::Nowhere => return Standing::Gone,
            Place::Claimed {
                claim,
                outcome,
                host_is_known,
                away_since,
            } => (claim, outcome, *host_is_known, away_since.is_some()),
        };
        let known = closed(claim).or(outcome.as_deref());
        match known.map(v1::Outcome::state) {
            Some(State::Ended) => Standing::Ended,
            Some(State::Refused) => Standing::Refused,
            Some(State::NeedsSigning) => Standing::NeedsSigning,
            Some(State::Lost) => Standing::Lost,
            Some(State::Expired) => Standing::Expired,
            Some(State::Withdrawn) => Standing::Withdrawn,
            Some(State::Starting | State::Running | State::Unspecified) | None
                if !host_is_known =>
            {
                Standing::Unknown
            }
            Some(State::Starting | State::Running | State::Unspecified) | None if is_away => {
                Standing::Away
            }
            Some(State::Running) => Standing::Running,
            Some(State::Starting | State::Unspecified) | None => Standing::Starting,
        }
    }

    /// What is known of its newest claim.
    pub fn outcome(&self) -> Option<&v1::Outcome> {
        match &self.place {
            Place::Claimed { claim, outcome, .. } => closed(claim).or(outcome.as_deref()),
            Place::Waiting(_) | Place::Nowhere => None,
        }
    }

    /// The host that has it, or had it last.
    pub fn host(&self) -> Option<&str> {
        match &self.place {
            Place::Claimed { claim, .. } => Some(&claim.host).filter(|host| !host.is_empty()),
            Place::Waiting(_) | Place::Nowhere => None,
        }
        .map(String::as_str)
    }

    /// Since when its host's agent is away.
    pub fn away_since(&self) -> Option<&prost_types::Timestamp> {
        match &self.place {
            Place::Claimed { away_since, .. } => away_since.as_ref(),
            Place::Waiting(_) | Place::Nowhere => None,
        }
    }

    /// Whether nothing more will become of it by itself.
    pub fn is_over(&self) -> bool {
        self.outcome().is_some_and(|known| is_final(known.state()))
    }
}

impl Fleet {
    /// What is known of a job.
    ///
    /// # Errors
    /// [`FleetError::NoJob`], [`FleetError::Etcd`], [`FleetError::Malformed`].
    pub async fn job(&self, id: &str) -> Result<JobView, FleetError> {
        let keys = self.keys();
        let (job, queue, claim) = (keys.job(id), keys.waiting(id), keys.claim(id));
        let (read, _) = self.etcd().read_together(&[&job, &queue, &claim]).await?;
        let mut read = read.into_iter();
        let none = || FleetError::NoJob(id.to_owned());
        let job = read.next().flatten().ok_or_else(none)?;
        let (waiting, claim) = (read.next().flatten(), read.next().flatten());
        let mut view = JobView {
            id: id.to_owned(),
            job: record(&job)?.value,
            place: Place::Nowhere,
            late: BTreeMap::new(),
        };
        if let Some(claim) = claim {
            let mut claim = record::<v1::Claim>(&claim)?.value;
            if let Some((host, outcome)) = self.contradicts(id, &claim).await? {
                claim = claim_of(&host, &outcome);
            }
            let (outcome, host) = (keys.outcome(&claim.host, id), keys.host(&claim.host));
            let (read, _) = self.etcd().read_together(&[&outcome, &host]).await?;
            let mut read = read.into_iter();
            let outcome = read.next().flatten();
            let host = read.next().flatten();
            view.place = self.claimed(claim, outcome.as_ref(), host.as_ref());
        } else if let Some(waiting) = waiting {
            view.place = Place::Waiting(Box::new(record(&waiting)?.value));
        }
        for host in view.past_hosts() {
            let (late, _) = self.etcd().read(&keys.late(&host, id)).await?;
            if let Some(late) = late.and_then(|late| self.known(&late)) {
                view.late.insert(host, late.value);
            }
        }
        Ok(view)
    }

    /// What is known of all jobs, in the order in which they were submitted. What changes while it is
    /// read may be told as it was or as it is. What is malformed is left out: [`Fleet::malformed`].
    ///
    /// # Errors
    /// [`FleetError::Etcd`].
    pub async fn jobs(&self) -> Result<Vec<JobView>, FleetError> {
        let keys = self.keys();
        // A job goes from the queue to a claim: read in the other order, it could be at none.
        let jobs = self.etcd().read_all(&keys.job("")).await?;
        let waiting = self.decoded::<v1::Waiting>(self.etcd().read_all(&keys.waiting("")).await?);
        let claims = self.decoded::<v1::Claim>(self.etcd().read_all(&keys.claim("")).await?);
        let outcomes = self.etcd().read_all(&keys.outcomes()).await?.items;
        let outcomes: BTreeMap<_, _> = by_key(&outcomes);
        let lates = self.etcd().read_all(&keys.lates()).await?.items;
        let hosts = self.etcd().read_all(&keys.host("")).await?.items;
        let hosts: BTreeMap<_, _> = hosts.iter().map(|item| (last(&item.key), item)).collect();
        let nobodys = claims.iter().filter(|(_, claim)| closed(claim).is_some());
        let nobodys = nobodys.map(|(id, _)| id.as_str()).collect();
        let said = self.said_of(&nobodys, &outcomes, &hosts);
        let mut all = Vec::new();
        for job in jobs.items.iter().filter_map(|item| self.known(item)) {
            let id = last(&job.key).to_owned();
            let place = match (claims.get(&id), waiting.get(&id)) {
                (Some(claim), _) => {
                    let said = said.get(&id).and_then(|said| contradicting(claim, said));
                    let claim = match said {
                        Some((host, outcome)) => claim_of(host, outcome),
                        None => claim.clone(),
                    };
                    let outcome = keys.outcome(&claim.host, &id);
                    let host = hosts.get(claim.host.as_str()).copied();
                    let outcome = outcomes.get(outcome.as_str()).copied();
                    self.claimed(claim, outcome, host)
                }
                (None, Some(waiting)) => Place::Waiting(Box::new(waiting.clone())),
                (None, None) => Place::Nowhere,
            };
            all.push((
                job.created,
                JobView {
                    id,
                    job: job.value,
                    place,
                    late: BTreeMap::new(),
                },
            ));
        }
        all.sort_by_key(|(created, _)| *created);
        let mut all: Vec<_> = all.into_iter().map(|(_, view)| view).collect();
        for item in &lates {
            let Some((host, id)) = keys.of_late(&item.key) else {
                self.pass_over(&item.key);
                continue;
            };
            let view = all.iter_mut().find(|view| view.id == id);
            if let (Some(view), Some(late)) = (view, self.known(item)) {
                view.late.insert(host.to_owned(), late.value);
            }
        }
        Ok(all)
    }
}

impl JobView {
    /// Hosts that have had it before.
    fn past_hosts(&self) -> BTreeSet<String> {
        let waiting = match &self.place {
            Place::Waiting(waiting) => Some(waiting.as_ref()),
            Place::Claimed { claim, .. } => claim.waiting.as_ref(),
            Place::Nowhere => None,
        };
        let past = waiting.into_iter().flat_map(|waiting| &waiting.past);
        past.map(|past| past.host.clone()).collect()
    }
}

impl Fleet {
    fn claimed(
        &self,
        claim: v1::Claim,
        outcome: Option<&KeyValue>,
        host: Option<&KeyValue>,
    ) -> Place {
        let outcome = outcome.and_then(|item| self.known::<v1::Outcome>(item));
        let host_says = host.and_then(|item| self.known::<v1::Host>(item));
        let away = host_says.filter(|host| host.value.state() == v1::host::State::Away);
        // Of another claim of the same host's it says nothing.
        let outcome = outcome.filter(|outcome| outcome.value.token == claim.token);
        Place::Claimed {
            claim: Box::new(claim),
            outcome: outcome.map(|outcome| Box::new(outcome.value)),
            host_is_known: host.is_some(),
            away_since: away.map(|host| host.value.since.unwrap_or_default()),
        }
    }

    fn decoded<T: Message + Default>(&self, listing: Listing) -> BTreeMap<String, T> {
        let known = listing.items.iter().filter_map(|item| self.known(item));
        known
            .map(|one| (last(&one.key).to_owned(), one.value))
            .collect()
    }
}

fn by_key(items: &[KeyValue]) -> BTreeMap<&str, &KeyValue> {
    items.iter().map(|item| (item.key.as_str(), item)).collect()
}
