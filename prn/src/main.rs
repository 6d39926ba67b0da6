//! `prn`: the command line of a remote process runner, for clients and for the server's start.
//!
//! Trusts the user who runs it. What a server sends is checked by the client library and escaped by
//! [`output`].

mod batch;
mod calls;
mod cli;
mod commands;
mod complete;
mod confirm;
mod context;
mod copy;
mod exit;
mod failure;
mod fleet;
mod input;
mod interrupts;
mod lasting;
#[cfg(test)]
mod manuals;
mod mcp;
mod output;
mod reminders;
mod sync;
mod top;
mod typed;
mod which;

use std::process::ExitCode;

/// In the static binary, whose C library's own allocator is a slow one.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    let command = match cli::Cli::of_process() {
        Ok(cli) => cli.command,
        Err(exit) => return exit,
    };
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    if let Some(warning) = command
        .line()
        .and_then(|line| typed::words::warning(line, &words))
    {
        output::notice(&warning);
    }
    match command.act(&words) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            if !failure.is_silent() {
                let hint = typed::words::hint(&failure, &words);
                output::error(&failure, hint.as_deref());
            }
            failure.exit().into()
        }
    }
}
