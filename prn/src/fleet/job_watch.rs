//! A job as it changes: looked at again whenever one of its keys has.

use prn_fleet::etcd::{EtcdError, WatchRange, Watcher};
use prn_fleet::{FleetError, JobView};

use crate::failure::Failure;
use crate::fleet::fault::FleetFault;
use crate::output;
use crate::which::fleet::OpenFleet;

/// A job that is watched.
#[derive(Debug)]
pub struct JobWatch<'a> {
    open: &'a OpenFleet,
    id: String,
    /// The host whose keys are watched, too.
    host: String,
    watcher: Watcher,
    last: Option<JobView>,
    /// That etcd does not answer was said.
    is_told: bool,
}

impl<'a> JobWatch<'a> {
    /// Nothing is asked before the first [`JobWatch::next`].
    pub fn new(open: &'a OpenFleet, id: &str) -> Self {
        Self {
            open,
            id: id.to_owned(),
            host: String::new(),
            watcher: watcher(open, id, ""),
            last: None,
            is_told: false,
        }
    }

    /// The fleet.
    pub fn open(&self) -> &'a OpenFleet {
        self.open
    }

    /// The job's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The job as it is now at first, and then whenever it has changed. Where etcd does not answer that
    /// is said once, and it is asked again for as long as anybody waits. A call that is given up half-way may lose a
    /// change.
    ///
    /// # Errors
    /// There is no such job, or not any more; etcd refuses it.
    pub async fn next(&mut self) -> Result<JobView, Failure> {
        loop {
            if self.last.is_some() {
                let told = self.watcher.next().await;
                if let Err(error) = told {
                    self.failed(error.into())?;
                    continue;
                }
            }
            let view = match self.open.fleet.job(&self.id).await {
                Ok(view) => view,
                Err(error) => {
                    self.failed(error)?;
                    continue;
                }
            };
            self.is_told = false;
            let host = view.host().unwrap_or_default();
            if host != self.host {
                self.host = host.to_owned();
                self.watcher = watcher(self.open, &self.id, host);
            }
            if self.last.as_ref() != Some(&view) {
                self.last = Some(view.clone());
                return Ok(view);
            }
        }
    }

    /// Says that etcd does not answer.
    ///
    /// # Errors
    /// It has answered, with a no.
    fn failed(&mut self, error: FleetError) -> Result<(), Failure> {
        if !is_unknown(&error) {
            return Err(FleetFault::from(error).into());
        }
        if !self.is_told {
            output::notice(&format!("{error}: trying on"));
            self.is_told = true;
        }
        Ok(())
    }
}

/// Of all keys that say how a job is that this host has.
fn watcher(open: &OpenFleet, id: &str, host: &str) -> Watcher {
    let keys = open.fleet.keys();
    let mut all = vec![keys.waiting(id), keys.claim(id)];
    if !host.is_empty() {
        all.extend([keys.outcome(host, id), keys.host(host)]);
    }
    let range = WatchRange::key;
    Watcher::new(open.fleet.etcd(), all.into_iter().map(range))
}

/// Whether etcd has not answered, so that nobody knows what it has done.
pub fn is_unknown(error: &FleetError) -> bool {
    matches!(error, FleetError::Etcd(EtcdError::Unreachable { .. }))
}
