//! prn's public contract: the gRPC surface (`v1/process_runner.proto`), what both of its ends name
//! alike, and the TLS profile that it is spoken over.
//!
//! Linked by the frontend, by clients and by `prn server …`, which reads certificates and ids with
//! it before its exec. Nothing here is in the root half.
//!
//! - [`v1`]: the messages; [`codec`]: how they are read.
//! - [`id`], [`Tail`], [`reason`], [`defaults`]: what both ends mean by fields of these.
//! - [`metrics`]: metrics as text; [`names`]: how causes and codes are called in text.
//! - [`tls`]: who may speak to whom.
//! - [`credentials`]: how both ends read certificates and keys.
//! - [`programs`]: where programs are that a client starts.
//! - [`signer`]: signing with a key that is in another process.
//! - [`traceparent`]: the trace that a process belongs to.
//! - [`units`]: how sizes, times and addresses are written in flags and files.

pub mod codec;
pub mod credentials;
pub mod defaults;
pub mod id;
pub mod metrics;
pub mod names;
pub mod programs;
pub mod reason;
pub mod signer;
mod tail;
pub mod tls;
pub mod traceparent;
pub mod units;
pub mod v1;

/// The schema itself, with its comments: an encoded FileDescriptorSet.
pub const SCHEMA: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/schema.bin"));

pub use tail::{Tail, TwoTails};

/// The newest revision of the schema that these crates speak (`GetServerResponse.api_revision`). Raised
/// with each call or field that a client may need.
pub const API_REVISION: u32 = 6;

/// Metadata key under which every response, a failed one too, carries the server's boot epoch.
pub const BOOT_EPOCH_METADATA: &str = "prn-boot-epoch";

/// Key of the trailing metadata that tells how many processes a list had no room for.
pub const LEFT_OUT_METADATA: &str = "prn-processes-left-out";
