//! What a running server says of itself to root, who asks with [`crate::control::Order::Status`].
//! It decides nothing. How much there may be of each is in the configuration in force, and since
//! when that is, its file says (memfd_create(2), fstat(2)).

use serde::{Deserialize, Serialize};

use crate::types::{Id, UnixMicros};

/// What `prn server status` asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The supervisor's version (its crate's).
    pub version: String,
    /// The run of the server, as clients know it.
    pub epoch: Id,
    /// The number of the configuration in force: that of the start was 1.
    pub configuration: u32,
    /// Those who talk to clients.
    pub frontends: Frontends,
    /// How many processes live.
    pub live: usize,
    /// How many have finished and are remembered.
    pub finished: usize,
    /// How many workspaces there are.
    pub workspaces: usize,
    /// Bytes of output that are kept in memory or set aside.
    pub memory: u64,
    /// The same, of output on disk.
    pub disk: u64,
}

/// The frontends so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontends {
    /// There is one, and it has said that it serves.
    pub serves: bool,
    /// How many have ended unasked: not those that a reload has replaced.
    pub ended: u32,
    /// When the last one of these did, and why, in words.
    pub last: Option<(UnixMicros, String)>,
}
