//! The server beside the agent, followed: a connection, and a watch of all that the agent may see there.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use prn_client::{Change, ClientError, ProcessId, Watch, WatchRequest};
use prn_fleet::etcd::jitter;
use prn_service::log;
use tokio::time::sleep;

use crate::daemon::Session;
use crate::shared::{Heard, Shared};

/// Waits before another attempt: the first one, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Connects, and again when the connection is lost.
pub async fn follow(shared: Rc<Shared>) {
    let (mut wait, mut ended) = (FIRST_WAIT, None);
    loop {
        match follow_session(&shared, &mut ended).await {
            Ok(()) => wait = FIRST_WAIT,
            Err(error) => shared.log_lasting(format_args!(
                "the server does not answer: {}",
                log::chain(&error)
            )),
        }
        shared.session.send_replace(None);
        shared.touch();
        sleep(wait / 2 + jitter(wait / 2)).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Until the connection is lost. `ended` is the watch of the one before, and becomes this one's.
async fn follow_session(shared: &Rc<Shared>, ended: &mut Option<Watch>) -> Result<(), ClientError> {
    let session = shared.daemon.connect().await?;
    let watch = match ended.take() {
        Some(watch) => session.client.resume_watch(&watch).await,
        None => session.client.watch(&WatchRequest::default()).await,
    };
    let watch = ended.insert(watch?);
    shared.lasts_no_more();
    if shared.lease.borrow().is_some() || !shared.is_reconciled.get() {
        log::line(format_args!(
            "the server answers, in its run {}",
            session.epoch
        ));
    }
    shared.session.send_replace(Some(session.clone()));
    shared.touch();
    let mut sessions = shared.session.subscribe();
    let is_other = |now: &Option<Session>| now.is_none();
    let mut since_reset = None;
    loop {
        let change = tokio::select! {
            change = watch.next() => change,
            _ = sessions.wait_for(is_other) => return Ok(()),
        };
        match change {
            Ok(Some(change)) => heard(shared, change, &mut since_reset),
            Ok(None) => return Ok(()),
            Err(error) => {
                log::line(format_args!("the server is gone: {}", log::chain(&error)));
                return Ok(());
            }
        }
    }
}

/// Tells those who wait for a process. `since_reset`: the processes that were told of since all are told
/// of anew; those that were not by the end of that are no more.
fn heard(shared: &Shared, change: Change, since_reset: &mut Option<BTreeSet<ProcessId>>) {
    let followed = shared.followed.borrow();
    match change {
        Change::Process(process) => {
            if let Some(told) = since_reset {
                told.insert(process.id);
            }
            if let Some(told) = followed.get(&process.id) {
                told.send_replace(Heard::Process(process));
            }
        }
        Change::Removed(id) => {
            if let Some(told) = followed.get(&id) {
                told.send_if_modified(|heard| heard.set_gone());
            }
        }
        Change::Reset => *since_reset = Some(BTreeSet::new()),
        Change::Synchronized => {
            let Some(there) = since_reset.take() else {
                return;
            };
            let gone = followed.iter().filter(|(id, _)| !there.contains(id));
            for (_, told) in gone {
                told.send_if_modified(|heard| heard.set_gone());
            }
        }
        // What has ended with a run of the server is known by its epoch.
        Change::Restarted => {}
    }
}
