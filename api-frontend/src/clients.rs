//! The pinned clients, and what each of them has of its own.
//!
//! Where calls wait, a client's calls wait for each other before they wait with
//! those of others: in the common queue each client has a few at most.

use std::collections::HashMap;
use std::sync::Arc;

use prn_ipc_protocol::config::Pin;
use prn_ipc_protocol::types::{AccessName, UnixMicros};
use prn_proto::tls::{Certificate, Fingerprint};
use tokio::sync::Semaphore;

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
pub struct Clients(HashMap<Fingerprint, Arc<Client>>);

/// One of them.
#[derive(Debug)]
pub struct Client {
    /// Its certificate's.
    pub fingerprint: Fingerprint,
    /// Who it is.
    pub principal: AccessName,
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
    /// Its certificate is valid until then.
    pub not_after: Option<UnixMicros>,
}

impl Clients {
    /// Those with these certificates.
    pub fn new(pins: &[Pin]) -> Self {
        let each = pins.iter().flat_map(|pin| {
            let certificates = pin.certificates.iter();
            certificates.map(|der| (&pin.principal, der))
        });
        let count = each.clone().count();
        let clients = each.map(|(principal, der)| {
            let fingerprint = Fingerprint::of(der);
            let not_after = Certificate::from_der(der.clone()).ok();
            let not_after = not_after.and_then(|certificate| until(&certificate));
            let client = Client::new(fingerprint, principal.clone(), not_after, count);
            (fingerprint, Arc::new(client))
        });
        Self(clients.collect())
    }

    /// How many they are.
    pub fn count(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// The one with this certificate.
    pub fn with(&self, fingerprint: Fingerprint) -> Option<Arc<Client>> {
        self.0.get(&fingerprint).cloned()
    }
}

impl Client {
    fn new(
        fingerprint: Fingerprint,
        principal: AccessName,
        not_after: Option<UnixMicros>,
        count: usize,
    ) -> Self {
        let queue = |max| Arc::new(Semaphore::new(share(max, count)));
        Self {
            fingerprint,
            principal,
            lists: Semaphore::new(LISTS_MAX),
            kills: Arc::new(Semaphore::new(KILLS_MAX)),
            subscriptions: Arc::new(Semaphore::new(SUBSCRIPTIONS_MAX)),
            inputs: Arc::new(Semaphore::new(INPUTS_MAX)),
            changes: queue(CHANGES_MAX),
            forgettings: queue(FORGETTINGS_MAX),
            usages: queue(USAGES_MAX),
            not_after,
        }
    }
}

/// How many of these a client may have while others want some as well: no more than a quarter, and
/// less if all of so many clients are to find one of their own.
fn share(max: usize, clients: usize) -> usize {
    (max / clients.max(4)).max(1)
}

/// Until when a certificate is valid.
pub fn until(certificate: &Certificate) -> Option<UnixMicros> {
    let micros = certificate.not_after()?.as_micros();
    u64::try_from(micros).ok().map(UnixMicros)
}
