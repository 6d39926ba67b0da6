//! What all calls work with.

use std::sync::Arc;

use prn_ipc_protocol::config;
use prn_ipc_protocol::types::ProcessId;
use tonic::Status;

use crate::clients::Clients;
use crate::convert::start::Defaults;
use crate::errors;
use crate::mirror::{Mirror, Process};
use crate::permits::Permits;
use crate::quota::{Limit, Quota};
use crate::stops::Stops;
use crate::subscribe::chunks::Chunks;
use crate::supervisor::Supervisor;

/// The server as its calls see it.
#[derive(Debug)]
pub struct Server {
    /// What the supervisor has said.
    pub mirror: Arc<Mirror>,
    /// What it can be asked for.
    pub supervisor: Supervisor,
    /// How much of that at a time.
    pub permits: Permits,
    /// The stops under way.
    pub stops: Arc<Stops>,
    /// The output streams that are open.
    pub subscribers: Arc<Quota<ProcessId>>,
    /// Output that was read lately.
    pub chunks: Arc<Chunks>,
    /// This run of the server.
    pub epoch: Arc<str>,
    /// What a process gets that asks for nothing else.
    pub defaults: Defaults,
}

impl Server {
    /// Of these clients.
    pub fn new(
        config: &config::Frontend,
        clients: &Clients,
        mirror: Arc<Mirror>,
        supervisor: Supervisor,
    ) -> Self {
        let subscribers = Quota::new(
            Limit::shared(config.subscribers_max, clients.count()),
            Limit::shared(config.subscribers_per_process, clients.count()),
        );
        Self {
            mirror,
            supervisor,
            permits: Permits::new(clients),
            stops: Arc::default(),
            subscribers,
            chunks: Arc::default(),
            epoch: config.epoch.to_string().into(),
            defaults: config.into(),
        }
    }

    /// For a response.
    pub fn boot_epoch(&self) -> String {
        self.epoch.as_ref().to_owned()
    }

    /// The process of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn process(&self, id: ProcessId) -> Result<Arc<Process>, Status> {
        let process = self.mirror.process(id);
        process.ok_or_else(|| errors::process_not_found(id))
    }
}
