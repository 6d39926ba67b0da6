//! Which jobs are meant, by what they are.

use std::collections::BTreeMap;
use std::time::SystemTime;

use prn_client::{ExitKind, LabelIs, LabelMatch, Outcome, Selector, State};
use prn_fleet::{JobView, Standing};

/// Whether a job is one of these: of its first attempt, what it asks for; of its last claim, how it is.
pub fn is_chosen(selector: &Selector, view: &JobView) -> bool {
    let Some(start) = view.job.attempts.first() else {
        return false;
    };
    let labels: BTreeMap<_, _> = start.labels.iter().collect();
    let is_of_state = match selector.state {
        None => true,
        Some(State::Running) => view.standing() == Standing::Running,
        Some(State::Stopped) => view.is_over(),
    };
    let is_of_outcome = match selector.outcome {
        None => true,
        Some(Outcome::Succeeded) => view.is_over() && has_succeeded(view),
        Some(Outcome::Failed) => view.is_over() && !has_succeeded(view),
    };
    let is_in =
        |asked: &Option<String>, has: &str| asked.as_deref().is_none_or(|asked| asked == has);
    let is_named = selector.names.is_empty() || selector.names.contains(&start.name);
    is_of_state
        && is_of_outcome
        && is_named
        && is_in(&selector.workspace, &start.workspace)
        && is_in(&selector.started_by, &view.job.submitted_by)
        && selector.labels.iter().all(|label| matches(label, &labels))
}

fn has_succeeded(view: &JobView) -> bool {
    let known = view
        .outcome()
        .filter(|_| view.standing() == Standing::Ended);
    let exit = known.and_then(|known| known.exit_cause.clone());
    let exit = exit.map(prn_client::Exit::from);
    exit.is_some_and(|exit| exit.kind == ExitKind::Exited && exit.code == Some(0))
}

fn matches(label: &LabelMatch, labels: &BTreeMap<&String, &String>) -> bool {
    let value = labels.get(&label.key).map(|value| value.as_str());
    match &label.is {
        LabelIs::Equal(asked) => value == Some(asked),
        LabelIs::NotEqual(asked) => value != Some(asked),
        LabelIs::Set => value.is_some(),
        LabelIs::Unset => value.is_none(),
    }
}

/// Whether it was submitted in this time.
pub fn is_of_time(view: &JobView, since: Option<SystemTime>, until: Option<SystemTime>) -> bool {
    let at: Option<SystemTime> = view.job.submitted_at.and_then(|time| time.try_into().ok());
    since.is_none_or(|since| at.is_some_and(|at| at >= since))
        && until.is_none_or(|until| at.is_some_and(|at| at < until))
}

#[cfg(test)]
mod tests {
    use super::*;
    use prn_client::LabelSelector;
    use prn_fleet::{Place, v1};
    use prn_proto::v1::{ExitCause, StartRequest, exit_cause::Kind};

    fn view(code: Option<i32>) -> JobView {
        let start = StartRequest {
            command: "true".to_owned(),
            name: "web".to_owned(),
            labels: [("a".to_owned(), "b".to_owned())].into(),
            ..StartRequest::default()
        };
        let outcome = code.map(|exit_code| {
            Box::new(v1::Outcome {
                state: v1::outcome::State::Ended.into(),
                exit_cause: Some(ExitCause {
                    kind: Kind::Exited.into(),
                    exit_code,
                    ..ExitCause::default()
                }),
                ..v1::Outcome::default()
            })
        });
        JobView {
            id: "0".repeat(32),
            job: v1::Job {
                attempts: vec![start],
                ..v1::Job::default()
            },
            place: Place::Claimed {
                claim: Box::default(),
                outcome,
                host_is_known: true,
                away_since: None,
            },
            late: BTreeMap::new(),
        }
    }

    #[test]
    fn jobs_are_chosen_by_how_they_ended_and_by_labels() {
        let mut selector = Selector::default();
        assert!(is_chosen(&selector, &view(None)));
        selector.state = Some(State::Running);
        assert!(!is_chosen(&selector, &view(None)), "it is being started");
        selector.state = None;
        selector.outcome = Some(Outcome::Failed);
        assert!(is_chosen(&selector, &view(Some(3))));
        assert!(!is_chosen(&selector, &view(Some(0))) && !is_chosen(&selector, &view(None)));
        selector.outcome = Some(Outcome::Succeeded);
        assert!(is_chosen(&selector, &view(Some(0))));
        for (labels, is_so) in [
            ("a=b", true),
            ("a!=b", false),
            ("a", true),
            ("!a", false),
            ("c!=b", true),
        ] {
            let mut selector = Selector::default();
            selector.labels = labels.parse::<LabelSelector>().unwrap().0;
            assert_eq!(is_chosen(&selector, &view(None)), is_so, "{labels}");
        }
        let mut named = Selector::default();
        named.names = vec!["db".to_owned()];
        assert!(!is_chosen(&named, &view(None)));
    }
}
