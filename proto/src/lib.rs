//! prn's public contract: the gRPC surface (`v1/process_runner.proto`) and the TLS profile that it
//! is spoken over.
//!
//! Linked by the frontend and by clients. Nothing here runs as root.

pub mod tls;

/// Messages, client and server of package `proto.v1`, generated from `v1/process_runner.proto`.
#[expect(clippy::all, clippy::as_conversions, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("proto.v1");
}

/// Metadata key under which every response, a failed one too, carries the server's boot epoch.
pub const BOOT_EPOCH_METADATA: &str = "prn-boot-epoch";

/// Key of the trailing metadata that tells how many processes a list had no room for.
pub const LEFT_OUT_METADATA: &str = "prn-processes-left-out";

/// `ErrorInfo.domain` of every error that prn makes.
pub const ERROR_DOMAIN: &str = "prn";
