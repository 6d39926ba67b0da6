//! Claims that say that no host will have a job, while one has it. Each agent may write all claims,
//! and of outcomes its own host's alone: so a host that is announced is believed in what it says to
//! have.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::FleetError;
use crate::etcd::KeyValue;
use crate::fleet::Fleet;
use crate::keys::{is_name, last};
use crate::outcomes::closed;
use crate::v1;
use crate::v1::outcome::State;

/// Keys that are read in one transaction: etcd takes 128 by default.
const AT_A_TIME: usize = 100;

/// A host, and what it says of a job that it has.
pub(crate) type Said = (String, v1::Outcome);

impl Fleet {
    /// The host that has a job which is nobody's by its claim.
    pub(crate) async fn contradicts(
        &self,
        id: &str,
        claim: &v1::Claim,
    ) -> Result<Option<Said>, FleetError> {
        if closed(claim).is_none() {
            return Ok(None);
        }
        let hosts = self.etcd().read_all(&self.keys().host("")).await?.items;
        let names = hosts.iter().map(|item| last(&item.key));
        let keys = names.filter(|name| is_name(name));
        let keys: Vec<_> = keys.map(|name| self.keys().outcome(name, id)).collect();
        let mut found = Vec::new();
        for some in keys.chunks(AT_A_TIME) {
            let some: Vec<_> = some.iter().map(String::as_str).collect();
            let (read, _) = self.etcd().read_together(&some).await?;
            found.extend(read.into_iter().flatten());
        }
        let said: Vec<_> = found.iter().filter_map(|item| self.said(item)).collect();
        Ok(contradicting(claim, &said).cloned())
    }

    /// What hosts that are announced say of jobs that they have, by the jobs' ids: of these alone.
    pub(crate) fn said_of(
        &self,
        ids: &BTreeSet<&str>,
        outcomes: &BTreeMap<&str, &KeyValue>,
        hosts: &BTreeMap<&str, &KeyValue>,
    ) -> BTreeMap<String, Vec<Said>> {
        let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for item in outcomes.values() {
            let Some((host, id)) = self.keys().of_outcome(&item.key) else {
                self.pass_over(&item.key);
                continue;
            };
            if !ids.contains(id) || !hosts.contains_key(host) {
                continue;
            }
            if let Some(said) = self.said(item) {
                all.entry(id.to_owned()).or_default().push(said);
            }
        }
        all
    }

    /// What an outcome says, of a job that its host has.
    fn said(&self, item: &KeyValue) -> Option<Said> {
        let (host, _) = self.keys().of_outcome(&item.key)?;
        let outcome = self.known::<v1::Outcome>(item)?.value;
        let has_it = matches!(outcome.state(), State::Starting | State::Running);
        has_it.then(|| (host.to_owned(), outcome))
    }
}

/// Which of these contradicts a claim: not one from which the job was taken before.
pub(crate) fn contradicting<'a>(claim: &v1::Claim, said: &'a [Said]) -> Option<&'a Said> {
    closed(claim)?;
    let past = claim.waiting.iter().flat_map(|waiting| &waiting.past);
    let past: BTreeSet<_> = past.map(|past| past.host.as_str()).collect();
    said.iter().find(|(host, _)| !past.contains(host.as_str()))
}
