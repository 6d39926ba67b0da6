//! What all calls work with.

use std::sync::Arc;

use nix::sys::utsname::uname;
use prn_ipc_protocol::config;
use prn_ipc_protocol::policy::Verb;
use prn_ipc_protocol::types::{ProcessId, UnixMicros, WorkspaceName};
use prn_proto::tls::Certificate;
use tonic::Status;

use crate::clients::{Client, Clients, until};
use crate::convert::start::Defaults;
use crate::errors;
use crate::metrics::Metrics;
use crate::mirror::{Mirror, Process};
use crate::permits::Permits;
use crate::quota::ClientNumber;
use crate::quota::{Full, Limit, Quota, Slot};
use crate::signing::Signing;
use crate::stops::Stops;
use crate::subscribe::chunks::Chunks;
use crate::supervisor::Supervisor;
use crate::workspaces::Workspace;

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

/// Most calls that wait for the end of processes, of all clients and of one, and how many processes
/// they may wait for on average: one that waits for more counts as several. To wait for one of many
/// takes a quarter of a KiB for each: 32 MiB of a client, and 128 MiB of all.
const WAITS_MAX: u32 = 512;
const WAITS_PER_CLIENT: u32 = 128;
const WAITED_FOR: usize = 1024;
/// Most watches of all clients, and of one. Each has a message and a few processes at hand, and the ids
/// of all that it selects.
const WATCHES_MAX: u32 = 256;
const WATCHES_PER_CLIENT: u32 = 64;

fn of_clients(max: u32, per_client: u32, clients: u32) -> Arc<Quota<ClientNumber>> {
    Quota::new(Limit::shared(max, clients), Limit::own(per_client))
}

/// The places of a call that waits for so many processes.
pub fn enter_waits(
    waits: &Arc<Quota<ClientNumber>>,
    client: ClientNumber,
    processes: usize,
) -> Result<Vec<Slot<ClientNumber>>, Full> {
    let count = processes.div_ceil(WAITED_FOR).max(1);
    (0..count).map(|_| waits.enter(client, client)).collect()
}

fn inputs(subscribers_max: u32, clients: u32) -> Arc<Quota<ClientNumber>> {
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
    pub inputs: Arc<Quota<ClientNumber>>,
    /// The calls that wait for the end of processes.
    pub waits: Arc<Quota<ClientNumber>>,
    /// The watches.
    pub watches: Arc<Quota<ClientNumber>>,
    /// Output that was read lately.
    pub chunks: Arc<Chunks>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What signs handshakes, if that is another process.
    pub signing: Option<Arc<Signing>>,
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
    /// Most connections.
    pub connections_max: u32,
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
        metrics: &Arc<Metrics>,
        signing: Option<Arc<Signing>>,
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
            waits: of_clients(WAITS_MAX, WAITS_PER_CLIENT, clients.count()),
            watches: of_clients(WATCHES_MAX, WATCHES_PER_CLIENT, clients.count()),
            chunks: Arc::default(),
            metrics: Arc::clone(metrics),
            signing,
            epoch: config.epoch.to_string().into(),
            defaults: config.into(),
            about: About {
                started: config.started,
                processes_max: config.processes_max,
                connections_max: config.connections_max,
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
    /// There is none that this client gets to see.
    pub fn process(&self, client: &Client, id: ProcessId) -> Result<Arc<Process>, Status> {
        client.access.check(Verb::List)?;
        let process = self.mirror.process(id);
        let is_seen = |process: &Arc<Process>| {
            let owner = &process.info().started_by;
            client.access.scope().has(owner.as_ref())
        };
        process
            .filter(is_seen)
            .ok_or_else(|| errors::process_not_found(id))
    }

    /// The process of this name, with which this client may do that.
    ///
    /// # Errors
    /// There is none that it gets to see, or it may not.
    pub fn allowed(
        &self,
        client: &Client,
        verb: Verb,
        id: ProcessId,
    ) -> Result<Arc<Process>, Status> {
        // What a client gets to see is all that its role reaches.
        let process = self.process(client, id)?;
        client.access.check(verb)?;
        Ok(process)
    }

    /// The workspace of this name, if this client gets to see it.
    pub fn workspace(&self, client: &Client, name: &WorkspaceName) -> Option<Workspace> {
        let workspace = self.mirror.workspace(name);
        workspace.filter(|workspace| client.sees(workspace))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::tests::number;

    #[test]
    fn a_client_has_so_many_waits_and_fewer_if_they_wait_for_many() {
        let waits = of_clients(WAITS_MAX, WAITS_PER_CLIENT, 2);
        let [one, other] = ["one", "othr"].map(number);
        let enter = |processes| enter_waits(&waits, one, processes);
        let held: Vec<_> = std::iter::from_fn(|| enter(1).ok()).collect();
        assert_eq!(held.len(), 128);
        drop(held);
        let _many = enter(127 * 1024).unwrap();
        assert!(enter(1025).is_err());
        let _last = enter(1000).unwrap();
        assert!(enter(1).is_err());
        assert!(enter_waits(&waits, other, 1).is_ok());
    }

    #[test]
    fn all_clients_together_have_no_more_watches_than_there_is_room_for() {
        let watches = of_clients(WATCHES_MAX, WATCHES_PER_CLIENT, 32);
        let of = |client: u32| ClientNumber(client);
        let mut held = vec![];
        for client in 0..31 {
            held.extend(std::iter::from_fn(|| {
                watches.enter(of(client), of(client)).ok()
            }));
        }
        assert!(held.len() < 256);
        held.extend(std::iter::from_fn(|| watches.enter(of(31), of(31)).ok()));
        assert_eq!(held.len(), 256, "the last one finds its own");
    }
}
