//! Changes of processes as they happen.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use prn_proto::id::ProcessId;
#[cfg(doc)]
use prn_proto::reason;
use prn_proto::v1;
use tonic::Streaming;

use crate::client::Client;
use crate::error::{ClientError, boot_epoch};
use crate::process::{PROCESSES_MAX, Process};
use crate::selector::Selector;
use crate::transport::Health;
use crate::wire::INCOMPLETE;

/// Whose changes are asked for, and from where on. The default is those of all processes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchRequest {
    /// Of which processes.
    pub selector: Selector,
    /// What has not changed since this [`Watch::cursor`] is left out. `None`: nothing is.
    pub after: Option<String>,
    /// Ends when all that is so was told.
    pub no_follow: bool,
    /// With [`argv`](crate::ProcessStatus::argv), which is left empty otherwise.
    pub with_argv: bool,
}

/// Something that is so, or has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A process that is new to the watch, or has changed.
    Process(Box<Process>),
    /// A process was forgotten, or is selected no more.
    Removed(ProcessId),
    /// All that is there follows: what does not come before [`Change::Synchronized`] is no more.
    Reset,
    /// All that was so when the watch began was told.
    Synchronized,
    /// The server is another run than the one before: what ran then ended with it, nobody knows how.
    /// [`Change::Reset`] follows.
    Restarted,
}

/// Changes on their way.
#[derive(Debug)]
pub struct Watch {
    messages: Streaming<v1::WatchResponse>,
    request: WatchRequest,
    boot_epoch: Option<String>,
    /// What is told before them.
    first: VecDeque<Change>,
    told_of: ToldOf,
    health: Arc<Health>,
}

/// The processes that were told of: whoever follows the changes keeps as many.
#[derive(Debug, Clone, Default)]
struct ToldOf {
    all: BTreeSet<ProcessId>,
    /// Those since a reset, which are all from when that is over.
    since_reset: Option<BTreeSet<ProcessId>>,
}

impl ToldOf {
    fn note(&mut self, change: &Change) -> Result<(), ClientError> {
        match change {
            Change::Process(process) => {
                self.all.insert(process.id);
                if let Some(since) = &mut self.since_reset {
                    since.insert(process.id);
                }
            }
            Change::Removed(id) => {
                self.all.remove(id);
            }
            Change::Reset => self.since_reset = Some(BTreeSet::new()),
            Change::Synchronized => {
                if let Some(since) = self.since_reset.take() {
                    self.all = since;
                }
            }
            Change::Restarted => self.all.clear(),
        }
        if self.all.len() > PROCESSES_MAX {
            return Err(ClientError::Protocol(
                "the server tells of more processes than a server can have",
            ));
        }
        Ok(())
    }
}

impl Client {
    /// Tells of processes: first of all, then of each change. Of one that changes faster than they
    /// are asked for, the newest state alone is told.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with [`reason::TOO_MANY_WATCHES`].
    pub async fn watch(&self, request: &WatchRequest) -> Result<Watch, ClientError> {
        let message = v1::WatchRequest {
            selector: Some(request.selector.clone().into()),
            after: request.after.clone().unwrap_or_default(),
            no_follow: request.no_follow,
            with_argv: request.with_argv,
        };
        let mut service = self.service.clone();
        let response = self
            .answered(self.call_timeout, service.watch(message))
            .await?;
        Ok(Watch {
            boot_epoch: boot_epoch(response.metadata()),
            messages: response.into_inner(),
            request: request.clone(),
            first: VecDeque::new(),
            told_of: ToldOf::default(),
            health: Arc::clone(&self.health),
        })
    }

    /// Goes on with a watch that was cut off, on a new connection: what has changed since is told, and
    /// first of all [`Change::Restarted`] if the server was.
    ///
    /// # Errors
    /// As [`Client::watch`].
    pub async fn resume_watch(&self, ended: &Watch) -> Result<Watch, ClientError> {
        let mut watch = self.watch(&ended.request).await?;
        watch.told_of = ended.told_of.clone();
        let other = |now: &String| ended.boot_epoch.as_ref().is_some_and(|then| now != then);
        let is_restarted = watch.boot_epoch.as_ref().is_some_and(other);
        if is_restarted || ended.first.contains(&Change::Restarted) {
            watch.first.push_back(Change::Restarted);
        }
        // The server does not know that something was told before.
        if ended.request.after.is_none() {
            watch.first.push_back(Change::Reset);
        }
        Ok(watch)
    }
}

impl Watch {
    /// The next change; `None` where it was asked to end. Cancel safe.
    ///
    /// # Errors
    /// [`ClientError::Lost`] and all else that is [transient](ClientError::is_transient): go on with
    /// [`Client::resume_watch`]. [`ClientError::Refused`] with [`reason::DRAINING`] when the server has
    /// ended and all was told. [`ClientError::Protocol`] where it tells of what cannot be.
    pub async fn next(&mut self) -> Result<Option<Change>, ClientError> {
        if let Some(change) = self.first.pop_front() {
            self.told_of.note(&change)?;
            return Ok(Some(change));
        }
        let message = self.messages.message().await;
        let Some(message) = message.map_err(|status| self.health.explain(status))? else {
            return Ok(None);
        };
        let cursor = message.cursor.clone();
        let change = change(message)?;
        self.told_of.note(&change)?;
        // Only now: whoever is told an error has not got it.
        self.request.after = Some(cursor).filter(|cursor| !cursor.is_empty());
        Ok(Some(change))
    }

    /// Where it is: all up to here was told. `None`: it has no place yet.
    pub fn cursor(&self) -> Option<&str> {
        self.request.after.as_deref()
    }

    /// Random id of the server run that tells.
    pub fn boot_epoch(&self) -> Option<&str> {
        self.boot_epoch.as_deref()
    }
}

fn change(message: v1::WatchResponse) -> Result<Change, ClientError> {
    if let Some(process) = message.process {
        return Ok(Change::Process(Box::new(process.try_into()?)));
    }
    if let Some(removed) = message.removed {
        return Process::named(removed).map(Change::Removed);
    }
    match (message.reset, message.synchronized) {
        (true, _) => Ok(Change::Reset),
        (false, true) => Ok(Change::Synchronized),
        (false, false) => Err(INCOMPLETE),
    }
}
