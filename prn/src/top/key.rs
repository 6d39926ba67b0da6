//! Which process is meant, of those of several servers.

use prn_client::ProcessId;

/// A process of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The server's place in the list of servers.
    pub host: usize,
    /// The process's id.
    pub id: ProcessId,
}
