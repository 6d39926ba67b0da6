//! The frontend's configuration. The supervisor passes it on and never decodes it.

use serde::{Deserialize, Serialize};

use crate::policy::Policy;
use crate::types::{AccessName, Id, Limits, Millis, UnixMicros};

/// The frontend's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontend {
    /// This run of the server.
    pub epoch: Id,
    /// When that began.
    pub started: UnixMicros,
    /// Most processes at one time.
    pub processes_max: u32,
    /// Limits of a process that asks for none.
    pub default_limits: Limits,
    /// Output bytes kept for a process that asks for nothing else.
    pub output_default: u64,
    /// Most output bytes kept on disk. 0: none are.
    pub output_disk: u64,
    /// From SIGTERM to SIGKILL for a process that asks for nothing else.
    pub stop_grace: Millis,
    /// The server's certificate (DER).
    pub certificate: Vec<u8>,
    /// Those of its issuers that are shown with it, upwards (DER).
    pub issuers: Vec<Vec<u8>>,
    /// The clients that are let in.
    pub pins: Vec<Pin>,
    /// Who signs certificates of clients that are known by names (certificates, DER).
    pub authorities: Vec<Vec<u8>>,
    /// Lists of what these have revoked (DER).
    pub revocations: Vec<Vec<u8>>,
    /// P-256 keys are taken beside Ed25519 ones.
    pub allows_p256: bool,
    /// Clients that ask are told the API's schema (gRPC server reflection).
    pub reflects: bool,
    /// Who may do what: the supervisor's, to show each what is theirs to see.
    pub policy: Policy,
    /// Most connections whose handshake is under way.
    pub handshakes_max: u32,
    /// Time for a handshake.
    pub handshake_timeout: Millis,
    /// Most connections.
    pub connections_max: u32,
    /// Most connections of one client: of one certificate.
    pub connections_per_client: u32,
    /// Most concurrent calls on a connection.
    pub streams_max: u32,
    /// Most output streams.
    pub subscribers_max: u32,
    /// Most output streams of one process.
    pub subscribers_per_process: u32,
    /// A connection whose peer has been silent or has acknowledged nothing for this long, probes
    /// included, is closed.
    pub peer_timeout: Millis,
    /// A connection takes no calls any more after this time. None: it takes them for ever.
    pub connection_age: Option<Millis>,
    /// It is born in namespaces of its own. Else it makes them itself, if it can.
    pub has_namespaces: bool,
    /// Number of worker threads.
    pub threads: u32,
    /// Most bytes of memory, which its group holds it to.
    pub memory: u64,
}

/// What a client is known by: any of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Who it then is.
    pub principal: AccessName,
    /// Certificates (DER).
    pub certificates: Vec<Vec<u8>>,
    /// Fingerprints of its keys, as they are written down.
    pub keys: Vec<String>,
    /// Rules for names in certificates that an authority has signed, as they are written down.
    pub names: Vec<String>,
}
