//! The processes of a job, one attempt after the other, as hosts start them.

use prn_fleet::v1::outcome::State;
use prn_fleet::{JobView, Standing, v1};

use crate::failure::Failure;
use crate::fleet::fault::FleetFault;
use crate::fleet::job_watch::JobWatch;
use crate::fleet::placed::{Placed, attempt_of, has_run, not_run, placed, placed_at, waiting_of};
use crate::fleet::reasons::WaitTelling;
use crate::output;
use crate::which::fleet::OpenFleet;

/// What is said while a job is waited for: each thing once.
#[derive(Debug, Default)]
pub struct Telling {
    /// Of so many claims before.
    past: usize,
    /// That this host is gone.
    gone: Option<String>,
}

impl Telling {
    /// Says what is new, to whoever waits.
    pub fn tell(&mut self, view: &JobView) {
        let past = waiting_of(view).map(|waiting| waiting.past.as_slice());
        let past = past.unwrap_or_default();
        for past in past.iter().skip(self.past) {
            output::notice(&output::escaped(&line(view, past)));
        }
        self.past = self.past.max(past.len());
        let host = view.host().map(str::to_owned);
        if view.standing() != Standing::Unknown {
            self.gone = None;
        } else if self.gone != host {
            let name = host.as_deref().unwrap_or_default();
            output::notice(&output::escaped(&format!(
                "job {}: host {name} is not there any more, and how the job is, is unknown: waiting for the host",
                view.id
            )));
            self.gone = host;
        }
    }
}

fn line(view: &JobView, past: &v1::Past) -> String {
    let known = past.outcome.clone().unwrap_or_default();
    let did = match known.state() {
        State::Refused => "did not start it",
        State::NeedsSigning | State::Expired | State::Withdrawn => "does not have it any more",
        // Before it was started: there was no room.
        State::Starting => "has given it back",
        State::Lost | State::Running | State::Unspecified => "was lost with it",
        State::Ended => "has run it, and it failed",
    };
    let why = match (known.why.as_str(), known.reason.as_str()) {
        ("", "") => String::new(),
        ("", reason) => format!(": {reason}"),
        (why, _) => format!(": {why}"),
    };
    let attempt = past.attempt.saturating_add(1);
    format!(
        "job {}, attempt {attempt}: host {} {did}{why}",
        view.id, past.host
    )
}

/// Attempts of a job.
#[derive(Debug)]
pub struct Attempts<'a> {
    watch: JobWatch<'a>,
    telling: Telling,
    waits: WaitTelling,
    view: Option<JobView>,
    /// The first one that is told of: that which there was in the beginning.
    first: Option<u32>,
    /// The last one that was told of.
    last: Option<u32>,
}

impl<'a> Attempts<'a> {
    /// From the one that there is now.
    pub fn new(open: &'a OpenFleet, id: &str) -> Self {
        Self {
            watch: JobWatch::new(open, id),
            telling: Telling::default(),
            waits: WaitTelling::default(),
            view: None,
            first: None,
            last: None,
        }
    }

    /// The next one that has been started, or `None` where none follows any more. Cancel safe.
    ///
    /// # Errors
    /// None was started; the host that has it is gone.
    pub async fn next(&mut self) -> Result<Option<Placed>, Failure> {
        loop {
            let view = match &self.view {
                Some(view) => view.clone(),
                None => self.watch.next().await?,
            };
            self.view = Some(view.clone());
            self.telling.tell(&view);
            let attempt = attempt_of(&view);
            self.first.get_or_insert(attempt);
            if let Some(past) = self.missed(&view) {
                self.last = Some(past.attempt);
                let open = self.watch.open();
                return placed_at(open, &view, &past.host, past.attempt)
                    .await
                    .map(Some);
            }
            let is_new = self.last.is_none_or(|last| attempt > last);
            if is_new && has_run(&view) {
                match placed(self.watch.open(), &view).await {
                    Ok(placed) => {
                        self.last = Some(attempt);
                        return Ok(Some(placed));
                    }
                    // Its end in the store says so, or its host does when it is back.
                    Err(Failure::Fleet(FleetFault::HostGone { .. })) if !view.is_over() => {}
                    Err(failure) => return Err(failure),
                }
            }
            if view.is_over() || view.standing() == Standing::Gone {
                return match is_new {
                    false => Ok(None),
                    true => Err(not_run(&view).into()),
                };
            }
            let next = self.waits.next(&mut self.watch, Some(&view)).await?;
            self.view = Some(next);
        }
    }

    /// One that has run and failed since this began, before anybody saw it run.
    fn missed<'v>(&self, view: &'v JobView) -> Option<&'v v1::Past> {
        let is_new = |past: &&v1::Past| {
            let known = past.outcome.as_ref().map(v1::Outcome::state);
            let is_told = self.last.is_some_and(|last| past.attempt <= last);
            let is_before = self.first.is_none_or(|first| past.attempt < first);
            known == Some(State::Ended) && !is_told && !is_before
        };
        waiting_of(view)?.past.iter().find(is_new)
    }

    /// The first one, if it is there by now.
    ///
    /// # Errors
    /// As [`Attempts::next`]; none has been started yet.
    pub async fn now(&mut self) -> Result<Option<Placed>, Failure> {
        let view = self.watch.next().await?;
        let is_told = has_run(&view) || view.is_over();
        self.view = Some(view);
        if is_told {
            return self.next().await;
        }
        let id = self.watch.id().to_owned();
        Err(FleetFault::Waiting(id).into())
    }
}
