//! What all calls work with.

use std::sync::Arc;

use nix::sys::utsname::uname;
use prn_ipc_protocol::config;
use prn_ipc_protocol::types::{ProcessId, UnixMicros};
use prn_proto::tls::{Certificate, Fingerprint};
use tonic::Status;

use crate::clients::{Clients, until};
use crate::convert::start::Defaults;
use crate::errors;
use crate::mirror::{Mirror, Process};
use crate::permits::Permits;
use crate::quota::{Limit, Quota};
use crate::stops::Stops;
use crate::subscribe::chunks::Chunks;
use crate::supervisor::Supervisor;

/// Most input streams of a client. Of each there are here at most 256 KiB that were not read yet
/// ([`crate::connection`]), a message of 64 KiB that was read in part, and two that wait to be
/// written: 112 MiB of a client. Of one that does its worst each of these three may be a message that is
/// too large, or holds more than its data ([`crate::service::REQUEST_MAX`]), 192 MiB more, and what was
/// not read yet holds more than itself ([`crate::input::intake`]).
const INPUTS_PER_CLIENT: u32 = 256;

/// So many output streams there may be for each input stream. How many there may be depends on the
/// memory: all of them take half of it, 192 KiB each. An input stream takes little more
/// than twice as much ([`INPUTS_PER_CLIENT`]), so all of these take little more than a quarter of it.
const SUBSCRIBERS_PER_INPUT: u32 = 4;

fn inputs(subscribers_max: u32, clients: u32) -> Arc<Quota<Fingerprint>> {
    let all = subscribers_max / SUBSCRIBERS_PER_INPUT;
    Quota::new(
        Limit::shared(all, clients),
        Limit::own(INPUTS_PER_CLIENT.min(all)),
    )
}

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
    /// The input streams that are open, of each client.
    pub inputs: Arc<Quota<Fingerprint>>,
    /// Output that was read lately.
    pub chunks: Arc<Chunks>,
    /// This run of the server.
    pub epoch: Arc<str>,
    /// What a process gets that asks for nothing else.
    pub defaults: Defaults,
    /// What is always so.
    pub about: About,
}

/// What is always so of a run of the server.
#[derive(Debug)]
pub struct About {
    /// When it began.
    pub started: UnixMicros,
    /// Most processes at one time.
    pub processes_max: u32,
    /// The server's certificate is valid until then.
    pub not_after: Option<UnixMicros>,
    /// Its machine.
    pub machine: Machine,
}

/// The server's machine.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Release of its kernel.
    pub kernel: String,
    /// Its name.
    pub hostname: String,
}

impl Machine {
    /// This one, as uname(2) has it.
    ///
    /// # Errors
    /// That failed.
    pub fn here() -> nix::Result<Self> {
        let names = uname()?;
        Ok(Self {
            kernel: names.release().to_string_lossy().into_owned(),
            hostname: names.nodename().to_string_lossy().into_owned(),
        })
    }
}

impl Server {
    /// Of these clients, on this machine.
    pub fn new(
        config: &config::Frontend,
        machine: Machine,
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
            inputs: inputs(config.subscribers_max, clients.count()),
            chunks: Arc::default(),
            epoch: config.epoch.to_string().into(),
            defaults: config.into(),
            about: About {
                started: config.started,
                processes_max: config.processes_max,
                not_after: (Certificate::from_der(config.certificate.clone()).ok())
                    .and_then(|certificate| until(&certificate)),
                machine,
            },
        }
    }

    /// For a response.
    pub fn boot_epoch(&self) -> String {
        self.epoch.as_ref().to_owned()
    }

    /// Why the channel to the supervisor is closed.
    pub fn gone(&self) -> Status {
        gone(&self.mirror)
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

/// Why the channel to the supervisor is closed.
pub fn gone(mirror: &Mirror) -> Status {
    if mirror.draining() {
        errors::draining()
    } else {
        errors::restarting()
    }
}
