//! `prn-tools`: what runs as a process's user beside its program, or after it; and the writer of
//! the audit, as a user of its own.
//!
//! The supervisor executes it by descriptor, so that it holds none of this code itself, under the
//! name of the tool that it wants. What runs here can do no more than the process that it runs for
//! could, and trusts nothing that this process made.

#![warn(missing_debug_implementations)]
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

mod audit;
mod clean;
mod watch;

use std::ffi::CStr;
use std::process::ExitCode;

use prn_ipc_protocol::fds::tools;

#[expect(clippy::print_stderr, reason = "there is nobody else to tell")]
fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    let is = |tool: &CStr| name.as_encoded_bytes() == tool.to_bytes();
    if is(tools::CLEANER) {
        clean::main()
    } else if is(tools::WATCHER) {
        watch::main()
    } else if is(tools::AUDITOR) {
        audit::main()
    } else {
        eprintln!("prn-tools is for prn-supervisor to start, not by itself");
        ExitCode::from(127)
    }
}
