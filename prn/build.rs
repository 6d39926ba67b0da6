//! How `prn` is linked: so that less is to be done before it begins, where the linker can.
//!
//! - What is in it more than once is folded into one (lld, mold and gold can do that): each crate,
//!   and each part of one that is compiled by itself, brings constants and tables of functions of
//!   its own, many of them the same. All that has addresses in it is written when a program is
//!   loaded, page by page, whatever it is run for. Nothing in Rust may rely on addresses of
//!   functions or constants to be different.
//! - Where addresses are to be written is a map of bits instead of 24 bytes for each: half a megabyte
//!   that is not read. The C library has to know it, as glibc does since 2.36, so a program that is
//!   linked like this is run first.
//! - What unwinds the stack after a panic is a part of it, instead of a library that is found,
//!   mapped and bound each time.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const FOLD: &str = "-Wl,--icf=all";
const PACK: &str = "-Wl,-z,pack-relative-relocs";
const UNWINDER: &str = "static:-bundle=gcc_eh";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if linked_with(&format!("-Clink-arg={FOLD}")).is_some() {
        println!("cargo::rustc-link-arg-bins={FOLD}");
    }
    // musl's target has one of its own in any case.
    let is_glibc = env::var_os("CARGO_CFG_TARGET_ENV").is_some_and(|name| name == "gnu");
    if !is_glibc {
        return;
    }
    if linked_with(&format!("-l{UNWINDER}")).is_some() {
        println!("cargo::rustc-link-lib={UNWINDER}");
    }
    let is_for_here = env::var_os("HOST") == env::var_os("TARGET");
    if is_for_here && linked_with(&format!("-Clink-arg={PACK}")).is_some_and(|it| starts(&it)) {
        println!("cargo::rustc-link-arg-bins={PACK}");
    }
}

/// A program that is linked with this flag, by the linker and for the target that `prn` is for.
fn linked_with(flag: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(env::var_os("OUT_DIR")?);
    let source = folder.join("empty.rs");
    let program = folder.join("empty");
    fs::write(&source, "fn main() {}\n").ok()?;
    let mut rustc = Command::new(env::var_os("RUSTC")?);
    rustc.arg(source).arg("-o").arg(&program);
    rustc.arg("--target").arg(env::var_os("TARGET")?).arg(flag);
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut chosen = OsString::from("-Clinker=");
        chosen.push(linker);
        rustc.arg(chosen);
    }
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    rustc.args(flags.split('\x1f').filter(|flag| !flag.is_empty()));
    let tried = rustc.stdout(Stdio::null()).stderr(Stdio::null()).status();
    tried.ok()?.success().then_some(program)
}

fn starts(program: &Path) -> bool {
    let ended = Command::new(program).stdin(Stdio::null()).status();
    ended.is_ok_and(|status| status.success())
}
