//! `prn`: the command line of a remote process runner, for clients and for the server's start.
//!
//! Trusts the user who runs it. What a server sends is checked by the client library and escaped by
//! [`output`].

mod cli;
mod commands;
mod exit;
mod output;
mod server;
mod tools;
mod units;

use std::process::ExitCode;

/// In the static binary, whose C library's own allocator is a slow one.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    // First: under those names this is another program, and runs as somebody else's user.
    if let Some(exit) = tools::run() {
        return exit;
    }
    let cli = match cli::Cli::of_process() {
        Ok(cli) => cli,
        Err(error) => return output::usage(&error).into(),
    };
    match commands::run(cli.command) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            if !failure.is_silent() {
                output::error(&failure, failure.hint().as_deref());
            }
            failure.exit().into()
        }
    }
}
