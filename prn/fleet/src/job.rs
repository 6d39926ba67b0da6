//! What a job is, whether a host can take it, and how it is submitted.

use std::collections::BTreeMap;
use std::time::SystemTime;

use prn_proto::id::ProcessId;
use prost::Message;

use crate::error::FleetError;
use crate::etcd::{Txn, token};
use crate::fleet::Fleet;
use crate::past::is_refusal;
use crate::records::{JOB_BYTES_MAX, record};
use crate::v1;

/// Most attempts of a job.
pub const ATTEMPTS_MAX: u32 = 16;

/// A job that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// Its id: that of its first attempt.
    pub id: String,
    /// It was there before.
    pub was_there: bool,
}

/// SHA-256 (64 lower-case hexadecimal digits) of what a job asks for: all of it but ids, signatures,
/// and who has submitted it when.
pub fn digest(job: &v1::Job) -> String {
    let mut plain = job.clone();
    plain.digest.clear();
    plain.submitted_at = None;
    plain.submitted_by.clear();
    for attempt in &mut plain.attempts {
        attempt.id.clear();
        attempt.signature = None;
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, &plain.encode_to_vec());
    let digits = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
    digits.collect()
}

/// Whether a job may run on a host of this name and these labels, however full that is.
pub fn fits(waiting: &v1::Waiting, host: &str, labels: &BTreeMap<String, String>) -> bool {
    let is_there = waiting.host.is_empty() || waiting.host == host;
    let has = |(key, value): (&String, &String)| labels.get(key) == Some(value);
    let gave_it_back = |past: &v1::Past| past.host == host && is_refusal(past, waiting.attempt);
    is_there && waiting.on.iter().all(has) && !waiting.past.iter().any(gave_it_back)
}

/// Whether what is free is enough.
pub fn has_room(free: &v1::Resources, needs: &v1::Resources) -> bool {
    free.processes >= needs.processes.max(1)
        && free.memory_bytes >= needs.memory_bytes
        && free.cpu_millis >= needs.cpu_millis
}

/// The id of a job, if it can be submitted.
fn check(job: &v1::Job) -> Result<String, FleetError> {
    let mut ids = Vec::new();
    for attempt in &job.attempts {
        if attempt.id.parse::<ProcessId>().is_err() || ids.contains(&&attempt.id) {
            let why =
                "each attempt of a job has an id of its own: 32 lower-case hexadecimal digits";
            return Err(FleetError::Invalid(why));
        }
        ids.push(&attempt.id);
    }
    let few = u32::try_from(ids.len()).is_ok_and(|count| count <= ATTEMPTS_MAX);
    let first = ids.first().filter(|_| few);
    let first = first.ok_or(FleetError::Invalid("a job has 1 to 16 attempts"))?;
    if usize::try_from(job.retries).is_ok_and(|retries| retries >= job.attempts.len()) {
        let why = "a job has one attempt more than retries, at least";
        return Err(FleetError::Invalid(why));
    }
    if !job.host.is_empty() && !crate::keys::is_name(&job.host) {
        return Err(FleetError::Name(job.host.clone()));
    }
    if job.encoded_len() > JOB_BYTES_MAX {
        let why =
            "a job takes at most 1 MiB: have fewer retries, or shorter arguments and variables";
        return Err(FleetError::Invalid(why));
    }
    Ok((*first).clone())
}

/// A job in the queue.
pub(crate) fn waiting(job: &v1::Job, attempt: u32) -> Result<v1::Waiting, FleetError> {
    let token = token()?;
    Ok(v1::Waiting {
        attempt,
        token,
        on: job.on.clone(),
        host: job.host.clone(),
        needs: job.needs,
        deadline: job.deadline,
        not_before: None,
        past: Vec::new(),
    })
}

impl Fleet {
    /// Submits a job. Safe to repeat: the same id and digest are the same job. Its `digest` and
    /// `submitted_at` are set here.
    ///
    /// # Errors
    /// [`FleetError::Invalid`]; [`FleetError::OtherJob`]; [`FleetError::Etcd`]: whether it is there is
    /// unknown if that is [`Unreachable`](crate::etcd::EtcdError::Unreachable).
    pub async fn submit(&self, mut job: v1::Job) -> Result<Submitted, FleetError> {
        let id = check(&job)?;
        job.digest = digest(&job);
        job.submitted_at.get_or_insert(SystemTime::now().into());
        let waiting = waiting(&job, 0)?;
        let keys = self.keys();
        let (at, queue) = (keys.job(&id), keys.waiting(&id));
        let txn = Txn::new()
            .if_absent(&at)
            .put(&at, job.encode_to_vec())
            .put(&queue, waiting.encode_to_vec())
            .or_read(&at);
        let committed = self.etcd().commit(&txn).await?;
        if committed.succeeded {
            return Ok(Submitted {
                id,
                was_there: false,
            });
        }
        let found = committed.read.into_iter().next().flatten();
        let found = found.ok_or_else(|| FleetError::Changed(id.clone()))?;
        let found = record::<v1::Job>(&found)?.value;
        if found.digest != job.digest {
            return Err(FleetError::OtherJob(id));
        }
        // The answer to the first of two may have been lost: then it is this very one.
        let was_there = found.submitted_at != job.submitted_at;
        Ok(Submitted { id, was_there })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(ids: &[&str]) -> v1::Job {
        let attempt = |id: &&str| prn_proto::v1::StartRequest {
            command: "true".to_owned(),
            id: (*id).to_owned(),
            ..prn_proto::v1::StartRequest::default()
        };
        v1::Job {
            attempts: ids.iter().map(attempt).collect(),
            ..v1::Job::default()
        }
    }

    const ONE: &str = "00000000000000000000000000000001";
    const TWO: &str = "00000000000000000000000000000002";

    #[test]
    fn a_job_is_what_it_asks_for_and_not_its_ids() {
        let mut other = job(&[TWO]);
        assert_eq!(digest(&job(&[ONE])), digest(&other));
        other.submitted_by = "anna".to_owned();
        assert_eq!(digest(&job(&[ONE])), digest(&other));
        other.may_run_twice = true;
        assert_ne!(digest(&job(&[ONE])), digest(&other));
        assert_ne!(digest(&job(&[ONE])), digest(&job(&[ONE, TWO])));
    }

    #[test]
    fn a_job_without_an_attempt_for_each_retry_is_refused() {
        assert_eq!(check(&job(&[ONE, TWO])).unwrap(), ONE);
        for bad in [&[][..], &["x"], &[ONE, ONE], &[ONE; 17]] {
            assert!(check(&job(bad)).is_err(), "{bad:?}");
        }
        let mut short = job(&[ONE]);
        short.retries = 1;
        assert!(check(&short).is_err());
        let mut large = job(&[ONE]);
        large.attempts[0].args = vec!["x".repeat(JOB_BYTES_MAX)];
        assert!(matches!(check(&large), Err(FleetError::Invalid(_))));
    }

    #[test]
    fn a_job_fits_a_host_by_name_and_labels_unless_that_gave_it_back() {
        let labels: BTreeMap<_, _> = [("zone".to_owned(), "a".to_owned())].into();
        let mut waiting = v1::Waiting::default();
        assert!(fits(&waiting, "web1", &labels));
        waiting.on = labels.clone();
        assert!(fits(&waiting, "web1", &labels));
        assert!(!fits(&waiting, "web1", &BTreeMap::new()));
        waiting.host = "web2".to_owned();
        assert!(!fits(&waiting, "web1", &labels));
        assert!(fits(&waiting, "web2", &labels));
        waiting.past.push(v1::Past {
            host: "web2".to_owned(),
            attempt: 0,
            outcome: Some(v1::Outcome {
                state: v1::outcome::State::Refused.into(),
                ..v1::Outcome::default()
            }),
            times: 1,
        });
        assert!(!fits(&waiting, "web2", &labels));
        waiting.attempt = 1;
        assert!(fits(&waiting, "web2", &labels), "another attempt");
    }

    #[test]
    fn a_job_takes_one_process_at_least() {
        let free = |processes, memory_bytes| v1::Resources {
            processes,
            memory_bytes,
            cpu_millis: 0,
        };
        assert!(has_room(&free(1, 0), &v1::Resources::default()));
        assert!(!has_room(&free(0, 9), &v1::Resources::default()));
        assert!(!has_room(&free(1, 9), &free(1, 10)));
    }
}
