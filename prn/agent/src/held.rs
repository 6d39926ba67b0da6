//! One claim, from its start to its end.
//!
//! A start is sent to the run of the server that the claim is for, and to no other: so one whose answer
//! was lost with its server is never started a second time, for nobody knows whether it ran.

use std::rc::Rc;

use prn_client::{ClientError, Process, ProcessId, reason};
use prn_fleet::{Claimed, Recorded, v1};
use prn_service::log;
use tokio::sync::watch;
use v1::outcome::State;

use crate::daemon::Session;
use crate::outcome::{Meaning, because, has_failed, meaning, of_process};
use crate::shared::{FULL_TIME, Shared};

/// What comes of a look at the server.
enum Found {
    /// The process.
    Process(Box<Process>),
    /// This is what became of the claim.
    Outcome(Box<v1::Outcome>),
    /// Another host may take it: now, or when this one has room.
    GivenBack(Box<v1::Outcome>),
    /// The connection was lost.
    Again,
}

/// Sees to a claim until nothing more becomes of it. `is_new`: nothing was sent for it yet.
pub async fn see_to(shared: Rc<Shared>, claimed: Claimed, is_new: bool) {
    let needs = claimed.job.needs.unwrap_or_default();
    shared.held.borrow_mut().insert(claimed.id.clone(), needs);
    shared.touch();
    follow(&shared, &claimed, is_new).await;
    shared.held.borrow_mut().remove(&claimed.id);
    shared.touch();
}

async fn follow(shared: &Shared, claimed: &Claimed, is_new: bool) {
    let request = claimed.request().filter(|_| true);
    let id = request.and_then(|request| request.id.parse::<ProcessId>().ok());
    let (Some(request), Some(id)) = (request, id) else {
        let why = "the job has no such attempt";
        let outcome = because(claimed, State::Refused, "NO_ATTEMPT", why);
        return end(shared, claimed, outcome).await;
    };
    // Before the process is: no change of it is missed.
    let told = watch::Sender::new(None);
    let mut changes = told.subscribe();
    shared.followed.borrow_mut().insert(id, told);
    let mut is_told = false;
    let mut first = is_new;
    let outcome = loop {
        let session = shared.connected().await;
        if session.epoch != claimed.claim.boot_epoch {
            let why = "the server was restarted, and what ran there has ended";
            break because(claimed, State::Lost, "SERVER_RESTARTED", why);
        }
        let found = if first {
            start(&session, claimed, request).await
        } else {
            look(&session, claimed, id, request).await
        };
        first = false;
        let process = match found {
            Found::Process(process) => process,
            Found::Outcome(outcome) => break *outcome,
            Found::GivenBack(outcome) => {
                shared.followed.borrow_mut().remove(&id);
                return give_back(shared, claimed, *outcome).await;
            }
            Found::Again => {
                shared.disconnected(&session.epoch);
                continue;
            }
        };
        let outcome = of_process(claimed, &process);
        if outcome.state() == State::Ended {
            break outcome;
        }
        if !is_told {
            let write = async || shared.fleet.record(claimed, outcome.clone()).await;
            // Of one that was taken from this host the end is of interest all the same.
            let _done_or_fenced: Recorded = shared.surely(claimed, write).await;
            is_told = true;
        }
        if let Some(ended) = ended(shared, &mut changes, &session).await {
            break of_process(claimed, &ended);
        }
    };
    shared.followed.borrow_mut().remove(&id);
    end(shared, claimed, outcome).await;
}

/// The process at its end; `None` when the connection is another one.
async fn ended(
    shared: &Shared,
    changes: &mut watch::Receiver<Option<Process>>,
    session: &Session,
) -> Option<Process> {
    let mut sessions = shared.session.subscribe();
    let has_ended =
        |process: &Option<Process>| process.as_ref().is_some_and(|p| p.status.tree_empty);
    let is_other =
        |now: &Option<Session>| now.as_ref().is_none_or(|now| now.epoch != session.epoch);
    tokio::select! {
        process = changes.wait_for(has_ended) => process.ok().and_then(|process| process.clone()),
        _ = sessions.wait_for(is_other) => None,
    }
}

async fn start(
    session: &Session,
    claimed: &Claimed,
    request: &prn_proto::v1::StartRequest,
) -> Found {
    match session.client.start_request(request.clone()).await {
        Ok(started) => Found::Process(Box::new(started.process)),
        Err(ClientError::Refused(error)) => {
            let of = |state| Box::new(because(claimed, state, &error.reason, &error.to_string()));
            match meaning(&error) {
                Meaning::Known => look_only(session, claimed, request).await,
                Meaning::Full => Found::GivenBack(of(State::Starting)),
                Meaning::NeedsSigning => Found::Outcome(of(State::NeedsSigning)),
                Meaning::Forgotten => Found::Outcome(of(State::Lost)),
                Meaning::Refused if claimed.job.host.is_empty() => {
                    Found::GivenBack(of(State::Refused))
                }
                Meaning::Refused => Found::Outcome(of(State::Refused)),
            }
        }
        Err(ClientError::OtherUser { .. }) => look_only(session, claimed, request).await,
        Err(ClientError::Protocol(why)) => {
            Found::Outcome(Box::new(because(claimed, State::Lost, "PROTOCOL", why)))
        }
        Err(_) => Found::Again,
    }
}

/// The process of a start that may have been sent before; if it was not, it is now.
async fn look(
    session: &Session,
    claimed: &Claimed,
    id: ProcessId,
    request: &prn_proto::v1::StartRequest,
) -> Found {
    match session.client.status(id).await {
        Ok(process) => Found::Process(Box::new(process)),
        Err(ClientError::Refused(error)) if error.reason == reason::PROCESS_NOT_FOUND => {
            if claimed.is_lost() {
                // It is another one's to start by now.
                let outcome = because(claimed, State::Lost, &error.reason, &error.to_string());
                return Found::Outcome(Box::new(outcome));
            }
            start(session, claimed, request).await
        }
        Err(_) => Found::Again,
    }
}

/// The process of a start that was sent before.
async fn look_only(
    session: &Session,
    claimed: &Claimed,
    request: &prn_proto::v1::StartRequest,
) -> Found {
    let Ok(id) = request.id.parse::<ProcessId>() else {
        let why = "the attempt has no id";
        return Found::Outcome(Box::new(because(
            claimed,
            State::Refused,
            "NO_ATTEMPT",
            why,
        )));
    };
    match session.client.status(id).await {
        Ok(process) => Found::Process(Box::new(process)),
        Err(ClientError::Refused(error)) => {
            let outcome = because(claimed, State::Lost, &error.reason, &error.to_string());
            Found::Outcome(Box::new(outcome))
        }
        Err(_) => Found::Again,
    }
}

/// Says how it ended, and puts the next attempt into the queue if there is one.
async fn end(shared: &Shared, claimed: &Claimed, outcome: v1::Outcome) {
    let again = match outcome.state() {
        State::Ended => {
            let exit = outcome.exit_cause.clone().map(prn_client::Exit::from);
            has_failed(exit.as_ref()) && claimed.may_retry()
        }
        State::Lost => claimed.may_run_again(),
        State::Unspecified
        | State::Starting
        | State::Running
        | State::Refused
        | State::NeedsSigning
        | State::Expired
        | State::Withdrawn => false,
    };
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

async fn give_back(shared: &Shared, claimed: &Claimed, outcome: v1::Outcome) {
    if outcome.state() == State::Starting {
        shared
            .full_until
            .set(Some(tokio::time::Instant::now() + FULL_TIME));
    }
    let attempt = claimed.attempt();
    let write = async || {
        shared
            .fleet
            .give_back(claimed, outcome.clone(), attempt, None)
            .await
    };
    shared.surely(claimed, write).await;
}
