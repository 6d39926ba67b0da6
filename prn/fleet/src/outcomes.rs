//! Claims and what becomes of them.
//!
//! A claim's mod revision is its fence: each transaction about it is guarded by that. So whoever
//! has lost a claim writes nothing over what the next one says.

use prost::Message;

use crate::error::FleetError;
use crate::etcd::{Txn, token};
use crate::fleet::Fleet;
use crate::job::waiting;
use crate::keys::last;
use crate::past::{given_back, remember};
use crate::records::{Record, now, record};
use crate::v1;
use crate::v1::outcome::State;

/// A revision that no key was ever written at.
const NEVER_WRITTEN: i64 = -1;

/// A claim that a host has.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// The job's id.
    pub id: String,
    /// The claim.
    pub claim: v1::Claim,
    /// Its mod revision.
    pub fence: i64,
    /// The job.
    pub job: v1::Job,
}

impl Claimed {
    /// Whether it is another one's by now, as was seen when it was read.
    pub fn is_lost(&self) -> bool {
        self.fence == NEVER_WRITTEN
    }

    /// Which attempt it is.
    pub fn attempt(&self) -> u32 {
        let waiting = self.claim.waiting.as_ref();
        waiting.map(|waiting| waiting.attempt).unwrap_or_default()
    }

    /// Whether what was claimed says of the job's placement what the job does not: somebody else has
    /// written it. The job itself an agent cannot write.
    pub fn is_altered(&self) -> bool {
        let job = &self.job;
        !self.claim.waiting.as_ref().is_some_and(|waiting| {
            waiting.on == job.on
                && waiting.host == job.host
                && waiting.needs == job.needs
                && waiting.deadline == job.deadline
        })
    }

    /// What is to be started. `None`: the job has no such attempt.
    pub fn request(&self) -> Option<&prn_proto::v1::StartRequest> {
        self.job.attempts.get(usize::try_from(self.attempt()).ok()?)
    }

    /// An outcome of it, in this state.
    pub fn outcome(&self, state: State) -> v1::Outcome {
        let request = self.request();
        v1::Outcome {
            state: state.into(),
            token: self.claim.token.clone(),
            attempt: self.attempt(),
            process_id: request.map(|start| start.id.clone()).unwrap_or_default(),
            boot_epoch: self.claim.boot_epoch.clone(),
            ..v1::Outcome::default()
        }
    }

    /// How often this attempt was given back before, because a host had no room.
    pub fn times_given_back(&self) -> u32 {
        let waiting = self.claim.waiting.as_ref();
        waiting.map_or(0, |waiting| given_back(&waiting.past, self.attempt()))
    }

    /// Whether another attempt is left for a job whose attempt has failed.
    pub fn may_retry(&self) -> bool {
        self.attempt() < self.job.retries && self.has_another()
    }

    /// Whether another attempt is left for a job of which nobody knows how its attempt has ended.
    pub fn may_run_again(&self) -> bool {
        self.job.may_run_twice && self.has_another()
    }

    fn has_another(&self) -> bool {
        let next = usize::try_from(self.attempt()).unwrap_or(usize::MAX);
        next.saturating_add(1) < self.job.attempts.len()
    }
}

/// A claim, with what its host has said of it.
type Begun = (Claimed, v1::Outcome);

/// What came of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It is what is known of the job.
    Done,
    /// The claim is another one's by now, or nobody's. What is known here is beside it.
    Fenced,
}

/// Whether nothing follows.
pub fn is_final(state: State) -> bool {
    match state {
        State::Unspecified | State::Starting | State::Running => false,
        State::Ended
        | State::Refused
        | State::NeedsSigning
        | State::Lost
        | State::Expired
        | State::Withdrawn => true,
    }
}

/// Why no host will have a job, if its claim says so: how a host's claim ended, that host alone says.
pub(crate) fn closed(claim: &v1::Claim) -> Option<&v1::Outcome> {
    let closed = claim.closed.as_ref().filter(|_| claim.host.is_empty());
    closed.filter(|closed| match closed.state() {
        State::Refused | State::Expired | State::Withdrawn => true,
        State::Unspecified
        | State::Starting
        | State::Running
        | State::Ended
        | State::NeedsSigning
        | State::Lost => false,
    })
}

/// The claim of a host, as far as what it says tells.
pub(crate) fn claim_of(host: &str, outcome: &v1::Outcome) -> v1::Claim {
    v1::Claim {
        host: host.to_owned(),
        token: outcome.token.clone(),
        boot_epoch: outcome.boot_epoch.clone(),
        waiting: Some(v1::Waiting {
            attempt: outcome.attempt,
            ..v1::Waiting::default()
        }),
        ..v1::Claim::default()
    }
}

/// A claim that is another one's by now, as far as the outcome still says it. Whatever is written of it
/// is fenced.
fn lost(host: &str, id: String, job: v1::Job, outcome: &v1::Outcome) -> Claimed {
    Claimed {
        id,
        claim: claim_of(host, outcome),
        fence: NEVER_WRITTEN,
        job,
    }
}

impl Fleet {
    /// Claims a job for a host, if nobody else has. `None`: somebody has, or it was withdrawn. One
    /// that waits and is claimed, too, was put into the queue by somebody else than prn: it stays
    /// claimed.
    ///
    /// # Errors
    /// [`FleetError::Etcd`]: whether it is claimed is unknown if that is
    /// [`Unreachable`](crate::etcd::EtcdError::Unreachable);
    /// [`Fleet::claims_of`] tells later.
    pub async fn claim(
        &self,
        host: &str,
        boot_epoch: &str,
        seen: &Record<v1::Waiting>,
    ) -> Result<Option<Claimed>, FleetError> {
        let id = last(&seen.key).to_owned();
        let keys = self.keys();
        let (at, job) = (keys.claim(&id), keys.job(&id));
        let claim = v1::Claim {
            host: host.to_owned(),
            token: token()?,
            boot_epoch: boot_epoch.to_owned(),
            claimed_at: Some(now()),
            waiting: Some(seen.value.clone()),
            closed: None,
        };
        let mut claimed = Claimed {
            id,
            claim,
            fence: 0,
            job: v1::Job::default(),
        };
        let mut outcome = claimed.outcome(State::Starting);
        outcome.written_at = Some(now());
        let txn = Txn::new()
            .if_at(&seen.key, seen.revision)
            .if_absent(&at)
            .delete(&seen.key)
            .put(&at, claimed.claim.encode_to_vec())
            .put(&keys.outcome(host, &claimed.id), outcome.encode_to_vec())
            .read(&job)
            .or_read(&at)
            .or_read(&job);
        let committed = self.etcd().commit(&txn).await?;
        let mut read = committed.read.into_iter();
        claimed.fence = committed.revision;
        if !committed.succeeded {
            // Perhaps this is the second time, and the first answer was lost.
            let Some(found) = read.next().flatten() else {
                return Ok(None);
            };
            let found = self.known::<v1::Claim>(&found);
            let Some(found) = found.filter(|found| found.value.token == claimed.claim.token) else {
                return Ok(None);
            };
            claimed.fence = found.revision;
        }
        let found = read.next().flatten();
        let found = found.ok_or_else(|| FleetError::NoJob(claimed.id.clone()))?;
        claimed.job = record(&found)?.value;
        Ok(Some(claimed))
    }

    /// Settles a claim of which it is unknown whether it was done: what waits is written anew, so that
    /// one which is on its way still finds it changed. Whether the job is claimed,
    /// [`Fleet::claims_of`] tells after that.
    ///
    /// # Errors
    /// [`FleetError::Etcd`].
    pub async fn settle(&self, seen: &Record<v1::Waiting>) -> Result<(), FleetError> {
        let mut same = seen.value.clone();
        same.token = token()?;
        let txn = Txn::new()
            .if_at(&seen.key, seen.revision)
            .put(&seen.key, same.encode_to_vec());
        // Where that does not hold, the claim can do nothing, either.
        self.etcd().commit(&txn).await?;
        Ok(())
    }

    /// All claims of a host of which nothing final is known, with what is: what its agent begins with,
    /// and nobody else, for an outcome that is nobody's by now is deleted. What is malformed is left
    /// out: [`Fleet::malformed`].
    ///
    /// # Errors
    /// [`FleetError::Etcd`].
    pub async fn claims_of(&self, host: &str) -> Result<Vec<Begun>, FleetError> {
        let (claims, nobodys) = self.claims_and_nobodys(host).await?;
        for (id, revision) in nobodys {
            self.forget(host, &id, revision).await?;
        }
        Ok(claims)
    }

    /// The same, and what has no claim or no job, another one's by now, or pruned: ids, and revisions of
    /// what was said of them.
    async fn claims_and_nobodys(
        &self,
        host: &str,
    ) -> Result<(Vec<Begun>, Vec<(String, i64)>), FleetError> {
        let all = self.etcd().read_all(&self.keys().outcome(host, "")).await?;
        let (mut claims, mut nobodys) = (Vec::new(), Vec::new());
        for item in &all.items {
            let Some(outcome) = self.known::<v1::Outcome>(item) else {
                continue;
            };
            let outcome = outcome.value;
            if is_final(outcome.state()) {
                continue;
            }
            let Some((_, id)) = self.keys().of_outcome(&item.key) else {
                self.pass_over(&item.key);
                continue;
            };
            let id = id.to_owned();
            let (at, job) = (self.keys().claim(&id), self.keys().job(&id));
            let (read, _) = self.etcd().read_together(&[&at, &job]).await?;
            let mut read = read.into_iter();
            let (Some(claim), Some(job)) = (read.next().flatten(), read.next().flatten()) else {
                nobodys.push((id, item.mod_revision));
                continue;
            };
            let (Some(claim), Some(job)) = (self.known::<v1::Claim>(&claim), self.known(&job))
            else {
                continue;
            };
            let is_ours = claim.value.host == host && claim.value.token == outcome.token;
            let claimed = if is_ours {
                Claimed {
                    id,
                    claim: claim.value,
                    fence: claim.revision,
                    job: job.value,
                }
            } else {
                lost(host, id, job.value, &outcome)
            };
            claims.push((claimed, outcome));
        }
        Ok((claims, nobodys))
    }

    /// Deletes what was said of a claim that is no more, unless more was said since: of a new one.
    async fn forget(&self, host: &str, id: &str, revision: i64) -> Result<(), FleetError> {
        let key = self.keys().outcome(host, id);
        let txn = Txn::new().if_at(&key, revision).delete(&key);
        self.etcd().commit(&txn).await?;
        Ok(())
    }

    /// Says what became of a claim: that it runs, or how it ended. A claim that is another one's by now
    /// keeps that one's outcome, and this is written beside it.
    ///
    /// # Errors
    /// [`FleetError::Etcd`].
    pub async fn record(
        &self,
        claimed: &Claimed,
        mut outcome: v1::Outcome,
    ) -> Result<Recorded, FleetError> {
        outcome.writing = token()?;
        outcome.written_at = Some(now());
        let host = &claimed.claim.host;
        let (at, key) = (
            self.keys().claim(&claimed.id),
            self.keys().outcome(host, &claimed.id),
        );
        let mut txn = self.of_claim(claimed).put(&key, outcome.encode_to_vec());
        if is_final(outcome.state()) {
            txn = txn.put(&self.finished(&claimed.id), Vec::new());
        } else {
            // One that comes late overwrites nothing but what the claim itself has said.
            txn = txn.if_at(&key, claimed.fence);
        }
        // A second time changes nothing: the claim's revision is the same, and so is what is written.
        let committed = self.etcd().commit(&txn.or_read(&at)).await?;
        let claim = committed.read.into_iter().next().flatten();
        let is_ours = claim.as_ref().map(|claim| claim.mod_revision) == Some(claimed.fence);
        if committed.succeeded || is_ours {
            return Ok(Recorded::Done);
        }
        let late = self.keys().late(host, &claimed.id);
        let mut beside = Txn::new().put(&late, outcome.encode_to_vec());
        // Unless this host has the newer claim, too; or an agent after this one is to tell the end.
        // Whose a malformed one is, nobody knows.
        let is_others = claim.is_none_or(|item| {
            let claim = self.known::<v1::Claim>(&item);
            claim.is_some_and(|claim| claim.value.host != *host)
        });
        if is_others && is_final(outcome.state()) {
            beside = beside.delete(&key);
        }
        self.etcd().commit(&beside).await?;
        Ok(Recorded::Fenced)
    }

    /// Puts a job into the queue again: the next attempt of one that has failed or is lost, or the same
    /// attempt of one that this host does not start. `outcome` is what becomes known of the claim. It is
    /// not claimed before `not_before`. What the host has said itself stays, for when it is back.
    ///
    /// # Errors
    /// [`FleetError::Etcd`].
    pub async fn requeue(
        &self,
        claimed: &Claimed,
        outcome: v1::Outcome,
        attempt: u32,
        not_before: Option<prost_types::Timestamp>,
    ) -> Result<Recorded, FleetError> {
        let txn = self.of_claim(claimed);
        self.put_back(txn, claimed, outcome, attempt, not_before)
            .await
    }

    /// The same by the host itself: its outcome is no more, but for what the queue says of it.
    ///
    /// # Errors
    /// [`FleetError::Etcd`].
    pub async fn give_back(
        &self,
        claimed: &Claimed,
        outcome: v1::Outcome,
        attempt: u32,
        not_before: Option<prost_types::Timestamp>,
    ) -> Result<Recorded, FleetError> {
        let late = outcome.clone();
        let own = self.keys().outcome(&claimed.claim.host, &claimed.id);
        let txn = self.of_claim(claimed).delete(&own);
        let put = self.put_back(txn, claimed, outcome, attempt, not_before);
        match put.await? {
            Recorded::Done => Ok(Recorded::Done),
            Recorded::Fenced => self.record(claimed, late).await,
        }
    }

    async fn put_back(
        &self,
        guarded: Txn,
        claimed: &Claimed,
        mut outcome: v1::Outcome,
        attempt: u32,
        not_before: Option<prost_types::Timestamp>,
    ) -> Result<Recorded, FleetError> {
        outcome.writing = token()?;
        outcome.written_at = Some(now());
        let mine = outcome.writing.clone();
        let mut next = waiting(&claimed.job, attempt)?;
        next.not_before = not_before;
        let before = claimed.claim.waiting.as_ref();
        next.past = before.map(|before| before.past.clone()).unwrap_or_default();
        let past = v1::Past {
            host: claimed.claim.host.clone(),
            attempt: claimed.attempt(),
            outcome: Some(outcome),
            times: 1,
        };
        remember(&mut next.past, past, attempt);
        let (queue, at) = (
            self.keys().waiting(&claimed.id),
            self.keys().claim(&claimed.id),
        );
        let txn = guarded
            .delete(&at)
            .put(&queue, next.encode_to_vec())
            .or_read(&queue)
            .or_read(&at);
        let committed = self.etcd().commit(&txn).await?;
        if committed.succeeded {
            return Ok(Recorded::Done);
        }
        // Perhaps this is the second time, and the first answer was lost.
        let mut read = committed.read.into_iter();
        let there = read.next().flatten();
        let there = there.and_then(|item| self.known::<v1::Waiting>(&item));
        let claim = read.next().flatten();
        let claim = claim.and_then(|item| self.known::<v1::Claim>(&item));
        let claim = claim.and_then(|claim| claim.value.waiting);
        let there = there.map(|there| there.value).or(claim);
        let past = there.map(|there| there.past).unwrap_or_default();
        let is_mine = |past: &v1::Past| past.outcome.as_ref().is_some_and(|of| of.writing == mine);
        Ok(if past.iter().any(is_mine) {
            Recorded::Done
        } else {
            Recorded::Fenced
        })
    }

    /// Puts those jobs of a host that is gone into the queue again that may run twice. How many there
    /// were, and how many of them are waiting again.
    ///
    /// # Errors
    /// [`FleetError::Etcd`].
    pub async fn requeue_lost(&self, host: &str) -> Result<(usize, usize), FleetError> {
        let (here, _) = self.etcd().read(&self.keys().host(host)).await?;
        if here.is_some() {
            return Ok((0, 0));
        }
        let (mut all, mut again) = (0, 0);
        for (claimed, outcome) in self.claims_and_nobodys(host).await?.0 {
            if claimed.is_lost() {
                continue;
            }
            all += 1;
            if !claimed.may_run_again() {
                continue;
            }
            let mut lost = outcome;
            lost.state = State::Lost.into();
            lost.reason = "HOST_LOST".to_owned();
            lost.why = format!("the agent of {host} has not been heard of");
            let next = claimed.attempt() + 1;
            match self.requeue(&claimed, lost, next, None).await {
                Ok(Recorded::Done) => again += 1,
                Ok(Recorded::Fenced) => {}
                // Changed by whoever writes that: the others are not.
                Err(FleetError::Malformed { key }) => self.pass_over(&key),
                Err(error) => return Err(error),
            }
        }
        Ok((all, again))
    }

    /// Takes a job out of the queue before a host has it, for good: it was withdrawn, or its deadline has
    /// passed. False: it does not wait, or not any more.
    ///
    /// # Errors
    /// [`FleetError::Etcd`], [`FleetError::Malformed`].
    pub async fn close(&self, id: &str, state: State, why: &str) -> Result<bool, FleetError> {
        let queue = self.keys().waiting(id);
        let (found, _) = self.etcd().read(&queue).await?;
        let Some(found) = found.as_ref().map(record::<v1::Waiting>).transpose()? else {
            return Ok(false);
        };
        let outcome = v1::Outcome {
            state: state.into(),
            why: why.to_owned(),
            ..v1::Outcome::default()
        };
        self.close_as(&found, outcome).await
    }

    /// The same with all that is known of why, if what waits is as it was seen, and not claimed,
    /// too.
    ///
    /// # Errors
    /// [`FleetError::Etcd`].
    pub async fn close_as(
        &self,
        seen: &Record<v1::Waiting>,
        mut outcome: v1::Outcome,
    ) -> Result<bool, FleetError> {
        let id = last(&seen.key);
        outcome.attempt = seen.value.attempt;
        outcome.written_at = Some(now());
        let claim = v1::Claim {
            token: token()?,
            claimed_at: Some(now()),
            closed: Some(outcome),
            waiting: Some(seen.value.clone()),
            ..v1::Claim::default()
        };
        let at = self.keys().claim(id);
        let txn = Txn::new()
            .if_at(&seen.key, seen.revision)
            .if_absent(&at)
            .delete(&seen.key)
            .put(&at, claim.encode_to_vec())
            .put(&self.finished(id), Vec::new())
            .or_read(&at);
        let committed = self.etcd().commit(&txn).await?;
        let there = committed.read.into_iter().next().flatten();
        let there = there.and_then(|item| self.known::<v1::Claim>(&item));
        Ok(committed.succeeded || there.is_some_and(|there| there.value.token == claim.token))
    }

    /// Puts a job that waits to be signed anew into the queue, with what is signed now: the same job
    /// but for its signatures, and for ids where those are new.
    ///
    /// # Errors
    /// [`FleetError::NoJob`]; [`FleetError::OtherJob`]; [`FleetError::Changed`]: it does not wait for that.
    pub async fn sign_anew(&self, id: &str, job: v1::Job) -> Result<(), FleetError> {
        let (at, key) = (self.keys().claim(id), self.keys().job(id));
        let (read, _) = self.etcd().read_together(&[&key, &at]).await?;
        let mut read = read.into_iter();
        let there = read.next().flatten();
        let there = there.ok_or_else(|| FleetError::NoJob(id.to_owned()))?;
        let (revision, there) = (there.mod_revision, record::<v1::Job>(&there)?.value);
        let claim = read.next().flatten();
        let claim = claim.ok_or_else(|| FleetError::Changed(id.to_owned()))?;
        let claim = record::<v1::Claim>(&claim)?;
        let outcome = self.keys().outcome(&claim.value.host, id);
        let (known, _) = self.etcd().read(&outcome).await?;
        let known = known.as_ref().map(record::<v1::Outcome>).transpose()?;
        let needs = |known: &Record<v1::Outcome>| known.value.state() == State::NeedsSigning;
        if !known.as_ref().is_some_and(needs) {
            return Err(FleetError::Changed(id.to_owned()));
        }
        let mut signed = job;
        signed.digest = crate::job::digest(&signed);
        if signed.digest != there.digest {
            return Err(FleetError::OtherJob(id.to_owned()));
        }
        signed.submitted_at = there.submitted_at;
        let before = claim.value.waiting.unwrap_or_default();
        let mut next = waiting(&signed, before.attempt)?;
        next.past = before.past;
        let queue = self.keys().waiting(id);
        let txn = Txn::new()
            .if_at(&key, revision)
            .if_at(&at, claim.revision)
            .put(&key, signed.encode_to_vec())
            .delete(&at)
            .put(&queue, next.encode_to_vec())
            .or_read(&queue);
        let committed = self.etcd().commit(&txn).await?;
        let found = committed.read.into_iter().next().flatten();
        let found = found.as_ref().map(record::<v1::Waiting>).transpose()?;
        if committed.succeeded || found.is_some_and(|found| found.value.token == next.token) {
            return Ok(());
        }
        Err(FleetError::Changed(id.to_owned()))
    }

    fn of_claim(&self, claimed: &Claimed) -> Txn {
        Txn::new().if_at(&self.keys().claim(&claimed.id), claimed.fence)
    }

    fn finished(&self, id: &str) -> String {
        self.keys().finished(std::time::SystemTime::now(), id)
    }
}
