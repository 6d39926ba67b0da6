//! Generates the message types and the service from `v1/process_runner.proto`.
//!
//! protox is a protobuf compiler written in Rust, so that a clean machine needs no `protoc`.

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=v1/process_runner.proto");
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(["v1/process_runner.proto"])?;
    // With the comments, of which tests/api.rs makes docs/api.md.
    let commented = compiler.encode_file_descriptor_set();
    std::fs::write(out.join("process_runner.bin"), commented)?;
    // Without them, for clients that ask for the schema.
    let mut schema = compiler.file_descriptor_set();
    for file in &mut schema.file {
        file.source_code_info = None;
    }
    std::fs::write(out.join("schema.bin"), schema.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".proto.v1.GetOutputResponse.data")
        .bytes(".proto.v1.SendInputRequest.data")
        .btree_map(".")
        .codec_path("crate::codec::BoundedCodec")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
