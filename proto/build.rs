//! Generates the message types and the service from `v1/process_runner.proto`.
//!
//! protox is a protobuf compiler written in Rust, so that a clean machine needs no `protoc`.

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=v1/process_runner.proto");
    let descriptors = protox::compile(["v1/process_runner.proto"], ["."])?;
    let folder = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(folder.join("schema.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".proto.v1.GetOutputResponse.data")
        .bytes(".proto.v1.SendInputRequest.data")
        .btree_map(".")
        .codec_path("crate::codec::BoundedCodec")
        .compile_fds(descriptors)?;
    Ok(())
}
