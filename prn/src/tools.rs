//! What runs as a process's user, under names of its own: no part of the command line.
//!
//! The supervisor executes this program by descriptor, so that it holds none of this code itself.
//! What runs here can do no more than the process it runs for could.

mod clean;
mod strict;

use std::process::ExitCode;

/// Runs the tool that this program was executed as, if it was: `main` asks before it parses
/// anything.
pub fn run() -> Option<ExitCode> {
    let name = std::env::args_os().next()?;
    match name.as_encoded_bytes() {
        b"prn-clean" => Some(clean::main()),
        b"prn-strict" => Some(strict::main()),
        _ => None,
    }
}
