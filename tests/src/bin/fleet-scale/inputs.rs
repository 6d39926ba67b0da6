//! What the simulation begins with: figures that were recorded, each with where it is from, and
//! what is asked of the fleet.

/// A microsecond is the simulation's unit of time.
pub const SECOND: u64 = 1_000_000;
pub const MILLISECOND: u64 = 1_000;

/// What is asked of the fleet.
pub const HOSTS: u32 = 10_000;
pub const PROCESSES_A_DAY: u64 = 1_000_000;
pub const BURST_A_SECOND: u64 = 1_000;
pub const BURST_SECONDS: u64 = 60;
/// Processes that a host takes at a time (`prn-agent --processes`, by default).
pub const CAPACITY: u32 = 100;
/// A process runs for so long, on an average.
pub const RUN_TIME: u64 = 10 * SECOND;
/// From a claim to its process: a start on the host's own server.
pub const START_TIME: u64 = 3 * MILLISECOND;
/// An announcement's lease (`--lease`); it is renewed when a third is over.
pub const LEASE: u64 = 15 * SECOND;
/// Of etcd.
pub const MEMBERS: usize = 3;

/// What an etcd of three members does.
#[derive(Debug, Clone, Copy)]
pub struct Store {
    pub name: &'static str,
    /// Transactions that write, and such as have lost.
    pub writes: u64,
    /// Time of one, when there are no others.
    pub write_time: u64,
    /// From when it is done to that a watcher knows of it, beside others who are told first.
    pub told_time: u64,
    /// Reads of one key, as a renewed lease is: no disk, no majority's log.
    pub reads: u64,
    /// Changes that one member tells watchers of, each watcher counted.
    pub events: u64,
    /// New connections of one member: mutual TLS 1.3 with Ed25519, and a read.
    pub connections: u64,
    /// Where each is from, in this order.
    pub sources: [&'static str; 6],
}

/// `fleet-scale --measure`.
const HERE: &str = "measured";

/// This machine.
pub const SMALL: Store = Store {
    name: "two cores",
    writes: 1_600,
    write_time: 1_550,
    told_time: 3_500,
    reads: 3_900,
    events: 31_000,
    connections: 1_050,
    sources: [HERE; 6],
};

/// A machine of eight cores and an SSD for each member.
pub const LARGE: Store = Store {
    name: "3 × 8 cores",
    writes: 44_341,
    write_time: 1_600,
    told_time: 1_000,
    reads: 141_578,
    events: 250_000,
    connections: 8_000,
    sources: [
        "etcd's documentation, op-guide/performance: 1,000 clients, 256 bytes, leader only",
        "there: one client",
        "assumed: nothing is published",
        "there: linearizable",
        "assumed: nothing is published",
        "assumed: eight times as many cores as were free here",
    ],
};

/// What the simulation is checked with: so many hosts and jobs of a real etcd.
pub const CHECK_HOSTS: u32 = 30;
pub const CHECK_JOBS: u64 = 100;
pub const CHECK_SECONDS: u64 = 10;
/// Claims that were lost then, for each hundred jobs: `fleet-scale --measure`.
pub const CHECK_LOST: u64 = 2_188;

/// Hundredths of a byte of etcd's file for each byte of keys and values that is written. A job that
/// is submitted: 689 bytes for 510, measured.
pub const FILE_PERCENT: u64 = 135;
