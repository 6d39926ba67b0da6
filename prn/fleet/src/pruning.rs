//! Jobs that have ended are kept for a while, and no longer.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use crate::error::FleetError;
use crate::etcd::Txn;
use crate::fleet::Fleet;
use crate::outcomes::{closed, is_final};
use crate::records::Record;
use crate::v1;

/// Two keys each, and etcd takes 128 in a transaction by default.
const HOSTS_AT_A_TIME: usize = 50;

/// How many that have ended are kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Most of them: the oldest ends go first.
    pub count: u64,
    /// No longer than this.
    pub age: Duration,
}

impl Default for Keep {
    /// 10,000 of them, for a week.
    fn default() -> Self {
        Self {
            count: 10_000,
            age: Duration::from_secs(7 * 24 * 60 * 60),
        }
    }
}

impl Fleet {
    /// Prunes jobs whose end is older than what is kept, at most so many: ask again while that is how
    /// many there were. For whoever may write jobs. How many ends were pruned.
    ///
    /// # Errors
    /// [`FleetError::Etcd`].
    pub async fn prune(&self, keep: Keep, most: u64) -> Result<u64, FleetError> {
        let prefix = self.keys().all_finished();
        let surplus = self.etcd().count(&prefix).await?.saturating_sub(keep.count);
        let limit = i64::try_from(most).unwrap_or(i64::MAX);
        let oldest = self.etcd().read_first(&prefix, limit).await?;
        let now = SystemTime::now();
        let mut pruned = 0;
        for item in &oldest {
            let Some((at, id)) = self.keys().of_finished(&item.key) else {
                // The end of nothing: it would be in the way of all others.
                self.pass_over(&item.key);
                self.etcd().commit(&Txn::new().delete(&item.key)).await?;
                pruned += 1;
                continue;
            };
            let age = now.duration_since(at).unwrap_or_default();
            if pruned >= surplus && age <= keep.age {
                break;
            }
            self.prune_one(&item.key, id).await?;
            pruned += 1;
        }
        Ok(pruned)
    }

    /// One that is at its end still; of one that has begun again, that it was at an end.
    async fn prune_one(&self, end: &str, id: &str) -> Result<(), FleetError> {
        let keys = self.keys();
        let (claim, _) = self.etcd().read(&keys.claim(id)).await?;
        let claim = claim.and_then(|claim| self.known::<v1::Claim>(&claim));
        if let Some(claim) = claim {
            let outcome_key = keys.outcome(&claim.value.host, id);
            let (outcome, _) = self.etcd().read(&outcome_key).await?;
            let outcome = outcome.and_then(|outcome| self.known::<v1::Outcome>(&outcome));
            let known = closed(&claim.value).or(outcome.as_ref().map(|outcome| &outcome.value));
            let is_over = known.is_some_and(|known| is_final(known.state()));
            let is_over = is_over && self.contradicts(id, &claim.value).await?.is_none();
            if is_over && self.prune_job(end, id, &claim).await? {
                return Ok(());
            }
        }
        self.etcd().commit(&Txn::new().delete(end)).await?;
        Ok(())
    }

    /// All that there is of a job, what hosts know that have had it before first. False: it has begun
    /// again meanwhile.
    async fn prune_job(
        &self,
        end: &str,
        id: &str,
        claim: &Record<v1::Claim>,
    ) -> Result<bool, FleetError> {
        let keys = self.keys();
        let queue = keys.waiting(id);
        let still = || {
            let guard = Txn::new().if_at(&claim.key, claim.revision);
            guard.if_absent(&queue)
        };
        let past = claim.value.waiting.iter().flat_map(|of| &of.past);
        let mut hosts: BTreeSet<_> = past.map(|past| past.host.as_str()).collect();
        hosts.remove(claim.value.host.as_str());
        let hosts: Vec<_> = hosts.into_iter().collect();
        for some in hosts.chunks(HOSTS_AT_A_TIME) {
            let txn = some.iter().fold(still(), |txn, host| {
                txn.delete(&keys.outcome(host, id))
                    .delete(&keys.late(host, id))
            });
            if !self.etcd().commit(&txn).await?.succeeded {
                return Ok(false);
            }
        }
        let host = &claim.value.host;
        let all = still()
            .delete(end)
            .delete(&keys.job(id))
            .delete(&claim.key)
            .delete(&keys.outcome(host, id))
            .delete(&keys.late(host, id));
        Ok(self.etcd().commit(&all).await?.succeeded)
    }
}
