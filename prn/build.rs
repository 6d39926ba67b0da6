//! How `prn` is linked: so that less is to be done before it begins, where the linker can.
//!
//! - What is in it more than once is folded into one (lld, mold and gold can do that): each crate,
//!   and each part of one that is compiled by itself, brings constants and tables of functions of
//!   its own, many of them the same. All that has addresses in it is written when a program is
//!   loaded, page by page, whatever it is run for. Nothing in Rust may rely on addresses of
//!   functions or constants to be different.
//! - What unwinds the stack after a panic is a part of it, instead of a library that is found,
//!   mapped and bound each time.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const FOLD: &str = "-Wl,--icf=all";
const UNWINDER: &str = "static:-bundle=gcc_eh";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if links_with(&format!("-Clink-arg={FOLD}")).unwrap_or(false) {
        println!("cargo::rustc-link-arg-bins={FOLD}");
    }
    // musl's target has one of its own in any case.
    let is_glibc = env::var_os("CARGO_CFG_TARGET_ENV").is_some_and(|name| name == "gnu");
    if is_glibc && links_with(&format!("-l{UNWINDER}")).unwrap_or(false) {
        println!("cargo::rustc-link-lib={UNWINDER}");
    }
}

/// Whether a program is linked with this flag, by the linker and for the target that `prn` is for.
fn links_with(flag: &str) -> Option<bool> {
    let folder = PathBuf::from(env::var_os("OUT_DIR")?);
    let source = folder.join("empty.rs");
    fs::write(&source, "fn main() {}\n").ok()?;
    let mut rustc = Command::new(env::var_os("RUSTC")?);
    rustc.arg(source).arg("-o").arg(folder.join("empty"));
    rustc.arg("--target").arg(env::var_os("TARGET")?).arg(flag);
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut chosen = OsString::from("-Clinker=");
        chosen.push(linker);
        rustc.arg(chosen);
    }
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    rustc.args(flags.split('\x1f').filter(|flag| !flag.is_empty()));
    let tried = rustc.stdout(Stdio::null()).stderr(Stdio::null()).status();
    Some(tried.ok()?.success())
}
