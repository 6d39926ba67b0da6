//! Generates the message types and the service from `v1/process_runner.proto`.
//!
//! protox is a protobuf compiler written in Rust, so that a clean machine needs no `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=v1/process_runner.proto");
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(["v1/process_runner.proto"])?;
    let out = std::env::var_os("OUT_DIR").ok_or("cargo says where to write")?;
    // With the comments, of which tests/api.rs makes docs/api.md.
    let schema = std::path::Path::new(&out).join("process_runner.bin");
    std::fs::write(schema, compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .bytes(".proto.v1.GetOutputResponse.data")
        .bytes(".proto.v1.SendInputRequest.data")
        .btree_map(".")
        .codec_path("crate::codec::BoundedCodec")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
