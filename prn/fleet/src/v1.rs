//! What is kept in etcd: messages of package `prn.fleet.v1`, generated from `v1/fleet.proto`.
#![expect(clippy::all, reason = "generated")]

tonic::include_proto!("prn.fleet.v1");
