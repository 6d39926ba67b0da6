//! Jobs that have ended are kept for a while, and no longer.

use std::time::{Duration, SystemTime};

use crate::error::FleetError;
use crate::etcd::Txn;
use crate::fleet::Fleet;
use crate::outcomes::is_final;
use crate::records::record;
use crate::v1;

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
    /// [`FleetError::Etcd`], [`FleetError::Malformed`].
    pub async fn prune(&self, keep: Keep, most: u64) -> Result<u64, FleetError> {
        let prefix = self.keys().all_finished();
        let surplus = self.etcd().count(&prefix).await?.saturating_sub(keep.count);
        let limit = i64::try_from(most).unwrap_or(i64::MAX);
        let oldest = self.etcd().read_some(&prefix, &prefix, limit, 0).await?;
        let now = SystemTime::now();
        let mut pruned = 0;
        for item in &oldest.items {
            let malformed = || FleetError::Malformed {
                key: item.key.clone(),
            };
            let (at, id) = self.keys().of_finished(&item.key).ok_or_else(malformed)?;
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
        let (claim_key, queue) = (keys.claim(id), keys.waiting(id));
        let (claim, _) = self.etcd().read(&claim_key).await?;
        let mut txn = Txn::new().delete(end);
        if let Some(claim) = &claim {
            let claim = record::<v1::Claim>(claim)?;
            let outcome_key = keys.outcome(&claim.value.host, id);
            let (outcome, _) = self.etcd().read(&outcome_key).await?;
            let outcome = outcome.as_ref().map(record::<v1::Outcome>).transpose()?;
            let known = claim.value.closed.as_ref();
            let known = known.or(outcome.as_ref().map(|outcome| &outcome.value));
            if known.is_some_and(|known| is_final(known.state())) {
                let mut all = txn
                    .if_at(&claim_key, claim.revision)
                    .if_absent(&queue)
                    .delete(&keys.job(id))
                    .delete(&claim_key)
                    .delete(&outcome_key);
                let past = claim.value.waiting.unwrap_or_default().past;
                let mut hosts: Vec<_> = past.into_iter().map(|past| past.host).collect();
                hosts.push(claim.value.host);
                hosts.sort();
                hosts.dedup();
                for host in hosts {
                    all = all.delete(&keys.late(&host, id));
                }
                if self.etcd().commit(&all).await?.succeeded {
                    return Ok(());
                }
                txn = Txn::new().delete(end);
            }
        }
        self.etcd().commit(&txn).await?;
        Ok(())
    }
}
