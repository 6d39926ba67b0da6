//! `prn run`: start, follow, exit as the process did.

use std::time::Duration;

use clap::Args;
use prn_client::{
    Client, FOLLOW_TIMEOUT, OutputPolicy, OutputRequest, ProcessId, STOP_GRACE, StartSpec, Started,
};

use crate::commands::start::start_surely;
use crate::connection::{Connection, Remote};
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::following::followed;
use crate::input::{Input, came};
use crate::interrupts::{Interrupt, Interrupts};
use crate::output;
use crate::reading::{PATIENCE, Reading};
use crate::spec::Spec;

/// Start a process, follow its output, and exit as it does
///
/// Ctrl-C stops the process and goes on to show its output to the end; a second Ctrl-C leaves
/// at once. SIGTERM and the end of the terminal stop it as well, and so does output that cannot
/// be written, or whose reader has left.
///
/// Standard input is not passed on: where bytes wait on a pipe or in a file, nothing is started
/// without --no-stdin. Bytes that come later, while it runs, are told of and never end in
/// success; a producer that is slower than all of the process is not noticed.
#[derive(Debug, Args)]
pub struct Run {
    /// What to start.
    #[command(flatten)]
    pub spec: Spec,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

pub async fn run(args: Run) -> Result<Exit, Failure> {
    let input = Input::look(args.spec.no_stdin)?;
    let spec = args.spec.completed(OutputPolicy::Follow)?;
    let remote = Remote::new(args.connection)?;
    let first = remote.connect().await?;
    let mut input = input.settle()?.watch()?;
    // From here on a process may exist, and a signal must not leave it behind.
    let mut interrupts = Interrupts::take()?;
    let (client, started) = start(&remote, first, &spec, &mut interrupts).await?;
    let id = started.process.id;
    let grace = spec.stop_grace;
    interrupts.expect_grace(grace.unwrap_or(STOP_GRACE));
    let request = OutputRequest {
        follower: true,
        ..OutputRequest::default()
    };
    let reading = Reading::new(&remote, client.clone(), id, request).of_known(patience(&spec));
    let mut following = std::pin::pin!(followed(&remote, client, reading, &mut interrupts, grace));
    let (exit, is_input_lost) = tokio::select! {
        biased;
        exit = &mut following => (exit, false),
        () = came(&mut input) => {
            output::notice("what comes on standard input now is NOT passed on to the process (-n, --no-stdin leaves it alone)");
            (following.await, true)
        }
    };
    match exit {
        // Not what was asked for: the process never saw it.
        Ok(exit::OK) if is_input_lost => Ok(exit::RUN_FAILED),
        Ok(exit) => Ok(exit),
        Err(failure) => Err(after_start(id, failure)),
    }
}

/// For how long a lost connection is worth new tries: as long as the process waits.
fn patience(spec: &StartSpec) -> Duration {
    match spec.output_policy {
        Some(OutputPolicy::Follow) => spec.follow_timeout.unwrap_or(FOLLOW_TIMEOUT),
        Some(OutputPolicy::DropOldest | OutputPolicy::StopReading | OutputPolicy::Kill) | None => {
            PATIENCE
        }
    }
}

/// Starts the process. A first interrupt is kept for when it runs.
async fn start(
    remote: &Remote,
    first: Client,
    spec: &StartSpec,
    interrupts: &mut Interrupts,
) -> Result<(Client, Started), Failure> {
    let mut starting = std::pin::pin!(start_surely(remote, first, spec));
    loop {
        tokio::select! {
            biased;
            interrupt = interrupts.next() => {
                if let (Interrupt::Leave, Some(id)) = (interrupt, spec.id) {
                    return Err(Failure::Left(id));
                }
            }
            started = &mut starting => return started,
        }
    }
}

/// A failure that names the process.
fn after_start(id: ProcessId, failure: Failure) -> Failure {
    let is_named = matches!(
        failure,
        Failure::Left(_) | Failure::ExitUnknown(_) | Failure::StopUnknown { .. }
    );
    if is_named {
        return failure;
    }
    Failure::AfterStart {
        id,
        source: Box::new(failure),
    }
}
