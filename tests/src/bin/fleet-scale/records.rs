//! Records of a fleet as its jobs have them, to be counted: real messages, of ordinary contents.

use std::time::{Duration, SystemTime};

use prn_fleet::{Keys, encoded, v1};
use prn_proto::v1::{EnvironmentVariable, StartRequest};
use v1::outcome::State;

/// The fleet's name.
pub const FLEET: &str = "prod";

/// Bytes of one job's keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// `jobs/ID`.
    pub job: u64,
    /// `queue/ID`.
    pub waiting: u64,
    /// `claims/ID`.
    pub claim: u64,
    /// `outcomes/HOST/ID`, when it runs.
    pub running: u64,
    /// `outcomes/HOST/ID`, when it has ended.
    pub ended: u64,
    /// `finished/TIME-ID`.
    pub finished: u64,
    /// `hosts/HOST`.
    pub host: u64,
}

impl Sizes {
    /// Of a job that has ended, as long as it is kept.
    pub fn kept(&self) -> u64 {
        self.job + self.claim + self.ended + self.finished
    }

    /// All that is written of a job from its submission to its end, by keys.
    pub fn written(&self) -> u64 {
        let starting = self.running;
        // What is deleted leaves a mark of its key.
        self.kept() + self.waiting + starting + self.running + KEY
    }
}

/// A key's bytes, about.
const KEY: u64 = 50;

fn id(number: u64) -> String {
    format!("{:016x}{number:016x}", 0x5eed)
}

fn at(seconds: u64) -> Option<prost_types::Timestamp> {
    let base = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    Some((base + Duration::from_micros(seconds * 1_000_000 + 123_456)).into())
}

fn token(number: u64) -> String {
    format!("{number:032x}")
}

fn epoch() -> String {
    "0123456789abcdef0123456789abcdef".to_owned()
}

/// A job: a program with four arguments and three variables, two labels, and one attempt.
pub fn job(number: u64) -> v1::Job {
    let variable = |name: &str, value: &str| EnvironmentVariable {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let words = ["--input", "/srv/data/2027/day-017.parquet", "--level", "3"];
    let attempt = StartRequest {
        command: "/usr/local/bin/convert".to_owned(),
        args: words.iter().map(|word| (*word).to_owned()).collect(),
        id: id(number),
        environment: vec![
            variable("LANG", "C.UTF-8"),
            variable("PATH", "/usr/local/bin:/usr/bin:/bin"),
            variable("RUN", "day-017"),
        ],
        working_directory: "/srv/work".to_owned(),
        output_max_bytes: 16 << 20,
        ..StartRequest::default()
    };
    v1::Job {
        attempts: vec![attempt],
        digest: "0".repeat(64),
        on: labels(),
        needs: Some(v1::Resources {
            processes: 1,
            memory_bytes: 256 << 20,
            cpu_millis: 500,
        }),
        submitted_at: at(number),
        submitted_by: "anna@ci".to_owned(),
        ..v1::Job::default()
    }
}

fn labels() -> std::collections::BTreeMap<String, String> {
    let pairs = [("zone", "eu-1a"), ("kind", "batch")];
    let pairs = pairs.iter().copied();
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn waiting(number: u64) -> v1::Waiting {
    let job = job(number);
    v1::Waiting {
        token: token(number),
        on: job.on,
        needs: job.needs,
        ..v1::Waiting::default()
    }
}

fn outcome(number: u64, state: State) -> v1::Outcome {
    let mut outcome = v1::Outcome {
        state: state.into(),
        token: token(number),
        process_id: id(number),
        boot_epoch: epoch(),
        started_at: at(number),
        written_at: at(number),
        writing: token(number + 1),
        ..v1::Outcome::default()
    };
    if state == State::Ended {
        outcome.ended_at = at(number + 10);
        outcome.output_end = 40_000;
        outcome.exit_cause = Some(prn_proto::v1::ExitCause::default());
    }
    outcome
}

fn host() -> v1::Host {
    let all = v1::Resources {
        processes: 100,
        memory_bytes: 64 << 30,
        cpu_millis: 16_000,
    };
    v1::Host {
        state: v1::host::State::Ready.into(),
        address: "host-01234.example.com:50051".to_owned(),
        fingerprints: vec![format!("SHA256:{}", "0".repeat(43))],
        labels: labels(),
        capacity: Some(all),
        free: Some(all),
        boot_epoch: epoch(),
        version: "0.1.0".to_owned(),
        since: at(0),
        ..v1::Host::default()
    }
}

/// Of an ordinary job and host.
pub fn sizes() -> Sizes {
    let keys = Keys::new(FLEET).expect("a fleet's name");
    let (number, name) = (1, "host-01234");
    let id = id(number);
    let of = |key: String, value: Vec<u8>| (key.len() + value.len()) as u64;
    let claim = v1::Claim {
        host: name.to_owned(),
        token: token(number),
        boot_epoch: epoch(),
        claimed_at: at(number),
        waiting: Some(waiting(number)),
        closed: None,
    };
    let written = |state| {
        let value = encoded(&outcome(number, state));
        of(keys.outcome(name, &id), value)
    };
    Sizes {
        job: of(keys.job(&id), encoded(&job(number))),
        waiting: of(keys.waiting(&id), encoded(&waiting(number))),
        claim: of(keys.claim(&id), encoded(&claim)),
        running: written(State::Running),
        ended: written(State::Ended),
        finished: of(keys.finished(SystemTime::UNIX_EPOCH, &id), Vec::new()),
        host: of(keys.host(name), encoded(&host())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_a_job_is_part_of_what_was_written() {
        let sizes = sizes();
        assert!(sizes.kept() < sizes.written(), "{sizes:?}");
        assert!(sizes.job > 200 && sizes.claim > sizes.waiting, "{sizes:?}");
    }

    #[test]
    fn a_longer_command_makes_a_longer_job() {
        let mut long = job(1);
        let before = encoded(&long).len();
        long.attempts[0].args.push("x".repeat(100));
        assert_eq!(encoded(&long).len(), before + 102);
    }
}
