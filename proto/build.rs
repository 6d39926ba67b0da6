//! Generates the message types and the service from `v1/process_runner.proto`.
//!
//! protox is a protobuf compiler written in Rust, so that a clean machine needs no `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=v1/process_runner.proto");
    let descriptors = protox::compile(["v1/process_runner.proto"], ["."])?;
    tonic_prost_build::configure()
        .bytes(".proto.v1.GetOutputResponse.data")
        .bytes(".proto.v1.SendInputRequest.data")
        .btree_map(".")
        .codec_path("crate::codec::BoundedCodec")
        .compile_fds(descriptors)?;
    Ok(())
}
