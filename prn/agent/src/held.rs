//! One claim, from its start to its end.
//!
//! A start is sent to the run of the server that the claim is for, and to no other: so one whose answer
//! was lost with its server is never started a second time, for nobody knows whether it ran.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use prn_client::{ClientError, Process, ProcessId, reason};
use prn_fleet::etcd::jitter;
use prn_fleet::{Claimed, Recorded, v1};
use prn_proto::v1::StartRequest;
use prn_service::log;
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until};
use v1::outcome::State;

use crate::daemon::Session;
use crate::outcome::{Meaning, NOT_SEEN, because, has_failed, meaning, of_process};
use crate::shared::{Heard, Shared, grown};

/// A job that was given back is claimed by nobody for so long: at first, and at most.
const BACK_TIME: Duration = Duration::from_millis(50);
const BACK_TIME_MAX: Duration = Duration::from_secs(30);
/// The server is asked again after about that time where it had no answer.
const AGAIN: Duration = Duration::from_secs(1);

/// How far the start of a claim has come, as far as this agent knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Nothing was sent.
    Never,
    /// It may have been, and may be on its way yet.
    Perhaps,
    /// The server has started it.
    Started,
}

impl Sent {
    /// As the agent before this one has said.
    pub fn of(outcome: &v1::Outcome) -> Self {
        if outcome.state() == State::Running {
            Self::Started
        } else {
            Self::Perhaps
        }
    }
}

/// What comes of a look at the server.
enum Found {
    /// The process.
    Process(Box<Process>),
    /// This is what became of the claim.
    Outcome(Box<v1::Outcome>),
    /// Another host may take it.
    GivenBack(Box<v1::Outcome>),
    /// There is no room for it here now.
    NoRoom(Box<v1::Outcome>),
    /// The server has no answer now.
    Later,
    /// The connection was lost.
    Again,
}

/// What becomes of a claim at last.
enum Last {
    /// This.
    Outcome(v1::Outcome),
    /// It waits again, for another host, or for this one's room.
    GivenBack(v1::Outcome),
}

/// Sees to a claim until nothing more becomes of it.
pub async fn see_to(shared: Rc<Shared>, claimed: Claimed, sent: Sent) {
    let needs = claimed.job.needs.unwrap_or_default();
    shared.held.borrow_mut().insert(claimed.id.clone(), needs);
    shared.touch();
    follow(&shared, &claimed, sent).await;
    shared.settled(&claimed.id);
    shared.held.borrow_mut().remove(&claimed.id);
    shared.touch();
}

async fn follow(shared: &Shared, claimed: &Claimed, sent: Sent) {
    let request = claimed.request();
    let id = request.and_then(|request| request.id.parse::<ProcessId>().ok());
    let (Some(request), Some(id)) = (request, id) else {
        let why = "the job has no such attempt";
        let outcome = because(claimed, State::Refused, "NO_ATTEMPT", why);
        return end(shared, claimed, outcome).await;
    };
    if sent == Sent::Never && claimed.is_altered() {
        return refuse_altered(shared, claimed).await;
    }
    // Before the process is: no change of it is missed.
    let told = watch::Sender::new(Heard::Nothing);
    let changes = told.subscribe();
    shared.followed.borrow_mut().insert(id, told);
    let mut held = Held {
        shared,
        claimed,
        request,
        id,
        sent,
        is_told: false,
        changes,
    };
    let last = loop {
        if let Some(last) = held.step().await {
            break last;
        }
    };
    shared.followed.borrow_mut().remove(&id);
    match last {
        Last::Outcome(outcome) => end(shared, claimed, outcome).await,
        Last::GivenBack(outcome) => give_back(shared, claimed, outcome).await,
    }
}

/// A claim whose start is sent, or whose process runs.
struct Held<'a> {
    shared: &'a Shared,
    claimed: &'a Claimed,
    request: &'a StartRequest,
    id: ProcessId,
    sent: Sent,
    /// That it runs is known to others.
    is_told: bool,
    changes: watch::Receiver<Heard>,
}

impl Held<'_> {
    /// Goes on as far as one connection leads. `None`: on to the next step.
    async fn step(&mut self) -> Option<Last> {
        let session = self.shared.connected().await;
        if session.epoch != self.claimed.claim.boot_epoch {
            return Some(self.of_another_run());
        }
        let before = self.sent;
        if before == Sent::Never {
            self.sent = Sent::Perhaps;
        }
        let found = match before {
            Sent::Never => self.start(&session).await,
            Sent::Perhaps => self.look(&session).await,
            Sent::Started => self.look_only(&session).await,
        };
        match found {
            Found::Process(process) => return self.at(&process, &session).await,
            Found::Outcome(outcome) => return Some(Last::Outcome(*outcome)),
            Found::GivenBack(outcome) => return Some(Last::GivenBack(*outcome)),
            Found::NoRoom(outcome) if before == Sent::Never => {
                return Some(Last::GivenBack(*outcome));
            }
            // One that was sent before may be on its way yet: nobody else may have it.
            Found::NoRoom(_) => {
                self.shared.found_full();
                if let Some(until) = self.shared.full_until.get() {
                    sleep_until(until).await;
                }
            }
            Found::Later => sleep(AGAIN / 2 + jitter(AGAIN)).await,
            Found::Again => self.shared.disconnected(&session.epoch),
        }
        None
    }

    fn of_another_run(&self) -> Last {
        let reason = "SERVER_RESTARTED";
        if self.sent == Sent::Never {
            let why = "the server was restarted before the start was sent";
            return Last::GivenBack(because(self.claimed, State::Starting, reason, why));
        }
        let why = "the server was restarted, and what ran there has ended";
        Last::Outcome(because(self.claimed, State::Lost, reason, why))
    }

    /// The process is there: tells others so, and waits for its end.
    async fn at(&mut self, process: &Process, session: &Session) -> Option<Last> {
        if self.sent != Sent::Started {
            self.shared.started_one();
        }
        self.sent = Sent::Started;
        let outcome = of_process(self.claimed, process);
        if outcome.state() == State::Ended {
            return Some(Last::Outcome(outcome));
        }
        if !self.is_told {
            let write = async || {
                let outcome = outcome.clone();
                self.shared.fleet.record(self.claimed, outcome).await
            };
            // Of one that was taken from this host the end is of interest all the same.
            let _done_or_fenced: Recorded = self.shared.surely(self.claimed, write).await;
            self.is_told = true;
            self.shared.settled(&self.claimed.id);
        }
        let ended = self.ended(session).await?;
        Some(Last::Outcome(of_process(self.claimed, &ended)))
    }

    /// The process at its end; `None` when it has to be asked for: the connection is another one, or
    /// the process is gone.
    async fn ended(&mut self, session: &Session) -> Option<Box<Process>> {
        let mut sessions = self.shared.session.subscribe();
        let is_over = |heard: &Heard| match heard {
            Heard::Nothing => false,
            Heard::Process(process) => process.status.tree_empty,
            Heard::Gone => true,
        };
        let is_other =
            |now: &Option<Session>| now.as_ref().is_none_or(|now| now.epoch != session.epoch);
        let heard = tokio::select! {
            heard = self.changes.wait_for(is_over) => heard.ok().map(|heard| heard.clone()),
            _ = sessions.wait_for(is_other) => None,
        };
        match heard? {
            Heard::Process(process) => Some(process),
            Heard::Nothing => None,
            Heard::Gone => {
                if let Some(told) = self.shared.followed.borrow().get(&self.id) {
                    told.send_if_modified(|heard| {
                        if matches!(heard, Heard::Gone) {
                            *heard = Heard::Nothing;
                        }
                        false
                    });
                }
                None
            }
        }
    }

    async fn start(&self, session: &Session) -> Found {
        match session.client.start_request(self.request.clone()).await {
            // It is its signer's, and the agent has to see that one's processes.
            Ok(_) if self.request.signature.is_some() => self.look_only(session).await,
            Ok(started) => Found::Process(Box::new(started.process)),
            Err(ClientError::Refused(error)) => {
                let of = |state| self.outcome(state, &error.reason, &error.to_string());
                match meaning(&error.reason) {
                    Meaning::Known => self.look_only(session).await,
                    Meaning::Full => Found::NoRoom(of(State::Starting)),
                    Meaning::NeedsSigning => Found::Outcome(of(State::NeedsSigning)),
                    Meaning::Forgotten => Found::Outcome(of(State::Lost)),
                    Meaning::Refused if self.claimed.job.host.is_empty() => {
                        Found::GivenBack(of(State::Refused))
                    }
                    // It was signed for the run before this one, as far as anybody knows.
                    Meaning::Refused if error.reason == reason::SIGNATURE_OTHER_AUDIENCE => {
                        Found::Outcome(of(State::NeedsSigning))
                    }
                    Meaning::Refused => Found::Outcome(of(State::Refused)),
                }
            }
            Err(ClientError::OtherUser { .. }) => self.look_only(session).await,
            Err(ClientError::Protocol(why)) => {
                Found::Outcome(self.outcome(State::Lost, "PROTOCOL", why))
            }
            Err(_) => Found::Again,
        }
    }

    /// The process of a start that may have been sent before; if it was not, it is now.
    async fn look(&self, session: &Session) -> Found {
        match session.client.status(self.id).await {
            Ok(process) => Found::Process(Box::new(process)),
            // One that is another host's by now is that one's to start.
            // One whose claim somebody has changed is nobody's to start.
            Err(ClientError::Refused(error))
                if error.reason == reason::PROCESS_NOT_FOUND
                    && !self.claimed.is_lost()
                    && !self.claimed.is_altered() =>
            {
                self.start(session).await
            }
            Err(error) => self.not_there(&error),
        }
    }

    /// The process of a start that was sent before.
    async fn look_only(&self, session: &Session) -> Found {
        match session.client.status(self.id).await {
            Ok(process) => Found::Process(Box::new(process)),
            Err(error) => self.not_there(&error),
        }
    }

    fn not_there(&self, error: &ClientError) -> Found {
        let ClientError::Refused(error) = error else {
            return Found::Again;
        };
        if error.reason != reason::PROCESS_NOT_FOUND {
            return Found::Later;
        }
        // Its signer's process, and perhaps for the signer's eyes alone.
        if self.request.signature.is_some() && self.sent != Sent::Started {
            let why = "it may run, but the agent does not see it: give the agent's role \
                       whose = \"all\" in the server's configuration";
            return Found::Outcome(self.outcome(State::Lost, NOT_SEEN, why));
        }
        let why = "the server had it and has it no more: it was removed before its end was read";
        Found::Outcome(self.outcome(State::Lost, &error.reason, why))
    }

    fn outcome(&self, state: State, reason: &str, why: &str) -> Box<v1::Outcome> {
        Box::new(because(self.claimed, state, reason, why))
    }
}

/// Says how it ended, and puts the next attempt into the queue if there is one.
async fn end(shared: &Shared, claimed: &Claimed, outcome: v1::Outcome) {
    let again = match outcome.state() {
        State::Ended => {
            let exit = outcome.exit_cause.clone().map(prn_client::Exit::from);
            has_failed(exit.as_ref()) && claimed.may_retry()
        }
        // Nothing is known to be lost there: the process may run, and well.
        State::Lost => outcome.reason != NOT_SEEN && claimed.may_run_again(),
        State::Unspecified
        | State::Starting
        | State::Running
        | State::Refused
        | State::NeedsSigning
        | State::Expired
        | State::Withdrawn => false,
    };
    shared.has_room_again();
    let next = claimed.attempt() + 1;
    let write = async || {
        if again && !claimed.is_lost() {
            return shared
                .fleet
                .give_back(claimed, outcome.clone(), next, None)
                .await;
        }
        shared.fleet.record(claimed, outcome.clone()).await
    };
    let recorded = shared.surely(claimed, write).await;
    if recorded == Recorded::Fenced {
        log::line(format_args!(
            "job {} was another host's by the time it was done here: see `prn fleet jobs`",
            claimed.id
        ));
    }
}

/// What was claimed is not what the job says. What waits next is that again.
async fn refuse_altered(shared: &Shared, claimed: &Claimed) {
    log::line(format_args!(
        "job {}: who can write queue/ has changed where it is to run; it is not started",
        claimed.id
    ));
    let why = "its place in the queue was changed: it said of labels, host, needs or deadline what \
               the job does not";
    let outcome = because(claimed, State::Refused, "ALTERED", why);
    if claimed.job.host == shared.host.name {
        // Nobody else may have it.
        return end(shared, claimed, outcome).await;
    }
    give_back(shared, claimed, outcome).await;
}

async fn give_back(shared: &Shared, claimed: &Claimed, outcome: v1::Outcome) {
    let mut not_before = None;
    if outcome.state() == State::Starting {
        shared.found_full();
        let wait = grown(BACK_TIME, BACK_TIME_MAX, claimed.times_given_back());
        let wait = wait / 2 + jitter(wait / 2);
        not_before = SystemTime::now().checked_add(wait).map(Into::into);
    }
    let attempt = claimed.attempt();
    let write = async || {
        let outcome = outcome.clone();
        let fleet = &shared.fleet;
        fleet.give_back(claimed, outcome, attempt, not_before).await
    };
    shared.surely(claimed, write).await;
}
