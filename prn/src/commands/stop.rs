//! `prn stop`.

use std::time::Duration;

use clap::Args;
use prn_client::{ClientError, ProcessId, State, StopSignal};
use prn_proto::units::{Time, show_duration};

use crate::connection::{Connection, Remote};
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::format::FormatFlag;
use crate::output;
use crate::wait::patiently;

/// Stop a process with everything it started
///
/// SIGTERM first, SIGKILL to what is left after the grace time. Stopping a stopped process is
/// no error.
#[derive(Debug, Args)]
pub struct Stop {
    /// Id of the process
    pub id: ProcessId,
    /// How to stop it
    #[arg(long, value_enum, default_value = "term")]
    pub signal: StopSignal,
    /// Time between SIGTERM and SIGKILL, instead of what it was started with
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    pub grace: Option<Time>,
    /// How to print the result.
    #[command(flatten)]
    pub format: FormatFlag,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

pub async fn stop(args: Stop) -> Result<Exit, Failure> {
    let client = Remote::new(args.connection)?.connect().await?;
    let grace = args.grace.map(|grace| grace.0);
    let signal = args.signal;
    let stopped = client.stop(args.id, signal, grace);
    let process = patiently(|| waiting(args.id, signal, grace), stopped)
        .await
        .map_err(|error| unknown(args.id, error))?;
    output::process(&process, &args.format)?;
    match process.status.state {
        State::Stopped => Ok(exit::OK),
        State::Running => {
            let stuck: Vec<_> = process
                .status
                .stuck_tasks
                .iter()
                .map(|task| task.name.as_str())
                .collect();
            let which = if stuck.is_empty() {
                String::new()
            } else {
                format!(": {}", stuck.join(", "))
            };
            output::notice(&format!(
                "process {} could not be stopped yet{which}",
                args.id
            ));
            Ok(exit::ERROR)
        }
    }
}

/// What a stop waits for that takes long.
pub fn waiting(id: ProcessId, signal: StopSignal, grace: Option<Duration>) -> String {
    let killed = match (signal, grace) {
        (StopSignal::Kill, _) | (StopSignal::Term, Some(Duration::ZERO)) => {
            "SIGKILL was sent".to_owned()
        }
        (StopSignal::Term, Some(grace)) => {
            format!(
                "what is left {} after SIGTERM is killed",
                show_duration(grace)
            )
        }
        (StopSignal::Term, None) => {
            "what is left after its grace time, by default 10s, is killed".to_owned()
        }
    };
    format!("waiting for process {id} to end: {killed}")
}

/// A stop that was sent and not answered may have worked.
fn unknown(id: ProcessId, error: ClientError) -> Failure {
    let may_have_worked = matches!(error, ClientError::NoAnswer { .. } | ClientError::Lost(_));
    if may_have_worked {
        Failure::StopUnknown { id, source: error }
    } else {
        error.into()
    }
}
