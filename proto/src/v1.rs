//! Messages, client and server of package `proto.v1`, generated from `v1/process_runner.proto`.
#![expect(clippy::all, clippy::as_conversions, reason = "generated")]

tonic::include_proto!("proto.v1");
