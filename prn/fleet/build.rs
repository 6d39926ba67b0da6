//! Generates what is spoken with etcd from `etcd/`, and what is kept there from `v1/fleet.proto`.
//!
//! protox is a protobuf compiler written in Rust, so that a clean machine needs no `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for file in [
        "etcd/auth.proto",
        "etcd/mvcc.proto",
        "etcd/rpc.proto",
        "v1/fleet.proto",
    ] {
        println!("cargo::rerun-if-changed={file}");
    }
    println!("cargo::rerun-if-changed=../../proto/v1/process_runner.proto");
    let etcd = protox::compile(["rpc.proto", "auth.proto"], ["etcd"])?;
    tonic_prost_build::configure()
        .build_server(false)
        .bytes(".mvccpb.KeyValue.value")
        .compile_fds(etcd)?;
    let fleet = protox::compile(["v1/fleet.proto"], [".", "../../proto"])?;
    tonic_prost_build::configure()
        .build_server(false)
        .build_client(false)
        .btree_map(".")
        .extern_path(".proto.v1", "::prn_proto::v1")
        .compile_fds(fleet)?;
    Ok(())
}
