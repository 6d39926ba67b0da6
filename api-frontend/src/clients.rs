//! The pinned clients, and what each of them has of its own: a client is a principal, with whichever
//! of its certificates it comes.
//!
//! Where calls wait, a client's calls wait for each other before they wait with
//! those of others: in the common queue each client has a few at most.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use prn_ipc_protocol::config::Pin;
use prn_ipc_protocol::policy::{Policy, Verb};
use prn_ipc_protocol::types::UnixMicros;
use prn_proto::tls::{Certificate, Recognised};
use tokio::sync::Semaphore;

use crate::access::Access;
use crate::denials::Denials;
use crate::quota::ClientNumber;
use crate::workspaces::Workspace;

/// Most lists of a client that are being made.
const LISTS_MAX: usize = 2;
/// Most of a client's requests to kill at once, to open an output, and about inputs, that wait for the
/// supervisor: a quarter of what all clients together may have ([`crate::permits`]).
const KILLS_MAX: usize = 16;
const SUBSCRIPTIONS_MAX: usize = 4;
const INPUTS_MAX: usize = 8;
/// Most signals and updates of processes under way, of all clients. They are answered at once, so one that finds no
/// room waits until there is some.
pub const CHANGES_MAX: usize = 16;
/// Most removals of processes under way. One lasts for as long as the supervisor deletes what the
/// process has left, so they keep no signal and no renewal waiting: of those that find no room, each
/// waits for removals alone, and for those of its own client first.
pub const FORGETTINGS_MAX: usize = 16;
/// Most looks at what a process takes under way: as these, and not among them, for one call can
/// bring a thousand.
pub const USAGES_MAX: usize = 16;
/// So many looks at what processes take of one call.
pub const USAGES_AT_ONCE: usize = USAGES_MAX / 4;

/// All that are pinned.
#[derive(Debug)]
pub struct Clients {
    /// In the order of the pins.
    all: Vec<Arc<Client>>,
    count: u32,
}

/// One of them, by a certificate that it has shown.
#[derive(Debug, Clone)]
pub struct Certified {
    /// Which: the same for all certificates of a principal.
    pub client: Arc<Client>,
    /// The certificate is valid until then.
    pub not_after: Option<UnixMicros>,
}

/// A principal.
#[derive(Debug)]
pub struct Client {
    /// Which of them.
    pub number: ClientNumber,
    /// Who it is, and what it may do.
    pub access: Access,
    /// For lists that are being made.
    pub lists: Semaphore,
    /// For requests to kill at once.
    pub kills: Arc<Semaphore>,
    /// For requests to open an output.
    pub subscriptions: Arc<Semaphore>,
    /// For requests about inputs.
    pub inputs: Arc<Semaphore>,
    /// For requests to forget a process.
    pub forgettings: Arc<Semaphore>,
    /// For requests to change a process.
    pub changes: Arc<Semaphore>,
    /// For requests about what a process takes.
    pub usages: Arc<Semaphore>,
}

impl Clients {
    /// Those with these certificates, who may do what the policy says; what they were told no to is
    /// counted.
    pub fn new(pins: &[Pin], policy: &Arc<Policy>, denials: &Denials) -> Self {
        let principals: BTreeSet<_> = pins.iter().map(|pin| &pin.principal).collect();
        let count = principals.len();
        let clients = (0..).map(ClientNumber).zip(&principals);
        let clients: HashMap<_, _> = clients
            .map(|(number, principal)| {
                let access = Access::new(policy, principal, denials);
                (*principal, Arc::new(Client::new(number, access, count)))
            })
            .collect();
        let client = |pin: &Pin| clients.get(&pin.principal).map(Arc::clone);
        Self {
            all: pins.iter().filter_map(client).collect(),
            count: u32::try_from(count).unwrap_or(u32::MAX),
        }
    }

    /// How many principals they are.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The one that was recognised, by its pin.
    pub fn at(&self, recognised: Recognised) -> Option<Certified> {
        Some(Certified {
            client: self.all.get(recognised.peer).map(Arc::clone)?,
            not_after: recognised.not_after.and_then(micros),
        })
    }
}

impl Client {
    fn new(number: ClientNumber, access: Access, count: usize) -> Self {
        let queue = |max| Arc::new(Semaphore::new(share(max, count)));
        Self {
            number,
            access,
            lists: Semaphore::new(LISTS_MAX),
            kills: Arc::new(Semaphore::new(KILLS_MAX)),
            subscriptions: Arc::new(Semaphore::new(SUBSCRIPTIONS_MAX)),
            inputs: Arc::new(Semaphore::new(INPUTS_MAX)),
            changes: queue(CHANGES_MAX),
            forgettings: queue(FORGETTINGS_MAX),
            usages: queue(USAGES_MAX),
        }
    }
}

impl Client {
    /// Whether it gets to see this.
    pub fn sees(&self, workspace: &Workspace) -> bool {
        let owner = &workspace.info.created_by;
        self.access.may(Verb::List).is_ok() && self.access.scope().has(owner.as_ref())
    }
}

/// How many of these a client may have while others want some as well: no more than a quarter, and
/// less if all of so many clients are to find one of their own.
fn share(max: usize, clients: usize) -> usize {
    (max / clients.max(4)).max(1)
}

/// Until when a certificate is valid.
pub fn until(certificate: &Certificate) -> Option<UnixMicros> {
    certificate.not_after().and_then(micros)
}

fn micros(since_epoch: Duration) -> Option<UnixMicros> {
    u64::try_from(since_epoch.as_micros()).ok().map(UnixMicros)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::scope::tests::name;

    /// A principal with certificates of one byte.
    pub fn pin(principal: &str, certificates: &[u8]) -> Pin {
        Pin {
            principal: name(principal),
            certificates: certificates.iter().map(|byte| vec![*byte]).collect(),
            keys: Vec::new(),
            names: Vec::new(),
        }
    }

    /// The client of a pin, by its number.
    pub fn of(clients: &Clients, peer: usize) -> Option<Arc<Client>> {
        let not_after = None;
        let certified = clients.at(Recognised { peer, not_after })?;
        Some(certified.client)
    }

    #[test]
    fn all_pins_of_a_principal_are_one_client() {
        let pins = [pin("a", &[1, 2]), pin("b", &[3]), pin("a", &[4])];
        let clients = Clients::new(&pins, &Arc::default(), &Denials::default());
        let of = |peer| of(&clients, peer);
        assert_eq!(clients.count(), 2);
        let (a, b) = (of(0).unwrap(), of(1).unwrap());
        assert!(Arc::ptr_eq(&a, &of(2).unwrap()));
        assert_ne!(a.number, b.number);
        assert!(of(3).is_none());
    }
}
