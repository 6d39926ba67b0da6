//! Which job is meant: its id, the beginning of it, or the name of its process.

use prn_fleet::{JobView, Standing};

use crate::context::config::Place;
use crate::failure::Failure;
use crate::fleet::fault::FleetFault;
use crate::which::fleet::OpenFleet;
use crate::which::reference::Reference;

/// The id of the job that is meant. A whole id is not looked up.
///
/// # Errors
/// There is none, or there are several.
pub async fn resolve(open: &OpenFleet, reference: &Reference) -> Result<String, Failure> {
    let word = match reference {
        Reference::Id(id) => return Ok(id.to_string()),
        Reference::Word(word) => word,
    };
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if word.bytes().all(is_digit) {
        let keys = open.fleet.keys();
        let (all, prefix) = (keys.job(""), keys.job(word));
        let found = open.fleet.etcd().read_first(&prefix, 2).await;
        let found = found.map_err(FleetFault::from)?;
        let mut ids = found.iter().filter_map(|item| item.key.strip_prefix(&all));
        match (ids.next(), ids.next()) {
            (Some(only), None) => return Ok(only.to_owned()),
            (Some(_), Some(_)) => return Err(FleetFault::Ambiguous(word.clone()).into()),
            (None, _) => {}
        }
    }
    let jobs = open.jobs().await?;
    match called(word, &jobs) {
        Called::One(id) => Ok(id.to_owned()),
        Called::Several(ids) => {
            let (name, ids) = (word.clone(), ids.into_iter().map(str::to_owned).collect());
            Err(FleetFault::SameName { name, ids }.into())
        }
        Called::None if is_fleet(word) => Err(FleetFault::NoJobButFleet(word.clone()).into()),
        Called::None => Err(FleetFault::NoJob(word.clone()).into()),
    }
}

/// Whether the configuration has a fleet of this name: then it was meant for the flag.
fn is_fleet(word: &str) -> bool {
    let config = Place::of_environment().and_then(|place| place.load());
    config.is_ok_and(|config| config.fleet(word).is_ok())
}

/// Which job has a name.
#[derive(Debug, PartialEq, Eq)]
enum Called<'a> {
    None,
    One(&'a str),
    /// These are not over, and all have it.
    Several(Vec<&'a str>),
}

/// The one of that name that is not over; where all are, the newest. Oldest first.
fn called<'a>(name: &str, jobs: &'a [JobView]) -> Called<'a> {
    let is_called = |view: &&JobView| {
        let first = view.job.attempts.first();
        first.is_some_and(|start| start.name == *name)
    };
    let mut found = jobs.iter().filter(is_called);
    let is_live = |view: &&JobView| !view.is_over() && view.standing() != Standing::Gone;
    let live: Vec<_> = found.clone().filter(is_live).map(id_of).collect();
    match (live.as_slice(), found.next_back()) {
        ([only], _) => Called::One(only),
        ([], Some(newest)) => Called::One(&newest.id),
        ([], None) => Called::None,
        _ => Called::Several(live),
    }
}

fn id_of(view: &JobView) -> &str {
    &view.id
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Called, JobView, called};
    use prn_fleet::{Place, v1};
    use prn_proto::v1::StartRequest;

    fn job(id: &str, name: &str, state: Option<v1::outcome::State>) -> JobView {
        let start = StartRequest {
            name: name.to_owned(),
            ..StartRequest::default()
        };
        let closed = |state: v1::outcome::State| v1::Claim {
            closed: Some(v1::Outcome {
                state: state.into(),
                ..v1::Outcome::default()
            }),
            ..v1::Claim::default()
        };
        JobView {
            id: id.to_owned(),
            job: v1::Job {
                attempts: vec![start],
                ..v1::Job::default()
            },
            place: match state {
                None => Place::Waiting(Box::default()),
                Some(state) => Place::Claimed {
                    claim: Box::new(closed(state)),
                    outcome: None,
                    host_is_known: true,
                    away_since: None,
                },
            },
            late: BTreeMap::new(),
        }
    }

    #[test]
    fn a_live_job_of_a_name_comes_before_those_that_are_over() {
        let ended = Some(v1::outcome::State::Withdrawn);
        let mut jobs = vec![job("1", "web", ended), job("2", "db", None)];
        assert_eq!(called("none", &jobs), Called::None);
        assert_eq!(called("web", &jobs), Called::One("1"));
        jobs.push(job("3", "web", None));
        jobs.push(job("4", "web", ended));
        assert_eq!(called("web", &jobs), Called::One("3"), "it is live");
        jobs.remove(2);
        assert_eq!(called("web", &jobs), Called::One("4"), "the newest");
        jobs.extend([job("5", "web", None), job("6", "web", None)]);
        assert_eq!(called("web", &jobs), Called::Several(vec!["5", "6"]));
    }
}
