//! `prn`: the command line of a remote process runner, for clients and for the server's start.
//!
//! Trusts the user who runs it. What a server sends is checked by the client library and escaped by
//! [`output`].

mod batch;
mod calls;
mod cli;
mod command_line;
mod commands;
mod complete;
mod confirm;
mod connection;
mod context;
mod copy;
mod detach;
mod excerpt;
mod exit;
mod failure;
mod feeding;
mod fields;
mod following;
mod format;
mod habits;
mod hosts;
mod internal;
mod interrupts;
mod known;
mod leftover;
mod local_input;
#[cfg(test)]
mod manuals;
mod mcp;
mod misnamed;
mod output;
mod passing;
mod reading;
mod reference;
mod reminders;
mod selection;
mod signal;
mod skew;
mod spec;
mod spread;
mod stdin;
mod surely;
mod sync;
mod targets;
mod template;
mod terminal;
mod top;
mod usage;
mod wait;
mod waiting;
mod watching;
mod words;

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
    if let Some(warning) = command.line().and_then(|line| words::warning(line, &words)) {
        output::notice(&warning);
    }
    match command.act(&words) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            if !failure.is_silent() {
                let hint = words::hint(&failure, &words);
                output::error(&failure, hint.as_deref());
            }
            failure.exit().into()
        }
    }
}
